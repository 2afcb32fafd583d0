"""What becomes of an object in a detector: proposed or not, and what it is called.

A class of MiniVID is a body and a key (`mstlib.data.minivid.scene`), so that a wrong name may still
have the right body. "Shows" is IoU >= 0.5, as in the paper's protocol (Sec. IV-A). Notebook 01.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_iou

from mstlib.data.clip import Clip, Detections, Target, window_indices
from mstlib.data.minivid.scene import KEYS
from mstlib.evaluation.story import SAME, object_scores

OUTCOMES = ("right", "other key", "other body", "lost", "not proposed")


def body_of(labels: Tensor) -> Tensor:
    """The body, 0.., of labels 1..: `CLASSES` lists the keys of a body one after the other."""
    return (labels - 1).div(len(KEYS), rounding_mode="floor")


def outcomes(found: Detections, proposals: Tensor, target: Target) -> Tensor:
    """What became of each object of a frame: (N,), an index of `OUTCOMES`.

    not proposed: none of the proposals (n, 4) shows it. lost: a proposal does, no detection.
    Otherwise the strongest detection that shows it has its class, its body with the other key, or
    another body.
    """
    near = box_iou(target.boxes, found.boxes) >= SAME                       # (N, D)
    proposed = (box_iou(target.boxes, proposals) >= SAME).any(1)            # (N,)
    if not len(found.boxes):
        return torch.where(proposed, 3, 4)
    best = torch.where(near, found.scores, -1).argmax(1)                    # (N,)
    said = found.labels[best]
    named = torch.where(said == target.labels, 0,
                        torch.where(body_of(said) == body_of(target.labels), 1, 2))
    return torch.where(~proposed, 4, torch.where(near.any(1), named, 3))


def known_elsewhere(clips: Sequence[Clip], found: Sequence[Sequence[Detections]],
                    kinds: Sequence[Sequence[Tensor]], window: int, stride: int,
                    threshold: float = 0.5) -> dict[str, float]:
    """Of the objects of each outcome but the right one: percent that the same detector gets right,
    at a score of `threshold` or more, in another frame of the test window around (Sec. IV-C).

    found, kinds: detections and `outcomes` of every frame of every clip. NaN without such objects.
    """
    sure = [[object_scores(f, clip.target(t)) >= threshold for t, f in enumerate(of)]
            for clip, of in zip(clips, found, strict=True)]
    known: list[list[bool]] = [[] for _ in OUTCOMES]
    for clip, right, kind in zip(clips, sure, kinds, strict=True):
        ids = [clip.target(t).ids for t in range(len(clip))]
        seen = [set(of[ok].tolist()) for of, ok in zip(ids, right, strict=True)]
        for t in range(len(clip)):
            others = window_indices(t, len(clip), window, stride)[1:]
            for track, k in zip(ids[t].tolist(), kind[t].tolist(), strict=True):
                known[k].append(any(track in seen[s] for s in others))
    return {name: 100 * sum(k) / len(k) if k else float("nan")
            for name, k in zip(OUTCOMES[1:], known[1:], strict=True)}


def halves(shares: Tensor, label: int) -> tuple[float, float]:
    """What a head's shares (classes + 1,), background first, say of an object of class `label`: how
    much goes to its body, with any key, and how much of that to its own key."""
    own = body_of(torch.arange(1, len(shares))) == body_of(torch.tensor(label))
    body = float(shares[1:][own].sum())
    return body, float(shares[label]) / max(body, 1e-9)
