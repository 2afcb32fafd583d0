"""Filming a MiniVID script: ray casting, paint, blur and compositing, in plain numpy.

Only + - * / sqrt, floor and comparisons touch pixels, all exact under IEEE 754, and sums are written out:
the bytes do not depend on the machine. Camera: x right, y down, z towards the viewer, orthographic.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array

from mstlib.data.scene import Body, Scene

LEAST = 1e-6  # keeps divisions finite where a ray runs along a face


def rotation(yaw: float, tilt: float, roll: float) -> list[list[float]]:
    """Rows of Rz(roll) Rx(tilt) Ry(yaw): object to camera."""
    cy, sy, cx, sx = math.cos(yaw), math.sin(yaw), math.cos(tilt), math.sin(tilt)
    cz, sz = math.cos(roll), math.sin(roll)
    turn = [[cy, 0.0, sy], [sx * sy, cx, -sx * cy], [-cx * sy, sx, cx * cy]]
    return [
        [cz * a - sz * b for a, b in zip(turn[0], turn[1], strict=True)],
        [sz * a + cz * b for a, b in zip(turn[0], turn[1], strict=True)],
        turn[2],
    ]


def _slab(o: Array, d: float, half: float) -> tuple[Array, Array]:
    """Where rays o + s d enter and leave |x| < half."""
    d = d if abs(d) > LEAST else LEAST
    first, second = (-half - o) / d, (half - o) / d
    return (first, second) if d > 0 else (second, first)


def _roots(a: float, b: Array, c: Array) -> tuple[Array, Array, Array]:
    """Both roots of a s^2 + 2 b s + c and whether they exist."""
    a = a if abs(a) > LEAST else LEAST
    root = b * b - a * c
    real = root > 0
    root = np.sqrt(np.where(real, root, 0))
    low, high = (-b - root) / a, (-b + root) / a
    return (low, high, real) if a > 0 else (high, low, real)


def cast(body: int, half: tuple[float, float, float], turn: list[list[float]], u: Array, v: Array):
    """Rays through camera points (u, v) against a body at the origin, all in half diameters.

    Returns hit, a boolean array like u, then x, y, z and nx, ny, nz of the hit points only, in object
    coordinates (normals not normalised). The ray direction is the third row of `turn`: towards the viewer.
    """
    a, b, c = half
    o = [u * turn[0][i] + v * turn[1][i] for i in range(3)]
    d = turn[2]
    enter, leave = _slab(o[1], d[1], b)
    if body == 1:
        for i, h in ((0, a), (2, c)):
            first, second = _slab(o[i], d[i], h)
            enter, leave = np.maximum(enter, first), np.minimum(leave, second)
        hit = enter < leave
    else:
        x, z, dx, dz = o[0] / a, o[2] / c, d[0] / a, d[2] / c
        square, cross, rest = dx * dx + dz * dz, x * dx + z * dz, x * x + z * z
        y, dy = _third_axis(body, o[1], d[1], b)
        sign = {0: 1.0, 2: 0.0, 3: -1.0}[body]  # x^2 + z^2 + sign y^2 = level
        level = 0.0 if body == 3 else 1.0
        first, second, hit = _roots(
            square + sign * dy * dy, cross + sign * y * dy, rest + sign * y * y - level
        )
        if square + sign * dy * dy < 0:  # a steep look into the cone: one side of its surface each
            first, second = (second, np.inf) if dy > 0 else (-np.inf, first)
        enter, leave = np.maximum(enter, first), np.minimum(leave, second)
        hit = hit & (enter < leave)
    s = leave[hit]
    p = [o[i][hit] + s * d[i] for i in range(3)]
    return hit, p, _normals(body, half, p)


def _third_axis(body: int, o: Array, d: float, b: float) -> tuple[Array, float]:
    """Height in the units of the quadric: cones count from their tip (y down), others from the middle."""
    return ((o + b) / (2 * b), d / (2 * b)) if body == 3 else (o / b, d / b)


def _normals(body: int, half: tuple[float, float, float], p: list[Array]) -> list[Array]:
    """Outward normals of unit length at surface points."""
    a, b, c = half
    x, y, z = p[0] / a, p[1] / b, p[2] / c
    if body == 0:
        n = [x / a, y / b, z / c]
    elif body == 1:
        ax, ay, az = abs(x), abs(y), abs(z)
        side = (ax >= ay) & (ax >= az)
        flat = ~side & (ay >= az)
        n = [np.sign(x) * side, np.sign(y) * flat, np.sign(z) * ~(side | flat)]
    else:
        cap = abs(y) > 0.9999 if body == 2 else y > 0.9999
        slope = 0.0 * y if body == 2 else -(y + 1) / 2 / (2 * b)
        n = [np.where(cap, 0, x / a), np.where(cap, np.sign(y), slope), np.where(cap, 0, z / c)]
    norm = np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + LEAST
    return [k / norm for k in n]


def noise3(table: Array, p: list[Array], frequency: float) -> Array:
    """Value noise in 0..1 at points p: trilinear in an (8, 8, 8) lattice that repeats."""
    cells, parts = [], []
    for k in p:
        at = k * frequency + 16.0
        floor = np.floor(at)
        part = at - floor
        cells.append(floor.astype(np.int32) & 7)
        parts.append(part * part * (3 - 2 * part))
    flat, total = table.ravel(), 0.0
    for i in (0, 1):
        wx = parts[0] if i else 1 - parts[0]
        plane = ((cells[0] + i) & 7) * 64
        for j in (0, 1):
            wy = wx * (parts[1] if j else 1 - parts[1])
            row = plane + ((cells[1] + j) & 7) * 8
            near, far = flat[row + cells[2]], flat[row + ((cells[2] + 1) & 7)]
            total = total + wy * (near + (far - near) * parts[2])
    return total


def key_radius(body: Body, scene: Scene) -> tuple[float, float]:
    """Radius of the key and height of its middle (y down), in half diameters: low on a cone, where it is wide."""
    width = body.half[0] * (0.8 if body.body == 3 else 1.0)
    return scene.key_width * width, 0.3 * body.half[1] if body.body == 3 else 0.0


def key_mask(body: Body, scene: Scene, p: list[Array]) -> tuple[Array, Array]:
    """Whether surface points lie in the key's round field on the front, and on its paint."""
    radius, height = key_radius(body, scene)
    x, y = p[0] / radius, (p[1] - height) / radius
    square = x * x + y * y
    field = (square < 1) & (p[2] > 0)
    if body.key == 0:
        paint = (square < 0.5) | (square > 0.74)
    else:
        paint = (abs(x) < 0.27) | (abs(y) < 0.27)
    return field, field & paint


