"""The door of post-processing: a clip's detections in, the same clip linked and rescored out."""

from collections.abc import Sequence

from numpy.typing import NDArray as Array

from mstlib.config import MSTError
from mstlib.evaluation.columns import ClipDetections
from mstlib.link.blr import blr
from mstlib.link.seqnms import seqnms
from mstlib.link.tubelet import tubelet

METHODS = {
    "seqnms": lambda found, relations: seqnms(found),
    "blr": blr,
    "tubelet": lambda found, relations: tubelet(found),
}
LINKS = tuple(METHODS)


def link(name: str, found: ClipDetections, relations: Sequence[Array] | None = None
         ) -> ClipDetections:
    """The clip after post-processing `name`, one of LINKS; the input stays as it is.

    relations: for `blr` only, T-1 float32 arrays >= 0; relations[t] (D_t, D_t+1): rows are the
    detections of frame t, columns those of frame t + 1, in the order of `found`. MSTError for an
    unknown name, relations that are missing or of wrong shape, scores outside 0..1.
    """
    if name not in METHODS:
        raise MSTError(f"no post-processing '{name}'; choose {' or '.join(LINKS)}")
    return METHODS[name](found, relations)
