"""Which boxes overlap: in the same frame, or in neighbouring ones. What all linking starts from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray as Array

TINY = 1e-12  # square pixels: nothing is divided by less, so boxes without area overlap nothing


@dataclass(frozen=True)
class Pairs:
    """K pairs of N boxes that overlap, by rising `left`, then `right`: (K,) each; `size` is N."""

    left: Array
    right: Array
    iou: Array
    size: int


class Table:
    """The pairs of each box: K values as one list, and where those of each of N boxes start."""

    def __init__(self, keys: Array, values: Array, size: int):
        """keys, values: (K,), the keys rising, 0..size-1."""
        self.values = values.tolist()
        self.bounds = np.searchsorted(keys, np.arange(size + 1)).tolist()

    def __getitem__(self, box: int) -> list:
        return self.values[self.bounds[box] : self.bounds[box + 1]]


def overlapping(boxes: Array, bounds: Array, step: int, threshold: float) -> Pairs:
    """Pairs of IoU >= threshold between each frame and the one `step` later; 0: the same frame.

    boxes (N, 4) float64 xyxy, those of frame t at rows bounds[t] to bounds[t + 1]; bounds (T + 1,).
    Within two frames anything may overlap anything, so IoUs are dense there; few of them are kept.
    """
    parts = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    edges = bounds.tolist()
    spans = list(zip(edges, edges[1:], strict=False))
    for (a, b), (c, d) in zip(spans, spans[step:], strict=False):
        if b > a and d > c:
            iou = iou_matrix(boxes[a:b], boxes[c:d])                      # (b - a, d - c)
            at = np.flatnonzero(iou >= threshold)
            left, right = np.divmod(at, d - c)
            parts.append((left + a, right + c, iou.ravel()[at]))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)), len(boxes))


def iou_matrix(a: Array, b: Array) -> Array:
    """(N, M) IoU of xyxy boxes (N, 4) and (M, 4), areas (x2-x1)(y2-y1) as in the detector's NMS."""
    width = np.minimum.outer(a[:, 2], b[:, 2]) - np.maximum.outer(a[:, 0], b[:, 0])
    height = np.minimum.outer(a[:, 3], b[:, 3]) - np.maximum.outer(a[:, 1], b[:, 1])
    inside = np.maximum(width, 0) * np.maximum(height, 0)
    area_a, area_b = ((x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (a, b))
    return inside / np.maximum(np.add.outer(area_a, area_b) - inside, TINY)
