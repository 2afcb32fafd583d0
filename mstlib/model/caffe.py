"""The detector as the Caffe lineage computes it: maskrcnn-benchmark and, on it, mega.pytorch.

Weights trained there give the same numbers here only if these conventions are kept, too
(`mstlib.model.mega_weights` loads them; the source is that public code, read in 2026):

- a bottleneck's stride sits in its first 1x1 (`mstlib.model.resnet`);
- anchors are centred in their cells, their sides rounded on one cell and then scaled;
- the 1x1 convolution after conv5 has a ReLU, or does not exist (roi_reduce = 0);
- a box ends on its last pixel, so that RoIAlign reads one pixel less, without the half-pixel shift
  and with as many samples as a cell has pixels;
- a second fully connected layer follows the first: at once in a single-frame detector, between the
  relation layers in RDN and MEGA;
- the relation's geometry adds 1e-3 and 1e-6 before its logarithms instead of cutting off there, and
  its values have a bias.

Boxes here are continuous: a box (x1, y1, x2, y2) there is (x1, y1, x2 + 1, y2 + 1) here.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from mstlib.config import Config, ModelConfig
from mstlib.model.attention import FLOOR, Geometry, Relation, embed
from mstlib.model.detector import MST
from mstlib.model.mega import MEGA
from mstlib.model.rdn import RDN


def caffe_anchors(sizes: Sequence[int], ratios: Sequence[float], stride: int) -> Tensor:
    """The anchors of the first cell, (ratios * sizes, 4) xyxy, continuous; ratio = height / width.

    Sides are rounded for a box of the cell's area first: at ratio 0.5 a stride of 16 gives 23 x 12.
    """
    ratio = torch.tensor(ratios, dtype=torch.float64)
    w = (stride**2 / ratio).sqrt().round()
    h = (w * ratio).round()
    scale = torch.tensor(sizes, dtype=torch.float64) / stride
    half = torch.stack([w, h], 1)[:, None] * scale[None, :, None] / 2  # (ratios, sizes, 2)
    return torch.cat([stride / 2 - half, stride / 2 + half], 2).flatten(0, 1).float()


class CaffeGeometry(Geometry):
    """log(relu(W_g e_ij) + 1e-6), e_ij embeds RDN's four quantities."""

    def __init__(self, G: int):
        super().__init__(G, "full")

    def forward(self, b1: Tensor, b2: Tensor, part: slice = slice(None)) -> Tensor:
        """Boxes (N, 4), (M, 4) -> logits (G, N, M), or those of some heads."""
        c1, c2 = ((b[:, :2] + b[:, 2:]) / 2 for b in (b1, b2))
        e1, e2 = (b[:, 2:] - b[:, :2] for b in (b1, b2))
        distance = ((c1[:, None] - c2[None]).abs() / e1[:, None] + 1e-3).log()
        e = torch.cat([distance, (e1[:, None] / e2[None]).log()], dim=-1)  # (N, M, 4)
        return (F.relu(self.weight(embed(e))) + FLOOR).log().permute(2, 0, 1)[part]


class CaffeRelation(Relation):
    """A relation layer of RDN or MEGA; geometry "full", or "none" between frames far apart."""

    def __init__(self, d: int, G: int, geometry: str):
        super().__init__(d, G, geometry)
        self.value = nn.Linear(d, d)
        if geometry != "none":
            self.geometry = CaffeGeometry(G)


def caffe_level(level: nn.Module, d: int, G: int) -> None:
    """Give the relations of a proposal level these conventions, and each but the first a fully
    connected layer before it."""
    for layers in level.children():
        for k, old in enumerate(layers):
            if isinstance(old, Relation):
                layers[k] = CaffeRelation(d, G, "none" if old.geometry.kind == "none" else "full")
    for k in range(1, len(level.before)):
        level.before[k] = nn.Sequential(nn.Linear(d, d), nn.ReLU())


class CaffeMST(MST):
    """The detector with these conventions; `config.model.caffe_layout` asks for it."""

    def __init__(self, config: Config):
        m = config.model
        super().__init__(replace(config, model=replace(m, roi_reduce=m.roi_reduce or 1)))
        self.config, self.model_config = config, m
        stride, C5, d = self.backbone.stride, self.backbone.c5_channels, m.width
        self.rpn.parts.anchor_generator.cell_anchors = [
            caffe_anchors(m.anchor_sizes, m.anchor_ratios, stride)]
        self.reduce = nn.Sequential(nn.Conv2d(C5, m.roi_reduce, 1), nn.ReLU()) if m.roi_reduce \
            else nn.Identity()
        self.fc = nn.Linear((m.roi_reduce or C5) * m.roi_size**2, d)
        self.fc2 = None if self.proposal else nn.Linear(d, d)
        if self.proposal:
            caffe_level(self.proposal, d, m.heads)

    def roi_features(self, c5: Tensor, boxes: list[Tensor]) -> list[Tensor]:
        """conv5 maps (n, c, h, w), n lists of boxes -> n tensors (boxes, d)."""
        last = c5.new_tensor([0, 0, 1, 1])
        x = roi_align(c5, [b - last for b in boxes], self.model_config.roi_size,
                      1 / self.backbone.stride, sampling_ratio=0, aligned=False)
        x = F.relu(self.fc(x.flatten(1)))
        x = x if self.fc2 is None else F.relu(self.fc2(x))
        return x.split([len(b) for b in boxes])


class CaffeRDN(CaffeMST, RDN):
    """RDN with these conventions."""


class CaffeMEGA(CaffeMST, MEGA):
    """MEGA with these conventions."""


def caffe_config(model: ModelConfig, **changes: object) -> ModelConfig:
    """`model` with the pixels that these weights were trained on (0..255, blue first there: the
    loader turns the first convolution around, so that images stay RGB here)."""
    mean = tuple(v / 255 for v in (122.7717, 115.9465, 102.9801))
    return replace(model, caffe_layout=True, pixel_mean=mean, pixel_std=(1 / 255,) * 3, **changes)
