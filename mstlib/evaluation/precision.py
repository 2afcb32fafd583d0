"""Average precision of a match table: of any frames, any objects, any resampling of the videos."""

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.config import MSTError
from mstlib.evaluation.matching import MatchTable
from mstlib.evaluation.motion import Truth

CHUNK = 1 << 22  # numbers of an array of resamples x true positives: bounds memory


def average_precisions(
    table: MatchTable, weights: Array | None = None, frames: Array | None = None,
    objects: Array | None = None,
) -> Array:
    """(B, C) average precision 0..1 of each class, NaN where it has no object.

    weights: (B, clips), how often each video counts (default: once). frames: (F,) bool or all.
    objects: (G,) bool or all, rows of `table.truth`; a detection that stands for another one is
    neither right nor wrong, one that stands for none is wrong.
    """
    frames = None if frames is None else check_mask(frames, len(table.clip_of))
    weights = None if weights is None else np.asarray(weights, float)
    chosen = members(table.truth, frames, objects)
    return np.stack([_class_precisions(table, c, weights, chosen, frames, objects)
                     for c in range(len(table.classes))], axis=1)


def _class_precisions(table: MatchTable, c: int, weights: Array | None, chosen: Array,
                      frames: Array | None, objects: Array | None) -> Array:
    """(B,) average precision of class number c, counted from 0."""
    where = table.truth.frames[chosen & (table.truth.labels == c + 1)]
    if not len(where):
        return np.full(1 if weights is None else len(weights), np.nan)
    rows = table.of_class(c)
    tp, frame, kept = table.tp[rows], table.frame[rows], slice(None)
    if frames is not None:
        kept = frames[frame]
    if objects is not None:
        kept = np.append(objects, True)[table.object[rows]] & (True if frames is None else kept)
    if weights is None:
        return area(tp[kept], len(where))[None]
    wanted = np.bincount(table.clip_of[where], minlength=table.clips)
    return _weighted_areas(tp[kept], table.clip_of[frame[kept]], wanted, weights)


def members(truth: Truth, frames: Array | None, objects: Array | None) -> Array:
    """(G,) bool: the objects of a slice."""
    chosen = np.ones(len(truth.labels), bool) if objects is None else objects
    return chosen if frames is None else chosen & frames[truth.frames]


def area(tp: Array, objects: int) -> Array:
    """() area under the interpolated precision-recall curve; tp (D,) bool by falling score.

    Recall rises at true positives only, and precision peaks there: the curve is needed there only.
    """
    places = np.flatnonzero(tp)
    precision = np.arange(1, len(places) + 1) / (places + 1)
    return np.maximum.accumulate(precision[::-1])[::-1].sum() / objects


def _weighted_areas(tp: Array, clip: Array, objects: Array, weights: Array) -> Array:
    """(B,) the same where each video counts as often as a row of weights (B, clips) says.

    tp, clip: (D,) by falling score; objects: (clips,). The false positives before each of the T
    true ones are a (T, clips) count times the weights: B resamples, one product.
    """
    places = np.flatnonzero(tp)                                         # (T,)
    if not len(places):
        return np.where(weights @ objects > 0, 0, np.nan)
    before = np.searchsorted(places, np.flatnonzero(~tp))               # first place after each
    shape = (len(places) + 1, len(objects))
    wrong = np.bincount(before * shape[1] + clip[~tp], minlength=np.prod(shape)).reshape(shape)
    wrong = wrong[:-1].cumsum(axis=0).T.astype(float)                   # (clips, T)
    step = max(1, CHUNK // len(places))
    return np.concatenate([_areas(weights[b : b + step], wrong, clip[places], objects)
                           for b in range(0, len(weights), step)])


def _areas(weights: Array, wrong: Array, clip: Array, objects: Array) -> Array:
    """(B,) areas; wrong (clips, T): false positives before each true one, clip (T,): its video."""
    gain = weights[:, clip]                                             # (B, T) steps of recall
    right = gain.cumsum(axis=1)                                         # (B, T)
    precision = _divide(right, right + weights @ wrong, empty=0.0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return _divide((envelope * gain).sum(axis=1), weights @ objects, empty=np.nan)


def mean_present(aps: Array) -> Array:
    """(B,) mean of (B, C) over the classes that have objects; NaN where none has."""
    present = ~np.isnan(aps)
    return _divide(np.where(present, aps, 0).sum(axis=1), present.sum(axis=1), empty=np.nan)


def _divide(a: Array, b: Array, empty: float) -> Array:
    """a / b, and `empty` where b is 0."""
    return np.divide(a, b, out=np.full(np.shape(a), empty), where=b > 0)


def check_mask(frames: Array | None, length: int) -> Array:
    """The mask (F,) bool of the frames to count, all if None; MSTError if of another shape."""
    mask = np.ones(length, bool) if frames is None else np.asarray(frames)
    if mask.shape != (length,) or mask.dtype != bool:
        raise MSTError(f"a frame mask must be ({length},) bool, all clips one after the other, "
                       f"got {mask.shape} {mask.dtype}")
    return mask
