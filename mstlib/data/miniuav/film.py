"""One MiniUAV clip from script to frames and annotation: what is seen, hidden and ignored.

`annotate.py` says which of it gets a box.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

from mstlib.data.miniuav import lens
from mstlib.data.miniuav.ground import Ground, draw_ground
from mstlib.data.miniuav.paint import crossing
from mstlib.data.miniuav.scene import DAY, FOG, NIGHT, Knobs, Script
from mstlib.data.miniuav.script import draw_clip
from mstlib.data.miniuav.stand import Box, Stand, around, outline_box, stand_all, whole_box
from mstlib.data.miniuav.vehicle import draw_vehicle
from mstlib.data.minivid.script import uniform

HAZE = np.array((0.74, 0.76, 0.78), dtype=np.float32)
MOON = np.array((0.86, 0.92, 1.12), dtype=np.float32)  # the tint of night


@dataclass(frozen=True)
class View:
    """One vehicle in one frame."""

    track: int               # from 1
    kind: int                # index into KINDS
    box: Box                 # of its outline, clipped to the image
    inside: float            # share of its area in the image
    visible: float           # share of that which nothing hides
    alpha: Array             # (h, w) float32: its silhouette, not clipped
    corner: tuple[int, int]  # left and top pixel of that


@dataclass(frozen=True)
class Frame:
    """A frame (S, S, 3) uint8, all vehicles in it, and the regions that are not annotated."""

    pixels: Array
    views: list[View]
    ignored: list[Box]


def film_clip(seed: tuple[int, int, int], length: int, size: int, knobs: Knobs
              ) -> tuple[Script, Iterator[Frame]]:
    """The clip `seed` = (seed, split, clip): its script, and its frames one by one."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    script = draw_clip(rng, seed, length, knobs)
    return script, _frames(rng, script, size, knobs)


def _frames(rng: np.random.Generator, script: Script, size: int, knobs: Knobs) -> Iterator[Frame]:
    ground = draw_ground(rng, script, size, knobs)
    dense = uniform(rng, *knobs.fog) if script.light == FOG else 0.0
    fog = lens.fog_map(rng, size, dense) if dense else None
    peak = knobs.night_noise if script.light == NIGHT else knobs.noise
    grain = rng.random((2 * size, 2 * size, 3)).astype(np.float32) - np.float32(0.5)
    grain *= np.float32(2 * peak)
    for t in range(len(script.camera.scale)):
        frame, views = draw_frame(script, ground, t, size, knobs)
        if fog is not None:
            frame += (HAZE - frame) * fog
        frame = _through_lens(frame, script, t, size / 128)
        pixels = lens.add_noise(frame, grain, float(rng.random()), float(rng.random()))
        yield Frame(pixels, views, ignored_regions(script, ground, t, size))


def _through_lens(frame: Array, script: Script, t: int, unit: float) -> Array:
    """Night's tint, defocus and shake."""
    camera = script.camera
    if script.light == NIGHT:
        frame = frame * MOON
    if camera.sigma[t] > 0:
        frame = lens.defocus(frame, camera.sigma[t] * unit)
    x, y = camera.streak[t]
    return lens.blur(frame, (x * unit, y * unit)) if (x, y) != (0.0, 0.0) else frame


def draw_frame(script: Script, ground: Ground, t: int, size: int, knobs: Knobs
               ) -> tuple[Array, list[View]]:
    """Frame t (S, S, 3) float32, sharp and without fog, and what is to be seen of each vehicle."""
    floor = lens.look(ground.floor, ground.corner, script.camera, t, size)
    above = lens.look(ground.above, ground.corner, script.camera, t, size, knobs.parallax)
    frame, light, clear = floor[..., :3], floor[..., 3:], 1 - above[..., 3:]
    stands = stand_all(script, t, size)
    for stand in stands:
        if script.light == NIGHT:
            _beam(frame, stand)
        else:
            _shadow(frame, stand, script, t)
    night = script.light == NIGHT
    views = [_lay_vehicle(frame, stand, light, clear, night) for stand in stands]
    frame = frame * clear + above[..., :3]
    return frame, [view for view in views if view.inside > 0]


def _lay_vehicle(frame: Array, stand: Stand, light: Array, clear: Array, night: bool) -> View:
    """Draw a vehicle, and measure what is to be seen of it.

    light (S, S, 1) falls on it there, clear (S, S, 1) is how much trees and bridges let through.
    """
    patch, left, top = draw_vehicle(stand.vehicle.texture, stand.middle, stand.along, stand.scale)
    (rows, columns), (r, c) = crossing(top, left, *patch.shape[:2], frame.shape)
    part, mine = frame[rows, columns], patch[r, c]
    part *= 1 - mine[..., 3:4]
    part += mine[..., :3] * light[rows, columns]
    if night:
        part += mine[..., 4:]
    whole, here = _total(patch[..., 3]), _total(mine[..., 3])
    free = _total(mine[..., 3] * clear[rows, columns, 0])
    return View(stand.track, stand.vehicle.kind, outline_box(stand, len(frame)),
                here / max(1, whole), free / max(1, here), patch[..., 3], (left, top))


def _shadow(frame: Array, stand: Stand, script: Script, t: int) -> None:
    """Darken the ground beside a vehicle: a long shadow in the sun, a faint rim in fog."""
    vehicle, day = stand.vehicle, script.light == DAY
    found = around(stand, frame, 0, vehicle.length / 2 + 5)
    if found is None:
        return
    part, u, v = found
    a, b = (float(w) for w in vehicle.along[t])
    height = 3.2 if vehicle.kind else 1.7
    x, y = (along * height for along in script.sun)
    du, dv = np.float32(x * a + y * b), np.float32(y * a - x * b)
    cover = np.clip(vehicle.length / 2 + 0.5 - abs(u - du), 0, 1)
    cover *= np.clip(vehicle.width / 2 + 0.5 - abs(v - dv), 0, 1)
    part *= 1 - (cover * np.float32(0.5 if day else 0.25))[..., None]


def _beam(frame: Array, stand: Stand) -> None:
    """Night: what the headlamps light up."""
    half, side = stand.vehicle.length / 2, stand.vehicle.width / 2
    found = around(stand, frame, half + 8, 12)
    if found is None:
        return
    part, u, v = found
    ahead = u - np.float32(half)
    cone = np.clip(1 - ahead / 16, 0, 1) * (ahead > 0)
    cone *= np.clip(1.3 - abs(v) / (side + np.float32(0.4) * np.maximum(ahead, 0)), 0, 1)
    part += cone[..., None] * np.array((0.34, 0.31, 0.22), dtype=np.float32)


def _total(mask: Array) -> int:
    """Sum of a mask in 1/256: whole numbers add up to the same in any order."""
    return int(np.rint(mask * 256).astype(np.int64).sum())


def ignored_regions(script: Script, ground: Ground, t: int, size: int) -> list[Box]:
    """Boxes of the regions without annotation in frame t: car parks, and a strip at a border."""
    regions = []
    for x1, y1, x2, y2 in ground.lots:
        corners = np.array([(x1, y1), (x2, y1), (x1, y2), (x2, y2)])
        spots = lens.to_screen(script.camera, t, size, corners)
        regions.append(whole_box((*spots.min(axis=0), *spots.max(axis=0)), size))
    side, width = script.strip
    width = int(width * size / 128 + 0.5)
    if width:
        regions.append(((0, 0, size, width), (size - width, 0, size, size),
                        (0, size - width, size, size), (0, 0, width, size))[side])
    return [box for box in regions if min(box[2] - box[0], box[3] - box[1]) >= 3]
