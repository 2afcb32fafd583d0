"""How a claim is decided from run records: one function for each kind of claim.

    better       the first run beats the second
    best         the first run beats each of the others; the difference shown is the smallest
    alike        every other run is within `ALIKE` points of the first
    slices       a run's mAP is higher on clean frames than on all
    interaction  the first run's lead over the second is larger on all frames than on clean ones
    grows        medians of the bench rise from row to row of a table
    fewer        the first module has less of something than the second
    not testable here

Each gives a difference in points of mAP with its 95 % interval where there is one.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mstlib.report.claims import CLAIMS, Claim
from mstlib.report.cost_table import alignment_costs, instance_ms
from mstlib.report.stats import (
    NAN,
    Comparison,
    check_pair,
    compare,
    compare_vectors,
    no_comparison,
    vector_of,
)

ALIKE = 1.0  # points of mAP: less than the 95 % interval of any single mAP here
Runs = dict[str, list[dict]]
RULE = (
    "Interval: bootstrap 95 %, videos and seeds drawn with replacement, paired by video and seed. "
    "Verdict: holds if the whole interval is on the claimed side of 0, does not hold if it is on "
    "the other, else within noise; for `best` and `alike` all comparisons must hold."
)


def claim_rows(runs: Runs, bench: Path, tables: Sequence[str] = ()) -> list[dict]:
    """A row for each claim (of some tables): the paper's difference, ours, interval, verdict."""
    asked = [claim for claim in CLAIMS if not tables or claim.table in tables]
    return [_row(claim, DECIDE[claim.kind](claim, runs, bench)) for claim in asked]


def _row(claim: Claim, ours: Comparison) -> dict:
    return {
        "table": claim.table, "claim": claim.text, "frames": claim.part,
        "paper difference": claim.paper, "our difference": ours.difference, "95 % low": ours.low,
        "95 % high": ours.high, "sd over seeds": ours.spread, "seeds": ours.seeds or None,
        "verdict": ours.verdict, "note": ours.note}


def _better(claim: Claim, runs: Runs, bench: Path) -> Comparison:
    one, two = (runs.get(name, []) for name in claim.runs)
    return compare(one, two, claim.part)


def _each(claim: Claim, runs: Runs) -> list[tuple[str, Comparison]]:
    first, *others = claim.runs
    return [(name, compare(runs.get(first, []), runs.get(name, []), claim.part))
            for name in others]


def _best(claim: Claim, runs: Runs, bench: Path) -> Comparison:
    """Against the closest rival; the verdict is that of all comparisons together."""
    found = _each(claim, runs)
    if any(ours.verdict == "not measured" for _, ours in found):
        return no_comparison("not every run is there")
    name, closest = min(found, key=lambda pair: pair[1].difference)
    verdicts = {ours.verdict for _, ours in found}
    verdict = next(v for v in ("does not hold", "within noise", "holds") if v in verdicts)
    return Comparison(closest.difference, closest.low, closest.high, closest.spread, closest.seeds,
                      verdict, f"closest rival: {name}")


def _alike(claim: Claim, runs: Runs, bench: Path) -> Comparison:
    """The largest difference; holds if every interval lies within +- ALIKE."""
    found = _each(claim, runs)
    if any(ours.verdict == "not measured" for _, ours in found):
        return no_comparison("not every run is there")
    name, far = max(found, key=lambda pair: abs(pair[1].difference))
    inside = all(ours.low > -ALIKE and ours.high < ALIKE for _, ours in found)
    outside = any(ours.low > ALIKE or ours.high < -ALIKE for _, ours in found)
    verdict = "holds" if inside else "does not hold" if outside else "within noise"
    return Comparison(far.difference, far.low, far.high, far.spread, far.seeds, verdict,
                      f"largest difference: to {name}")


def _slices(claim: Claim, runs: Runs, bench: Path) -> Comparison:
    """Clean frames against all frames of the same runs."""
    found = runs.get(claim.runs[0], [])
    return compare_vectors([(vector_of(r, "clean"), vector_of(r, "all")) for r in found])


def _interaction(claim: Claim, runs: Runs, bench: Path) -> Comparison:
    """(one - two) on all frames, less (one - two) on clean ones."""
    one, two = ({r["seed"]: r for r in runs.get(name, [])} for name in claim.runs)
    pairs = []
    for seed in sorted(one.keys() & two.keys()):
        for part in ("all", "clean"):
            check_pair(one[seed], two[seed], part)
        lead = [tuple(np.subtract(a, b) for a, b in zip(vector_of(one[seed], part),
                                                        vector_of(two[seed], part), strict=True))
                for part in ("all", "clean")]
        pairs.append(tuple(lead))
    return compare_vectors(pairs)


def _grows(claim: Claim, runs: Runs, bench: Path) -> Comparison:
    """Of the instance level at the paper's size, row by row of its table."""
    values = {"VI": (10, 15, 20, 25, 30), "VII": (10, 20, 30, 40, 50)}[claim.runs[0]]
    times = [instance_ms(bench, claim.runs[0], value) for value in values]
    if any(isinstance(time, str) for time in times):
        return no_comparison(next(time for time in times if isinstance(time, str)))
    rising = all(a < b for a, b in zip(times, times[1:], strict=False))
    return Comparison(NAN, NAN, NAN, NAN, 0, "holds" if rising else "does not hold",
                      "instance level alone, ms: " + ", ".join(f"{t:.1f}" for t in times))


def _fewer(claim: Claim, runs: Runs, bench: Path) -> Comparison:
    one, two, column = claim.runs
    costs = alignment_costs()
    a, b = (costs[name][column] for name in (one, two))
    return Comparison(NAN, NAN, NAN, NAN, 0, "holds" if float(a) < float(b) else "does not hold",
                      f"{column.removeprefix('our ')}: {a} against {b}")


def _untestable(claim: Claim, runs: Runs, bench: Path) -> Comparison:
    return Comparison(NAN, NAN, NAN, NAN, 0, claim.kind, claim.runs[0])


DECIDE: dict[str, Callable[[Claim, Runs, Path], Comparison]] = {
    "better": _better, "best": _best, "alike": _alike, "slices": _slices,
    "interaction": _interaction, "grows": _grows, "fewer": _fewer,
    "not testable here": _untestable,
}


def summary(rows: Sequence[dict]) -> str:
    """How many claims ended with which verdict."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["verdict"]] = counts.get(row["verdict"], 0) + 1
    return ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
