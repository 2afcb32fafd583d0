"""One body of MiniVID alone, in a chosen pose and with chosen deteriorations.

Portraits of the two classes of a body are the same but for the key: what they differ in is what a
detector has to see. Notebook 02 and the data card show them. Not part of the paper.
"""

import math
from dataclasses import replace

import numpy as np
from numpy import ndarray as Array

from mstlib.config import MSTError
from mstlib.data.minivid.film import annotate, film_frame
from mstlib.data.minivid.scene import BODIES, KEYS, Body, Scene, Script
from mstlib.data.minivid.scenery import draw_scenery
from mstlib.data.minivid.script import draw_body

LIGHT = (-0.4, -0.5, 0.75)
STILL = {"yaw": 0.3, "tilt": -0.2, "streak": (0.0, 0.0), "sigma": 0.0, "cover": (0.0, 1.0, 0.0)}


def sitter(label: int, size: int, scene: Scene, **fate: object
           ) -> tuple[Body, np.random.Generator]:
    """The body of class `label` in the middle of a frame of size x size pixels, for one frame, and
    the generator that goes on to draw its ground.

    All sitters of one body have the same shape and paint. `fate` replaces fields of `Body`, one
    value for the one frame: yaw and tilt in radians, streak, sigma, cover. MSTError if there is no
    such class or field.
    """
    count = len(BODIES) * len(KEYS)
    if not 1 <= label <= count:
        raise MSTError(f"MiniVID has the classes 1 to {count}, got {label}")
    unknown = set(fate) - set(STILL)
    if unknown:
        raise MSTError(f"no fate '{min(unknown)}'; choose from {', '.join(STILL)}")
    body, key = divmod(label - 1, len(KEYS))
    rng = np.random.default_rng(np.random.SeedSequence((2022, body)))
    drawn = draw_body(rng, body, key, 1, scene, size / 128, [])
    posed = replace(
        drawn, camouflaged=False, diameter=size * 0.55, centre=np.full((1, 2), size / 2), roll=0.1,
        scale=np.ones(1), **{name: [value] for name, value in {**STILL, **fate}.items()})
    return posed, rng


def portrait_and_truth(label: int, size: int, scene: Scene, **fate: object) -> tuple[Array, dict]:
    """An object of class `label` alone on its ground, (S, S, 3) in 0..1 without noise, and its row
    of ground truth (`mstlib.data.minivid.film.FIELDS`); arguments of `sitter`.

    All portraits of one body have the same ground.
    """
    body, rng = sitter(label, size, scene, **fate)
    script = Script([body], np.zeros((1, 2)), LIGHT)
    plain = replace(scene, still_shapes=(4, 4), moving_shapes=(0, 0))
    frame, views, _ = film_frame(script, draw_scenery(rng, script, size, plain), 0, size, scene)
    return frame.transpose(1, 2, 0).clip(0, 1), annotate(views[0], 0, size, scene)


def portrait(label: int, size: int, scene: Scene, yaw: float = STILL["yaw"], **fate: object
             ) -> Array:
    """The picture of `portrait_and_truth` alone."""
    return portrait_and_truth(label, size, scene, yaw=yaw, **fate)[0]


def harms(size: int, share: float = 1.0) -> dict[str, dict]:
    """The fates that show the deteriorations of Fig. 1 on a sitter of size x size pixels, each kind
    by itself: from `share` 0, none, to 1, which is flagged in the ground truth of every body.

    The rare pose is turned away from the camera; end-on views are the rarer kind.
    """
    unit = size / 128
    return {
        "motion blur": {"streak": (16 * unit * share, 9 * unit * share)},
        "defocus": {"sigma": 3.2 * unit * share},
        "occlusion": {"cover": (0.8 * share, 0.8, 0.6)},
        "rare pose": {"yaw": STILL["yaw"] + math.pi * share},
    }


def ray_picture(hit: Array, *channels: Array) -> Array:
    """Values 0..1 of the rays that hit (a mask of h x w), of one channel or of three, as an image
    (3, h, w) uint8; white where none hits. MSTError for another number of channels."""
    if len(channels) not in (1, 3):
        raise MSTError(f"an image has 1 or 3 channels, got {len(channels)}")
    image = np.full((3, *hit.shape), 255, dtype=np.uint8)
    for k in range(3):
        image[k][hit] = np.rint(255 * np.clip(channels[k % len(channels)], 0, 1))
    return image
