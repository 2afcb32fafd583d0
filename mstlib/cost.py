"""What the parts cost: parameters, and the time of a training step of each variant.

Times are compared as ratios, measured in turn in one process: single times drift with the machine's
load.
"""

import statistics
import time
from collections.abc import Sequence

import torch

from mstlib.batches import map_batch
from mstlib.config import VARIANTS, Config
from mstlib.data.clip import Clip
from mstlib.model.backbone import freeze_batch_norms
from mstlib.model.detector import MST, build_model
from mstlib.profiles import get_config
from mstlib.stream import clip_maps
from mstlib.train import make_optimizer, train_step


def parameters(model: MST) -> dict[str, int]:
    """Number of parameters of each part of a model, and in all."""
    counts = {name: sum(p.numel() for p in part.parameters())
              for name, part in model.named_children() if part is not None}
    counts = {name: n for name, n in counts.items() if n}
    return counts | {"all": sum(counts.values())}


def step_seconds(clips: Sequence[Clip], profile: str = "mini", repeats: int = 9,
                 variants: Sequence[str] = tuple(VARIANTS)) -> dict[str, float]:
    """Median seconds of a training step (batch, losses, gradients, update) of each variant.

    conv1-4 is frozen and its maps are kept, as in training; the variants take turns.
    """
    first = build_model(get_config(profile))
    maps = torch.cat([clip_maps(first, clip) for clip in clips]).half()
    maps = torch.stack([maps, maps])  # plain and flipped
    size = tuple(clips[0].frame(0).shape[-2:])
    steps = {v: _stepper(get_config(profile, v), clips, maps, size) for v in variants}
    seconds: dict[str, list[float]] = {v: [] for v in variants}
    for number in range(repeats + 1):
        for v, step in steps.items():
            begun = time.perf_counter()
            step(number)
            if number:  # the first round warms up
                seconds[v].append(time.perf_counter() - begun)
    return {v: statistics.median(s) for v, s in seconds.items()}


def _stepper(config: Config, clips: Sequence[Clip], maps: torch.Tensor, size: tuple[int, int]):
    """A function that does one training step of a variant."""
    model, recipe = build_model(config), config.train
    model.train()
    freeze_batch_norms(model)
    for module in model.backbone.c4_modules():
        module.requires_grad_(False)
    optimizer = make_optimizer(model, recipe)
    supports = recipe.supports if config.levels.temporal else 0

    def step(number: int) -> None:
        generator = torch.Generator().manual_seed(number)
        batch = map_batch(clips, maps, size, recipe, supports, generator)
        train_step(model, batch, optimizer, recipe, number)

    return step


