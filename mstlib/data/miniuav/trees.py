"""Trees of MiniUAV: beside the roads, where they hide what drives below, and out in the fields."""

import math

import numpy as np
from numpy import ndarray as Array
from numpy.random import Generator

from mstlib.data.miniuav import roads as ways
from mstlib.data.miniuav.paint import Canvas, crossing
from mstlib.data.miniuav.scene import Point, Script
from mstlib.data.minivid.script import uniform
from mstlib.data.minivid.sprite import noise2

LEAVES = ((0.17, 0.30, 0.12), (0.24, 0.36, 0.13), (0.13, 0.25, 0.13), (0.33, 0.36, 0.15))


def plant(rng: Generator, canvas: Canvas, above: Array, script: Script) -> None:
    """Rows of trees along the main road, which reach over its outer lanes, and others anywhere."""
    x1, x2 = float(canvas.x[0, 0]), float(canvas.x[0, -1])
    y1, y2 = float(canvas.y[0, 0]), float(canvas.y[-1, 0])
    for side in (1, -1):
        x = x1 + uniform(rng, 0, script.trees)
        while x < x2:
            away = ways.driven(script.roads) + uniform(rng, -4, 8)
            if all(abs(x - street) > 24 for street in script.roads.streets):
                _tree(rng, canvas, above, (x, ways.middle(script.roads, x) + side * away), script)
            x += script.trees * uniform(rng, 0.5, 1.5)
    for _ in range(int((x2 - x1) * (y2 - y1) / (70 * script.trees))):
        x, y = uniform(rng, x1, x2), uniform(rng, y1, y2)
        off = abs(y - ways.middle(script.roads, x)) - ways.paved(script.roads)
        if off > 16 and all(abs(x - street) > 22 for street in script.roads.streets):
            _tree(rng, canvas, above, (x, y), script)


def _tree(rng: Generator, canvas: Canvas, above: Array, middle: Point, script: Script) -> None:
    """One crown: a ragged disc, brighter towards the sun, and its shadow on the ground."""
    radius, unit = uniform(rng, 6.5, 11.5), canvas.unit
    n = 2 * math.ceil(radius * 1.2 * unit) + 1
    at = (np.arange(n, dtype=np.float32) - np.float32(n // 2)) / np.float32(radius * unit)
    x, y = at[None], at[:, None]
    lumps = noise2(rng, n, n, max(1.0, 3.2 * unit))
    depth = (1 - np.sqrt(x * x + y * y) + (lumps - np.float32(0.5)) * np.float32(0.55))
    alpha = np.clip(depth * np.float32(radius * unit) + np.float32(0.5), 0, 1)
    sun = script.sun if script.sun != (0.0, 0.0) else (0.3, 0.3)
    shade = 1 - np.float32(0.35) * (x * np.float32(sun[0]) + y * np.float32(sun[1]))
    shade = shade * (np.float32(0.55) + np.float32(0.9) * lumps)
    colour = np.array(LEAVES[int(len(LEAVES) * rng.random())], dtype=np.float32)
    _lay(canvas, above, middle, alpha, np.clip(colour * shade[..., None], 0, 1), script)


def _lay(canvas: Canvas, above: Array, middle: Point, alpha: Array, colour: Array, script: Script
         ) -> None:
    """Put a crown on the upper canvas and its shadow on the lower one."""
    x, y = canvas.place(*middle)
    n = len(alpha)
    left, top = math.floor(x) - n // 2, math.floor(y) - n // 2
    (rows, columns), (r, c) = crossing(top, left, n, n, canvas.light.shape)
    part, cover = above[rows, columns], alpha[r, c][..., None]
    part *= 1 - cover
    part[..., :3] += colour[r, c] * cover
    part[..., 3:] += cover
    if script.sun == (0.0, 0.0):
        return
    dx, dy = (math.floor(along * 5 * canvas.unit + 0.5) for along in script.sun)
    (rows, columns), (r, c) = crossing(top + dy, left + dx, n, n, canvas.light.shape)
    light = canvas.light[rows, columns]
    np.minimum(light, 1 - alpha[r, c] * np.float32(0.45), out=light)
