"""Failures counted and compared: by deterioration, from one detector to another, and what the
window could have shown. Notebook 11 shows the tables. Sec. IV-F of the paper.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor
from torchvision.ops import box_iou

from mstlib.config import MSTError
from mstlib.data.clip import DETERIORATIONS, Clip, window_indices
from mstlib.evaluation.columns import Predictions
from mstlib.evaluation.failures import KINDS, SAME, Diagnosis, Failure, Seen
from mstlib.evaluation.story import of_track

if TYPE_CHECKING:  # pandas is imported where it is used
    import pandas

VIEWS = ("clean", *DETERIORATIONS)  # what an object shows in a frame; it may show several
STATES = ("found", "missed", "wrong class", "poor box")
ORDERS = ("lost AP", "clip order")


def shows(flags: Sequence[str], view: str) -> bool:
    """Does an object with these deteriorations show `view`, one of VIEWS or "any"?"""
    return view == "any" or (not flags if view == "clean" else view in flags)


def choose(cases: Iterable[Failure], kind: str = "any", view: str = "any", order: str = "lost AP"
           ) -> list[Failure]:
    """The failures of a kind (or any) of objects that show `view` (one of VIEWS, or any), by
    falling lost AP or in clip order. What is about no object shows nothing: under "any" alone.

    MSTError if kind, view or order is unknown, and if no case is left.
    """
    for name, known in ((kind, ("any", *KINDS)), (view, ("any", *VIEWS)), (order, ORDERS)):
        if name not in known:
            raise MSTError(f"unknown choice '{name}'; choose one of {', '.join(known)}")
    chosen = [case for case in cases if kind in ("any", case.kind) and shows(case.flags, view)
              and (view == "any" or case.object is not None)]
    if not chosen:
        raise MSTError(f"no failure here: kind {kind}, deterioration {view}; choose another one")
    return sorted(chosen, key=lambda case: -case.lost) if order == ORDERS[0] else chosen


def failure_table(diagnosis: Diagnosis) -> "pandas.DataFrame":
    """How many failures of each kind there are, a row for what the object shows.

    Columns: "object shows" (any, VIEWS, and a last row for detections about no object),
    "object-frames", KINDS, "% not found". An object with two deteriorations is in two rows.
    """
    import pandas

    rows = []
    for view in ("any", *VIEWS):
        objects = [seen for seen in diagnosis.objects if shows(seen.flags, view)]
        lost = sum(seen.state != "found" for seen in objects)
        kinds = [case.kind for case in diagnosis.cases
                 if case.object is not None and shows(case.flags, view)]
        rows.append({"object shows": view, "object-frames": len(objects)}
                    | {kind: kinds.count(kind) for kind in KINDS[:-1]} | {KINDS[-1]: None}
                    | {"% not found": 100 * lost / len(objects) if objects else float("nan")})
    nothing = sum(case.object is None for case in diagnosis.cases)
    rows.append({"object shows": "no object", "object-frames": None}
                | dict.fromkeys(KINDS[:-1]) | {KINDS[-1]: nothing, "% not found": None})
    return pandas.DataFrame(rows, dtype=object)


def not_found(diagnosis: Diagnosis) -> dict[str, float]:
    """Percent of the object-frames with each of VIEWS that are not found; NaN where there are
    none."""
    table = failure_table(diagnosis)
    shares = dict(zip(table["object shows"], table["% not found"], strict=True))
    return {view: shares[view] for view in VIEWS}


def lost_by_kind(diagnosis: Diagnosis) -> dict[str, float]:
    """The lost AP of the cases of each kind, summed: an order of size only, since each was asked
    for alone."""
    return {kind: sum(case.lost for case in diagnosis.cases if case.kind == kind)
            for kind in KINDS}


def wrong_classes(diagnosis: Diagnosis, predictions: Predictions, classes: Sequence[str]
                  ) -> dict[str, int]:
    """Numbers of cases of wrong class: all, those beside a right answer for the same object, and
    those that name its twin, the class with the same body (as `circumstances`)."""
    cases = [case for case in diagnosis.cases if case.kind == "wrong class"]
    right = {seen[:3] for seen in diagnosis.objects if seen.state == "found"}
    said = [int(predictions[c.clip][c.t].labels[c.row]) for c in cases]
    return {"in all": len(cases),
            "beside a right answer": sum((c.clip, c.t, c.object) in right for c in cases),
            "that name the twin": sum(are_twins(k, c.label, classes)
                                      for k, c in zip(said, cases, strict=True))}


def are_twins(one: int, two: int, classes: Sequence[str]) -> bool:
    """Are two labels different classes of the same body, the part of their names before the "-"?"""
    bodies = [classes[k - 1].partition("-")[0] for k in (one, two)]
    return one != two and bodies[0] == bodies[1]


def changes(one: Diagnosis, two: Diagnosis) -> "pandas.DataFrame":
    """What became of each object under two detectors on the same clips: how many object-frames
    went from a state of the first (row) to one of the second (column); both in order of STATES.

    MSTError if the two are not about the same objects.
    """
    import pandas

    pairs = _pairs(one, two)
    counts = {state: [sum(pair == (before, state) for pair in pairs) for before in STATES]
              for state in STATES}
    return pandas.DataFrame({"from": STATES} | {f"to {state}": n for state, n in counts.items()})


def _pairs(one: Diagnosis, two: Diagnosis) -> list[tuple[str, str]]:
    """(state, state) of each object; MSTError if the objects differ."""
    if [seen[:3] for seen in one.objects] != [seen[:3] for seen in two.objects]:
        raise MSTError(f"{len(one.objects)} and {len(two.objects)} object-frames that are not the "
                       "same; diagnose both detectors on the same clips")
    return [(a.state, b.state) for a, b in zip(one.objects, two.objects, strict=True)]


def nobody_finds(diagnoses: Mapping[str, Diagnosis]) -> list[Seen]:
    """The object-frames that no detector finds, as the last one sees it; MSTError as `changes`."""
    *others, last = diagnoses.values()
    states = [[a for a, _ in _pairs(other, last)] for other in others]
    lost = [all(s != "found" for s in column) for column in zip(*states, strict=True)]
    lost = lost if others else [True] * len(last.objects)
    return [seen for seen, gone in zip(last.objects, lost, strict=True)
            if gone and seen.state != "found"]


def clean_views(clip: Clip, t: int, track: int, window: int, stride: int) -> list[int]:
    """The frames of the test window of frame t that show an object without any deterioration,
    the nearest first; a window longer than twice the clip is the whole clip."""
    frames = window_indices(t, len(clip), window, stride)
    targets = {s: of_track(clip.target(s), track) for s in frames}
    clean = [s for s, its in targets.items() if len(its.boxes) and not its.flags.any()]
    return sorted(clean, key=lambda s: (abs(s - t), s))


def window_help(clips: Sequence[Clip], objects: Sequence[Seen], window: int, stride: int
                ) -> dict[str, float]:
    """Of some object-frames, percent for which a clean view of the object is in the test window,
    elsewhere in the clip only, or nowhere in it; NaN without objects."""
    counts = {"in the window": 0, "elsewhere in the clip": 0, "nowhere in the clip": 0}
    for seen in objects:
        clip = clips[seen.clip]
        near = clean_views(clip, seen.t, seen.track, window, stride)
        far = near or clean_views(clip, seen.t, seen.track, 2 * len(clip) + 1, 1)
        counts[list(counts)[0 if near else 1 if far else 2]] += 1
    return {name: 100 * n / len(objects) if objects else float("nan")
            for name, n in counts.items()}


def circumstances(clips: Sequence[Clip], objects: Sequence[Seen], diagnosis: Diagnosis,
                  window: int, stride: int, classes: Sequence[str]) -> dict[str, float]:
    """What some object-frames have in common, in percent of them; NaN without objects.

    Deteriorated. No clean view of the object in the test window. Found in it: the detector of
    `diagnosis` finds the same object in another frame of the window. A twin: an object with the
    same body and another class is somewhere in the clip.
    """
    found = {(s.clip, s.track, s.t) for s in diagnosis.objects if s.state == "found"}
    names = ("deteriorated", "no clean view in the window", "found elsewhere in it", "a twin")
    counts = dict.fromkeys(names, 0)
    for seen in objects:
        clip = clips[seen.clip]
        others = window_indices(seen.t, len(clip), window, stride)[1:]
        labels = {k for t in range(len(clip)) for k in clip.target(t).labels.tolist()}
        true = (bool(seen.flags), not clean_views(clip, seen.t, seen.track, window, stride),
                any((seen.clip, seen.track, s) in found for s in others),
                any(are_twins(k, seen.label, classes) for k in labels))
        for name, holds in zip(names, true, strict=True):
            counts[name] += holds
    return {name: 100 * n / len(objects) if objects else float("nan")
            for name, n in counts.items()}


def by_clean_views(clips: Sequence[Clip], objects: Sequence[Seen], window: int, stride: int,
                   most: int = 5) -> "pandas.DataFrame":
    """How many object-frames have how many clean views of the object in their test window (`most`
    or more in one row), and percent of them that are not found."""
    import pandas

    counts: dict[int, list[bool]] = {}
    for seen in objects:
        views = len(clean_views(clips[seen.clip], seen.t, seen.track, window, stride))
        counts.setdefault(min(views, most), []).append(seen.state != "found")
    return pandas.DataFrame([
        {"clean views in the window": f"{views} or more" if views == most else str(views),
         "object-frames": len(lost), "% not found": 100 * sum(lost) / len(lost)}
        for views, lost in sorted(counts.items())])


def unproposed(clips: Sequence[Clip], objects: Sequence[Seen],
               proposals: Sequence[Sequence[Tensor]]) -> float:
    """Percent of some object-frames that no proposal (n, 4) of their frame shows (IoU >= 0.5): the
    RPN has lost them, and no later part can find them. NaN without objects. proposals: clips x
    frames."""
    lost = 0
    for seen in objects:
        box = clips[seen.clip].target(seen.t).boxes[seen.object][None]
        lost += not (box_iou(proposals[seen.clip][seen.t], box) >= SAME).any()
    return 100 * lost / len(objects) if objects else float("nan")
