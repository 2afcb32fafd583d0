"""A canvas in lengths and the few strokes that MiniUAV's ground is painted with."""

import math
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array
from numpy.random import Generator

from mstlib.data.minivid.sprite import noise2

Colour = tuple[float, float, float]
Area = tuple[float, float, float, float]  # x1, y1, x2, y2 in lengths


@dataclass(frozen=True)
class Canvas:
    """A picture of the ground: `unit` pixels a length, its upper left at `corner`."""

    rgb: Array               # (h, w, 3) float32
    light: Array             # (h, w) float32: 1, less in shadow
    x: Array                 # (1, w) float32: where the pixels' middles lie
    y: Array                 # (h, 1)
    corner: tuple[float, float]
    unit: float

    @staticmethod
    def of(corner: tuple[float, float], w: int, h: int, unit: float) -> "Canvas":
        """An empty canvas of w x h pixels, lit."""
        x, y = (np.float32(corner[i]) + (np.arange(n, dtype=np.float32) + np.float32(0.5))
                / np.float32(unit) for i, n in ((0, w), (1, h)))
        return Canvas(np.zeros((h, w, 3), np.float32), np.ones((h, w), np.float32), x[None],
                      y[:, None], corner, unit)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies on the canvas, in pixels."""
        return (x - self.corner[0]) * self.unit, (y - self.corner[1]) * self.unit

    def part(self, area: Area) -> "Canvas":
        """The canvas within an area, a view; it may be empty."""
        h, w = self.light.shape
        a, c = (min(max(0, math.floor((x - self.corner[0]) * self.unit + 0.5)), w)
                for x in area[0::2])
        b, d = (min(max(0, math.floor((y - self.corner[1]) * self.unit + 0.5)), h)
                for y in area[1::2])
        corner = self.corner[0] + a / self.unit, self.corner[1] + b / self.unit
        return Canvas(self.rgb[b:d, a:c], self.light[b:d, a:c], self.x[:, a:c], self.y[b:d],
                      corner, self.unit)


def blank(canvas: Canvas, layers: int) -> Array:
    """Zeros (h, w, layers) of the canvas's size."""
    return np.zeros((*canvas.light.shape, layers), dtype=np.float32)


def grain(rng: Generator, canvas: Canvas, cell: float) -> Array:
    """Smooth noise (h, w) in 0..1 with blotches of `cell` lengths."""
    return noise2(rng, *canvas.light.shape, max(1.0, cell * canvas.unit))


def blend(canvas: Canvas, colour: Colour, alpha: Array) -> None:
    """Lay a colour over the canvas, in place; alpha (h, w)."""
    for k in range(3):
        layer = canvas.rgb[..., k]
        layer += (np.float32(colour[k]) - layer) * alpha


def stroke(canvas: Canvas, colour: Colour, depth: Array, where: Array | float = 1.0) -> None:
    """Paint where `depth` (h, w), how deep inside a shape in lengths, is positive: soft edges."""
    blend(canvas, colour, np.clip(depth * np.float32(canvas.unit) + np.float32(0.5), 0, 1) * where)


def rectangle(canvas: Canvas, colour: Colour, area: Area, share: float = 1.0) -> None:
    """Paint an area, edges at whole pixels."""
    part = canvas.part(area)
    part.rgb[:] += (np.array(colour, dtype=np.float32) - part.rgb) * np.float32(share)


def cast_shadow(canvas: Canvas, cover: Array, sun: tuple[float, float], height: float,
                share: float) -> None:
    """Darken the canvas by `share` where something of alpha `cover` (h, w) stands in the light."""
    x, y = (math.floor(along * height * canvas.unit + 0.5) for along in sun)
    h, w = cover.shape
    if sun == (0.0, 0.0) or abs(x) >= w or abs(y) >= h:
        return
    dark = np.zeros_like(cover)
    dark[max(y, 0) : h + min(y, 0), max(x, 0) : w + min(x, 0)] = (
        cover[max(-y, 0) : h - max(y, 0), max(-x, 0) : w - max(x, 0)])
    canvas.light[:] = np.minimum(canvas.light, 1 - dark * np.float32(share))


def crossing(top: int, left: int, h: int, w: int, shape: tuple[int, ...]
             ) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns of a picture, and of an (h, w) patch on it, where the two meet."""
    there, here = [], []
    for start, n, end in ((top, h, shape[0]), (left, w, shape[1])):
        first, last = min(max(start, 0), end), min(max(start + n, 0), end)
        there.append(slice(first, last))
        here.append(slice(first - start, last - start) if last > first else slice(0, 0))
    return tuple(there), tuple(here)
