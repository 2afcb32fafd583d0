"""What the learned relations say of boxes in neighbouring frames: an input of BLR, RDN's linking.

`mstlib.link` does the linking; it knows no model.
"""

from collections.abc import Sequence

import torch
from numpy.typing import NDArray as Array
from torch import Tensor

from mstlib.config import MSTError
from mstlib.model.detector import MST
from mstlib.model.engine import Found


@torch.no_grad()
def box_relations(model: MST, frames: Sequence[Found | None]) -> list[Array]:
    """For each two neighbouring frames of a clip how much every detection of the first listens to
    every one of the second, (D_t, D_t+1) float32; frames that are None have no detections.

    It is the weight s_ij (Eq. 7, mean over the heads) of the first relation layer between the
    proposals that the detections were made of. MSTError for a model without a proposal level.
    """
    if model.proposal is None:
        raise MSTError("BLR links by learned relations, and this detector has none: it needs the "
                       "proposal level; use seqnms or tubelet")
    return [pair_relations(model, one, two).cpu().numpy()
            for one, two in zip(frames, frames[1:], strict=False)]


def pair_relations(model: MST, one: Found | None, two: Found | None) -> Tensor:
    """Of one pair of frames."""
    if one is None or two is None or not len(one.features) or not len(two.features):
        return torch.zeros(*(0 if f is None else len(f.detections.scores) for f in (one, two)))
    layer, device = model.proposal.layers[0], one.features.device
    b1, b2 = one.proposals.to(device), two.proposals.to(device)
    logits = sum(layer.logits(one.features.float(), b1, two.features.float(), b2))  # (G, N, N')
    weights = logits.softmax(-1).mean(0)
    return weights[one.detections.rows][:, two.detections.rows]
