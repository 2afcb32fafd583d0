"""Frame level: every cell of every frame asks every cell of every frame (Eq. 4-6, Fig. 4 left).

Tokens are all positions of all frames of the window; F'' = A V + F'. There is no position in it:
only content is compared, so that moving an object's features changes nothing. With `frame_scope`
"cell" each cell asks its own place in the other frames only: the control that shows what alignment
is worth to an aggregator that looks at places. Notebook 04 walks through this module.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mstlib.config import ModelConfig, MSTError
from mstlib.model.attention import heads, merge


class FrameLevel(nn.Module):
    """One layer of multi-head attention over the window's pixels, residual (Eq. 4-6)."""

    def __init__(self, channels: int, config: ModelConfig):
        super().__init__()
        width = config.frame_width
        self.G, self.query_all = config.frame_heads, config.frame_query == "all"
        self.same_cell = config.frame_scope == "cell"
        self.query, self.key, self.value = (nn.Linear(channels, width) for _ in range(3))
        self.expand = nn.Linear(width, channels)
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
        q, k, v = self.project(t, n)
        if self.same_cell:  # every cell is a sequence of its own, L long
            q, k, v = (x.unflatten(2, (-1, H * W)).transpose(2, 3) for x in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v)
        if self.same_cell:
            out = out.transpose(2, 3).flatten(2, 3)
        out = merge(out)                                               # (B, n, width)
        out = t[:, :n] + self.expand(out)
        return out.reshape(B, -1, H, W, C).permute(0, 1, 4, 2, 3)

    def project(self, t: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Q of the first n tokens, K and V of all (Eq. 4), each (B, G, n, width/G).

        Tokens are centred on the window's mean and scaled by its spread first, so that dot products
        compare what differs, whatever the size of the features.
        """
        centred = t - t.mean(1, keepdim=True)
        unit = centred / (centred.pow(2).mean((1, 2), keepdim=True).sqrt() + 1e-6)
        q, k, v = self.query(unit[:, :n]), self.key(unit), self.value(centred)
        return heads(q, self.G), heads(k, self.G), heads(v, self.G)

    def attention(self, x: Tensor) -> Tensor:
        """Weights of the reference's cells over all cells, mean over heads: (B, H*W, L, H, W)."""
        B, L, C, H, W = x.shape
        q, k, _ = self.project(x.permute(0, 1, 3, 4, 2).reshape(B, L * H * W, C), H * W)
        logits = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5          # (B, G, H*W, L*H*W)
        if self.same_cell:
            same = torch.eye(H * W, dtype=torch.bool, device=x.device).repeat(1, L)
            logits = logits.masked_fill(~same, -torch.inf)
        A = logits.softmax(-1)                                         # Eq. 5
        return A.mean(1).unflatten(-1, (L, H, W))

