"""Boxes with their class, score and track id, on any matplotlib axis.

Ground truth is a dashed line of black on white; a detection is a solid line in the colour of its
class. Of wrong detections the box is hatched (wrong class) or dotted (nothing there), a missed
object carries a cross. Nothing is told by colour alone: the class stands beside its box, and the
colours differ in lightness too, so that a print in grey and a reader who confuses red and green
lose nothing. Not part of the paper.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mstlib.config import MSTError

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes

# By rising lightness (grey 51 to 216 of 255, steps of about 20), for the colour-blind too.
PALETTE = ("#332288", "#882255", "#0077BB", "#D0540B", "#44AA99", "#EE9A00", "#88CCEE", "#F0E442")
NOBODY = "#999999"  # of a box that shows no object
STYLES = {  # style of a box: line, hatch, sign before its class, entry of the legend
    "found": ("-", None, "", "solid: detection and its score"),
    "wrong class": ("-", "////", "≠ ", "hatched, ≠: wrong class"),
    "nothing there": (":", None, "? ", "dotted, ?: nothing there"),
    "truth": ("--", None, "", "dashed: ground truth"),
    "missed": ("--", None, "✕ ", "✕: missed"),
}


def draw_boxes(
    axis: "Axes", boxes: Tensor, labels: Tensor | None = None, scores: Tensor | None = None,
    ids: Tensor | None = None, style: str = "found", classes: Sequence[str] | None = None,
) -> None:
    """Boxes (N, 4) xyxy pixels with their class, score and track id where given, in one of STYLES.

    MSTError if the style is unknown or the boxes are not (N, 4).
    """
    if style not in STYLES:
        raise MSTError(f"unknown style '{style}'; choose one of {', '.join(STYLES)}")
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise MSTError(f"boxes must be (N, 4) xyxy, got {tuple(boxes.shape)}")
    for i, box in enumerate(boxes.tolist()):
        label = None if labels is None else int(labels[i])
        score = None if scores is None else float(scores[i])
        track = None if ids is None else int(ids[i])
        draw_box(axis, box, label, style)
        text = box_text(label, score, track, style, classes)
        if text:
            draw_tag(axis, box, text, label, style)


def colour_of(label: int | None) -> str:
    """The colour of a class (1-based label); they repeat after eight classes, the names do not."""
    return PALETTE[((label or 1) - 1) % len(PALETTE)]


def draw_tagged(
    axis: "Axes", boxes: Tensor, texts: Sequence[str], colours: Sequence[str], style: str = "found"
) -> None:
    """Boxes (N, 4) xyxy pixels with a text and a colour each: proposals, whose class nobody has
    said yet. The first ones lie on top; one without text has no tag."""
    for box, text, colour in reversed(list(zip(boxes.tolist(), texts, colours, strict=True))):
        draw_box(axis, box, None, style, colour)
        if text:
            draw_tag(axis, box, text, None, style, colour)


def track_colours(ids: Tensor) -> list[str]:
    """A colour for each of some track ids (n,), the same one wherever it appears; grey for -1."""
    return [NOBODY if i < 0 else colour_of(i + 1) for i in ids.tolist()]


def box_under(boxes: Tensor, x: float, y: float) -> int | None:
    """Which of the boxes (N, 4) xyxy lies under a place: the smallest; None if none does."""
    place = boxes.new_tensor([x, y])
    inside = ((boxes[:, :2] <= place) & (boxes[:, 2:] > place)).all(1)  # (N,)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1).masked_fill(~inside, torch.inf)
    return int(area.argmin()) if inside.any() else None


def draw_box(axis: "Axes", box: Sequence[float], label: int | None, style: str,
             colour: str | None = None) -> None:
    """One box, in the colour of its class unless given: a dark or white line underneath keeps it
    visible on any ground."""
    from matplotlib.patches import Rectangle

    line, hatch, *_ = STYLES[style]
    truth = style in ("truth", "missed")
    colour = colour or ("black" if truth else colour_of(label))
    size = box[2] - box[0], box[3] - box[1]
    axis.add_patch(Rectangle(box[:2], *size, fill=False, ec="white", lw=2.4))
    axis.add_patch(Rectangle(box[:2], *size, fill=False, ec=colour, lw=1.4, ls=line, hatch=hatch,
                             hatch_linewidth=0.5))


def box_text(label: int | None, score: float | None, track: int | None, style: str,
             classes: Sequence[str] | None) -> str:
    """What stands beside a box, such as "≠ cone-disc .87" or "✕ cone-disc"."""
    name = "" if label is None else classes[label - 1] if classes else f"class {label}"
    number = "" if score is None else f"{score:.2f}".removeprefix("0")
    parts = [name, number, "" if track is None else f"#{track}"]
    return (STYLES[style][2] + " ".join(part for part in parts if part)).strip()


def draw_tag(axis: "Axes", box: Sequence[float], text: str, label: int | None, style: str,
             colour: str | None = None) -> None:
    """The text of a box, on the colour of its class unless given: a detection's above, the ground
    truth's below, never off the image."""
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    truth, on_right = style in ("truth", "missed"), box[0] + box[2] > left + right
    ground = "white" if style == "truth" else "black" if style == "missed" else colour_of(label)
    ground = colour or ground
    y = min(box[3], bottom) if truth else max(box[1], top + 0.09 * (bottom - top))
    y = min(y, bottom - 0.09 * (bottom - top)) if truth else y
    x = min(box[2], right) if on_right else max(box[0], left)
    axis.text(x, y, text, fontsize=6, color=ink_on(ground), ha="right" if on_right else "left",
              va="top" if truth else "bottom",
              bbox={"facecolor": ground, "edgecolor": "white", "linewidth": 0.4, "pad": 0.8})


def untangle(axis: "Axes") -> None:
    """Move tags of boxes up or down that lie on another, if there is room on the frame."""
    frame, taken = axis.get_window_extent(), []
    for text in axis.texts:
        y, tag = text.get_position()[1], text.get_window_extent()
        height = 1.35 * tag.height / frame.height * -axis.viewLim.height
        for step in (0, -1, 1, -2, 2, -3, 3):
            text.set_y(y + step * height)
            tag = text.get_window_extent().padded(1)
            free = frame.y0 <= tag.y0 and tag.y1 <= frame.y1
            if free and not any(tag.overlaps(other) for other in taken):
                break
        else:
            text.set_y(y)
        taken.append(text.get_window_extent().padded(1))


def ink_on(ground: str) -> str:
    """Black or white, whichever can be read on a colour."""
    return "black" if grey_of(ground) > 0.45 else "white"


def grey_of(colour: str) -> float:
    """Lightness 0..1 of a colour as a greyscale print shows it (ITU-R BT.601)."""
    from PIL.ImageColor import getrgb

    return sum(w * c for w, c in zip((0.299, 0.587, 0.114), getrgb(colour), strict=True)) / 255


def legend_text(used: set[str], *more: str) -> str:
    """What the styles of box mean that a picture uses, and more entries, in a line."""
    return "     ".join([*(e for style, (*_, e) in STYLES.items() if style in used), *more])
