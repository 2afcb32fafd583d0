"""The `coco` protocol: pycocotools' COCOeval on our columns, class by class.

AP averages IoU 0.5:0.95; boxes are continuous here (no +1 pixel); at most 100 detections a frame
and class count. Small, medium and large are divided at 32^2 and 96^2 square pixels. Ignored regions
are crowd annotations of every class. Not part of the paper.

COCOeval matches in Python and keeps a dict for every box. It is therefore run on one class and a
few thousand frames at a time, only where a frame has something to match, and only what it needs for
its final sums is kept: its own numbers, sooner and in bounded memory.
"""

import contextlib
import copy
import io
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.config import MSTError
from mstlib.evaluation.columns import ClipDetections
from mstlib.evaluation.motion import Truth
from mstlib.evaluation.workers import share

NUMBERS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")  # order of COCOeval.stats
MOST = 100      # detections a frame and class
CHUNK = 2048    # frames evaluated at once
NOTHING = {"images": [], "categories": [{"id": 1}], "annotations": []}
NO_OBJECTS = np.zeros(0, bool)


def coco_numbers(
    found: Sequence[ClipDetections], truth: Truth, classes: Sequence[str], frames: Array,
    jobs: int = 1,
) -> tuple[float, dict[str, float], dict[str, float]]:
    """AP, AP50 by class name, and all NUMBERS, in percent, of the frames in mask (F,) bool.

    found: clip by clip; truth: of all clips; jobs: processes that share the classes. NaN where COCO
    says -1 (no object). MSTError if pycocotools is missing.
    """
    precision = list(share(partial(_class_precision, found, truth, frames),
                           range(1, len(classes) + 1), jobs))
    stats = _summary(np.stack(precision, axis=2))                       # (T, R, C, A)
    numbers = [_percent(value) for value in stats[: len(NUMBERS)]]
    per_class = [_percent(p[0, :, 0].mean()) for p in precision]        # IoU 0.5, all sizes
    return (numbers[0], dict(zip(classes, per_class, strict=True)),
            dict(zip(NUMBERS, numbers, strict=True)))


def _class_precision(found: Sequence[ClipDetections], truth: Truth, frames: Array, label: int
                     ) -> Array:
    """(T, R, A): COCOeval's precision by IoU, recall and area of a class; -1 where it has none."""
    there = np.flatnonzero((truth.labels == label) & frames[truth.frames])
    run = _cocoeval(NOTHING, NOTHING)
    if not len(there):
        p = run.params
        return -np.ones((len(p.iouThrs), len(p.recThrs), len(p.areaRng)))
    seen = _of_class(found, label, frames)
    images = np.union1d(truth.frames[there], seen["frames"])
    matched = np.isin(images, truth.frames[there]) | np.isin(images, truth.ignored_frames)
    results = np.empty((len(run.params.areaRng), len(images)), object)
    results[:, matched] = _matched(truth, there, _in_frames(seen, images[matched]), images[matched])
    results[:, ~matched] = _unmatched(run.params, _in_frames(seen, images[~matched]))
    run.evalImgs = results.ravel().tolist()                             # by area, then by frame
    run.params.imgIds = images.tolist()
    run._paramsEval = copy.deepcopy(run.params)
    run.accumulate()
    return run.eval["precision"][:, :, 0, :, 0]


def _matched(truth: Truth, there: Array, seen: dict[str, Array], images: Array) -> Array:
    """(A, F) what COCOeval finds in each of F frames with objects or ignored regions."""
    parts = []
    for chunk in (images[i : i + CHUNK] for i in range(0, len(images), CHUNK)):
        run = _cocoeval(_truth_dataset(truth, there, chunk), _found_dataset(seen, chunk))
        run.params.imgIds = chunk.tolist()
        run.evaluate()
        part = np.empty(len(run.evalImgs), object)
        part[:] = [_slim(e) for e in run.evalImgs]
        parts.append(part.reshape(-1, len(chunk)))
    return np.concatenate(parts, axis=1)


def _unmatched(params, seen: dict[str, Array]) -> Array:
    """(A, F) the same for F frames of detections without anything to match, most of all.

    All are wrong, or do not count where their size is outside of the area range: what COCOeval
    comes to, detection by detection.
    """
    area, scores = _sizes(seen["boxes"]).prod(axis=1), seen["scores"].astype(float)
    ends = np.append(np.flatnonzero(np.diff(seen["frames"], prepend=-1)), len(area))
    parts = [slice(*pair) for pair in pairwise(ends)]
    wrong = np.broadcast_to(False, (len(params.iouThrs), len(area)))
    out = np.empty((len(params.areaRng), len(parts)), object)
    for a, (low, high) in enumerate(params.areaRng):
        ignored = np.broadcast_to((area < low) | (area > high), wrong.shape)
        out[a] = [{"dtScores": scores[d], "dtMatches": wrong[:, d], "dtIgnore": ignored[:, d],
                   "gtIgnore": NO_OBJECTS} for d in parts]
    return out


