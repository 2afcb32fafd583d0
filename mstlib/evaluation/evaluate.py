"""Evaluation: average precision under a named protocol, on slices, with its uncertainty.

Sec. IV-A and Tables III and VIII of the paper. Matching (`mstlib.evaluation.matching`) decides once
which detections are right; average precision of any subset of frames or objects, or of any
resampling of the videos, is then a cheap function of that match table. The rules stand in
docs/evaluation.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.config import MSTError
from mstlib.evaluation.coco_protocol import coco_numbers
from mstlib.evaluation.columns import ClipDetections, Predictions, Targets
from mstlib.evaluation.matching import MatchTable, columns, match
from mstlib.evaluation.motion import Slice, Truth, annotate, frame_slices, join, slices_of
from mstlib.evaluation.precision import average_precisions, check_mask, mean_present, members

PROTOCOLS = ("vid", "vid-devkit", "coco", "uavdt")
SLICES = ("all", "clean", "deteriorated")  # those a bootstrap is kept of
ANY = 1 << 30    # classes, where their number does not matter


@dataclass(frozen=True)
class Evaluation:
    """Percentages 0..100 under a protocol; NaN where there is no ground truth.

    mAP: mean over the classes present (`coco`: also over IoU 0.5:0.95). per_class: average
    precision by class name (`coco`: at IoU 0.5). extra: what else the protocol reports.
    """

    protocol: str
    mAP: float
    per_class: dict[str, float]
    extra: dict[str, float]


def evaluate(
    predictions: Predictions,
    targets: Targets,
    classes: Sequence[str],
    protocol: str = "vid",
    frames: Array | None = None,
) -> Evaluation:
    """Average precision of `predictions` (clips x frames) against `targets` of the same shape.

    protocol: one of PROTOCOLS, see `matching.match` and `coco_protocol`. frames: (F,) bool, the
    frames to count, all clips one after the other. MSTError on an unknown protocol or damaged
    input.
    """
    check_protocol(protocol)
    if protocol != "coco":
        return evaluate_table(match(predictions, targets, classes, protocol), frames)
    found, truths = columns(predictions, targets, len(classes))
    return _coco(found, join(truths, [len(f.counts) for f in found]), classes, frames)


def metrics(
    predictions: Predictions, targets: Targets, classes: Sequence[str], protocol: str = "vid"
) -> dict:
    """What a run record keeps of a protocol, JSON-ready: see `table_metrics`, `coco_metrics`."""
    check_protocol(protocol)
    if protocol != "coco":
        return table_metrics(match(predictions, targets, classes, protocol))
    return coco_metrics(*columns(predictions, targets, len(classes)), classes)


def table_metrics(table: MatchTable) -> dict:
    """mAP, per_class, slices, extra (percent) and objects (numbers) of a match table, JSON-ready.

    slices: mAP by name of `slices_of`, None where a slice has no object. objects: how many objects
    each class and each slice has.
    """
    whole, slices = evaluate_table(table), slices_of(table.truth, table.clip_of)
    maps = {name: whole.mAP if frames is None and objects is None
            else evaluate_table(table, frames, objects).mAP
            for name, (frames, objects) in slices.items()}
    return _metrics(whole, maps, table.truth, slices)


def coco_metrics(found: Sequence[ClipDetections], truths: Sequence[Truth], classes: Sequence[str],
                 jobs: int = 1) -> dict:
    """As `table_metrics` under `coco`, which is slow: slices of clean and deteriorated frames only.

    found, truths: clip by clip; jobs: processes that share the classes.
    """
    lengths = [len(f.counts) for f in found]
    truth = join(truths, lengths)
    whole, slices = _coco(found, truth, classes, None, jobs), frame_slices(truth, sum(lengths))
    slices = {name: (slices[name], None) for name in SLICES}
    maps = {"all": whole.mAP} | {name: _coco(found, truth, classes, slices[name][0], jobs).mAP
                                 if not slices[name][0].all() else whole.mAP for name in SLICES[1:]}
    return _metrics(whole, maps, truth, slices)


def _metrics(whole: Evaluation, maps: dict[str, float], truth: Truth, slices: dict[str, Slice]
             ) -> dict:
    counts = {"classes": dict(zip(whole.per_class, np.bincount(
                  truth.labels, minlength=len(whole.per_class) + 1)[1:].tolist(), strict=True)),
              "slices": {name: int(members(truth, *part).sum()) for name, part in slices.items()}}
    return {"mAP": plain(whole.mAP), "per_class": plain(whole.per_class), "slices": plain(maps),
            "extra": plain(whole.extra), "objects": counts}


def _coco(found: Sequence[ClipDetections], truth: Truth, classes: Sequence[str],
          frames: Array | None, jobs: int = 1) -> Evaluation:
    frames = check_mask(frames, sum(len(f.counts) for f in found))
    return Evaluation("coco", *coco_numbers(found, truth, classes, frames, jobs))


def check_protocol(protocol: str) -> None:
    """MSTError unless the protocol is one of PROTOCOLS."""
    if protocol not in PROTOCOLS:
        raise MSTError(f"unknown protocol '{protocol}'; choose one of {', '.join(PROTOCOLS)}")


def evaluate_table(
    table: MatchTable, frames: Array | None = None, objects: Array | None = None
) -> Evaluation:
    """The numbers of a match table on the chosen frames (F,) and objects (G,), bool or all."""
    aps = 100 * average_precisions(table, None, frames, objects)  # (1, C)
    per_class = dict(zip(table.classes, aps[0].tolist(), strict=True))
    return Evaluation(table.protocol, mean_present(aps).item(), per_class, {})


def slice_masks(targets: Targets) -> dict[str, Array]:
    """`frame_slices` of targets (clips x frames)."""
    lengths = [len(clip) for clip in targets]
    truths = [annotate(clip, f"target, clip {c}", ANY) for c, clip in enumerate(targets)]
    return frame_slices(join(truths, lengths), sum(lengths))


def deteriorated_frames(targets: Targets) -> Array:
    """(F,) bool: frames with any flagged object, all clips one after the other (Table VIII)."""
    return slice_masks(targets)["deteriorated"]


def plain(value, digits: int = 4):
    """JSON-ready copy of numbers in dicts and lists: rounded, NaN as None."""
    if isinstance(value, dict):
        return {name: plain(item, digits) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item, digits) for item in value]
    return None if np.isnan(value) else round(value, digits)
