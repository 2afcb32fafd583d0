"""What training costs: parameters, part by part, and the time of a step of each variant.

What inference costs is the business of `mstlib.bench`.
"""

import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mstlib.bench.measure import alternate, seconds
from mstlib.config import VARIANTS, Config
from mstlib.data.clip import Clip, Target
from mstlib.distributed import Group, choose_device
from mstlib.model.backbone import freeze_batch_norms
from mstlib.model.detector import build_model
from mstlib.profiles import get_config
from mstlib.stream import clip_maps
from mstlib.training.batches import Pick, Window, first_rows, image_window, map_window
from mstlib.training.loader import Feed
from mstlib.training.update import make_optimizer, train_step

LISTED = ("backbone", "rpn.parts.head", "proposal.layers")  # parts that the table takes apart
REPEATS = 9  # steps timed of each variant


def cost_lines(profile: str, repeats: int | None = None) -> list[str]:
    """A line for each variant: parameters and, with `repeats` steps timed, a step's time.

    repeats None: 9 at the scales of MiniVID, and no step is timed at the paper's, where a single
    one takes minutes on a CPU. Steps at paper scale are timed on frames of noise.
    """
    config = get_config(profile)
    if repeats is None:
        repeats = REPEATS if config.generated else 0
    seconds = step_seconds(timed_clips(config), profile, repeats) if repeats else {}
    count = {v: parameter_table(get_config(profile, v))[-1]["parameters"] for v in VARIANTS}
    lines = [f"({v})  {n / 1e6:.3f} M parameters" for v, n in count.items()]
    if not seconds:
        return [*lines, "no step was timed; --repeats 3 times three of each variant"]
    return [f"{line}   step {1000 * s:6.1f} ms   {s / seconds['a']:.2f} x (a)"
            for line, s in zip(lines, seconds.values(), strict=True)]


# ---- parameters --------------------------------------------------------------------------------


def parameters(model: nn.Module) -> dict[str, int]:
    """Number of parameters of each part of a model, and in all."""
    counts = {name: sum(p.numel() for p in part.parameters())
              for name, part in model.named_children()}
    counts = {name: n for name, n in counts.items() if n}
    return counts | {"all": sum(counts.values())}


def parameter_table(config: Config) -> list[dict[str, str | int]]:
    """Where the parameters sit: rows {"part", "parameters"} in the order of the model, the last one
    "all". Nothing is allocated, whatever the size."""
    with torch.device("meta"):
        rows = [{"part": name, "parameters": n} for name, n in count_parts(build_model(config))]
    return [*rows, {"part": "all", "parameters": sum(row["parameters"] for row in rows)}]


def count_parts(module: nn.Module, above: str = "") -> Iterator[tuple[str, int]]:
    """(path, parameters) of each part that has any; those of `LISTED` child by child."""
    for name, part in module.named_children():
        path = above + name
        if any(f"{listed}.".startswith(f"{path}.") for listed in LISTED):
            yield from count_parts(part, f"{path}.")
        elif n := sum(p.numel() for p in part.parameters()):
            yield path, n


# ---- time --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoiseClip:
    """Frames of noise with one object: a training step takes the time it takes on real ones."""

    name: str
    size: tuple[int, int]
    frames: int = 3

    def __len__(self) -> int:
        return self.frames

    def frame(self, t: int) -> Tensor:
        """Frame t, (3, H, W) uint8."""
        generator = torch.Generator().manual_seed(t)
        return torch.randint(256, (3, *self.size), dtype=torch.uint8, generator=generator)

    def target(self, t: int) -> Target:
        """One object in the middle of the frame."""
        h, w = self.size
        box = torch.tensor([[w / 4, h / 4, 3 * w / 4, 3 * h / 4]])
        return Target.of(box, torch.ones(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))


def timed_clips(config: Config) -> Sequence[Clip]:
    """What steps are timed on: clips of MiniVID, or noise of the size that the model sees."""
    if config.source.format == "minivid":
        from mstlib.training.experiment import clips_of

        return list(clips_of(config, "val"))[:4]
    return [NoiseClip("noise", (config.source.short_side, config.source.long_side))]


def step_seconds(clips: Sequence[Clip], profile: str = "mini", repeats: int = REPEATS,
                 variants: Sequence[str] = tuple(VARIANTS)) -> dict[str, float]:
    """Median seconds of a training step (batch, losses, gradients, update) of each variant, on the
    GPU if there is one.

    As in training: where conv1-4 is frozen on MiniVID its maps are kept, elsewhere it is computed.
    The variants take turns.
    """
    read, device = reader(clips, get_config(profile)), choose_device()

    def turns(step: Callable[[int], None]) -> Callable[[], float]:
        numbers = itertools.count()
        return lambda: seconds(lambda: step(next(numbers)), device)

    steps = {v: turns(stepper(get_config(profile, v), clips, read)) for v in variants}
    return {v: statistics.median(times) for v, times in alternate(steps, repeats).items()}


def reader(clips: Sequence[Clip], config: Config) -> Callable[[Pick], Window]:
    """What turns a drawn window into tensors: kept conv4 maps or images."""
    if config.source.format != "minivid" or config.train.frozen < 4:
        return partial(image_window, clips)
    model = build_model(config)
    maps = torch.cat([clip_maps(model, clip) for clip in clips]).half()
    maps = torch.stack([maps, maps])  # plain and flipped
    size = tuple(clips[0].frame(0).shape[-2:])
    return partial(map_window, clips, maps, first_rows(clips), size, None)


def stepper(config: Config, clips: Sequence[Clip], read: Callable[[Pick], Window]
            ) -> Callable[[int], None]:
    """A function that does one training step of a variant."""
    group, recipe = Group(device=choose_device()), config.train
    model = build_model(config).to(group.device).train()
    freeze_batch_norms(model)
    for stage in model.backbone.c4_modules()[: recipe.frozen]:
        stage.requires_grad_(False)
    optimizer = make_optimizer(model, recipe)
    feed = Feed(clips, recipe, recipe.supports if config.levels.temporal else 0, 0, read,
                sample=model.sample)

    def step(number: int) -> None:
        train_step(model, feed[number].batches, optimizer, recipe, number, group=group)

    return step