def _slim(result: dict | None) -> dict | None:
    """What `COCOeval.accumulate` reads of a frame, in small arrays."""
    return result and {
        "dtScores": np.array(result["dtScores"], float), "dtMatches": result["dtMatches"] != 0,
        "dtIgnore": result["dtIgnore"].astype(bool), "gtIgnore": result["gtIgnore"].astype(bool)}


def _summary(precision: Array) -> list[float]:
    """COCOeval.stats of precision (T, R, C, A)."""
    run = _cocoeval(NOTHING, NOTHING, most=(1, 10, MOST))
    run.eval = {"precision": np.stack([precision] * 3, axis=-1),        # AP is at 100 only
                "recall": -np.ones((len(precision), *precision.shape[2:], 3))}
    run.summarize()
    return run.stats


def _cocoeval(truth: dict, found: dict, most: Sequence[int] = (MOST,)):
    """pycocotools' COCOeval of two datasets, whose methods do not print."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MSTError("the coco protocol needs pycocotools: pip install 'mstlib[all]'") from error
    sides = [COCO(), COCO()]
    for side, dataset in zip(sides, (truth, found), strict=True):
        side.dataset = dataset
        with contextlib.redirect_stdout(io.StringIO()):
            side.createIndex()
    run = COCOeval(*sides, iouType="bbox")
    run.params.maxDets = list(most)
    for name in ("evaluate", "accumulate", "summarize"):
        setattr(run, name, partial(_silently, getattr(run, name)))
    return run


def _silently(method) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        method()


def _of_class(found: Sequence[ClipDetections], label: int, frames: Array) -> dict[str, Array]:
    """frames, scores, boxes of the detections of a class in the frames of a mask (F,), at most MOST
    a frame, by falling score.

    The order of equal scores is kept: COCOeval would drop and order the same ones.
    """
    starts = np.cumsum([0, *(len(f.counts) for f in found)])
    where = np.concatenate([f.frames[f.labels == label] + s
                            for f, s in zip(found, starts, strict=False)])
    scores = np.concatenate([f.scores[f.labels == label] for f in found])
    boxes = np.concatenate([f.boxes[f.labels == label] for f in found])
    order = np.lexsort((-scores, where))
    order = order[frames[where[order]]]
    where = where[order]
    best = np.arange(len(where)) - np.searchsorted(where, where) < MOST
    order = order[best]
    return {"frames": where[best], "scores": scores[order], "boxes": boxes[order]}


def _in_frames(seen: dict[str, Array], images: Array) -> dict[str, Array]:
    """The detections in sorted `images`."""
    here = np.isin(seen["frames"], images)
    return {name: column[here] for name, column in seen.items()}


def _found_dataset(seen: dict[str, Array], images: Array) -> dict:
    """COCO's dict of the detections in `images`, a stretch of the frames of `seen`."""
    first, last = np.searchsorted(seen["frames"], [images[0], images[-1] + 1])
    here = slice(first, last)
    return _dataset(images, seen["frames"][here], seen["boxes"][here],
                    {"score": seen["scores"][here].tolist(), "iscrowd": [0] * (last - first)})


def _truth_dataset(truth: Truth, there: Array, images: Array) -> dict:
    """COCO's dict of the objects `there`, and of ignored regions as crowds, in sorted `images`."""
    there = there[np.isin(truth.frames[there], images)]
    regions = np.flatnonzero(np.isin(truth.ignored_frames, images))
    crowd = [0] * len(there) + [1] * len(regions)
    return _dataset(images, np.append(truth.frames[there], truth.ignored_frames[regions]),
                    np.concatenate([truth.boxes[there], truth.ignored[regions]]),
                    {"iscrowd": crowd})


def _dataset(images: Array, frames: Array, boxes: Array, more: dict[str, list]) -> dict:
    """COCO's dict of images, categories, annotations; one category, image ids are frames."""
    sizes = _sizes(boxes)
    rows = zip(frames.tolist(), np.concatenate([boxes[:, :2], sizes], axis=1).tolist(),
               sizes.prod(axis=1).tolist(), *more.values(), strict=True)
    annotations = [{"id": n, "image_id": image, "category_id": 1, "bbox": box, "area": area}
                   | dict(zip(more, rest, strict=True))
                   for n, (image, box, area, *rest) in enumerate(rows, start=1)]  # 0: "unmatched"
    return {"images": [{"id": image} for image in images.tolist()], "categories": [{"id": 1}],
            "annotations": annotations}


def _sizes(boxes: Array) -> Array:
    """(N, 2) width and height of xyxy boxes (N, 4), without the last pixel."""
    return boxes[:, 2:].astype(float) - boxes[:, :2]


def _percent(value: float) -> float:
    """COCO's 0..1 in percent; its -1 for "no object" as NaN."""
    return float("nan") if value < 0 else 100 * float(value)
