"""BLR, box linking with relations (RDN, Deng et al. 2019, Sec. 3.5): learned relations link too.

Two boxes i, j of neighbouring frames with scores s and relation weight w are linked by

    S(i, j) = ( s_i + s_j + IoU(i, j) ) exp(w_ij)

and the path with the largest sum of S is the best. Its boxes are rescored as in D&T (Feichtenhofer
et al. 2017): each score plus the mean of the path's best half; here halved, to stay in 0..1, which
leaves the order as it is. A pair must overlap a little to be linked, or every path would run on to
the clip's end through whatever is there once its object has left. What overlaps a path is then
suppressed as in Seq-NMS. DEVIATIONS.md 33.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.config import MSTError
from mstlib.evaluation.columns import ClipDetections
from mstlib.link.overlap import Pairs, overlapping
from mstlib.link.parts import Part, class_by_class
from mstlib.link.paths import link_part

OVERLAP = 0.1   # IoU from which boxes of neighbouring frames may be linked: ours, see above
SUPPRESS = 0.3  # IoU from which a box of a path suppresses others of its frame: Seq-NMS's


def lift(scores: list[float]) -> list[float]:
    """Each score of a path moved half way to the mean of the better half (rounded up) of them."""
    half = sorted(scores, reverse=True)[: (len(scores) + 1) // 2]
    top = sum(half) / len(half)
    return [(score + top) / 2 for score in scores]


def blr(found: ClipDetections, relations: Sequence[Array] | None, overlap: float = OVERLAP,
        suppress: float = SUPPRESS) -> ClipDetections:
    """A clip after BLR; relations: T-1 arrays (D_t, D_t+1) >= 0, of all detections in their order.

    MSTError if they are missing, of the wrong shape, or negative.
    """
    check_relations(found, relations)

    def one_class(part: Part):
        """A path is worth the sum of its linking scores."""
        links = overlapping(part.boxes, part.bounds, 1, overlap)
        scores = part.scores[links.left] + part.scores[links.right] + links.iou
        gain = scores * np.exp(_weights(relations, found.counts, part, links))
        return link_part(part, links, np.zeros(links.size), gain, lift, suppress)

    return class_by_class(found, one_class)


def _weights(relations: Sequence[Array], counts: Array, part: Part, links: Pairs) -> Array:
    """(K,) float64: the relation weight of each link."""
    first = np.cumsum(counts) - counts                                     # (T,) rows in the clip
    edges = np.searchsorted(links.left, part.bounds)                       # links of each frame
    weights = np.zeros(len(links.left))
    for t, relation in enumerate(relations):
        here = slice(edges[t], edges[t + 1])
        i, j = part.rows[links.left[here]] - first[t], part.rows[links.right[here]] - first[t + 1]
        weights[here] = relation[i, j]
    return weights


def check_relations(found: ClipDetections, relations: Sequence[Array] | None) -> None:
    """MSTError unless there is a weight, finite and >= 0, for all pairs of neighbouring frames."""
    if relations is None:
        raise MSTError("blr links by relations: pass one array (D_t, D_t+1) for each two "
                       "neighbouring frames, or choose seqnms or tubelet")
    wanted = max(0, len(found.counts) - 1)
    if len(relations) != wanted:
        raise MSTError(f"relations for {len(relations)} pairs of frames, {wanted} wanted: one less "
                       "than frames")
    for t, relation in enumerate(relations):
        shape = tuple(found.counts[t : t + 2].tolist())
        if np.shape(relation) != shape:
            raise MSTError(f"relations of frames {t} and {t + 1} must be {shape}, detections by "
                           f"detections, got {np.shape(relation)}")
        if not (np.isfinite(relation) & (relation >= 0)).all():
            raise MSTError(f"relations of frames {t} and {t + 1} must be finite and >= 0, got "
                           f"{np.min(relation)}..{np.max(relation)}")
