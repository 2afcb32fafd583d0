"""Pictures of failures: a case in its frames as several detectors see it, and shares as bars.

Cases are those of `mstlib.evaluation.failures`; notebook 11 shows them. The paper's own Figure 6 is
`mstlib.report.figure_failures`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torchvision.ops import box_iou

from mstlib.data.clip import Clip, Detections
from mstlib.data.dataset import Dataset
from mstlib.evaluation.failures import SAME, Diagnosis, Failure, Seen
from mstlib.evaluation.story import of_track
from mstlib.report.charts import LINES, chart
from mstlib.report.figure_board import board, legend, outline, short
from mstlib.show import draw_frame, frame_title, grid, legend_text, untangle

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARK = "#F0E442"                # of the outline around a case's place, over black
HATCHES = ("", "////", "....")  # of the bars of detectors, in their order
Found = Mapping[str, Sequence[Sequence[Detections]]]  # by detector, clips x frames


# ---- in words ----------------------------------------------------------------------------------


def case_text(data: Dataset, case: Failure) -> str:
    """What a case is about, such as "cone-disc, rare pose + occlusion, clip 0020, frame 18"."""
    what = f"{data.classes[case.label - 1]}, {' + '.join(case.flags) or 'clean'}"
    if case.object is None:
        what = f"no object, said to be a {data.classes[case.label - 1]}"
    return f"{what}, {short(data[case.clip])}, frame {case.t}"


def said_text(data: Dataset, found: Detections, case: Failure) -> str:
    """What the detector of a case said: "said cone-cross .92", "said nothing right"."""
    if case.row is None:
        return "no right detection at all"
    said, score = data.classes[int(found.labels[case.row]) - 1], number(case.score)
    return f"{'right, but only' if case.kind == 'missed' else 'said'} {said} {score}"


def place_of(clip: Clip, case: Failure, t: int) -> torch.Tensor | None:
    """Where a case's object is in frame t, (1, 4); what is about no object, and an object without a
    track id, has a place in the case's frame only."""
    if t == case.t:
        return torch.tensor([case.box])
    its = of_track(clip.target(t), case.track) if case.track is not None and case.track >= 0 else None
    return its.boxes[:1] if its is not None and len(its.boxes) else None


def verdict(data: Dataset, found: Detections, seen: Seen | None, place: torch.Tensor | None,
            threshold: float) -> str:
    """What a detector makes of the place of a case in a frame, in a few words.

    seen: of the object there, None if there is none; place: (1, 4) or None.
    """
    if seen is not None:
        return f"{seen.state} {number(seen.score)}" if seen.score else seen.state
    if place is None:
        return "not in this frame"
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


def draw_case(axis: "Axes", data: Dataset, case: Failure, t: int, found: Detections,
              threshold: float) -> set[str]:
    """Frame t of a case's clip with everything in it, its place outlined; the styles of box used."""
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
    for colour, width in (("black", 4.0), (MARK, 2.2)):
        axis.add_patch(Rectangle((x1 - margin, y1 - margin), x2 - x1 + 2 * margin,
                                 y2 - y1 + 2 * margin, fill=False, ec=colour, lw=width))


def around(t: int, length: int, columns: int, step: int) -> list[int]:
    """`columns` frames `step` apart with frame t in the middle, fewer at the ends of a clip."""
    reach = columns // 2
    return [s for s in range(t - reach * step, t + reach * step + 1, step) if 0 <= s < length]


def case_rows(data: Dataset, rows: Sequence[tuple[str, str, Failure]], found: Found,
              threshold: float = 0.5, columns: int = 5, step: int = 2) -> "Figure":
    """A row of frames around each case, its own frame outlined.

    rows: (heading, detector, case). found: by detector. Columns lie `step` frames apart.
    """
    labels = [(f"{head}, {name}" if head != name else name, label(data, found, name, case))
              for head, name, case in rows]
    figure, axes = board(labels, columns, 1.5)
    used: set[str] = set()
    for row, (_, name, case) in zip(axes, rows, strict=True):
        clip = data[case.clip]
        for axis, t in zip(row, around(case.t, len(clip), columns, step), strict=False):
            used |= draw_case(axis, data, case, t, found[name][case.clip][t], threshold)
            axis.set_title(frame_title(t, clip.target(t), case.track), fontsize=7, pad=2)
            if t == case.t:
                outline(axis)
    legend(figure, used, "the failure")
    return figure


def label(data: Dataset, found: Found, name: str, case: Failure) -> str:
    """What stands beside a row of frames."""
    what = "no object" if case.object is None else data.classes[case.label - 1]
    said = said_text(data, found[name][case.clip][case.t], case).replace(", ", ",\n")
    return f"{what}\n{said}\n{short(data[case.clip])}\nlost AP {case.lost:.2f}"


def case_picture(data: Dataset, found: Found, diagnoses: Mapping[str, Diagnosis], name: str,
                 case: Failure, step: int = 0, threshold: float = 0.5) -> tuple["Figure", str]:
    """The frame `step` frames from a case of detector `name` (or the end of the clip) as every
    detector sees it, and the case in words."""
    clip = data[case.clip]
    t = min(max(case.t + step, 0), len(clip) - 1)
    place, used = place_of(clip, case, t), set()
    figure, axes = grid(1, len(found), panel=2.7)
    for axis, (other, detections) in zip(axes, found.items(), strict=True):
        seen = state_at(diagnoses[other], case, t)
        used |= draw_case(axis, data, case, t, detections[case.clip][t], threshold)
        said = verdict(data, detections[case.clip][t], seen, place, threshold)
        axis.set_title(f"{other}: {said}", fontsize=9, pad=3)
    figure.text(0.5, 0.02, legend_text(used) + "     thick outline: the case", fontsize=7,
                ha="center")
    shown = "" if t == case.t else f" Shown: frame {t}."
    own = found[name][case.clip][case.t]
    return figure, (f"{case.kind} of {name}: {case_text(data, case)}; {said_text(data, own, case)}; "
                    f"{case.lost:.2f} points of AP lost.{shown}")


def state_at(diagnosis: Diagnosis, case: Failure, t: int) -> Seen | None:
    """What became of a case's object in frame t of its clip; None if there is none."""
    if case.object is None:
        return None
    same = (seen for seen in diagnosis.objects if (seen.clip, seen.t) == (case.clip, t))
    return next((seen for seen in same if seen.object == case.object and t == case.t
                 or seen.track == case.track and case.track >= 0), None)


# ---- bars --------------------------------------------------------------------------------------


def share_chart(shares: Mapping[str, Mapping[str, float]], label: str) -> "Figure":
    """Groups of horizontal bars with their numbers: by detector, by name of the group; NaN gets no
    bar."""
    names = list(dict.fromkeys(name for groups in shares.values() for name in groups))
    figure, axis = chart(height=0.7 + 0.19 * (len(shares) + 1) * len(names))
    high = 0.8 / len(shares)
    for k, (detector, groups) in enumerate(shares.items()):
        values = [groups.get(name, float("nan")) for name in names]
        places = [y + (k - (len(shares) - 1) / 2) * high for y in range(len(names))]
        bars = axis.barh(places, [0 if v != v else v for v in values], high, label=detector,
                         color=LINES[k % 3][2], edgecolor="white", hatch=HATCHES[k % 3])
        axis.bar_label(bars, ["–" if v != v else f"{v:.0f}" for v in values], padding=3, fontsize=7)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_xlabel(label, fontsize=9)
    axis.margins(x=0.08)
    axis.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(shares),
                frameon=False)
    return figure
