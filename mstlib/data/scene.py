"""The script of a MiniVID clip: every knob of the benchmark, and what is drawn by lot for one clip.

`Scene` holds the knobs with their reasons. `draw_clip` decides all that happens in a clip (objects, paths,
turns, deteriorations) before a pixel is rendered; `mstlib.data.render` then films the script.

Lengths are pixels of a 128-pixel frame and scale with the frame size; times are frames, angles degrees.
Only `Generator.random` is drawn from and trigonometry runs on Python scalars: a seed gives the same script
on every machine.
"""

import math
from dataclasses import dataclass, field

import numpy as np

BODIES = ("ellipsoid", "box", "cylinder", "cone")
KEYS = ("disc", "cross")


@dataclass(frozen=True)
class Scene:
    """All knobs of the generator; change one and the cache folder changes with it."""

    objects: tuple[float, ...] = (0.30, 0.45, 0.25)  # shares of clips with 1, 2, 3 objects: few enough to see
    twins: float = 0.35        # of clips with 2+ objects: same body, other key, so that identity tells the class
    diameters: tuple[tuple[float, float], ...] = ((26, 36), (36, 48), (48, 60))  # a third each
    zoom: float = 0.15         # slow change of size, relative
    # Motion: supports 4-8 frames away lie several feature cells (8 px) off, so alignment has work to do.
    speeds: tuple[tuple[float, float], ...] = ((0.3, 1.5), (1.8, 4.0), (4.2, 6.5))  # px/frame
    speed_shares: tuple[float, ...] = (0.25, 0.45, 0.30)
    margin: float = 0.42       # of the diameter: how near the border a centre may come
    pan: float = 3.0           # fastest camera pan, px/frame
    # Turning: the key is hidden for a while and shown within 8 frames, so support frames know the class.
    turner: float = 0.5        # share of objects that turn all the way round
    averted: float = 0.25      # share that mostly face away and show the key now and then; the rest mostly face us
    turn_period: tuple[float, float] = (16, 28)  # frames a turn
    swing_period: tuple[float, float] = (13, 20)
    dwell: float = 0.45        # turners slow down in front: key visible half of the time
    tilt: float = 18.0         # everyday pitch and roll
    key_width: float = 0.55    # of the frontal width: smaller keys cannot be read even when shown
    key_contrast: tuple[float, float] = (0.95, 0.75)  # ordinary, camouflaged
    camouflage: float = 0.35   # share of objects that wear the colours of the background behind them
    # Clutter keeps the RPN from saturating: flat shapes, some of them painted like keys.
    still_shapes: tuple[int, int] = (8, 14)
    moving_shapes: tuple[int, int] = (1, 3)
    noise: float = 0.035       # sensor noise, peak: averaging over frames must pay
    ambient: float = 0.5
    # Deteriorations: events of 3-8 frames at a rate per frame, so the share does not depend on clip length.
    event: tuple[int, int] = (3, 8)
    blur_share: float = 0.14
    defocus_share: float = 0.14
    occluder_share: float = 0.135  # crossing objects add the rest to about 0.16
    pose_share: float = 0.05       # added end-on views; turning away adds the rest to about 0.30
    streak: tuple[float, float] = (10, 22)     # px: about the size of a key
    sigma: tuple[float, float] = (2.8, 3.5)    # px
    cover: tuple[float, float] = (0.60, 0.88)  # share of the object's extent behind the occluder
    rare_key: float = 0.06     # less of the key than this, relative to the frontal view: rare pose
    clear_key: float = 0.35    # more than this: the key can be read
    occluded: float = 0.5      # less of the silhouette visible than this: occluded
    min_inside: float = 0.35   # less of the silhouette's box in the image than this: not annotated


@dataclass(frozen=True)
class Body:
    """One object: shape, paint and its fate in each of the T frames (arrays of length T)."""

    body: int
    key: int
    half: tuple[float, float, float]  # half extents x, y, z in units of the half diameter
    diameter: float                   # px
    colours: np.ndarray               # (2, 3) float32 in 0..1; NaN until the background is known
    camouflaged: bool
    pattern: tuple[float, ...]        # noise frequency, stripe frequency, stripe direction x, y, z
    table: np.ndarray                 # (8, 8, 8) float32 noise lattice
    depth: float                      # larger is nearer
    centre: np.ndarray                # (T, 2) px
    scale: np.ndarray
    yaw: list[float]
    tilt: list[float]
    roll: float
    streak: list[tuple[float, float]]       # motion blur vector in px, (0, 0) when sharp
    sigma: list[float]                      # defocus in px, 0 when sharp
    cover: list[tuple[float, float, float]] # occluder: covered share, direction x, y; share 0 when absent
    occluder: tuple[float, float, float] = field(default=(0, 0, 0))  # where its texture is cut, and shape


