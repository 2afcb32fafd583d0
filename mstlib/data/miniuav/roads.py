"""The roads of MiniUAV and the paths along them: points (n, 2), one length apart.

The main road runs along x and bends, side streets cross it along y. Traffic keeps to the right; y
points down.
"""

import math

import numpy as np
from numpy import ndarray as Array
from numpy.random import Generator

from mstlib.data.miniuav.scene import Knobs, Range, Roads
from mstlib.data.minivid.script import choose, uniform

LANE = 10.0
MEDIAN = 1.5  # half of what lies between the directions
STREET = 10.0  # half width of a side street: a lane each way
RADIUS = 7.0  # of a turn


def draw_roads(rng: Generator, town: bool, span: Range, knobs: Knobs) -> Roads:
    """Roads of a clip whose scenery reaches from span[0] to span[1] along x."""
    lanes = 1 + choose(rng, (0.5, 0.5)) if town else 2 + choose(rng, (0.5, 0.5))
    bend = (uniform(rng, 0, 4 if town else 12), 1 / uniform(rng, 70, 110), uniform(rng, 0, 6.3))
    streets = _every(rng, knobs.street_every, span) if town else ()
    bridged = not town and rng.random() < knobs.bridge
    bridges = tuple((x, uniform(rng, *knobs.bridge_width))
                    for x in (_every(rng, knobs.bridge_every, span) if bridged else ()))
    return Roads(lanes, 8.5 if town else 0.0, bend, streets, bridges)


def _every(rng: Generator, distance: float, span: Range) -> tuple[float, ...]:
    """Places about `distance` apart, the first anywhere: no place of the road is special."""
    first = span[0] + uniform(rng, 0, distance)
    count = max(0, math.ceil((span[1] - first) / distance))
    return tuple(first + distance * k + uniform(rng, -20, 20) for k in range(count))


def middle(roads: Roads, x: float) -> float:
    """y of the main road's middle."""
    height, rate, phase = roads.bend
    return height * math.sin(rate * x + phase)


def driven(roads: Roads) -> float:
    """Half width of the main road's lanes."""
    return MEDIAN + LANE * roads.lanes


def paved(roads: Roads) -> float:
    """Half width with the parking strips."""
    return driven(roads) + roads.kerb


def main_lane(roads: Roads, side: int, offset: float, span: Range) -> Array:
    """A path on the main road; side 1: to +x, -1: to -x; offset from its middle."""
    count = math.ceil(span[1] - span[0])
    xs = [span[0] + k for k in range(count)][::side]
    return np.array([(x, middle(roads, x) + side * offset) for x in xs])


def outer(roads: Roads) -> float:
    """Offset of the outermost lane, from which one turns."""
    return MEDIAN + LANE * (roads.lanes - 0.5)


def inbound(roads: Roads, street: float, side: int, reach: float) -> Array:
    """The path of a side street up to its stop line; side 1: downwards, from above."""
    x = street - side * STREET / 2
    stop = middle(roads, x) - side * (paved(roads) + 6)
    return np.array([(x, stop - side * (reach - k)) for k in range(math.ceil(reach))])


def turning(roads: Roads, street: float, side: int, before: float, after: float) -> Array:
    """From the outermost lane into a side street on the right; side as in `main_lane`.

    before, after: lengths of the ways to and from the turn.
    """
    x = street - side * (STREET / 2 + RADIUS)  # where the turn begins
    lane = main_lane(roads, side, outer(roads), tuple(sorted((x - side * before, x))))
    y = float(lane[-1, 1])
    steps = math.ceil(RADIUS * math.pi / 2)
    angles = [math.pi / 2 * k / steps for k in range(1, steps + 1)]
    arc = [(x + side * RADIUS * math.sin(a), y + side * RADIUS * (1 - math.cos(a))) for a in angles]
    end = [(arc[-1][0], arc[-1][1] + side * k) for k in range(1, math.ceil(after))]
    return np.concatenate([lane, arc, end])


def at(path: Array, s: Array) -> Array:
    """Points (T, 2) of a path after s lengths; beyond its ends it goes straight on."""
    first = np.clip(np.floor(s), 0, len(path) - 2).astype(np.int64)
    return path[first] + (path[first + 1] - path[first]) * (s - first)[:, None]


def drive(path: Array, s: Array, length: float) -> tuple[Array, Array]:
    """Middle (T, 2) and direction (T, 2) of a vehicle that stands with both axles on a path."""
    rear, front = at(path, s - 0.3 * length), at(path, s + 0.3 * length)
    way = front - rear
    norm = np.sqrt(way[:, 0] * way[:, 0] + way[:, 1] * way[:, 1])
    return (front + rear) / 2, way / norm[:, None]