def paint(body: Body, scene: Scene, p: list[Array], n: list[Array], light) -> tuple[list[Array], Array]:
    """RGB of surface points (texture, key, Lambert shading) and the key's field."""
    noise_frequency, stripe_frequency, *along = body.pattern
    phase = (p[0] * along[0] + p[1] * along[1] + p[2] * along[2]) * stripe_frequency + 8.25
    stripes = abs(2 * (phase - np.floor(phase)) - 1)
    mix = 0.65 * noise3(body.table, p, noise_frequency) + 0.35 * stripes
    mix = np.clip((mix - 0.5) * 2.2 + 0.5, 0, 1)
    shade = scene.ambient + (1 - scene.ambient) * np.maximum(
        0, n[0] * light[0] + n[1] * light[1] + n[2] * light[2]
    )
    field, painted = key_mask(body, scene, p)
    first, second = body.colours.tolist()
    bright = sum(first) + sum(second) > 3.0
    contrast = scene.key_contrast[int(body.camouflaged)]
    colours = []
    for one, two in zip(first, second, strict=True):
        key = one + ((0.02 if bright else 0.98) - one) * contrast
        colours.append(np.where(painted, key, one + (two - one) * mix) * shade)
    return colours, field


def render_body(body: Body, t: int, light, scene: Scene) -> tuple[Sprite, Array, float]:
    """The object at frame t, sharp: sprite, silhouette box (4,) before clipping, visible share of the key.

    Twice supersampled; the box is tight to half a pixel and spans the whole silhouette, hidden or not.
    """
    radius = float(body.diameter / 2 * body.scale[t])
    cx, cy = float(body.centre[t, 0]), float(body.centre[t, 1])
    a, b, c = body.half
    reach = radius * math.sqrt(a * a + b * b + c * c) + 1
    left, top = math.floor(cx - reach), math.floor(cy - reach)
    side = math.ceil(2 * reach) + 1
    steps = np.arange(2 * side, dtype=np.float32) * np.float32(0.5) + np.float32(0.25)
    u, v = np.meshgrid((steps + (left - cx)) / radius, (steps + (top - cy)) / radius)
    turn = rotation(body.yaw[t], body.tilt[t], body.roll)
    into = [light[0] * turn[0][i] + light[1] * turn[1][i] + light[2] * turn[2][i] for i in range(3)]
    length = math.sqrt(into[0] ** 2 + into[1] ** 2 + into[2] ** 2)
    hit, p, n = cast(body.body, body.half, turn, u, v)
    colours, field = paint(body, scene, p, n, [k / length for k in into])
    fine = np.zeros((4, *hit.shape), dtype=np.float32)
    for channel, colour in enumerate([*colours, 1.0]):
        fine[channel][hit] = colour
    even, odd = fine[:, 0::2], fine[:, 1::2]
    rgba = (even[..., 0::2] + even[..., 1::2] + odd[..., 0::2] + odd[..., 1::2]) / 4
    columns, rows = np.flatnonzero(hit.any(axis=0)), np.flatnonzero(hit.any(axis=1))
    box = np.array([left + columns[0] / 2, top + rows[0] / 2,
                    left + (columns[-1] + 1) / 2, top + (rows[-1] + 1) / 2])
    frontal = math.pi * (key_radius(body, scene)[0] * radius * 2) ** 2  # in samples
    return Sprite(rgba, left, top), box, min(1.0, int(field.sum()) / frontal)
