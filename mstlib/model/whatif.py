"""The same trained weights under other conditions: levels switched off, another K and r.

For looking, not for measuring: a level that was trained with the others leans on them, and what is
left when one is taken away is not what was trained without it (Table III). Notebooks 06 and 07.
"""

from copy import copy

import torch
from torch import Tensor

from mstlib.config import Levels, MSTError
from mstlib.model.detector import MST
from mstlib.model.trace import Trace

PARTS = ("dalign", "frame", "proposal", "instance")


def switched(model: MST, levels: Levels) -> MST:
    """A model that shares the weights of `model` and has only the parts that `levels` names.

    MSTError for a part that the model does not have.
    """
    other = copy(model)
    other._modules = dict(model._modules)  # copy shares it: the model would lose its parts, too
    other.levels = levels
    for part in PARTS:
        if not getattr(levels, part):
            setattr(other, part, None)
        elif getattr(model, part) is None:
            raise MSTError(f"this model was trained without the {part} level; it has "
                           f"{', '.join(p for p in PARTS if getattr(model, p)) or 'none'}")
    return other


@torch.no_grad()
def asked_again(model: MST, trace: Trace, K: int, r: float) -> tuple[Tensor, dict[str, Tensor]]:
    """The instance level of a traced window with another K and share r (Eq. 12, Tables VI, VII):
    R'' (N, d) and its trace, see `InstanceLevel.ask`.

    MSTError for a model without instance level, or unless K >= 1 and 0 < r <= 1.
    """
    if model.instance is None:
        raise MSTError("K and r belong to the instance level, which this model does not have")
    if K < 1 or not 0 < r <= 1:
        raise MSTError(f"K must be at least 1 and r in 0..1, got K = {K}, r = {r}")
    level = copy(model.instance)
    level.K, level.r = K, r
    before = trace.features.get("proposal", trace.features["RoI"])
    supports = level.relation.supports(trace.support_features, trace.supports)
    return level.ask(before, trace.proposals[0], trace.objectness[0], supports)


@torch.no_grad()
def class_scores(model: MST, features: Tensor) -> Tensor:
    """What the head says of proposals (N, d): (N, classes + 1), 0 is background.

    Of features before the last level it says what the detector would answer if it stopped there.
    """
    return model.head(features)[0].softmax(-1)
