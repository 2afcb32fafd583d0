"""Vehicles of MiniUAV from above: their painted roofs, and drawing one turned and scaled.

A texture (n, m, 7) float32 holds RGB, alpha and the light it gives off itself (RGB), `TEXELS` a
length, from rear to front and from left to right, with a transparent border of one texel. Trucks
and buses have one outline and one set of colours: a truck has a cab and a ribbed or loaded body, a
bus units of its air conditioning. Only exact arithmetic touches pixels.
"""

import math

import numpy as np
from numpy import ndarray as Array
from numpy.random import Generator

from mstlib.data.miniuav.scene import Knobs, Point
from mstlib.data.minivid.script import choose, uniform

TEXELS = 3
CORNER = 1.1  # radius of a corner
CAR_PAINT = ((0.92, 0.92, 0.92), (0.75, 0.76, 0.78), (0.45, 0.46, 0.48), (0.10, 0.10, 0.12),
             (0.70, 0.10, 0.10), (0.15, 0.25, 0.60), (0.72, 0.64, 0.50), (0.12, 0.32, 0.24))
LONG_PAINT = ((0.93, 0.93, 0.93), (0.90, 0.75, 0.15), (0.20, 0.35, 0.65), (0.75, 0.20, 0.15),
              (0.60, 0.62, 0.64), (0.85, 0.50, 0.15), (0.25, 0.50, 0.35))
GLASS = (0.07, 0.09, 0.13)
# Rear window from, to, windscreen from, to, in lengths from the rear: saloon, hatchback, van.
CABINS = ((0.14, 0.27, 0.57, 0.73), (0.03, 0.12, 0.55, 0.72), (0.02, 0.05, 0.72, 0.86))
Area = tuple[float, float, float, float]


def draw_texture(rng: Generator, kind: int, knobs: Knobs) -> tuple[float, float, Array]:
    """Length, width and texture of a vehicle of KINDS[kind]."""
    sizes = (knobs.long_length, knobs.long_width) if kind else (knobs.car_length, knobs.car_width)
    length, width = (uniform(rng, *bounds) for bounds in sizes)
    paints = LONG_PAINT if kind else CAR_PAINT
    paint = np.array(paints[choose(rng, (2,) + (1,) * (len(paints) - 1))], dtype=np.float32)
    texture = _blank(length, width)
    fill(texture, (0, 1, 0, 1), paint * np.float32(0.9))
    (_paint_car, _paint_truck, _paint_bus)[kind](rng, texture, paint)
    _add_lamps(texture, length)
    texture[..., :3] *= texture[..., 3:4]
    texture[..., 4:] *= texture[..., 3:4]
    return length, width, texture


def _blank(length: float, width: float) -> Array:
    """A texture with the outline's alpha and no colour yet."""
    n, m = (math.floor(TEXELS * side + 0.5) for side in (length, width))
    u, v = ((np.arange(k + 2) - 0.5) / TEXELS - side / 2
            for k, side in ((n, length), (m, width)))
    texture = np.zeros((n + 2, m + 2, 7), dtype=np.float32)
    texture[..., 3] = depth_inside(u[:, None], v[None], length, width) > 0
    return texture


def depth_inside(u: Array, v: Array, length: float, width: float) -> Array:
    """How deep points lie in a rectangle with rounded corners, less than 0 outside."""
    a, b = abs(u) - (length / 2 - CORNER), abs(v) - (width / 2 - CORNER)
    aside, below = np.maximum(a, 0), np.maximum(b, 0)
    return CORNER - np.sqrt(aside * aside + below * below)


def fill(texture: Array, area: Area, colour: Array | Point, layer: int = 0) -> None:
    """Paint a rectangle; area: from, to along and from, to across, in shares of the vehicle."""
    n, m = texture.shape[0] - 2, texture.shape[1] - 2
    a, b = (1 + math.floor(n * share + 0.5) for share in area[:2])
    c, d = (1 + math.floor(m * share + 0.5) for share in area[2:])
    texture[a : max(b, a + 1), c : max(d, c + 1), layer : layer + 3] = colour


def _paint_car(rng: Generator, texture: Array, paint: Array) -> None:
    """Bonnet, roof and windows; a strip of light along the roof."""
    rear, roof, front, bonnet = CABINS[choose(rng, (0.5, 0.3, 0.2))]
    fill(texture, (rear, bonnet, 0.07, 0.93), GLASS)
    fill(texture, (roof, front, 0.18, 0.82), np.minimum(paint * np.float32(1.1), 1))
    fill(texture, (roof + 0.04, front - 0.06, 0.30, 0.48), np.minimum(paint * np.float32(1.25), 1))
    fill(texture, (0.97, 1, 0, 1), paint * np.float32(0.65))


