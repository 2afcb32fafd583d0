"""Where the vehicles of a MiniUAV clip stand on the screen in a frame, and the boxes of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

from mstlib.data.miniuav.lens import to_screen
from mstlib.data.miniuav.paint import crossing
from mstlib.data.miniuav.scene import Point, Script, Vehicle
from mstlib.data.miniuav.vehicle import CORNER

Box = tuple[int, int, int, int]  # x1, y1, x2, y2 in whole pixels


@dataclass(frozen=True)
class Stand:
    """Where a vehicle stands on the screen: middle and px per length, unit vector to its front."""

    track: int
    vehicle: Vehicle
    middle: Point
    along: Point
    scale: float


def stand_all(script: Script, t: int, size: int) -> list[Stand]:
    """Every vehicle near the image at frame t."""
    camera, scale = script.camera, script.camera.scale[t] * size / 128
    c, s = camera.axis[t]
    middles = to_screen(camera, t, size, np.array(
        [v.place[t] for v in script.vehicles]).reshape(-1, 2)).tolist()
    stands = []
    for track, (vehicle, (x, y)) in enumerate(zip(script.vehicles, middles, strict=True), 1):
        reach = vehicle.length * scale
        if -reach < x < size + reach and -reach < y < size + reach:
            a, b = (float(v) for v in vehicle.along[t])
            stands.append(Stand(track, vehicle, (x, y), (a * c + b * s, b * c - a * s), scale))
    return stands


def around(stand: Stand, frame: Array, ahead: float, reach: float
            ) -> tuple[Array, Array, Array] | None:
    """The part of a frame within `reach` lengths of a point `ahead` of the vehicle's middle, and
    how far in lengths its pixels lie ahead and to the right of the middle; None if nowhere."""
    (x, y), (c, s), reach = stand.middle, stand.along, reach * stand.scale
    px, py = x + ahead * stand.scale * c, y + ahead * stand.scale * s
    n = math.ceil(2 * reach)
    left, top = math.floor(px - reach), math.floor(py - reach)
    (rows, columns), _ = crossing(top, left, n, n, frame.shape)
    part = frame[rows, columns]
    if not part.size:
        return None
    dx = (np.arange(columns.start, columns.stop) + 0.5 - x).astype(np.float32)[None]
    dy = (np.arange(rows.start, rows.stop) + 0.5 - y).astype(np.float32)[:, None]
    c, s = np.float32(c / stand.scale), np.float32(s / stand.scale)
    return part, dx * c + dy * s, dy * c - dx * s


def outline_box(stand: Stand, size: int) -> Box:
    """The box around a vehicle's outline, to the nearest whole pixels, clipped to the image."""
    (x, y), (c, s), vehicle = stand.middle, stand.along, stand.vehicle
    a, b = (side / 2 - CORNER for side in (vehicle.length, vehicle.width))
    w = (abs(c) * a + abs(s) * b + CORNER) * stand.scale
    h = (abs(s) * a + abs(c) * b + CORNER) * stand.scale
    return whole_box((x - w, y - h, x + w, y + h), size)


def whole_box(box: Sequence[float], size: int) -> Box:
    """A box to the nearest whole pixels, clipped to the image."""
    return tuple(min(max(0, math.floor(float(at) + 0.5)), size) for at in box)
