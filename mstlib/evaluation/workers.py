"""Work shared by several processes of this machine, in order."""

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import torch

from mstlib.config import MSTError

T, R = TypeVar("T"), TypeVar("R")


def share(function: Callable[[T], R], items: Sequence[T], jobs: int) -> Iterator[R]:
    """function(item) for every item, in order, computed by `jobs` processes; 1: by this one.

    MSTError if a process dies, which is what a lack of memory looks like.
    """
    if jobs <= 1 or len(items) <= 1:
        yield from map(function, items)
        return
    # A forked worker shares the memory of `function`, other systems cannot fork safely.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    workers = ProcessPoolExecutor(min(jobs, len(items)), context, _prepare, (function,))
    try:
        yield from workers.map(_call, items)
    except BrokenProcessPool:
        raise MSTError(f"one of {jobs} processes ended early, perhaps for lack of memory; use "
                       "fewer jobs") from None
    finally:
        workers.shutdown(cancel_futures=True)


def _prepare(function: Callable) -> None:
    """Make a worker ready: its function, and one thread, since the processes share the cores."""
    global _function
    torch.set_num_threads(1)
    _function = function


def _call(item):
    return _function(item)
