"""Evaluation: average precision under a named protocol, on slices of frames, with its uncertainty.

Sec. IV-A and Tables III and VIII of the paper. Matching (`mstlib.matching`) decides once which
detections are right; average precision of any subset of frames, or of any resampling of the
videos, is then a cheap function of that match table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray as Array
from torch import Tensor
from torchvision.ops import box_iou

from mstlib.coco_protocol import coco_numbers
from mstlib.config import MSTError
from mstlib.data.clip import DETERIORATIONS, Target
from mstlib.matching import MatchTable, Predictions, Targets, check_lengths, match, to_numpy

PROTOCOLS = ("vid", "vid-devkit", "coco")
SLICES = ("all", "clean", "deteriorated")  # those a bootstrap is kept of


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

    protocol: one of PROTOCOLS, see `mstlib.matching.match` and `mstlib.coco_protocol`. frames: (F,)
    bool, the frames to count, all clips one after the other. MSTError on an unknown protocol or
    damaged input.
    """
    return _scorer(predictions, targets, classes, protocol)(frames)


def metrics(
    predictions: Predictions, targets: Targets, classes: Sequence[str], protocol: str = "vid"
) -> dict:
    """What a run record keeps of a protocol, JSON-ready: mAP, per_class, slices, extra (percent).

    slices: mAP by name of `slice_masks`, None where a slice has no object; `coco`, which is slow,
    only of clean and deteriorated frames.
    """
    score = _scorer(predictions, targets, classes, protocol)
    whole, masks = score(None), slice_masks(targets)
    names = ("clean", "deteriorated") if protocol == "coco" else list(masks)[1:]
    slices = {"all": whole.mAP} | {name: score(masks[name]).mAP for name in names}
    return {"mAP": _plain(whole.mAP), "per_class": _plain(whole.per_class),
            "slices": _plain(slices), "extra": _plain(whole.extra)}


def _scorer(
    predictions: Predictions, targets: Targets, classes: Sequence[str], protocol: str
) -> Callable[[Array | None], Evaluation]:
    """A function from a frame mask to an Evaluation, matching done."""
    if protocol not in PROTOCOLS:
        raise MSTError(f"unknown protocol '{protocol}'; choose one of {', '.join(PROTOCOLS)}")
    if protocol == "coco":
        return lambda frames: Evaluation("coco", *coco_numbers(
            predictions, targets, classes, check_frames(frames, targets)))
    table = match(predictions, targets, classes, protocol)
    return lambda frames: evaluate_table(table, frames)


def evaluate_table(table: MatchTable, frames: Array | None = None) -> Evaluation:
    """The numbers of a match table on the chosen frames, (F,) bool or all."""
    aps = 100 * average_precisions(table, frames=frames)  # (1, C)
    per_class = dict(zip(table.classes, aps[0].tolist(), strict=True))
    return Evaluation(table.protocol, _mean_present(aps).item(), per_class, {})


def average_precisions(
    table: MatchTable, weights: Array | None = None, frames: Array | None = None
) -> Array:
    """(B, C) average precision 0..1 of each class, NaN where it has no object.

    weights: (B, clips), how often each video counts (default: once). frames: (F,) bool or all.
    """
    frames = _check_mask(frames, len(table.clip_of))
    weights = np.ones((1, table.clips)) if weights is None else np.asarray(weights, float)
    kept = frames[table.frame]
    columns = []
    for c in range(len(table.classes)):
        mine = kept & (table.label == c + 1)
        objects = np.bincount(table.clip_of, table.objects[:, c] * frames)  # (clips,)
        columns.append(_average_precision(table.tp[mine], table.clip[mine], objects, weights))
    return np.stack(columns, axis=1)


