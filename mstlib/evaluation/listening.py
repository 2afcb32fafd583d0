"""Whom a proposal listens to: attention weights by what the supports show, from a trace.

The ground truth is asked only to say what a support proposal shows; no detector sees it. Notebooks
04 to 06.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

from mstlib.data.clip import Target
from mstlib.evaluation.story import SAME
from mstlib.model.trace import Trace

KINDS = ("same object", "same class", "other object", "background")


def shown_objects(boxes: Tensor, target: Target) -> Tensor:
    """Which object each box (n, 4) shows: (n,) its row in `target`, -1 for none (IoU < 0.5)."""
    if not len(target.boxes):
        return torch.full((len(boxes),), -1)
    best, row = box_iou(boxes, target.boxes).max(1)
    return torch.where(best >= SAME, row, -1)


def shown_ids(boxes: Tensor, target: Target) -> Tensor:
    """The track id that each box (n, 4) shows, -1 for none."""
    rows = shown_objects(boxes, target)
    ids = torch.cat([target.ids, torch.tensor([-1])])
    return ids[rows]  # row -1 is the last


def support_ids(trace: Trace, targets: Sequence[Target]) -> Tensor:
    """The track id that each support proposal of a window shows, (M,), -1 for none; targets: of the
    window's frames, reference first."""
    return torch.cat([shown_ids(trace.supports[trace.support_frame == f], target)
                      for f, target in enumerate(targets)])


def support_kinds(trace: Trace, targets: Sequence[Target], track: int) -> Tensor:
    """What each support proposal of a window is to one object, (M,): an index of `KINDS`."""
    classes = {int(i): int(c) for t in targets for i, c in zip(t.ids, t.labels, strict=True)}
    kinds = [0 if i == track else 3 if i < 0 else 1 if classes[i] == classes.get(track) else 2
             for i in support_ids(trace, targets).tolist()]
    return torch.tensor(kinds)


def mass_by_kind(weights: Tensor, kinds: Tensor) -> dict[str, float]:
    """How much of a proposal's attention (M,) goes to each of `KINDS`; adds up to 1."""
    return {name: float(weights[kinds == k].sum()) for k, name in enumerate(KINDS)}


def best_proposal(trace: Trace, target: Target, track: int) -> int:
    """The reference proposal that shows an object best, by IoU."""
    (row,) = (target.ids == track).nonzero().flatten().tolist()
    return int(box_iou(trace.proposals[0], target.boxes[row][None]).argmax())
