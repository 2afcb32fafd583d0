"""Seq-NMS (Han et al. 2016): boxes linked by overlap, a path rescored by its mean, the rest gone.

The post-processing that the MST paper adds to its method in Table I.
"""

from mstlib.config import MSTError
from mstlib.evaluation.columns import ClipDetections
from mstlib.link.overlap import overlapping
from mstlib.link.parts import Part, class_by_class
from mstlib.link.paths import Rescore, link_part

OVERLAP = 0.5   # IoU from which boxes of neighbouring frames are linked: the paper's
SUPPRESS = 0.3  # IoU from which a box of a path suppresses others of its frame: the paper's NMS


def average(scores: list[float]) -> list[float]:
    """The mean of the path for all its boxes: the paper's choice."""
    return [sum(scores) / len(scores)] * len(scores)


def best(scores: list[float]) -> list[float]:
    """The highest score of the path for all its boxes: the paper's other choice."""
    return [max(scores)] * len(scores)


RESCORE: dict[str, Rescore] = {"average": average, "max": best}


def seqnms(found: ClipDetections, rescore: str = "average", overlap: float = OVERLAP,
           suppress: float = SUPPRESS) -> ClipDetections:
    """A clip after Seq-NMS; rescore: "average" or "max". MSTError for another."""
    if rescore not in RESCORE:
        raise MSTError(f"no Seq-NMS rescoring '{rescore}'; choose {' or '.join(RESCORE)}")

    def one_class(part: Part):
        """A path is worth the sum of its scores: each link adds that of the box it leads to."""
        links = overlapping(part.boxes, part.bounds, 1, overlap)
        return link_part(part, links, part.scores, part.scores[links.right], RESCORE[rescore],
                         suppress)

    return class_by_class(found, one_class)
