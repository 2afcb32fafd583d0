"""The ground of a MiniUAV clip seen from straight above: fields, houses, roads, car parks, trees.

Painted once a clip on a canvas a little larger than all that the camera sees; `film.py` looks at it
through the turning camera. Like MiniVID's pictures only exact arithmetic touches pixels.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array
from numpy.random import Generator

from mstlib.data.miniuav import roads as ways
from mstlib.data.miniuav.paint import Canvas, blank, blend, cast_shadow, grain, stroke
from mstlib.data.miniuav.scene import NIGHT, Knobs, Script
from mstlib.data.miniuav.sites import build_block
from mstlib.data.miniuav.traffic import VIEW
from mstlib.data.miniuav.trees import plant
from mstlib.data.minivid.script import choose, uniform

GROUNDS = (  # base and blotches: grass, dry grass, soil, concrete
    ((0.30, 0.40, 0.20), (0.24, 0.34, 0.17)), ((0.47, 0.45, 0.28), (0.38, 0.40, 0.22)),
    ((0.50, 0.42, 0.31), (0.42, 0.37, 0.27)), ((0.52, 0.51, 0.49), (0.45, 0.45, 0.42)),
)
WHITE, YELLOW, PAVEMENT = (0.85, 0.85, 0.83), (0.80, 0.65, 0.20), (0.58, 0.56, 0.53)


@dataclass(frozen=True)
class Ground:
    """What the camera looks at; lots: squares (x1, y1, x2, y2) that hold unannotated vehicles."""

    floor: Array             # (h, w, 4) float32: RGB as lit, and the light there
    above: Array             # (h, w, 4) float32: trees and bridges, premultiplied RGBA
    corner: tuple[float, float]
    lots: list[tuple[float, float, float, float]]


def draw_ground(rng: Generator, script: Script, size: int, knobs: Knobs) -> Ground:
    """Everything but the vehicles on the road, for frames of size x size pixels."""
    canvas = _open_canvas(script, size / 128)
    roads = script.roads
    base, blotch = GROUNDS[choose(rng, (0.3, 0.2, 0.2, 0.3))]
    canvas.rgb[:] = np.array(base, dtype=np.float32)
    blend(canvas, blotch, np.clip((grain(rng, canvas, 26) - 0.5) * 4 + 0.5, 0, 1))
    lots = _line_blocks(rng, canvas, script, knobs)
    away = canvas.y - _middles(canvas, script)  # (h, w) from the main road's middle
    _pave(rng, canvas, script, away)
    _mark(canvas, script, away)
    above = blank(canvas, 4)
    plant(rng, canvas, above, script)
    _bridge(canvas, above, roads.bridges, script.sun)
    canvas.rgb[:] += ((grain(rng, canvas, 2.2) - 0.5) * np.float32(0.10))[..., None]
    if script.light == NIGHT:
        _street_lamps(rng, canvas, above, script, uniform(rng, *knobs.night))
    floor = np.concatenate([np.clip(canvas.rgb, 0, 1) * canvas.light[..., None],
                            canvas.light[..., None]], axis=2)
    return Ground(floor, above, canvas.corner, lots)


def _open_canvas(script: Script, unit: float) -> Canvas:
    """A canvas for all that the camera will see, its middle of the screen moving as it does."""
    reach = VIEW / min(script.camera.scale) + 6
    centre = script.camera.centre
    low, high = centre.min(axis=0), centre.max(axis=0)
    corner = tuple(float(low[i]) - reach for i in (0, 1))
    w, h = (math.ceil((float(high[i]) + reach - corner[i]) * unit) for i in (0, 1))
    return Canvas.of(corner, w, h, unit)


def _middles(canvas: Canvas, script: Script) -> Array:
    """y of the main road's middle in every column, (1, w)."""
    ys = [ways.middle(script.roads, x) for x in canvas.x[0].tolist()]
    return np.array(ys, dtype=np.float32)[None]


def _line_blocks(rng: Generator, canvas: Canvas, script: Script, knobs: Knobs) -> list:
    """Houses, fields and car parks on both sides of the road, three rows deep; the car parks."""
    roads, lots = script.roads, []
    x, last = float(canvas.x[0, 0]) - 20, float(canvas.x[0, -1]) + 20
    while x < last:
        width = uniform(rng, *knobs.block)
        if all(not x - 17 < street < x + width + 17 for street in roads.streets):
            for side in (1, -1):
                lots += _line(rng, canvas, script, (x, x + width), side, knobs)
            x += width + 4
        else:
            x += 9
    return lots


