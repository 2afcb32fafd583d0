"""DAlign: deformable feature alignment to the reference frame (Sec. III-B, Fig. 3, Eq. 1-3).

    Theta = f(F_t, F_tau)                                                            (Eq. 1)
    F'_tau(p0) = sum_n w(p_n) F_tau(p0 + p_n + dp_n)                                 (Eq. 2)

Two layouts hit the printed 1.956 M parameters (method, DEVIATIONS.md 5); both are here. Notebook 03
walks through this module.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mstlib.config import ModelConfig
from mstlib.model.deform import chain, deform_conv, displacement, sum_taps, tap_products


def conv3(inputs: int, outputs: int, bias: bool = False) -> nn.Conv2d:
    """A 3x3 convolution that keeps the map's size."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


def zero_(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with all its parameters at zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def standardise(x: Tensor) -> Tensor:
    """Zero mean and unit variance over all of a sample's channels and cells; no parameters."""
    return F.group_norm(x, 1)


@dataclass(frozen=True)
class Halves:
    """Frames (..., n) as DAlign reads them: maps (n, C, H, W), the halves of its first convolution
    as reference and as support, each (n, m, H, W), and `tap_products` of its first sampling layer.

    None depends on the partner: streaming computes them once in a frame's life.
    """

    maps: Tensor
    as_reference: Tensor
    as_support: Tensor
    products: Tensor


class DAlign(nn.Module):
    """Align every frame of a window to its reference (Eq. 3).

    layout 1: plain convolutions predict one Theta, two deformable layers share it: 1,955,986
    parameters at 1024 channels. layout 2: four deformable layers, each with its own two-group
    offsets: 1,956,048. Offset layers start at zero, so sampling starts on the regular grid.
    """

    def __init__(self, channels: int, config: ModelConfig):
        super().__init__()
        m, two = config.dalign_mid, config.dalign_layout == 2
        self.two, self.residual, self.bound = two, config.dalign_residual, config.dalign_bound
        self.concat = conv3(2 * channels, m, bias=two)
        self.mix1, self.mix2 = conv3(m, m), conv3(m, m)
        self.deform1, self.deform2 = conv3(channels, m), conv3(m, m)  # only their weights are used
        self.expand = nn.Conv2d(m, channels, 1, bias=two)
        if two:  # offsets of mix1, mix2, deform1, deform2, each in two offset groups
            self.offsets = nn.ModuleList(zero_(nn.Conv2d(m, 36, 1)) for _ in range(4))
        else:
            self.theta = zero_(conv3(m, 18, bias=True))
        if self.residual:
            zero_(self.expand)

    def forward(self, x: Tensor, maps: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Windows (B, L, C, H, W), reference first -> aligned windows of the same shape, and a
        trace.

        The trace has `offsets` (B*L, 18 g, H, W) of the last sampling layer and `displacement` (B,
        L, H, W, 2): the place (x, y), relative to each cell and in cells, that it reads in frame
        tau.
        """
        B, L = x.shape[:2]
        tau = x.flatten(0, 1)                                          # (B*L, C, H, W)
        h = self.joint(x)
        first, second = self.sampling(h)
        aligned = self.read(tau, deform_conv(tau, first, self.deform1.weight), second)
        moved = chain(displacement(first), displacement(second)).unflatten(0, (B, L))
        return aligned.unflatten(0, (B, L)), {"offsets": second, "displacement": moved}

    def read(self, tau: Tensor, a: Tensor, second: Tensor) -> Tensor:
        """From the first sampling layer's output a (B*L, m, H, W) to F'_tau (B*L, C, H, W)."""
        a = deform_conv(F.relu(a), second, self.deform2.weight)        # (B*L, m, H, W)
        aligned = self.expand(standardise(F.relu(a)))
        return tau + aligned if self.residual else aligned

    def joint(self, x: Tensor) -> Tensor:
        """First convolution on the concatenation (F_t, F_tau), (B*L, m, H, W).

        A convolution of a concatenation is the sum of two convolutions, and the reference's half is
        the same for all frames of its window: it is computed once.
        """
        w_ref, w_tau = self.concat.weight.chunk(2, dim=1)
        reference = F.conv2d(x[:, 0], w_ref, self.concat.bias, padding=1)
        support = F.conv2d(x.flatten(0, 1), w_tau, padding=1).unflatten(0, x.shape[:2])
        return F.relu(standardise((reference[:, None] + support).flatten(0, 1)))

    def halves(self, maps: Tensor) -> Halves:
        """What DAlign can compute of maps (n, C, H, W) before it knows whom they are aligned to."""
        w_ref, w_tau = self.concat.weight.chunk(2, dim=1)
        return Halves(maps, F.conv2d(maps, w_ref, self.concat.bias, padding=1),
                      F.conv2d(maps, w_tau, padding=1),
                      tap_products(maps, self.deform1.weight, 2 if self.two else 1))

    def align(self, reference: Tensor, window: Halves) -> Tensor:
        """As `forward` without a trace, from halves: the reference's half (B, m, H, W) as one and
        the windows (B, L, ...) -> aligned windows (B, L, C, H, W)."""
        shape = window.maps.shape[:2]
        h = F.relu(standardise((reference[:, None] + window.as_support).flatten(0, 1)))
        first, second = self.sampling(h)
        a = sum_taps(window.products.flatten(0, 1), first)
        return self.read(window.maps.flatten(0, 1), a, second).unflatten(0, shape)

    def sampling(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets of the two layers that sample F_tau (Eq. 1), each (B*L, 18 g, H, W), in cells."""
        if self.two:
            h = F.relu(deform_conv(h, self.bounded(self.offsets[0](h)), self.mix1.weight))
            h = F.relu(deform_conv(h, self.bounded(self.offsets[1](h)), self.mix2.weight))
            return self.bounded(self.offsets[2](h)), self.bounded(self.offsets[3](h))
        h = F.relu(self.mix2(F.relu(self.mix1(h))))
        theta = self.bounded(self.theta(h))
        return theta, theta

    def bounded(self, offsets: Tensor) -> Tensor:
        """Offsets within +- bound cells: unbounded ones ran off the map: DEVIATIONS.md 7."""
        if not self.bound:
            return offsets
        return self.bound * torch.tanh(offsets / self.bound)
