"""FGFA, flow-guided feature aggregation (Zhu et al., ICCV 2017): a rival in Tables I and II.

FlowNetS warps the support frames' conv4 maps to the reference (`mstlib.model.flow`). Each cell of
the reference then becomes a weighted mean over the frames of what lies at its own place, weighted
by how alike the frames' embeddings are there. No cell asks another one, unlike the frame level of
MST (Eq. 5), which is what alignment is for. What is unstated: DEVIATIONS.md 29.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mstlib.config import ModelConfig
from mstlib.model.detector import MST


class FlowAggregation(nn.Module):
    """F''_t(p) = sum_tau w_tau(p) F'_tau(p), w = softmax_tau cos(E(F'_tau)(p), E(F'_t)(p)).

    E: three convolutions, 1x1, 3x3, 1x1, to twice the channels of the map (512, 512, 2048 in FGFA).
    """

    def __init__(self, channels: int, config: ModelConfig):
        super().__init__()
        width = config.frame_width
        self.embed = nn.Sequential(
            nn.Conv2d(channels, width, 1), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(width, 2 * channels, 1))

    def forward(self, x: Tensor, query_all: bool = False) -> Tensor:
        """Aligned windows (B, L, C, h, w), reference first -> F'' (B, 1, C, h, w) of the reference;
        supports are never aggregated, whatever `query_all`."""
        return (self.weights(x)[:, :, None] * x).sum(1, keepdim=True)

    def weights(self, x: Tensor) -> Tensor:
        """How much each frame counts at each cell, (B, L, h, w); the frames' weights sum to 1."""
        e = F.normalize(self.embed(x.flatten(0, 1)), dim=1).unflatten(0, x.shape[:2])
        return (e * e[:, :1]).sum(2).softmax(1)                        # cosines: (B, L, h, w)

    def attention(self, x: Tensor) -> Tensor:
        """`FrameLevel.attention`: (B, h*w, L, h, w), where a cell hears its own place only."""
        w = self.weights(x)
        return torch.diag_embed(w.flatten(2)).transpose(1, 2).unflatten(-1, w.shape[-2:])


class FGFA(MST):
    """The shared base with FGFA's frame level; `model.align` is to be "flow"."""

    replaces = "frame"
    frame_class = FlowAggregation
