"""The `coco` protocol: pycocotools' COCOeval on our clips, with its console output silenced.

AP averages IoU 0.5:0.95; boxes are continuous here (no +1 pixel); at most 100 detections a frame
and class count. Small, medium and large are divided at 32^2 and 96^2 square pixels.
"""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.config import MSTError
from mstlib.matching import Predictions, Targets, check_inputs, to_numpy

NUMBERS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")  # order of COCOeval.stats


def coco_numbers(
    predictions: Predictions, targets: Targets, classes: Sequence[str], frames: Array
) -> tuple[float, dict[str, float], dict[str, float]]:
    """AP, AP50 by class name, and all NUMBERS, in percent, of the frames in mask (F,) bool.

    NaN where COCO says -1 (no object). MSTError if pycocotools is missing or an input is damaged.
    """
    check_inputs(predictions, targets, len(classes))
    evaluated = _run_cocoeval(_dataset(targets, len(classes)), _dataset(predictions, len(classes)),
                              np.flatnonzero(frames).tolist())
    numbers = [_percent(value) for value in evaluated.stats[: len(NUMBERS)]]
    precision = evaluated.eval["precision"][0, :, :, 0, -1]  # IoU 0.5; (recall 101, C); all, 100
    per_class = [_percent(column.mean()) for column in precision.T]
    return (numbers[0], dict(zip(classes, per_class, strict=True)),
            dict(zip(NUMBERS, numbers, strict=True)))


def _run_cocoeval(truth: dict, found: dict, images: list[int]):
    """pycocotools' COCOeval after its three steps, run without its prints."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MSTError("the coco protocol needs pycocotools: pip install 'mstlib[all]'") from error
    with contextlib.redirect_stdout(io.StringIO()):
        sides = [COCO(), COCO()]
        for side, dataset in zip(sides, (truth, found), strict=True):
            side.dataset = dataset
            side.createIndex()
        run = COCOeval(*sides, iouType="bbox")
        run.params.imgIds = images
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run


def _dataset(clips: Predictions | Targets, classes: int) -> dict:
    """COCO's dict of images, categories, annotations; image ids count frames through all clips."""
    frames = list(enumerate(frame for clip in clips for frame in clip))
    annotations = [entry for image, frame in frames for entry in _annotations(image, frame)]
    for number, entry in enumerate(annotations, start=1):  # COCOeval takes id 0 for "unmatched"
        entry["id"] = number
    return {"images": [{"id": image} for image, _ in frames],
            "categories": [{"id": label} for label in range(1, classes + 1)],
            "annotations": annotations}


def _annotations(image: int, frame) -> list[dict]:
    """COCO annotations of one frame's boxes; detections carry a score, ground truth none."""
    boxes, labels = to_numpy(frame.boxes).astype(float), to_numpy(frame.labels)
    sizes = boxes[:, 2:] - boxes[:, :2]
    scores = to_numpy(frame.scores).tolist() if hasattr(frame, "scores") else [None] * len(boxes)
    return [
        {"image_id": image, "category_id": label, "bbox": [*corner, *size], "iscrowd": 0,
         "area": size[0] * size[1]} | ({} if score is None else {"score": score})
        for label, corner, size, score in zip(
            labels.tolist(), boxes[:, :2].tolist(), sizes.tolist(), scores, strict=True)
    ]


def _percent(value: float) -> float:
    """COCO's 0..1 in percent; its -1 for "no object" as NaN."""
    return float("nan") if value < 0 else 100 * float(value)
