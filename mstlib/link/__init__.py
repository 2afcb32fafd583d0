"""Post-processing of a clip's detections: boxes of one object get one verdict over time.

The MST paper compares three ways of it in Table I: tubelet re-scoring (T-CNN, Kang et al.),
Seq-NMS (Han et al. 2016) and BLR, box linking with relations (RDN, Deng et al. 2019, Sec. 3.5).

    link(name, found, relations=None) -> ClipDetections      name: one of LINKS

`found` is a clip as `mstlib.evaluation.columns.ClipDetections`; so is the result, which leaves the
input alone: the detections that are kept, frame by frame in their order, with new scores in 0..1.
Frames are neighbours if they follow each other: no link leads across a frame without detections,
so none across one that could not be read. Classes never meet. Deterministic, ties included:
DEVIATIONS.md 32.

In the order of reading: overlap.py (who overlaps whom), paths.py (the best path, again and again),
seqnms.py, blr.py and tubelet.py (the three, a page each), link.py (the door).
"""

from mstlib.link.link import LINKS, link

__all__ = ["LINKS", "link"]
