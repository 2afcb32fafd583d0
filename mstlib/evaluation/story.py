"""What there is to tell: which objects a detector misses, and where the other frames rescue one.

Pure functions of clips and predictions, used by the notebooks and by the README's opening picture.
"Right" is what the paper's protocol calls right: the class, and a box with IoU >= 0.5 (Sec. IV-A).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

from mstlib.config import MSTError
from mstlib.data.clip import DETERIORATIONS, Clip, Detections, Target, window_indices

SAME = 0.5  # IoU from which a box is taken to show the object


def judge(
    found: Detections, target: Target | None, threshold: float = 0.5
) -> tuple[list[str], Tensor]:
    """What each detection is, and which objects were found.

    A word a detection: weak (score below `threshold`), found, wrong class, or nothing there;
    without a target all strong ones are "found". And (N,) bool: some strong detection of its class
    shows the object.
    """
    strong = found.scores >= threshold
    if target is None:
        return ["found" if s else "weak" for s in strong.tolist()], torch.zeros(0, dtype=torch.bool)
    near = box_iou(found.boxes, target.boxes) >= SAME        # (D, N)
    right = near & (found.labels[:, None] == target.labels)  # (D, N)
    words = zip(strong.tolist(), right.any(1).tolist(), near.any(1).tolist(), strict=True)
    kinds = ["weak" if not s else "found" if r else "wrong class" if n else "nothing there"
             for s, r, n in words]
    return kinds, (right & strong[:, None]).any(0)


def object_scores(found: Detections, target: Target) -> Tensor:
    """(N,) the best score of a right detection of each object, 0 where there is none."""
    if not len(found.boxes):
        return torch.zeros(len(target.boxes))
    right = box_iou(found.boxes, target.boxes) >= SAME
    right &= found.labels[:, None] == target.labels
    return (right * found.scores[:, None]).amax(0)


def track_scores(found: Sequence[Detections], clip: Clip, track: int) -> list[float]:
    """`object_scores` of one track in every frame of a clip; NaN where it is not annotated."""
    scores = []
    for t, detections in enumerate(found):
        target = clip.target(t)
        mine = object_scores(detections, target)[target.ids == track].tolist()
        scores.append(mine[0] if mine else float("nan"))
    return scores


def hardest(plain: Sequence[float], full: Sequence[float]) -> int:
    """The frame in which one detector's score of an object falls behind another's the most; frame 0
    where it never does. Scores as of `track_scores`, NaN counts as no difference."""
    gaps = [b - a if a == a and b == b else 0.0 for a, b in zip(plain, full, strict=True)]
    return gaps.index(max(gaps))


def track_flags(clip: Clip, track: int) -> Tensor:
    """(T, 4) bool: the deteriorations of one track in every frame."""
    targets = [clip.target(t) for t in range(len(clip))]
    return torch.stack([t.flags[t.ids == track].any(0) for t in targets])


def of_track(target: Target, track: int | None) -> Target:
    """The part of a target that belongs to one track; all of it for None."""
    if track is None:
        return target
    rows = target.ids == track
    names = ("boxes", "labels", "ids", "flags", "centres")
    return Target(*(getattr(target, name)[rows] for name in names))


def about(found: Detections, target: Target) -> Detections:
    """The detections that touch the one object of `target`: others have their own story."""
    rows = box_iou(found.boxes, target.boxes).amax(1) > 0.3 if len(target.boxes) else slice(0)
    return Detections(found.boxes[rows], found.scores[rows], found.labels[rows])


@dataclass(frozen=True)
class Rescue:
    """A deteriorated object that one detector misses and another finds.

    clip, t: where; track: the object's id; plain, full: the two detectors' `object_scores` of it.
    """

    clip: int
    t: int
    track: int
    plain: float
    full: float


def find_rescued(
    clips: Sequence[Clip], plain: Sequence[Sequence[Detections]],
    full: Sequence[Sequence[Detections]], threshold: float = 0.5,
) -> list[Rescue]:
    """Deteriorated objects that `plain` misses at a score of `threshold` and `full` finds.

    plain, full: predictions (clips x frames) of two detectors. The widest gap between their scores
    comes first; ties keep the order of the frames.
    """
    cases = []
    for c, clip in enumerate(clips):
        for t in range(len(clip)):
            target = clip.target(t)
            pairs = zip(target.ids.tolist(), target.flags.any(1).tolist(),
                        object_scores(plain[c][t], target).tolist(),
                        object_scores(full[c][t], target).tolist(), strict=True)
            cases += [Rescue(c, t, track, one, two) for track, harmed, one, two in pairs
                      if harmed and one < threshold <= two]
    return sorted(cases, key=lambda case: case.plain - case.full)


def track_ids(clip: Clip) -> list[int]:
    """The track ids of a clip, rising."""
    return sorted({i for t in range(len(clip)) for i in clip.target(t).ids.tolist()})


def traveller(clips: Sequence[Clip]) -> tuple[int, int]:
    """The notebooks' example, (clip, track id): the object that goes through the most.

    The longest annotated, then the one with most kinds of deterioration, then the one clean about
    half of its time, then the one with fewest companions. Chosen from the ground truth, no detector
    is asked.
    """
    def merit(place: tuple[int, int]) -> tuple[float, ...]:
        clip, track = clips[place[0]], place[1]
        seen = sum(track in clip.target(t).ids.tolist() for t in range(len(clip)))
        flags = track_flags(clip, track)
        clean = 1 - flags.any(1).double().mean().item()
        return seen / len(clip), flags.any(0).sum().item(), -abs(clean - 0.5), -len(track_ids(clip))

    places = [(c, track) for c, clip in enumerate(clips) for track in track_ids(clip)]
    if not places:
        raise MSTError(f"none of {len(clips)} clips has an annotated object; choose another split")
    return max(places, key=merit)


def fastest(clips: Sequence[Clip], gap: int) -> tuple[int, int, int]:
    """The object that moves farthest within `gap` frames, clean in both: (clip, track id, frame t).

    Measured by its centre, from the ground truth. Where no clip has two such frames, the traveller
    and frame 0.
    """
    best, place = -1.0, (*traveller(clips), 0)
    for c, clip in enumerate(clips):
        targets = [clip.target(t) for t in range(len(clip))]
        for t, (now, then) in enumerate(zip(targets, targets[gap:], strict=False)):
            for i, j in (now.ids[:, None] == then.ids[None]).nonzero().tolist():
                far = float((then.centres[j] - now.centres[i]).norm())
                if far > best and not (now.flags[i] | then.flags[j]).any():
                    best, place = far, (c, int(now.ids[i]), t)
    return place


def find_event(clips: Sequence[Clip], kind: str) -> tuple[int, int, int] | None:
    """A stretch of one deterioration and no other: (clip, track id, its middle frame), or None.

    The longest one with a clean frame of the object before and after it and no other object in the
    way; where there is none, the longest.
    """
    best = max(_events(clips, DETERIORATIONS.index(kind)), default=None)
    return best and (-best[2], -best[3], best[4])  # negative: of equal ones the first wins


def _events(clips: Sequence[Clip], kind: int) -> Iterator[tuple[bool, int, int, int, int]]:
    """(good example?, length, -clip, -track, middle) of each stretch of one kind alone."""
    for c, clip in enumerate(clips):
        for track in track_ids(clip):
            flags = track_flags(clip, track)
            alone = (flags[:, kind] & (flags.sum(1) == 1)).tolist()
            clean = [False, *(flags.sum(1) == 0).tolist(), False]
            for first in (t for t, on in enumerate(alone) if on and not (t and alone[t - 1])):
                end = next((t for t in range(first, len(alone)) if not alone[t]), len(alone))
                good = clean[first] and clean[end + 1] and not _crowded(clip, track, first, end)
                yield good, end - first, -c, -track, (first + end) // 2


def _crowded(clip: Clip, track: int, first: int, end: int) -> bool:
    """Does another object overlap this one in or around the frames first..end-1?"""
    for t in range(max(0, first - 4), min(len(clip), end + 4)):
        target = clip.target(t)
        mine = target.ids == track
        if (box_iou(target.boxes[mine], target.boxes[~mine]) > 0.02).any():
            return True
    return False


def clean_in_window(clips: Sequence[Clip], window: int, stride: int) -> dict[str, float]:
    """Of the object-frames with each deterioration: percent whose test window holds a clean view.

    A clean view is a frame of the window (Sec. IV-C) in which the same object carries no flag.
    """
    known = {kind: [] for kind in DETERIORATIONS}
    for clip in clips:
        for track in track_ids(clip):
            flags = track_flags(clip, track)                                        # (T, 4)
            clean = [track in clip.target(t).ids.tolist() and not flags[t].any()
                     for t in range(len(clip))]
            for t in range(len(clip)):
                helped = any(clean[s] for s in window_indices(t, len(clip), window, stride))
                for k, kind in enumerate(DETERIORATIONS):
                    known[kind] += [helped] if flags[t, k] else []
    return {kind: 100 * sum(h) / len(h) if h else float("nan") for kind, h in known.items()}
