"""The region proposal network on F'' (Sec. IV-B), from torchvision's detection parts.

Frames of a window get different numbers of proposals and only the reference is trained on, which
torchvision's own forward pass does not offer: here its parts are called one by one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)
from torchvision.ops import batched_nms, clip_boxes_to_image, nms

from mstlib.config import ModelConfig
from mstlib.data.clip import Target
from mstlib.model.backbone import stride_of

SMALLEST = 1e-3  # pixels: torchvision leaves out proposals that are smaller
FIRST = 8      # boxes that NMS is given at first for each that is wanted
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


def nms_each(boxes: Tensor, scores: Tensor, threshold: float, keep: int
             ) -> list[tuple[Tensor, Tensor]]:
    """The best `keep` boxes and scores that NMS leaves of each image: boxes (n, p, 4), scores (n,
    p) falling. Boxes without an area are left out."""
    sizes = boxes[..., 2:] - boxes[..., :2]
    sound, out = (sizes >= SMALLEST).all(-1), []                           # (n, p)
    if boxes.is_cuda:  # one launch for all images; torch waits for its result once
        image, row = sound.nonzero(as_tuple=True)
        kept = batched_nms(boxes[image, row], scores[image, row], image, threshold)
        kept = kept[image[kept].argsort(stable=True)]
        counts = torch.bincount(image[kept], minlength=len(boxes)).tolist()
        parts = zip(boxes[image, row][kept].split(counts), scores[image, row][kept].split(counts),
                    strict=True)
        return [(b[:keep], s[:keep]) for b, s in parts]
    for b, s, ok in zip(boxes, scores, sound, strict=True):
        b, s = b[ok], s[ok]
        kept = nms(b, s, threshold)[:keep]
        out.append((b[kept], s[kept]))
    return out


class RPN(nn.Module):
    """Anchors, objectness and proposals of single maps (n, C, h, w).

    `rois`: proposals kept of each frame in training; at test time the caller says how many.
    """

    def __init__(self, channels: int, config: ModelConfig, rois: int):
        super().__init__()
        self.stride = stride_of(config)
        anchors = AnchorGenerator((config.anchor_sizes,), (config.anchor_ratios,))
        head = rpn_head(channels, anchors.num_anchors_per_location()[0], config.rpn_channels)
        self.rois, self.pre_nms = rois, config.rpn_pre_nms
        most = max(rois, config.reference_proposals, config.support_proposals)
        before, after = ({"training": n, "testing": n} for n in (self.pre_nms, most))
        self.parts = RegionProposalNetwork(anchors, head, 0.7, 0.3, config.rpn_batch, 0.5, before,
                                           after, config.rpn_nms)

    def score(self, maps: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Objectness (n, A, 1) and deltas (n, A, 4) of the anchors (A, 4) of every map."""
        objectness, deltas = self.parts.head([maps])
        # torchvision divides image by map to get the stride, which is right for whole cells only
        whole = [cells * self.stride for cells in maps.shape[-2:]]
        images = ImageList(maps.new_empty(1).expand(len(maps), 3, *whole),
                           [tuple(size)] * len(maps))
        anchors = self.parts.anchor_generator(images, [maps])[0]
        flat = concat_box_prediction_layers(objectness, deltas)
        return *(of.unflatten(0, (len(maps), -1)) for of in flat), anchors

    @torch.no_grad()
    def select(self, objectness: Tensor, deltas: Tensor, anchors: Tensor, size: tuple[int, int],
               keep: int) -> tuple[list[Tensor], list[Tensor]]:
        """The best `keep` proposals of each of n maps after NMS: boxes (<= keep, 4) and objectness
        0..1 (<= keep,), best first; from objectness (n, A, 1), deltas (n, A, 4), anchors (A, 4).

        Without gradient: it must not flow through box coordinates into the sampling of features.
        NMS goes from the best box down, so what it keeps of the first boxes is what it would keep
        of them among all: it is given a few and, where too few are left, more.
        """
        pre = min(self.pre_nms, objectness.shape[1])
        scores, order = objectness[..., 0].float().topk(pre)           # (n, pre)
        several = order[..., None].expand(-1, -1, 4)
        first = min(pre, FIRST * keep)
        while True:
            part = several[:, :first]
            boxes = self.parts.box_coder.decode_single(deltas.gather(1, part).flatten(0, 1).float(),
                                                       anchors[part[..., 0]].flatten(0, 1))
            boxes = clip_boxes_to_image(boxes.unflatten(0, part.shape[:2]), size)
            found = nms_each(boxes, scores[:, :first].sigmoid(), self.parts.nms_thresh, keep)
            if first == pre or all(len(b) == keep for b, _ in found):
                return [b for b, _ in found], [s for _, s in found]
            first = min(pre, 4 * first)

    def propose(self, maps: Tensor, size: tuple[int, int], keep: Sequence[int]
                ) -> tuple[list[Tensor], list[Tensor]]:
        """Maps (n, C, h, w) of images of `size` -> the best keep[i] proposals of each: n lists of
        boxes and of objectness."""
        objectness, deltas, anchors = self.score(maps, size)
        boxes, scores = [None] * len(maps), [None] * len(maps)
        for count in set(keep):
            rows = [i for i, k in enumerate(keep) if k == count]
            found = self.select(objectness[rows], deltas[rows], anchors, size, count)
            for i, b, s in zip(rows, *found, strict=True):
                boxes[i], scores[i] = b, s
        return boxes, scores

    def train_step(self, windows: Tensor, size: tuple[int, int], references: list[Target]
                   ) -> tuple[list[list[Tensor]], list[list[Tensor]], dict[str, Tensor]]:
        """Windows (B, L, C, h, w), reference first -> proposals [b][l], objectness [b][l], losses.

        Only the reference is trained on; supports give proposals without gradient.
        """
        B, L = windows.shape[:2]
        objectness, deltas, anchors = self.score(windows[:, 0], size)
        found = [[], []]
        for of, part in zip(found, self.select(objectness, deltas, anchors, size, self.rois),
                            strict=True):
            of.extend([p] for p in part)
        if L > 1:
            supports, keep = windows[:, 1:].flatten(0, 1), [self.rois] * (B * (L - 1))
            with torch.no_grad():
                for of, part in zip(found, self.propose(supports, size, keep), strict=True):
                    for b in range(B):
                        of[b].extend(part[b * (L - 1):][: L - 1])
        labels, boxes = self.parts.assign_targets_to_anchors(
            [anchors] * B, [t.as_torchvision() for t in references])
        labels = [leave_out(of, anchors, t.ignored)
                  for of, t in zip(labels, references, strict=True)]
        goals = self.parts.box_coder.encode(boxes, [anchors] * B)
        classes, box = self.parts.compute_loss(objectness.flatten(0, 1), deltas.flatten(0, 1),
                                               labels, goals)
        return found[0], found[1], {"rpn_class": classes, "rpn_box": box}
