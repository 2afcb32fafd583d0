"""Every detection of a split with its verdict and its place, frame by frame.

What `matching.match` decides under protocol `vid`, kept together with where each detection stands
in its frame: a match table, which has room for millions, does not say. `mstlib.evaluation.failures`
builds on it.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.evaluation.columns import ClipDetections, Predictions, Targets
from mstlib.evaluation.matching import columns, match_clip
from mstlib.evaluation.motion import Truth, join


@dataclass(frozen=True)
class Judged:
    """All D detections with their verdicts, and the G objects of all clips.

    label, score, tp, frame, object, row: (D,), boxes (D, 4); frames counted through all clips,
    object: row of `truth` that the detection stands for or -1, row: in its frame. best (G,): the
    right detection of each object, -1 without. starts (clips,): first frame of each.
    """

    label: Array
    score: Array
    tp: Array
    frame: Array
    object: Array
    row: Array
    boxes: Array
    truth: Truth
    best: Array
    starts: Array


def judge_all(predictions: Predictions, targets: Targets, classes: int) -> Judged:
    """The verdicts of `matching.match` under `vid`, with the row of each detection in its frame."""
    found, truths = columns(predictions, targets, classes)
    starts = np.cumsum([0, *(len(f.counts) for f in found)])
    objects = np.cumsum([0, *(len(t.labels) for t in truths)])
    parts = [_judged(*part) for part in zip(found, truths, starts, objects, strict=False)]
    label, score, tp, frame, stands_for, row, boxes = map(np.concatenate, zip(*parts, strict=True))
    best = np.full(objects[-1], -1)
    best[stands_for[tp]] = np.flatnonzero(tp)
    truth = join(truths, [len(f.counts) for f in found])
    return Judged(label, score, tp, frame, stands_for, row, boxes, truth, best, starts[:-1])


def _judged(found: ClipDetections, truth: Truth, frame: int, objects: int) -> tuple[Array, ...]:
    """The columns of `Judged` of one clip; a rank for a score tells which detection is which."""
    order = np.lexsort((-found.scores, found.frames))                      # as `match_clip` sorts
    ranks = np.empty(len(order))
    ranks[order] = np.arange(len(order))[::-1]
    verdicts = match_clip(replace(found, scores=ranks), truth, "vid")
    at = order[len(order) - 1 - verdicts.score.astype(int)]
    row = at - (np.cumsum(found.counts) - found.counts)[verdicts.frame]
    stands_for = np.where(verdicts.object < 0, -1, verdicts.object + objects)
    return (verdicts.label, found.scores[at], verdicts.tp, verdicts.frame + frame, stands_for, row,
            found.boxes[at])
