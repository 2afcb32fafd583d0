"""RoIs of a window, and which of them a detection was made of (Sec. IV-B)."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Proposals:
    """RoIs of one window: the reference's (N, .) and the supports' (M, .), features, boxes, ids.

    counts: how many of the supports each frame has, in their order: best first in a frame.
    """

    a: Tensor
    boxes: Tensor
    objectness: Tensor
    ids: Tensor | None
    s: Tensor
    support_boxes: Tensor
    support_ids: Tensor | None
    counts: list[int] = field(default_factory=list)


def rows_of(scores: Tensor, labels: Tensor, shares: Tensor) -> Tensor:
    """Which proposal each detection (D,), (D,) was made of, (D,): the one whose share of that class
    is its score; shares (N, classes + 1)."""
    return (shares[:, labels] - scores).abs().argmin(0) if len(shares) else labels
