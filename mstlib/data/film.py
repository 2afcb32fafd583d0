"""One MiniVID clip from script to frames and ground truth: background, clutter, occluders, compositing.

Needs numpy only, so that generating processes start fast.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray as Array

from mstlib.data import render
from mstlib.data.render import Sprite
from mstlib.data.scene import Body, Scene, Script, draw_clip, uniform

FIELDS = {  # one row per annotated object and frame: name -> (columns, type)
    "clip": (0, "int32"), "frame": (0, "int32"), "box": (4, "float32"), "label": (0, "int64"),
    "id": (0, "int64"), "flags": (4, "bool"), "centre": (2, "float32"), "azimuth": (0, "float32"),
    "visible": (0, "float32"), "key": (0, "float32"), "speed": (0, "float32"),
    "scale": (0, "float32"), "depth": (0, "float32"),
}
# visible: share of the silhouette in front of everything else; key: share of the key turned to the camera,
# relative to the frontal view; speed: px a frame; azimuth: radians in (-pi, pi], 0 shows the key


@dataclass(frozen=True)
class Mover:
    """A flat shape with its own straight path on the screen."""

    sprite: Sprite
    velocity: tuple[float, float]


@dataclass(frozen=True)
class Set:
    """The scenery of a clip: canvas (3, h, w) float32, its corner on the screen at frame 0, and moving shapes."""

    canvas: Array
    corner: tuple[float, float]
    movers: list[Mover]


def paint_shape(rng: np.random.Generator, palette: Array, unit: float, at: tuple[float, float]) -> Sprite:
    """A flat distractor in the colours of the background, some shaped like a key, centred at `at`."""
    kind = int(6 * rng.random())
    size = uniform(rng, 4, 15) * unit
    alpha = render.shape_alpha(kind, size, uniform(rng, 0.4, 1.0), uniform(rng, 0, math.pi))
    colour = palette[int(len(palette) * rng.random())] + np.float32(uniform(rng, -0.25, 0.25))
    if kind >= 4 and rng.random() < 0.6:  # as black or white as real keys
        colour = np.full(3, 0.05 if rng.random() < 0.5 else 0.95, dtype=np.float32)
    rgba = np.concatenate([np.clip(colour, 0, 1)[:, None, None] * alpha, alpha[None]])
    half = alpha.shape[0] // 2
    return Sprite(rgba.astype(np.float32), math.floor(at[0]) - half, math.floor(at[1]) - half)


def build_set(rng: np.random.Generator, script: Script, size: int, scene: Scene) -> Set:
    """Textured canvas large enough for the whole pan, with the still shapes painted on it."""
    unit, pan = size / 128, script.pan
    low, high = pan.min(axis=0), pan.max(axis=0)
    w, h = (math.ceil(float(high[i] - low[i])) + size + 2 for i in (0, 1))
    palette = rng.random((4, 3)).astype(np.float32) * np.float32(0.8) + np.float32(0.1)
    canvas = np.broadcast_to(palette[0][:, None, None], (3, h, w)).copy()
    for colour, cell in zip(palette[1:], (44, 18, 8), strict=True):
        blend = np.clip((render.noise2(rng, h, w, cell * unit) - 0.5) * 3 + 0.4, 0, 1)
        canvas += (colour[:, None, None] - canvas) * blend
    canvas += (render.noise2(rng, h, w, 2.5 * unit) - 0.5) * np.float32(0.22)
    square = max(w, h)
    few, many = scene.still_shapes
    for _ in range(few + int((many - few + 1) * rng.random())):
        at = uniform(rng, 0, w), uniform(rng, 0, h)
        shape = paint_shape(rng, palette, unit, at)
        frame = np.zeros((3, square, square), dtype=np.float32)
        frame[:, :h, :w] = canvas
        render.lay_over(frame, shape)
        canvas = frame[:, :h, :w].copy()
    few, many = scene.moving_shapes
    movers = []
    for _ in range(few + int((many - few + 1) * rng.random())):
        shape = paint_shape(rng, palette, unit, (uniform(rng, 0, size), uniform(rng, 0, size)))
        movers.append(Mover(shape, (uniform(rng, -3, 3) * unit, uniform(rng, -3, 3) * unit)))
    return Set(np.clip(canvas, 0, 1), (-float(high[0]) - 1, -float(high[1]) - 1), movers)


def view(scenery: Set, pan: Array, size: int) -> Array:
    """The background (3, S, S) with the canvas moved by `pan` px on the screen, bilinear."""
    x, y = (-scenery.corner[i] - float(pan[i]) for i in (0, 1))
    left, top = math.floor(x), math.floor(y)
    fx, fy = np.float32(x - left), np.float32(y - top)
    patch = scenery.canvas[:, top:top + size + 1, left:left + size + 1]
    rows = patch[:, :-1] + (patch[:, 1:] - patch[:, :-1]) * fy
    return rows[:, :, :-1] + (rows[:, :, 1:] - rows[:, :, :-1]) * fx


def dress(body: Body, scenery: Set, rng: np.random.Generator) -> Body:
    """A camouflaged object takes its two colours from the background around its first position."""
    colours = body.colours
    if body.camouflaged:
        _, h, w = scenery.canvas.shape
        picks = []
        for _ in range(2):
            x, y = (
                float(body.centre[0, i]) - scenery.corner[i] + uniform(rng, -0.6, 0.6) * body.diameter
                for i in (0, 1)
            )
            picks.append(scenery.canvas[:, min(h - 1, max(0, int(y))), min(w - 1, max(0, int(x)))])
        colours = np.stack(picks)
    return replace(body, colours=colours)


def occluder(body: Body, box: Array, t: int, scenery: Set) -> Sprite | None:
    """What hides the object at frame t: a soft-edged piece of background, moved in from one side."""
    share, dx, dy = body.cover[t]
    if share == 0:
        return None
    w, h = float(box[2] - box[0]), float(box[3] - box[1])
    extent = abs(dx) * w + abs(dy) * h  # of the box along the direction
    half = 0.5 * math.sqrt(w * w + h * h) + 1
    shift = extent / 2 - share * extent + half
    alpha = render.shape_alpha(1, half, 1.0, math.atan2(dy, dx))
    n = alpha.shape[0]
    _, ch, cw = scenery.canvas.shape
    n = min(n, ch, cw)
    alpha = alpha[:n, :n]
    y, x = int(body.occluder[0] * (ch - n + 1)), int(body.occluder[1] * (cw - n + 1))
    patch = scenery.canvas[:, y:y + n, x:x + n] + np.float32(0.3 * body.occluder[2] - 0.15)
    cx, cy = (float(box[0] + box[2]) / 2 + dx * shift, float(box[1] + box[3]) / 2 + dy * shift)
    rgba = np.concatenate([np.clip(patch, 0, 1) * alpha, alpha[None]])
    return Sprite(rgba, math.floor(cx - n / 2 + 0.5), math.floor(cy - n / 2 + 0.5))


def blurred(sprite: Sprite, body: Body, t: int) -> Sprite:
    """The sprite with the object's motion blur and defocus at frame t, if any."""
    if body.streak[t] != (0.0, 0.0):
        sprite = render.motion_blur(sprite, body.streak[t])
    return render.defocus(sprite, body.sigma[t]) if body.sigma[t] > 0 else sprite


