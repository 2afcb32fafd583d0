"""Flat pictures of MiniVID: laying them over a frame, blurring them, and noise and shapes.

Like `render.py` only exact arithmetic touches pixels, so the bytes do not depend on the machine.
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


def moved(sprite: Sprite, x: int, y: int) -> Sprite:
    """The same picture x px further right and y px further down."""
    return Sprite(sprite.rgba, sprite.left + x, sprite.top + y)


def overlap(sprite: Sprite, height: int, width: int) -> tuple[tuple[slice, slice], ...]:
    """Rows and columns of the frame, and of the sprite, where the two meet; empty if nowhere."""
    there, here = [], []
    for start, n, end in zip(
        (sprite.top, sprite.left), sprite.rgba.shape[1:], (height, width), strict=True
    ):
        first = min(max(start, 0), end)
        last = max(first, min(start + n, end))
        there.append(slice(first, last))
        here.append(slice(min(first - start, n), last - start) if last > first else slice(0, 0))
    return tuple(there), tuple(here)


def lay_over(frame: Array, sprite: Sprite) -> None:
    """Composite a sprite over a (3, h, w) float32 frame, in place."""
    there, here = overlap(sprite, *frame.shape[1:])
    rgba, part = sprite.rgba[:, *here], frame[:, *there]
    part *= 1 - rgba[3]
    part += rgba[:3]


def field_of(sprite: Sprite, size: int) -> Array:
    """Its alpha on a field (2S, 2S) with the frame in the middle."""
    field = np.zeros((2 * size, 2 * size), dtype=np.float32)
    there, here = overlap(moved(sprite, size // 2, size // 2), 2 * size, 2 * size)
    field[there] = sprite.rgba[3][here]
    return field


def hide(fields: list[Array], sprite: Sprite) -> list[Array]:
    """What stays visible of each field behind the sprite."""
    return [field * (1 - field_of(sprite, len(field) // 2)) for field in fields]


def padded(sprite: Sprite, margin: int) -> Sprite:
    """The sprite with a transparent margin, for what blur carries outwards."""
    rgba = np.pad(sprite.rgba, ((0, 0), (margin, margin), (margin, margin)))
    return Sprite(rgba, sprite.left - margin, sprite.top - margin)


def motion_blur(sprite: Sprite, streak: tuple[float, float]) -> Sprite:
    """Mean of copies shifted along the streak (px): one a pixel, at least seven."""
    copies = max(7, math.ceil(math.hypot(*streak)))
    margin = math.ceil(max(abs(streak[0]), abs(streak[1])) / 2) + 1
    wide, (h, w) = padded(sprite, margin), sprite.rgba.shape[1:]
    total = np.zeros_like(wide.rgba)
    for i in range(copies):
        part = i / (copies - 1) - 0.5
        x, y = (margin + math.floor(part * extent + 0.5) for extent in streak)
        total[:, y : y + h, x : x + w] += sprite.rgba
    return Sprite(total / np.float32(copies), wide.left, wide.top)


def defocus(sprite: Sprite, sigma: float) -> Sprite:
    """Gaussian blur of colour and alpha, `sigma` in px, cut at 2.5 sigma."""
    reach = math.ceil(2.5 * sigma)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-reach, reach + 1)]
    wide = padded(sprite, 2 * reach)
    rgba = wide.rgba
    for axis in (1, 2):  # along rows, then along columns
        n, total = rgba.shape[axis] - 2 * reach, 0.0
        for k, weight in enumerate(weights):
            part = rgba[:, k : k + n] if axis == 1 else rgba[:, :, k : k + n]
            total = total + part * np.float32(weight / sum(weights))
        rgba = total
    return Sprite(rgba, wide.left + reach, wide.top + reach)


def noise2(rng: np.random.Generator, height: int, width: int, cell: float) -> Array:
    """Smooth value noise (height, width) float32 in 0..1 with blotches of `cell` px."""
    shape = math.ceil(height / cell) + 2, math.ceil(width / cell) + 2
    rows = _stretch(rng.random(shape).astype(np.float32), height, cell)
    return _stretch(rows.T, width, cell).T


def _stretch(grid: Array, n: int, cell: float) -> Array:
    """Interpolate the rows of a lattice at n points, `cell` points a row."""
    at = np.arange(n) / cell
    row = np.floor(at).astype(np.int64)
    part = (at - row).astype(np.float32)
    part = (part * part * (3 - 2 * part))[:, None]
    return grid[row] + (grid[row + 1] - grid[row]) * part


def shape_alpha(kind: int, size: float, aspect: float, angle: float) -> Array:
    """Coverage (h, w) of a flat shape, its edge one px soft; size is its radius in px.

    Kinds: 0 disc, 1 rectangle, 2 blob, 3 ring, 4 cross like a key, 5 disc with a ring like a key.
    """
    reach = math.ceil(size * 1.5) + 1
    steps = np.arange(-reach, reach + 1, dtype=np.float32)
    u, v = np.meshgrid(steps, steps)
    x, y = u * math.cos(angle) + v * math.sin(angle), v * math.cos(angle) - u * math.sin(angle)
    r = np.sqrt(x * x + y * y)
    inside = size - r  # depth inside the shape, px
    if kind == 1:
        inside = np.minimum(size - abs(x), size * aspect - abs(y))
    elif kind == 2:
        aside, below = x - size / 2, y - size / 3
        inside = np.maximum(size * 0.75 - r, size * 0.6 - np.sqrt(aside * aside + below * below))
    elif kind == 3:
        inside = size * 0.22 - abs(r - size * 0.75)
    elif kind == 4:
        inside = np.minimum(inside, size * 0.27 - np.minimum(abs(x), abs(y)))
    elif kind == 5:
        inside = np.maximum(size * 0.7 - r, size * 0.07 - abs(r - size * 0.93))
    return np.clip(inside + 0.5, 0, 1)
