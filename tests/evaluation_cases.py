"""Frames for the evaluation tests, and average precision straight from its definition."""

from dataclasses import replace

import numpy as np
import torch

from mstlib.data.clip import Detections, Target

BOX = (0, 0, 9, 9)  # 10 x 10 pixels, the last ones included
FAR = (50, 50, 59, 59)


def target(*objects, flags=None, ignored=(), ids=None):
    """A frame's ground truth from (label, box) pairs."""
    boxes = torch.tensor([box for _, box in objects], dtype=torch.float32).reshape(-1, 4)
    n = len(objects)
    flags = torch.zeros(n, 4, dtype=torch.bool) if flags is None else torch.tensor(flags)
    return Target(boxes, torch.tensor([k for k, _ in objects], dtype=torch.int64),
                  torch.arange(n) if ids is None else torch.tensor(ids, dtype=torch.int64), flags,
                  (boxes[:, :2] + boxes[:, 2:]) / 2,
                  torch.tensor(ignored, dtype=torch.float32).reshape(-1, 4))


def found(*objects):
    """A frame's detections from (label, score, box) triples."""
    return Detections(
        torch.tensor([box for *_, box in objects], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([score for _, score, _ in objects], dtype=torch.float32),
        torch.tensor([k for k, *_ in objects], dtype=torch.int64),
    )


def random_split(seed, clips=5, frames=4, classes=3):
    """Predictions and targets with jittered boxes, duplicates and false alarms."""
    g = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(clips):
        pairs = [_random_frame(g, classes) for _ in range(g.integers(1, frames + 1))]
        predictions.append([d for d, _ in pairs])
        targets.append([t for _, t in pairs])
    return predictions, targets


def _random_frame(g, classes):
    n = g.integers(0, 4)
    low = g.uniform(0, 60, (n, 2))
    boxes = np.concatenate([low, low + g.uniform(4, 40, (n, 2))], axis=1)
    labels = g.integers(1, classes + 1, n)
    seen = []
    for label, box in zip(labels, boxes, strict=True):
        for _ in range(g.integers(0, 4)):
            jittered = box + g.normal(0, 3, 4)
            jittered[2:] = np.maximum(jittered[2:], jittered[:2])
            seen.append((int(label), g.random(), jittered.tolist()))
    seen += [(int(g.integers(1, classes + 1)), g.random(), FAR) for _ in range(g.integers(0, 3))]
    objects = zip(labels.tolist(), boxes.tolist(), strict=True)
    return found(*seen), target(*objects, flags=g.random((n, 4)) < 0.1)


def with_regions(targets, seed):
    """The targets with up to two ignored regions in each frame."""
    g = np.random.default_rng([seed, 1])
    low = g.uniform(0, 60, (sum(map(len, targets)), 2, 2))
    regions = iter(np.concatenate([low, low + g.uniform(10, 60, low.shape)], axis=2).tolist())
    return [[replace(t, ignored=torch.tensor(next(regions)[: g.integers(3)]).reshape(-1, 4))
             for t in clip] for clip in targets]


def naive_map(predictions, targets, classes, protocol="vid", chosen=lambda box: True):
    """Average precision straight from its definition, in loops; chosen: boxes of the slice."""
    aps = []
    for label in [None] if protocol == "uavdt" else range(1, classes + 1):
        verdicts, total = [], 0
        for detections, truth in [p for c in zip(predictions, targets, strict=True)
                                  for p in zip(*c, strict=True)]:
            mine = [torch.ones_like(x.labels, dtype=torch.bool) if label is None
                    else x.labels == label for x in (detections, truth)]
            truths = truth.boxes[mine[1]].tolist()
            total += sum(map(chosen, truths))
            rows = [x[mine[0]].tolist() for x in (detections.scores, detections.boxes)]
            rows = sorted(zip(*rows, strict=True), key=lambda m: -m[0])
            verdicts += naive_frame(rows, truths, truth.ignored.tolist(), protocol, chosen)
        if total:
            aps.append(naive_area(verdicts, total))
    return 100 * np.mean(aps) if aps else float("nan")


def naive_frame(rows, truths, regions, protocol, chosen):
    """(score, right) of the detections of a frame and class that count."""
    taken, verdicts = set(), []
    for score, box in rows:
        overlaps = {k: naive_iou(box, other) for k, other in enumerate(truths)}
        close = {k: o for k, o in overlaps.items() if o >= naive_threshold(truths[k], protocol)}
        free = {k: o for k, o in close.items() if k not in taken}
        best = max(close, key=close.get) if close else None
        if protocol == "vid-devkit" and free:
            best = max(free, key=free.get)
        right = best is not None and best not in taken
        taken |= {best} if right else set()
        if best is None and any(naive_share(box, region) >= 0.5 for region in regions):
            continue
        if best is None or chosen(truths[best]):
            verdicts.append((score, right))
    return verdicts


def naive_threshold(box, protocol):
    w, h = box[2] - box[0] + 1, box[3] - box[1] + 1
    return {"vid": 0.5, "uavdt": 0.7,
            "vid-devkit": min(0.5, w * h / ((w + 10) * (h + 10)))}[protocol]


def naive_share(box, region):
    """The share of a box that lies in a region."""
    w = min(box[2], region[2]) - max(box[0], region[0]) + 1
    h = min(box[3], region[3]) - max(box[1], region[1]) + 1
    return max(w, 0) * max(h, 0) / ((box[2] - box[0] + 1) * (box[3] - box[1] + 1))


def naive_iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
    inside = max(w, 0) * max(h, 0)
    area = sum((x[2] - x[0] + 1) * (x[3] - x[1] + 1) for x in (a, b))
    return inside / (area - inside)


def naive_area(verdicts, total):
    points = []
    for threshold in {score for score, _ in verdicts}:
        kept = [right for score, right in verdicts if score >= threshold]
        points.append((sum(kept) / total, sum(kept) / len(kept)))
    recalls = sorted({recall for recall, _ in points} | {0.0})
    return sum((high - low) * max(p for r, p in points if r >= high)
               for low, high in zip(recalls, recalls[1:], strict=False))
