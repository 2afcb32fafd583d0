"""Failures: what kind of mistake each one is, which object it is about, and what it costs in AP.

Sec. IV-F and Fig. 6 of the paper show a few failures; here every one is counted. The kinds are
close to those of TIDE (Bolya et al. 2020), which asks what AP would be without all errors of a
kind; here each failure is asked for alone. The protocol is `vid`: under it, mending one detection
changes no verdict about another object, so that the answer is exact and quick to compute. Notebook
11 walks through it; counts and comparisons are in `mstlib.evaluation.failure_counts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.data.clip import DETERIORATIONS
from mstlib.evaluation.columns import Predictions, Targets
from mstlib.evaluation.judged import Judged, judge_all
from mstlib.evaluation.motion import iou_inclusive
from mstlib.evaluation.precision import area

KINDS = ("missed", "wrong class", "duplicate", "poor box", "nothing there")
SAME, NEAR = 0.5, 0.1  # IoU from which a box shows an object; from which it is a poor box of it


class Failure(NamedTuple):
    """One failure: where, about which object, by which detection, and what it costs.

    kind: one of KINDS. clip, t: numbers of clip and frame. object, track: row of the object in the
    frame's target and its track id, None if there is nothing. flags: its deteriorations by name.
    label: the object's class; where there is nothing, the class that was said. row, score: the
    detection in its frame; of a missed object the weak right one, None and 0 if there is not even
    that. box: xyxy pixels, of the object if there is one, else of the detection. lost: points of
    AP, see `diagnose`.
    """

    kind: str
    clip: int
    t: int
    object: int | None
    track: int | None
    flags: tuple[str, ...]
    label: int
    row: int | None
    score: float
    box: tuple[float, ...]
    lost: float


class Seen(NamedTuple):
    """One object in one frame, and what became of it: "found", or the kind of its failure ("wrong
    class" and "poor box" only where nothing right was said; of several the one of highest score).
    score: of the detection that decides, 0 if there is none."""

    clip: int
    t: int
    object: int
    track: int
    flags: tuple[str, ...]
    label: int
    state: str
    score: float


@dataclass(frozen=True)
class Diagnosis:
    """The failures of a detector on some clips, and all their objects, in order of the frames."""

    cases: list[Failure]
    objects: list[Seen]


def diagnose(predictions: Predictions, targets: Targets, classes: Sequence[str],
             threshold: float = 0.5) -> Diagnosis:
    """Every failure of a detector at a score of `threshold`; predictions, targets: clips x frames.

    A detection is strong if its score is >= threshold. A strong one that is not right (protocol
    `vid`, `matching.match`: x2, y2 inclusive) is the first of these that fits:
      duplicate      its class and IoU >= 0.5, but a better detection has taken the object
      wrong class    IoU >= 0.5 with an object of another class
      poor box       its class and IoU of 0.1 to 0.5
      nothing there  all else, also a wrong class in a poor box
    and is about the object that it overlaps most. An object is
      missed         if no strong detection is right, of wrong class or a poor box of it.

    lost: the points of AP (0 to 100, over all scores, added over the classes that change) that come
    back if this failure alone is mended; divided by the number of classes, points of mAP. Mended:
      duplicate, nothing there   the detection is gone
      wrong class, poor box      it has the object's class and box; if another one is right for that
                                 object, the higher score of the two stays, the other is gone
      missed                     a right detection has the score `threshold`, in place of a weaker
                                 right one if there is one
    Each value is exact. Their sum is not what mending them together would bring. MSTError as
    `evaluate`.
    """
    judged = judge_all(predictions, targets, len(classes))
    curves = [Curve.of(judged, label) for label in range(1, len(classes) + 1)]
    wrong = np.flatnonzero(~judged.tp & (judged.score >= threshold))
    faults = [(*_fault(judged, i), i) for i in wrong.tolist()]             # (kind, object, row)
    states = _states(judged, faults, threshold)
    faults += [("missed", o, int(judged.best[o])) for o, (state, _) in enumerate(states)
               if state == "missed"]
    cases = [Failure(kind, *_about(judged, o, i), _lost(judged, curves, kind, o, i, threshold))
             for kind, o, i in faults]
    cases.sort(key=lambda case: (case.clip, case.t, KINDS.index(case.kind), -case.score))
    objects = [Seen(*_about(judged, o, -1)[:6], *state) for o, state in enumerate(states)]
    return Diagnosis(cases, objects)


# ---- which kind, and about whom ----------------------------------------------------------------


def _fault(judged: Judged, i: int) -> tuple[str, int]:
    """What a detection that is not right is, and the object it is about (-1: none)."""
    if judged.object[i] >= 0:
        return "duplicate", int(judged.object[i])
    first, end = np.searchsorted(judged.truth.frames, (judged.frame[i], judged.frame[i] + 1))
    there = judged.truth.boxes[first:end].astype(np.float64)               # (N, 4)
    if not len(there):
        return "nothing there", -1
    iou = iou_inclusive(np.broadcast_to(judged.boxes[i].astype(np.float64), there.shape), there)
    same = judged.truth.labels[first:end] == judged.label[i]
    other, mine = np.where(same, 0, iou), np.where(same, iou, 0)
    if other.max() >= SAME:
        return "wrong class", int(first + other.argmax())
    return ("poor box", int(first + mine.argmax())) if mine.max() >= NEAR else ("nothing there", -1)


def _states(judged: Judged, faults: list[tuple[str, int, int]], threshold: float
            ) -> list[tuple[str, float]]:
    """What became of each object: `Seen.state` and `Seen.score`."""
    scores = np.append(judged.score, np.float32(0))[judged.best]           # (G,) 0: none is right
    states = [("found" if s >= threshold else "missed", float(s)) for s in scores]
    for kind, o, i in faults:
        state, score = states[o] if o >= 0 else ("found", 0.0)
        if kind in ("wrong class", "poor box") and state != "found" and (
                state == "missed" or judged.score[i] > score):
            states[o] = kind, float(judged.score[i])
    return states


def _about(judged: Judged, o: int, i: int) -> tuple:
    """(clip, t, object, track, flags, label, row, score, box) of object o and detection i, -1:
    none."""
    truth = judged.truth
    frame = int(truth.frames[o] if o >= 0 else judged.frame[i])
    clip = int(np.searchsorted(judged.starts, frame, side="right")) - 1
    place = clip, frame - int(judged.starts[clip])
    said = (int(judged.row[i]), float(judged.score[i])) if i >= 0 else (None, 0.0)
    said += (tuple((judged.boxes[i] if o < 0 else truth.boxes[o]).tolist()),)
    if o < 0:
        return *place, None, None, (), int(judged.label[i]), *said
    flags = tuple(name for name, on in zip(DETERIORATIONS, truth.flags[o], strict=True) if on)
    row = o - int(np.searchsorted(truth.frames, frame))
    return *place, row, int(truth.ids[o]), flags, int(truth.labels[o]), *said


# ---- what a failure costs ----------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """The detections of one class by falling score, equal ones the wrong first: score, tp (D,).

    place: where in this order each detection stands, (all D,); objects: how many there are."""

    score: Array
    tp: Array
    place: Array
    objects: int

    @staticmethod
    def of(judged: Judged, label: int) -> "Curve":
        """The curve of one class."""
        mine = np.flatnonzero(judged.label == label)
        mine = mine[np.lexsort((judged.tp[mine], -judged.score[mine]))]
        place = np.full(len(judged.label), -1)
        place[mine] = np.arange(len(mine))
        return Curve(judged.score[mine], judged.tp[mine], place,
                     int((judged.truth.labels == label).sum()))

    def ap(self, gone: Sequence[int] = (), new: float | None = None) -> float:
        """AP 0..100 without some detections and with a new right one of score `new`."""
        if not self.objects:
            return 0.0
        places = self.place[list(gone)]
        score, tp = np.delete(self.score, places), np.delete(self.tp, places)
        if new is not None:
            tp = np.insert(tp, np.searchsorted(-score, -new, side="right"), True)
        return 100 * float(area(tp, self.objects))


def _lost(judged: Judged, curves: Sequence[Curve], kind: str, o: int, i: int, threshold: float
          ) -> float:
    """Points of AP that come back if a failure is mended; see `diagnose`."""
    said = curves[judged.label[i] - 1] if i >= 0 else None
    if kind in ("duplicate", "nothing there"):
        return said.ap([i]) - said.ap()
    right, curve = int(judged.best[o]), curves[judged.truth.labels[o] - 1]
    weaker = [] if right < 0 else [right]
    if kind == "missed":
        return curve.ap(weaker, threshold) - curve.ap()
    better = right >= 0 and judged.score[right] >= judged.score[i]
    gone, new = ([], None) if better else (weaker, float(judged.score[i]))
    if said is curve:
        return curve.ap([i, *gone], new) - curve.ap()
    return said.ap([i]) - said.ap() + curve.ap(gone, new) - curve.ap()
