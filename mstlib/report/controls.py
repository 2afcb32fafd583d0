"""Controls: runs that differ from Table III's in one respect, and the question each one answers.

Such a run carries a tag in its name, which keeps it out of Table III. Eq. 5 compares content only,
so that DAlign, which moves content about, cannot matter to it: with a term of place it can. Two
more controls take a taught loss away, or put the paper's literal rule in.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mstlib.paper import Claim
from mstlib.report.stats import compare, mean_and_sd

if TYPE_CHECKING:  # pandas is imported where it is used
    import pandas

PLACE = {"model.frame_place": 0.5, "model.dalign_residual": False}
SETTINGS: dict[str, dict[str, object]] = {  # tag -> what differs from the profile
    "place": PLACE,
    "place-free": PLACE | {"train.motion_loss": 0.0},
    "free": {"train.motion_loss": 0.0},
    "label": {"model.instance_rule": "label"},
}
RUNS = {  # name -> seeds
    "b-place": (0, 1, 2), "d-place": (0, 1, 2), "d-place-free": (0, 1, 2),
    "d-free": (0,), "g-label": (0,),
}


QUESTIONS = (
    Claim("d", "b", "alignment, to a frame level that compares content only (Eq. 5)"),
    Claim("b-place", "b", "a term of place in the frame level"),
    Claim("d-place", "b-place", "alignment, to a frame level that knows places"),
    Claim("d-place", "d-place-free", "teaching the offsets the motion, knowing places"),
    Claim("d", "d-free", "teaching the offsets the motion, content only"),
    Claim("g", "g-label", "the test-time instance rule in training, not the labels"),
)


def split_name(name: str) -> tuple[str, str]:
    """"d-place-free" -> variant "d" and tag "place-free"; "d" has no tag."""
    variant, _, tag = name.partition("-")
    return variant, tag


def options(name: str) -> str:
    """What `mst train` is told for a run of this name, "" for one of Table III."""
    settings = SETTINGS[split_name(name)[1]] if "-" in name else {}
    return " ".join(f"--set {key}={value}" for key, value in settings.items())


def comparisons_controls(records: Sequence[dict], caption: str) -> "pandas.DataFrame":
    """Each of `QUESTIONS` as a row: our difference, its interval, the verdict, what offsets do."""
    import pandas

    runs: dict[str, list[dict]] = {}
    for record in records:
        tag = f"-{record['tag']}" if record["tag"] else ""
        runs.setdefault(record["variant"] + tag, []).append(record)
    frame = pandas.DataFrame([_row(question, runs) for question in QUESTIONS])
    frame.attrs["caption"] = caption
    return frame


def _row(question: Claim, runs: dict[str, list[dict]]) -> dict:
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
