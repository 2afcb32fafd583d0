"""Ray casting for MiniVID: solid bodies with a key painted on their front, in plain numpy.

Only + - * / sqrt, floor and comparisons touch pixels, all exact under IEEE 754: the bytes do not
depend on the machine. Camera: x right, y down, z towards the viewer, orthographic. Object: the key
faces +z. A ray is o + s d with d towards the viewer, so the point we see is where it leaves.
"""

import math

import numpy as np
from numpy import ndarray as Array

from mstlib.data.minivid.scene import Body, Scene
from mstlib.data.minivid.sprite import Sprite

LEAST = 1e-6  # keeps divisions finite where a ray runs along a face
BOX, CYLINDER, CONE = 1, 2, 3  # indices into BODIES; 0 is the ellipsoid
Turn = list[list[float]]  # rows of a rotation matrix
Vector = tuple[float, float, float]


def rotation(yaw: float, tilt: float, roll: float) -> Turn:
    """Rz(roll) Rx(tilt) Ry(yaw), object to camera; radians."""
    cy, sy, cx, sx = math.cos(yaw), math.sin(yaw), math.cos(tilt), math.sin(tilt)
    cz, sz = math.cos(roll), math.sin(roll)
    x, y, z = [cy, 0.0, sy], [sx * sy, cx, -sx * cy], [-cx * sy, sx, cx * cy]
    return [[cz * x[i] - sz * y[i] for i in range(3)], [sz * x[i] + cz * y[i] for i in range(3)], z]


def to_object(vector: Vector, turn: Turn) -> list[float]:
    """A camera vector in object coordinates."""
    return [sum(vector[k] * turn[k][i] for k in range(3)) for i in range(3)]


def slab(o: Array, d: float, half: float) -> tuple[Array, Array]:
    """s where rays enter and leave |coordinate| < half."""
    d = d if abs(d) > LEAST else LEAST
    ends = (-half - o) / d, (half - o) / d
    return ends if d > 0 else ends[::-1]


def quadric(o: list[Array], d: list[float], sign: float, level: float) -> tuple[Array, Array]:
    """s where rays enter and leave x^2 + z^2 + sign y^2 < level; entering after leaving: a miss."""
    a = d[0] * d[0] + d[2] * d[2] + sign * d[1] * d[1]
    a = a if abs(a) > LEAST else LEAST
    b = o[0] * d[0] + o[2] * d[2] + sign * o[1] * d[1]
    c = o[0] * o[0] + o[2] * o[2] + sign * o[1] * o[1] - level
    square = b * b - a * c
    root = np.sqrt(np.maximum(square, 0))
    if a < 0:  # a steep look into a cone: inside its lower half for ever, on one side of a root
        far = (-b - root) / a
        near = (-b + root) / a
        return (far, np.inf) if d[1] > 0 else (-np.inf, near)
    return np.where(square > 0, (-b - root) / a, np.inf), (-b + root) / a


def cast(body: int, half: Vector, turn: Turn, u: Array, v: Array) -> tuple[Array, list[Array]]:
    """Rays through camera points (u, v), in half diameters, against a body at the origin.

    Returns hit, boolean like u, and x, y, z of the visible points, object coordinates (hits only).
    """
    o = [u * turn[0][i] + v * turn[1][i] for i in range(3)]
    d = turn[2]
    bounds = [slab(o[1], d[1], half[1])]
    if body == BOX:
        bounds += [slab(o[i], d[i], half[i]) for i in (0, 2)]
    else:
        bounds.append(quadric(*_unit_ray(body, half, o, d)))
    enter, leave = bounds[0]
    for first, last in bounds[1:]:
        enter, leave = np.maximum(enter, first), np.minimum(leave, last)
    hit = enter < leave
    s = leave[hit]
    return hit, [o[i][hit] + s * d[i] for i in range(3)]


def _unit_ray(body: int, half: Vector, o: list[Array], d: list[float]):
    """The ray where the body is round and of unit size, with sign and level of its quadric."""
    origin, along = [o[i] / half[i] for i in range(3)], [d[i] / half[i] for i in range(3)]
    if body == CONE:  # heights count from the tip, y down
        origin[1], along[1] = (origin[1] + 1) / 2, along[1] / 2
        return origin, along, -1, 0
    return origin, along, (0 if body == CYLINDER else 1), 1


def normals(body: int, half: Vector, p: list[Array]) -> list[Array]:
    """Outward unit normals at surface points."""
    x, y, z = (p[i] / half[i] for i in range(3))
    if body == BOX:
        side = (abs(x) >= abs(y)) & (abs(x) >= abs(z))
        flat = ~side & (abs(y) >= abs(z))
        return [np.sign(x) * side, np.sign(y) * flat, np.sign(z) * ~(side | flat)]
    n = [x / half[0], y / half[1], z / half[2]]
    if body in (CYLINDER, CONE):
        cap = (abs(y) if body == CYLINDER else y) > 0.9999
        slope = 0.0 if body == CYLINDER else -(y + 1) / 4 / half[1]
        n = [np.where(cap, 0, n[0]), np.where(cap, np.sign(y), slope), np.where(cap, 0, n[2])]
    norm = np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) + np.float32(LEAST)
    return [k / norm for k in n]


