"""Several processes that train one model, one GPU each, on one or many nodes (Sec. IV-C trains on
four GPUs, one clip each).

`torchrun` starts the processes and ends all of them when one fails; DistributedDataParallel makes
their gradients one. A training that nobody launched so is a group of one.
"""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mstlib.config import MSTError

LOST = ("Connection closed", "Connection reset", "Broken pipe", "gloo", "NCCL", "Timed out")


@dataclass(frozen=True)
class Group:
    """The processes of a training as one of them sees it: the rank-th of `world`, on `device`."""

    rank: int = 0
    world: int = 1
    device: torch.device = torch.device("cpu")

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is up on any process: what all must decide alike."""
        if self.world == 1:
            return flags
        votes = torch.tensor(flags, dtype=torch.int32, device=self.device)
        dist.all_reduce(votes, dist.ReduceOp.MAX)
        return tuple(bool(vote) for vote in votes.tolist())

    def agree(self, error: MSTError | None = None) -> None:
        """All processes go on, or all raise: their own error, or else that of another one.

        Whichever of them torchrun lets speak, the reason is said.
        """
        if any(self.any(error is not None)):
            said = self.gather(error and f"process {self.rank}: {error}")
            raise error or MSTError(next(filter(None, said)))

    def gather(self, value: object) -> list:
        """The plain value of every process, in the order of their ranks."""
        if self.world == 1:
            return [value]
        values = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def shared(self, module: nn.Module, idle: bool = True) -> nn.Module:
        """`module` with gradients that are the mean over all processes.

        idle: a batch may leave parts of it without work on some process, as the levels are where
        there are no proposals or no ids; torch then looks for them at every step.
        """
        if self.world == 1:
            return module
        return DistributedDataParallel(module, find_unused_parameters=idle)

    def accumulating(self, module: nn.Module, last: bool) -> AbstractContextManager:
        """Around a forward and backward pass; gradients are exchanged in the `last` one only."""
        return nullcontext() if self.world == 1 or last else module.no_sync()


ALONE = Group()


def rank() -> int:
    """The number of this process among those that torchrun started; 0 without torchrun.

    Number 0 alone writes files and speaks.
    """
    return int(os.environ.get("RANK", 0))


def warn(text: str) -> None:
    """One warning, not one of every process."""
    if rank() == 0:
        warnings.warn(text, stacklevel=3)


def say(lines: Iterable[str]) -> None:
    """Lines on stderr, once."""
    for line in lines if rank() == 0 else ():
        print(line, file=sys.stderr)


def choose_device(name: str = "auto") -> torch.device:
    """cpu, cuda (this process's own GPU) or auto (cuda where there is one); MSTError if not to be
    had."""
    if name not in ("auto", "cpu", "cuda"):
        raise MSTError(f"unknown device '{name}'; choose auto, cpu or cuda")
    if name == "cpu" or name == "auto" and not torch.cuda.is_available():
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise MSTError("no GPU that torch can use; train with --device cpu")
    number, count = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if number >= count:
        raise MSTError(f"{number + 1} processes on a node with {count} GPUs; start torchrun with "
                       f"--nproc-per-node {count}")
    return torch.device("cuda", number)


@contextmanager
def processes(device_name: str = "auto") -> Iterator[Group]:
    """Join the processes that torchrun started (nccl on GPUs, gloo on CPUs), or be alone.

    A process that meets the end of another raises one MSTError.
    """
    device, world = choose_device(device_name), int(os.environ.get("WORLD_SIZE", 1))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world == 1:
        yield Group(device=device)
        return
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        yield Group(dist.get_rank(), world, device)
        dist.destroy_process_group()  # not after an error: it might wait for who is gone
    except RuntimeError as error:
        if any(words in str(error) for words in LOST):
            raise MSTError("another process of this training is gone; look above or in its node's "
                           "log for the reason") from error
        raise


@contextmanager
def sigterm() -> Iterator[threading.Event]:
    """Note a SIGTERM, a cluster's notice that time is up, instead of dying of it."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # only that one gets signals
        yield asked
        return
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def explained() -> Iterator[None]:
    """Errors of torch that the user can mend, in one line."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MSTError("the GPU's memory does not hold a forward pass; try --set train.forward=1, "
                       "train.precision=bfloat16 or a smaller source.short_side") from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise MSTError("a worker of the loader was killed (is the memory, or /dev/shm, full?); "
                       "try fewer --workers") from error
