"""Frames of a video side by side, with ground truth and detections judged. Not part of the paper.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from mstlib.config import MSTError
from mstlib.data.clip import DETERIORATIONS, Clip, Detections, Target
from mstlib.evaluation.story import about, judge, of_track
from mstlib.show.boxes import draw_boxes, legend_text, untangle
from mstlib.show.maps import show_image
from mstlib.show.output import DPI

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = 1.35  # inches of one frame of a film strip: seven of them fill a page


def film_strip(
    clip: Clip, frames: Sequence[int],
    detections: Mapping[int, Detections] | Sequence[Detections] | None = None,
    targets: bool = True, classes: Sequence[str] | None = None, threshold: float = 0.5,
    columns: int = 7, titles: Sequence[str] | None = None, track: int | None = None,
) -> "Figure":
    """Frames of a clip side by side, a row for every `columns` of them.

    detections: of frame t under `detections[t]`; those below `threshold` are not drawn, and with
    `targets` each is judged (`mstlib.evaluation.story.judge`). classes: names of labels 1, 2, ...
    titles: one a frame (default: its number and deteriorations). track: draw this object only.
    MSTError if there is no frame.
    """
    if not len(frames):
        raise MSTError("a film strip needs at least one frame, got none")
    figure, axes = grid(-(-len(frames) // columns), min(columns, len(frames)),
                        like=clip.frame(frames[0]))
    used: set[str] = set()
    for i, (axis, t) in enumerate(zip(axes, frames, strict=False)):
        target = of_track(clip.target(t), track) if targets else None
        found = detections[t] if detections is not None else None
        found = about(found, target) if found and target and track is not None else found
        used |= draw_frame(axis, clip.frame(t), target, found, classes, threshold)
        untangle(axis)
        title = titles[i] if titles is not None else frame_title(t, clip.target(t), track)
        axis.set_title(title, fontsize=7, pad=2)
    figure.text(0.5, 0.02, legend_text(used), fontsize=7, ha="center")
    return figure


def grid(rows: int, columns: int, panel: float = PANEL, like: Tensor | None = None
         ) -> tuple["Figure", list["Axes"]]:
    """A figure of rows x columns frames, `panel` inches wide each, and its axes, row by row; as
    high for their width as `like` (..., H, W), square without it."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    gap, title, legend = 0.04, 0.33, 0.2  # inches
    tall = panel * (like.shape[-2] / like.shape[-1] if like is not None else 1)
    height = rows * (tall + title) + legend
    figure = Figure((columns * (panel + gap), height), DPI)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    figure.subplots_adjust(gap / 2 / figure.get_figwidth(), legend / height,
                           1 - gap / 2 / figure.get_figwidth(), 1 - title / height,
                           wspace=gap / panel, hspace=title / tall)
    for axis in axes:
        axis.set_axis_off()
        axis.xaxis.set_major_locator(NullLocator())  # ticks that nobody sees cost a quarter of
        axis.yaxis.set_major_locator(NullLocator())  # the time of a picture
    return figure, axes


def even_grid(count: int, width: float = 9.6) -> tuple["Figure", list["Axes"]]:
    """A figure of `count` frames, up to seven in one row, more in rows as even as may be; `width`
    inches at most."""
    rows = -(-count // 7)
    columns = -(-count // rows)
    figure, axes = grid(rows, columns, min(2.4, width / columns - 0.04))
    return figure, axes[:count]


def frame_title(t: int, target: Target, track: int | None = None) -> str:
    """Two lines: "frame 7" and the deteriorations that its objects (or one track) show."""
    flags = of_track(target, track).flags
    kinds = [name for name, on in zip(DETERIORATIONS, flags.any(0).tolist(), strict=True) if on]
    text = " + ".join(kinds) if len(kinds) < 3 else f"{len(kinds)} deteriorations"
    return f"frame {t}\n{text or 'clean'}"


def draw_frame(
    axis: "Axes", image: Tensor, target: Target | None = None, found: Detections | None = None,
    classes: Sequence[str] | None = None, threshold: float = 0.5,
) -> set[str]:
    """A frame (3, H, W) uint8, its ground truth and detections; the styles of box it used."""
    show_image(axis, image)
    if found is None:
        if target is not None:
            draw_boxes(axis, target.boxes, target.labels, style="truth", classes=classes)
        return {"truth"} if target is not None and len(target.boxes) else set()
    kinds, seen = judge(found, target, threshold)
    used = set(kinds) - {"weak"}
    for style in sorted(used):
        rows = [i for i, kind in enumerate(kinds) if kind == style]
        draw_boxes(axis, found.boxes[rows], found.labels[rows], found.scores[rows], style=style,
                   classes=classes)
    if target is not None:
        draw_boxes(axis, target.boxes[seen], style="truth")
        draw_boxes(axis, target.boxes[~seen], target.labels[~seen], style="missed", classes=classes)
        used |= {"truth"} if len(seen) else set()
        used |= {"missed"} if not seen.all() else set()
    return used
