"""Drawing the script of a MiniUAV clip: light, camera, roads and traffic, before any pixel.

Only `Generator.random` is drawn from, and trigonometry runs on Python scalars: a seed gives the
same script on every machine.
"""

import math

import numpy as np
from numpy.random import Generator

from mstlib.data.miniuav.roads import draw_roads
from mstlib.data.miniuav.scene import DAY, Camera, Knobs, Point, Script
from mstlib.data.miniuav.traffic import GOLDEN, draw_traffic, part_of, reach_of
from mstlib.data.minivid.scene import Scene
from mstlib.data.minivid.script import TURN, draw_events, uniform

# Irrational steps: the first n multiples of each, modulo 1, lie evenly for every n.
STEPS = (GOLDEN, 0.4142135624, 0.7320508076, 0.2360679775, 0.6457513111,
         0.3166247904)


def deal(seed: tuple[int, int, int]) -> list[float]:
    """Six numbers in 0..1 for the clip `seed` = (seed, split, clip), spread evenly over the clips
    of a split: so few clips would differ too much between the splits if they drew at random."""
    rng = np.random.default_rng(np.random.SeedSequence(seed[:2]))
    return [(float(rng.random()) + seed[2] * step) % 1 for step in STEPS]


def draw_clip(rng: Generator, seed: tuple[int, int, int], length: int, knobs: Knobs) -> Script:
    """The whole script of a clip of `length` frames."""
    lit, placed, high, crowded, leafy, apart = deal(seed)
    light = part_of(lit, knobs.light)
    scale = knobs.scale[0] + (knobs.scale[1] - knobs.scale[0]) * (1 - high)
    camera = draw_camera(rng, length, scale, knobs)
    roads = draw_roads(rng, placed < knobs.town, reach_of(camera), knobs)
    crowd = knobs.crowd[0] + (knobs.crowd[1] - knobs.crowd[0]) * crowded
    angle, long = uniform(rng, 0, TURN), uniform(rng, 0.5, 1.1) if light == DAY else 0.0
    return Script(
        light, min(2, int(3 * high)), roads, camera,
        draw_traffic(rng, roads, camera, crowd, knobs),
        (long * math.cos(angle), long * math.sin(angle)),
        (int(4 * rng.random()), uniform(rng, *knobs.strip_width) if apart < knobs.strips else 0.0),
        knobs.trees[0] + (knobs.trees[1] - knobs.trees[0]) * leafy,
        apart >= 1 - knobs.parks,
    )


def draw_camera(rng: Generator, length: int, scale: float, knobs: Knobs) -> Camera:
    """A drone that drifts along the main road, sways, turns and climbs slowly, and is shaken."""
    waves = [(TURN / uniform(rng, *knobs.period), uniform(rng, 0, TURN)) for _ in range(4)]
    drift = uniform(rng, *knobs.drift) * (1 if rng.random() < 0.5 else -1)
    angle, swing = uniform(rng, 0, TURN), math.radians(uniform(rng, *knobs.swing))
    sway, aside = uniform(rng, 0.3, 1) * knobs.sway, uniform(rng, -1, 1) * knobs.sway
    streak, sigma = _streaks(rng, length, knobs), _sigmas(rng, length, knobs)
    centre, axis, scales = [], [], []
    for t in range(length):
        wave = [math.sin(rate * t + phase) for rate, phase in waves]
        x, y = drift * t + 8 * wave[0], aside + sway * wave[1]
        jump = knobs.shake if streak[t] != (0.0, 0.0) else 0.0
        centre.append((x + jump * uniform(rng, -1, 1), y + jump * uniform(rng, -1, 1)))
        axis.append((math.cos(angle + swing * wave[2]), math.sin(angle + swing * wave[2])))
        scales.append(scale * (1 + knobs.zoom * wave[3]))
    return Camera(np.array(centre), axis, scales, streak, sigma)


def _streaks(rng: Generator, length: int, knobs: Knobs) -> list[Point]:
    """Blur of the whole frame in px (x, y), each shake in a direction of its own."""
    streaks = [(0.0, 0.0)] * length
    for start, end in draw_events(rng, knobs.blur_share, length, Scene(event=knobs.event)):
        extent, angle = uniform(rng, *knobs.streak), uniform(rng, 0, TURN)
        for t in range(start, end):
            streaks[t] = (extent * math.cos(angle), extent * math.sin(angle))
    return streaks


def _sigmas(rng: Generator, length: int, knobs: Knobs) -> list[float]:
    """Sigma of the defocus in px, constant in an event."""
    sigma = [0.0] * length
    for start, end in draw_events(rng, knobs.defocus_share, length, Scene(event=knobs.event)):
        sigma[start:end] = [uniform(rng, *knobs.sigma)] * (end - start)
    return sigma
