"""What is timed: one frame of a long video in each mode of inference, on noise.

Weights are random, for the time of a frame does not depend on them once there are as many
proposals as may be kept; how many the reference has is recorded.
"""

import copy
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf, prod

import torch
from torch import Tensor
from torchvision.models.resnet import BasicBlock, Bottleneck

from mstlib.bench.count import count_step, state_bytes, total
from mstlib.bench.measure import alternate, peak_bytes, seconds, spread
from mstlib.config import Config, with_overrides
from mstlib.distributed import choose_device
from mstlib.model.backbone import stride_of
from mstlib.model.detector import MST, build_model
from mstlib.model.engine import MODES, Found, autocast
from mstlib.model.fast import speed_up
from mstlib.plain import plain_detect
from mstlib.profiles import get_config
from mstlib.stream import Streamer

PLAIN, WHOLE = "plain", "whole window"  # nothing is kept: mstlib/plain.py, and MST.forward
ALL_MODES = (PLAIN, WHOLE, *MODES)
DAMPED = 0.2  # share of a residual branch in the sum, so that maps do not grow block by block
WINDOW = 37   # Sec. IV-C
MS = 1000.0   # milliseconds of a second
LARGEST = 2e9  # bytes of the attention matrix that the plain form builds
MOST = 1.2e12  # multiply-adds of a frame that a CPU is asked for: about a minute of one core

Step = Callable[[], object]


@dataclass(frozen=True)
class How:
    """How is measured: on which device, at which precision, how often.

    repeats: rounds at most. budget: seconds of an experiment after which no further round is begun.
    most: multiply-adds of a frame; what takes more is left out.
    """

    device: torch.device = torch.device("cpu")
    precision: str = "float32"
    compiled: bool = False
    repeats: int = 15
    budget: float = 60.0
    most: float = MOST


def how_to_measure(device: str = "auto", precision: str | None = None, compiled: bool = False,
                   repeats: int = 15, budget: float = 60.0, most: float | None = None) -> How:
    """The options of the command line. precision None: bfloat16 on a GPU, else float32; most None:
    no limit on a GPU. MSTError if the device is not there or the precision unknown."""
    found = choose_device(device)
    precision = precision or ("bfloat16" if found.type == "cuda" else "float32")
    autocast(found, precision)  # knows which there are
    most = most or (inf if found.type == "cuda" else MOST)
    return How(found, precision, compiled, repeats, budget, most)


@dataclass(frozen=True)
class Case:
    """One configuration on images of `size` (H, W)."""

    config: Config
    size: tuple[int, int]

    @property
    def window(self) -> int:
        """Frames in the window; 1 for a detector that looks at one frame."""
        return self.config.test.window if self.config.levels.temporal else 1


def case_of(profile: str, variant: str = "g", size: tuple[int, int] | None = None,
            window: int | None = None, stride: int = 1, **model: object) -> Case:
    """A profile as its videos are seen, one reference at a time; `window`, `size` and settings of
    the model differ where they are given."""
    config = get_config(profile, variant)
    changes = {f"model.{name}": value for name, value in model.items()} | {"test.batch": 1}
    if window:
        changes |= {"test.window": window, "test.stride": stride}
    return Case(with_overrides(config, changes), size or image_size(config))


def image_size(config: Config) -> tuple[int, int]:
    """(H, W) of a profile's images."""
    source = config.source
    return (source.short_side or config.data.size, source.long_side or config.data.size)


def noise(count: int, size: tuple[int, int]) -> Tensor:
    """Images (count, 3, H, W) uint8."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (count, 3, *size), dtype=torch.uint8, generator=generator)


def random_model(case: Case, how: How) -> MST:
    """The model with random weights whose maps are as large as a trained one's."""
    model = build_model(case.config).eval()
    for block in model.modules():
        if isinstance(block, BasicBlock | Bottleneck):
            last = block.bn3 if isinstance(block, Bottleneck) else block.bn2
            torch.nn.init.constant_(last.weight, DAMPED)
    return speed_up(model.to(how.device), how.compiled)


def frame_step(model: MST, case: Case, mode: str, how: How) -> Step:
    """A function that detects in one more frame of a long video, in one of `ALL_MODES`."""
    if mode in MODES:
        return stream_step(model, case, mode, how)
    images = noise(case.window, case.size).to(how.device)
    if mode == PLAIN:  # always in float32
        return lambda: plain_detect(model, images)

    @torch.inference_mode()
    def whole() -> object:
        with autocast(how.device, how.precision):
            return model(images[None])[0]

    return whole


def stream_step(model: MST, case: Case, mode: str, how: How) -> Step:
    """A streamer in the middle of a video, as a function that gives it one more frame."""
    streamer = Streamer(model, mode, case.config.test, how.precision)
    track, frame = streamer.track, noise(1, case.size)[0]
    streamer.engine.settle([[state := streamer.engine.enter(frame[None])[0]]])
    track.add(copy.deepcopy(state) for _ in range(2 * track.reach))
    track.next = track.count - track.delay  # references before that are left out
    return lambda: streamer.find([frame])[0]


# ---- several steps in turn ----------------------------------------------------------------------


@dataclass
class Measured:
    """Of one kind of frame: seconds by turns, peak bytes beyond what is kept between frames, and
    the reference's proposals, None where a step does not say."""

    seconds: list[float]
    peak_bytes: int
    found: int | None

    def fields(self) -> dict[str, object]:
        """As a row of a record has them."""
        return {"ms": spread(self.seconds, MS), "peak_bytes": self.peak_bytes, "found": self.found}


NOT_MEASURED = {"ms": None, "peak_bytes": None, "found": None}


def time_steps(asked: Mapping[str, tuple[MST, Case, str]], how: How) -> dict[str, Measured]:
    """Each (model, case, mode) that can be borne and for which a GPU has the memory, measured by
    turns."""
    turns, measured = {}, {}
    for name, (model, case, mode) in asked.items():
        if bearable(case, mode, how):
            with suppress(torch.OutOfMemoryError):
                step = frame_step(model, case, mode, how)
                measured[name] = Measured([], *remember(step, how))
                turns[name] = partial(seconds, step, how.device)
    for name, values in alternate(turns, how.repeats, how.budget, warm=False).items():
        measured[name].seconds = values
    return measured


def remember(step: Step, how: How) -> tuple[int, int | None]:
    """Peak bytes and proposals of a step; it is warm afterwards."""
    if how.device.type == "cuda" or how.compiled:
        step()  # what is allocated or compiled once and for all
    results = []
    peak = peak_bytes(lambda: results.append(step()), how.device)
    return peak, len(results[0].proposals) if isinstance(results[0], Found) else None


def step_count(case: Case, mode: str) -> int:
    """Multiply-adds of a frame; the plain form is the whole window's, less cleverly done."""
    return total(count_step(case.config, WHOLE if mode == PLAIN else mode, case.size))


def kept_bytes(case: Case, mode: str) -> int:
    """Bytes that a mode keeps between frames, in float32: the states of a window's frames."""
    if mode not in MODES:
        return 0
    return case.config.test.stride * (case.window - 1) * state_bytes(case.config, mode, case.size)


def bearable(case: Case, mode: str, how: How) -> bool:
    """Does a frame take no more than `how.most` multiply-adds, and fit into memory?"""
    model = case.config.model
    if mode == PLAIN and case.config.levels.frame:
        tokens = case.window * prod(-(-side // stride_of(model)) for side in case.size)
        if 4 * model.frame_heads * tokens**2 > LARGEST:
            return False
    return step_count(case, mode) <= how.most
