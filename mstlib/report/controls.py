"""Controls: runs that differ from Table III's in one respect, and the question each one answers.

Such a run carries a tag in its name, which keeps it out of Table III. Eq. 5 compares content only,
so that DAlign, which moves content about, cannot matter to it: with a term of place it can. Two
more controls take a taught loss away, or put the paper's literal rule in.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mstlib.report.cells import by_name
from mstlib.report.stats import Comparison, compare, mean_and_sd
from mstlib.report.tables import NAMES_I


class Question(NamedTuple):
    """Does `better` beat `base`? `part` is what one has and the other lacks."""

    better: str
    base: str
    part: str


QUESTIONS = (
    Question("d", "b", "alignment, to a frame level that compares content only (Eq. 5)"),
    Question("b-place", "b", "a term of place in the frame level"),
    Question("d-place", "b-place", "alignment, to a frame level that knows places"),
    Question("d-place", "d-place-free", "teaching the offsets the motion, knowing places"),
    Question("d", "d-free", "teaching the offsets the motion, content only"),
    Question("g-place", "g", "a term of place in the whole method"),
    Question("g-place", "fgfa", "the whole method with a term of place, against FGFA"),
    Question("g-place", "h", "the whole method with a term of place, against MEGA"),
    Question("g", "c", "the whole method, against the base stage of RDN"),
    Question("g", "g-label", "the test-time instance rule in training, not the labels"),
)


RIVALS = {"a": "Faster R-CNN", "c": "the base stage of RDN",
          **{run: method for method, run in NAMES_I.items() if run != "g"}}
HOW = {"holds": "beats", "within noise": "is level within noise with",
       "does not hold": "stays behind"}


def plainly(records: Sequence[dict]) -> str:
    """In words: whom the whole method beats on this data and whom not, and what was tried; ""
    without any run of it."""
    runs = by_name(records)
    against: dict[str, list[str]] = {}
    for name, title in RIVALS.items():
        ours = compare(runs.get("g", []), runs.get(name, []))
        against.setdefault(ours.verdict, []).append(f"{title} ({between(ours)})")
    known = [f"{how} {', '.join(against[verdict])}" for verdict, how in HOW.items()
             if verdict in against]
    tried = [(q.base, compare(runs.get(q.better, []), runs.get(q.base, [])))
             for q in QUESTIONS if q.better == "g-place"]
    gains = [f"{between(ours)} over {RIVALS.get(base, 'the method as printed')}"
             for base, ours in tried if ours.verdict in HOW]
    text = f"Plainly: here the whole method {'; '.join(known)}." if known else ""
    text += (" Tried: a term of place in its frame level, which Eq. 5 has not: "
             f"{', '.join(gains)} (controls).") if known and gains else ""
    return text


def between(ours: Comparison) -> str:
    """A difference with its interval: "+1.7 [-0.8, +4.0]"."""
    return f"{ours.difference:+.1f} [{ours.low:+.1f}, {ours.high:+.1f}]"


def control_rows(records: Sequence[dict]) -> list[dict]:
    """Each of `QUESTIONS` as a row: our difference, its interval, the verdict, what offsets do."""
    runs = by_name(records)
    return [_row(question, runs) for question in QUESTIONS]


def _row(question: Question, runs: dict[str, list[dict]]) -> dict:
    """One row of the table."""
    better, base = runs.get(question.better, []), runs.get(question.base, [])
    ours = compare(better, base)
    return {
        "claim": f"{question.better} > {question.base}", "what": question.part,
        "our difference": ours.difference, "95 % low": ours.low, "95 % high": ours.high,
        "sd over seeds": ours.spread, "seeds": ours.seeds, "verdict": ours.verdict,
        "motion explained by the offsets": _explained(better), "note": ours.note,
    }


def _explained(runs: list[dict]) -> float:
    """Mean share of the squared true motion that DAlign's offsets explain, percent; NaN without."""
    known = [r["measures"]["alignment"]["all"]["explained"] for r in runs
             if "alignment" in r.get("measures", {})]
    return 100 * mean_and_sd(known)[0]
