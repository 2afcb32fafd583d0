"""Controls: runs that differ from Table III's in one respect, and the question each one answers.

Such a run carries a tag in its name, which keeps it out of Table III. Eq. 5 compares content only,
so that DAlign, which moves content about, cannot matter to it: with a term of place it can. Two
more controls take a taught loss away, or put the paper's literal rule in.
"""

from collections.abc import Sequence
from typing import NamedTuple

from mstlib.report.cells import by_name
from mstlib.report.stats import compare, mean_and_sd


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
    Question("g", "g-label", "the test-time instance rule in training, not the labels"),
)


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
