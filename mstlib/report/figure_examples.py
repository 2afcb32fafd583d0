"""Figure 1 of the paper (left part) from our own data: what deteriorates in videos (Sec. I).

A row for each of occlusion, motion blur, defocus and pose variation. The paper zooms in on the
low-quality areas and marks them red; here the frames are marked. `mstlib.report.figures` writes the
figure; notebook 00 shows the same.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from mstlib.config import MSTError
from mstlib.data.clip import DETERIORATIONS, Clip
from mstlib.data.dataset import Dataset
from mstlib.evaluation.story import find_event, of_track, track_flags
from mstlib.model.detector import MST
from mstlib.report.figure_board import board, class_of, legend, outline, run_around, short
from mstlib.show import draw_boxes, frame_title, show_image

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def examples(data: Dataset, models: Sequence[MST] = ()) -> tuple["Figure", str]:
    """A row for each deterioration: a frame, and one object of it before, during and after.

    The rule is that of `find_event`. MSTError if no object shows any deterioration alone.
    """
    places = {kind: find_event(data, kind) for kind in DETERIORATIONS}
    places = {kind: place for kind, place in places.items() if place}
    if not places:
        raise MSTError(f"{data.name} {data.split}: no object shows one deterioration alone")
    labels = [(kind, f"{class_of(data, c, track)}\n{short(data[c])}")
              for kind, (c, track, _) in places.items()]
    figure, axes = board(labels, 6, 1.35)
    told = [f"{kind} ({short(data[c])}, {example(row, data[c], kind, track, t)})"
            for row, (kind, (c, track, t)) in zip(axes, places.items(), strict=True)]
    legend(figure, {"truth"}, "the object is deteriorated so in this frame")
    return figure, (f"Deteriorations in {data.name} {data.split}, a row each: {'; '.join(told)}. "
                    "Left the whole frame in the middle of the stretch, right close-ups of the "
                    "object right before, three times during and right after it. Rule: of each "
                    "kind the longest stretch of one object with this deterioration alone, if "
                    "possible clean before and after and with no other object in the way.")


def example(row: Sequence["Axes"], clip: Clip, kind: str, track: int, t: int) -> str:
    """Draw a row of Fig. 1 around frame t; the frames of the stretch in words."""
    marks = track_flags(clip, track)[:, DETERIORATIONS.index(kind)].tolist()
    first, last = run_around(marks, t)
    third = (last - first + 1) // 3
    times = sorted({first - 1, t - third, t, t + third, last + 1} & set(range(len(clip))))
    times = [s for s in times if len(of_track(clip.target(s), track).boxes)]
    show(row[0], clip.frame(t), of_track(clip.target(t), track).boxes, f"whole frame {t}\n{kind}")
    side = largest_side(clip, times, track)
    for axis, s in zip(row[1:], times, strict=False):
        show(axis, *close_up(clip, s, track, side), frame_title(s, clip.target(s), track))
    for axis, s in zip(row, [t, *times], strict=False):
        if marks[s]:
            outline(axis)
    return f"frames {first} to {last}"


def show(axis: "Axes", image: Tensor, boxes: Tensor, title: str) -> None:
    """An image (3, H, W) with ground truth (1, 4) and a title."""
    show_image(axis, image)
    draw_boxes(axis, boxes, style="truth")
    axis.set_title(title, fontsize=7, pad=2)


def largest_side(clip: Clip, times: Sequence[int], track: int) -> int:
    """Pixels of a square that shows an object with some ground around it in all these frames."""
    boxes = [of_track(clip.target(t), track).boxes[0] for t in times]
    side = max((box[2:] - box[:2]).max().item() for box in boxes)
    return min(round(1.7 * side), *clip.frame(times[0]).shape[1:])


def close_up(clip: Clip, t: int, track: int, side: int) -> tuple[Tensor, Tensor]:
    """The part (3, side, side) of frame t around an object, and its box there (1, 4)."""
    image, boxes = clip.frame(t), of_track(clip.target(t), track).boxes
    middle = (boxes[0, :2] + boxes[0, 2:]) / 2
    x, y = (int(min(max(m - side / 2, 0), size - side))
            for m, size in zip(middle.tolist(), (image.shape[2], image.shape[1]), strict=True))
    return image[:, y:y + side, x:x + side], boxes - boxes.new_tensor([x, y, x, y])