def film_frame(script: Script, scenery: Set, t: int, size: int, scene: Scene) -> tuple[Array, list[dict]]:
    """Frame t (3, S, S) float32 in 0..1 without noise, and one row per object in painter's order."""
    frame = view(scenery, script.pan[t], size)
    for mover in scenery.movers:
        x, y = (math.floor(v * t + 0.5) for v in mover.velocity)
        render.lay_over(frame, Sprite(mover.sprite.rgba, mover.sprite.left + x, mover.sprite.top + y))
    clear: list[Array] = []  # what is left visible of each silhouette, (S + 2 margin) squares
    rows, margin = [], size // 2
    for body in sorted(script.bodies, key=lambda b: b.depth):
        sprite, box, key = render.render_body(body, t, script.light, scene)
        hider = occluder(body, box, t, scenery)
        render.lay_over(frame, blurred(sprite, body, t))
        clear.append(_silhouette(sprite, size, margin))
        for mask in clear[:-1]:
            mask *= 1 - clear[-1]
        whole = _total(clear[-1])
        if hider is not None:
            render.lay_over(frame, hider)
            for mask in clear:
                mask *= 1 - _silhouette(hider, size, margin)
        rows.append({"body": body, "box": box, "key": key, "whole": whole})
    for row, mask in zip(rows, clear, strict=True):
        row["visible"] = _total(mask) / max(row["whole"], 1.0)
    return frame, rows


