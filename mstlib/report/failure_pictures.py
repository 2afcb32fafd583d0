"""Pictures of failures: a case in its frames, as several detectors see it.

Cases are those of `mstlib.evaluation.failures`; notebook 11 shows them. The paper's own Figure 6 is
`mstlib.report.figure_failures`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchvision.ops import box_iou

from mstlib.data.clip import Clip, Detections
from mstlib.data.dataset import Dataset
from mstlib.evaluation.failures import KINDS, SAME, Diagnosis, Failure, Seen
from mstlib.evaluation.story import of_track
from mstlib.report.figure_board import around, board, outline, short
from mstlib.show import STYLES, draw_frame, frame_title, grid, legend_text, untangle
from mstlib.show.maps import BRIGHT

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRAME = 1.4              # inches of a frame on a board
Found = Mapping[str, Sequence[Sequence[Detections]]]  # by detector: clips x frames
Diagnoses = Mapping[str, Diagnosis]                   # by detector


# ---- in words ----------------------------------------------------------------------------------


def case_text(data: Dataset, case: Failure) -> str:
    """What a case is about, such as "cone-disc, rare pose + occlusion, clip 0020, frame 18"."""
    what = "about no object" if case.object is None else (
        f"{data.classes[case.label - 1]}, {' + '.join(case.flags) or 'clean'}")
    return f"{what}, {short(data[case.clip])}, frame {case.t}"


def said_text(data: Dataset, found: Detections, case: Failure) -> str:
    """What the detector of a case said in its frame: "said cone-cross .92"."""
    if case.row is None:
        return "said nothing right"
    said = data.classes[int(found.labels[case.row]) - 1]
    return f"said {said}{' at only' if case.kind == 'missed' else ''} {number(case.score)}"


def verdict(data: Dataset, found: Detections, seen: Seen | None, place: Tensor | None,
            threshold: float) -> str:
    """What a detector makes of the place of a case in a frame, in a few words.

    seen: the object there, None if there is none; place: (1, 4) or None.
    """
    if seen is not None:
        return f"{seen.state} {number(seen.score)}" if seen.score else seen.state
    if place is None:
        return "nothing to judge"
    here = (box_iou(found.boxes, place)[:, 0] >= SAME) & (found.scores >= threshold)
    rows = here.nonzero().flatten().tolist()
    if not rows:
        return "says nothing here"
    best = max(rows, key=lambda i: float(found.scores[i]))
    return f"says {data.classes[int(found.labels[best]) - 1]} {number(float(found.scores[best]))}"


def number(score: float) -> str:
    """A score as it stands beside boxes: ".92"."""
    return f"{score:.2f}".removeprefix("0")


# ---- frames ------------------------------------------------------------------------------------


def place_of(clip: Clip, case: Failure, t: int) -> Tensor | None:
    """Where a case is in frame t, (1, 4) pixels; what is about no object, or about one without a
    track id, has a place in its own frame only."""
    if t == case.t:
        return torch.tensor([case.box])
    known = case.track is not None and case.track >= 0
    boxes = of_track(clip.target(t), case.track).boxes if known else ()
    return boxes[:1] if len(boxes) else None


def state_at(diagnosis: Diagnosis, case: Failure, t: int) -> Seen | None:
    """What became of a case's object in frame t of its clip; None if there is none."""
    there = [seen for seen in diagnosis.objects if (seen.clip, seen.t) == (case.clip, t)]
    if case.object is None or not there:
        return None
    if t == case.t:
        return there[case.object]
    return next((s for s in there if s.track == case.track and s.track >= 0), None)


def draw_case(axis: "Axes", data: Dataset, case: Failure, t: int, found: Detections,
              threshold: float) -> set[str]:
    """Frame t of a case's clip with all that is in it, its place outlined; the styles of box used.
    """
    clip = data[case.clip]
    used = draw_frame(axis, clip.frame(t), clip.target(t), found, data.classes, threshold)
    untangle(axis)
    place = place_of(clip, case, t)
    if place is not None:
        mark_box(axis, place[0].tolist())
    return used


def mark_box(axis: "Axes", box: Sequence[float], margin: float = 3.0) -> None:
    """A thick outline around a box xyxy, `margin` pixels off it, that no ground hides."""
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = box
    size = x2 - x1 + 2 * margin, y2 - y1 + 2 * margin
    for colour, width in (("black", 4.0), (BRIGHT, 2.2)):
        axis.add_patch(Rectangle((x1 - margin, y1 - margin), *size, fill=False, ec=colour,
                                 lw=width))


