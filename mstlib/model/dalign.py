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


def corners(offsets: Tensor, dilation: int = 1) -> tuple[Tensor, Tensor]:
    """Which four cells each of the nine displaced taps of every cell lies between, and how near.

    offsets (B, 18, H, W): (dy, dx) in cells for each tap of the 3x3 grid, in the layout of
    torchvision's deform_conv2d. Returns (B, 9, H, W, 4) cells of their map, row by row, and their
    bilinear weights, 0 outside the map; in float32 at least, since bfloat16 has no room for the
    fractions of a place.
    """
    B, _, H, W = offsets.shape
    offsets = offsets.to(torch.promote_types(offsets.dtype, torch.float32))
    dy, dx = offsets.unflatten(1, (9, 2)).unbind(2)                    # (B, 9, H, W)
    like = {"device": offsets.device, "dtype": dy.dtype}
    grid = torch.arange(-1, 2, **like) * dilation
    rows, columns = torch.arange(H, **like)[:, None], torch.arange(W, **like)
    y = rows + grid.repeat_interleave(3)[:, None, None] + dy           # (B, 9, H, W)
    x_ = columns + grid.repeat(3)[:, None, None] + dx
    y0, x0 = y.detach().floor(), x_.detach().floor()
    ly, lx = y - y0, x_ - x0                                           # bilinear fractions
    index, weight = [], []
    for cy, wy in ((y0, 1 - ly), (y0 + 1, ly)):
        for cx, wx in ((x0, 1 - lx), (x0 + 1, lx)):
            inside = (cy >= 0) & (cy < H) & (cx >= 0) & (cx < W)
            index.append(cy.clamp(0, H - 1).long() * W + cx.clamp(0, W - 1).long())
            weight.append(wy * wx * inside)
    return torch.stack(index, -1), torch.stack(weight, -1)


def sample_taps(x: Tensor, offsets: Tensor, dilation: int = 1) -> Tensor:
    """Bilinear samples of x (B, C, H, W) at the taps of every cell: (B, H*W, 9, C), 0 outside.

    offsets (B, 18, H, W) as in `corners`. Four corners are gathered and weighted in one
    embedding_bag: the same numbers as deform_conv2d, many times faster on a CPU.
    """
    B, C, H, W = x.shape
    index, weight = corners(offsets, dilation)                         # (B, 9, H, W, 4)
    index = index + torch.arange(B, device=x.device).view(-1, 1, 1, 1, 1) * (H * W)
    index, weight = (of.permute(0, 2, 3, 1, 4).reshape(-1, 4) for of in (index, weight))
    table = x.permute(0, 2, 3, 1).reshape(-1, C)                       # (B*H*W, C)
    taps = F.embedding_bag(index, table, mode="sum", per_sample_weights=weight.to(x.dtype))
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


def tap_products(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """What each cell of x (B, C, H, W) gives at each tap of a kernel (O, C, 3, 3), for each group
    of channels: (B, H*W, groups, 9, O).

    Sampling is linear, so a deformable convolution is a weighted sum of these; they do not depend
    on the offsets, that is on the reference.
    """
    kernel = weight.permute(1, 2, 3, 0).unflatten(0, (groups, -1)).flatten(2)  # (g, C/g, 9 * O)
    cells = x.flatten(2).unflatten(1, (groups, -1)).transpose(2, 3)    # (B, g, H*W, C/g)
    return (cells @ kernel).unflatten(-1, (9, -1)).transpose(1, 2)


def sum_taps(products: Tensor, offsets: Tensor) -> Tensor:
    """The deformable convolution from its `tap_products` (B, H*W, g, 9, O) and offsets (B, 18 g,
    H, W): (B, O, H, W)."""
    B, n, g = products.shape[:3]
    index, weight = corners(offsets.unflatten(1, (g, 18)).flatten(0, 1))  # (B*g, 9, H, W, 4)
    index, weight = (of.unflatten(0, (B, g)) for of in (index, weight))
    cell = torch.arange(B, device=index.device).view(-1, 1, 1, 1, 1, 1) * n + index
    group = torch.arange(g, device=index.device).view(-1, 1, 1, 1, 1)
    tap = torch.arange(9, device=index.device).view(-1, 1, 1, 1)
    row = (cell * g + group) * 9 + tap                                  # of the flat table
    row, weight = (of.permute(0, 3, 4, 1, 2, 5).reshape(B * n, -1) for of in (row, weight))
    out = F.embedding_bag(row, products.flatten(0, 3), mode="sum",
                          per_sample_weights=weight.to(products.dtype))
    return out.view(B, *offsets.shape[-2:], -1).permute(0, 3, 1, 2)


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
