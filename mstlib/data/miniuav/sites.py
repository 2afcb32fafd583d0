"""What stands beside MiniUAV's roads: houses, fields, yards full of clutter, car parks."""

import numpy as np
from numpy.random import Generator

from mstlib.data.miniuav.paint import Area, Canvas, crossing, rectangle
from mstlib.data.miniuav.scene import Knobs, Script
from mstlib.data.miniuav.vehicle import draw_texture, draw_vehicle
from mstlib.data.minivid.script import choose, uniform

ROOFS = ((0.55, 0.30, 0.24), (0.62, 0.61, 0.58), (0.45, 0.46, 0.50), (0.70, 0.62, 0.52),
         (0.35, 0.42, 0.52), (0.78, 0.77, 0.74))
FIELDS = ((0.33, 0.42, 0.20), (0.46, 0.46, 0.24), (0.52, 0.43, 0.30), (0.25, 0.37, 0.18))
LOT = 28.0  # side of a car park that one ignored region covers: larger ones reach over the road


def build_block(rng: Generator, canvas: Canvas, script: Script, area: Area, parking: bool,
                knobs: Knobs) -> list[Area]:
    """Something on a block; returns the squares of a car park, none for anything else."""
    if parking:
        return _car_park(rng, canvas, area, knobs)
    town = script.roads.kerb > 0
    kind = choose(rng, (0.55, 0.15, 0.3) if town else (0.15, 0.6, 0.25))
    if kind == 0:
        _house(rng, canvas, area, script.sun)
    elif kind == 1:
        _field(rng, canvas, area)
    else:
        _yard(rng, canvas, area, script.sun)
    return []


def _house(rng: Generator, canvas: Canvas, area: Area, sun: tuple[float, float]) -> None:
    """A roof: flat with a parapet and boxes on it, or with a ridge."""
    x1, y1, x2, y2 = (side + uniform(rng, 2, 8) * sign
                      for side, sign in zip(area, (1, 1, -1, -1), strict=True))
    roof = np.array(ROOFS[choose(rng, (1,) * len(ROOFS))]) * uniform(rng, 0.8, 1.1)
    _shade(canvas, (x1, y1, x2, y2), sun, uniform(rng, 6, 11))
    rectangle(canvas, roof * 0.72, (x1, y1, x2, y2))
    if rng.random() < 0.5:
        middle = (y1 + y2) / 2
        rectangle(canvas, roof * 1.1, (x1, y1, x2, middle))
        rectangle(canvas, roof * 0.85, (x1, middle, x2, y2))
        rectangle(canvas, roof * 0.6, (x1, middle - 0.5, x2, middle + 0.5))
        return
    rectangle(canvas, roof, (x1 + 1.5, y1 + 1.5, x2 - 1.5, y2 - 1.5))
    for _ in range(choose(rng, (1, 2, 2, 1))):
        x, y = uniform(rng, x1 + 3, x2 - 8), uniform(rng, y1 + 3, y2 - 8)
        w, h, tone = uniform(rng, 3, 7), uniform(rng, 3, 7), uniform(rng, 0.35, 0.85)
        _box(canvas, (x, y, x + w, y + h), (tone, tone, tone), sun)


def _field(rng: Generator, canvas: Canvas, area: Area) -> None:
    """A field with furrows along one side."""
    colour = np.array(FIELDS[choose(rng, (1,) * len(FIELDS))]) * uniform(rng, 0.85, 1.15)
    part, share = canvas.part(area), np.float32(uniform(rng, 0.5, 0.9))
    step, along = uniform(rng, 3, 7), part.x if rng.random() < 0.5 else part.y
    row = along / np.float32(step)
    furrow = 1 - np.float32(0.14) * (row - np.floor(row) < 0.4)
    part.rgb[:] += (np.float32(colour) * furrow[..., None] - part.rgb) * share


def _yard(rng: Generator, canvas: Canvas, area: Area, sun: tuple[float, float]) -> None:
    """Paved ground with crates and sheds: as large as vehicles, and in their colours."""
    tone = uniform(rng, 0.40, 0.62)
    rectangle(canvas, (tone, tone * 0.98, tone * 0.94), area)
    for _ in range(choose(rng, (1, 1, 1, 1, 1))):
        x, y = uniform(rng, area[0], area[2] - 14), uniform(rng, area[1], area[3] - 14)
        w, h = uniform(rng, 4, 14), uniform(rng, 4, 10)
        colour = (0.2 + 0.7 * float(rng.random()), 0.2 + 0.6 * float(rng.random()),
                  0.2 + 0.6 * float(rng.random()))
        _box(canvas, (x, y, x + w, y + h), colour, sun)


def _box(canvas: Canvas, area: Area, colour: tuple[float, float, float],
         sun: tuple[float, float]) -> None:
    """A low box with a darker rim and a short shadow."""
    _shade(canvas, area, sun, 2.0)
    rectangle(canvas, np.array(colour) * 0.75, area)
    rectangle(canvas, colour, (area[0] + 0.8, area[1] + 0.8, area[2] - 0.8, area[3] - 0.8))


def _shade(canvas: Canvas, area: Area, sun: tuple[float, float], height: float) -> None:
    """The shadow of a box, in steps along its way; its own roof stays lit."""
    if sun == (0.0, 0.0):
        return
    for k in range(1, 5):
        x, y = (along * height * k / 4 for along in sun)
        part = canvas.part((area[0] + x, area[1] + y, area[2] + x, area[3] + y))
        np.minimum(part.light, np.float32(0.55), out=part.light)
    canvas.part(area).light[:] = 1


def _car_park(rng: Generator, canvas: Canvas, area: Area, knobs: Knobs) -> list[Area]:
    """Asphalt with rows of bays, most of them taken; the squares it is made of."""
    tone, taken = uniform(rng, 0.32, 0.44), uniform(rng, 0.6, 0.9)
    rectangle(canvas, (tone, tone, tone), area)
    y, row = area[1] + 1, 0
    while y + 16 < area[3]:
        x = area[0] + 1
        while x + 8.5 < area[2]:
            rectangle(canvas, (0.8, 0.8, 0.8), (x, y, x + 0.7, y + 15))
            if rng.random() < taken:
                _parked(rng, canvas, (x + 4.4, y + 7.5), knobs)
            x += 8.2
        y, row = y + (15.5 if row % 2 else 25), row + 1
    return _squares(area)


def _parked(rng: Generator, canvas: Canvas, middle: tuple[float, float], knobs: Knobs) -> None:
    """A car in its bay."""
    _, _, texture = draw_texture(rng, 0, knobs)
    along = (0.0, 1.0 if rng.random() < 0.5 else -1.0)
    patch, left, top = draw_vehicle(texture, canvas.place(*middle), along, canvas.unit)
    h, w = patch.shape[:2]
    (rows, columns), (r, c) = crossing(top, left, h, w, canvas.light.shape)
    part, patch = canvas.rgb[rows, columns], patch[r, c]
    part *= 1 - patch[..., 3:4]
    part += patch[..., :3]


def _squares(area: Area) -> list[Area]:
    """A rectangle cut into pieces of at most LOT each way."""
    x1, y1, x2, y2 = area
    n, m = (max(1, -int(-(end - start) // LOT)) for start, end in ((x1, x2), (y1, y2)))
    w, h = (x2 - x1) / n, (y2 - y1) / m
    return [(x1 + i * w, y1 + j * h, x1 + (i + 1) * w, y1 + (j + 1) * h)
            for i in range(n) for j in range(m)]