def _paint_truck(rng: Generator, texture: Array, paint: Array) -> None:
    """A cab with its windscreen, a gap, and a body with ribs or an open one with a load."""
    other = np.array(LONG_PAINT[choose(rng, (1,) * len(LONG_PAINT))], dtype=np.float32)
    fill(texture, (0.76, 1, 0, 1), other * np.float32(0.95))
    fill(texture, (0.91, 0.97, 0.06, 0.94), GLASS)
    fill(texture, (0.71, 0.76, 0, 1), (0.05, 0.05, 0.05))
    if rng.random() < 0.6:
        for k in range(5):
            at = 0.06 + 0.13 * k
            fill(texture, (at, at + 0.05, 0.08, 0.92), paint * np.float32(0.62))
        return
    fill(texture, (0.04, 0.67, 0.14, 0.86), (0.20, 0.17, 0.14))
    for _ in range(7):
        at, aside = uniform(rng, 0.06, 0.52), uniform(rng, 0.16, 0.56)
        tone = uniform(rng, 0.3, 0.7)
        fill(texture, (at, at + 0.13, aside, aside + 0.26), (tone, tone * 0.85, tone * 0.65))


def _paint_bus(rng: Generator, texture: Array, paint: Array) -> None:
    """A smooth roof with lighter middle, two or three grey units, glass at the very front."""
    fill(texture, (0.02, 0.95, 0.16, 0.84), np.minimum(paint * np.float32(1.12), 1))
    fill(texture, (0.95, 0.99, 0.04, 0.96), GLASS)
    light = float(paint[0] + paint[1] + paint[2]) > 1.5
    unit = 0.36 if light else 0.82
    for at in (0.12, 0.62) if rng.random() < 0.5 else (0.10, 0.40, 0.70):
        fill(texture, (at, at + 0.15, 0.26, 0.74), (unit, unit, unit + 0.03))
        fill(texture, (at + 0.05, at + 0.10, 0.38, 0.62), (unit * 0.7, unit * 0.7, unit * 0.7))


def _add_lamps(texture: Array, length: float) -> None:
    """Headlamps and rear lamps: bright paint by day, light of their own by night."""
    size = 1.0 / length
    for side in ((0.08, 0.30), (0.70, 0.92)):
        for area, colour in (((1 - size, 1, *side), (1.0, 0.97, 0.8)),
                             ((0, size * 0.8, *side), (0.85, 0.08, 0.05))):
            fill(texture, area, colour, 4)
            fill(texture, area, np.array(colour) * 0.8)


def draw_vehicle(texture: Array, middle: Point, along: Point, scale: float
                 ) -> tuple[Array, int, int]:
    """A vehicle as (h, w, 7) premultiplied pixels, and the left and top pixel of the patch.

    middle: px on the screen; along: unit vector to its front there; scale: px per length. Each
    pixel is the mean of 2 x 2 rays.
    """
    n, m = texture.shape[:2]
    half = [(n - 2) * scale / TEXELS / 2, (m - 2) * scale / TEXELS / 2]
    reach = [abs(along[0]) * half[0] + abs(along[1]) * half[1] + 1,
             abs(along[1]) * half[0] + abs(along[0]) * half[1] + 1]
    left, top = (math.floor(middle[i] - reach[i]) for i in (0, 1))
    w, h = (math.ceil(2 * reach[i]) + 1 for i in (0, 1))
    dx = np.arange(2 * w, dtype=np.float32) / 2 + np.float32(left + 0.25 - middle[0])
    dy = (np.arange(2 * h, dtype=np.float32) / 2 + np.float32(top + 0.25 - middle[1]))[:, None]
    c, s = (np.float32(a * TEXELS / scale) for a in along)
    u = np.clip(dx * c + dy * s + np.float32(n / 2), 0, n - 0.5).astype(np.int32)
    v = np.clip(dy * c - dx * s + np.float32(m / 2), 0, m - 0.5).astype(np.int32)
    rays = texture.reshape(-1, 7).take(u * m + v, axis=0)  # (2h, 2w, 7)
    rows = rays[0::2] + rays[1::2]
    return (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25), left, top
