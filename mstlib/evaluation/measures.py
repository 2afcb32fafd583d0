"""What the parts of a model do inside: how many objects the RPN proposes, where DAlign looks."""

import math
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray as Array
from torch import Tensor
from torchvision.ops import box_iou

from mstlib.config import MSTError
from mstlib.data.clip import Clip, Target
from mstlib.evaluation.alignment import alignment_error
from mstlib.evaluation.columns import Targets, check_lengths, to_numpy
from mstlib.evaluation.evaluate import slice_masks
from mstlib.evaluation.precision import check_mask
from mstlib.model.detector import MST
from mstlib.stream import propose_clip


def measures(model: MST, clips: Sequence[Clip], truth: list[list],
             proposals: list[list[Tensor]] | None = None, every: int = 3) -> dict:
    """What the parts do inside: RPN recall by slice, and DAlign's offsets against the true motion.

    Recall counts on all clips, alignment on every third. proposals: of each frame of each clip,
    where they are known already.
    """
    if proposals is None:
        proposals = [propose_clip(model, clip, model.config.test) for clip in clips]
    recall = {name: proposal_recall(proposals, truth, frames=mask)
              for name, mask in slice_masks(truth).items()}
    recall = {name: None if math.isnan(r) else round(r, 4) for name, r in recall.items()}
    out = {"rpn_recall": recall, "proposals": model.model_config.reference_proposals}
    if model.dalign and hasattr(clips[0], "true_motion"):  # MiniVID knows it
        out["alignment"] = alignment_error(model, clips[::every])
    return out


def proposal_recall(
    proposals: Sequence[Sequence[Tensor]],
    targets: Targets,
    iou: float = 0.5,
    frames: Array | None = None,
) -> float:
    """Share 0..1 of objects that some proposal (n, 4) of their frame overlaps with IoU >= `iou`.

    Classes are ignored; continuous coordinates, as the RPN is trained. NaN without objects.
    """
    check_lengths(proposals, targets)
    mask = check_mask(frames, sum(len(clip) for clip in targets))
    flat = zip(chain(*proposals), chain(*targets), mask, strict=True)
    best = [_best_iou(boxes, target) for boxes, target, kept in flat if kept]
    best = np.concatenate([np.zeros(0), *best])  # (objects,)
    return (best >= iou).mean().item() if len(best) else float("nan")


def _best_iou(proposals: Tensor, target: Target) -> Array:
    """(N,) the best IoU of each object with any proposal (n, 4); 0 without proposals."""
    if proposals.ndim != 2 or proposals.shape[1] != 4:
        raise MSTError(f"proposals must be (n, 4) xyxy, got {tuple(proposals.shape)}")
    iou = box_iou(target.boxes.cpu(), proposals.cpu())  # (N, n)
    return to_numpy(iou.amax(dim=1)) if len(proposals) else np.zeros(len(target.boxes))
