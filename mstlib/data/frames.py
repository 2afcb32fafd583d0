"""Frames on disk as clips: clipping boxes to them, resizing them to the model's scale.

Sec. IV-B of the paper sets the scale (short side 600, long side at most 1000); the readers of the
data sets (`mstlib.data.readers`) build on the rest. Image size is always (H, W), as in tensors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from mstlib.data.clip import Clip, Target
from mstlib.data.dataset import BadFile
from mstlib.data.images import frame_files, image_size, read_image

BORDER = 1.0    # pixels that a box may pass the border: some tools count from 1, some from 0
FARTHEST = 1e6  # pixels: a coordinate beyond is damage
OUTSIDE = "box outside of the image"


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


def wrong_box(box: Sequence[float], size: tuple[float, float] | None = None) -> str:
    """What is wrong with a box x1 y1 x2 y2 in an image (H, W); nothing: an empty text."""
    x1, y1, x2, y2 = box
    height, width = size or (math.inf, math.inf)
    if not all(abs(value) < FARTHEST for value in box):  # NaN too
        return "box that is no number"
    if x1 > x2 or y1 > y2:
        return "box with swapped corners"
    if x1 == x2 or y1 == y2:
        return "box without area"
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        return OUTSIDE
    if min(x1, y1) < -BORDER or x2 > width + BORDER or y2 > height + BORDER:
        return "box across the border of the image"
    return ""


def pixels(size: Sequence[int]) -> str:
    """(H, W) in words."""
    return f"{size[1]} x {size[0]} pixels"


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

    def where(self, t: int, k: int | None = None) -> str:
        """What annotates frame t, or object k of it: `file`, `file:line` or `file: entry`."""
        return str(self.path(t))

    def stated(self, t: int) -> tuple[int, int] | None:
        """(H, W) that the annotation of frame t is about, None where it says nothing."""
        return None

    def generated(self, t: int) -> int:
        """How many boxes of frame t nobody drew (ImageNet VID's flag of that name)."""
        return 0

    def size(self, t: int) -> tuple[int, int]:
        """(H, W) of frame t as its annotation states it, else from the file's header."""
        return self.stated(t) or image_size(self.path(t))

    def frame(self, t: int) -> Tensor:
        """Frame t as (3, H, W) uint8 RGB; raises as `read_image`, and BadFile if it is not of the
        size that its annotation is about: the boxes would lie elsewhere."""
        image, stated = read_image(self.path(t)), self.stated(t)
        if stated not in (None, tuple(image.shape[-2:])):
            raise BadFile(f"{self.path(t)}: {pixels(image.shape[-2:])}, but its annotation is "
                          f"about {pixels(stated)}; give the frames that were annotated")
        return image

    def target(self, t: int) -> Target:
        """Ground truth of frame t, clipped to the image; raises as `annotated` and `inside`."""
        size = self.size(t)
        return clip_target(self.inside(t, self.annotated(t), size), size)

    def inside(self, t: int, target: Target, size: tuple[int, int]) -> Target:
        """The target of frame t; BadFile naming the first box that is wholly outside of (H, W)."""
        for k, box in enumerate(target.boxes.tolist()):
            if wrong_box(box, (size[0] + BORDER, size[1] + BORDER)) == OUTSIDE:
                raise BadFile(f"{self.where(t, k)}: a box lies outside of the image, x1 y1 x2 y2 "
                              f"are {box} in {pixels(size)}")
        return target


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
