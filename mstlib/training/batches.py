"""What a training step eats: windows of clips drawn by lot, as images or as kept conv4 maps.

conv1-4 is frozen while the levels are trained at `mini`, so its maps are computed once and shared
by all variants and seeds (DEVIATIONS.md 3). Everything is drawn from (seed, step) alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from mstlib.config import MSTError, TrainConfig
from mstlib.data.clip import Clip, Target, sample_supports
from mstlib.data.dataset import BadFile
from mstlib.fileio import reserve, write_via
from mstlib.model.detector import MST
from mstlib.progress import progress

Pick = tuple[int, list[int], bool]  # clip, its frames with the reference first, flipped
Sampler = Callable[[int, int, int, int, torch.Generator], list[int]]  # as `sample_supports`
Carry = Callable[[Tensor, Tensor], Tensor]  # maps and images -> maps that carry their images
Window = tuple[Tensor, list[Target], tuple[int, int]]  # (L, ., ., .), targets [l], image (H, W)


@dataclass
class Batch:
    """Windows of one forward pass: conv4 maps or images (B, L, ., ., .), targets [b][l], image
    size (H, W).

    picks [b]: clip's name, frames and flip of each window, for reports. first: the number of the
    first window within its step, on all processes; it seeds what the pass draws.
    """

    windows: Tensor
    targets: list[list[Target]]
    size: tuple[int, int]
    picks: list[tuple[str, list[int], bool]] = field(default_factory=list)
    first: int = 0

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device."""
        targets = [[target_to(t, device) for t in window] for window in self.targets]
        return Batch(self.windows.to(device), targets, self.size, self.picks, self.first)


def target_to(target: Target, device: torch.device) -> Target:
    """A target on a device."""
    return Target(*(tensor.to(device) for tensor in vars(target).values()))


# ---- the lot -----------------------------------------------------------------------------------


def step_seed(seed: int, step: int, window: int = 0) -> int:
    """One number for (seed, step), and another for each later window of the step.

    They differ in the low 32 bits, all that torch's CPU generator reads.
    """
    return seed * 1_000_003 + step + window * 2_654_435_769


def references_of(clip: Clip) -> Sequence[int]:
    """Frames of a clip that may be references: its own choice (ImageNet VID: 15) or all."""
    chosen = getattr(clip, "references", None)
    return range(len(clip)) if chosen is None else chosen


def reference_ends(clips: Sequence[Clip]) -> Tensor:
    """(clips,): how many references there are up to and with each clip; MSTError if none at all."""
    ends = torch.tensor(list(accumulate(len(references_of(clip)) for clip in clips)))
    if len(ends) == 0 or ends[-1] == 0:
        raise MSTError("the data set has no frames to train on; look at it with mst data check")
    return ends


def draw(clips: Sequence[Clip], recipe: TrainConfig, supports: int, generator: torch.Generator,
         ends: Tensor | None = None, sample: Sampler = sample_supports) -> list[Pick]:
    """(clip, frames with the reference first, flipped) for each window of a batch.

    A clip is drawn, then one of its references. With `ends` (see `reference_ends`) all references
    of the data are equally likely: still images and videos "simply concatenated", as MEGA does. A
    still image is its own support. One horizontal flip a clip, not a frame: a flip between frames
    would be motion that never happened.
    """
    picks, among = [], len(clips) if ends is None else int(ends[-1])
    for n in torch.randint(among, (recipe.batch,), generator=generator).tolist():
        if ends is None:
            k = int(torch.randint(len(references_of(clips[n])), (1,), generator=generator))
        else:
            n, k = locate(ends, n)
        t = references_of(clips[n])[k]
        frames = [t] + sample(t, len(clips[n]), supports, recipe.span, generator)
        picks.append((n, frames, bool(torch.rand((), generator=generator) < 0.5)))
    return picks


