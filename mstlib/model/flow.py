"""FlowNetS in the place of DAlign: the alignment of FGFA, and of "Ours-F" (Table IV).

The flow from the reference to a support frame is computed of their images, so conv4 maps carry
these along: behind a map's own channels lie the pixels of its image, halved, 3 (stride / 2)^2 of
them in each cell. Everything between the backbone and the alignment (windows, kept maps, frames
held while streaming) then works for both.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mstlib.config import ModelConfig
from mstlib.model.backbone import normalised, stride_of
from mstlib.model.flownet import FlowNetS, flow_of_halves, halved, warp


@dataclass(frozen=True)
class Pictures:
    """Frames (..., n) as flow reads them: maps (n, C, h, w) and halved images as_reference
    (n, 3, H/2, W/2). As `dalign.Halves`, none depends on the partner."""

    maps: Tensor
    as_reference: Tensor


def carry(maps: Tensor, images: Tensor, stride: int) -> Tensor:
    """conv4 maps (n, C, h, w) with the pixels of their normalised images (n, 3, H, W) behind them:
    (n, C + 3 (stride/2)^2, h, w)."""
    pixels = F.pixel_unshuffle(halved(images, stride), stride // 2)
    return torch.cat([maps, pixels.to(maps.dtype)], dim=1)


def carry_images(mean: Tensor, std: Tensor, stride: int, maps: Tensor, images: Tensor) -> Tensor:
    """As `carry`, of uint8 images; mean and std (3, 1, 1) of pixels in 0..1."""
    return carry(maps, normalised(images, mean, std), stride)


class FlowAlign(nn.Module):
    """Align every frame of a window to its reference by optical flow; `DAlign`'s interface."""

    def __init__(self, channels: int, config: ModelConfig):
        super().__init__()
        self.channels, self.stride = channels, stride_of(config)
        self.net = FlowNetS(config.flow_width)

    def halves(self, carried: Tensor) -> Pictures:
        """The two things that carried maps (n, C + ., h, w) hold."""
        maps, pixels = carried.split([self.channels, carried.shape[1] - self.channels], dim=1)
        return Pictures(maps, F.pixel_shuffle(pixels, self.stride // 2))

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Carried windows (B, L, C + ., h, w), reference first -> aligned windows (B, L, C, h, w)
        and a trace: `displacement` (B, L, h, w, 2), the flow, (x, y) in cells."""
        whole = self.halves(x.flatten(0, 1))
        window = Pictures(*(of.unflatten(0, x.shape[:2])
                            for of in (whole.maps, whole.as_reference)))
        aligned, flow = self.warped(window.as_reference[:, 0], window)
        return aligned, {"displacement": flow.permute(0, 1, 3, 4, 2)}

    def align(self, reference: Tensor, window: Pictures) -> Tensor:
        """As `forward` without a trace: the halved image of the reference (B, 3, H/2, W/2) and its
        window (B, L, ...) -> aligned windows (B, L, C, h, w)."""
        return self.warped(reference, window)[0]

    def warped(self, reference: Tensor, window: Pictures) -> tuple[Tensor, Tensor]:
        """F'_tau (B, L, C, h, w), and the flow (B, L, 2, h, w) in cells that it was read at."""
        shape = window.maps.shape[:2]
        one = reference[:, None].expand_as(window.as_reference).flatten(0, 1).float()
        flow = flow_of_halves(self.net, one, window.as_reference.flatten(0, 1).float(), self.stride)
        aligned = warp(window.maps.flatten(0, 1), flow)                # (B*L, C, h, w)
        return aligned.unflatten(0, shape), flow.unflatten(0, shape)
