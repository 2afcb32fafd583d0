"""RDN, relation distillation networks (Deng et al., ICCV 2019), a parent of the method and a rival
in Tables I and II.

Its base stage is variant (c): two relation layers (Sec. III-C, "Following the RDN"). The advanced
stage distils the supports: the best of each frame, the leading ones, are related to all supports,
and the reference is related once more, to these refined ones.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mstlib.config import ModelConfig
from mstlib.model.attention import Relation, Supports
from mstlib.model.detector import MST
from mstlib.model.proposal import ProposalLevel


class Pool(NamedTuple):
    """Proposals of one or more frames as no layer has read them yet: features (n, d), boxes
    (n, 4)."""

    features: Tensor
    boxes: Tensor

    def part(self, which: Tensor | slice) -> "Pool":
        """Some of them."""
        return Pool(self.features[which], self.boxes[which])

    @staticmethod
    def join(parts: Sequence["Pool"]) -> "Pool":
        """The proposals of several pools as one."""
        return Pool(*map(torch.cat, zip(*parts, strict=True)))


def lead_count(config: ModelConfig) -> int:
    """How many of a frame's supports lead: the best 20 % of 75 at paper scale, 15."""
    return max(1, math.ceil(config.lead_share * config.support_proposals))


def leading(counts: Sequence[int], lead: int) -> Tensor:
    """The `lead` best supports of each frame, (M,) bool; counts: of each frame's supports, best
    first. By frame, not by window: DEVIATIONS.md 22."""
    return torch.cat([torch.arange(n) < lead for n in counts])


class RDNLevel(ProposalLevel):
    """Base stage and advanced stage; `before[-1]` receives the refined supports."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        self.lead = lead_count(config)
        self.advanced = nn.ModuleList(
            Relation(config.width, config.heads, config.geometry) for _ in range(2))
        self.before.append(nn.Identity())

    def supports(self, s: Tensor, b2: Tensor, counts: Sequence[int] = ()) -> list[Supports | Pool]:
        """As `ProposalLevel.supports`: for each layer of the base stage, for the layer that
        refines, and the leading ones themselves."""
        lead = leading(counts or [len(s)], self.lead).to(s.device)     # (M,)
        every = self.advanced[0].supports(s, b2)
        return [*super().supports(s, b2), every, Pool(s, b2).part(lead)]

    def ask(self, a: Tensor, b1: Tensor, supports: Sequence[Supports | Pool]) -> Tensor:
        """As `ProposalLevel.ask`: reference (N, d), (N, 4) -> R' (N, d)."""
        *base, every, lead = supports
        refine, relate = self.advanced
        refined = self.before[-1](refine.ask(*lead, every))            # (leading, d)
        return relate(super().ask(a, b1, base), b1, refined, lead.boxes)


class RDN(MST):
    """The shared base with RDN's proposal level. Traces show its base stage."""

    proposal_level = RDNLevel
