"""Deformable sampling: reading a feature map at displaced places (Eq. 2).

The same numbers as torchvision's deform_conv2d, in a form that is many times faster on a CPU, and
what it means as motion: where a cell looks, and every place that it reads. Notebook 03 walks
through this module.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


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


def sampling_points(first: Tensor, second: Tensor, cell: tuple[int, int]) -> Tensor:
    """Every place that two sampling layers in a row read for one cell: (81, 2) as (x, y) in cells.

    first, second (18, H, W): offsets of the layers in the order in which they read the map, one
    group each; cell (row, column). The second layer reads the first one's output at nine places;
    each of these, rounded to its cell, has read nine of the map.
    """
    H, W = second.shape[-2:]
    stops = taps_of(second, cell)                                      # (9, 2)
    cells = [(min(max(round(y), 0), H - 1), min(max(round(x), 0), W - 1))
             for x, y in stops.tolist()]
    at = torch.tensor([(column, row) for row, column in cells])        # (9, 2)
    read = torch.stack([taps_of(first, c) for c in cells])             # (9, 9, 2)
    return (stops[:, None] + read - at[:, None]).flatten(0, 1)


def taps_of(offsets: Tensor, cell: tuple[int, int]) -> Tensor:
    """The nine places (x, y), in cells, at which a layer with offsets (18, H, W) reads for a cell
    (row, column): (9, 2)."""
    dy, dx = offsets[:, cell[0], cell[1]].view(9, 2).unbind(1)
    along = torch.arange(-1, 2, device=offsets.device)
    return torch.stack([cell[1] + along.repeat(3) + dx,
                        cell[0] + along.repeat_interleave(3) + dy], dim=1)
