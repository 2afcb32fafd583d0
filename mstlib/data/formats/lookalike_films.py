"""What look-alikes show: small films of MiniVID with boxes, tracks and masks, and image files.

Not part of the paper. The frames are those of `mstlib.data.minivid.film`, cut to 4:3 so that height
and width differ.
"""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray as Array
from PIL import Image

from mstlib.data.minivid.film import annotate, direct_clip, film_frame
from mstlib.data.minivid.scene import Scene
from mstlib.fileio import write_bytes

QUALITY = 90  # of the JPEG files
PALETTE = (0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128)  # the first colours of DAVIS


@dataclass(frozen=True)
class Seen:
    """An object in a frame: MiniVID's label 1 to 8, track from 0, box x1 y1 x2 y2 in whole px."""

    label: int
    track: int
    box: tuple[int, int, int, int]
    occluded: bool


@dataclass(frozen=True)
class Film:
    """A clip: frames (T, H, W, 3) uint8, its objects frame by frame, masks (T, H, W) of track + 1
    where nothing is in front of the object."""

    frames: Array
    seen: list[list[Seen]]
    masks: Array


def generate_films(seed: int, length: int, width: int) -> Iterator[Film]:
    """Clip after clip."""
    clip = 0
    while True:
        yield _film((seed, 0, clip), length, width, width * 3 // 4)
        clip += 1


def _film(seed: tuple[int, int, int], length: int, width: int, height: int) -> Film:
    scene = Scene()
    script, scenery, _ = direct_clip(seed, length, width, scene)
    frames, seen, masks = [], [], []
    for t in range(length):
        frame, views, whole = film_frame(script, scenery, t, width, scene)
        frames.append(np.rint(np.clip(frame[:, :height], 0, 1) * 255).astype(np.uint8))
        rows = [(view, annotate(view, t, width, scene)) for view in views]
        seen.append([Seen(row["label"], view.body.track, box, bool(row["flags"][2]))
                     for view, row in rows if row and (box := _whole_pixels(row["box"], height))])
        mask, half = np.zeros((height, width), dtype=np.uint8), width // 2
        for view, silhouette in zip(views, whole, strict=True):  # back to front
            inside = silhouette[half : half + height, half : half + width] > 0.5
            mask[inside] = view.body.track + 1
        masks.append(mask)
    return Film(np.stack(frames).transpose(0, 2, 3, 1), seen, np.stack(masks))


def _whole_pixels(box: Array, height: int) -> tuple[int, int, int, int] | None:
    """The pixels that a box touches above the cut at `height`; None if hardly any."""
    x1, y1 = (math.floor(v) for v in box[:2])
    x2, y2 = math.ceil(box[2]), min(math.ceil(box[3]), height)
    return (x1, y1, x2, y2) if min(x2 - x1, y2 - y1) >= 4 else None


def write_image(path: Path, pixels: Array, palette: bool = False) -> None:
    """A JPEG file, or a PNG file of a mask (H, W): grey, or with the colours of DAVIS."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    if palette:
        image = Image.frombytes("P", image.size, pixels.tobytes())
        image.putpalette(PALETTE)
    jpeg = pixels.ndim == 3
    image.save(file, "JPEG" if jpeg else "PNG", **({"quality": QUALITY} if jpeg else {}))
    write_bytes(path, file.getvalue())
