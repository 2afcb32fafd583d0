"""What several notebooks ask for: numbers from the run records where there are any, otherwise
measured now, and the frame that they look at.

Not part of the paper. Every number comes with a line that says where it is from.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mstlib.config import TestConfig
from mstlib.data.clip import DETERIORATIONS, Clip
from mstlib.evaluation.story import hardest, track_scores, traveller
from mstlib.report.records import read_runs
from mstlib.report.stats import mean_and_sd, slice_map
from mstlib.stream import detect_clip
from mstlib.training.experiment import trained

PARTS = ("all", "clean", "deteriorated", *DETERIORATIONS)  # slices of frames


class HardFrame(NamedTuple):
    """An object in a frame that one detector finds hard: numbers of clip and frame, track id, and
    the scores of the single-frame detector (a) and of the whole method (g)."""

    clip: int
    t: int
    track: int
    alone: float
    whole: float


def hard_frame(profile: str, clips: Sequence[Clip], test: TestConfig) -> HardFrame:
    """The traveller (`story.traveller`) in the frame in which (g) gains most over (a), of the
    shipped models."""
    number, track = traveller(clips)
    alone, whole = (track_scores(detect_clip(trained(profile, variant), clips[number], test),
                                 clips[number], track) for variant in "ag")
    t = hardest(alone, whole)
    return HardFrame(number, t, track, alone[t], whole[t])


def runs_of(folder: Path, profile: str, variant: str) -> list[dict]:
    """The run records of a variant with the profile's own settings, one a seed."""
    return [r for r in read_runs(folder, profile) if r["variant"] == variant and not r["tag"]]


def source_of(runs: Sequence[dict]) -> str:
    """Where the mean over some run records is from, in a line."""
    data = f"{runs[0]['dataset']['name']} {runs[0]['dataset']['split']}"
    return f"{data}: mean of the run records {', '.join(r['id'] for r in runs)}"


def slice_scores(folder: Path, profile: str, variant: str, measure: Callable[[], dict[str, float]]
                 ) -> tuple[dict[str, float], str]:
    """mAP in percent on all, clean and deteriorated frames and on each deterioration (Table VIII),
    and where the numbers are from.

    The mean over the run records of the variant in `folder`; without one, what `measure` returns.
    """
    runs = runs_of(folder, profile, variant)
    if not runs:
        found = measure()
        return ({part: found[part] for part in PARTS if part in found},
                "measured now, one model, on the clips above")
    return ({part: mean_and_sd([slice_map(r, part) for r in runs])[0] for part in PARTS},
            source_of(runs))


def measured(folder: Path, profile: str, variant: str, what: str, measure: Callable[[], dict]
             ) -> tuple[dict, str]:
    """A group of a record's measures, such as "alignment", and where its numbers are from.

    The mean over the run records of the variant in `folder` that have it; without one, what
    `measure` returns.
    """
    runs = [r for r in runs_of(folder, profile, variant) if what in r.get("measures", {})]
    if not runs:
        return measure(), "measured now, one model, on the clips above"
    return mean_of([r["measures"][what] for r in runs]), source_of(runs)


def mean_of(groups: Sequence[dict]) -> dict:
    """The mean of nested dicts of numbers that have the same names; None where one is None."""
    means = {}
    for name in groups[0]:
        values = [group[name] for group in groups]
        known = None not in values
        means[name] = mean_of(values) if isinstance(values[0], dict) else (
            sum(values) / len(values) if known else None)
    return means
