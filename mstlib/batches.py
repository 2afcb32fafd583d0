"""What a training step eats: windows of clips drawn by lot, as images or as kept conv4 maps.

conv1-4 is frozen while the levels are trained at `mini`, so its maps are computed once and shared
by all variants and seeds (DEVIATIONS.md 3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mstlib.config import TrainConfig
from mstlib.data.clip import Clip, Target, sample_supports
from mstlib.fileio import reserve, write_via
from mstlib.model.detector import MST
from mstlib.progress import progress


@dataclass
class Batch:
    """Windows of one step: conv4 maps or images (B, L, ., ., .), targets [b][l], image size (H,
    W)."""

    windows: Tensor
    targets: list[list[Target]]
    size: tuple[int, int]


def draw(clips: Sequence[Clip], recipe: TrainConfig, supports: int, generator: torch.Generator
         ) -> list[tuple[int, list[int], bool]]:
    """(clip, frames with the reference first, flipped) for each window of a batch.

    One horizontal flip a clip, not a frame: a flip between frames would be motion that never
    happened.
    """
    picks = []
    for n in torch.randint(len(clips), (recipe.batch,), generator=generator).tolist():
        t = int(torch.randint(len(clips[n]), (1,), generator=generator))
        frames = [t] + sample_supports(t, len(clips[n]), supports, recipe.span, generator)
        picks.append((n, frames, bool(torch.rand((), generator=generator) < 0.5)))
    return picks


def targets_of(clips: Sequence[Clip], picks: list[tuple[int, list[int], bool]], width: int
               ) -> list[list[Target]]:
    """Targets [b][l] of drawn windows."""
    return [[clips[n].target(t).flip(width) if flip else clips[n].target(t) for t in frames]
            for n, frames, flip in picks]


def image_batch(clips: Sequence[Clip], recipe: TrainConfig, supports: int,
                generator: torch.Generator) -> Batch:
    """A batch of images, for training with the backbone."""
    picks = draw(clips, recipe, supports, generator)
    windows = torch.stack([torch.stack([clips[n].frame(t) for t in frames])
                           for n, frames, _ in picks])
    flips = torch.tensor([flip for _, _, flip in picks])[:, None, None, None, None]
    windows = torch.where(flips, windows.flip(-1), windows)
    return Batch(windows, targets_of(clips, picks, windows.shape[-1]), tuple(windows.shape[-2:]))


def map_batch(clips: Sequence[Clip], maps: Tensor, size: tuple[int, int], recipe: TrainConfig,
              supports: int, generator: torch.Generator) -> Batch:
    """A batch of kept conv4 maps; maps (2, clips * T, C, h, w) holds plain and flipped frames."""
    picks = draw(clips, recipe, supports, generator)
    starts = [0]
    for clip in clips[:-1]:
        starts.append(starts[-1] + len(clip))
    windows = torch.stack([maps[int(flip), [starts[n] + t for t in frames]]
                           for n, frames, flip in picks]).float()
    return Batch(windows, targets_of(clips, picks, size[1]), size)


@torch.no_grad()
def kept_maps(model: MST, clips: Sequence[Clip], path: Path) -> Tensor:
    """conv4 maps of all frames, plain and flipped, (2, frames, C, h, w) half precision,
    memory-mapped.

    Computed once for a pretrained backbone and shared by all variants and seeds (their conv1-4 is
    frozen); of several trainings that start together one computes, the others wait.
    """
    import fcntl

    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            write_maps(model, clips, path)
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def write_maps(model: MST, clips: Sequence[Clip], path: Path) -> None:
    """Compute and write what `kept_maps` reads."""
    import numpy as np

    frames = sum(len(c) for c in clips)
    shape = model.c4(clips[0].frame(0)[None]).shape[1:]
    with write_via(path) as tmp:
        out = np.lib.format.open_memmap(tmp, "w+", np.float16, (2, frames, *shape))
        reserve(tmp)
        at = 0
        for clip in progress(clips, "conv4 maps of the training clips"):
            images = torch.stack([clip.frame(t) for t in range(len(clip))])
            for flip, x in enumerate((images, images.flip(-1))):
                out[flip, at : at + len(clip)] = model.c4(x).half().numpy()
            at += len(clip)
        out.flush()
