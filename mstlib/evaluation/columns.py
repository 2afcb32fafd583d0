"""Detections as columns: what scoring works on, and the checks that everything scored passes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray as Array
from torch import Tensor

from mstlib.config import MSTError
from mstlib.data.clip import Detections, Target

Predictions = Sequence[Sequence[Detections]]  # clips x frames
Targets = Sequence[Sequence[Target]]          # clips x frames


@dataclass(frozen=True)
class ClipDetections:
    """Detections of a clip of T frames as columns, frame after frame.

    counts (T,) int32: detections of each frame; skipped (T,) bool: frames that could not be read.
    boxes (D, 4) float32 xyxy pixels of the unresized frame, scores (D,) float32, labels (D,) int16.
    """

    counts: Array
    skipped: Array
    boxes: Array
    scores: Array
    labels: Array

    @property
    def frames(self) -> Array:
        """(D,) int32: the frame of each detection."""
        return np.repeat(np.arange(len(self.counts), dtype=np.int32), self.counts)

    def without(self, frames: Array) -> "ClipDetections":
        """The same with frames (T,) bool skipped."""
        if (frames == self.skipped).all():
            return self
        kept = ~frames[self.frames]
        return ClipDetections(np.where(frames, 0, self.counts).astype(np.int32), frames,
                              self.boxes[kept], self.scores[kept], self.labels[kept])

    def of_frame(self, t: int) -> Detections:
        """Detections of frame t as tensors."""
        here = slice(self.counts[:t].sum(), self.counts[: t + 1].sum())
        boxes, scores, labels = (torch.from_numpy(column[here].copy())
                                 for column in (self.boxes, self.scores, self.labels))
        return Detections(boxes, scores, labels.long())


def flatten(frames: Sequence[Detections | None], where: str, classes: int) -> ClipDetections:
    """A clip's detections as columns, None for a skipped frame; MSTError if one is not sound."""
    rows = [(np.zeros(0, int), np.zeros((0, 4), np.float32), np.zeros(0, np.float32),
             np.zeros(0, np.int16))]
    for t, item in enumerate(frames):
        if item is not None:
            boxes, scores, labels = (to_numpy(x) for x in (item.boxes, item.scores, item.labels))
            n = len(boxes)
            check_shapes(f"{where}, frame {t}", boxes=(boxes, (n, 4), "f"),
                         scores=(scores, (n,), "f"), labels=(labels, (n,), "iu"))
            rows.append((np.full(n, t), boxes, scores.astype(np.float32), labels))
    frame, boxes, scores, labels = (np.concatenate(column) for column in zip(*rows, strict=True))
    check_values(where, frame, boxes, labels, classes, scores)
    counts = np.bincount(frame, minlength=len(frames)).astype(np.int32)
    return ClipDetections(counts, np.array([item is None for item in frames], bool), boxes, scores,
                          labels)


def check_lengths(predictions: Sequence[Sequence], targets: Targets) -> None:
    """MSTError unless there are as many clips and frames on both sides, and at least one frame."""
    sides = [[len(clip) for clip in side] for side in (predictions, targets)]
    if len(sides[0]) != len(sides[1]):
        raise MSTError(f"predictions for {len(sides[0])} clips, targets for {len(sides[1])}; "
                       "pass both from the same split")
    for c, (found, wanted) in enumerate(zip(*sides, strict=True)):
        if found != wanted or wanted == 0:
            raise MSTError(f"clip {c}: predictions for {found} frames, targets for {wanted}; pass "
                           "one of each for every frame, and at least one frame a clip")
    if not sides[1]:
        raise MSTError("no clips to evaluate; pass at least one")


def check_values(where: str, frames: Array, boxes: Array, labels: Array, classes: int,
                 scores: Array | None = None) -> None:
    """MSTError naming the first frame whose boxes, labels (1..classes) or scores are impossible."""
    wrong = ~(np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] >= boxes[:, :2]).all(axis=1))
    if wrong.any():
        first = int(wrong.argmax())
        raise MSTError(f"{where}, frame {frames[first]}: box {boxes[first].tolist()} is not finite "
                       f"or has x2 < x1 or y2 < y1")
    wrong = (labels < 1) | (labels > classes)
    if wrong.any():
        first = frames[wrong.argmax()]
        here = labels[frames == first]
        raise MSTError(f"{where}, frame {first}: labels must be 1..{classes} (0 is background), "
                       f"got {here.min()}..{here.max()}")
    if scores is not None and not np.isfinite(scores).all():
        first = frames[(~np.isfinite(scores)).argmax()]
        raise MSTError(f"{where}, frame {first}: scores must be finite, got "
                       f"{np.isnan(scores[frames == first]).sum()} NaN")


def check_shapes(where: str, **arrays: tuple[Array, tuple[int, ...], str]) -> None:
    """MSTError naming the first of name=(column, shape, kinds of dtype) that does not fit."""
    for name, (column, shape, kinds) in arrays.items():
        if column.shape != shape or column.dtype.kind not in kinds:
            kind = "integers " if kinds == "iu" else ""
            raise MSTError(f"{where}: {name} must be {kind}{shape}, one row a box, got "
                           f"{column.dtype} {column.shape}; boxes are (N, 4) xyxy")


def to_numpy(tensor: Tensor) -> Array:
    """The tensor as a NumPy array, from whatever device."""
    return tensor.detach().cpu().numpy()
