"""From videos to detections: a sliding window over every frame (Sec. IV-C).

conv4 of a frame is computed once in its life; everything after it depends on the reference (MST
aligns before the RPN), so it is computed per window, several windows a batch.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mstlib.config import TestConfig
from mstlib.data.clip import Clip, Detections, window_indices
from mstlib.model.detector import MST
from mstlib.model.trace import Trace


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


def batches(windows: Sequence[list[int]], size: int) -> Iterator[list[int]]:
    """References grouped so that the windows of a batch are equally long (they shrink at the
    ends)."""
    by_length = defaultdict(list)
    for t, w in enumerate(windows):
        by_length[len(w)].append(t)
    for references in by_length.values():
        for i in range(0, len(references), size):
            yield references[i : i + size]


@torch.no_grad()
def detect_clip(model: MST, clip: Clip, config: TestConfig) -> list[Detections]:
    """Detections of every frame of a clip, on the CPU."""
    maps, size = clip_maps(model, clip), tuple(clip.frame(0).shape[-2:])
    windows = clip_windows(len(clip), config, model.levels.temporal)
    found: list[Detections | None] = [None] * len(clip)
    for references in batches(windows, config.batch):
        index = torch.tensor([windows[t] for t in references])         # (B, L)
        for t, d in zip(references, model.detect(maps[index], size)[0], strict=True):
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
    maps, size = clip_maps(model, clip), tuple(clip.frame(0).shape[-2:])
    windows = clip_windows(len(clip), config, model.levels.temporal)
    found: list[Tensor | None] = [None] * len(clip)
    for references in batches(windows, config.batch):
        index = torch.tensor([windows[t] for t in references])
        x, _ = model.aggregate(maps[index])
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
