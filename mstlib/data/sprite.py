"""Flat pictures of MiniVID: what lies over a frame, how it blurs, and noise and shapes to make it from.

Like `render.py` only exact arithmetic on pixels, so the bytes do not depend on the machine.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array


@dataclass(frozen=True)
class Sprite:
    """A picture to lay over a frame: premultiplied RGBA (4, h, w) float32 at pixel (left, top)."""

    rgba: Array
    left: int
    top: int


def _padded(sprite: Sprite, margin: int) -> Sprite:
    rgba = np.pad(sprite.rgba, ((0, 0), (margin, margin), (margin, margin)))
    return Sprite(rgba, sprite.left - margin, sprite.top - margin)


def motion_blur(sprite: Sprite, streak: tuple[float, float]) -> Sprite:
    """Mean of copies shifted along the streak (px), one a pixel and at least seven."""
    copies = max(7, math.ceil(math.hypot(*streak)))
    margin = math.ceil(max(abs(streak[0]), abs(streak[1])) / 2) + 1
    wide = _padded(sprite, margin)
    total = np.zeros_like(wide.rgba)
    h, w = sprite.rgba.shape[1:]
    for i in range(copies):
        part = i / (copies - 1) - 0.5
        dx, dy = (margin + math.floor(part * k + 0.5) for k in streak)
        total[:, dy:dy + h, dx:dx + w] += sprite.rgba
    return Sprite(total / np.float32(copies), wide.left, wide.top)


def defocus(sprite: Sprite, sigma: float) -> Sprite:
    """Gaussian blur of colour and alpha, `sigma` in px."""
    reach = math.ceil(2.5 * sigma)
    wide = _padded(sprite, reach)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-reach, reach + 1)]
    rgba = wide.rgba
    for axis in (1, 2):
        total, n = np.zeros_like(rgba), rgba.shape[axis]
        for k, weight in zip(range(-reach, reach + 1), weights, strict=True):
            to = [slice(None)] * 3
            at = [slice(None)] * 3
            to[axis], at[axis] = slice(max(0, -k), n - max(0, k)), slice(max(0, k), n - max(0, -k))
            total[tuple(to)] += rgba[tuple(at)] * np.float32(weight / sum(weights))
        rgba = total
    return Sprite(rgba, wide.left, wide.top)


def overlap(sprite: Sprite, size: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices (rows, columns) of the frame and of the sprite where the two meet; empty if they do not."""
    h, w = sprite.rgba.shape[1:]
    x1, y1 = min(size, max(0, sprite.left)), min(size, max(0, sprite.top))
    x2, y2 = max(x1, min(size, sprite.left + w)), max(y1, min(size, sprite.top + h))
    return (slice(y1, y2), slice(x1, x2)), (
        slice(y1 - sprite.top, y2 - sprite.top), slice(x1 - sprite.left, x2 - sprite.left)
    )


def lay_over(frame: Array, sprite: Sprite) -> None:
    """Composite a sprite over a (3, S, S) float32 frame, in place."""
    there, here = overlap(sprite, frame.shape[-1])
    rgba = sprite.rgba[(slice(None), *here)]
    frame[(slice(None), *there)] *= 1 - rgba[3]
    frame[(slice(None), *there)] += rgba[:3]


def noise2(rng: np.random.Generator, height: int, width: int, cell: float) -> Array:
    """Smooth value noise (height, width) float32 in 0..1 with blotches of `cell` px."""
    lattice = rng.random((math.ceil(height / cell) + 2, math.ceil(width / cell) + 2)).astype(np.float32)

    def stretch(grid: Array, n: int) -> Array:
        at = np.arange(n) / cell
        floor = np.floor(at).astype(np.int64)
        part = (at - floor).astype(np.float32)
        part = (part * part * (3 - 2 * part))[:, None]
        return grid[floor] + (grid[floor + 1] - grid[floor]) * part

    return stretch(stretch(lattice, height).T, width).T


def shape_alpha(kind: int, size: float, aspect: float, angle: float) -> Array:
    """Coverage (h, w) of a flat shape: disc, rectangle, blob, ring, cross, key disc (0..5); edges one px soft."""
    reach = math.ceil(size * 1.5) + 1
    steps = np.arange(-reach, reach + 1, dtype=np.float32)
    px, py = np.meshgrid(steps, steps)
    x, y = px * math.cos(angle) + py * math.sin(angle), py * math.cos(angle) - px * math.sin(angle)
    round_ = np.sqrt(x * x + y * y)
    if kind == 1:
        depth = np.minimum(size - abs(x), size * aspect - abs(y))
    elif kind == 2:
        side = np.sqrt((x - size / 2) ** 2 + (y - size / 3) ** 2)
        depth = np.maximum(size * 0.75 - round_, size * 0.6 - side)
    elif kind == 3:
        depth = size * 0.22 - abs(round_ - size * 0.75)
    elif kind == 4:
        bars = np.maximum(size * 0.27 - abs(x), size * 0.27 - abs(y))
        depth = np.minimum(bars, size - round_)
    else:
        depth = size - round_
    if kind == 5:
        depth = np.maximum(size * 0.7 - round_, size * 0.07 - abs(round_ - size * 0.93))
    return np.clip(depth + 0.5, 0, 1)
