"""Inference: what is computed once in a frame's life, and what again for every reference (Sec.
IV-C).

MST aligns to the reference before the RPN, so that a support's proposals change with every
reference and, strictly, only what comes before can be kept. `MODES` say what is kept:

    exact   the method as written: conv4, DAlign's halves and, where nothing depends on the
            reference (variants a, b and c), all the rest
    cached  a support is aligned to itself and aggregated over the frames before it, once, when it
            enters; the reference is aggregated over the whole window of such supports
    causal  as cached, without the frames after the reference

DEVIATIONS.md 21. docs/speed.md has what each costs and gives up; notebook 10 walks through it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from mstlib.config import MSTError
from mstlib.data.clip import Detections
from mstlib.model.attention import Supports
from mstlib.model.dalign import Halves
from mstlib.model.detector import MST
from mstlib.model.fast import speed_up
from mstlib.model.flow import Pictures
from mstlib.model.frame import Tokens

MODES = ("exact", "cached", "causal")
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass
class RoIs:
    """Proposals of a frame: boxes (N, 4), objectness (N,), features (N, d)."""

    boxes: Tensor
    objectness: Tensor
    features: Tensor


@dataclass
class FrameState:
    """A frame while some window needs it; every tensor with a leading dimension of one frame.

    size: (H, W) of the image. maps: F, or F' if it is aligned to itself. supports: its best
    proposals as each relation layer reads them.
    """

    size: tuple[int, int]
    maps: Tensor
    halves: Halves | Pictures | None = None
    tokens: Tokens | None = None
    rois: RoIs | None = None
    supports: list[Supports] = field(default_factory=list)


Window = Sequence[FrameState]  # the reference first


@dataclass(frozen=True)
class Found:
    """What is found in a reference: its detections, the boxes (N, 4) of its proposals, and their
    features (N, d) before they heard of others."""

    detections: Detections
    proposals: Tensor
    features: Tensor

    def cpu(self) -> "Found":
        """The same with detections and proposals on the CPU; features stay where they are."""
        return Found(self.detections.cpu(), self.proposals.cpu(), self.features)


def stack(parts: Sequence):
    """Halves or Tokens of frames (1, ...), window by window, as one of (B, L, ...)."""
    return type(parts[0][0])(*(
        torch.stack([torch.cat([getattr(p, f.name) for p in window]) for window in parts])
        for f in fields(parts[0][0])))


def split(whole) -> Iterator:
    """Halves or Tokens of n frames as n of one frame."""
    columns = [getattr(whole, f.name).split(1) for f in fields(whole)]
    return (type(whole)(*row) for row in zip(*columns, strict=True))


def groups(windows: Sequence[Window], batch: int) -> Iterator[tuple[list[int], list[Window]]]:
    """Windows of equal length and image size, at most `batch` together, and their numbers."""
    alike = defaultdict(list)
    for i, window in enumerate(windows):
        alike[len(window), window[0].size].append(i)
    for numbers in alike.values():
        for start in range(0, len(numbers), batch):
            part = numbers[start : start + batch]
            yield part, [windows[i] for i in part]


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """float32 as it is, or a context in which torch computes in bfloat16 or float16; MSTError for
    another name."""
    if precision not in PRECISIONS:
        raise MSTError(f"unknown precision '{precision}'; choose one of {', '.join(PRECISIONS)}")
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, precision))


class Engine:
    """The stages of a model in one of MODES: frames `enter` and `settle`, then windows are
    `detect`ed."""

    def __init__(self, model: MST, mode: str = "exact", batch: int = 1,
                 precision: str = "float32"):
        if mode not in MODES:
            raise MSTError(f"unknown mode '{mode}'; choose one of {', '.join(MODES)}")
        if model.walk:
            raise MSTError(f"{model.model_config.method} draws frames from the whole video and "
                           "cannot be streamed; detect a clip of a data set, or use "
                           "model.method=rdn")
        if mode != "exact" and model.frame and not hasattr(model.frame, "ask"):
            raise MSTError(f"{model.model_config.method} knows no mode '{mode}', only exact: each "
                           "support is warped to each reference; set test.mode=exact")
        self.model, self.mode, self.batch = speed_up(model.eval()), mode, batch
        self.cast = autocast(model.mean.device, precision)
        on = model.levels
        whole = on.frame and not hasattr(model.frame, "ask")  # knows windows of maps only
        depends = on.dalign or whole or (on.frame and model.uses_supports)
        self.whole = mode == "exact" and depends           # every stage again for each reference
        self.twice = on.frame and mode != "causal"         # a reference's window is not its entry's
        self.settles = not self.whole and (model.uses_supports or not self.twice)

    @torch.inference_mode()
    def enter(self, images: Tensor) -> list[FrameState]:
        """Images (n, 3, H, W) uint8 of any videos -> what can be said of each by itself."""
        with self.cast:
            return self.enter_cast(images)

    def enter_cast(self, images: Tensor) -> list[FrameState]:
        """As `enter`, at whatever precision."""
        model, size = self.model, tuple(images.shape[-2:])
        maps = model.c4(images.to(model.mean.device, non_blocking=True))
        halves = model.dalign.halves(maps) if model.dalign else None
        if halves and not self.whole:  # aligned to itself, once and for all
            alone = type(halves)(*(getattr(halves, f.name)[:, None] for f in fields(halves)))
            maps, halves = model.dalign.align(halves.as_reference, alone)[:, 0], None
        tokens = model.frame.tokens(maps) if model.frame and not self.whole else None
        nothing = [None] * len(maps)
        return [FrameState(size, m, h, t) for m, h, t in zip(
            maps.split(1), split(halves) if halves else nothing,
            split(tokens) if tokens else nothing, strict=True)]

    @torch.inference_mode()
    def settle(self, windows: Sequence[Window]) -> None:
        """Give the first frame of each window, which has just entered, its proposals; the others
        are those before it."""
        if not self.settles:
            return
        m = self.model.model_config
        keep = m.support_proposals if self.twice else max(m.reference_proposals,
                                                          m.support_proposals)
        for _, part in groups(windows, self.batch):
            with self.cast:
                for window, rois in zip(part, self.rois(part, keep), strict=True):
                    window[0].rois = rois
                    window[0].supports = self.supports(rois)

    def supports(self, rois: RoIs) -> list[Supports]:
        """The best proposals of a frame as each relation layer reads them."""
        M = self.model.model_config.support_proposals
        return self.model.supports(rois.features[:M], rois.boxes[:M])

    def rois(self, windows: Sequence[Window], keep: int) -> list[RoIs]:
        """The best `keep` proposals of the first frames of equally long windows."""
        model, size = self.model, windows[0][0].size
        x = torch.cat([w[0].maps for w in windows])                    # F' (B, C, h, w)
        if model.frame:
            x = model.frame.ask(x, stack([[s.tokens for s in w] for w in windows]))
        boxes, objectness = model.rpn.propose(x, size, [keep] * len(x))
        features = model.roi_features(model.reduce(model.backbone.c5(x)), boxes)
        return [RoIs(*of) for of in zip(boxes, objectness, features, strict=True)]

    @torch.inference_mode()
    def detect(self, windows: Sequence[Window]) -> list[Found]:
        """What is found in the first frame of each window, in their order, on the CPU."""
        found: list[Found | None] = [None] * len(windows)
        step = self.detect_whole if self.whole else self.detect_settled
        for numbers, part in groups(windows, self.batch):
            with self.cast:
                for i, one in zip(numbers, step(part), strict=True):
                    found[i] = one.cpu()
        return found

    def detect_whole(self, windows: Sequence[Window]) -> list[Found]:
        """Every stage on equally long windows; only conv4 and DAlign's halves are at hand."""
        model = self.model
        if model.dalign:
            window = stack([[s.halves for s in w] for w in windows])
            aligned = model.dalign.align(window.as_reference[:, 0], window)
        else:
            aligned = torch.stack([torch.cat([s.maps for s in w]) for w in windows])
        x = model.frame_level(aligned)
        detections, rois, *_ = model.finish(x, windows[0][0].size)
        return [Found(d, r.boxes, r.a) for d, r in zip(detections, rois, strict=True)]

    def detect_settled(self, windows: Sequence[Window]) -> list[Found]:
        """Only what depends on the whole window: the supports bring their proposals along."""
        model, N = self.model, self.model.model_config.reference_proposals
        rois = self.rois(windows, N) if self.twice else [w[0].rois for w in windows]
        a = []
        for window, r in zip(windows, rois, strict=True):
            own = self.supports(r) if self.twice else window[0].supports
            layers = zip(own, *(s.supports for s in window[1:]), strict=True)
            a.append(model.relate(r.features[:N], r.boxes[:N], r.objectness[:N],
                                  [layer[0].join(layer) for layer in layers]))
        detections = model.decode(torch.cat(a), [r.boxes[:N] for r in rois], windows[0][0].size)
        return [Found(d, r.boxes[:N], r.features[:N])
                for d, r in zip(detections, rois, strict=True)]
