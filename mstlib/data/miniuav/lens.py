"""What stands between MiniUAV's scene and its pixels: the turning camera, fog, blur, noise.

Pictures are (h, w, layers) float32. Only exact arithmetic touches pixels.
"""

import math

import numpy as np
from numpy import ndarray as Array
from numpy.random import Generator

from mstlib.data.miniuav.scene import Camera, Point
from mstlib.data.minivid.sprite import noise2


def to_screen(camera: Camera, t: int, size: int, points: Array) -> Array:
    """Points (N, 2) of the ground in px of frame t."""
    (c, s), scale = camera.axis[t], camera.scale[t] * size / 128
    x, y = (points - camera.centre[t]).T
    return np.stack([(x * c + y * s) * scale, (y * c - x * s) * scale], axis=1) + size / 2


def look(canvas: Array, corner: Point, camera: Camera, t: int, size: int, nearer: float = 1.0
         ) -> Array:
    """The canvas as frame t shows it, (S, S, layers), bilinear.

    corner: where its upper left lies; nearer: how much larger than the ground it appears.
    """
    (c, s), unit = camera.axis[t], size / 128
    step = 1 / (camera.scale[t] * nearer)  # canvas pixels a pixel of the screen
    along = (np.arange(size) + 0.5 - size / 2) * step
    x0, y0 = ((float(camera.centre[t, i]) - corner[i]) * unit - 0.5 for i in (0, 1))
    x = np.float32(x0) + ((along * c)[None] - (along * s)[:, None]).astype(np.float32)
    y = np.float32(y0) + ((along * s)[None] + (along * c)[:, None]).astype(np.float32)
    h, w, layers = canvas.shape
    left = np.clip(x.astype(np.int32), 0, w - 2)
    top = np.clip(y.astype(np.int32), 0, h - 2)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    flat, at = canvas.reshape(-1, layers), top * w + left
    upper, lower = flat.take(at, axis=0), flat.take(at + w, axis=0)
    upper += (flat.take(at + 1, axis=0) - upper) * fx
    lower += (flat.take(at + w + 1, axis=0) - lower) * fx
    lower -= upper
    return upper + lower * fy


def blur(frame: Array, streak: Point) -> Array:
    """Mean of copies shifted along the streak (px): one a pixel and one more."""
    copies = math.ceil(math.hypot(*streak)) + 1
    margin = math.ceil(max(abs(streak[0]), abs(streak[1])) / 2) + 1
    size, total = len(frame), np.zeros_like(frame)
    wide = np.pad(frame, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    for i in range(copies):
        part = i / (copies - 1) - 0.5
        x, y = (margin + math.floor(part * extent + 0.5) for extent in streak)
        total += wide[y : y + size, x : x + size]
    return total / np.float32(copies)


def defocus(frame: Array, sigma: float) -> Array:
    """Gaussian blur, `sigma` in px, cut at 2.5 sigma."""
    reach = math.ceil(2.5 * sigma)
    weights = [math.exp(-0.5 * (k / sigma) ** 2) for k in range(-reach, reach + 1)]
    for axis in (0, 1):
        margin = [(reach, reach) if i == axis else (0, 0) for i in range(3)]
        wide, size = np.pad(frame, margin, mode="edge"), len(frame)
        frame = np.zeros_like(frame)
        for k, weight in enumerate(weights):
            part = wide[k : k + size] if axis == 0 else wide[:, k : k + size]
            frame += part * np.float32(weight / sum(weights))
    return frame


def fog_map(rng: Generator, size: int, density: float) -> Array:
    """How much of each pixel is fog, (S, S, 1): thicker here and there."""
    clouds = noise2(rng, size, size, size / 2.5) - np.float32(0.5)
    return np.clip(np.float32(density) + clouds * np.float32(0.35), 0, 0.85)[..., None]


def add_noise(frame: Array, grain: Array, x: float, y: float) -> Array:
    """The frame as uint8 with a cut of the grain (2S, 2S, 3) at a place given by shares."""
    size = len(frame)
    left, top = int(size * x), int(size * y)
    frame = frame + grain[top : top + size, left : left + size]
    return np.rint(np.clip(frame, 0, 1) * 255).astype(np.uint8)
