"""Proposal level: the reference's proposals ask the supports' best proposals (Eq. 7-11).

Two stacked relation layers; support features stay as they are between the layers. RDN and MEGA
replace this step by their own (`mstlib.model.rdn`, `mstlib.model.mega`). Notebook 05 walks through
it.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from mstlib.config import ModelConfig
from mstlib.model.attention import Relation, Supports


class ProposalLevel(nn.Module):
    """R' = N_pro(R^r, R^st) (Eq. 11).

    before: what the reference's features go through on their way to each layer: nothing here
    (DEVIATIONS.md 27), a fully connected layer in `mstlib.model.caffe`.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.layers = nn.ModuleList(
            Relation(config.width, config.heads, config.geometry)
            for _ in range(config.relation_layers)
        )
        self.before = nn.ModuleList(nn.Identity() for _ in self.layers)

    def forward(self, a: Tensor, b1: Tensor, s: Tensor, b2: Tensor) -> Tensor:
        """Reference features (N, d) and boxes (N, 4), supports (M, d), (M, 4) -> R' (N, d)."""
        return self.ask(a, b1, self.supports(s, b2))

    def supports(self, s: Tensor, b2: Tensor, counts: Sequence[int] = ()) -> list[Supports]:
        """Support features (M, d) and boxes (M, 4) as each layer reads them.

        counts: how many each frame has, best first, for those who tell frames apart (RDN, MEGA);
        all are of one frame unless given.
        """
        return [layer.supports(s, b2) for layer in self.layers]

    def ask(self, a: Tensor, b1: Tensor, supports: list[Supports]) -> Tensor:
        """As `forward`, of supports projected before."""
        for before, layer, s in zip(self.before, self.layers, supports, strict=False):
            a = layer.ask(before(a), b1, s)
        return a

    def weights(self, a: Tensor, b1: Tensor, supports: list[Supports]) -> list[dict[str, Tensor]]:
        """Per layer: appearance and geometry logits and the weights s_ij (Eq. 7), each (G, N,
        M)."""
        out = []
        for before, layer, s in zip(self.before, self.layers, supports, strict=False):
            a = before(a)
            appearance, geometry = layer.compare(a, b1, s)
            weights = (appearance + geometry).softmax(-1)
            out.append({"appearance": appearance, "geometry": geometry, "weights": weights})
            a = layer.ask(a, b1, s)
        return out
