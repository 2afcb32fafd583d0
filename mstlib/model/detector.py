"""The whole model (Fig. 2): Faster R-CNN with DAlign and three levels of aggregation, each switched
by config.

conv1-4 -> DAlign -> frame level -> RPN -> conv5 -> RoIAlign -> fc -> proposal level -> instance
level -> head. Windows are (B, L, ...) with the REFERENCE FIRST; detections are the reference's.
Notebook 07 walks through it.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import roi_align

from mstlib.config import Config, Levels
from mstlib.data.clip import Detections, sample_supports
from mstlib.model.attention import Supports
from mstlib.model.backbone import build_backbone, normalised
from mstlib.model.dalign import DAlign
from mstlib.model.flow import FlowAlign, carry_images
from mstlib.model.frame import FrameLevel
from mstlib.model.instance import InstanceLevel
from mstlib.model.proposal import ProposalLevel
from mstlib.model.rois import Proposals, rows_of
from mstlib.model.rpn import RPN
from mstlib.model.trace import Trace, fill_traces

ALIGNMENTS = {"dalign": DAlign, "flow": FlowAlign}
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # scale of the box deltas, as in Faster R-CNN
FOREGROUND = 0.25  # share of sampled RoIs that are objects (Faster R-CNN)


class MST(nn.Module):
    """The detector of the paper; `config.levels` decides which of its parts exist.

    Another detector (`mstlib.model.methods`) replaces a step of it: its frame or proposal level,
    the frames it is trained on, the roles that they play, or its way through a clip.
    """

    replaces = "proposal"  # without which level a method that builds on this is as this one
    frame_class = FrameLevel
    proposal_level = ProposalLevel
    sample = staticmethod(sample_supports)  # draws the supports of a training window
    walk = None  # a method like `MEGA.walk` where a clip has to be seen as a whole

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
        self.dalign = ALIGNMENTS[m.align](C, m) if levels.dalign else None
        self.frame = self.frame_class(C, m) if levels.frame else None
        self.proposal = self.proposal_level(m) if levels.proposal else None
        self.instance = InstanceLevel(m) if levels.instance else None
        self.register_buffer("mean", torch.tensor(m.pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(m.pixel_std).view(3, 1, 1), persistent=False)

    @property
    def uses_supports(self) -> bool:
        """Do support proposals matter? Only then are the supports' maps carried past the frame
        level."""
        return self.levels.proposal or self.levels.instance

    @property
    def carries(self) -> bool:
        """Do conv4 maps carry their images along, for optical flow?"""
        return isinstance(self.dalign, FlowAlign)

    def c4(self, images: Tensor) -> Tensor:
        """uint8 images (n, 3, H, W) -> conv4 maps (n, C, h, w), with more channels behind them if
        they carry their images."""
        maps, carry = self.conv4(images), self.carrier()
        return carry(maps, images) if carry else maps

    def conv4(self, images: Tensor) -> Tensor:
        """As `c4`, the maps alone."""
        return self.backbone.c4(normalised(images, self.mean, self.std))

    def carrier(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """What makes maps carry their uint8 images, None if they carry nothing. It holds no part of
        the model, which may move to a GPU while the loader, or a process of its own, reads them."""
        if not self.carries:
            return None
        return partial(carry_images, self.mean.clone(), self.std.clone(), self.backbone.stride)

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
            before = maps[:, :, : aligned.shape[2]]  # without what they carry
            trace["drift"] = ((aligned - before).norm() / before.norm().clamp(min=1e-9)).detach()
        return self.frame_level(aligned), trace

    def frame_level(self, aligned: Tensor) -> Tensor:
        """F' (B, L, C, h, w) -> F'' of all frames, of the reference only if no level reads the
        supports' proposals."""
        if not self.uses_supports:
            return self.frame(aligned, False) if self.frame else aligned[:, :1]
        updated = self.frame(aligned) if self.frame else aligned
        rest = aligned[:, updated.shape[1]:]  # query-ref leaves the supports as they were
        return torch.cat([updated, rest], dim=1)

    def roi_features(self, c5: Tensor, boxes: list[Tensor]) -> list[Tensor]:
        """conv5 maps (n, c, h, w), n lists of boxes -> n tensors (boxes, d)."""
        size = self.model_config.roi_size
        x = roi_align(c5, boxes, size, 1 / self.backbone.stride, sampling_ratio=2, aligned=True)
        return F.relu(self.fc(x.flatten(1))).split([len(b) for b in boxes])

    def propose_level(self, p: Proposals) -> Tensor:
        """Proposal level on one window: R' (N, d), or the features as they are (Eq. 7-11)."""
        if self.proposal is None or len(p.a) == 0 or len(p.s) == 0:  # nobody to ask
            return p.a
        return self.proposal.ask(p.a, p.boxes,
                                 self.proposal.supports(p.s, p.support_boxes, p.counts))

    def assign_roles(self, p: Proposals) -> Proposals:
        """The supports of a training window by what they are there for: here all for the same."""
        return p

    def instance_level(self, a: Tensor, p: Proposals) -> Tensor:
        """Instance level on R' (N, d) of one window: R'' (N, d), or R' as it is (Eq. 12)."""
        if self.instance is None or len(a) == 0 or len(p.s) == 0:
            return a
        if self.training and self.model_config.instance_rule == "label":
            return self.instance.by_label(a, p.boxes, p.ids, p.s, p.support_boxes, p.support_ids)
        return self.instance(a, p.boxes, p.objectness, p.s, p.support_boxes)[0]

    # ---- inference ------------------------------------------------------------------------------

    @torch.no_grad()
    def detect(self, maps: Tensor, size: tuple[int, int], trace: bool = False
               ) -> tuple[list[Detections], list[Trace]]:
        """conv4 windows (B, L, C, h, w) of images of `size` (H, W) -> detections of the
        references."""
        x, how = self.aggregate(maps)
        traces = [Trace() for _ in maps] if trace else []
        found, windows, boxes, scores, a = self.finish(x, size, traces)
        if trace:
            logits = self.head(torch.cat(a))[0].split([len(f) for f in a])
            fill_traces(self, traces, maps, how, boxes, scores, windows, logits)
        return found, traces

    def finish(self, x: Tensor, size: tuple[int, int], traces: Sequence[Trace] = ()
               ) -> tuple[list[Detections], list[Proposals], list[Tensor], list[Tensor],
                          list[Tensor]]:
        """From F'' windows (B, L, C, h, w) to the references' detections; the RoIs of each window,
        proposals and objectness of all B * L frames and R'' (N, d) of each window, too."""
        (B, L), flat, m = x.shape[:2], x.flatten(0, 1), self.model_config
        keep = [m.reference_proposals] + [m.support_proposals] * (L - 1)
        boxes, scores = self.rpn.propose(flat, size, keep * B)
        features = self.roi_features(self.reduce(self.backbone.c5(flat)), boxes)
        windows = [self.window(features[i * L:][:L], boxes[i * L:][:L], scores[i * L:][:L])
                   for i in range(B)]
        a = [self.relate(p.a, p.boxes, p.objectness,
                         self.supports(p.s, p.support_boxes, p.counts), trace)
             for p, trace in zip(windows, traces or [None] * B, strict=True)]
        found = self.decode(torch.cat(a), [p.boxes for p in windows], size)
        return found, windows, boxes, scores, a

    def supports(self, s: Tensor, boxes: Tensor, counts: Sequence[int] = ()) -> list[Supports]:
        """Support proposals (M, d), (M, 4) as each relation layer reads them, in their order;
        counts: as in `ProposalLevel.supports`."""
        proposal = self.proposal.supports(s, boxes, counts) if self.proposal else []
        return proposal + ([self.instance.relation.supports(s, boxes)] if self.instance else [])

    def relate(self, a: Tensor, boxes: Tensor, objectness: Tensor, supports: list[Supports],
               trace: Trace | None = None) -> Tensor:
        """Proposal and instance level on one reference: its proposals (N, d), (N, 4), (N,) -> R''
        (N, d)."""
        if trace:
            trace.features["RoI"] = a
        if len(a) == 0 or not supports or len(supports[0].boxes) == 0:  # nobody to ask
            return a
        if self.proposal:
            layers = supports[:-1] if self.instance else supports
            if trace:
                trace.relation = self.proposal.weights(a, boxes, layers)
            a = self.proposal.ask(a, boxes, layers)
            if trace:
                trace.features["proposal"] = a
        if self.instance:
            a, how = self.instance.ask(a, boxes, objectness, supports[-1])
            if trace:
                trace.instance, trace.features["instance"] = how, a
        return a

    def window(self, features: list[Tensor], boxes: list[Tensor], scores: list[Tensor]
               ) -> Proposals:
        """Group the RoIs of one window; the reference's own best proposals are supports too."""
        M = self.model_config.support_proposals
        s = torch.cat([f[:M] for f in features])
        return Proposals(features[0], boxes[0], scores[0], None, s,
                         torch.cat([b[:M] for b in boxes]), None,
                         [len(b[:M]) for b in boxes])

    def decode(self, a: Tensor, boxes: list[Tensor], size: tuple[int, int]) -> list[Detections]:
        """Class scores and boxes of the references, after class-wise NMS."""
        logits, deltas = (of.float() for of in self.head(a))
        found = self.roi.postprocess_detections(logits, deltas, boxes, [tuple(size)] * len(boxes))
        shares = logits.softmax(-1).split([len(b) for b in boxes])
        return [Detections(b, s, c, rows_of(s, c, share))
                for b, s, c, share in zip(*found, shares, strict=True)]


def build_model(config: Config, generator_seed: int = 0) -> MST:
    """The model of a configuration with weights drawn from `generator_seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_seed)
        from mstlib.model.methods import detector  # builds on this module

        return detector(config)(config)

