"""A clip class by class: what the methods work on, and how their verdicts become a clip again."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.config import MSTError
from mstlib.evaluation.columns import ClipDetections


@dataclass(frozen=True)
class Part:
    """The N detections of one class of a clip of T frames, frame after frame.

    rows (N,): where they stand in the clip; boxes (N, 4), scores (N,): float64, so that sums and
    IoUs are exact enough to compare; bounds (T + 1,): those of frame t are bounds[t]:bounds[t + 1].
    """

    rows: Array
    boxes: Array
    scores: Array
    bounds: Array


def class_by_class(found: ClipDetections, method: Callable[[Part], tuple[Array, Array]]
                   ) -> ClipDetections:
    """The clip after `method`, which says of a class: kept (N,) bool and new scores (N,)."""
    check_scores(found)
    kept, scores = np.ones(len(found.scores), bool), found.scores.copy()
    order = np.argsort(found.labels, kind="stable")
    ends = np.flatnonzero(np.diff(found.labels[order])) + 1
    for rows in np.split(order, ends) if len(order) else []:
        bounds = np.searchsorted(found.frames[rows], np.arange(len(found.counts) + 1))
        part = Part(rows, found.boxes[rows].astype(float), found.scores[rows].astype(float), bounds)
        kept[rows], scores[rows] = method(part)
    counts = np.bincount(found.frames[kept], minlength=len(found.counts)).astype(np.int32)
    return ClipDetections(counts, found.skipped.copy(), found.boxes[kept], scores[kept],
                          found.labels[kept])


def check_scores(found: ClipDetections) -> None:
    """MSTError naming the first frame with a score outside 0..1: sums of scores must not fall."""
    wrong = ~((found.scores >= 0) & (found.scores <= 1))
    if wrong.any():
        first = int(wrong.argmax())
        raise MSTError(f"frame {found.frames[first]}: linking needs scores in 0..1, got "
                       f"{found.scores[first]}")
