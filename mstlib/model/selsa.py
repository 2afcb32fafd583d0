"""SELSA, sequence level semantics aggregation (Wu et al., ICCV 2019): a rival in Table I.

Proposals ask proposals of frames from the WHOLE video by how they look alone, without geometry: in
far frames a box's place means nothing. Two stages, each a fully connected layer and a relation;
the first layer is the detector's own fc.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mstlib.config import Config, ModelConfig, MSTError, TestConfig
from mstlib.data.clip import sample_anywhere
from mstlib.model.attention import Relation, Supports
from mstlib.model.detector import MST
from mstlib.model.engine import Found, RoIs
from mstlib.model.proposal import ProposalLevel


class SELSALevel(ProposalLevel):
    """(fc, relation) twice; what asks and what is asked both pass the second fc."""

    def __init__(self, config: ModelConfig):
        super().__init__(config)
        d, G = config.width, config.heads
        self.layers = nn.ModuleList(Relation(d, G, "none") for _ in range(2))
        self.before = nn.ModuleList([nn.Identity(), nn.Sequential(nn.Linear(d, d), nn.ReLU())])
        nn.init.eye_(self.before[1][0].weight)  # starts as nothing: DEVIATIONS.md 30
        nn.init.zeros_(self.before[1][0].bias)

    def supports(self, s: Tensor, b2: Tensor, counts: Sequence[int] = ()) -> list[Supports]:
        """As `ProposalLevel.supports`."""
        out = []
        for before, layer in zip(self.before, self.layers, strict=True):
            s = before(s)
            out.append(layer.supports(s, b2))
        return out


def spread(length: int, count: int) -> list[int]:
    """`count` frames evenly over a video of `length`, all of them if it is shorter."""
    if length <= count:
        return list(range(length))
    return [(2 * k + 1) * length // (2 * count) for k in range(count)]


@dataclass(frozen=True)
class Look:
    """A frame by itself: (H, W), its proposals, and the best of them as each layer reads them."""

    size: tuple[int, int]
    rois: RoIs
    supports: list[Supports]


class SELSA(MST):
    """The shared base with SELSA's proposal level and frames of the whole video."""

    proposal_level = SELSALevel
    sample = staticmethod(sample_anywhere)

    def __init__(self, config: Config):
        super().__init__(config)
        if self.dalign or self.frame:
            raise MSTError("SELSA draws frames from the whole video, which are not aligned or "
                           "aggregated cell by cell; leave DAlign and frame level to the others")

    @torch.no_grad()
    def walk(self, read: Callable[[int], Tensor | None], length: int, test: TestConfig
             ) -> Iterator[Found | None]:
        """What is found in each frame of a clip of `length` frames that `read` gives by number.

        The supports are the reference itself and the same `test.window` - 1 frames, evenly spread
        over the video, for every reference: each is looked at once. MSTError in a mode other than
        exact, or if frames differ in size.
        """
        if test.mode != "exact":
            raise MSTError(f"SELSA knows no mode '{test.mode}', only exact; set test.mode=exact")
        self.eval()
        far = {s: self.look(read, s) for s in spread(length, test.window - 1)}
        for t in range(length):
            seen = far[t] if t in far else self.look(read, t)
            others = [far[s] for s in far if s != t and far[s] is not None]
            yield seen and self.find(seen, others)

    def look(self, read: Callable[[int], Tensor | None], t: int) -> Look | None:
        """What there is to know of a frame by itself; None if it cannot be read."""
        image, m = read(t), self.model_config
        if image is None:
            return None
        x = self.c4(image[None].to(self.mean.device))
        keep, size = max(m.reference_proposals, m.support_proposals), tuple(image.shape[-2:])
        boxes, scores = self.rpn.propose(x, size, [keep])
        (a,), M = self.roi_features(self.reduce(self.backbone.c5(x)), boxes), m.support_proposals
        return Look(size, RoIs(boxes[0], scores[0], a), self.supports(a[:M], boxes[0][:M]))

    def find(self, seen: Look, others: Sequence[Look]) -> Found:
        """What is found in a reference among other frames."""
        for other in others:
            if other.size != seen.size:
                raise MSTError(f"frames of different sizes, (H, W) {seen.size} and {other.size}; a "
                               "video has frames of one size: resize them first")
        N = self.model_config.reference_proposals
        layers = zip(seen.supports, *(other.supports for other in others), strict=True)
        r = seen.rois
        a = self.relate(r.features[:N], r.boxes[:N], r.objectness[:N],
                        [layer[0].join(layer) for layer in layers])
        (found,) = self.decode(a, [r.boxes[:N]], seen.size)
        return Found(found, r.boxes[:N], r.features[:N]).cpu()
