"""Measuring: times by turns, medians and quartiles, ratios, peak memory. Not part of the paper.

Single times drift with the machine's load, so whatever is compared takes turns in one process and
is compared round by round. Notebook 10 walks through it.
"""

import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

T = TypeVar("T")
LEAST = 3  # rounds, however long they take


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was told to; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, until the device is idle."""
    synchronise(device)
    begun = time.perf_counter()
    function()
    synchronise(device)
    return time.perf_counter() - begun


def alternate(functions: Mapping[str, Callable[[], T]], repeats: int, budget: float = np.inf,
              warm: bool = True) -> dict[str, list[T]]:
    """What the functions return, round by round: in each round each takes its turn, every other
    round backwards, so that none always follows the same one.

    With `warm` a first round is left out. No round is begun after `budget` seconds, but there are
    `LEAST` at least (or `repeats`, if that is fewer).
    """
    found: dict[str, list[T]] = {name: [] for name in functions}
    for function in functions.values() if warm else ():
        function()
    begun = time.perf_counter()
    for number in range(repeats):
        if number >= LEAST and time.perf_counter() - begun > budget:
            break
        turns = list(functions)[:: -1 if number % 2 else 1]
        for name in turns:
            found[name].append(functions[name]())
    return found


def spread(values: Sequence[float], factor: float = 1.0) -> dict[str, float | int]:
    """Median, quartiles (linear interpolation) and number of values, times `factor`, rounded to
    four digits."""
    low, middle, high = (factor * np.quantile(values, q) for q in (0.25, 0.5, 0.75))
    return {"median": digits(middle), "q1": digits(low), "q3": digits(high), "rounds": len(values)}


def digits(value: float, count: int = 4) -> float:
    """A number rounded to `count` significant digits."""
    return float(f"{value:.{count}g}")


def ratio(slow: Sequence[float], fast: Sequence[float]) -> dict[str, float | int]:
    """How many times longer `slow` takes than `fast`, of turns in the same round."""
    return spread([a / b for a, b in zip(slow, fast, strict=True)])


# ---- memory ------------------------------------------------------------------------------------


def peak_bytes(function: Callable[[], object], device: torch.device) -> int:
    """Most bytes that a call holds at once beyond what was there before it.

    On a GPU as its allocator counts them, work space of the kernels included. On a CPU the tensors
    that operations return are added up (`LiveTensors`); what a kernel needs inside is not seen.
    """
    if device.type == "cuda":
        synchronise(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        synchronise(device)
        return torch.cuda.max_memory_allocated(device) - before
    with LiveTensors() as live:
        function()
    return live.peak


class LiveTensors(TorchDispatchMode):
    """Bytes of the tensors made inside the context that are still alive, and their peak.

    A view adds nothing, nor does an operation that writes into its input.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak = 0, 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is not torch.ops.prim.device.default:
            with self:  # inference mode hands over whole layers: look inside
                result = function.decompose(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        result = function(*args, **(kwargs or {}))
        given = {id(s) for s in storages((args, kwargs))}
        for storage in storages(result):
            if id(storage) not in given | self.known:
                self.add(storage)
        return result

    def add(self, storage: torch.UntypedStorage) -> None:
        """A storage that has just been made."""
        size, key = storage.nbytes(), id(storage)
        self.known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.remove, key, size)

    def remove(self, key: int, size: int) -> None:
        """A storage is gone."""
        self.known.discard(key)
        self.now -= size


def storages(tree: object) -> list[torch.UntypedStorage]:
    """Of the tensors in nested tuples, lists and dicts."""
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
