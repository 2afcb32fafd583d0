"""Image files as clips: reading frames, clipping boxes to them, resizing to the model's scale.

Sec. IV-B of the paper sets the scale (short side 600, long side at most 1000); the readers of the
data sets (`mstlib.data.readers`) build on the rest. Image size is always (H, W), as in tensors.
"""

import io
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from mstlib.data.clip import Clip, Target
from mstlib.data.dataset import BadFile

SUFFIXES = (".jpg", ".jpeg", ".png")  # of frames, in either case
PNG, PNG_END = b"\x89PNG", b"IEND\xaeB`\x82"
UNREADABLE = (  # what Pillow raises on files that are no image, or damaged
    OSError, SyntaxError, ValueError, TypeError, IndexError, EOFError, struct.error, zlib.error,
    Image.DecompressionBombError)


# ---- images --------------------------------------------------------------------------------------


def read_image(path: str | Path) -> Tensor:
    """A JPEG or PNG file as (3, H, W) uint8 RGB; grey, palette, CMYK and RGBA images become RGB.

    The pixels are those stored: an EXIF orientation is not applied, since boxes are annotated
    without it. BadFile if the file is missing, empty, not an image or cut short.
    """
    bands = open_image(path).convert("RGB").split()
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


# ---- targets -------------------------------------------------------------------------------------


def empty_target() -> Target:
    """No object."""
    return Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def clip_target(target: Target, size: tuple[int, int]) -> Target:
    """The target with boxes and ignored regions clipped to the image; what lies outside goes.

    size: (H, W), the largest y and x a box may have. A box without area is left out.
    """
    height, width = size
    limit = torch.tensor([width, height, width, height], dtype=torch.float32)
    boxes, ignored = (b.clamp(min=0).minimum(limit) for b in (target.boxes, target.ignored))
    keep, kept = (((b[:, 2:] - b[:, :2]) > 0).all(dim=1) for b in (boxes, ignored))
    boxes = boxes[keep]
    return Target(boxes, target.labels[keep], target.ids[keep], target.flags[keep],
                  (boxes[:, :2] + boxes[:, 2:]) / 2, ignored[kept])


# ---- clips ---------------------------------------------------------------------------------------


class FileClip:
    """What clips of image files share; a subclass gives name, length, `path` and `annotated`.

    references: the frames that training may draw as references, None for all of them.
    """

    references: Sequence[int] | None = None

    def path(self, t: int) -> Path:
        """The image file of frame t."""
        raise NotImplementedError

    def annotated(self, t: int) -> Target:
        """Frame t as its annotation has it, nothing clipped; BadFile if that is damaged."""
        raise NotImplementedError

    def size(self, t: int) -> tuple[int, int]:
        """(H, W) of frame t as its annotation states it, else from the file's header."""
        return image_size(self.path(t))

    def frame(self, t: int) -> Tensor:
        """Frame t as (3, H, W) uint8 RGB; raises as `read_image`."""
        return read_image(self.path(t))

    def target(self, t: int) -> Target:
        """Ground truth of frame t, clipped to the image; raises as `annotated`."""
        return clip_target(self.annotated(t), self.size(t))


@dataclass(frozen=True)
class FolderClip(FileClip):
    """Images in a folder, not annotated: every frame's target is empty."""

    name: str
    folder: Path
    files: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def path(self, t: int) -> Path:
        return self.folder / self.files[t]

    def annotated(self, t: int) -> Target:
        return empty_target()


def folder_clip(folder: str | Path, name: str = "") -> FolderClip:
    """The images of a folder as a clip, in the order of their names (2 before 10).

    BadFile if the folder is missing or holds no image.
    """
    return FolderClip(name or Path(folder).name, Path(folder), frame_files(folder))


def frame_files(folder: str | Path) -> tuple[str, ...]:
    """Names of the images in a folder, numbers in order of size; raises as `folder_clip`."""
    return tuple(sorted(_image_names(folder), key=by_number))


def last_number(folder: str | Path, pattern: str) -> int:
    """The highest number of a folder's images, named as `pattern`, such as img{:06d}.jpg.

    It fixes the length of a sequence also where an image in between is missing: no annotation slips
    against the images, the missing one is an error when it is asked for. BadFile as `folder_clip`.
    """
    before, after = re.split(r"\{.*\}", pattern)
    numbers = [name[len(before) : -len(after)] for name in _image_names(folder)
               if name.startswith(before) and name.endswith(after)]
    if not any(map(str.isdecimal, numbers)):
        raise BadFile(f"{folder}: holds no image named such as {pattern.format(1)}")
    return max(int(number) for number in numbers if number.isdecimal())


def _image_names(folder: str | Path) -> list[str]:
    try:
        names = [p.name for p in Path(folder).iterdir() if p.suffix.lower() in SUFFIXES]
    except OSError as error:
        raise BadFile(f"{folder}: cannot be read ({error.strerror})") from error
    if not names:
        raise BadFile(f"{folder}: holds no image ({', '.join(SUFFIXES)})")
    return names


def by_number(name: str) -> tuple[list, str]:
    """A sorting key in which digits count as numbers: text and digits take turns in the split."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


@dataclass(frozen=True)
class Sized:
    """A clip with frames resized and targets scaled with them (bilinear, antialiased).

    The short side becomes `short_side`, unless the long side would pass `long_side`; 0 switches
    either off. Boxes come back to the original pixels as boxes / scale(t).
    """

    clip: Clip
    short_side: int = 0
    long_side: int = 0

    @property
    def name(self) -> str:
        return self.clip.name

    @property
    def references(self) -> Sequence[int] | None:
        """See `FileClip`."""
        return getattr(self.clip, "references", None)

    def __len__(self) -> int:
        return len(self.clip)

    def size(self, t: int) -> tuple[int, int]:
        """(H, W) of frame t after resizing."""
        size = self._original(t)
        return scaled(size, fit(size, self.short_side, self.long_side))

    def scale(self, t: int) -> float:
        """New pixels per original pixel of frame t."""
        return fit(self._original(t), self.short_side, self.long_side)

    def frame(self, t: int) -> Tensor:
        """Frame t resized, (3, H', W') uint8."""
        return resized(self.clip.frame(t), self.short_side, self.long_side)[0]

    def target(self, t: int) -> Target:
        """Ground truth of frame t in new pixels."""
        target, s = self.clip.target(t), self.scale(t)
        return replace(target, boxes=target.boxes * s, centres=target.centres * s,
                       ignored=target.ignored * s)

    def _original(self, t: int) -> tuple[int, int]:
        if hasattr(self.clip, "path"):
            return image_size(self.clip.path(t))  # what `frame` meets, whatever an annotation says
        return tuple(self.clip.frame(t).shape[-2:])


def resized(image: Tensor, short_side: int, long_side: int) -> tuple[Tensor, float]:
    """An image (3, H, W) uint8 brought to the given sides (see `Sized`), and the factor."""
    before = tuple(image.shape[-2:])
    factor = fit(before, short_side, long_side)
    after = scaled(before, factor)
    if after == before:
        return image, factor
    return functional.interpolate(image[None], after, mode="bilinear", antialias=True)[0], factor


def fit(size: tuple[int, int], short_side: int, long_side: int) -> float:
    """The factor that brings an image (H, W) to the given sides; 0 switches a side off."""
    scale = short_side / min(size) if short_side else 1.0
    return min(scale, long_side / max(size)) if long_side else scale


def scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """(H, W) times a factor, rounded, at least one pixel."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
