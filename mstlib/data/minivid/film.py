"""One MiniVID clip from script to frames and ground truth: compositing and annotation.

Needs numpy only, so that generating processes start fast.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray as Array

from mstlib.data.minivid import sprite as pictures
from mstlib.data.minivid.render import render_body
from mstlib.data.minivid.scene import Body, Scene, Script
from mstlib.data.minivid.scenery import Scenery, background, draw_occluder, draw_scenery, dress
from mstlib.data.minivid.script import draw_clip
from mstlib.data.minivid.sprite import Sprite

# One row for each annotated object and frame: column -> (width, type); width 0 is a plain number.
FIELDS = {
    "clip": (0, "int32"), "frame": (0, "int32"), "box": (4, "float32"), "label": (0, "int64"),
    "id": (0, "int64"), "flags": (4, "bool"), "centre": (2, "float32"),
    "azimuth": (0, "float32"),  # of the key, radians in -pi..pi, 0 towards the camera
    "visible": (0, "float32"),  # share of the silhouette that nothing hides
    "key": (0, "float32"),      # area of the key turned to the camera, frontal view = 1
    "speed": (0, "float32"),    # px a frame
    "scale": (0, "float32"), "depth": (0, "float32"),  # zoom; larger is nearer
}


@dataclass(frozen=True)
class View:
    """One object in one frame: its row of ground truth in the making."""

    body: Body
    box: Array      # (4,) silhouette, not clipped
    key: float
    visible: float


def blurred(sprite: Sprite, body: Body, t: int) -> Sprite:
    """The sprite with the object's motion blur and defocus at frame t, if any."""
    if body.streak[t] != (0.0, 0.0):
        sprite = pictures.motion_blur(sprite, body.streak[t])
    return pictures.defocus(sprite, body.sigma[t]) if body.sigma[t] > 0 else sprite


def film_frame(
    script: Script, scenery: Scenery, t: int, size: int, scene: Scene
) -> tuple[Array, list[View], list[Array]]:
    """Frame t (3, S, S) float32 without noise; views and sharp silhouettes, back to front.

    A silhouette is (2S, 2S) in 0..1, the frame in its middle: shares count what lies outside too.
    """
    frame = background(scenery, script.pan[t], size)
    for mover in scenery.movers:
        x, y = (math.floor(v * t + 0.5) for v in mover.velocity)
        pictures.lay_over(frame, pictures.moved(mover.sprite, x, y))
    views, whole, clear = [], [], []
    for body in sorted(script.bodies, key=lambda body: body.depth):
        sprite, box, key = render_body(body, t, script.light, scene)
        hider = draw_occluder(body, box, t, scenery)
        pictures.lay_over(frame, blurred(sprite, body, t))
        clear = [*pictures.hide(clear, sprite), pictures.field_of(sprite, size)]
        whole.append(clear[-1])
        if hider is not None:
            pictures.lay_over(frame, hider)
            clear = pictures.hide(clear, hider)
        views.append(View(body, box, key, 1.0))
    shares = [_total(c) / max(1, _total(w)) for c, w in zip(clear, whole, strict=True)]
    views = [replace(v, visible=share) for v, share in zip(views, shares, strict=True)]
    return frame, views, whole


def _total(mask: Array) -> int:
    """Sum of a mask in 1/256: whole numbers add up to the same in any order."""
    return int(np.rint(mask * 256).astype(np.int64).sum())


def annotate(view: View, t: int, size: int, scene: Scene) -> dict | None:
    """The ground-truth row of one object, None if too little of it is inside the image."""
    body, box = view.body, np.clip(view.box, 0, size)
    w, h = np.maximum(box[2:] - box[:2], 0)
    if w * h < scene.min_inside * np.prod(view.box[2:] - view.box[:2]):
        return None
    first, last = max(t - 1, 0), min(t + 1, len(body.centre) - 1)
    dx, dy = (float(d) for d in body.centre[last] - body.centre[first])
    blur, soft = body.streak[t] != (0.0, 0.0), body.sigma[t] > 0
    hidden, rare = view.visible < scene.occluded, view.key < scene.rare_key
    return {
        "frame": t, "box": box, "label": 1 + 2 * body.body + body.key,
        "flags": (blur, soft, hidden, rare), "centre": body.centre[t],
        "azimuth": math.remainder(body.yaw[t], 2 * math.pi), "visible": view.visible,
        "key": view.key, "speed": math.hypot(dx, dy) / max(last - first, 1),
        "scale": body.scale[t], "depth": body.depth,
    }


def direct_clip(
    seed: tuple[int, int, int], length: int, size: int, scene: Scene
) -> tuple[Script, Scenery, np.random.Generator]:
    """All of the clip `seed` = (seed, split, clip) but its frames, and the generator for noise."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    script = draw_clip(rng, length, size, scene)
    scenery = draw_scenery(rng, script, size, scene)
    return replace(script, bodies=[dress(b, scenery, rng) for b in script.bodies]), scenery, rng


def film_clip(
    seed: tuple[int, int, int], length: int, size: int, scene: Scene
) -> tuple[Array, dict[str, Array]]:
    """Frames (T, 3, S, S) uint8 and ground truth of the clip `seed` = (seed, split, clip).

    The ground truth has the columns of `FIELDS`, and pan (T, 2): the ground's place in px.
    """
    frames, table = film_script(*direct_clip(seed, length, size, scene), size, scene)
    return frames, {**table, "clip": np.full_like(table["clip"], seed[2])}


def film_script(
    script: Script, scenery: Scenery, rng: np.random.Generator, size: int, scene: Scene
) -> tuple[Array, dict[str, Array]]:
    """As `film_clip`, of what `direct_clip` gives, clip number 0.

    Of a script that was changed meanwhile, say by taking the blur away, all else stays as it was,
    noise included.
    """
    length = len(script.pan)
    grain = rng.random((3, 2 * size, 2 * size)).astype(np.float32) - np.float32(0.5)
    grain *= np.float32(2 * scene.noise)
    frames, table = np.empty((length, 3, size, size), dtype=np.uint8), []
    for t in range(length):
        frame, views, _ = film_frame(script, scenery, t, size, scene)
        x, y = int(size * rng.random()), int(size * rng.random())  # another cut of the grain
        frame += grain[:, y : y + size, x : x + size]
        frames[t] = np.rint(np.clip(frame, 0, 1) * 255)
        for view in sorted(views, key=lambda view: view.body.track):
            row = annotate(view, t, size, scene)
            if row is not None:
                table.append({**row, "clip": 0, "id": view.body.track})
    return frames, {**as_columns(table), "pan": script.pan.astype(np.float32)}


def as_columns(table: list[dict]) -> dict[str, Array]:
    """Columns of a list of rows, shaped and typed as `FIELDS` says, also when it is empty."""
    columns = {}
    for name, (width, kind) in FIELDS.items():
        column = np.array([row[name] for row in table], dtype=kind)
        columns[name] = column.reshape(-1, width) if width else column
    return columns
