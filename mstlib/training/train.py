"""Training: one loop for the single-frame pretraining and for every variant of Table III (Sec.
IV-C).

At `mini` scale the detector is first trained on single frames; each variant, (a) included, then
takes the same number of further steps from there with conv1-4 frozen, whose maps are computed once
and kept (DEVIATIONS.md 3). Every step draws its windows and its random numbers from (seed, step)
alone: a resumed run repeats itself bit by bit. loader.py brings the data, update.py takes a step,
state.py saves and goes on, trainlog.py keeps the log, `mstlib.distributed` joins processes.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from mstlib.config import Config, Levels, MSTError, TrainConfig
from mstlib.data.clip import Clip
from mstlib.data.dataset import BadFile
from mstlib.distributed import explained, processes, say, sigterm, warn
from mstlib.model.detector import MST, build_model
from mstlib.progress import progress
from mstlib.training.batches import (
    Pick,
    Window,
    first_rows,
    image_window,
    kept_maps,
    map_window,
    reference_ends,
    references_of,
)
from mstlib.training.loader import Feed, Step, steps
from mstlib.training.start import start_from
from mstlib.training.state import Training, digest, facts, save_bad_batch
from mstlib.training.trainlog import SlowData, board
from mstlib.training.update import BadStep, WindowLosses, make_optimizer, make_scaler, train_step


@dataclass(frozen=True)
class How:
    """How a training runs on its machine; nothing here decides what is learnt.

    workers: processes of the loader, for each training process. skip_bad: unreadable files are
    counted and other windows drawn. tensorboard: folder for its events. device: auto, cpu or cuda.
    """

    workers: int = 0
    skip_bad: bool = False
    tensorboard: Path | None = None
    device: str = "cpu"


PLAINLY = How()


class Stopped(MSTError):
    """The training was asked to stop (SIGTERM) and has saved its state."""

    exit_code = 143  # 128 + SIGTERM, as shells count


# ---- the loop ----------------------------------------------------------------------------------


def fit(model: MST, feed: Feed, out: Path, text: str, how: How = PLAINLY) -> dict:
    """Train `model` on the steps of `feed`, saving to `out`; returns {"step", "wall_s", "log"}.

    An interrupted run goes on from its last save and ends with the same weights as an uninterrupted
    one. MSTError if `out` holds another run's state, a file is at fault or a step must not be
    taken; Stopped after SIGTERM. A log of the losses lies beside `out` as CSV.
    """
    recipe, run = feed.recipe, facts(model, feed)
    with processes(how.device) as group, explained(), sigterm() as asked:
        feed, model = feed.share(group.rank, group.world), model.to(group.device)
        optimizer, scaler = make_optimizer(model, recipe), make_scaler(recipe, group.device)
        training = Training(run, out, group, model, optimizer, scaler)
        training.resume()
        losses = group.shared(WindowLosses(model, recipe.precision), model.levels.temporal)
        writer = board(None if group.rank else how.tensorboard, training.step)
        numbers = range(training.step, recipe.steps)
        with closing(steps(feed, numbers, how.workers)) as data:
            shown = data if group.rank else progress(data, text, recipe.steps, training.step)
            take_all(training, shown, losses, feed, writer, how.workers, asked)
        say(training.log.bad_lines())
    return {"step": training.step, "wall_s": training.wall_s, "log": training.log.rows}


def take_all(training: Training, data: Iterable[Step | MSTError], losses: torch.nn.Module,
             feed: Feed, writer: object, workers: int, asked: threading.Event) -> None:
    """Take every step of `data`, log and save when it is time; asked: set by SIGTERM."""
    recipe, group = feed.recipe, training.group
    begun, mark, slow = time.monotonic() - training.wall_s, time.monotonic(), SlowData()
    for item in data:
        waited = time.monotonic() - mark
        go_on(training, item, asked.is_set(), recipe.steps)
        values = take(training, item, losses, feed)
        spent, training.wall_s = time.monotonic() - mark, time.monotonic() - begun
        training.log.add(values, item, waited, spent, workers)
        slow.add(waited, spent)
        if training.step % recipe.log_every == 0:
            training.log.close_row(training.step, group, writer)
        if training.step % recipe.save_every == 0 or training.step == recipe.steps:
            training.save()
        mark = time.monotonic()


def go_on(training: Training, item: Step | MSTError, asked: bool, steps: int) -> None:
    """Returns if no process is asked to stop and all have their data; otherwise all raise."""
    stop, failed = training.group.any(asked, isinstance(item, MSTError))
    if stop:
        training.save()
        raise Stopped(f"stopped by SIGTERM after step {training.step} of {steps}; {training.out} "
                      "holds the state, and the same command goes on from there")
    if failed:
        training.group.agree(item if isinstance(item, MSTError) else None)


def take(training: Training, item: Step, losses: torch.nn.Module, feed: Feed) -> dict[str, float]:
    """The next step; MSTError naming the file that keeps its batch if it must not be taken."""
    now = training

    def keep(bad: BadStep) -> MSTError:
        path = save_bad_batch(now.out, now.step, bad.batch, bad.losses, now.group.rank)
        return MSTError(f"{bad}; its batch is kept in {path}")

    values = train_step(now.model, item.batches, now.optimizer, feed.recipe, now.step, feed.seed,
                        losses, now.scaler, now.group, keep)
    now.step += 1
    return values


# ---- the two trainings -------------------------------------------------------------------------


def pretrain(config: Config, clips: Sequence[Clip], seed: int, out: Path, how: How = PLAINLY
             ) -> dict:
    """Single-frame pretraining of variant (a), from nothing or from published backbone weights;
    only without those its batch norms learn."""
    recipe = config.pretrain  # as the single-frame variant's only training
    model = build_model(replace(config, levels=Levels(), train=recipe), seed).train()
    start_from(model, None, recipe)
    read = partial(image_window, clips)
    return fit(model, feed_of(config, clips, recipe, 0, seed, read, how), out,
               f"pretraining, seed {seed}", how)


def train_variant(config: Config, clips: Sequence[Clip], seed: int, init: Path | None, out: Path,
                  how: How = PLAINLY) -> dict:
    """Train the variant `config.levels` from the detector `init`, a training state (.pt) or
    exported weights (.safetensors).

    With train.frozen = 4, conv1-4 stays as it is; on generated data its maps are then computed once
    and kept beside `init` (those of a large data set would not fit). Where nothing is loaded,
    neither `init` nor backbone weights, nothing is frozen and batch norms learn too.
    """
    model, recipe = build_model(config, seed).train(), config.train
    warn_without_ids(model, clips)
    start_from(model, init, recipe)
    read = partial(image_window, clips)
    if init and recipe.frozen >= 4 and config.generated:
        where = init.with_name(f"{init.stem}-{digest(model.backbone.state_dict())}.conv4.npy")
        maps, size = kept_maps(model, clips, where), tuple(clips[0].frame(0).shape[-2:])
        read = partial(map_window, clips, maps, first_rows(clips), size, model.carrier())
    supports = recipe.supports if config.levels.temporal else 0
    feed = replace(feed_of(config, clips, recipe, supports, seed, read, how), sample=model.sample)
    return fit(model, feed, out, f"{config.profile} training, seed {seed}", how)


def feed_of(config: Config, clips: Sequence[Clip], recipe: TrainConfig, supports: int, seed: int,
            read: Callable[[Pick], Window], how: How) -> Feed:
    """The windows of a training. MiniVID draws clips evenly, other data their references: clips
    there differ in length, down to still images."""
    ends = None if config.generated else reference_ends(clips)
    return Feed(clips, recipe, supports, seed, read, ends, how.skip_bad)


def warn_without_ids(model: MST, clips: Sequence[Clip]) -> None:
    """One warning if the data has no track ids and the model would learn from them."""
    if model.dalign or model.instance:
        told = set(map(has_ids, clips[::1 + len(clips) // 100]))
        if False in told and True not in told:
            warn("the data has no track ids: DAlign's motion loss and what the instance level "
                 "learns from ids are left out")


def has_ids(clip: Clip) -> bool | None:
    """Do the objects of a clip have track ids? By a few references; None if none shows an object,
    or can be read."""
    references = references_of(clip)
    for t in references[:: 1 + len(references) // 5]:
        try:
            ids = clip.target(t).ids
        except BadFile:
            continue
        if len(ids):
            return bool((ids >= 0).any())
    return None
