"""Tubelet re-scoring (T-CNN, Kang et al., Sec. 3.5), for detections without a tracker.

As in T-CNN tubelets start at the best detections and are followed both ways in time; a tubelet is
positive or negative by the k-th best score in it; scores of positives are mapped to [0.5, 1] and
those of all else to [0, 0.5]. Where T-CNN tracks and then moves each box to the best detection that
overlaps it by 0.5 ("spatial max-pooling"), a step here leads to that detection directly; where it
learns a classifier of the statistic, a threshold stands. Nothing is removed. DEVIATIONS.md 34.
"""

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.evaluation.columns import ClipDetections
from mstlib.link.overlap import Table, overlapping
from mstlib.link.parts import Part, class_by_class

OVERLAP = 0.5     # IoU from which a detection continues a tubelet: that of T-CNN's max-pooling
NEAR = 0.3        # IoU from which a detection beside a tubelet starts none of its own: T-CNN's
TOP = 5           # a tubelet is as good as its 5th best score: T-CNN's k is unstated
THRESHOLD = 0.5   # positive from here: more likely the class than all else together


def tubelet(found: ClipDetections, top: int = TOP, threshold: float = THRESHOLD) -> ClipDetections:
    """A clip after tubelet re-scoring: the same boxes, with scores (s + 1) / 2 if positive, s / 2
    if not."""

    def one_class(part: Part) -> tuple[Array, Array]:
        """All kept; the members of positive tubelets are lifted."""
        positive = np.zeros(len(part.scores), bool)
        for members in tubelets(part, threshold):
            worst_of_top = np.sort(part.scores[members])[-min(top, len(members))]
            positive[members] = worst_of_top >= threshold
        return np.ones(len(positive), bool), (part.scores + positive) / 2

    return class_by_class(found, one_class)


def tubelets(part: Part, threshold: float) -> list[list[int]]:
    """Tubelets that start at detections of score >= threshold, the best first, as lists of rows.

    One that starts below it has no better score and is negative whatever follows, so is not built.
    """
    pairs = overlapping(part.boxes, part.bounds, 0, NEAR)
    near, steps = Table(pairs.left, pairs.right, pairs.size), _steps(part)
    scores, found = part.scores.tolist(), []
    free, starts = [True] * pairs.size, (part.scores >= threshold).tolist()
    for box in np.argsort(-part.scores, kind="stable").tolist():
        if starts[box]:
            members = [box, *(member for step in steps
                              for member in _follow(box, step, scores, free))]
            for member in members:
                free[member] = starts[member] = False
                for other in near[member]:
                    starts[other] = False
            found.append(members)
    return found


def _steps(part: Part) -> tuple[Table, Table]:
    """Which detections overlap each one in the frame after, and in the frame before."""
    links = overlapping(part.boxes, part.bounds, 1, OVERLAP)
    back = np.argsort(links.right, kind="stable")
    return (Table(links.left, links.right, links.size),
            Table(links.right[back], links.left[back], links.size))


def _follow(box: int, step: Table, scores: list[float], free: list[bool]) -> list[int]:
    """From a box on, one way in time: always the best overlapping detection that is still free."""
    found = []
    while there := [other for other in step[box] if free[other]]:
        box = max(there, key=scores.__getitem__)  # the first of equals
        found.append(box)
    return found
