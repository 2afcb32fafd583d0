"""Proposal level: the reference's proposals ask the supports' best proposals (Eq. 7-11).

Two stacked relation layers; support features stay as they are between the layers. Notebook 05 walks
through it.
"""

from torch import Tensor, nn

from mstlib.config import ModelConfig
from mstlib.model.attention import Relation


class ProposalLevel(nn.Module):
    """R' = N_pro(R^r, R^st) (Eq. 11)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.layers = nn.ModuleList(
            Relation(config.width, config.heads, config.geometry)
            for _ in range(config.relation_layers)
        )

    def forward(self, a: Tensor, b1: Tensor, s: Tensor, b2: Tensor) -> Tensor:
        """Reference features (N, d) and boxes (N, 4), supports (M, d), (M, 4) -> R' (N, d)."""
        for layer in self.layers:
            a = layer(a, b1, s, b2)
        return a

    def weights(self, a: Tensor, b1: Tensor, s: Tensor, b2: Tensor) -> list[dict[str, Tensor]]:
        """Per layer: appearance and geometry logits and the weights s_ij (Eq. 7), each (G, N,
        M)."""
        out = []
        for layer in self.layers:
            appearance, geometry = layer.logits(a, b1, s, b2)
            weights = (appearance + geometry).softmax(-1)
            out.append({"appearance": appearance, "geometry": geometry, "weights": weights})
            a = layer(a, b1, s, b2)
        return out
