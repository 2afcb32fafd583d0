"""The training losses (Sec. IV-C): what the detector, DAlign and the instance level are taught.

Faster R-CNN's four, from torchvision's detection parts, and two that track ids allow: where DAlign
should look and whom the instance level should listen to.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.roi_heads import fastrcnn_loss
from torchvision.ops import box_iou

from mstlib.data.clip import Target
from mstlib.model.detector import MST
from mstlib.model.rois import Proposals
from mstlib.model.rpn import leave_out

SAME_OBJECT = 0.5  # IoU at which a proposal takes an object's track id (Sec. IV-C)


def losses_of(model: MST, maps: Tensor, size: tuple[int, int], targets: list[list[Target]],
              half: Callable[[], AbstractContextManager] = nullcontext) -> dict[str, Tensor]:
    """Training losses of conv4 windows (B, L, C, h, w); targets[b][l] belongs to maps[b, l].

    half: the context in which conv5 is computed (autocast); all else is float32.

    Returns rpn_class, rpn_box, class, box and, where the level is on and the data has track
    ids, motion (DAlign) and identity (instance level), unweighted. With DAlign also two gauges
    without gradient: `offset`, its mean reach in cells, and `drift`, |F'-F| / |F|: how far it
    bends the maps.
    """
    x, how = model.aggregate(maps)
    B, L = x.shape[:2]
    references = [t[0] for t in targets]
    boxes, scores, losses = model.rpn.train_step(x, size, references)
    with half():
        c5 = model.reduce(model.backbone.c5(x.flatten(0, 1)))
    c5 = c5.float()
    picked = [sample(model, boxes[b][0], scores[b][0], references[b]) for b in range(B)]
    M = model.model_config.support_proposals
    rois = [r for b in range(B)
            for r in (picked[b][0], *(boxes[b][f][:M] for f in range(L if L > 1 else 0)))]
    owner = [f for b in range(B) for f in (b * L, *range(b * L, b * L + (L if L > 1 else 0)))]
    features = model.roi_features(c5[owner] if L > 1 else c5, rois)
    step = len(rois) // B
    a, identity = [], []
    for b in range(B):
        p = model.assign_roles(training_window(
            model, features[b * step:][:step], rois[b * step:][:step], picked[b], targets[b]))
        proposals = model.propose_level(p)
        a.append(model.instance_level(proposals, p))
        if model.instance and p.support_ids is not None:
            identity.append(model.instance.identity_loss(
                proposals, p.boxes, p.ids, p.s, p.support_boxes, p.support_ids))
    logits, deltas = model.head(torch.cat(a))
    losses["class"], losses["box"] = fastrcnn_loss(
        logits, deltas, [p[2] for p in picked], [p[3] for p in picked])
    losses |= auxiliary(model, how, targets, [i for i in identity if i is not None])
    return losses


@torch.no_grad()
def sample(model: MST, boxes: Tensor, objectness: Tensor, target: Target) -> tuple[Tensor, ...]:
    """RoIs of the reference for the head's loss: boxes, objectness, labels, deltas, ids.

    Ground truth is added; an added box takes the objectness of the proposal closest to it, so
    that the instance level's top-K cannot tell it from others: DEVIATIONS.md 15.
    """
    n = len(boxes)
    every = torch.cat([boxes, target.boxes])
    if len(target.boxes) and n:
        objectness = torch.cat([objectness, objectness[box_iou(target.boxes, boxes).argmax(1)]])
    elif len(target.boxes):
        objectness = target.boxes.new_ones(len(target.boxes))
    matched, labels = model.roi.assign_targets_to_proposals(
        [every], [target.boxes], [target.labels])
    labels = [leave_out(labels[0], every, target.ignored)]
    keep = model.roi.subsample(labels)[0]
    matched, labels, every = matched[0][keep], labels[0][keep], every[keep]
    goal = target.boxes[matched] if len(target.boxes) else torch.zeros_like(every)
    deltas = model.roi.box_coder.encode([goal], [every])[0]
    ids = torch.where(labels > 0, target.ids[matched], -1) if len(target.ids) \
        else torch.full_like(labels, -1)
    return every, objectness[keep], labels, deltas, ids


def training_window(model: MST, features: list[Tensor], rois: list[Tensor],
                    picked: tuple[Tensor, ...], targets: list[Target]) -> Proposals:
    """Sampled RoIs of the reference and the top proposals of all frames, with track ids."""
    if len(features) == 1:
        empty = features[0].new_zeros
        return Proposals(features[0], rois[0], picked[1], picked[4],
                         empty(0, features[0].shape[1]), empty(0, 4), None)
    ids = [proposal_ids(r, t) for r, t in zip(rois[1:], targets, strict=True)] \
        if model.instance else []  # only the instance level reads them
    return Proposals(features[0], rois[0], picked[1], picked[4], torch.cat(features[1:]),
                     torch.cat(rois[1:]), torch.cat(ids) if ids else None,
                     [len(r) for r in rois[1:]])


def auxiliary(model: MST, how: dict[str, Tensor], targets: list[list[Target]],
              identity: list[Tensor]) -> dict[str, Tensor]:
    """The two losses that track ids allow, where they apply."""
    out = {}
    if how:
        reach = how["displacement"].detach().norm(dim=-1).mean()
        out |= {"offset": reach, "drift": how["drift"]}
        loss = motion_loss(how["displacement"], targets, model.backbone.stride)
        if loss is not None:
            out["motion"] = loss
    if identity:
        out["identity"] = torch.stack(identity).mean()
    return out


def proposal_ids(boxes: Tensor, target: Target) -> Tensor:
    """Track id of the object each box (n, 4) overlaps by IoU >= 0.5, else -1 (Sec. IV-C)."""
    if len(target.boxes) == 0 or len(boxes) == 0:
        return torch.full((len(boxes),), -1, dtype=torch.long, device=boxes.device)
    iou, which = box_iou(boxes, target.boxes).max(1)
    return torch.where(iou >= SAME_OBJECT, target.ids[which], -1)


def motion_loss(displacement: Tensor, targets: list[list[Target]], stride: int) -> Tensor | None:
    """Where DAlign looks against where the object went, smooth L1 in cells (DEVIATIONS.md 8).

    displacement (B, L, h, w, 2). For each cell whose centre lies in a reference object's box, the
    goal is the shift (and scaling) of that object's box to frame tau; cells of objects that frame
    tau lacks, and the background, are left free. None where no object is shared or ids are unknown.
    """
    h, w = displacement.shape[2:4]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    cells = (torch.stack([x, y], -1).to(displacement) + 0.5) * stride  # (h, w, 2) pixels
    found, goals = [], []
    for b, frames in enumerate(targets):
        for f, other in enumerate(frames[: displacement.shape[1]]):  # MEGA: local frames only
            for box, to in shared_boxes(frames[0], other):
                inside = ((cells > box[:2]) & (cells < box[2:])).all(-1)
                scale = (to[2:] - to[:2]) / (box[2:] - box[:2]).clamp(min=1)
                there = to[:2] + (cells[inside] - box[:2]) * scale
                goals.append((there - cells[inside]) / stride)
                found.append(displacement[b, f][inside])
    if not found or sum(len(f) for f in found) == 0:
        return None
    return F.smooth_l1_loss(torch.cat(found), torch.cat(goals))


def shared_boxes(reference: Target, other: Target) -> list[tuple[Tensor, Tensor]]:
    """Boxes of the objects that two frames share, as (reference box, other box) pairs."""
    where = {int(i): k for k, i in enumerate(other.ids) if i >= 0}
    return [(reference.boxes[k], other.boxes[where[int(i)]])
            for k, i in enumerate(reference.ids) if int(i) in where]
