"""Two answers to the same frames, compared where nobody knows the truth: your own video.

Not part of the paper. Notebook 12 compares modes of inference and changed videos with it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torchvision.ops import box_iou

from mstlib.config import MSTError
from mstlib.data.clip import Detections
from mstlib.evaluation.story import SAME


class Agreement(NamedTuple):
    """Numbers of strong detections: of each answer, and those that both give."""

    one: int
    two: int
    both: int

    @property
    def found_again(self) -> float:
        """Percent of the first answer's detections that the second gives too; NaN without any."""
        return 100 * self.both / self.one if self.one else float("nan")


def agreement(one: Sequence[Detections], two: Sequence[Detections], threshold: float = 0.5
              ) -> Agreement:
    """How far two answers agree, frame by frame, on detections of score >= `threshold`.

    Two detections agree if they have the same class and IoU >= 0.5; each is counted in one pair at
    most, the best overlaps first. MSTError if the numbers of frames differ.
    """
    if len(one) != len(two):
        raise MSTError(f"{len(one)} and {len(two)} frames; compare answers to the same frames")
    strong = [[strong_part(d, threshold) for d in side] for side in (one, two)]
    both = sum(_pairs(a, b) for a, b in zip(*strong, strict=True))
    return Agreement(*(sum(len(d.scores) for d in side) for side in strong), both)


def strong_part(found: Detections, threshold: float) -> Detections:
    """The detections of a frame with a score >= `threshold`."""
    rows = found.scores >= threshold
    return Detections(found.boxes[rows], found.scores[rows], found.labels[rows])


def _pairs(a: Detections, b: Detections) -> int:
    """How many detections of two answers to one frame agree."""
    iou = box_iou(a.boxes, b.boxes) * (a.labels[:, None] == b.labels)     # (A, B)
    pairs = 0
    while iou.numel() and iou.max() >= SAME:
        i, j = divmod(int(iou.argmax()), iou.shape[1])
        iou[i], iou[:, j] = 0, 0
        pairs += 1
    return pairs
