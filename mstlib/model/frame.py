"""Frame level: every cell of every frame asks every cell of every frame (Eq. 4-6, Fig. 4 left).

Tokens are all positions of all frames of the window; F'' = A V + F'. As printed, Eq. 5 compares
content only, so that moving an object's features about changes nothing and alignment is worth
nothing. A term of place (`frame_place`, DEVIATIONS.md 10) lets near cells count more. Notebook 04
walks through this module.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mstlib.config import ModelConfig, MSTError
from mstlib.model.attention import heads, merge

PLACE_COLUMNS = 8  # three are needed; attention kernels are fast at multiples of eight


@dataclass(frozen=True)
class Tokens:
    """Frames as keys and values of the frame level: k (n, G, H*W, c'), v (n, G, H*W, c), and what
    a window's mean and spread are made of: sum (n, C) and sum of squares (n,) of the tokens.

    They do not depend on the window: streaming computes them once in a frame's life.
    """

    k: Tensor
    v: Tensor
    sum: Tensor
    square: Tensor


class FrameLevel(nn.Module):
    """One layer of multi-head attention over the window's pixels, residual (Eq. 4-6)."""

    def __init__(self, channels: int, config: ModelConfig):
        super().__init__()
        width = config.frame_width
        self.G, self.query_all = config.frame_heads, config.frame_query == "all"
        self.query, self.key, self.value = (nn.Linear(channels, width) for _ in range(3))
        self.expand = nn.Linear(width, channels)
        self.sharpness = None  # softplus of it weighs the squared distance, per head
        if config.frame_place:
            start = math.log(math.expm1(config.frame_place))
            self.sharpness = nn.Parameter(torch.full((self.G,), start))
        if config.frame_init == "identity":
            self.start_as_identity(channels, width)
        else:
            nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)

    def start_as_identity(self, channels: int, width: int) -> None:
        """Start by averaging what looks alike, instead of learning from zero what to compare.

        A zero-initialised layer stays at the single-frame baseline for long (DEVIATIONS.md 9).
        """
        if width != channels:
            raise MSTError(f"frame_init 'identity' needs frame_width == {channels} channels, "
                           f"got {width}; use frame_init 'zero'")
        for layer, scale in ((self.query, 1.0), (self.key, 1.0), (self.value, 0.5),
                             (self.expand, 1.0)):
            nn.init.eye_(layer.weight)
            layer.weight.data.mul_(scale)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, query_all: bool | None = None) -> Tensor:
        """Aligned windows (B, L, C, H, W) -> F'' of all frames, or (B, 1, C, H, W) of the
        reference.

        query_all None takes the configuration's choice (Table IX).
        """
        every = self.query_all if query_all is None else query_all
        B, L, C, H, W = x.shape
        t = x.permute(0, 1, 3, 4, 2).reshape(B, L * H * W, C)          # tokens, reference first
        n = L * H * W if every else H * W
        q, k, v = self.project(t, n, (H, W))
        c = v.shape[-1]
        v = F.pad(v, (0, q.shape[-1] - c))  # equal widths: the fast kernels ask for it
        out = F.scaled_dot_product_attention(q, k, v, scale=c**-0.5)[..., :c]
        out = t[:, :n] + self.expand(merge(out))                       # (B, n, C)
        return out.reshape(B, -1, H, W, C).permute(0, 1, 4, 2, 3)

    def project(self, t: Tensor, n: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Q of the first n tokens, K and V of all (Eq. 4), each (B, G, n, width/G).

        Tokens are centred on the window's mean and scaled by its spread first, so that dot products
        compare what differs, whatever the size of the features. Q and K carry the term of place in
        further columns.
        """
        centred = t - t.mean(1, keepdim=True)
        unit = centred / (centred.pow(2).mean((1, 2), keepdim=True).sqrt() + 1e-6)
        q, k, v = (heads(x, self.G) for x in
                   (self.query(unit[:, :n]), self.key(unit), self.value(centred)))
        if self.sharpness is not None:
            of_q, of_k = self.places(size, v.shape[-1], t)
            q = torch.cat([q, of_q.repeat(1, n // len(of_q[0]), 1).expand(len(t), -1, -1, -1)], -1)
            k = torch.cat([k, of_k.repeat(1, t.shape[1] // len(of_k[0]), 1)
                           .expand(len(t), -1, -1, -1)], -1)
        return q, k, v

    def places(self, size: tuple[int, int], c: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Columns of Q and K whose product is -sharpness |p - p'|^2 for cells p, p'; (G, H*W, 8).

        |p - p'|^2 = |p|^2 - 2 p.p' + |p'|^2, and the softmax over p' does not see |p|^2: three
        columns do it, so that no matrix over pairs of cells is built.
        """
        along = [torch.arange(m, device=like.device, dtype=like.dtype) - (m - 1) / 2 for m in size]
        p = torch.stack(torch.meshgrid(*along, indexing="ij"), -1).flatten(0, 1)  # (H*W, 2)
        s = F.softplus(self.sharpness)[:, None, None] * c**0.5         # (G, 1, 1), undoes the scale
        of_q = torch.cat([2 * s * p, -s.expand(-1, len(p), 1)], -1)
        of_k = torch.cat([p, p.pow(2).sum(-1, keepdim=True)], -1).expand(self.G, -1, -1)
        return tuple(F.pad(x, (0, PLACE_COLUMNS - 3)) for x in (of_q, of_k))

    def tokens(self, maps: Tensor) -> Tokens:
        """Maps (n, C, H, W) of frames, projected without their window's mean and spread."""
        t = maps.flatten(2).transpose(1, 2)                            # (n, H*W, C)
        k, v = (heads(F.linear(t, layer.weight), self.G) for layer in (self.key, self.value))
        if self.sharpness is not None:
            of_k = self.places(maps.shape[-2:], v.shape[-1], t)[1]
            k = torch.cat([k, of_k.expand(len(t), -1, -1, -1)], -1)
        t = t.float()  # sums of many: not in half precision
        return Tokens(k, v, t.sum(1), t.square().sum((1, 2)))

    def ask(self, x: Tensor, window: Tokens) -> Tensor:
        """F'' of references (B, C, H, W) whose windows (B, L, ...) were projected before.

        As `forward` of the references: centring by the mean mu and scaling by the spread sigma
        commute with the projections. A logit q (W_k (t - mu) / sigma + b) is q W_k t / sigma and
        what all keys share, which the softmax does not see; values are W_v t, their weighted mean
        is moved by b - W_v mu afterwards.
        """
        B, C, H, W = x.shape
        n = window.sum.shape[1] * H * W * C                            # numbers in a window
        mean = window.sum.sum(1) * (C / n)                             # (B, C)
        spread = (window.square.sum(1) / n - mean.square().mean(1)).clamp(min=0).sqrt() + 1e-6
        t = x.flatten(2).transpose(1, 2)                               # (B, H*W, C)
        unit = (t - mean[:, None]) / spread[:, None, None]
        k, v = (of.transpose(1, 2).flatten(2, 3) for of in (window.k, window.v))
        c = v.shape[-1]
        q = heads(self.query(unit.to(t.dtype)), self.G) / spread[:, None, None, None].to(t.dtype)
        if self.sharpness is not None:
            of_q = self.places((H, W), c, t)[0]
            q = torch.cat([q, of_q.expand(B, -1, -1, -1)], -1)
        v = F.pad(v, (0, q.shape[-1] - c))
        out = merge(F.scaled_dot_product_attention(q, k, v, scale=c**-0.5)[..., :c])
        shift = self.value.bias - F.linear(mean.to(t.dtype), self.value.weight)
        out = t + self.expand(out + shift[:, None])
        return out.transpose(1, 2).unflatten(2, (H, W))

    def attention(self, x: Tensor, asking: int = 0) -> Tensor:
        """Weights of one frame's cells over all cells, mean over heads: (B, H*W, L, H, W).

        x (B, L, C, H, W): aligned windows; asking: the frame whose cells ask, 0 the reference.
        """
        B, L, C, H, W = x.shape
        x = x.roll(-asking, 1)                                         # who asks comes first
        q, k, v = self.project(x.permute(0, 1, 3, 4, 2).reshape(B, L * H * W, C), H * W, (H, W))
        A = (q @ k.transpose(-2, -1) / v.shape[-1] ** 0.5).softmax(-1)  # (B, G, H*W, L*H*W), Eq. 5
        return A.mean(1).unflatten(-1, (L, H, W)).roll(asking, 2)
