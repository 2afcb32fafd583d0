"""The method as its equations stand, one reference at a time: what the fast forms are tested and
timed against.

Nothing is kept between references, the attention matrix is built, deformable convolutions are
torchvision's, the geometry embeds every pair of boxes, and features are weighted before they are
projected. Short enough to be checked against the paper by eye, and slow: docs/speed.md.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

from mstlib.config import MSTError
from mstlib.data.clip import Detections
from mstlib.model.attention import FLOOR, Relation, heads, merge
from mstlib.model.dalign import DAlign, standardise
from mstlib.model.detector import MST
from mstlib.model.frame import FrameLevel
from mstlib.model.instance import top_r


@torch.no_grad()
def plain_detect(model: MST, images: Tensor) -> Detections:
    """Images (L, 3, H, W) uint8 of a window, reference first -> detections of the reference.

    MSTError for another detector: only MST is written out here.
    """
    if model.model_config.method != "mst":
        raise MSTError(f"the method written out is MST, not {model.model_config.method}")
    maps = torch.cat([model.c4(image[None]) for image in images])      # F (L, C, h, w)
    if model.dalign:
        maps = torch.cat([align(model.dalign, maps[:1], tau[None]) for tau in maps])
    if model.frame:
        every = model.frame.query_all and model.uses_supports          # Table IX
        n = len(maps) if every else 1
        maps = torch.cat([frame_level(model.frame, maps[:n], maps), maps[n:]])
    size, used = images.shape[-2:], maps if model.uses_supports else maps[:1]
    rois = [propose(model, x[None], size, first=k == 0) for k, x in enumerate(used)]
    return plain_relate(model, rois, size)


def align(dalign: DAlign, reference: Tensor, tau: Tensor) -> Tensor:
    """F'_tau (1, C, h, w) by the text of Sec. III-B: offsets from the concatenation, then two
    deformable layers on F_tau."""
    def deform(x: Tensor, offsets: Tensor, layer: torch.nn.Conv2d) -> Tensor:
        return deform_conv2d(x, offsets, layer.weight, padding=1)

    h = F.relu(standardise(dalign.concat(torch.cat([reference, tau], dim=1))))
    if dalign.two:
        for offsets, layer in zip(dalign.offsets, (dalign.mix1, dalign.mix2), strict=False):
            h = F.relu(deform(h, dalign.bounded(offsets(h)), layer))
        first, second = (dalign.bounded(offsets(h)) for offsets in dalign.offsets[2:])
    else:
        first = second = dalign.bounded(dalign.theta(F.relu(dalign.mix2(F.relu(dalign.mix1(h))))))
    a = deform(F.relu(deform(tau, first, dalign.deform1)), second, dalign.deform2)
    out = dalign.expand(standardise(F.relu(a)))
    return tau + out if dalign.residual else out


def frame_level(level: FrameLevel, queries: Tensor, aligned: Tensor) -> Tensor:
    """F'' = A V + F' (Eq. 4-6) of the frames `queries` (n, C, h, w) over `aligned` (L, C, h, w)."""
    t = aligned.permute(0, 2, 3, 1).flatten(0, 2)                      # (L*h*w, C)
    x = queries.permute(0, 2, 3, 1).flatten(0, 2)
    mean, spread = t.mean(0), (t - t.mean(0)).square().mean().sqrt() + 1e-6
    q = heads(level.query((x - mean) / spread), level.G)               # (G, n*h*w, c)
    k = heads(level.key((t - mean) / spread), level.G)
    v = heads(level.value(t - mean), level.G)
    logits = q @ k.transpose(1, 2) / v.shape[-1] ** 0.5
    if level.sharpness is not None:
        logits = logits - place_cost(level, aligned.shape, len(queries))
    out = x + level.expand(merge(logits.softmax(-1) @ v))              # Eq. 5, 6
    return out.unflatten(0, queries.shape[:1] + queries.shape[2:]).permute(0, 3, 1, 2)


def place_cost(level: FrameLevel, shape: Sequence[int], queries: int) -> Tensor:
    """sharpness |p - p'|^2 of cells p of the queries and p' of all frames: (G, n*h*w, L*h*w)."""
    L, _, h, w = shape
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    p = torch.stack([y, x], -1).flatten(0, 1).float().to(level.sharpness.device)
    far = (p[:, None] - p[None]).square().sum(-1).repeat(queries, L)
    return F.softplus(level.sharpness)[:, None, None] * far


def propose(model: MST, x: Tensor, size: tuple[int, int], first: bool
            ) -> tuple[Tensor, Tensor, Tensor]:
    """Proposals of one frame (1, C, h, w) by torchvision's own selection: boxes, objectness,
    features. first: of the reference, of which more are kept."""
    m, parts = model.model_config, model.rpn.parts
    objectness, deltas, anchors = model.rpn.score(x, size)
    boxes = parts.box_coder.decode(deltas[0], [anchors]).transpose(0, 1)
    boxes, scores = parts.filter_proposals(boxes, objectness[0], [tuple(size)], [len(anchors)])
    keep = m.reference_proposals if first else m.support_proposals
    boxes, scores = boxes[0][:keep], scores[0][:keep]
    return boxes, scores, model.roi_features(model.reduce(model.backbone.c5(x)), [boxes])[0]


def plain_relate(model: MST, rois: Sequence[tuple[Tensor, Tensor, Tensor]],
                 size: tuple[int, int]) -> Detections:
    """From the proposals of each frame (boxes, objectness, features), reference first, to
    detections: proposal level, instance level, head."""
    M, (boxes, objectness, a) = model.model_config.support_proposals, rois[0]
    b2, s = (torch.cat([roi[i][:M] for roi in rois]) for i in (0, 2))
    if model.proposal and len(a) and len(s):
        for layer in model.proposal.layers:                            # Eq. 11
            a = relate(layer, a, s, weights(layer, a, boxes, s, b2).softmax(-1))
    if model.instance and len(a) and len(s):                           # Eq. 12
        rows = objectness.topk(min(model.instance.K, len(a))).indices
        logits = weights(model.instance.relation, a[rows], boxes[rows], s, b2)
        logits = logits.masked_fill(~top_r(logits, model.instance.r), -torch.inf)
        a = a.index_copy(0, rows, relate(model.instance.relation, a[rows], s, logits.softmax(-1)))
    return model.decode(a, [boxes], size)[0]


def weights(layer: Relation, a: Tensor, b1: Tensor, s: Tensor, b2: Tensor) -> Tensor:
    """Logits (G, N, M) of Eq. 7: appearance (Eq. 8) and geometry (Eq. 9) of every pair."""
    q, k = heads(layer.query(a), layer.G), heads(layer.key(s), layer.G)
    geometry = F.relu(layer.geometry.direct(b1, b2)).clamp(min=FLOOR).log()
    return q @ k.transpose(1, 2) / q.shape[-1] ** 0.5 + geometry


def relate(layer: Relation, a: Tensor, s: Tensor, weights: Tensor) -> Tensor:
    """a_i + sum_j s_ij W_p a_j (Eq. 10) with weights (G, N, M): features first weighted, (G, N, d),
    then projected."""
    of_head = layer.value.weight.unflatten(0, (layer.G, -1))           # (G, d/G, d)
    return a + merge(weights @ s @ of_head.transpose(1, 2))
