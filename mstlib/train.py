"""Training: one loop for the single-frame pretraining and for every variant of Table III (Sec.
IV-C).

At `mini` scale the detector is first trained on single frames; each variant, (a) included, then
takes the same number of further steps from there with conv1-4 frozen, whose maps are computed once
and kept (DEVIATIONS.md 3). Every step draws its batch and its random numbers from (seed, step)
alone: a resumed run repeats itself bit by bit.
"""

import csv
import hashlib
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mstlib.batches import Batch, image_batch, kept_maps, map_batch
from mstlib.config import Config, Levels, MSTError, TrainConfig
from mstlib.data.clip import Clip
from mstlib.fileio import write_via
from mstlib.model.backbone import freeze_batch_norms
from mstlib.model.detector import MST, build_model
from mstlib.model.losses import losses_of
from mstlib.progress import progress

GAUGES = ("offset", "drift")  # logged, not minimised
DRIFT_LIMIT = 3.0  # |F'-F| / |F| at which DAlign has run away: it erases what it should align


# ---- the loop ----------------------------------------------------------------------------------


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


def total(losses: dict[str, Tensor], recipe: TrainConfig) -> Tensor:
    """The weighted sum of the losses."""
    weights = {"motion": recipe.motion_loss, "identity": recipe.identity_loss}
    return sum(weights.get(name, 1.0) * loss for name, loss in losses.items() if name not in GAUGES)


def step_seed(seed: int, step: int) -> int:
    """One number for (seed, step); distinct for every step of every seed."""
    return seed * 1_000_003 + step


def train_step(model: MST, batch: Batch, optimizer: torch.optim.Optimizer, recipe: TrainConfig,
               step: int) -> dict[str, float]:
    """One update; returns the losses as numbers. MSTError if a loss is not finite."""
    windows = batch.windows.to(next(model.parameters()).device)
    if windows.dtype == torch.uint8:
        windows = model.c4(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
    losses = losses_of(model, windows, batch.size, batch.targets)
    loss = total(losses, recipe)
    if not torch.isfinite(loss):
        values = ", ".join(f"{k} {float(v.detach()):.3g}" for k, v in losses.items())
        raise MSTError(f"loss is not finite at step {step} ({values}); try a lower train.lr")
    if losses.get("drift", 0) > DRIFT_LIMIT:
        raise MSTError(f"DAlign ran away at step {step}: |F'-F| is {float(losses['drift']):.1f} "
                       f"|F|; lower its rate, e.g. train.lr_scale={{'dalign': 0.1}}")
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, recipe) * group["scale"]
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
    optimizer.step()
    return {k: float(v.detach()) for k, v in losses.items()} | {"norm": float(norm)}


def fit(model: MST, next_batch: Callable[[torch.Generator], Batch], recipe: TrainConfig, seed: int,
        out: Path, text: str, resume: bool = True) -> dict:
    """Train `model` for recipe.steps steps, saving to `out`; returns {"wall_s", "log"}.

    With `resume`, an interrupted run goes on from its last save and ends with the same weights as
    an uninterrupted one; MSTError if `out` holds another run's state. A log of the losses lies
    beside it as CSV.
    """
    run = f"seed {seed}, start {digest(model.state_dict())}, {recipe}"
    optimizer = make_optimizer(model, recipe)
    state = {"step": 0, "wall_s": 0.0, "log": []}
    if resume and out.exists():
        saved = load_state(out)
        if saved["run"] != run:
            raise MSTError(f"{out}: holds another run (settings, seed or start differ); delete it "
                           f"to train anew or choose another place")
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        state = {k: saved[k] for k in state}
    begun, sums = time.monotonic() - state["wall_s"], {}
    first = state["step"]
    for step in progress(range(first, recipe.steps), text, recipe.steps, first):
        generator = torch.Generator().manual_seed(step_seed(seed, step))
        with torch.random.fork_rng(devices=[]):  # torchvision's samplers draw from the global state
            torch.manual_seed(step_seed(seed, step))
            values = train_step(model, next_batch(generator), optimizer, recipe, step)
        for k, v in values.items():
            sums.setdefault(k, []).append(v)
        if (step + 1) % recipe.log_every == 0:
            state["log"].append({"step": step + 1} | {k: sum(v) / len(v) for k, v in sums.items()})
            sums = {}
        state["step"] = step + 1
        if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.steps:
            state["wall_s"] = time.monotonic() - begun
            save_state(out, state | {"run": run, "model": model.state_dict(),
                                     "optimizer": optimizer.state_dict()})
    write_log(out.with_suffix(".csv"), state["log"])
    return state


