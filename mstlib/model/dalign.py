"""DAlign: deformable feature alignment to the reference frame (Sec. III-B, Fig. 3, Eq. 1-3).

    Theta = f(F_t, F_tau)                                                            (Eq. 1)
    F'_tau(p0) = sum_n w(p_n) F_tau(p0 + p_n + dp_n)                                 (Eq. 2)

Two layouts hit the printed 1.956 M parameters (method, DEVIATIONS.md 5); both are here. Notebook 03
walks through this module.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mstlib.config import ModelConfig


def sample_taps(x: Tensor, offsets: Tensor, dilation: int = 1) -> Tensor:
    """Bilinear samples of x at the nine displaced taps of every cell.

    x (B, C, H, W); offsets (B, 18, H, W): (dy, dx) in cells for each tap of the 3x3 grid, in the
    layout of torchvision's deform_conv2d. Returns (B, H*W, 9, C); zero outside the map. Four
    corners are gathered and weighted in one embedding_bag: the same numbers as deform_conv2d, many
    times faster on a CPU.
    """
    B, C, H, W = x.shape
    dy, dx = offsets.unflatten(1, (9, 2)).unbind(2)                    # (B, 9, H, W)
    grid = torch.arange(-1, 2, device=x.device, dtype=x.dtype) * dilation
    rows = torch.arange(H, device=x.device, dtype=x.dtype)[:, None]
    columns = torch.arange(W, device=x.device, dtype=x.dtype)
    y = rows + grid.repeat_interleave(3)[:, None, None] + dy           # (B, 9, H, W)
    x_ = columns + grid.repeat(3)[:, None, None] + dx
    y0, x0 = y.detach().floor(), x_.detach().floor()
    ly, lx = y - y0, x_ - x0                                           # bilinear fractions
    first = torch.arange(B, device=x.device)[:, None, None, None] * (H * W)
    index, weight = [], []
    for cy, wy in ((y0, 1 - ly), (y0 + 1, ly)):
        for cx, wx in ((x0, 1 - lx), (x0 + 1, lx)):
            inside = (cy >= 0) & (cy < H) & (cx >= 0) & (cx < W)
            cell = cy.clamp(0, H - 1).long() * W + cx.clamp(0, W - 1).long()
            index.append(first + cell)
            weight.append(wy * wx * inside)
    index = torch.stack(index, -1).permute(0, 2, 3, 1, 4).reshape(-1, 4)    # (B*H*W*9, 4)
    weight = torch.stack(weight, -1).permute(0, 2, 3, 1, 4).reshape(-1, 4)
    table = x.permute(0, 2, 3, 1).reshape(-1, C)                       # (B*H*W, C)
    taps = F.embedding_bag(index, table, mode="sum", per_sample_weights=weight)
    return taps.view(B, H * W, 9, C)


def deform_conv(x: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    """Deformable 3x3 convolution, stride 1, padding 1 (Eq. 2).

    x (B, C, H, W); offsets (B, 18 g, H, W) for g offset groups, cells; weight (O, C, 3, 3).
    Returns (B, O, H, W).
    """
    B, _, H, W = x.shape
    groups = offsets.shape[1] // 18
    taps = [sample_taps(xg, og) for xg, og in zip(x.chunk(groups, 1), offsets.chunk(groups, 1),
                                                  strict=True)]
    taps = torch.cat(taps, dim=3)                                      # (B, H*W, 9, C)
    kernel = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])   # (9 * C, O)
    return (taps.flatten(2) @ kernel).transpose(1, 2).reshape(B, -1, H, W)


def displacement(offsets: Tensor) -> Tensor:
    """Where each cell looks in the support frame, (B, H, W, 2) as (x, y) in cells.

    offsets (B, 18 g, H, W) of ONE deformable layer; the mean over its taps and groups.
    """
    dy, dx = offsets.unflatten(1, (-1, 2)).mean(1).unbind(1)
    return torch.stack([dx, dy], dim=-1)


def chain(first: Tensor, second: Tensor) -> Tensor:
    """Displacement of two sampling layers in a row: d1(p) + d2'(p), both (B, H, W, 2) in cells.

    The second layer's output at p reads the first layer's map at p + second(p), which in turn has
    looked first(p + second(p)) further: so `first` is sampled there, bilinearly.
    """
    B, H, W, _ = first.shape
    ys, xs = torch.meshgrid(torch.arange(H, device=first.device),
                            torch.arange(W, device=first.device), indexing="ij")
    at = second + torch.stack([xs, ys], dim=-1)
    size = torch.tensor([W, H], device=first.device, dtype=first.dtype)
    grid = (2 * at + 1) / size - 1
    moved = F.grid_sample(first.permute(0, 3, 1, 2), grid, padding_mode="border",
                          align_corners=False)
    return second + moved.permute(0, 2, 3, 1)


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
        a = F.relu(deform_conv(tau, first, self.deform1.weight))
        a = deform_conv(a, second, self.deform2.weight)                # (B*L, m, H, W)
        aligned = self.expand(standardise(F.relu(a)))
        if self.residual:
            aligned = tau + aligned
        moved = chain(displacement(first), displacement(second)).unflatten(0, (B, L))
        return aligned.unflatten(0, (B, L)), {"offsets": second, "displacement": moved}

    def joint(self, x: Tensor) -> Tensor:
        """First convolution on the concatenation (F_t, F_tau), (B*L, m, H, W).

        A convolution of a concatenation is the sum of two convolutions, and the reference's half is
        the same for all frames of its window: it is computed once.
        """
        w_ref, w_tau = self.concat.weight.chunk(2, dim=1)
        reference = F.conv2d(x[:, 0], w_ref, self.concat.bias, padding=1)
        support = F.conv2d(x.flatten(0, 1), w_tau, padding=1).unflatten(0, x.shape[:2])
        return F.relu(standardise((reference[:, None] + support).flatten(0, 1)))

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
