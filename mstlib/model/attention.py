"""The attention that all three levels share (Fig. 4); they differ in who asks whom.

Left half of Fig. 4, appearance: heads of scaled dot products. Right half, geometry: a learned
function of two boxes' relative size (Eq. 9). Notebooks 04-06 walk through it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Scale and embedding: DEVIATIONS.md 11.
WAVELENGTHS, MULTIPLIER = 1000.0, 100.0  # of the sin/cos embedding, relation networks [20]
PAIRS = 1 << 21  # logits of some heads at a time: they stay in the cache, and memory is reused
FLOOR = 1e-6  # geometry weights are cut off here before the logarithm [20]


def heads(x: Tensor, G: int) -> Tensor:
    """(..., n, d) -> (..., G, n, d/G)."""
    return x.unflatten(-1, (G, -1)).transpose(-3, -2)


def merge(x: Tensor) -> Tensor:
    """(..., G, n, d/G) -> (..., n, d)."""
    return x.transpose(-3, -2).flatten(-2)


def box_sizes(boxes: Tensor) -> Tensor:
    """(n, 4) xyxy -> (n, 3): log w, log h, log w/h. Eq. 9's three terms are differences of
    these."""
    w, h = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3).log().unbind(1)
    return torch.stack([w, h, w - h], dim=1)


def phases(quantities: Tensor) -> Tensor:
    """(..., t) -> (..., t, 8): each quantity times 100 / 1000^(8k/64), k = 0..7."""
    k = torch.arange(8, device=quantities.device, dtype=quantities.dtype)
    return quantities[..., None] * (MULTIPLIER / WAVELENGTHS ** (k / 8))


def embed(quantities: Tensor) -> Tensor:
    """Sin/cos embedding of t quantities a pair: (..., t) -> (..., 16 t), sines first."""
    angle = phases(quantities).flatten(-2)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


def pair_quantities(b1: Tensor, b2: Tensor, kind: str) -> Tensor:
    """The quantities of every pair of boxes (N, 4), (M, 4) that the geometry term embeds.

    kind "size": Eq. 9, (N, M, 3). kind "full": RDN's four, with centre distances, (N, M, 4).
    """
    size = box_sizes(b1)[:, None] - box_sizes(b2)[None]                # (N, M, 3)
    if kind == "size":
        return size
    centres = (b1[:, :2] + b1[:, 2:])[:, None] / 2 - (b2[:, :2] + b2[:, 2:])[None] / 2
    extent = (b1[:, 2:] - b1[:, :2]).clamp(min=1e-3)[:, None]
    distance = (centres.abs() / extent).clamp(min=1e-3).log()          # (N, M, 2)
    return torch.cat([distance, size[..., :2]], dim=-1)


class Geometry(nn.Module):
    """log(max(relu(W_g e_ij), 1e-6)) for every pair of boxes and head (Eq. 9)."""

    def __init__(self, G: int, kind: str = "size"):
        super().__init__()
        self.kind = kind
        self.weight = nn.Linear(16 * (3 if kind == "size" else 4), G)
        nn.init.normal_(self.weight.weight, std=0.01)
        nn.init.ones_(self.weight.bias)  # log 1 = 0: geometry starts silent

    def forward(self, b1: Tensor, b2: Tensor, part: slice = slice(None)) -> Tensor:
        """Boxes (N, 4), (M, 4) -> logits (G, N, M), or those of some heads."""
        product = (self.low_rank if self.kind == "size" else self.direct)(b1, b2, part)
        if torch.is_grad_enabled():
            return product.clamp(min=FLOOR).log()                      # FLOOR > 0: relu's part, too
        return product.clamp_(min=FLOOR).log_()

    def direct(self, b1: Tensor, b2: Tensor, part: slice = slice(None)) -> Tensor:
        """W_g e_ij as written: needs the (N, M, 16 t) embedding. Returns (G, N, M)."""
        e, w = embed(pair_quantities(b1, b2, self.kind)), self.weight
        return F.linear(e, w.weight[part], w.bias[part]).permute(2, 0, 1)

    def low_rank(self, b1: Tensor, b2: Tensor, part: slice = slice(None)) -> Tensor:
        """The same for kind "size" from two per-box matrices, without any (N, M, 48) tensor.

        Every term is a difference u_i - v_j, so sin(u - v) = sin u cos v - cos u sin v and
        cos(u - v) = cos u cos v + sin u sin v split into a product of per-box factors.
        """
        u, v = phases(box_sizes(b1)).flatten(1), phases(box_sizes(b2)).flatten(1)  # (N|M, 24)
        ws, wc = self.weight.weight[part].chunk(2, dim=1)              # (G, 24) of sines, cosines
        su, cu, sv, cv = u.sin(), u.cos(), v.sin(), v.cos()
        left = torch.cat([ws[:, None] * su + wc[:, None] * cu,         # meets cos v
                          wc[:, None] * su - ws[:, None] * cu], dim=2)  # meets sin v: (G, N, 48)
        right = torch.cat([cv, sv], dim=1)                             # (M, 48)
        product, bias = left @ right.T, self.weight.bias[part, None, None]
        return product + bias if torch.is_grad_enabled() else product.add_(bias)


@dataclass(frozen=True)
class Supports:
    """Support proposals as a relation layer reads them: keys and values (G, M, d/G), boxes (M, 4).

    They do not depend on who asks: streaming computes them once in a proposal's life.
    """

    k: Tensor
    v: Tensor
    boxes: Tensor

    @staticmethod
    def join(parts: Sequence["Supports"]) -> "Supports":
        """The proposals of several frames as one set."""
        return Supports(torch.cat([p.k for p in parts], 1), torch.cat([p.v for p in parts], 1),
                        torch.cat([p.boxes for p in parts]))


class NoGeometry(nn.Module):
    """In the place of `Geometry` where boxes do not matter, as between frames far apart."""

    kind = "none"

    def forward(self, b1: Tensor, b2: Tensor, part: slice = slice(None)) -> Tensor:
        """Boxes (N, 4), (M, 4) -> logits 0 (1, N, M), the same for every head."""
        return b1.new_zeros(1, len(b1), len(b2))


class Relation(nn.Module):
    """One relation layer between reference and support proposals (Eq. 7-10).

    a'_i = a_i + sum_j s_ij W_p a_j,  s_ij = softmax_j(<W_q a_i, W_k a_j> / sqrt(d_k) + geometry_ij)

    geometry: a kind of `pair_quantities`, or "none": appearance alone decides.
    """

    def __init__(self, d: int, G: int, geometry: str = "size"):
        super().__init__()
        self.G = G
        self.query, self.key = nn.Linear(d, d), nn.Linear(d, d)
        self.value = nn.Linear(d, d, bias=False)
        self.geometry = NoGeometry() if geometry == "none" else Geometry(G, geometry)
        self.start_near_identity(d)

    def start_near_identity(self, d: int) -> None:
        """At the start a proposal averages proposals that look like it (DEVIATIONS.md 9)."""
        for layer, scale in ((self.query, 1.5), (self.key, 1.5), (self.value, 0.3)):
            layer.weight.data.mul_(0.1).add_(scale * torch.eye(d))

    def logits(self, a: Tensor, b1: Tensor, s: Tensor, b2: Tensor) -> tuple[Tensor, Tensor]:
        """Appearance (Eq. 8) and geometry (Eq. 9) logits, each (G, N, M).

        a (N, d), b1 (N, 4): reference features and boxes; s (M, d), b2 (M, 4): supports.
        """
        return self.compare(a, b1, self.supports(s, b2))

    def compare(self, a: Tensor, b1: Tensor, s: Supports) -> tuple[Tensor, Tensor]:
        """As `logits`, of supports projected before."""
        q = heads(self.query(a), self.G)                               # (G, N, d/G)
        return q @ s.k.transpose(1, 2) / math.sqrt(q.shape[-1]), self.geometry(b1, s.boxes)

    def forward(self, a: Tensor, b1: Tensor, s: Tensor, b2: Tensor) -> Tensor:
        """Features and boxes of references (N, .) and supports (M, .) -> updated (N, d) (Eq.
        10)."""
        return self.ask(a, b1, self.supports(s, b2))

    def supports(self, s: Tensor, b2: Tensor) -> Supports:
        """Features (M, d) and boxes (M, 4), projected; before weighting: same result, cheaper."""
        return Supports(heads(self.key(s), self.G), heads(self.value(s), self.G), b2)

    def ask(self, a: Tensor, b1: Tensor, s: Supports) -> Tensor:
        """As `forward`, of supports projected before."""
        q = heads(self.query(a), self.G)                               # (G, N, d/G)
        some = max(1, PAIRS // max(1, len(a) * len(s.boxes)))          # heads
        if self.geometry.kind != "size":                               # embeds all pairs anyway
            some = self.G
        out = [F.scaled_dot_product_attention(
                   q[None, part], s.k[None, part], s.v[None, part],
                   attn_mask=self.geometry(b1, s.boxes, part)[None])[0]
               for part in (slice(g, g + some) for g in range(0, self.G, some))]
        return a + merge(torch.cat(out))

    def weighted(self, a: Tensor, v: Tensor, logits: Tensor) -> Tensor:
        """Eq. 10 for values (G, M, d/G) and logits (G, N, M), -inf for pairs not related."""
        return a + merge(logits.softmax(-1) @ v)
