"""The stages of the detector (Fig. 2) as they are measured: calls and parameters of each."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

from mstlib.model.detector import MST

T = TypeVar("T")


@dataclass(frozen=True)
class Stage:
    """calls: dotted names of methods of the model; parameters: how the names of its own begin."""

    calls: tuple[str, ...]
    parameters: tuple[str, ...] = ()


STAGES = {  # in the order of Fig. 2; no call lies inside another one
    "conv1-4": Stage(("c4",), ("backbone.stem", "backbone.conv2", "backbone.conv3",
                               "backbone.conv4")),
    "DAlign, halves": Stage(("dalign.halves",), ("dalign.concat", "dalign.deform1")),
    "DAlign, align": Stage(("dalign.align", "dalign.forward"), (
        "dalign.mix", "dalign.deform2", "dalign.theta", "dalign.offsets", "dalign.expand")),
    "frame level, keys": Stage(("frame.tokens",), ("frame.key", "frame.value")),
    "frame level, attention": Stage(("frame.ask", "frame.forward"), (
        "frame.query", "frame.expand", "frame.sharpness")),
    "RPN": Stage(("rpn.propose",), ("rpn",)),
    "conv5": Stage(("backbone.c5", "reduce.forward"), ("backbone.conv5", "reduce")),
    "RoIAlign, fc": Stage(("roi_features",), ("fc",)),
    "proposal level": Stage(("proposal.supports", "proposal.ask"), ("proposal",)),
    "instance level": Stage(("instance.relation.supports", "instance.ask"), ("instance",)),
    "head, NMS": Stage(("decode",), ("head",)),
}


def stage_parameters(model: nn.Module) -> dict[str, int]:
    """Number of parameters of each stage that the model has."""
    counts = {name: sum(p.numel() for key, p in model.named_parameters()
                        if key.startswith(stage.parameters)) for name, stage in STAGES.items()}
    return {name: n for name, n in counts.items() if n}


@contextmanager
def watched(model: MST, gauge: Callable[[Callable[[], object]], T]) -> Iterator[dict[str, list[T]]]:
    """Inside the context, what `gauge` says of each call of each stage, in a list by stage.

    gauge: calls the function that it is given once and returns what it measured.
    """
    found: dict[str, list[T]] = {}
    undo = []
    for name, stage in STAGES.items():
        for call in stage.calls:
            path, _, method = call.rpartition(".")
            if (owner := part_of(model, path)) is not None:
                undo.append((owner, method, vars(owner).get(method)))
                setattr(owner, method, gauged(getattr(owner, method), gauge, found, name))
    try:
        yield found
    finally:
        for owner, method, before in undo:
            delattr(owner, method) if before is None else setattr(owner, method, before)


def part_of(model: nn.Module, path: str) -> nn.Module | None:
    """The part with a dotted name, the model itself for "", None if it lacks that part."""
    for name in filter(None, path.split(".")):
        model = getattr(model, name, None)
    return model


def gauged(method: Callable, gauge: Callable[[Callable[[], object]], T],
           found: dict[str, list[T]], name: str) -> Callable:
    """The method, whose calls add what `gauge` says of them to `found`."""
    def call(*args, **kwargs):
        result = []
        value = gauge(lambda: result.append(method(*args, **kwargs)))
        found.setdefault(name, []).append(value)
        return result[0]

    return call
