"""One update of the weights: schedule, losses, gradients of one or more forward passes, optimiser
(Sec. IV-C).
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from mstlib.config import MSTError, TrainConfig
from mstlib.distributed import ALONE, Group
from mstlib.model.detector import MST
from mstlib.model.losses import losses_of
from mstlib.training.batches import Batch, step_seed

GAUGES = ("offset", "drift")  # logged, not minimised
DRIFT_LIMIT = 3.0  # |F'-F| / |F| at which what DAlign adds has run away: it buries F; a DAlign that
                   # takes F's place has a scale of its own and no limit
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class BadStep(MSTError):
    """A step that must not be taken; carries the batch at fault and its losses."""

    def __init__(self, text: str, batch: Batch, losses: dict[str, float]):
        super().__init__(text)
        self.batch, self.losses = batch, losses


def learning_rate(step: int, recipe: TrainConfig) -> float:
    """Linear warm-up, then x0.1 at the given shares of the steps (Sec. IV-C, scaled down)."""
    warm = min(1.0, (step + 1) / max(1, recipe.warmup))
    return recipe.lr * warm * 0.1 ** sum(step >= at * recipe.steps for at in recipe.decay_at)


def make_optimizer(model: MST, recipe: TrainConfig) -> torch.optim.Optimizer:
    """SGD (or AdamW) over what is trained, one group a module with its own multiplier of the
    rate."""
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            scale = next((s for key, s in recipe.lr_scale.items() if name.startswith(key)), 1.0)
            groups.setdefault(scale, []).append(parameter)
    groups = [{"params": p, "scale": s} for s, p in groups.items()]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, recipe.lr, weight_decay=recipe.weight_decay)
    raise MSTError(f"unknown optimizer '{recipe.optimizer}'; choose sgd or adamw")


def make_scaler(recipe: TrainConfig, device: torch.device) -> torch.amp.GradScaler:
    """The loss scaler that float16 needs, switched off for other precisions; MSTError if the
    precision is unknown or the device cannot do it."""
    if recipe.precision not in PRECISIONS:
        raise MSTError(f"unknown precision '{recipe.precision}'; choose {', '.join(PRECISIONS)}")
    half = recipe.precision == "float16"
    if half and device.type != "cuda":
        raise MSTError("precision float16 needs a GPU; use bfloat16 or float32 on the CPU")
    return torch.amp.GradScaler(device.type, enabled=half)


class WindowLosses(nn.Module):
    """The losses of a batch as a module's forward pass: what DistributedDataParallel can wrap.

    Autocast is on for the backbone's convolutions, nearly all of the work at paper scale. What
    follows them stays in float32: sampling positions, logarithms, box coding, losses.
    """

    def __init__(self, model: MST, precision: str = "float32"):
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of `losses_of`, from images or from kept conv4 maps.

        With maps that are not finite DAlign could not look up anything: one loss that is not
        finite, with a gradient for all that learns, since other processes wait for it.
        """
        windows, half = batch.windows, nullcontext
        if self.precision != "float32":
            half = partial(torch.autocast, windows.device.type, PRECISIONS[self.precision])
        if windows.dtype == torch.uint8:
            with half():
                windows = self.model.c4(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
        if not torch.isfinite(windows).all():
            return {"maps": sum(p.sum() for p in learning(self.model)) * float("nan")}
        return losses_of(self.model, windows.float(), batch.size, batch.targets, half)


def learning(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained."""
    return [p for p in model.parameters() if p.requires_grad]


def total(losses: dict[str, Tensor], recipe: TrainConfig) -> Tensor:
    """The weighted sum of the losses."""
    weights = {"motion": recipe.motion_loss, "identity": recipe.identity_loss}
    return sum(weights.get(name, 1.0) * loss for name, loss in losses.items() if name not in GAUGES)


def train_step(model: MST, batches: Sequence[Batch], optimizer: torch.optim.Optimizer,
               recipe: TrainConfig, step: int, seed: int = 0, losses: nn.Module | None = None,
               scaler: torch.amp.GradScaler | None = None, group: Group = ALONE,
               keep: Callable[[BadStep], MSTError] = lambda bad: bad) -> dict[str, float]:
    """One update by the mean gradient of all forward passes (a batch each) of all processes.

    losses: a `WindowLosses`, as `Group.shared` gives it. Returns the mean losses of this process's
    passes as numbers. If a loss or the gradient is not finite or DAlign ran away, on any process,
    all raise MSTError and nothing is updated: what `keep` makes of the BadStep of the process at
    fault. What a pass draws depends on (seed, step, its first window).
    """
    losses = losses or WindowLosses(model, recipe.precision)
    scaler = scaler or make_scaler(recipe, group.device)
    optimizer.zero_grad(set_to_none=True)
    passes, faults = [], []
    most = DRIFT_LIMIT if getattr(model.dalign, "residual", False) else torch.inf
    for batch in batches:
        last = batch is batches[-1]
        with torch.random.fork_rng(devices=[]), group.accumulating(losses, last):
            torch.manual_seed(step_seed(seed, step, batch.first))  # torchvision's samplers draw
            values = losses(batch.to(group.device))                # from the global state
            loss = total(values, recipe) / len(batches)
            scaler.scale(loss).backward()
        passes.append({k: float(v.detach()) for k, v in values.items()})
        faults += fault(step, float(loss.detach()), batch, passes[-1], most)
    group.agree(keep(faults[0]) if faults else None)
    for part in optimizer.param_groups:
        part["lr"] = learning_rate(step, recipe) * part["scale"]
    scaler.unscale_(optimizer)
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm))
    if not norm < torch.inf and not scaler.is_enabled():  # with float16 the scaler skips it
        raise keep(BadStep(f"gradient is not finite at step {step}; try a lower learning rate",
                           batches[-1], passes[-1]))  # the same one on all processes
    scaler.step(optimizer)
    scaler.update()
    return mean(passes) | ({"norm": norm} if norm < torch.inf else {})


def fault(step: int, loss: float, batch: Batch, values: dict[str, float], most: float
          ) -> list[BadStep]:
    """What forbids an update after a forward pass: nothing, or one error; most: DAlign's drift."""
    if not abs(loss) < torch.inf:
        said = ", ".join(f"{k} {v:.3g}" for k, v in values.items())
        return [BadStep(f"loss is not finite at step {step} ({said}); try a lower learning rate",
                        batch, values)]
    if values.get("drift", 0) > most:
        return [BadStep(f"DAlign ran away at step {step}: |F'-F| is {values['drift']:.1f} |F|; "
                        "lower its rate, e.g. train.lr_scale={'dalign': 0.1}", batch, values)]
    return []


def mean(passes: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each loss over the passes that have it."""
    keys = dict.fromkeys(k for values in passes for k in values)
    found = {k: [values[k] for values in passes if k in values] for k in keys}
    return {k: sum(v) / len(v) for k, v in found.items()}
