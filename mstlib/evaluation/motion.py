"""Ground truth as columns, and its slices: frames by deterioration, objects by motion and size.

Motion is how much an instance overlaps itself in the frames around (FGFA, Zhu et al. 2017): no
annotation but track ids is needed. Sizes are COCO's. Deteriorations are those of the paper's
Fig. 1 and Table VIII.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.data.clip import DETERIORATIONS, Target
from mstlib.evaluation.columns import check_shapes, check_values, to_numpy

SPAN = 10                       # frames before and after that an instance is compared with
SLOW, FAST = 0.9, 0.7           # mean IoU with itself: above is slow, below is fast
SMALL, LARGE = 32**2, 96**2     # square pixels: below is small, above is large
MOTIONS = ("slow motion", "medium motion", "fast motion")
SIZES = ("small objects", "medium objects", "large objects")

Slice = tuple[Array | None, Array | None]  # frames (F,) and objects (G,) bool; None: all of them


@dataclass(frozen=True)
class Truth:
    """Ground truth of a clip, or of all clips one after the other, as columns of G objects.

    boxes (G, 4) xyxy; labels, ids, frames (G,), `frames` rising; flags (G, 4) bool in the order of
    DETERIORATIONS. ignored (R, 4): regions that are not annotated, ignored_frames (R,): of which
    frame.
    """

    boxes: Array
    labels: Array
    ids: Array
    flags: Array
    frames: Array
    ignored: Array
    ignored_frames: Array


def annotate(frames: Sequence[Target | None], where: str, classes: int) -> Truth:
    """A clip's ground truth as columns, None for a skipped frame; MSTError if it is not sound."""
    rows = [(np.zeros((0, 4), np.float32), *(np.zeros(0, int),) * 2,
             np.zeros((0, len(DETERIORATIONS)), bool), np.zeros(0, int),
             np.zeros((0, 4), np.float32), np.zeros(0, int))]
    for t, item in enumerate(frames):
        if item is not None:
            boxes, labels, ids, flags, ignored = (to_numpy(x) for x in (
                item.boxes, item.labels, item.ids, item.flags, item.ignored))
            n, r = len(boxes), len(ignored)
            check_shapes(f"{where}, frame {t}", boxes=(boxes, (n, 4), "f"),
                         labels=(labels, (n,), "iu"), ids=(ids, (n,), "iu"),
                         flags=(flags, (n, len(DETERIORATIONS)), "bifu"),
                         ignored=(ignored, (r, 4), "f"))
            rows.append((boxes, labels, ids, flags.astype(bool), np.full(n, t), ignored,
                         np.full(r, t)))
    truth = Truth(*(np.concatenate(column) for column in zip(*rows, strict=True)))
    check_values(where, truth.frames, truth.boxes, truth.labels, classes)
    check_values(where, truth.ignored_frames, truth.ignored, np.ones(len(truth.ignored)), 1)
    return truth


def join(truths: Sequence[Truth], lengths: Sequence[int]) -> Truth:
    """Columns of several clips as one, frames counted through all of them."""
    starts = np.cumsum([0, *lengths[:-1]])
    shifted = [replace(t, frames=t.frames + s, ignored_frames=t.ignored_frames + s)
               for t, s in zip(truths, starts, strict=True)]
    return Truth(*(np.concatenate([getattr(t, f.name) for t in shifted]) for f in fields(Truth)))


def slices_of(truth: Truth, clip_of: Array) -> dict[str, Slice]:
    """Every slice by name: `frame_slices` and `object_slices`; clip_of (F,)."""
    by_frame = {name: (None if mask.all() else mask, None)
                for name, mask in frame_slices(truth, len(clip_of)).items()}
    return by_frame | {name: (None, mask) for name, mask in object_slices(truth, clip_of).items()}


def frame_slices(truth: Truth, frames: int) -> dict[str, Array]:
    """Frame masks (F,) bool by name: all, clean, deteriorated, and one for each deterioration.

    A frame belongs to a deterioration if any of its objects is flagged, and may belong to several.
    """
    kinds = np.zeros((frames, len(DETERIORATIONS)), bool)
    objects, kind = np.nonzero(truth.flags)
    kinds[truth.frames[objects], kind] = True
    any_kind = kinds.any(axis=1)
    slices = {"all": np.ones(frames, bool), "clean": ~any_kind, "deteriorated": any_kind}
    return slices | dict(zip(DETERIORATIONS, kinds.T, strict=True))


def object_slices(truth: Truth, clip_of: Array) -> dict[str, Array]:
    """Objects (G,) bool of each of MOTIONS and SIZES; no MOTIONS where no object has a track id.

    clip_of (F,): the clip of each frame. An instance that no other frame within +-10 shows has no
    motion and is in none of the three.
    """
    boxes = truth.boxes.astype(np.float64)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    small, large = area < SMALL, area > LARGE
    slices = dict(zip(SIZES, (small, ~small & ~large, large), strict=True))
    if (truth.ids < 0).all():
        return slices
    motion = motion_ious(truth, clip_of)
    slow, fast = motion > SLOW, motion < FAST
    medium = ~np.isnan(motion) & ~slow & ~fast
    return dict(zip(MOTIONS, (slow, medium, fast), strict=True)) | slices


def motion_ious(truth: Truth, clip_of: Array) -> Array:
    """(G,) mean IoU of each instance with itself in the frames within +-10 that show it; else NaN.

    The last pixel of a box counts, as in the protocols `vid` and `vid-devkit`.
    """
    total, count = np.zeros((2, len(truth.ids)))
    order = np.lexsort((truth.frames, truth.ids, clip_of[truth.frames]))
    order = order[truth.ids[order] >= 0]
    clips, ids, frames = (column[order] for column in (clip_of[truth.frames], truth.ids,
                                                       truth.frames))
    boxes = truth.boxes[order].astype(np.float64)
    for step in range(1, SPAN + 1):  # to the instance's row `step` places on: within +-10 frames
        a, b = np.arange(len(ids) - step), np.arange(step, len(ids))
        near = (clips[a] == clips[b]) & (ids[a] == ids[b]) & (frames[b] - frames[a] <= SPAN)
        a, b = a[near], b[near]
        iou = iou_inclusive(boxes[a], boxes[b])
        for side in (a, b):
            np.add.at(total, order[side], iou)
            np.add.at(count, order[side], 1)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def iou_inclusive(a: Array, b: Array) -> Array:
    """(K,) IoU of xyxy boxes (K, 4), (K, 4) whose last pixel counts, as in VOC and the devkit."""
    inside, area_a, area_b = overlaps(a, b)
    return inside / (area_a + area_b - inside)


def overlaps(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """(K,) pixels that two boxes share, and of each; the last pixel counts."""
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    inside = np.clip(high - low + 1, 0, None).prod(axis=1)
    return inside, *((x[:, 2:] - x[:, :2] + 1).prod(axis=1) for x in (a, b))