def locate(ends: Tensor, number: int) -> tuple[int, int]:
    """The clip that holds reference `number` of all, and which of the clip's references it is."""
    n = int(torch.searchsorted(ends, number, right=True))
    return n, number - (int(ends[n - 1]) if n else 0)


# ---- from picks to tensors ---------------------------------------------------------------------


def targets_of(clips: Sequence[Clip], pick: Pick, width: int) -> list[Target]:
    """Targets [l] of a drawn window of images `width` pixels wide."""
    n, frames, flip = pick
    return [clips[n].target(t).flip(width) if flip else clips[n].target(t) for t in frames]


def image_window(clips: Sequence[Clip], pick: Pick) -> Window:
    """A window of images; a frame that it holds twice is decoded once. BadFile if the frames of
    the clip differ in size, or as `frame` and `target` of the clip."""
    n, frames, flip = pick
    images = {t: clips[n].frame(t) for t in dict.fromkeys(frames)}
    sizes = {tuple(image.shape[-2:]) for image in images.values()}
    if len(sizes) > 1:
        raise BadFile(f"{clips[n].name}: frames {frames} differ in size ({sorted(sizes)}); "
                      "cut the clip where its size changes")
    window = torch.stack([images[t] for t in frames])                  # (L, 3, H, W)
    size = tuple(window.shape[-2:])
    return window.flip(-1) if flip else window, targets_of(clips, pick, size[1]), size


def map_window(clips: Sequence[Clip], maps: Tensor, starts: Sequence[int], size: tuple[int, int],
               carry: Carry | None, pick: Pick) -> Window:
    """A window of kept conv4 maps; maps (2, clips * T, C, h, w) holds plain and flipped frames.

    carry: `MST.carrier()` of the model.
    """
    n, frames, flip = pick
    rows = maps[int(flip), [starts[n] + t for t in frames]].float()    # (L, C, h, w)
    if carry:
        rows = carry(rows, image_window(clips, pick)[0])
    return rows, targets_of(clips, pick, size[1]), size


def first_rows(clips: Sequence[Clip]) -> list[int]:
    """The row of each clip's first frame where all frames lie in a row."""
    return [0, *accumulate(len(clip) for clip in clips)][:-1]


def collate(windows: Sequence[Window], clips: Sequence[Clip], picks: Sequence[Pick],
            first: int = 0) -> Batch:
    """Windows as one batch; MSTError if their images differ in size."""
    sizes = list(dict.fromkeys(size for _, _, size in windows))
    if len(sizes) > 1:
        (h, w), (h2, w2) = sizes[:2]
        raise MSTError(f"images of {h} x {w} and {h2} x {w2} pixels cannot share a forward pass; "
                       "train with --set train.forward=1 (or pretrain.forward=1)")
    named = [(clips[n].name, frames, flip) for n, frames, flip in picks]
    return Batch(torch.stack([w for w, _, _ in windows]), [t for _, t, _ in windows], sizes[0],
                 named, first)


def map_batch(clips: Sequence[Clip], maps: Tensor, size: tuple[int, int], recipe: TrainConfig,
              supports: int, generator: torch.Generator) -> Batch:
    """A batch of kept conv4 maps drawn from `generator`."""
    picks = draw(clips, recipe, supports, generator)
    read = partial(map_window, clips, maps, first_rows(clips), size, None)
    return collate([read(pick) for pick in picks], clips, picks)


# ---- kept maps ---------------------------------------------------------------------------------


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
    shape = model.conv4(clips[0].frame(0)[None]).shape[1:]
    with write_via(path) as tmp:
        out = np.lib.format.open_memmap(tmp, "w+", np.float16, (2, frames, *shape))
        reserve(tmp)
        at = 0
        for clip in progress(clips, "conv4 maps of the training clips"):
            images = torch.stack([clip.frame(t) for t in range(len(clip))])
            for flip, x in enumerate((images, images.flip(-1))):
                out[flip, at : at + len(clip)] = model.conv4(x).half().numpy()
            at += len(clip)
        out.flush()
