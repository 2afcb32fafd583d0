"""Matching: which detection is right, and which object does it stand for? Done once per clip.

The first half of evaluation, in which the protocols `vid` (VOC style), `vid-devkit` (ImageNet VID)
and `uavdt` differ; average precision (evaluate.py) is then a function of the match table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.config import MSTError
from mstlib.evaluation.columns import ClipDetections, Predictions, Targets, check_lengths, flatten
from mstlib.evaluation.motion import Truth, annotate, iou_inclusive, join, overlaps

T, R = TypeVar("T"), TypeVar("R")

PIXEL_TOLERANCE = 10  # the devkit's: a box of 10 x 10 may be wrong by about this many pixels
REGION = 0.5          # a detection lies in an ignored region by this share of its own area
CHUNK = 16384         # detections compared at once: bounds memory where a frame has many objects


@dataclass(frozen=True)
class Rule:
    """How a protocol matches; see `match`."""

    iou: float = 0.5
    tolerant: bool = False   # to small objects, and to the best object still free
    one_class: str = ""      # the name of all classes together


RULES = {
    "vid": Rule(),
    "vid-devkit": Rule(tolerant=True),
    "uavdt": Rule(iou=0.7, one_class="vehicle"),
}


@dataclass(frozen=True)
class Verdicts:
    """Detections of a clip, frame by frame by falling score: label, score, tp, frame, object (D,).

    object: the row of `Truth` that the detection stands for, -1 if none; see `match`.
    """

    label: Array
    score: Array
    tp: Array
    frame: Array
    object: Array


@dataclass(frozen=True)
class MatchTable:
    """All D detections with their verdicts, class by class by falling score; F frames in all clips.

    classes: names, label k is classes[k - 1]. label (int16), score (float32), tp, frame, object
    (int32): (D,), `frame` in 0..F-1, `object` a row of `truth` or -1. clip_of (F,): a frame's clip.
    """

    protocol: str
    classes: tuple[str, ...]
    label: Array
    score: Array
    tp: Array
    frame: Array
    object: Array
    truth: Truth
    clip_of: Array

    @property
    def clips(self) -> int:
        """Number of videos."""
        return int(self.clip_of.max()) + 1

    def of_class(self, c: int) -> slice:
        """The rows of class number c, counted from 0."""
        bounds = np.array([c + 1, c + 2], self.label.dtype)  # of another type: copies all labels
        return slice(*np.searchsorted(self.label, bounds))


def match(
    predictions: Predictions, targets: Targets, classes: Sequence[str], protocol: str = "vid"
) -> MatchTable:
    """Decide for every detection whether it is right: a MatchTable.

    Frame by frame and class by class, by falling score, boxes with x2, y2 inclusive (+1 pixel):
    `vid` (VOC): a detection stands for the object it overlaps most; right if IoU >= 0.5 and not yet
    taken. `vid-devkit` (ImageNet VID): it takes the best object still free whose own threshold
    min(0.5, wh / ((w+10)(h+10))) it meets. `uavdt`: as `vid` at IoU 0.7, all classes as one. A
    detection that is not right but close enough to an object stands for the one it overlaps most.
    One that stands for none is dropped if an ignored region covers half of it. MSTError naming
    clip, frame and shape on damaged input.
    """
    if protocol not in RULES:
        raise MSTError(f"no matching rule for protocol '{protocol}'; choose {' or '.join(RULES)}")
    found, truths = columns(predictions, targets, len(classes))
    verdicts = [match_clip(f, t, protocol) for f, t in zip(found, truths, strict=True)]
    return assemble(protocol, classes, verdicts, truths, [len(f.counts) for f in found])


def match_clip(found: ClipDetections, truth: Truth, protocol: str) -> Verdicts:
    """Which detections of a clip are right, and what they stand for."""
    rule = RULES[protocol]
    if rule.one_class:
        found, truth = _one_class(found), _one_class(truth)
    order = np.lexsort((-found.scores, found.frames))  # stable
    boxes, labels, frames = found.boxes[order], found.labels[order], found.frames[order]
    chunks = [slice(i, i + CHUNK) for i in range(0, max(1, len(order)), CHUNK)]
    parts = [_close_pairs(boxes[s], labels[s], frames[s], truth, rule) for s in chunks]
    d = np.concatenate([part[0] + s.start for part, s in zip(parts, chunks, strict=True)])
    g = np.concatenate([part[1] for part in parts])
    right, stands_for = _take(d, g, len(order), len(truth.labels))
    outside = np.concatenate([~_in_regions(boxes[s], frames[s], truth) for s in chunks])
    kept = (stands_for >= 0) | outside
    return Verdicts(labels[kept].astype(np.int16), found.scores[order][kept], right[kept],
                    frames[kept], stands_for[kept])


def _close_pairs(boxes: Array, labels: Array, frames: Array, truth: Truth, rule: Rule
                 ) -> tuple[Array, Array]:
    """(K,), (K,): detections and objects of the same frame and class that overlap enough.

    By detection, the largest overlap first; that one only unless the rule is tolerant.
    """
    d, g = _same_frame(frames, truth.frames)
    same = labels[d] == truth.labels[g]
    d, g = d[same], g[same]
    there = truth.boxes[g].astype(np.float64)
    iou, threshold = iou_inclusive(boxes[d].astype(np.float64), there), rule.iou
    if rule.tolerant:
        size = there[:, 2:] - there[:, :2] + 1                                        # (K, 2)
        threshold = np.minimum(rule.iou, size.prod(1) / (size + PIXEL_TOLERANCE).prod(1))
    close = iou >= threshold
    d, g, iou = d[close], g[close], iou[close]
    order = np.lexsort((g, -iou, d))
    d, g = d[order], g[order]
    first = slice(None) if rule.tolerant else _first_of_each(d)
    return d[first], g[first]


def _take(d: Array, g: Array, detections: int, objects: int) -> tuple[Array, Array]:
    """(D,) right and (D,) object: one detection after the other takes the first that is free."""
    right, taken = bytearray(detections), bytearray(objects)
    stands_for = np.full(detections, -1, np.int32)
    first = _first_of_each(d)
    stands_for[d[first]] = g[first]
    for one, other in zip(d.tolist(), g.tolist(), strict=True):
        if not right[one] and not taken[other]:
            right[one] = taken[other] = 1
            stands_for[one] = other
    return np.frombuffer(right, bool), stands_for


def _first_of_each(d: Array) -> Array:
    """Places where a new value starts in sorted d."""
    return np.flatnonzero(np.diff(d, prepend=-1))


def _in_regions(boxes: Array, frames: Array, truth: Truth) -> Array:
    """(D,) bool: does an ignored region of its frame cover at least half of a detection?"""
    d, r = _same_frame(frames, truth.ignored_frames)
    inside, area, _ = overlaps(boxes[d].astype(np.float64), truth.ignored[r].astype(np.float64))
    covered = np.zeros(len(boxes), bool)
    covered[d[inside >= REGION * area]] = True
    return covered


def _same_frame(a: Array, b: Array) -> tuple[Array, Array]:
    """All pairs (i, j) with a[i] == b[j], by rising i then j; a (D,), and b (G,) sorted."""
    start = np.searchsorted(b, a)
    count = np.searchsorted(b, a, side="right") - start
    i = np.repeat(np.arange(len(a)), count)
    before = np.cumsum(count) - count
    return i, np.arange(len(i)) + np.repeat(start - before, count)


def assemble(protocol: str, classes: Sequence[str], verdicts: Sequence[Verdicts],
             truths: Sequence[Truth], lengths: Sequence[int]) -> MatchTable:
    """The match table of clips of `lengths` frames."""
    truth = join(truths, lengths)
    objects = np.cumsum([0, *(len(t.labels) for t in truths)])
    frames = np.cumsum([0, *lengths])
    label = np.concatenate([v.label for v in verdicts])
    score = np.concatenate([v.score for v in verdicts])
    tp = np.concatenate([v.tp for v in verdicts])
    order = _by_class_and_score(label, score, tp)
    label, score, tp = label[order], score[order], tp[order]
    frame = np.concatenate([v.frame + np.int32(f)
                            for v, f in zip(verdicts, frames, strict=False)])[order]
    stands_for = np.concatenate([np.where(v.object < 0, -1, v.object + np.int32(o))
                                 for v, o in zip(verdicts, objects, strict=False)])[order]
    if RULES[protocol].one_class:
        classes, truth = (RULES[protocol].one_class,), _one_class(truth)
    return MatchTable(protocol, tuple(classes), label, score, tp, frame, stands_for, truth,
                      np.repeat(np.arange(len(lengths), dtype=np.int32), lengths))


def _by_class_and_score(label: Array, score: Array, tp: Array) -> Array:
    """Order of the detections: class by class, by falling score, equal scores the wrong ones first.

    The protocols leave ties open. Wrong first is the cautious order, and makes the result
    independent of the order of the frames.
    """
    order = np.argsort(label, kind="stable")
    bounds = np.cumsum([0, *np.bincount(label)])
    for part in (slice(*pair) for pair in zip(bounds, bounds[1:], strict=False)):
        mine = order[part]
        order[part] = mine[np.lexsort((tp[mine], -score[mine]))]
    return order


def _one_class(columns_: ClipDetections | Truth):
    """The same boxes, all of class 1."""
    return replace(columns_, labels=np.ones_like(columns_.labels))


# From tensors to columns --------------------------------------------------------------------------


def columns(predictions: Predictions, targets: Targets, classes: int
            ) -> tuple[list[ClipDetections], list[Truth]]:
    """Both sides as columns, clip by clip; MSTError unless they fit each other and are sound."""
    check_lengths(predictions, targets)
    found = [flatten(clip, f"prediction, clip {c}", classes) for c, clip in enumerate(predictions)]
    return found, [annotate(clip, f"target, clip {c}", classes) for c, clip in enumerate(targets)]


# Several processes --------------------------------------------------------------------------------
