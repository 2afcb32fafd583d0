"""Evaluation: average precision under a named protocol, on slices, with its uncertainty.

Sec. IV-A and Tables III and VIII of the paper. Matching (`mstlib.matching`) decides once which
detections are right; average precision of any subset of frames or objects, or of any resampling of
the videos, is then a cheap function of that match table. The rules stand in docs/evaluation.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray as Array
from torch import Tensor
from torchvision.ops import box_iou

from mstlib.coco_protocol import coco_numbers
from mstlib.config import MSTError
from mstlib.data.clip import Target
from mstlib.detections import ClipDetections, to_numpy
from mstlib.matching import MatchTable, Predictions, Targets, check_lengths, columns, match
from mstlib.motion import Slice, Truth, annotate, frame_slices, join, slices_of

PROTOCOLS = ("vid", "vid-devkit", "coco", "uavdt")
SLICES = ("all", "clean", "deteriorated")  # those a bootstrap is kept of
ANY = 1 << 30    # classes, where their number does not matter
CHUNK = 1 << 22  # numbers of an array of resamples x true positives: bounds memory


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
    check_protocol(protocol)
    if protocol != "coco":
        return evaluate_table(match(predictions, targets, classes, protocol), frames)
    found, truths = columns(predictions, targets, len(classes))
    return _coco(found, join(truths, [len(f.counts) for f in found]), classes, frames)


def metrics(
    predictions: Predictions, targets: Targets, classes: Sequence[str], protocol: str = "vid"
) -> dict:
    """What a run record keeps of a protocol, JSON-ready: see `table_metrics`, `coco_metrics`."""
    check_protocol(protocol)
    if protocol != "coco":
        return table_metrics(match(predictions, targets, classes, protocol))
    return coco_metrics(*columns(predictions, targets, len(classes)), classes)


def table_metrics(table: MatchTable) -> dict:
    """mAP, per_class, slices, extra (percent) and objects (numbers) of a match table, JSON-ready.

    slices: mAP by name of `slices_of`, None where a slice has no object. objects: how many objects
    each class and each slice has.
    """
    whole, slices = evaluate_table(table), slices_of(table.truth, table.clip_of)
    maps = {name: whole.mAP if frames is None and objects is None
            else evaluate_table(table, frames, objects).mAP
            for name, (frames, objects) in slices.items()}
    return _metrics(whole, maps, table.truth, slices)


def coco_metrics(found: Sequence[ClipDetections], truths: Sequence[Truth], classes: Sequence[str],
                 jobs: int = 1) -> dict:
    """As `table_metrics` under `coco`, which is slow: slices of clean and deteriorated frames only.

    found, truths: clip by clip; jobs: processes that share the classes.
    """
    lengths = [len(f.counts) for f in found]
    truth = join(truths, lengths)
    whole, slices = _coco(found, truth, classes, None, jobs), frame_slices(truth, sum(lengths))
    slices = {name: (slices[name], None) for name in SLICES}
    maps = {"all": whole.mAP} | {name: _coco(found, truth, classes, slices[name][0], jobs).mAP
                                 if not slices[name][0].all() else whole.mAP for name in SLICES[1:]}
    return _metrics(whole, maps, truth, slices)


def _metrics(whole: Evaluation, maps: dict[str, float], truth: Truth, slices: dict[str, Slice]
             ) -> dict:
    counts = {"classes": dict(zip(whole.per_class, np.bincount(
                  truth.labels, minlength=len(whole.per_class) + 1)[1:].tolist(), strict=True)),
              "slices": {name: int(_chosen(truth, *part).sum()) for name, part in slices.items()}}
    return {"mAP": _plain(whole.mAP), "per_class": _plain(whole.per_class), "slices": _plain(maps),
            "extra": _plain(whole.extra), "objects": counts}


def _coco(found: Sequence[ClipDetections], truth: Truth, classes: Sequence[str],
          frames: Array | None, jobs: int = 1) -> Evaluation:
    frames = _check_mask(frames, sum(len(f.counts) for f in found))
    return Evaluation("coco", *coco_numbers(found, truth, classes, frames, jobs))


def check_protocol(protocol: str) -> None:
    """MSTError unless the protocol is one of PROTOCOLS."""
    if protocol not in PROTOCOLS:
        raise MSTError(f"unknown protocol '{protocol}'; choose one of {', '.join(PROTOCOLS)}")


def evaluate_table(
    table: MatchTable, frames: Array | None = None, objects: Array | None = None
) -> Evaluation:
    """The numbers of a match table on the chosen frames (F,) and objects (G,), bool or all."""
    aps = 100 * average_precisions(table, None, frames, objects)  # (1, C)
    per_class = dict(zip(table.classes, aps[0].tolist(), strict=True))
    return Evaluation(table.protocol, _mean_present(aps).item(), per_class, {})


def average_precisions(
    table: MatchTable, weights: Array | None = None, frames: Array | None = None,
    objects: Array | None = None,
) -> Array:
    """(B, C) average precision 0..1 of each class, NaN where it has no object.

    weights: (B, clips), how often each video counts (default: once). frames: (F,) bool or all.
    objects: (G,) bool or all, rows of `table.truth`; a detection that stands for another one is
    neither right nor wrong, one that stands for none is wrong.
    """
    frames = None if frames is None else _check_mask(frames, len(table.clip_of))
    weights = None if weights is None else np.asarray(weights, float)
    chosen = _chosen(table.truth, frames, objects)
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
        return _area(tp[kept], len(where))[None]
    wanted = np.bincount(table.clip_of[where], minlength=table.clips)
    return _weighted_areas(tp[kept], table.clip_of[frame[kept]], wanted, weights)


def _chosen(truth: Truth, frames: Array | None, objects: Array | None) -> Array:
    """(G,) bool: the objects of a slice."""
    chosen = np.ones(len(truth.labels), bool) if objects is None else objects
    return chosen if frames is None else chosen & frames[truth.frames]


def _area(tp: Array, objects: int) -> Array:
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
    table: MatchTable, resamples: int = 1000, seed: int = 0
) -> dict[str, list[float | None]]:
    """What a run record keeps: `bootstrap_maps` of each of SLICES, two decimals, None for NaN."""
    masks, maps = frame_slices(table.truth, len(table.clip_of)), {}
    for name in SLICES:
        everything = bool(maps) and masks[name].all()  # no frame is annotated as deteriorated
        maps[name] = maps["all"] if everything else bootstrap_maps(table, resamples, seed,
                                                                   masks[name])
    return {name: _plain(values.tolist(), digits=2) for name, values in maps.items()}


def slice_masks(targets: Targets) -> dict[str, Array]:
    """`frame_slices` of targets (clips x frames)."""
    lengths = [len(clip) for clip in targets]
    truths = [annotate(clip, f"target, clip {c}", ANY) for c, clip in enumerate(targets)]
    return frame_slices(join(truths, lengths), sum(lengths))


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


def _plain(value, digits: int = 4):
    """JSON-ready copy of numbers in dicts and lists: rounded, NaN as None."""
    if isinstance(value, dict):
        return {name: _plain(item, digits) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, digits) for item in value]
    return None if np.isnan(value) else round(value, digits)
