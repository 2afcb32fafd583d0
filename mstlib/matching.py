"""Matching: which detection is right? The first half of evaluation, done once per frame.

Protocols `vid` (VOC style) and `vid-devkit` (ImageNet VID) differ here only; average precision
(`mstlib.evaluate`) is then a function of the match table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray as Array
from torch import Tensor

from mstlib.config import MSTError
from mstlib.data.clip import Detections, Target

Predictions = Sequence[Sequence[Detections]]  # clips x frames
Targets = Sequence[Sequence[Target]]          # clips x frames

IOU = 0.5
PIXEL_TOLERANCE = 10  # the devkit's: a box of 10 x 10 may be wrong by about this many pixels


@dataclass(frozen=True)
class MatchTable:
    """All D detections with their verdicts, by falling score; F frames, counted through all clips.

    classes: names, label k is classes[k - 1]. label, score, tp, clip, frame: (D,), `frame` in
    0..F-1. objects (F, C): ground-truth boxes of each frame and class. clip_of (F,): its clip.
    """

    protocol: str
    classes: tuple[str, ...]
    label: Array
    score: Array
    tp: Array
    clip: Array
    frame: Array
    objects: Array
    clip_of: Array

    @property
    def clips(self) -> int:
        """Number of videos."""
        return int(self.clip_of.max()) + 1


def match(
    predictions: Predictions, targets: Targets, classes: Sequence[str], protocol: str = "vid"
) -> MatchTable:
    """Decide for every detection whether it is right: a MatchTable.

    Frame by frame and class by class, by falling score, boxes with x2, y2 inclusive (+1 pixel):
    `vid` (VOC): a detection stands for the object it overlaps most; right if IoU >= 0.5 and not yet
    taken. `vid-devkit` (ImageNet VID): it takes the best object still free whose own threshold
    min(0.5, wh / ((w+10)(h+10))) it meets. MSTError naming clip, frame and shape on damaged input.
    """
    rules = {"vid": _match_vid, "vid-devkit": _match_devkit}
    if protocol not in rules:
        raise MSTError(f"no matching rule for protocol '{protocol}'; choose {' or '.join(rules)}")
    check_inputs(predictions, targets, len(classes))
    columns, objects, clip_of = [np.zeros((5, 0))], [], []
    for c, (detected, annotated) in enumerate(zip(predictions, targets, strict=True)):
        for detections, target in zip(detected, annotated, strict=True):
            verdicts = _match_frame(detections, target, rules[protocol])         # (3, D)
            place = np.full((2, verdicts.shape[1]), [[c], [len(clip_of)]])
            columns.append(np.concatenate([verdicts, place]))
            objects.append(np.bincount(to_numpy(target.labels), minlength=len(classes) + 1)[1:])
            clip_of.append(c)
    label, score, tp, clip, frame = _by_score(np.concatenate(columns, axis=1))
    label, clip, frame = (column.astype(np.int64) for column in (label, clip, frame))
    return MatchTable(protocol, tuple(classes), label, score, tp.astype(bool), clip, frame,
                      np.stack(objects), np.array(clip_of))


def _by_score(columns: Array) -> Array:
    """Columns (5, D) by falling score; equal scores: the wrong ones first.

    The protocols leave ties open. Wrong first is the cautious order, and makes the result
    independent of the order of the frames.
    """
    _, score, tp, _, _ = columns
    return columns[:, np.lexsort((tp, -score))]


def _match_frame(detections: Detections, target: Target, rule: Callable) -> Array:
    """(3, D): label, score, right of one frame's detections, by falling score."""
    scores = to_numpy(detections.scores).astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    labels = to_numpy(detections.labels)[order]
    truth = to_numpy(target.boxes).astype(np.float64)
    iou = iou_inclusive(to_numpy(detections.boxes)[order].astype(np.float64), truth)  # (D, N)
    iou = np.where(labels[:, None] == to_numpy(target.labels), iou, 0)
    right = rule(iou, truth) if iou.size else np.zeros(len(labels), bool)
    return np.stack([labels, scores[order], right])


