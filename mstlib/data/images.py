"""Image files: decoding them to RGB, telling a whole file from a damaged one, finding them.

Not part of the paper. Image size is always (H, W), as in tensors.
"""

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mstlib.data.dataset import BadFile

SUFFIXES = (".jpg", ".jpeg", ".png")  # of frames, in either case
PNG, PNG_END = b"\x89PNG", b"IEND\xaeB`\x82"
UNREADABLE = (  # what Pillow raises on files that are no image, or damaged
    OSError, SyntaxError, ValueError, TypeError, IndexError, EOFError, struct.error, zlib.error,
    Image.DecompressionBombError)


def read_image(path: str | Path) -> Tensor:
    """A JPEG or PNG file as (3, H, W) uint8 RGB; grey, 16-bit, palette, CMYK, RGBA become RGB.

    The pixels are those stored: an EXIF orientation is not applied, since boxes are annotated
    without it. BadFile if the file is missing, empty, not an image or cut short.
    """
    image = open_image(path)
    if image.mode.startswith("I"):  # 16 bits a pixel: Pillow's conversion would make it all white
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    bands = image.convert("RGB").split()
    return torch.from_numpy(np.stack([np.asarray(band) for band in bands]))  # (3, H, W)


def open_image(path: str | Path) -> Image.Image:
    """An image decoded, in the mode it is stored in (a mask's palette); raises as `read_image`.

    Pillow fails where data runs out. Two cuts that it lets pass are found here: zeros in place of
    the end (a download that stopped in a file of full size) are taken off a JPEG so that it does
    run out; of a PNG the end mark must be there. (torchvision's own decoders are on their way out.)
    """
    try:
        data = Path(path).read_bytes()
        if data.startswith(PNG) and PNG_END not in data:
            raise ValueError("end mark missing")
        image = Image.open(io.BytesIO(data if data.startswith(PNG) else data.rstrip(b"\0")))
        image.load()
        return image
    except UNREADABLE as error:
        raise _bad_image(path, error) from error


def image_size(path: str | Path) -> tuple[int, int]:
    """(H, W) of an image from its header, no pixel is decoded; BadFile if that cannot be read."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except UNREADABLE as error:
        raise _bad_image(path, error) from error


def _bad_image(path: str | Path, error: Exception) -> BadFile:
    if isinstance(error, OSError) and error.strerror:  # of the file system, not of Pillow
        return BadFile(f"{path}: cannot be read ({error.strerror})")
    return BadFile(f"{path}: not an image, or cut short; copy or extract it anew")


# ---- in a folder ---------------------------------------------------------------------------------


def frame_files(folder: str | Path) -> tuple[str, ...]:
    """Names of the images in a folder, in order (2 before 10); BadFile if it is missing or holds
    none."""
    return tuple(sorted(_image_names(folder), key=by_number))


def last_number(folder: str | Path, pattern: str) -> int:
    """The highest number of a folder's images, named as `pattern`, such as img{:06d}.jpg.

    It fixes the length of a sequence also where an image in between is missing: no annotation slips
    against the images, the missing one is an error when it is asked for. BadFile as `frame_files`.
    """
    before, after = re.split(r"\{.*\}", pattern)
    numbers = [name[len(before) : -len(after)] for name in _image_names(folder)
               if name.startswith(before) and name.endswith(after)]
    if not any(map(str.isdecimal, numbers)):
        raise BadFile(f"{folder}: holds no image named such as {pattern.format(1)}")
    return max(int(number) for number in numbers if number.isdecimal())


def _image_names(folder: str | Path) -> list[str]:
    try:
        names = [p.name for p in Path(folder).iterdir()
                 if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
    except OSError as error:
        raise BadFile(f"{folder}: cannot be read ({error.strerror})") from error
    if not names:
        raise BadFile(f"{folder}: holds no image ({', '.join(SUFFIXES)})")
    return names


def by_number(name: str) -> tuple[list, str]:
    """A sorting key in which digits count as numbers: text and digits take turns in the split."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name
