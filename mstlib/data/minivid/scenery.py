"""What surrounds the objects of a MiniVID clip: panning ground, clutter, camouflage, occluders."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray as Array

from mstlib.data.minivid import sprite as pictures
from mstlib.data.minivid.scene import Body, Scene, Script
from mstlib.data.minivid.script import uniform
from mstlib.data.minivid.sprite import Sprite


@dataclass(frozen=True)
class Mover:
    """A flat shape with its own straight path on the screen."""

    sprite: Sprite
    velocity: tuple[float, float]


@dataclass(frozen=True)
class Scenery:
    """Canvas (3, h, w) float32, its corner on the screen at frame 0, and the moving shapes."""

    canvas: Array
    corner: tuple[float, float]
    movers: list[Mover]


def draw_count(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    """A whole number between the bounds, both included."""
    return bounds[0] + int((bounds[1] - bounds[0] + 1) * rng.random())


def draw_shape(rng: np.random.Generator, palette: Array, unit: float, w: float, h: float) -> Sprite:
    """A flat distractor somewhere in w x h px, in colours of the background or like a real key."""
    kind, size = int(6 * rng.random()), uniform(rng, 4, 15) * unit
    alpha = pictures.shape_alpha(kind, size, uniform(rng, 0.4, 1.0), uniform(rng, 0, math.pi))
    colour = palette[int(len(palette) * rng.random())] + np.float32(uniform(rng, -0.25, 0.25))
    if kind >= 4 and rng.random() < 0.6:  # as black or white as keys are
        colour = np.full(3, 0.05 if rng.random() < 0.5 else 0.95, dtype=np.float32)
    rgba = np.concatenate([np.clip(colour, 0, 1)[:, None, None] * alpha, alpha[None]])
    half = alpha.shape[0] // 2
    return Sprite(rgba, int(uniform(rng, 0, w)) - half, int(uniform(rng, 0, h)) - half)


def draw_canvas(rng: np.random.Generator, palette: Array, w: int, h: int, unit: float) -> Array:
    """A textured ground (3, h, w): the palette's colours in blotches of three sizes, and grain."""
    canvas = np.broadcast_to(palette[0][:, None, None], (3, h, w)).copy()
    for colour, cell in zip(palette[1:], (44, 18, 8), strict=True):
        blend = np.clip((pictures.noise2(rng, h, w, cell * unit) - 0.5) * 3 + 0.4, 0, 1)
        canvas += (colour[:, None, None] - canvas) * blend
    return canvas + (pictures.noise2(rng, h, w, 2.5 * unit) - 0.5) * np.float32(0.22)


def draw_scenery(rng: np.random.Generator, script: Script, size: int, scene: Scene) -> Scenery:
    """A ground large enough for the whole pan, with still shapes painted on it, and moving ones."""
    unit, low, high = size / 128, script.pan.min(axis=0), script.pan.max(axis=0)
    w, h = (math.ceil(float(high[i] - low[i])) + size + 3 for i in (0, 1))
    palette = rng.random((4, 3)).astype(np.float32) * np.float32(0.8) + np.float32(0.1)
    canvas = draw_canvas(rng, palette, w, h, unit)
    for _ in range(draw_count(rng, scene.still_shapes)):
        pictures.lay_over(canvas, draw_shape(rng, palette, unit, w, h))
    movers = []
    for _ in range(draw_count(rng, scene.moving_shapes)):
        shape = draw_shape(rng, palette, unit, size, size)
        movers.append(Mover(shape, (uniform(rng, -3, 3) * unit, uniform(rng, -3, 3) * unit)))
    return Scenery(np.clip(canvas, 0, 1), (-float(high[0]) - 1, -float(high[1]) - 1), movers)


def background(scenery: Scenery, pan: Array, size: int) -> Array:
    """The ground (3, S, S) moved by `pan` px on the screen, bilinear."""
    x, y = (float(pan[i]) * -1 - scenery.corner[i] for i in (0, 1))
    left, top = math.floor(x), math.floor(y)
    fx, fy = np.float32(x - left), np.float32(y - top)
    patch = scenery.canvas[:, top : top + size + 1, left : left + size + 1]
    rows = patch[:, :-1] + (patch[:, 1:] - patch[:, :-1]) * fy
    return rows[:, :, :-1] + (rows[:, :, 1:] - rows[:, :, :-1]) * fx


def dress(body: Body, scenery: Scenery, rng: np.random.Generator) -> Body:
    """A camouflaged object takes both its colours from the ground around its first position."""
    if not body.camouflaged:
        return body
    picks, (_, h, w) = [], scenery.canvas.shape
    for _ in range(2):
        jitter = [uniform(rng, -0.6, 0.6) * body.diameter for _ in range(2)]
        x, y = (float(body.centre[0, i]) - scenery.corner[i] + jitter[i] for i in (0, 1))
        picks.append(scenery.canvas[:, min(h - 1, max(0, int(y))), min(w - 1, max(0, int(x)))])
    return replace(body, colours=np.stack(picks))


def draw_occluder(body: Body, box: Array, t: int, scenery: Scenery) -> Sprite | None:
    """What hides the object at frame t: a piece of the ground, moved in from one side."""
    share, dx, dy = body.cover[t]
    if share == 0:
        return None
    w, h = float(box[2] - box[0]), float(box[3] - box[1])
    half = 0.5 * math.sqrt(w * w + h * h) + 1
    shift = (0.5 - share) * (abs(dx) * w + abs(dy) * h) + half  # of its middle from the box's
    _, rows, columns = scenery.canvas.shape
    alpha = pictures.shape_alpha(1, half, 1.0, math.atan2(dy, dx))[:rows, :columns]
    n, m = alpha.shape
    top, left = int(body.patch[0] * (rows - n + 1)), int(body.patch[1] * (columns - m + 1))
    patch = scenery.canvas[:, top : top + n, left : left + m] + np.float32(body.patch[2])
    x, y = float(box[0] + box[2]) / 2 + dx * shift, float(box[1] + box[3]) / 2 + dy * shift
    rgba = np.concatenate([np.clip(patch, 0, 1) * alpha, alpha[None]])
    return Sprite(rgba, math.floor(x - m / 2 + 0.5), math.floor(y - n / 2 + 0.5))