def case_picture(data: Dataset, found: Found, diagnoses: Diagnoses, name: str, case: Failure,
                 step: int = 0, threshold: float = 0.5) -> tuple["Figure", str]:
    """The frame `step` frames from a case of detector `name` (or the end of the clip) as every
    detector sees it, and the case in words."""
    clip = data[case.clip]
    t = min(max(case.t + step, 0), len(clip) - 1)
    place, used = place_of(clip, case, t), set()
    figure, axes = grid(1, len(found), panel=2.4)
    for axis, (other, detections) in zip(axes, found.items(), strict=True):
        mine = detections[case.clip][t]
        used |= draw_case(axis, data, case, t, mine, threshold)
        said = verdict(data, mine, state_at(diagnoses[other], case, t), place, threshold)
        axis.set_title(f"{other}: {said}", fontsize=9, pad=3)
    figure.text(0.5, 0.02, legend_text(used, "thick outline: the case"), fontsize=7, ha="center")
    said = said_text(data, found[name][case.clip][case.t], case)
    words = (f"{case.kind} of {name}: {case_text(data, case)}; {said}; {case.lost:.2f} points of "
             "AP lost.")
    return figure, words + ("" if t == case.t else f" The picture shows frame {t}.")


def kind_rows(data: Dataset, found: Found, diagnoses: Diagnoses, threshold: float = 0.5
              ) -> tuple["Figure", str]:
    """A row for each of KINDS: the case with most lost AP of the last detector that has any, with
    frames before and after it; what it shows, in words."""
    rows, told = [], []
    for kind in KINDS:
        cases = [(name, case) for name, diagnosis in reversed(diagnoses.items())
                 for case in diagnosis.cases if case.kind == kind]
        cases = [(name, case) for name, case in cases if name == cases[0][0]]
        if cases:
            name, case = max(cases, key=lambda pair: pair[1].lost)
            said = said_text(data, found[name][case.clip][case.t], case)
            what = "no object" if case.object is None else data.classes[case.label - 1]
            words = [what, said.replace("said ", "said\n", case.row is not None),
                     f"lost AP {case.lost:.2f}"]
            rows.append((f"{kind}, {name}", "\n".join(words), name, case))
            told.append(f"{kind} of {name} ({case_text(data, case)}; {said})")
    return _rows(data, rows, found, threshold, columns=3, step=3), (
        f"A row for each kind of failure, its own frame outlined: {'; '.join(told)}.")


def detector_rows(data: Dataset, found: Found, diagnoses: Diagnoses, case: Failure,
                  threshold: float = 0.5, step: int = 3) -> tuple["Figure", str]:
    """A row for each detector: a case with frames before and after it, `step` frames apart; what it
    shows, in words."""
    clip, rows, told = data[case.clip], [], []
    place = place_of(clip, case, case.t)
    for name, diagnosis in diagnoses.items():
        seen = state_at(diagnosis, case, case.t)
        said = verdict(data, found[name][case.clip][case.t], seen, place, threshold)
        rows.append((name, f"in frame {case.t}:\n{said}", name, case))
        told.append(f"{name} {said}")
    return _rows(data, rows, found, threshold, columns=3, step=step), (
        f"Frames around a case, a row for each detector ({case_text(data, case)}). "
        f"In that frame: {', '.join(told)}.")


def _rows(data: Dataset, rows: Sequence[tuple[str, str, str, Failure]], found: Found,
          threshold: float, columns: int, step: int) -> "Figure":
    """A row of frames for each (bold words, others, detector, case), the case's frame outlined."""
    figure, axes = board([(bold, plain) for bold, plain, *_ in rows], columns, FRAME)
    used: set[str] = set()
    for row, (_, _, name, case) in zip(axes, rows, strict=True):
        clip = data[case.clip]
        for axis, t in zip(row, around(case.t, len(clip), columns, step), strict=False):
            used |= draw_case(axis, data, case, t, found[name][case.clip][t], threshold)
            axis.set_title(frame_title(t, clip.target(t), case.track), fontsize=7, pad=2)
            if t == case.t:
                outline(axis)
    first, second = (set(styles) & used for styles in (list(STYLES)[:3], list(STYLES)[3:]))
    text = legend_text(first), legend_text(
        second, "thick outline: the case, its frame in thick dashes")
    figure.text(0.5, 0.03 / figure.get_figheight(), "\n".join(text), fontsize=7, ha="center")
    return figure