def _match_vid(iou: Array, truth: Array) -> Array:
    """(D,) bool: of all detections whose best object is the same, the first with IoU >= 0.5."""
    close = np.flatnonzero(iou.max(axis=1) >= IOU)
    _, first = np.unique(iou[close].argmax(axis=1), return_index=True)
    right = np.zeros(len(iou), bool)
    right[close[first]] = True
    return right


def _match_devkit(iou: Array, truth: Array) -> Array:
    """(D,) bool: one after the other takes the best free object whose own threshold it meets."""
    size = truth[:, 2:] - truth[:, :2] + 1                                        # (N, 2)
    threshold = np.minimum(IOU, size.prod(1) / (size + PIXEL_TOLERANCE).prod(1))  # (N,)
    close = np.where(iou >= threshold, iou, 0)
    right = np.zeros(len(iou), bool)
    for d in np.flatnonzero(close.any(axis=1)):
        best = close[d].argmax()
        right[d] = close[d, best] > 0
        if right[d]:
            close[:, best] = 0  # taken
    return right


def iou_inclusive(a: Array, b: Array) -> Array:
    """(D, N) IoU of xyxy boxes (D, 4), (N, 4) whose last pixel counts, as in VOC and the devkit."""
    low = np.maximum(a[:, None, :2], b[:, :2])
    high = np.minimum(a[:, None, 2:], b[:, 2:])
    inside = np.clip(high - low + 1, 0, None).prod(axis=2)
    area_a, area_b = ((x[:, 2:] - x[:, :2] + 1).prod(axis=1) for x in (a, b))
    return inside / (area_a[:, None] + area_b - inside)


def to_numpy(tensor: Tensor) -> Array:
    """The tensor as a NumPy array, from whatever device."""
    return tensor.detach().cpu().numpy()


def check_inputs(predictions: Sequence[Sequence], targets: Targets, classes: int) -> None:
    """MSTError unless both are clips x frames of the same lengths and every frame is sound."""
    check_lengths(predictions, targets)
    for c, (detected, annotated) in enumerate(zip(predictions, targets, strict=True)):
        for t, (detections, target) in enumerate(zip(detected, annotated, strict=True)):
            _check_boxes(f"prediction, clip {c}, frame {t}", detections, classes)
            _check_boxes(f"target, clip {c}, frame {t}", target, classes)
            _check_scores(f"prediction, clip {c}, frame {t}", detections)


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


def _check_boxes(where: str, item: Detections | Target, classes: int) -> None:
    """MSTError unless boxes are finite, ordered (N, 4) and labels (N,) within 1..classes."""
    boxes, labels = to_numpy(item.boxes), to_numpy(item.labels)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise MSTError(f"{where}: boxes must be (N, 4) xyxy, got {boxes.shape}")
    if labels.shape != boxes.shape[:1] or labels.dtype.kind not in "iu":
        raise MSTError(f"{where}: labels must be integers ({len(boxes)},), one a box, "
                       f"got {labels.dtype} {labels.shape}")
    if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
        raise MSTError(f"{where}: a box of {boxes.shape} is not finite or has x2 < x1 or y2 < y1")
    if labels.size and not (labels.min() >= 1 and labels.max() <= classes):
        raise MSTError(f"{where}: labels {labels.shape} must be 1..{classes} (0 is background), "
                       f"got {labels.min()}..{labels.max()}")


def _check_scores(where: str, detections: Detections) -> None:
    """MSTError unless scores are finite and (D,), one a box."""
    scores = to_numpy(detections.scores)
    if scores.shape != (len(detections.boxes),) or not np.isfinite(scores).all():
        raise MSTError(f"{where}: scores must be finite and ({len(detections.boxes)},), one a box, "
                       f"got {scores.shape} with {np.isnan(scores).sum()} NaN")
