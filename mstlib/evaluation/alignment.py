"""Does DAlign look where the object went? Its offset field against the true motion of a generated
scene.

Compared per cell on objects that both frames show, in cells of the feature grid: the error of the
chained displacement against the true one, beside the error of zero offsets (which is the motion
itself). Notebook 03.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mstlib.model.detector import MST
from mstlib.model.flownet import warp
from mstlib.stream import clip_maps


@torch.no_grad()
def alignment_pairs(model: MST, clip, gaps: Sequence[int]) -> list[tuple[int, Tensor, Tensor]]:
    """(gap, predicted, true) displacements (n, 2) in cells on shared objects, for frames gap
    apart."""
    maps, stride, out = clip_maps(model, clip), model.backbone.stride, []
    for gap in gaps:
        times = list(range(len(clip) - gap))
        if not times:
            continue
        pairs = torch.stack([torch.stack([maps[t], maps[t + gap]]) for t in times])
        found = model.dalign(pairs)[1]["displacement"][:, 1].cpu()     # (n, h, w, 2)
        for t, d in zip(times, found, strict=True):
            true, owner = clip.true_motion(t, t + gap, stride)
            out.append((gap, d[owner >= 0], true[owner >= 0]))
    return out


@torch.no_grad()
def feature_differences(dalign: nn.Module, F_t: Tensor, F_s: Tensor
                        ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """How far a support's features are from the reference's, cell by cell: |F_t - F| / |F_t|, each
    (h, w), for F as it is, read where the offsets point, and as DAlign's output; and its trace.

    F_t, F_s (C, h, w): maps of the reference and of the support. The norm of F_t is its mean over
    the cells.
    """
    new, how = dalign(torch.stack([F_t, F_s])[None])
    where = how["displacement"][:, 1].permute(0, 3, 1, 2)              # (1, 2, h, w)
    three = {"before": F_s, "read where the offsets point": warp(F_s[None], where)[0],
             "DAlign's output": new[0, 1]}
    scale = F_t.norm(dim=0).mean()
    return {name: (F_t - F).norm(dim=0) / scale for name, F in three.items()}, how


def alignment_error(model: MST, clips: Sequence, gaps: Sequence[int] = (2, 4, 8)) -> dict:
    """End-point error in cells, mean over object cells: of DAlign, of zero offsets, and their
    ratio.

    Overall, by gap between the frames, and by how far the cell really moved (< 1, 1-3, > 3 cells).
    """
    pairs = [p for clip in clips for p in alignment_pairs(model, clip, gaps)]
    predicted = torch.cat([p for _, p, _ in pairs])
    true = torch.cat([t for _, _, t in pairs])
    gap = torch.cat([torch.full((len(p),), g) for g, p, _ in pairs])
    far = true.norm(dim=1)
    groups = {"all": far >= 0} | {f"gap {g}": gap == g for g in gaps} | {
        "moved < 1 cell": far < 1, "moved 1-3 cells": (far >= 1) & (far <= 3),
        "moved > 3 cells": far > 3}
    return {name: summary(predicted[mask], true[mask])
            for name, mask in groups.items() if mask.any()}


def summary(predicted: Tensor, true: Tensor) -> dict[str, float]:
    """Errors of (n, 2) displacements in cells; `explained` is 1 - squared error / squared
    motion."""
    error, zero = (predicted - true).norm(dim=1), true.norm(dim=1)
    explained = 1 - float(error.pow(2).sum() / zero.pow(2).sum().clamp(min=1e-9))
    return {"cells": len(true), "error": round(float(error.mean()), 4),
            "zero_offsets": round(float(zero.mean()), 4), "explained": round(explained, 4)}