def noise3(table: Array, p: list[Array], frequency: float) -> Array:
    """Value noise in 0..1 at points p: trilinear in an (8, 8, 8) lattice that repeats."""
    cells, parts = [], []
    for coordinate in p:
        at = coordinate * frequency + 16.0
        cell = np.floor(at)
        part = at - cell
        cells.append(cell.astype(np.int32))
        parts.append(part * part * (3 - 2 * part))
    flat, total = table.ravel(), 0.0
    for i in (0, 1):
        wx, plane = parts[0] if i else 1 - parts[0], ((cells[0] + i) & 7) * 64
        for j in (0, 1):
            w, row = wx * (parts[1] if j else 1 - parts[1]), plane + ((cells[1] + j) & 7) * 8
            near, far = flat[row + (cells[2] & 7)], flat[row + ((cells[2] + 1) & 7)]
            total = total + w * (near + (far - near) * parts[2])
    return total


def key_place(body: Body, scene: Scene) -> tuple[float, float]:
    """Radius of the key and height of its middle (y down), in half diameters."""
    if body.body == CONE:  # low, where it is wide
        return scene.key_width * 0.8 * body.half[0], 0.3 * body.half[1]
    return scene.key_width * body.half[0], 0.0


def key_masks(body: Body, scene: Scene, p: list[Array]) -> tuple[Array, Array]:
    """Which surface points lie in the key's round field on the front, and which on its paint."""
    radius, height = key_place(body, scene)
    x, y = p[0] / radius, (p[1] - height) / radius
    square = x * x + y * y
    field = (square < 1) & (p[2] > 0)
    disc = (square < 0.5) | (square > 0.74)
    cross = (abs(x) < 0.27) | (abs(y) < 0.27)
    return field, field & (cross if body.key else disc)


def paint(body: Body, scene: Scene, p: list[Array], light: list[float]) -> list[Array]:
    """RGB of surface points: texture, key, Lambert shading. `light` in object coordinates."""
    noise_frequency, stripe_frequency, *along = body.pattern
    stripes = (p[0] * along[0] + p[1] * along[1] + p[2] * along[2]) * stripe_frequency + 8.25
    stripes = abs(2 * (stripes - np.floor(stripes)) - 1)
    mix = 0.65 * noise3(body.table, p, noise_frequency) + 0.35 * stripes
    mix = np.clip((mix - 0.5) * 2.2 + 0.5, 0, 1)
    n, norm = normals(body.body, body.half, p), math.hypot(*light)
    lit = (n[0] * light[0] + n[1] * light[1] + n[2] * light[2]) / norm
    shade = scene.ambient + (1 - scene.ambient) * np.maximum(0, lit)
    painted = key_masks(body, scene, p)[1]
    key = 0.02 if float(body.colours.astype(np.float64).sum()) > 3 else 0.98
    contrast = scene.key_contrast[int(body.camouflaged)]
    return [
        np.where(painted, one + (key - one) * contrast, one + (two - one) * mix) * shade
        for one, two in body.colours.T.tolist()
    ]


def render_body(body: Body, t: int, light: Vector, scene: Scene) -> tuple[Sprite, Array, float]:
    """The object at frame t, sharp, from 2 x 2 rays a pixel.

    Returns its sprite; the box (4,) of its whole silhouette in px, tight to half a pixel, inside
    the image or not; and the area of the key turned to the camera, the frontal view being 1.
    """
    radius = float(body.diameter * body.scale[t]) / 2
    reach = radius * math.hypot(*body.half) + 1
    left, top = (math.floor(float(body.centre[t, i]) - reach) for i in (0, 1))
    rays = np.arange(2 * (math.ceil(2 * reach) + 1), dtype=np.float32) / 2 + np.float32(0.25)
    u, v = np.meshgrid(
        (rays + (left - float(body.centre[t, 0]))) / radius,
        (rays + (top - float(body.centre[t, 1]))) / radius,
    )
    turn = rotation(body.yaw[t], body.tilt[t], body.roll)
    hit, p = cast(body.body, body.half, turn, u, v)
    fine = np.zeros((4, *hit.shape), dtype=np.float32)
    colours = paint(body, scene, p, to_object(light, turn))
    for channel, value in zip(fine, [*colours, 1], strict=True):
        channel[hit] = value
    rows = fine[:, 0::2] + fine[:, 1::2]
    rgba = (rows[:, :, 0::2] + rows[:, :, 1::2]) / 4
    rays_on_key = int(key_masks(body, scene, p)[0].sum())
    frontal = math.pi * (2 * radius * key_place(body, scene)[0]) ** 2  # in rays
    return Sprite(rgba, left, top), _tight_box(hit, left, top), min(1.0, rays_on_key / frontal)


def _tight_box(hit: Array, left: int, top: int) -> Array:
    """Box in px around the rays that hit, two rays a pixel, the first in pixel (left, top)."""
    x, y = np.flatnonzero(hit.any(axis=0)), np.flatnonzero(hit.any(axis=1))
    ends = [left + x[0] / 2, top + y[0] / 2, left + (x[-1] + 1) / 2, top + (y[-1] + 1) / 2]
    return np.array(ends)