def _line(rng: Generator, canvas: Canvas, script: Script, span: tuple[float, float], side: int,
          knobs: Knobs) -> list:
    """The blocks behind each other on one side of the road."""
    lots, roads = [], script.roads
    middles = [ways.middle(roads, span[0] + k * (span[1] - span[0]) / 4) for k in range(5)]
    near = max(side * y for y in middles) + ways.paved(roads) + 8
    for row in range(3):
        depth = uniform(rng, *knobs.block) * 0.8
        ends = sorted((side * near, side * (near + depth)))
        parking = script.lots and rng.random() < knobs.park / (4 if row else 1)
        area = (span[0], ends[0], span[1], ends[1])
        lots += build_block(rng, canvas, script, area, parking, knobs)
        near += depth + 4
    return lots


def _pave(rng: Generator, canvas: Canvas, script: Script, away: Array) -> None:
    """Pavements, then asphalt with the tracks of wheels."""
    roads, tone = script.roads, uniform(rng, 0.27, 0.40)
    walk = 4.0 if roads.streets or roads.kerb else 2.0
    asphalt = (tone, tone, tone * 1.03)
    for extra, colour in ((walk, PAVEMENT), (0.0, asphalt)):
        stroke(canvas, colour, ways.paved(roads) + extra - abs(away))
        for street in roads.streets:
            stroke(canvas, colour, ways.STREET + extra - abs(canvas.x - street) + 0 * away)
    for k in range(roads.lanes):
        wheel = abs(abs(abs(away) - ways.MEDIAN - ways.LANE * (k + 0.5)) - 2.0)
        blend(canvas, (tone * 0.8,) * 3, np.clip(1 - wheel, 0, 1) * np.float32(0.35))
    road = np.clip(ways.paved(roads) - abs(away), 0, 1)
    blend(canvas, (tone * 0.75,) * 3, road * np.clip(grain(rng, canvas, 9) * 3 - 1.8, 0, 0.6))


def _mark(canvas: Canvas, script: Script, away: Array) -> None:
    """Lines between lanes, kerb lines, and at side streets stop lines and zebra crossings."""
    roads, x = script.roads, canvas.x
    clear = np.ones_like(x)
    for street in roads.streets:
        clear = clear * (abs(x - street) > 21)
    stroke(canvas, YELLOW if roads.kerb else (0.36, 0.42, 0.24),
           (0.45 if roads.kerb else 1.3) - abs(away), clear)
    dashed = clear * (x / 13 - np.floor(x / 13) < 0.5)
    for k in range(1, roads.lanes):
        stroke(canvas, WHITE, 0.45 - abs(abs(away) - ways.MEDIAN - ways.LANE * k), dashed)
    stroke(canvas, WHITE, 0.4 - abs(abs(away) - ways.driven(roads) + 0.4), clear)
    bars = (away / 4.4 - np.floor(away / 4.4) < 0.5) * (abs(away) < ways.driven(roads) - 1)
    for street in roads.streets:
        stroke(canvas, WHITE, 2.6 - abs(abs(x - street) - 16) + 0 * away, bars)
        stroke(canvas, WHITE, 0.35 - abs(x - street) + 0 * away, abs(away) > ways.paved(roads) + 5)
        stop = 0.7 - abs(abs(away) - ways.paved(roads) - 4.5)
        stroke(canvas, WHITE, stop, (abs(x - street) < 9) & ((x < street) == (away < 0)))


def _bridge(canvas: Canvas, above: Array, bridges: tuple, sun: tuple[float, float]) -> None:
    """Bridges across the road: a deck with rails, and its shadow."""
    for middle, width in bridges:
        depth = width / 2 - abs(canvas.x - middle) + np.zeros_like(canvas.y)
        cover = np.clip(depth * canvas.unit + 0.5, 0, 1)
        cast_shadow(canvas, cover, sun, 6.0, 0.5)
        lane = np.clip((depth - 1.2) * canvas.unit + 0.5, 0, 1) * np.float32(0.16)
        line = (abs(canvas.x - middle) < 0.4) * np.float32(0.25)
        for k in range(3):
            above[..., k] += (0.62 - lane + line - above[..., k]) * cover
        above[..., 3] += (1 - above[..., 3]) * cover


def _street_lamps(rng: Generator, canvas: Canvas, above: Array, script: Script, left: float
                  ) -> None:
    """Night: `left` of the light, and round pools of it along the main road."""
    canvas.light[:] = np.float32(left)
    above[..., :3] *= np.float32(left * 0.8)
    x, reach = float(canvas.x[0, 0]) + uniform(rng, 0, 60), 34.0
    side = 1
    while x < float(canvas.x[0, -1]):
        y = ways.middle(script.roads, x) + side * (ways.paved(script.roads) + 1)
        square = (canvas.x - np.float32(x)) ** 2 + (canvas.y - np.float32(y)) ** 2
        pool = np.maximum(0, 1 - square / np.float32(reach * reach))
        canvas.light[:] += pool * pool * np.float32(0.38)
        x, side = x + 62, -side
    np.minimum(canvas.light, 1, out=canvas.light)
