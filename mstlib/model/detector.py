"""The whole model (Fig. 2): Faster R-CNN with DAlign and three levels of aggregation, each switched
by config.

conv1-4 -> DAlign -> frame level -> RPN -> conv5 -> RoIAlign -> fc -> proposal level -> instance
level -> head. Windows are (B, L, ...) with the REFERENCE FIRST; detections are the reference's.
Notebook 07 walks through it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import roi_align

from mstlib.config import Config, Levels
from mstlib.data.clip import Detections
from mstlib.model.backbone import build_backbone
from mstlib.model.dalign import DAlign
from mstlib.model.frame import FrameLevel
from mstlib.model.instance import InstanceLevel
from mstlib.model.proposal import ProposalLevel
from mstlib.model.rpn import RPN
from mstlib.model.trace import Trace, fill_traces

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # scale of the box deltas, as in Faster R-CNN
FOREGROUND = 0.25  # share of sampled RoIs that are objects (Faster R-CNN)


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
        self.rpn = RPN(C, m, config.train.proposals or config.train.rois)
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
            logits = self.head(torch.cat(a))[0].split([len(f) for f in a])
            fill_traces(self, traces, maps, how, boxes, scores, logits)
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


def build_model(config: Config, generator_seed: int = 0) -> MST:
    """The model of a configuration with weights drawn from `generator_seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_seed)
        if config.model.caffe_layout:
            from mstlib.model.caffe import CaffeMST  # builds on this module

            return CaffeMST(config)
        return MST(config)