def _average_precision(tp: Array, clip: Array, objects: Array, weights: Array) -> Array:
    """(B,) area under the interpolated precision-recall curve of one class.

    tp, clip: (D,) by falling score; objects: (clips,); weights: (B, clips). Recall rises at true
    positives only, and precision peaks there: the curve is needed at those T places only. The false
    positives before each place are a (T, clips) count times the weights: B resamples, one product.
    """
    places = np.flatnonzero(tp)                                         # (T,)
    before = np.searchsorted(places, np.flatnonzero(~tp))               # first place after each
    wrong = np.zeros((len(places) + 1, len(objects)))
    np.add.at(wrong, (before, clip[~tp]), 1)
    wrong = weights @ wrong[:-1].cumsum(axis=0).T                       # (B, T)
    gain = weights[:, clip[places]]                                     # (B, T) steps of recall
    right = gain.cumsum(axis=1)                                         # (B, T)
    precision = _divide(right, right + wrong, empty=0.0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return _divide((envelope * gain).sum(axis=1), weights @ objects, empty=np.nan)


def _mean_present(aps: Array) -> Array:
    """(B,) mean of (B, C) over the classes that have objects; NaN where none has."""
    present = ~np.isnan(aps)
    return _divide(np.where(present, aps, 0).sum(axis=1), present.sum(axis=1), empty=np.nan)


def _divide(a: Array, b: Array, empty: float) -> Array:
    """a / b, and `empty` where b is 0."""
    return np.divide(a, b, out=np.full(np.shape(a), empty), where=b > 0)


def resample_weights(clips: int, resamples: int, seed: int) -> Array:
    """(resamples, clips): how often each video is drawn, `clips` draws with replacement.

    Depends on its arguments only, so two models on the same videos get the same draws: their
    bootstrap vectors are paired.
    """
    draws = np.random.default_rng([seed, clips]).integers(clips, size=(resamples, clips))
    return np.stack([np.bincount(row, minlength=clips) for row in draws])


def bootstrap_maps(
    table: MatchTable, resamples: int = 1000, seed: int = 0, frames: Array | None = None
) -> Array:
    """(resamples,) mAP in percent with the VIDEOS drawn anew, paired through `resample_weights`.

    Frames of a video are alike, so videos are the units. A class that no drawn video holds is left
    out of that mean; NaN if none is left.
    """
    weights = resample_weights(table.clips, resamples, seed)
    return 100 * _mean_present(average_precisions(table, weights, frames))


def bootstrap_slices(
    table: MatchTable, targets: Targets, resamples: int = 1000, seed: int = 0
) -> dict[str, list[float | None]]:
    """What a run record keeps: `bootstrap_maps` of each of SLICES, two decimals, None for NaN."""
    masks = slice_masks(targets)
    maps = {name: bootstrap_maps(table, resamples, seed, masks[name]) for name in SLICES}
    return {name: _plain(values.tolist(), digits=2) for name, values in maps.items()}


def slice_masks(targets: Targets) -> dict[str, Array]:
    """Frame masks (F,) bool by name: all, clean, deteriorated, and one for each deterioration.

    A frame belongs to a deterioration if any of its objects is flagged, and may belong to several.
    """
    kinds = np.stack([_frame_flags(c, t, target)
                      for c, clip in enumerate(targets) for t, target in enumerate(clip)])  # (F, 4)
    any_kind = kinds.any(axis=1)
    slices = {"all": np.ones(len(kinds), bool), "clean": ~any_kind, "deteriorated": any_kind}
    return slices | dict(zip(DETERIORATIONS, kinds.T, strict=True))


def deteriorated_frames(targets: Targets) -> Array:
    """(F,) bool: frames with any flagged object, all clips one after the other (Table VIII)."""
    return slice_masks(targets)["deteriorated"]


def proposal_recall(
    proposals: Sequence[Sequence[Tensor]],
    targets: Targets,
    iou: float = 0.5,
    frames: Array | None = None,
) -> float:
    """Share 0..1 of objects that some proposal (n, 4) of their frame overlaps with IoU >= `iou`.

    Classes are ignored; continuous coordinates, as the RPN is trained. NaN without objects.
    """
    check_lengths(proposals, targets)
    mask = check_frames(frames, targets)
    flat = zip(chain(*proposals), chain(*targets), mask, strict=True)
    best = [_best_iou(boxes, target) for boxes, target, kept in flat if kept]
    best = np.concatenate([np.zeros(0), *best])  # (objects,)
    return (best >= iou).mean().item() if len(best) else float("nan")


def _best_iou(proposals: Tensor, target: Target) -> Array:
    """(N,) the best IoU of each object with any proposal (n, 4); 0 without proposals."""
    if proposals.ndim != 2 or proposals.shape[1] != 4:
        raise MSTError(f"proposals must be (n, 4) xyxy, got {tuple(proposals.shape)}")
    iou = box_iou(target.boxes.cpu(), proposals.cpu())  # (N, n)
    return to_numpy(iou.amax(dim=1)) if len(proposals) else np.zeros(len(target.boxes))


def check_frames(frames: Array | None, targets: Targets) -> Array:
    """The mask (F,) bool of the frames to count, all if None; MSTError if of another shape."""
    return _check_mask(frames, sum(len(clip) for clip in targets))


def _check_mask(frames: Array | None, length: int) -> Array:
    mask = np.ones(length, bool) if frames is None else np.asarray(frames)
    if mask.shape != (length,) or mask.dtype != bool:
        raise MSTError(f"a frame mask must be ({length},) bool, all clips one after the other, "
                       f"got {mask.shape} {mask.dtype}")
    return mask


def _frame_flags(c: int, t: int, target: Target) -> Array:
    """(4,) bool: which deteriorations any object of frame t of clip c shows."""
    flags = to_numpy(target.flags)
    if flags.shape != (len(target.boxes), len(DETERIORATIONS)):
        raise MSTError(f"target, clip {c}, frame {t}: flags must be ({len(target.boxes)}, "
                       f"{len(DETERIORATIONS)}), one row a box, got {flags.shape}")
    return flags.astype(bool).any(axis=0)


def _plain(value, digits: int = 4):
    """JSON-ready copy of numbers in dicts and lists: rounded, NaN as None."""
    if isinstance(value, dict):
        return {name: _plain(item, digits) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, digits) for item in value]
    return None if np.isnan(value) else round(value, digits)