def _silhouette(sprite: Sprite, size: int, margin: int) -> Array:
    """Alpha of a sprite on a field wider than the frame, so that shares count what lies outside too."""
    field = np.zeros((1, size + 2 * margin, size + 2 * margin), dtype=np.float32)
    moved = Sprite(sprite.rgba, sprite.left + margin, sprite.top + margin)
    there, here = render.overlap(moved, size + 2 * margin)
    field[0][there] = sprite.rgba[3][here]
    return field[0]


def _total(mask: Array) -> float:
    """Sum of a mask in units of 1/256: whole numbers add up to the same in any order."""
    return int(np.rint(mask * 256).astype(np.int64).sum()) / 256


def annotate(row: dict, t: int, size: int, scene: Scene) -> dict | None:
    """The ground-truth row of one object, None if too little of it is inside the image."""
    body, box = row["body"], row["box"]
    clipped = np.clip(box, 0, size)
    w, h = np.maximum(clipped[2:] - clipped[:2], 0)
    if w * h < scene.min_inside * (box[2] - box[0]) * (box[3] - box[1]):
        return None
    blur, soft = body.streak[t] != (0.0, 0.0), body.sigma[t] > 0
    before, after = body.centre[max(t - 1, 0)], body.centre[min(t + 1, len(body.centre) - 1)]
    span = min(t + 1, len(body.centre) - 1) - max(t - 1, 0)
    dx, dy = (float(d) for d in after - before)
    return {
        "frame": t, "box": clipped, "label": 1 + 2 * body.body + body.key,
        "flags": (blur, soft, row["visible"] < scene.occluded, row["key"] < scene.rare_key),
        "centre": body.centre[t], "azimuth": math.remainder(body.yaw[t], 2 * math.pi),
        "visible": row["visible"], "key": row["key"], "speed": math.hypot(dx, dy) / max(span, 1),
        "scale": body.scale[t], "depth": body.depth,
    }


def film_clip(seed: tuple[int, int, int], length: int, size: int, scene: Scene) -> tuple[Array, dict]:
    """Frames (T, 3, S, S) uint8 and ground truth of the clip `seed` = (seed, split, clip).

    The ground truth holds an array per name of `FIELDS`, and `pan` (T, 2): the background's place, in px.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    script = draw_clip(rng, length, size, scene)
    scenery = build_set(rng, script, size, scene)
    script = replace(script, bodies=[dress(body, scenery, rng) for body in script.bodies])
    tracks = {id(body): i for i, body in enumerate(script.bodies)}
    grain = (rng.random((3, 2 * size, 2 * size)).astype(np.float32) - np.float32(0.5)) * np.float32(2 * scene.noise)
    frames, table = np.empty((length, 3, size, size), dtype=np.uint8), []
    for t in range(length):
        frame, rows = film_frame(script, scenery, t, size, scene)
        x, y = int(size * rng.random()), int(size * rng.random())
        frame += grain[:, y:y + size, x:x + size]
        frames[t] = np.rint(np.clip(frame, 0, 1) * 255)
        for row in sorted(rows, key=lambda r: tracks[id(r["body"])]):
            found = annotate(row, t, size, scene)
            if found:
                table.append({**found, "clip": seed[2], "id": tracks[id(row["body"])]})
    return frames, {**as_arrays(table), "pan": script.pan.astype(np.float32)}


def as_arrays(table: list[dict]) -> dict[str, Array]:
    """Columns of a list of rows, typed as `FIELDS` says, also when it is empty."""
    return {
        name: np.array([row[name] for row in table], dtype=kind).reshape(-1, *([n] if n else []))
        for name, (n, kind) in FIELDS.items()
    }
