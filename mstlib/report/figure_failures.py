"""Figure 6 of the paper from our own runs: where the whole method fails (Sec. IV-F).

The paper shows wrong classes, a missed object and duplicates, "caused by rare pose and occlusion",
and marks the failure frames with a red contour. Here each kind of failure of (g) is shown by its
worst case on the test clips: CASES says what is looked for, `faults` what counts as a failure,
`worst` which case is shown. `mstlib.report.figures` writes the figure.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torchvision.ops import box_iou

from mstlib.config import MSTError
from mstlib.data.clip import DETERIORATIONS, Clip, Detections, Target
from mstlib.data.dataset import Dataset
from mstlib.evaluation.story import SAME, of_track, track_flags, track_ids
from mstlib.model.detector import MST
from mstlib.report.figure_board import (
    SHOWN,
    before_and_after,
    board,
    class_of,
    legend,
    outline,
    run_around,
    runs,
    short,
)
from mstlib.show import draw_frame, frame_title, untangle

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOUCHES = 0.3  # IoU from which a detection is taken to be about an object, if badly placed
HARD = ("rare pose", "occlusion")  # what the paper's failures are caused by
CASES = (  # (failure, under these deteriorations and no others)
    ("wrong class", HARD[:1]), ("wrong class", HARD[1:]), ("missed", HARD), ("duplicate", HARD),
    ("poor box", HARD),
)
Faults = list[dict[str, float]]  # of one object, frame by frame: its failures and how bad each is


class Case(NamedTuple):
    """A failure of one object: what, how bad, and where."""

    what: str
    worth: float
    clip: int
    track: int
    t: int


def failures(data: Dataset, models: Sequence[MST], count: int = 6) -> tuple["Figure", str]:
    """A row for the worst case of each of CASES, failure frames outlined; what it shows, in words.

    MSTError if the model does not fail.
    """
    from mstlib.stream import detect_clips

    found = detect_clips(models[0], data, models[0].config.test, f"(g) on {data.split}")
    known = {(c, track): track_faults(clip, found[c], track)
             for c, clip in enumerate(data) for track in track_ids(clip)}
    cases = [worst(data, known, what, causes) for what, causes in CASES]
    cases = [case for case in cases if case]
    if not cases:
        raise MSTError(f"{data.name} {data.split}: (g) makes no mistake under {' or '.join(HARD)}")
    figure, axes = board([label(data, case) for case in cases], count, 1.35)
    used: set[str] = set()
    told = [failure(row, data, case, known[case.clip, case.track], found[case.clip], used)
            for row, case in zip(axes, cases, strict=True)]
    legend(figure, used, "failure")
    return figure, (f"Failures of (g) on {data.name} {data.split}, one object a row, detections "
                    f"of score {SHOWN} and more: {'; '.join(told)}. Rule: under rare pose or "
                    "occlusion alone the most confident wrong class, the longest time without any "
                    "detection, the highest score of a second detection, the most confident box "
                    "with IoU below 0.5.")


def label(data: Dataset, case: Case) -> tuple[str, str]:
    """What stands beside a row: the failure; the object and why it is hard."""
    lines = [class_of(data, case.clip, case.track), short(data[case.clip])]
    lines += [cause_of(data, case).replace(" + ", " +\n")]
    lines += ["(dotted: IoU < 0.5)"] if case.what == "poor box" else []
    return case.what, "\n".join(lines)


def cause_of(data: Dataset, case: Case) -> str:
    """The deteriorations of the object in the frame of a case, such as "occlusion + rare pose"."""
    return frame_title(case.t, data[case.clip].target(case.t), case.track).splitlines()[1]


def failure(row: Sequence["Axes"], data: Dataset, case: Case, known: Faults,
            found: Sequence[Detections], used: set[str]) -> str:
    """Draw a case of Fig. 6 with what was before and after it; the case in words.

    used: the styles of box it used are added.
    """
    clip, track = data[case.clip], case.track
    run = run_around((case.what in now for now in known), case.t)
    times = before_and_after(case.t, run, len(clip), len(row))
    for axis, t in zip(row, times, strict=False):
        target = clip.target(t)
        used |= draw_frame(axis, clip.frame(t), of_track(target, track),
                           about_object(found[t], target, track), data.classes, SHOWN)
        axis.set_title(frame_title(t, target, track), fontsize=7, pad=2)
        untangle(axis)
        if known[t]:
            outline(axis)
    size = "" if case.what == "missed" else f", score {case.worth:.2f}"
    where = f"frames {run[0]} to {run[1]}" if run[1] > run[0] else f"frame {run[0]}"
    return (f"{case.what} under {cause_of(data, case)} ({short(clip)}, "
            f"{class_of(data, case.clip, track)}, {where}{size})")


# ---- the rule ----------------------------------------------------------------------------------


def about_object(found: Detections, target: Target, track: int) -> Detections:
    """The strong detections that touch this object more than others and are not right for one of
    them."""
    mine = target.ids == track                                              # (N,)
    iou = box_iou(found.boxes, target.boxes)                                # (D, N)
    right = (iou >= SAME) & (found.labels[:, None] == target.labels)
    touch = (iou * mine).sum(1)                                             # (D,): one object
    best = torch.cat([iou * ~mine, iou.new_zeros(len(iou), 1)], 1).amax(1)  # (D,): of the others
    rows = (found.scores >= SHOWN) & (touch >= TOUCHES) & (touch > best)
    rows &= ~right[:, ~mine].any(1)
    return Detections(found.boxes[rows], found.scores[rows], found.labels[rows])


def faults(found: Detections, target: Target, track: int) -> dict[str, float]:
    """What is wrong with the answer for one object, and how bad that is; empty if all is well.

    wrong class, poor box (right class, IoU of TOUCHES to 0.5), where no detection is right: the
    highest such score. duplicate: a second detection has IoU >= 0.5; its score. missed: no
    detection touches the object.
    """
    its = of_track(target, track)
    if not len(its.boxes):
        return {}
    mine = about_object(found, target, track)
    near = box_iou(mine.boxes, its.boxes)[:, 0] >= SAME                     # (D,)
    same = mine.labels == its.labels
    kinds = {"duplicate": mine.scores[near].sort(descending=True).values[1:]}
    if not (near & same).any():
        kinds |= {"wrong class": mine.scores[near & ~same], "poor box": mine.scores[~near & same]}
    known = {what: scores.max().item() for what, scores in kinds.items() if len(scores)}
    return known if len(mine.boxes) else {"missed": 1.0}


def track_faults(clip: Clip, found: Sequence[Detections], track: int) -> Faults:
    """`faults` of a track in every frame of a clip."""
    return [faults(found[t], clip.target(t), track) for t in range(len(clip))]


def worst(clips: Sequence[Clip], known: Mapping[tuple[int, int], Faults], what: str,
          causes: Sequence[str]) -> Case | None:
    """The worst failure of a kind in frames with some of these deteriorations and no others.

    known: by (clip, track). The highest score, of what is missed the longest stretch; of equal
    ones the first. None if there is none.
    """
    cases = []
    for (c, track), frames in known.items():
        marks = [what in now and caused for now, caused in
                 zip(frames, caused_by(clips[c], track, causes), strict=True)]
        for first, last in runs(marks):
            worths = [last - first + 1.0 if what == "missed" else frames[t][what]
                      for t in range(first, last + 1)]
            cases += [Case(what, max(worths), c, track, first + worths.index(max(worths)))]
    return max(cases, key=lambda case: case.worth, default=None)


def caused_by(clip: Clip, track: int, causes: Sequence[str]) -> list[bool]:
    """Of each frame: does the object show some of these deteriorations and no others?"""
    flags = track_flags(clip, track)                                        # (T, 4)
    mine = [DETERIORATIONS.index(cause) for cause in causes]
    return (flags.any(1) & (flags.sum(1) == flags[:, mine].sum(1))).tolist()