@dataclass(frozen=True)
class Script:
    """One clip: objects, the background's place on the screen pan (T, 2), and the light."""

    bodies: list[Body]
    pan: np.ndarray
    light: tuple[float, float, float]


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One draw from [low, high)."""
    return low + (high - low) * float(rng.random())


def choose(rng: np.random.Generator, shares: tuple[float, ...]) -> int:
    """An index drawn with the given shares."""
    at, total = float(rng.random()) * sum(shares), 0.0
    for i, share in enumerate(shares):
        total += share
        if at < total:
            return i
    return len(shares) - 1


def draw_events(rng: np.random.Generator, share: float, length: int, scene: Scene) -> list[tuple[int, int]]:
    """Events (start, end) that together cover `share` of the frames, whatever the clip's length."""
    low, high = scene.event
    rate = -math.log(1 - share) / ((low + high) / 2)  # starts a frame; log: events may overlap
    events = []
    for start in range(1 - high, length):
        happens, extent = rng.random() < rate, low + int((high - low + 1) * rng.random())
        if happens and start + extent > 0:
            events.append((start, start + extent))
    return events


def draw_path(rng: np.random.Generator, diameter: float, length: int, scene: Scene, unit: float) -> np.ndarray:
    """A smooth path (T, 2) that sweeps the frame: one sinusoid an axis, set to a root mean square speed."""
    size = 128 * unit
    speed = uniform(rng, *scene.speeds[choose(rng, scene.speed_shares)]) * unit
    reach = size / 2 - scene.margin * diameter
    amplitude = [reach * uniform(rng, 0.55, 1.0) for _ in range(2)]
    middle = [size / 2 + (reach - a) * uniform(rng, -1, 1) for a in amplitude]
    ratio = uniform(rng, 0.6, 1.6)
    omega = speed * math.sqrt(2) / math.hypot(amplitude[0], ratio * amplitude[1])
    phase = [uniform(rng, 0, 2 * math.pi) for _ in range(2)]
    return np.array([
        [middle[i] + amplitude[i] * math.sin((omega, ratio * omega)[i] * t + phase[i]) for i in range(2)]
        for t in range(length)
    ])


def draw_free_path(rng, diameter, length, scene, unit, others: list[Body]) -> np.ndarray:
    """The least crowded of eight paths: objects cross now and then, they do not pile up."""
    best, fewest = None, math.inf
    for _ in range(8):
        path = draw_path(rng, diameter, length, scene, unit)
        crowd = 0
        for other in others:
            gap, near = path - other.centre, 0.42 * (diameter + other.diameter)
            crowd += int((gap[:, 0] ** 2 + gap[:, 1] ** 2 < near ** 2).sum())
        if crowd < fewest:
            best, fewest = path, crowd
    return best


def draw_yaw(rng: np.random.Generator, length: int, scene: Scene) -> list[float]:
    """Azimuth of the key in radians, 0 towards the camera: turning round, or swinging about a direction."""
    phase, sign = uniform(rng, 0, 2 * math.pi), 1 if rng.random() < 0.5 else -1
    kind = choose(rng, (scene.turner, scene.averted, 1 - scene.turner - scene.averted))
    if kind == 0:
        omega = 2 * math.pi / uniform(rng, *scene.turn_period)
        angles = [phase + omega * t for t in range(length)]
        return [sign * (a - scene.dwell * math.sin(a)) for a in angles]
    omega = 2 * math.pi / uniform(rng, *scene.swing_period)
    middle, swing = (math.pi, uniform(rng, 2.0, 2.7)) if kind == 1 else (0.0, uniform(rng, 0.5, 1.9))
    middle += uniform(rng, -0.5, 0.5)
    return [sign * (middle + swing * math.sin(omega * t + phase)) for t in range(length)]


def draw_tilt(rng: np.random.Generator, length: int, scene: Scene) -> list[float]:
    """Pitch in radians: a small one that sways, and rare tumbles to an end-on view."""
    base, phase = math.radians(scene.tilt), uniform(rng, 0, 2 * math.pi)
    tilt = [base * math.sin(0.25 * t + phase) for t in range(length)]
    for start, end in draw_events(rng, scene.pose_share, length, scene):
        peak = math.radians(uniform(rng, 78, 95)) * (1 if rng.random() < 0.5 else -1)
        for t in range(max(0, start - 1), min(length, end + 1)):
            ramp = min(1.0, (t - start + 1.5) / 2, (end + 0.5 - t) / 2)
            tilt[t] = tilt[t] * (1 - ramp) + peak * ramp
    return tilt


