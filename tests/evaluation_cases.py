"""Frames for the evaluation tests, and average precision straight from its definition."""

import numpy as np
import torch

from mstlib.data.clip import Detections, Target

BOX = (0, 0, 9, 9)  # 10 x 10 pixels, the last ones included
FAR = (50, 50, 59, 59)


def target(*objects, flags=None):
    """A frame's ground truth from (label, box) pairs."""
    boxes = torch.tensor([box for _, box in objects], dtype=torch.float32).reshape(-1, 4)
    n = len(objects)
    flags = torch.zeros(n, 4, dtype=torch.bool) if flags is None else torch.tensor(flags)
    return Target(boxes, torch.tensor([k for k, _ in objects], dtype=torch.int64),
                  torch.arange(n), flags, (boxes[:, :2] + boxes[:, 2:]) / 2)


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


def naive_map(predictions, targets, classes):
    """VOC average precision straight from its definition, in loops."""
    aps = []
    for label in range(1, classes + 1):
        verdicts, total = [], 0
        for detections, truth in [p for c in zip(predictions, targets, strict=True)
                                  for p in zip(*c, strict=True)]:
            truths = truth.boxes[truth.labels == label].tolist()
            total += len(truths)
            taken = set()
            mine = detections.labels == label
            mine = [x[mine].tolist() for x in (detections.scores, detections.boxes)]
            for score, box in sorted(zip(*mine, strict=True), key=lambda m: -m[0]):
                overlaps = [naive_iou(box, other) for other in truths]
                best = int(np.argmax(overlaps)) if truths else None
                right = best is not None and overlaps[best] >= 0.5 and best not in taken
                taken |= {best} if right else set()
                verdicts.append((score, right))
        if total:
            aps.append(naive_area(verdicts, total))
    return 100 * np.mean(aps)


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
