"""The region proposal network on F'' (Sec. IV-B), from torchvision's detection parts.

Frames of a window get different numbers of proposals and only the reference is trained on, which
torchvision's own forward pass does not offer: here its parts are called one by one.
"""

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)

from mstlib.config import ModelConfig
from mstlib.data.clip import Target
from mstlib.model.backbone import stride_of

IGNORED = 0.5  # share of a box's area that one ignored region covers: no example of background


def rpn_head(channels: int, anchors: int, width: int) -> RPNHead:
    """3x3 to `width` channels (0: as many as it reads), then 1x1 to objectness and deltas."""
    head = RPNHead(width or channels, anchors)
    if width and width != channels:
        head.conv[0][0] = nn.Conv2d(channels, width, 3, padding=1)
        nn.init.normal_(head.conv[0][0].weight, std=0.01)  # as torchvision starts the others
        nn.init.zeros_(head.conv[0][0].bias)
    return head


def covered(boxes: Tensor, regions: Tensor) -> Tensor:
    """Share of the area of each box (n, 4) that lies in the region (R, 4) which covers most of it:
    (n,)."""
    low = torch.maximum(boxes[:, None, :2], regions[:, :2])
    high = torch.minimum(boxes[:, None, 2:], regions[:, 2:])
    inside = (high - low).clamp(min=0).prod(2)                         # (n, R)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1).clamp(min=1e-6)
    return inside.amax(1) / area


def leave_out(labels: Tensor, boxes: Tensor, regions: Tensor) -> Tensor:
    """Labels (n,) of boxes (n, 4) with -1, not sampled, for background inside ignored regions."""
    if len(regions) == 0:
        return labels
    return labels.masked_fill((labels == 0) & (covered(boxes, regions) >= IGNORED), -1)


class RPN(nn.Module):
    """Anchors, objectness and proposals of single maps (n, C, h, w).

    `rois`: proposals kept in training, config.reference_proposals at test time.
    """

    def __init__(self, channels: int, config: ModelConfig, rois: int):
        super().__init__()
        self.stride = stride_of(config)
        anchors = AnchorGenerator((config.anchor_sizes,), (config.anchor_ratios,))
        head = rpn_head(channels, anchors.num_anchors_per_location()[0], config.rpn_channels)
        before = {"training": config.rpn_pre_nms, "testing": config.rpn_pre_nms}
        after = {"training": rois, "testing": config.reference_proposals}
        self.parts = RegionProposalNetwork(anchors, head, 0.7, 0.3, config.rpn_batch, 0.5, before,
                                           after, config.rpn_nms)

    def score(self, maps: Tensor, size: tuple[int, int]
              ) -> tuple[Tensor, Tensor, list[Tensor], int]:
        """Objectness and deltas of every anchor, flattened; the anchors; how many a map."""
        objectness, deltas = self.parts.head([maps])
        # torchvision divides image by map to get the stride, which is right for whole cells only
        whole = [cells * self.stride for cells in maps.shape[-2:]]
        images = ImageList(maps.new_empty(1).expand(len(maps), 3, *whole),
                           [tuple(size)] * len(maps))
        anchors = self.parts.anchor_generator(images, [maps])
        count = objectness[0][0].numel()
        return *concat_box_prediction_layers(objectness, deltas), anchors, count

    @torch.no_grad()
    def select(self, objectness: Tensor, deltas: Tensor, anchors: list[Tensor], count: int,
               size: tuple[int, int]) -> tuple[list[Tensor], list[Tensor]]:
        """Proposals after NMS: per map boxes (n, 4) and objectness (n,), best first.

        Without gradient: it must not flow through box coordinates into the sampling of features.
        """
        boxes = self.parts.box_coder.decode(deltas, anchors).view(len(anchors), -1, 4)
        return self.parts.filter_proposals(boxes, objectness, [tuple(size)] * len(anchors), [count])

    def propose(self, maps: Tensor, size: tuple[int, int]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps (n, C, h, w) of images of `size` -> n lists of boxes and of objectness."""
        objectness, deltas, anchors, count = self.score(maps, size)
        return self.select(objectness, deltas, anchors, count, size)

    def train_step(self, windows: Tensor, size: tuple[int, int], references: list[Target]
                   ) -> tuple[list[list[Tensor]], list[list[Tensor]], dict[str, Tensor]]:
        """Windows (B, L, C, h, w), reference first -> proposals [b][l], objectness [b][l], losses.

        Only the reference is trained on; supports give proposals without gradient.
        """
        B, L = windows.shape[:2]
        objectness, deltas, anchors, count = self.score(windows[:, 0], size)
        found = [[], []]
        for of, part in zip(found, self.select(objectness.detach(), deltas.detach(), anchors, count,
                                               size), strict=True):
            of.extend([p] for p in part)
        if L > 1:
            with torch.no_grad():
                for of, part in zip(found, self.propose(windows[:, 1:].flatten(0, 1), size),
                                    strict=True):
                    for b in range(B):
                        of[b].extend(part[b * (L - 1):][: L - 1])
        labels, boxes = self.parts.assign_targets_to_anchors(
            anchors, [t.as_torchvision() for t in references])
        labels = [leave_out(*of) for of in zip(labels, anchors, [t.ignored for t in references],
                                               strict=True)]
        goals = self.parts.box_coder.encode(boxes, anchors)
        classes, box = self.parts.compute_loss(objectness, deltas, labels, goals)
        return found[0], found[1], {"rpn_class": classes, "rpn_box": box}
