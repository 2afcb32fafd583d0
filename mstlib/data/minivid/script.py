"""Drawing the script of a MiniVID clip: objects, paths, turns and deteriorations, before any pixel.

Only `Generator.random` is drawn from, and trigonometry runs on Python scalars: a seed gives the
same script on every machine.
"""

import math

import numpy as np
from numpy import ndarray as Array
from numpy.random import Generator

from mstlib.data.minivid.scene import Body, Range, Scene, Script

TURN = 2 * math.pi
HALVES: tuple[tuple[Range, Range, Range], ...] = (  # half extents x, y, z of each body
    ((0.78, 0.95), (0.85, 1.0), (0.78, 0.95)),
    ((0.7, 0.88), (0.7, 0.88), (0.6, 0.8)),
    ((0.62, 0.78), (0.88, 1.0), (0.62, 0.78)),
    ((0.85, 1.0), (0.88, 1.0), (0.85, 1.0)),
)


def uniform(rng: Generator, low: float, high: float) -> float:
    """One draw from [low, high)."""
    return low + (high - low) * float(rng.random())


def choose(rng: Generator, shares: tuple[float, ...]) -> int:
    """An index drawn with the given shares."""
    at, last = float(rng.random()) * sum(shares), len(shares) - 1
    for i, share in enumerate(shares):
        at -= share
        if at < 0:
            return i
    return last


def draw_events(rng: Generator, share: float, length: int, scene: Scene) -> list[tuple[int, int]]:
    """Events (first, end) cut to the clip, which cover `share` of the frames for any length."""
    low, high = scene.event
    rate = -math.log(1 - share) / ((low + high) / 2)  # starts a frame; log: events may overlap
    events = []
    for start in range(1 - high, length):  # those that began before the clip too
        happens, extent = rng.random() < rate, low + int((high - low + 1) * rng.random())
        if happens and start + extent > 0:
            events.append((max(0, start), min(length, start + extent)))
    return events


def draw_path(rng: Generator, diameter: float, length: int, scene: Scene, unit: float) -> Array:
    """A smooth path (T, 2) that sweeps the frame: a sinusoid an axis, at a drawn mean speed."""
    speed = uniform(rng, *scene.speeds[choose(rng, scene.speed_shares)]) * unit
    reach = 64 * unit - scene.margin * diameter
    amplitude = [reach * uniform(rng, 0.55, 1.0) for _ in range(2)]
    middle = [64 * unit + (reach - a) * uniform(rng, -1, 1) for a in amplitude]
    ratio = uniform(rng, 0.6, 1.6)
    omega = speed * math.sqrt(2) / math.hypot(amplitude[0], ratio * amplitude[1])
    omegas, phases = (omega, ratio * omega), [uniform(rng, 0, TURN) for _ in range(2)]
    return np.array([
        [middle[i] + amplitude[i] * math.sin(omegas[i] * t + phases[i]) for i in (0, 1)]
        for t in range(length)
    ])


def crowding(path: Array, diameter: float, others: list[Body]) -> int:
    """Frames in which an object on this path would cover others, summed over the others."""
    crowd = 0
    for other in others:
        gap, near = path - other.centre, 0.42 * (diameter + other.diameter)
        crowd += int((gap[:, 0] ** 2 + gap[:, 1] ** 2 < near**2).sum())
    return crowd


def draw_yaw(rng: Generator, length: int, scene: Scene) -> list[float]:
    """Azimuth of the key: turning all the way round, or swinging about a direction."""
    phase, sign = uniform(rng, 0, TURN), 1 if rng.random() < 0.5 else -1
    if rng.random() < scene.turner:
        omega = TURN / uniform(rng, *scene.turn_period)
        angles = [phase + omega * t for t in range(length)]
        return [sign * (angle - scene.dwell * math.sin(angle)) for angle in angles]
    omega = TURN / uniform(rng, *scene.swing_period)
    middle, swing = uniform(rng, -0.5, 0.5), uniform(rng, 0.5, 1.9)
    if rng.random() < scene.averted / (1 - scene.turner):
        middle, swing = middle + math.pi, uniform(rng, 2.0, 2.7)
    return [sign * (middle + swing * math.sin(omega * t + phase)) for t in range(length)]


def draw_tilt(rng: Generator, length: int, scene: Scene) -> list[float]:
    """Pitch: a small one that sways, and rare tumbles to an end-on view."""
    base, phase = math.radians(scene.tilt), uniform(rng, 0, TURN)
    tilt = [base * math.sin(0.25 * t + phase) for t in range(length)]
    for start, end in draw_events(rng, scene.pose_share, length, scene):
        peak = math.radians(uniform(rng, 78, 95)) * (1 if rng.random() < 0.5 else -1)
        for t in range(max(0, start - 1), min(length, end + 1)):
            ramp = min(1.0, (t - start + 1.5) / 2, (end + 0.5 - t) / 2)  # it falls in two frames
            tilt[t] += (peak - tilt[t]) * ramp
    return tilt