def digest(tensors: dict[str, Tensor]) -> str:
    """Eight hex digits that tell sets of weights apart."""
    sha = hashlib.sha256()
    for name, tensor in tensors.items():
        sha.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:8]


def write_log(path: Path, log: list[dict[str, float]]) -> None:
    """The training log as CSV; a loss that was absent in a stretch is an empty cell."""
    names = list(dict.fromkeys(k for row in log for k in row))
    with write_via(path) as tmp, tmp.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows({k: round(v, 5) for k, v in row.items()} for row in log)


def save_state(path: Path, state: dict) -> None:
    """A training checkpoint, written whole or not at all."""
    with write_via(path) as tmp:
        try:
            torch.save(state, tmp)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(f"torch could not save ({error})".splitlines()[0]) from error


def load_state(path: Path) -> dict:
    """A training checkpoint, read without executing code; MSTError if missing or damaged."""
    if not path.exists():
        raise MSTError(f"{path}: no such checkpoint; train it first (mst pretrain, mst train)")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise MSTError(f"{path}: not a readable checkpoint ({type(error).__name__}); "
                       f"delete it and train again") from error


# ---- the two trainings -------------------------------------------------------------------------


def pretrain(config: Config, clips: Sequence[Clip], seed: int, out: Path, resume: bool = True
             ) -> dict:
    """Single-frame pretraining of variant (a) from nothing; batch norms learn here only."""
    recipe = config.pretrain  # as the single-frame variant's only training
    model = build_model(replace(config, levels=Levels(), train=recipe), seed)
    model.train()
    return fit(model, lambda g: image_batch(clips, recipe, 0, g), recipe, seed, out,
               f"pretraining, seed {seed}", resume)


def start_from(model: MST, weights: dict[str, Tensor], source: str) -> None:
    """Load what the pretrained detector shares with `model`; its new levels keep their start."""
    own, levels = model.state_dict(), ("dalign.", "frame.", "proposal.", "instance.")
    wrong = [k for k in own if k not in weights and not k.startswith(levels)]
    wrong += [k for k in weights if k not in own or own[k].shape != weights[k].shape]
    if wrong:
        raise MSTError(f"{source}: does not fit this model, first key at fault {wrong[0]}; "
                       f"was it pretrained with other settings or another profile?")
    model.load_state_dict(weights, strict=False)


def train_variant(config: Config, clips: Sequence[Clip], seed: int, init: Path | None, out: Path,
                  resume: bool = True) -> dict:
    """Train the variant `config.levels` from the pretrained detector `init`.

    With train.frozen = 4, conv1-4 stays as it is and its maps are kept beside `init`; without
    it all modules are trained at once, as in the paper. init None: all of it from nothing, batch
    norms too.
    """
    model, recipe = build_model(config, seed), config.train
    supports = recipe.supports if config.levels.temporal else 0
    text = f"{config.profile} training, seed {seed}"
    if (model.dalign or model.instance) and not any((c.target(0).ids >= 0).any() for c in clips):
        warnings.warn("the data has no track ids: DAlign's motion loss and what the instance level "
                      "learns from ids are left out", stacklevel=2)
    model.train()
    if init is not None:
        start_from(model, load_state(init)["model"], str(init))
        freeze_batch_norms(model)
    if init is None or recipe.frozen < 4:
        return fit(model, lambda g: image_batch(clips, recipe, supports, g), recipe, seed, out,
                   text, resume)
    for module in model.backbone.c4_modules():
        module.requires_grad_(False)
    where = init.with_name(f"{init.stem}-{digest(model.backbone.state_dict())}.conv4.npy")
    maps, size = kept_maps(model, clips, where), tuple(clips[0].frame(0).shape[-2:])
    return fit(model, lambda g: map_batch(clips, maps, size, recipe, supports, g), recipe, seed,
               out, text, resume)
