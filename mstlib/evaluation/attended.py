"""What the cells of a feature map listen to: the frame level's attention by what the cells show.

The ground truth is asked only to say what a cell shows; no detector sees it. Notebook 04; proposals
instead of cells: `mstlib.evaluation.listening`.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mstlib.config import MSTError

SHOWN = ("same object, own frame", "same object, other frames", "other objects", "ground")


class Scene(Protocol):
    """A clip that knows how everything in it moved, as generated ones do."""

    def true_motion(self, t: int, s: int, stride: int) -> tuple[Tensor, Tensor]:
        """See `mstlib.data.minivid.benchmark.MiniClip`."""


def cell_ids(clip: Scene, frames: Sequence[int], stride: int) -> Tensor:
    """The track id that each cell of some frames' feature maps shows, (L, h, w), -1 for ground: of
    the object whose box holds the cell's centre, the nearest if there are several."""
    return torch.stack([clip.true_motion(t, t, stride)[1] for t in frames])


def attended(A: Tensor, ids: Tensor, asking: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """How much of the attention of each object cell of the frame that asks goes to each of `SHOWN`.

    A (h*w, L, h, w): weights of its cells over all cells (Eq. 5), as `FrameLevel.attention` gives
    them; ids (L, h, w): of `cell_ids`; asking: which of the L frames asks. Returns (n, 4), rows add
    up to 1; what it would be if all cells were heard alike, (n, 4); and the track id of each of the
    n cells. MSTError if weights and ids are not of the same cells.
    """
    if A.shape != (ids[0].numel(), *ids.shape):
        raise MSTError(f"weights must be (h*w, L, h, w) of ids {tuple(ids.shape)}, got "
                       f"{tuple(A.shape)}")
    who = ids[asking].flatten()                                        # (h*w,)
    rows = (who >= 0).nonzero().flatten()
    kinds = torch.where(ids < 0, 3, 2).expand(len(rows), *ids.shape).clone()
    same = ids == who[rows, None, None, None]                          # (n, L, h, w)
    kinds[same] = 1
    kinds[:, asking][same[:, asking]] = 0
    chosen = kinds.flatten(1)[..., None] == torch.arange(len(SHOWN))   # (n, L*h*w, 4)
    heard = (A[rows].flatten(1)[..., None] * chosen).sum(1)
    return heard, chosen.to(A.dtype).mean(1), who[rows]
