"""What a forward pass leaves behind on request: named tensors, returned and never hooked.

Notebooks 03 to 07 read these.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mstlib.model.rois import Proposals

if TYPE_CHECKING:
    from mstlib.model.detector import MST


@dataclass
class Trace:
    """What one window's forward pass did, on request: named tensors, reference first.

    maps F and aligned F' (L, C, h, w); displacement (L, h, w, 2) and offsets (L, 18 g, h, w) of
    DAlign in cells; frame_attention (h*w, L, h, w); proposals: L tensors (n, 4); objectness: L
    tensors (n,); features: those of the N reference proposals (N, d) as "RoI", after the "proposal"
    and after the "instance" level, where these exist; supports (M, 4) with their frame
    support_frame (M,) and their support_features (M, d); relation: per layer appearance, geometry
    and weights (G, N, M); instance: rows (K,), mask (K, M), logits (G, K, M); scores (N, classes +
    1) of the reference proposals.
    """

    maps: Tensor | None = None
    aligned: Tensor | None = None
    proposals: list[Tensor] = field(default_factory=list)
    objectness: list[Tensor] = field(default_factory=list)
    displacement: Tensor | None = None
    offsets: Tensor | None = None
    frame_attention: Tensor | None = None
    features: dict[str, Tensor] = field(default_factory=dict)
    supports: Tensor | None = None
    support_frame: Tensor | None = None
    support_features: Tensor | None = None
    relation: list[dict[str, Tensor]] = field(default_factory=list)
    instance: dict[str, Tensor] = field(default_factory=dict)
    scores: Tensor | None = None


def fill_traces(model: "MST", traces: list[Trace], maps: Tensor, how: dict[str, Tensor],
                boxes: list[Tensor], scores: list[Tensor], windows: list[Proposals],
                logits: list[Tensor]) -> None:
    """Complete the traces of a forward pass with everything but its relations.

    maps (B, L, C, h, w): conv4 windows; how: DAlign's trace; boxes, scores: the proposals of all
    B * L' frames that were used; windows: the RoIs of each window, and logits: those of the
    references' classes, one (N, .) a window.
    """
    M, L = model.model_config.support_proposals, len(boxes) // len(traces)
    aligned = model.dalign(maps)[0] if model.dalign else maps
    attention = model.frame.attention(aligned) if model.frame else None
    offsets = how["offsets"].unflatten(0, maps.shape[:2]) if "offsets" in how else None
    for i, t in enumerate(traces):
        t.maps, t.aligned, t.support_features = maps[i], aligned[i], windows[i].s
        t.proposals, t.objectness = boxes[i * L:][:L], scores[i * L:][:L]
        top = [b[:M] for b in t.proposals]
        t.supports = torch.cat(top)
        t.support_frame = torch.cat([torch.full((len(b),), f) for f, b in enumerate(top)])
        t.frame_attention = attention[i] if attention is not None else None
        if how:
            t.displacement = how["displacement"][i]
            t.offsets = offsets[i] if offsets is not None else None  # optical flow has none
        t.scores = logits[i].softmax(-1)
