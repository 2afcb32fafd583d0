"""The loader: steps of a training read ahead by worker processes.

What a step holds is drawn from (seed, step) alone, so neither the number of workers nor that of
training processes changes it, and a resumed training asks for the next step by its number. Process
r of W takes windows r, r + W, ... of each step. Not part of the paper.
"""

import contextlib
import hashlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mstlib.config import MSTError, TrainConfig
from mstlib.data.clip import Clip, Target, sample_supports
from mstlib.data.dataset import BadFile
from mstlib.training.batches import (
    Batch,
    Pick,
    Sampler,
    Window,
    collate,
    draw,
    references_of,
    step_seed,
)

TRIES = 100  # windows drawn in place of an unreadable one before the data is given up


@dataclass
class Step:
    """What one process trains on in one step: a batch for each forward pass.

    frames: how many were read, in `seconds`; bad: one line for each window that could not be read.
    """

    batches: list[Batch]
    frames: int
    seconds: float
    bad: list[str]


@dataclass(frozen=True)
class Feed:
    """Where a training takes its windows from, and which share of them this process takes.

    read: turns a pick into tensors. ends, sample: see `batches.draw`. skip_bad: an unreadable file
    is counted and another window drawn, instead of the training ending.
    """

    clips: Sequence[Clip]
    recipe: TrainConfig
    supports: int
    seed: int
    read: Callable[[Pick], Window]
    ends: Tensor | None = None
    skip_bad: bool = False
    rank: int = 0
    world: int = 1
    sample: Sampler = sample_supports

    def share(self, rank: int, world: int) -> "Feed":
        """The part of process `rank` of `world`; MSTError unless all get equal parts."""
        batch, forward = self.recipe.batch, self.recipe.forward
        if batch % world or forward and batch // world % forward:
            raise MSTError(
                f"a batch of {batch} clips cannot be divided evenly by {world} processes"
                + (f" with {forward} clips a forward pass" if forward else "")
                + "; change it, e.g. --set train.batch=" + str(world * max(1, forward)))
        return replace(self, rank=rank, world=world)

    def digest(self) -> str:
        """Eight hex digits that tell sets of clips apart: by their names and lengths, and by the
        boxes in the first reference of a hundred of them."""
        sha = hashlib.sha256("\n".join(f"{c.name} {len(c)}" for c in self.clips).encode())
        for clip in self.clips[::1 + len(self.clips) // 100]:
            for t in references_of(clip)[:1]:
                with contextlib.suppress(BadFile):  # for the training to complain of
                    sha.update(clip.target(t).boxes.numpy().tobytes())
        return sha.hexdigest()[:8]

    def __getitem__(self, step: int) -> Step:
        """All that this process needs for a step; BadFile or MSTError if a file is at fault."""
        begun = time.perf_counter()
        generator = torch.Generator().manual_seed(step_seed(self.seed, step))
        picks = draw(self.clips, self.recipe, self.supports, generator, self.ends, self.sample)
        mine, bad, windows = range(self.rank, self.recipe.batch, self.world), [], []
        for k in mine:
            window, picks[k] = self.window(step, k, picks[k], bad)
            windows.append(window)
        size = self.recipe.forward or len(mine)
        parts = [slice(i, i + size) for i in range(0, len(mine), size)]
        batches = [collate(windows[part], self.clips, [picks[k] for k in mine[part]],
                           mine[part][0]) for part in parts]
        frames = sum(len(set(picks[k][1])) for k in mine)
        return Step(batches, frames, time.perf_counter() - begun, bad)

    def window(self, step: int, k: int, pick: Pick, bad: list[str]) -> tuple[Window, Pick]:
        """Window k of a step and its pick: the drawn one or, where files are bad and may be
        skipped, the first readable one of a sequence that belongs to (seed, step, k)."""
        spare = torch.Generator().manual_seed(step_seed(self.seed, step, self.recipe.batch + k))
        for _ in range(TRIES):
            try:
                return self.read(pick), pick
            except BadFile as error:
                if not self.skip_bad:
                    raise BadFile(f"{error}; or leave out what cannot be read: --skip-bad"
                                  ) from error
                bad.append(str(error))
                one = replace(self.recipe, batch=1)
                pick = draw(self.clips, one, self.supports, spare, self.ends, self.sample)[0]
        raise MSTError(f"{TRIES} windows in a row could not be read, the last: {bad[-1]}")


def steps(feed: Feed, numbers: range, workers: int = 0) -> Iterator[Step | MSTError]:
    """The steps of a training in their order, read ahead by `workers` processes (0: when asked).

    A file at fault ends the sequence with the MSTError as its last item: the caller may have other
    processes to tell before it raises.
    """
    source = read_ahead(feed, numbers, workers) if workers else (attempt(feed, n) for n in numbers)
    with contextlib.closing(source):
        for item in source:
            yield item
            if isinstance(item, MSTError):
                return


def read_ahead(feed: Feed, numbers: range, workers: int) -> Iterator[Step | MSTError]:
    """The steps from worker processes, which end when this is closed or raises."""
    loader = iter(DataLoader(
        Packing(feed), batch_size=None, sampler=numbers, num_workers=workers, collate_fn=as_it_is,
        worker_init_fn=ignore_sigterm, generator=torch.Generator()))
    try:
        yield from map(unpack, loader)
    finally:  # not left to Python's exit, which would wait for ever: its SIGTERM is ignored
        loader._shutdown_workers()


def attempt(feed: Feed, number: int) -> Step | MSTError:
    """A step, or the error as a value: raised in a worker it would arrive as a traceback."""
    try:
        return feed[number]
    except MSTError as error:
        return error


# ---- between processes -------------------------------------------------------------------------


@dataclass(frozen=True)
class Packing:
    """What a worker process runs."""

    feed: Feed

    def __getitem__(self, step: int) -> tuple | MSTError:
        return pack(attempt(self.feed, step))


def pack(step: Step | MSTError) -> tuple | MSTError:
    """All windows of a step as ONE tensor, targets as arrays: every tensor that crosses to another
    process costs it an open file, and those are limited."""
    if isinstance(step, MSTError):
        return step
    shapes = [batch.windows.shape for batch in step.batches]
    values = torch.cat([batch.windows.flatten() for batch in step.batches])
    arrays = [[[[getattr(t, f.name).numpy() for f in fields(Target)] for t in window]
               for window in batch.targets] for batch in step.batches]
    bare = [replace(batch, windows=None, targets=None) for batch in step.batches]
    return replace(step, batches=bare), values, shapes, arrays


def unpack(packed: tuple | MSTError) -> Step | MSTError:
    """The inverse of `pack`."""
    if isinstance(packed, MSTError):
        return packed
    step, values, shapes, arrays = packed
    parts = values.split([shape.numel() for shape in shapes])
    batches = [
        replace(batch, windows=part.view(shape),
                targets=[[Target(*map(torch.from_numpy, t)) for t in window] for window in targets])
        for batch, part, shape, targets in zip(step.batches, parts, shapes, arrays, strict=True)]
    return replace(step, batches=batches)


def as_it_is(item: object) -> object:
    """No collation: a step is complete."""
    return item


def ignore_sigterm(_: int) -> None:
    """Workers outlive the SIGTERM that a cluster sends to all processes: the training ends its
    step, saves and stops them."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