def draw_blur(rng: Generator, path: Array, scene: Scene, unit: float) -> list[tuple[float, float]]:
    """Streaks along the motion, or in a shaken direction if the object hardly moves."""
    length, streaks = len(path), [(0.0, 0.0)] * len(path)
    for start, end in draw_events(rng, scene.blur_share, length, scene):
        extent, shake = uniform(rng, *scene.streak) * unit, uniform(rng, 0, TURN)
        for t in range(start, end):
            x, y = (float(d) for d in path[min(t + 1, length - 1)] - path[max(t - 1, 0)])
            angle = math.atan2(y, x) if math.hypot(x, y) > 3 * unit else shake
            streaks[t] = (extent * math.cos(angle), extent * math.sin(angle))
    return streaks


def draw_defocus(rng: Generator, length: int, scene: Scene, unit: float) -> list[float]:
    """Sigma of the Gaussian in px, constant in an event."""
    sigma = [0.0] * length
    for start, end in draw_events(rng, scene.defocus_share, length, scene):
        sigma[start:end] = [uniform(rng, *scene.sigma) * unit] * (end - start)
    return sigma


def draw_cover(rng: Generator, length: int, scene: Scene) -> list[tuple[float, float, float]]:
    """Occluders that move in from a side, cover most of the object and leave again."""
    cover = [(0.0, 1.0, 0.0)] * length
    low, high = scene.cover
    for start, end in draw_events(rng, scene.occluder_share, length, scene):
        angle, peak = uniform(rng, 0, TURN), uniform(rng, low, high)
        for t in range(max(0, start - 1), min(length, end + 1)):
            middle = 1 - abs(2 * (t - start + 0.5) / (end - start) - 1)  # 0..1..0 in the event
            share = low + (peak - low) * middle if start <= t < end else 0.25
            if share > cover[t][0]:
                cover[t] = (share, math.cos(angle), math.sin(angle))
    return cover


def draw_body(
    rng: Generator, body: int, key: int, length: int, scene: Scene, unit: float, others: list[Body]
) -> Body:
    """One object with its paint, path and fate; of eight paths it takes the least crowded."""
    diameter = uniform(rng, *scene.diameters[choose(rng, (1, 1, 1))]) * unit
    paths = [draw_path(rng, diameter, length, scene, unit) for _ in range(8)]
    path = min(paths, key=lambda path: crowding(path, diameter, others))
    phase, rate = uniform(rng, 0, TURN), uniform(rng, 0.1, 0.3)
    tone = scene.occluder_tone
    return Body(
        track=len(others), body=body, key=key, diameter=diameter, depth=float(rng.random()),
        half=tuple(uniform(rng, *bounds) for bounds in HALVES[body]),
        colours=rng.random((2, 3)).astype(np.float32),
        camouflaged=rng.random() < scene.camouflage,
        pattern=(uniform(rng, 2, 4.5), uniform(rng, 1, 2.5), *(2 * rng.random(3) - 1).tolist()),
        table=rng.random((8, 8, 8)).astype(np.float32), centre=path,
        scale=np.array([1 + scene.zoom * math.sin(rate * t + phase) for t in range(length)]),
        yaw=draw_yaw(rng, length, scene), tilt=draw_tilt(rng, length, scene),
        roll=math.radians(uniform(rng, -scene.tilt, scene.tilt)),
        streak=draw_blur(rng, path, scene, unit), sigma=draw_defocus(rng, length, scene, unit),
        cover=draw_cover(rng, length, scene),
        patch=(float(rng.random()), float(rng.random()), uniform(rng, -tone, tone)),
    )


def draw_pan(rng: Generator, length: int, scene: Scene, unit: float) -> Array:
    """The ground's place on the screen (T, 2) px: a steady pan that bends a little."""
    speed, angle = uniform(rng, 0, scene.pan) * unit, uniform(rng, 0, TURN)
    bend, places = uniform(rng, -0.1, 0.1), [(0.0, 0.0)]
    for t in range(1, length):
        x, y = places[-1]
        towards = angle + bend * t
        places.append((x + speed * math.cos(towards), y + speed * math.sin(towards)))
    return np.array(places)


def draw_clip(rng: Generator, length: int, size: int, scene: Scene) -> Script:
    """The whole script of a clip of `length` frames of `size` x `size` pixels."""
    unit, bodies = size / 128, []
    count = 1 + choose(rng, scene.objects)
    twins = rng.random() < scene.twins
    for i in range(count):
        body, key = choose(rng, (1, 1, 1, 1)), choose(rng, (1, 1))
        if i == 1 and twins:
            body, key = bodies[0].body, 1 - bodies[0].key
        bodies.append(draw_body(rng, body, key, length, scene, unit, bodies))
    light = (uniform(rng, -0.6, 0.6), uniform(rng, -0.7, -0.2), 0.75)
    return Script(bodies, draw_pan(rng, length, scene, unit), light)