def draw_blur(rng, path: np.ndarray, scene: Scene, unit: float) -> list[tuple[float, float]]:
    """Streak vectors: along the motion, or in a shaken direction if the object hardly moves."""
    length, streaks = len(path), [(0.0, 0.0)] * len(path)
    for start, end in draw_events(rng, scene.blur_share, length, scene):
        extent, angle = uniform(rng, *scene.streak) * unit, uniform(rng, 0, 2 * math.pi)
        for t in range(max(0, start), min(length, end)):
            vx, vy = (float(v) for v in path[min(t + 1, length - 1)] - path[max(t - 1, 0)])
            speed = math.hypot(vx, vy) / 2
            along = (vx / speed / 2, vy / speed / 2) if speed > 1.5 * unit else (math.cos(angle), math.sin(angle))
            streaks[t] = (extent * along[0], extent * along[1])
    return streaks


def draw_cover(rng: np.random.Generator, length: int, scene: Scene) -> list[tuple[float, float, float]]:
    """Occluders that move in from a side, cover most of the object and leave again."""
    cover = [(0.0, 1.0, 0.0)] * length
    for start, end in draw_events(rng, scene.occluder_share, length, scene):
        angle, peak = uniform(rng, 0, 2 * math.pi), uniform(rng, *scene.cover)
        for t in range(max(0, start - 1), min(length, end + 1)):
            inside = start <= t < end
            middle = 1 - abs(2 * (t - start + 0.5) / (end - start) - 1)
            share = scene.cover[0] + (peak - scene.cover[0]) * middle if inside else 0.25
            if share > cover[t][0]:
                cover[t] = (share, math.cos(angle), math.sin(angle))
    return cover


def draw_half(rng: np.random.Generator, body: int) -> tuple[float, float, float]:
    """Half extents of a body; the silhouettes of one body vary less than those of two bodies."""
    ranges = (((0.78, 0.95), (0.85, 1.0), (0.78, 0.95)), ((0.7, 0.88), (0.7, 0.88), (0.6, 0.8)),
              ((0.62, 0.78), (0.88, 1.0), (0.62, 0.78)), ((0.85, 1.0), (0.88, 1.0), (0.85, 1.0)))
    return tuple(uniform(rng, *r) for r in ranges[body])


def draw_body(rng, body: int, key: int, length: int, scene: Scene, unit: float, others: list[Body]) -> Body:
    """One object with its paint, path and fate."""
    diameter = uniform(rng, *scene.diameters[choose(rng, (1, 1, 1))]) * unit
    path = draw_free_path(rng, diameter, length, scene, unit, others)
    phase, rate = uniform(rng, 0, 2 * math.pi), uniform(rng, 0.1, 0.3)
    sigmas = [0.0] * length
    for start, end in draw_events(rng, scene.defocus_share, length, scene):
        sigma = uniform(rng, *scene.sigma) * unit
        sigmas[max(0, start):end] = [sigma] * len(sigmas[max(0, start):end])
    return Body(
        body=body, key=key, half=draw_half(rng, body), diameter=diameter,
        colours=rng.random((2, 3)).astype(np.float32), camouflaged=rng.random() < scene.camouflage,
        pattern=(uniform(rng, 2.0, 4.5), uniform(rng, 1.0, 2.5), *(uniform(rng, -1, 1) for _ in range(3))),
        table=rng.random((8, 8, 8)).astype(np.float32), depth=float(rng.random()), centre=path,
        scale=np.array([1 + scene.zoom * math.sin(rate * t + phase) for t in range(length)]),
        yaw=draw_yaw(rng, length, scene), tilt=draw_tilt(rng, length, scene),
        roll=math.radians(uniform(rng, -scene.tilt, scene.tilt)),
        streak=draw_blur(rng, path, scene, unit), sigma=sigmas, cover=draw_cover(rng, length, scene),
        occluder=(float(rng.random()), float(rng.random()), float(rng.random())),
    )


def draw_clip(rng: np.random.Generator, length: int, size: int, scene: Scene) -> Script:
    """The whole script of a clip of `length` frames of `size` x `size` pixels."""
    unit = size / 128
    bodies: list[Body] = []
    count = 1 + choose(rng, scene.objects)
    twin = count > 1 and rng.random() < scene.twins
    for i in range(count):
        body, key = choose(rng, (1, 1, 1, 1)), choose(rng, (1, 1))
        if i == 1 and twin:
            body, key = bodies[0].body, 1 - bodies[0].key
        bodies.append(draw_body(rng, body, key, length, scene, unit, bodies))
    speed, angle = uniform(rng, 0, scene.pan) * unit, uniform(rng, 0, 2 * math.pi)
    bend, pan = uniform(rng, -0.1, 0.1), [(0.0, 0.0)]
    for t in range(1, length):
        x, y = pan[-1]
        pan.append((x + speed * math.cos(angle + bend * t), y + speed * math.sin(angle + bend * t)))
    light = (uniform(rng, -0.6, 0.6), uniform(rng, -0.7, -0.2), 0.75)
    return Script(bodies, np.array(pan), light)
