"""Instance level: a foreground proposal asks only proposals of the same object (Eq. 12).

At test time there are no ids: the K reference proposals of highest objectness are the candidate
foreground, and each attends to the share r of support proposals most similar to it. The same rule
is used in training ("topk"), because the paper's literal rule by track id ("label") tells the head
which rows are foreground: it leaks (DEVIATIONS.md 13). Notebook 06 walks through this module.
"""

import math

import torch
from torch import Tensor, nn

from mstlib.config import ModelConfig
from mstlib.model.attention import Relation, Supports


def top_r(logits: Tensor, r: float) -> Tensor:
    """Which supports each row attends to: the ceil(r M) of highest mean logit. (G, N, M) -> (N,
    M)."""
    keep = max(1, math.ceil(r * logits.shape[-1]))
    best = logits.mean(0).topk(keep, dim=-1).indices                   # (N, keep)
    mask = torch.zeros(logits.shape[1:], dtype=torch.bool, device=logits.device)
    return mask.scatter_(1, best, True)


def same_id(ids: Tensor, support_ids: Tensor) -> Tensor:
    """Pairs of one object: (N,), (M,) track ids, -1 is background or unknown -> (N, M) bool."""
    return (ids[:, None] == support_ids[None]) & (ids[:, None] >= 0)


class InstanceLevel(nn.Module):
    """R'' = N_ins(R', R^si): some rows are updated, all others are copied unchanged (Eq. 12)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.relation = Relation(config.width, config.heads, config.geometry)
        self.K, self.r = config.instance_k, config.instance_r

    def forward(self, a: Tensor, b1: Tensor, objectness: Tensor, s: Tensor, b2: Tensor
                ) -> tuple[Tensor, dict[str, Tensor]]:
        """The test-time rule: R' (N, d), boxes (N, 4), objectness (N,), supports (M, d), (M, 4) ->
        R'' and a trace, see `ask`."""
        return self.ask(a, b1, objectness, self.relation.supports(s, b2))

    def ask(self, a: Tensor, b1: Tensor, objectness: Tensor, s: Supports
            ) -> tuple[Tensor, dict[str, Tensor]]:
        """As `forward`, of supports projected before.

        The trace has `rows` (K,), `mask` (K, M) and `logits` (G, K, M) before masking.
        """
        # K of the reference, not "from Rs": DEVIATIONS.md 12
        rows = objectness.topk(min(self.K, len(objectness))).indices
        logits = sum(self.relation.compare(a[rows], b1[rows], s))  # (G, K, M)
        mask = top_r(logits.detach(), self.r)
        updated = self.relation.weighted(a[rows], s.v, logits.masked_fill(~mask, -torch.inf))
        out = a.index_copy(0, rows, updated)
        return out, {"rows": rows, "mask": mask, "logits": logits}

    def by_label(self, a: Tensor, b1: Tensor, ids: Tensor, s: Tensor, b2: Tensor,
                 support_ids: Tensor) -> Tensor:
        """The paper's training rule: attend to supports of one's own track id; (N, d) -> (N, d).

        Background (id -1) and rows whose id has no support are copied bit by bit.
        """
        mask = same_id(ids, support_ids)                               # (N, M)
        rows = mask.any(1).nonzero()[:, 0]
        if len(rows) == 0:
            return a
        supports = self.relation.supports(s, b2)
        logits = sum(self.relation.compare(a[rows], b1[rows], supports))
        logits = logits.masked_fill(~mask[rows], -torch.inf)
        return a.index_copy(0, rows, self.relation.weighted(a[rows], supports.v, logits))

    def identity_loss(self, a: Tensor, b1: Tensor, ids: Tensor, s: Tensor, b2: Tensor,
                      support_ids: Tensor) -> Tensor | None:
        """-log of the attention that lands on the same object, mean over rows that have one.

        Track ids teach the layer whom to listen to without touching the features (they are
        detached), so nothing leaks: DEVIATIONS.md 14. None if no row has a support of its own id
        (or the data has no ids).
        """
        same = same_id(ids, support_ids)
        rows = same.any(1)
        if not rows.any():
            return None
        logits = sum(self.relation.logits(a[rows].detach(), b1[rows], s.detach(), b2))
        mass = logits.log_softmax(-1).masked_fill(~same[rows], -torch.inf).logsumexp(-1)
        return -mass.mean()
