"""From videos to detections: a sliding window over every frame (Sec. IV-C).

conv4 of a frame is computed once in its life; everything after it depends on the reference (MST
aligns before the RPN), so it is computed per window, several windows a batch.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from mstlib.config import MSTError, TestConfig
from mstlib.data.clip import Clip, Detections, window_indices
from mstlib.data.dataset import BadFile
from mstlib.model.detector import MST
from mstlib.model.trace import Trace

SEGMENT = 256  # references whose maps are held at once: at paper scale 10 MB a map


def clip_windows(length: int, config: TestConfig, temporal: bool) -> list[list[int]]:
    """The frames of each reference's window, reference first; one frame each if not temporal."""
    if not temporal:
        return [[t] for t in range(length)]
    return [window_indices(t, length, config.window, config.stride) for t in range(length)]


@torch.no_grad()
def clip_maps(model: MST, clip: Clip, batch: int = 24) -> Tensor:
    """conv4 maps of all frames of a clip, (T, C, h, w)."""
    frames = torch.stack([clip.frame(t) for t in range(len(clip))])
    device = next(model.parameters()).device
    return torch.cat([model.c4(f.to(device)) for f in frames.split(batch)])


def read_frames(clip: Clip, frames: Iterable[int], skip_bad: bool = False) -> dict[int, Tensor]:
    """Frames (3, H, W) by number; BadFile if one cannot be read, with skip_bad it is left out."""
    images = {}
    for t in frames:
        try:
            images[t] = clip.frame(t)
        except BadFile:
            if not skip_bad:
                raise
    return images


@torch.no_grad()
def maps_of(model: MST, images: dict[int, Tensor], batch: int = 24) -> dict[int, Tensor]:
    """conv4 maps (C, h, w) of frames by number."""
    device, numbers, maps = next(model.parameters()).device, list(images), {}
    for part in (numbers[i : i + batch] for i in range(0, len(numbers), batch)):
        x = model.c4(torch.stack([images[t] for t in part]).to(device))
        maps |= dict(zip(part, x, strict=True))
    return maps


def batches(windows: Iterable[list[int]], size: int) -> Iterator[list[list[int]]]:
    """Windows grouped so that those of a batch are equally long (they shrink at the ends)."""
    by_length = defaultdict(list)
    for window in windows:
        by_length[len(window)].append(window)
    for group in by_length.values():
        for i in range(0, len(group), size):
            yield group[i : i + size]


def aggregated(model: MST, clip: Clip, config: TestConfig, skip_bad: bool = False
               ) -> Iterator[tuple[list[int], Tensor, tuple[int, int]]]:
    """(references, conv4 maps (B, L, C, h, w) of their windows, (H, W)) through a clip.

    Only the maps of SEGMENT references and of their windows are held at a time. With skip_bad,
    frames that cannot be read are in no window. MSTError if frames are not of one size.
    """
    windows, held, sizes = clip_windows(len(clip), config, model.levels.temporal), {}, set()
    for start in range(0, len(clip), SEGMENT):
        part = windows[start : start + SEGMENT]
        wanted = sorted({s for w in part for s in w})
        held = {s: held[s] for s in wanted if s in held}
        images = read_frames(clip, [s for s in wanted if s not in held], skip_bad)
        sizes |= {tuple(image.shape[-2:]) for image in images.values()}
        if len(sizes) > 1:
            raise MSTError(f"{clip.name}: frames of different sizes, (H, W) {sorted(sizes)}; a "
                           "clip has frames of one size")
        held |= maps_of(model, images)
        seen = [[s for s in w if s in held] for w in part if w[0] in held]
        for group in batches(seen, config.batch):
            yield [w[0] for w in group], torch.stack(
                [torch.stack([held[s] for s in w]) for w in group]), *sizes


@torch.no_grad()
def detect_clip(model: MST, clip: Clip, config: TestConfig, skip_bad: bool = False
                ) -> list[Detections | None]:
    """Detections of every frame of a clip, on the CPU.

    BadFile if a frame cannot be read; with skip_bad it is left out of all windows and is None.
    """
    found: list[Detections | None] = [None] * len(clip)
    for references, maps, size in aggregated(model, clip, config, skip_bad):
        for t, d in zip(references, model.detect(maps, size)[0], strict=True):
            found[t] = Detections(d.boxes.cpu(), d.scores.cpu(), d.labels.cpu())
    return found


def detect_clips(model: MST, clips: Sequence[Clip], config: TestConfig, text: str = "detecting"
                 ) -> list[list[Detections]]:
    """Detections of every frame of every clip, with a progress bar."""
    from mstlib.progress import progress

    model.eval()
    return [detect_clip(model, clip, config) for clip in progress(clips, text)]


@torch.no_grad()
def propose_clip(model: MST, clip: Clip, config: TestConfig) -> list[Tensor]:
    """The reference's proposals of every frame, (n, 4) each: what RPN recall is measured on."""
    found: list[Tensor | None] = [None] * len(clip)
    for references, maps, size in aggregated(model, clip, config):
        x, _ = model.aggregate(maps)
        for t, boxes in zip(references, model.rpn.propose(x[:, 0], size)[0], strict=True):
            found[t] = boxes.cpu()
    return found


@torch.no_grad()
def trace_frame(model: MST, clip: Clip, t: int, config: TestConfig
                ) -> tuple[Detections, Trace, list[int]]:
    """One reference frame with its trace and the frames of its window (reference first)."""
    model.eval()
    frames = clip_windows(len(clip), config, model.levels.temporal)[t]
    window = torch.stack([clip.frame(s) for s in frames])[None]
    detections, traces = model(window.to(next(model.parameters()).device), trace=True)
    return detections[0], traces[0], frames
