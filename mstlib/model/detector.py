"""The whole model (Fig. 2): Faster R-CNN with DAlign and three levels of aggregation, each switched
by config.

conv1-4 -> DAlign -> frame level -> RPN -> conv5 -> RoIAlign -> fc -> proposal level -> instance
level -> head. Windows are (B, L, ...) with the REFERENCE FIRST; detections are the reference's.
Notebook 07 walks through it.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss
from torchvision.ops import box_iou, roi_align

from mstlib.config import Config, Levels, ModelConfig
from mstlib.data.clip import Detections, Target
from mstlib.model.backbone import build_backbone
from mstlib.model.dalign import DAlign
from mstlib.model.frame import FrameLevel
from mstlib.model.instance import InstanceLevel
from mstlib.model.proposal import ProposalLevel
from mstlib.model.rpn import RPN

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # scale of the box deltas, as in Faster R-CNN
FOREGROUND = 0.25  # share of sampled RoIs that are objects (Faster R-CNN)
SAME_OBJECT = 0.5  # IoU at which a proposal takes an object's track id (Sec. IV-C)


@dataclass
class Trace:
    """What one window's forward pass did, on request: named tensors, reference first.

    proposals: L tensors (n, 4); objectness: L tensors (n,); displacement (L, h, w, 2) and offsets
    (L, 18 g, h, w) of DAlign in cells; frame_attention (h*w, L, h, w); supports (M, 4) with their
    frame support_frame (M,); relation: per layer appearance, geometry and weights (G, N, M);
    instance: rows (K,), mask (K, M), logits (G, K, M); scores (N, classes + 1) of the reference
    proposals.
    """

    proposals: list[Tensor] = field(default_factory=list)
    objectness: list[Tensor] = field(default_factory=list)
    displacement: Tensor | None = None
    offsets: Tensor | None = None
    frame_attention: Tensor | None = None
    supports: Tensor | None = None
    support_frame: Tensor | None = None
    relation: list[dict[str, Tensor]] = field(default_factory=list)
    instance: dict[str, Tensor] = field(default_factory=dict)
    scores: Tensor | None = None


@dataclass
class Proposals:
    """RoIs of one window: the reference's (N, .) and the supports' (M, .), features, boxes, ids."""

    a: Tensor
    boxes: Tensor
    objectness: Tensor
    ids: Tensor | None
    s: Tensor
    support_boxes: Tensor
    support_ids: Tensor | None


class MST(nn.Module):
    """The detector of the paper; `config.levels` decides which of its parts exist."""

    def __init__(self, config: Config):
        super().__init__()
        m = config.model
        self.config, self.levels, self.model_config = config, config.levels, m
        self.backbone = build_backbone(m)
        C, d = self.backbone.channels, m.width
        self.rpn = RPN(C, m, config.train.rois)
        self.reduce = nn.Conv2d(self.backbone.c5_channels, m.roi_reduce, 1)  # DEVIATIONS.md 2
        self.fc = nn.Linear(m.roi_reduce * m.roi_size**2, d)
        self.head = FastRCNNPredictor(d, m.classes + 1)
        rois = config.train.rois
        self.roi = RoIHeads(None, None, None, 0.5, 0.5, rois, FOREGROUND, BOX_WEIGHTS,
                            m.score_threshold, m.nms, m.detections)
        levels: Levels = config.levels
        self.dalign = DAlign(C, m) if levels.dalign else None
        self.frame = FrameLevel(C, m) if levels.frame else None
        self.proposal = ProposalLevel(m) if levels.proposal else None
        self.instance = InstanceLevel(m) if levels.instance else None
        self.register_buffer("mean", torch.tensor(m.pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(m.pixel_std).view(3, 1, 1), persistent=False)

    @property
    def uses_supports(self) -> bool:
        """Do support proposals matter? Only then are the supports' maps carried past the frame
        level."""
        return self.levels.proposal or self.levels.instance

    def c4(self, images: Tensor) -> Tensor:
        """uint8 images (n, 3, H, W) -> conv4 maps (n, C, h, w)."""
        return self.backbone.c4((images.float() / 255 - self.mean) / self.std)

    def forward(self, windows: Tensor, trace: bool = False) -> tuple[list[Detections], list[Trace]]:
        """Images (B, L, 3, H, W) uint8, reference first -> detections (and traces) of B
        references."""
        maps = self.c4(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
        return self.detect(maps, windows.shape[-2:], trace)

    # ---- the stages -----------------------------------------------------------------------------

    def aggregate(self, maps: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """conv4 windows (B, L, C, h, w) -> F'' (B, L or 1, C, h, w) and DAlign's trace.

        Only the reference where no level reads support proposals.
        """
        aligned, trace = self.dalign(maps) if self.dalign else (maps, {})
        if self.dalign:
            trace["drift"] = ((aligned - maps).norm() / maps.norm().clamp(min=1e-9)).detach()
        if not self.uses_supports:
            return (self.frame(aligned, False) if self.frame else aligned[:, :1]), trace
        updated = self.frame(aligned) if self.frame else aligned
        rest = aligned[:, updated.shape[1]:]  # query-ref leaves the supports as they were
        return torch.cat([updated, rest], dim=1), trace

    def roi_features(self, c5: Tensor, boxes: list[Tensor]) -> list[Tensor]:
        """conv5 maps (n, c, h, w), n lists of boxes -> n tensors (boxes, d)."""
        size = self.model_config.roi_size
        x = roi_align(c5, boxes, size, 1 / self.backbone.stride, sampling_ratio=2, aligned=True)
        return F.relu(self.fc(x.flatten(1))).split([len(b) for b in boxes])

    def propose_level(self, p: Proposals, trace: Trace | None = None) -> Tensor:
        """Proposal level on one window: R' (N, d), or the features as they are (Eq. 7-11)."""
        if self.proposal is None or len(p.a) == 0 or len(p.s) == 0:  # nobody to ask
            return p.a
        if trace:
            trace.relation = self.proposal.weights(p.a, p.boxes, p.s, p.support_boxes)
        return self.proposal(p.a, p.boxes, p.s, p.support_boxes)

    def instance_level(self, a: Tensor, p: Proposals, trace: Trace | None = None) -> Tensor:
        """Instance level on R' (N, d) of one window: R'' (N, d), or R' as it is (Eq. 12)."""
        if self.instance is None or len(a) == 0 or len(p.s) == 0:
            return a
        if self.training and self.model_config.instance_rule == "label":
            return self.instance.by_label(a, p.boxes, p.ids, p.s, p.support_boxes, p.support_ids)
        a, how = self.instance(a, p.boxes, p.objectness, p.s, p.support_boxes)
        if trace:
            trace.instance = how
        return a

    # ---- inference ------------------------------------------------------------------------------

    @torch.no_grad()
    def detect(self, maps: Tensor, size: tuple[int, int], trace: bool = False
               ) -> tuple[list[Detections], list[Trace]]:
        """conv4 windows (B, L, C, h, w) of images of `size` (H, W) -> detections of the
        references."""
        B, m = len(maps), self.model_config
        x, how = self.aggregate(maps)
        L = x.shape[1]
        flat = x.flatten(0, 1)
        boxes, scores = self.rpn.propose(flat, size)
        keep = [m.reference_proposals if i % L == 0 else m.support_proposals for i in range(B * L)]
        boxes = [b[:n] for b, n in zip(boxes, keep, strict=True)]
        scores = [s[:n] for s, n in zip(scores, keep, strict=True)]
        features = self.roi_features(self.reduce(self.backbone.c5(flat)), boxes)
        traces = [Trace() if trace else None for _ in range(B)]
        windows = [self.window(features[i * L:][:L], boxes[i * L:][:L], scores[i * L:][:L])
                   for i in range(B)]
        a = [self.instance_level(self.propose_level(p, t), p, t)
             for p, t in zip(windows, traces, strict=True)]
        results = self.decode(torch.cat(a), [p.boxes for p in windows], size)
        if trace:
            self.fill(traces, maps, how, boxes, scores, windows, L)
            for t, logits in zip(traces, self.head(torch.cat(a))[0].split([len(f) for f in a]),
                                 strict=True):
                t.scores = logits.softmax(-1)
        return results, (traces if trace else [])

    def window(self, features: list[Tensor], boxes: list[Tensor], scores: list[Tensor]
               ) -> Proposals:
        """Group the RoIs of one window; the reference's own best proposals are supports too."""
        M = self.model_config.support_proposals
        s = torch.cat([f[:M] for f in features])
        return Proposals(features[0], boxes[0], scores[0], None, s,
                         torch.cat([b[:M] for b in boxes]), None)

    def decode(self, a: Tensor, boxes: list[Tensor], size: tuple[int, int]) -> list[Detections]:
        """Class scores and boxes of the references, after class-wise NMS."""
        logits, deltas = self.head(a)
        found = self.roi.postprocess_detections(logits, deltas, boxes, [tuple(size)] * len(boxes))
        return [Detections(b, s, c) for b, s, c in zip(*found, strict=True)]

    def fill(self, traces: list[Trace], maps: Tensor, how: dict[str, Tensor], boxes: list[Tensor],
             scores: list[Tensor], windows: list[Proposals], L: int) -> None:
        """Complete the traces of a forward pass with what it computed before the RoIs."""
        M = self.model_config.support_proposals
        attention = self.frame.attention(self.dalign(maps)[0] if self.dalign else maps) \
            if self.frame else None
        offsets = how["offsets"].unflatten(0, maps.shape[:2]) if how else None
        for i, t in enumerate(traces):
            t.proposals, t.objectness = boxes[i * L:][:L], scores[i * L:][:L]
            t.supports = windows[i].support_boxes
            t.support_frame = torch.cat([torch.full((len(b[:M]),), f)
                                         for f, b in enumerate(t.proposals)])
            t.frame_attention = attention[i] if attention is not None else None
            if how:
                t.displacement, t.offsets = how["displacement"][i], offsets[i]

    # ---- training -------------------------------------------------------------------------------

    def losses(self, maps: Tensor, size: tuple[int, int], targets: list[list[Target]],
               generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """Training losses of conv4 windows (B, L, C, h, w); targets[b][l] belongs to maps[b, l].

        Returns rpn_class, rpn_box, class, box and, where the level is on and the data has track
        ids, motion (DAlign) and identity (instance level), unweighted. With DAlign also two gauges
        without gradient: `offset`, its mean reach in cells, and `drift`, |F'-F| / |F|: how far it
        bends the maps.
        """
        x, how = self.aggregate(maps)
        B, L = x.shape[:2]
        references = [t[0] for t in targets]
        boxes, scores, losses = self.rpn.train_step(x, size, references)
        c5 = self.reduce(self.backbone.c5(x.flatten(0, 1)))
        picked = [self.sample(boxes[b][0], scores[b][0], references[b]) for b in range(B)]
        M = self.model_config.support_proposals
        rois = [r for b in range(B)
                for r in (picked[b][0], *(boxes[b][f][:M] for f in range(L if L > 1 else 0)))]
        owner = [f for b in range(B) for f in (b * L, *range(b * L, b * L + (L if L > 1 else 0)))]
        features = self.roi_features(c5[owner] if L > 1 else c5, rois)
        step = len(rois) // B
        a, identity = [], []
        for b in range(B):
            p = self.training_window(features[b * step:][:step], rois[b * step:][:step], picked[b],
                                     targets[b])
            proposals = self.propose_level(p)
            a.append(self.instance_level(proposals, p))
            if self.instance:
                identity.append(self.instance.identity_loss(
                    proposals, p.boxes, p.ids, p.s, p.support_boxes, p.support_ids))
        logits, deltas = self.head(torch.cat(a))
        losses["class"], losses["box"] = fastrcnn_loss(
            logits, deltas, [p[2] for p in picked], [p[3] for p in picked])
        losses |= self.auxiliary(how, targets, [i for i in identity if i is not None])
        return losses

    @torch.no_grad()
    def sample(self, boxes: Tensor, objectness: Tensor, target: Target) -> tuple[Tensor, ...]:
        """RoIs of the reference for the head's loss: boxes, objectness, labels, deltas, ids.

        Ground truth is added; an added box takes the objectness of the proposal closest to it, so
        that the instance level's top-K cannot tell it from others: DEVIATIONS.md 14.
        """
        n = len(boxes)
        every = torch.cat([boxes, target.boxes])
        if len(target.boxes) and n:
            objectness = torch.cat([objectness, objectness[box_iou(target.boxes, boxes).argmax(1)]])
        elif len(target.boxes):
            objectness = target.boxes.new_ones(len(target.boxes))
        matched, labels = self.roi.assign_targets_to_proposals(
            [every], [target.boxes], [target.labels])
        keep = self.roi.subsample(labels)[0]
        matched, labels, every = matched[0][keep], labels[0][keep], every[keep]
        goal = target.boxes[matched] if len(target.boxes) else torch.zeros_like(every)
        deltas = self.roi.box_coder.encode([goal], [every])[0]
        ids = torch.where(labels > 0, target.ids[matched], -1) if len(target.ids) \
            else torch.full_like(labels, -1)
        return every, objectness[keep], labels, deltas, ids

    def training_window(self, features: list[Tensor], rois: list[Tensor],
                        picked: tuple[Tensor, ...], targets: list[Target]) -> Proposals:
        """Sampled RoIs of the reference and the top proposals of all frames, with track ids."""
        if len(features) == 1:
            empty = features[0].new_zeros
            return Proposals(features[0], rois[0], picked[1], picked[4],
                             empty(0, features[0].shape[1]), empty(0, 4), None)
        ids = [proposal_ids(r, t) for r, t in zip(rois[1:], targets, strict=True)] \
            if self.instance else []  # only the instance level reads them
        return Proposals(features[0], rois[0], picked[1], picked[4], torch.cat(features[1:]),
                         torch.cat(rois[1:]), torch.cat(ids) if ids else None)

    def auxiliary(self, how: dict[str, Tensor], targets: list[list[Target]], identity: list[Tensor]
                  ) -> dict[str, Tensor]:
        """The two losses that track ids allow, where they apply."""
        out = {}
        if how:
            reach = how["displacement"].detach().norm(dim=-1).mean()
            out |= {"offset": reach, "drift": how["drift"]}
            loss = motion_loss(how["displacement"], targets, self.backbone.stride)
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
        for f, other in enumerate(frames):
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


def build_model(config: Config, generator_seed: int = 0) -> MST:
    """The model of a configuration with weights drawn from `generator_seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_seed)
        return MST(config)


__all__ = ["MST", "ModelConfig", "Trace", "build_model", "motion_loss", "proposal_ids"]
