"""What flows through the house: clips with targets go in, detections come out.

Boxes are (N, 4) float32 `x1 y1 x2 y2` in pixels, continuous coordinates (x2 - x1 is the width).
Labels are 1-based: 0 is background, as in the paper's 31-way head.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

DETERIORATIONS = ("motion blur", "defocus", "occlusion", "rare pose")  # Fig. 1 of the paper


@dataclass(frozen=True)
class Target:
    """Ground truth of one frame with N objects.

    boxes (N, 4) xyxy pixels; labels (N,) int64, 1-based; ids (N,) int64 track ids, unique in a clip
    and constant through it (-1: unknown); flags (N, 4) bool in the order of `DETERIORATIONS`;
    centres (N, 2) projected object centres in pixels (x, y), for measuring alignment. ignored
    (R, 4) xyxy: regions that are not annotated, where nothing counts as right or wrong.
    """

    boxes: Tensor
    labels: Tensor
    ids: Tensor
    flags: Tensor
    centres: Tensor
    ignored: Tensor = field(default_factory=lambda: torch.zeros(0, 4))

    @staticmethod
    def of(boxes: Tensor, labels: Tensor, ids: Tensor | None = None,
           occluded: Tensor | None = None, ignored: Tensor | None = None) -> "Target":
        """A target from what real data sets give: boxes, labels, perhaps track ids, occlusion."""
        n = len(boxes)
        flags = torch.zeros(n, len(DETERIORATIONS), dtype=torch.bool)
        if occluded is not None:
            flags[:, DETERIORATIONS.index("occlusion")] = occluded
        ids = torch.full((n,), -1) if ids is None else ids
        ignored = torch.zeros(0, 4) if ignored is None else ignored
        return Target(boxes, labels, ids, flags, (boxes[:, :2] + boxes[:, 2:]) / 2, ignored)

    def flip(self, width: int) -> "Target":
        """The target of the horizontally flipped frame, `width` pixels wide."""
        boxes, ignored = (torch.stack([width - b[:, 2], b[:, 1], width - b[:, 0], b[:, 3]], dim=1)
                          for b in (self.boxes, self.ignored))
        centres = torch.stack([width - self.centres[:, 0], self.centres[:, 1]], dim=1)
        return Target(boxes, self.labels, self.ids, self.flags, centres, ignored)

    def as_torchvision(self) -> dict[str, Tensor]:
        """The dict that torchvision's detection parts take."""
        return {"boxes": self.boxes, "labels": self.labels}


@dataclass(frozen=True)
class Detections:
    """Detections of one frame: boxes (D, 4) xyxy pixels, scores (D,) in 0..1, labels (D,) 1-based;
    where the detector says it, rows (D,): which of the frame's proposals each was made of."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    rows: Tensor | None = None

    def cpu(self) -> "Detections":
        """The same on the CPU."""
        return Detections(*(of if of is None else of.cpu() for of in vars(self).values()))


class Clip(Protocol):
    """A video with its annotations; frames are read on demand."""

    name: str

    def __len__(self) -> int: ...

    def frame(self, t: int) -> Tensor:
        """Frame t as a (3, H, W) uint8 RGB tensor."""

    def target(self, t: int) -> Target:
        """Ground truth of frame t."""


def window_indices(t: int, length: int, window: int, stride: int, pad: bool = False) -> list[int]:
    """Frames of the test window around reference t, the reference first (Sec. IV-C).

    The window is shorter at both ends of the video, as in the paper; a one-frame video is its own
    window. pad: filled up with copies of the first and last frame instead, as RDN does.
    """
    reach = window // 2
    around = [t + stride * k for k in range(-reach, reach + 1) if k != 0]
    if pad:
        return [t] + [min(max(s, 0), length - 1) for s in around]
    return [t] + [s for s in around if 0 <= s < length]


def pick(count: int, among: int, generator: torch.Generator) -> list[int]:
    """`count` random numbers below `among`, without repeats where there are enough."""
    picks = torch.randint(among, (count,), generator=generator).tolist()
    if among >= count:
        picks = torch.randperm(among, generator=generator)[:count].tolist()
    return picks


def sample_supports(
    t: int, length: int, supports: int, span: int, generator: torch.Generator
) -> list[int]:
    """Random support frames of reference t within +- span, with replacement if the video is
    short."""
    low, high = max(0, t - span), min(length - 1, t + span)
    others: Sequence[int] = [s for s in range(low, high + 1) if s != t] or [t]
    return [others[i] for i in pick(supports, len(others), generator)]


def sample_anywhere(
    t: int, length: int, supports: int, span: int, generator: torch.Generator
) -> list[int]:
    """Random support frames of reference t from the whole video, whatever `span`; with replacement
    if the video is short."""
    return sample_supports(t, length, supports, length, generator)


def sample_roles(
    t: int, length: int, supports: int, span: int, generator: torch.Generator, memory_frames: int,
    global_frames: int,
) -> list[int]:
    """Random support frames of reference t in MEGA's three roles: `supports` local ones as above,
    then memory frames, within +- span of the frame one window earlier, then global ones, of the
    whole video.

    Where the video has no earlier window its first frame takes that frame's place, and its first
    and last frames stand for those that it does not have, as in MEGA's public code.
    """
    local = sample_supports(t, length, supports, span, generator)
    centre = max(t - (2 * span + 1), 0)
    past = [centre + k - span for k in pick(memory_frames, 2 * span + 1, generator)]
    memory = [min(max(s, 0), length - 1) for s in past]
    return local + memory + pick(global_frames, length, generator)
