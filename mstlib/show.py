"""One visual language for pictures: frames with boxes, arrows and heat maps, on your data too.

Ground truth is a dashed line of black on white; a detection is a solid line in the colour of its
class. Of wrong detections the box is hatched (wrong class) or dotted (nothing there), a missed
object carries a cross. Nothing is told by colour alone: the class stands beside its box, and the
colours differ in lightness too, so that a print in grey and a reader who confuses red and green
lose nothing. Not part of the paper.

Figures are made without pyplot: no global state, and nothing appears that is not asked for.
"""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from mstlib.config import MSTError
from mstlib.data.clip import DETERIORATIONS, Clip, Detections, Target
from mstlib.evaluation.story import about, judge, of_track

if TYPE_CHECKING:  # matplotlib and pandas are imported where they are used
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# By rising lightness (grey 51 to 216 of 255, steps of about 20), for the colour-blind too.
PALETTE = ("#332288", "#882255", "#0077BB", "#D0540B", "#44AA99", "#EE9A00", "#88CCEE", "#F0E442")
STYLES = {  # style of a box: line, hatch, sign before its class, entry of the legend
    "found": ("-", None, "", "solid: detection and its score"),
    "wrong class": ("-", "////", "≠ ", "hatched, ≠: wrong class"),
    "nothing there": (":", None, "? ", "dotted, ?: nothing there"),
    "truth": ("--", None, "", "dashed: ground truth"),
    "missed": ("--", None, "✕ ", "✕: missed"),
}
DPI = 100
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
    figure, axes = grid(-(-len(frames) // columns), min(columns, len(frames)))
    used: set[str] = set()
    for i, (axis, t) in enumerate(zip(axes, frames, strict=False)):
        target = of_track(clip.target(t), track) if targets else None
        found = detections[t] if detections is not None else None
        found = about(found, target) if found and target and track is not None else found
        used |= draw_frame(axis, clip.frame(t), target, found, classes, threshold)
        title = titles[i] if titles is not None else frame_title(t, clip.target(t), track)
        axis.set_title(title, fontsize=7, pad=2)
    figure.text(0.5, 0.02, legend_text(used), fontsize=7, ha="center")
    return figure


def legend_text(used: set[str]) -> str:
    """What the styles of box mean that a picture uses."""
    return "     ".join(entry for style, (*_, entry) in STYLES.items() if style in used)


def grid(rows: int, columns: int, panel: float = PANEL) -> tuple["Figure", list["Axes"]]:
    """A figure of rows x columns frames, `panel` inches each, and its axes, row by row."""
    from matplotlib.figure import Figure

    gap, title, legend = 0.04, 0.33, 0.2  # inches
    height = rows * (panel + title) + legend
    figure = Figure((columns * (panel + gap), height), DPI)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    figure.subplots_adjust(gap / 2 / figure.get_figwidth(), legend / height,
                           1 - gap / 2 / figure.get_figwidth(), 1 - title / height,
                           wspace=gap / panel, hspace=title / panel)
    for axis in axes:
        axis.set_axis_off()
    return figure, axes


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


def show_image(axis: "Axes", image: Tensor, grey: bool = False) -> None:
    """An image (3, H, W) uint8, its upper left corner at (0, 0): boxes need no half-pixel shift."""
    height, width = image.shape[-2:]
    pixels = image.permute(1, 2, 0).cpu().numpy()
    pixels = pixels.mean(-1) if grey else pixels
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0),
                interpolation="nearest")
    axis.set_axis_off()


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


def draw_box(axis: "Axes", box: Sequence[float], label: int | None, style: str) -> None:
    """One box: a dark or white line underneath keeps it visible on any ground."""
    from matplotlib.patches import Rectangle

    line, hatch, *_ = STYLES[style]
    truth = style in ("truth", "missed")
    colour = "black" if truth else colour_of(label)
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


def draw_tag(axis: "Axes", box: Sequence[float], text: str, label: int | None, style: str) -> None:
    """The text of a box: a detection's above, the ground truth's below, never off the image."""
    (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
    truth, on_right = style in ("truth", "missed"), box[0] + box[2] > left + right
    ground = "white" if style == "truth" else "black" if style == "missed" else colour_of(label)
    y = min(box[3], bottom) if truth else max(box[1], top + 0.09 * (bottom - top))
    y = min(y, bottom - 0.09 * (bottom - top)) if truth else y
    x = min(box[2], right) if on_right else max(box[0], left)
    axis.text(x, y, text, fontsize=6, color=ink_on(ground), ha="right" if on_right else "left",
              va="top" if truth else "bottom",
              bbox={"facecolor": ground, "edgecolor": "white", "linewidth": 0.4, "pad": 0.8})


def ink_on(ground: str) -> str:
    """Black or white, whichever can be read on a colour."""
    return "black" if grey_of(ground) > 0.45 else "white"


def grey_of(colour: str) -> float:
    """Lightness 0..1 of a colour as a greyscale print shows it (ITU-R BT.601)."""
    from PIL.ImageColor import getrgb

    return sum(w * c for w, c in zip((0.299, 0.587, 0.114), getrgb(colour), strict=True)) / 255


def arrows(axis: "Axes", starts: Tensor, ends: Tensor, colour: str = "#F0E442") -> None:
    """Arrows from (n, 2) to (n, 2) pixels (x, y): where something went."""
    x, y = starts.double().numpy().T
    u, v = (ends - starts).double().numpy().T
    axis.quiver(x, y, u, v, angles="xy", scale_units="xy", scale=1, color=colour, width=0.012,
                edgecolor="black", linewidth=0.5, minlength=0)


def heat_map(axis: "Axes", image: Tensor, values: Tensor, label: str = "", top: float | None = None
             ) -> None:
    """A map (h, w) >= 0 over a greyed image (3, H, W); `top` ends the colour scale."""
    show_image(axis, image, grey=True)
    height, width = image.shape[-2:]
    values = values.detach().cpu().double().numpy()
    drawn = axis.imshow(values, cmap="magma", vmin=0, vmax=top or values.max() or 1, alpha=0.6,
                        extent=(0, width, height, 0), interpolation="nearest")
    bar = axis.figure.colorbar(drawn, ax=axis, fraction=0.046, pad=0.03)
    bar.ax.tick_params(labelsize=6)
    bar.set_label(label, fontsize=7)


def figure_bytes(figure: "Figure", photo: bool = False) -> bytes:
    """The figure as JPEG if it shows photographic frames, else as PNG; same figure, same bytes."""
    file, kind = io.BytesIO(), "jpg" if photo else "png"
    extra = {"pil_kwargs": {"quality": 72}} if photo else {"metadata": {"Software": None}}
    figure.savefig(file, format=kind, dpi=DPI, **extra)
    return file.getvalue()


def figure_output(figure: "Figure", alt: str, photo: bool = False) -> None:
    """Show a figure in a notebook with its alt text, which says in words what there is to see.

    The alt text is in the output's metadata (pages made from notebooks take it from there) and its
    plain text. MSTError if it is empty.
    """
    from IPython.display import display

    kind = "image/jpeg" if photo else "image/png"
    text = " ".join(alt.split())
    if not text:
        raise MSTError("a figure needs alt text: say in a sentence what there is to see")
    display({kind: figure_bytes(figure, photo), "text/plain": text}, raw=True,
            metadata={kind: {"alt": text}})


def table_output(table: "pandas.DataFrame", digits: int = 1) -> None:
    """Show a DataFrame as a Markdown table: a tick for True, a dash for what is not known.

    Differences and the ends of their intervals carry their sign; the paper's numbers keep its one
    digit.
    """
    from IPython.display import display

    rows = [list(map(str, table.columns)), ["---"] * len(table.columns)]
    rows += [[cell_text(value, name, digits) for name, value in zip(rows[0], row, strict=True)]
             for row in table.itertuples(index=False)]
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    display({"text/markdown": text, "text/plain": text}, raw=True)


def cell_text(value: object, column: str = "", digits: int = 1) -> str:
    """A value of a table as text."""
    if value is None or value != value:  # NaN differs from itself
        return "–"
    if isinstance(value, bool):
        return "✓" if value else ""
    if not isinstance(value, float):
        return str(value)
    sign = "+" if "difference" in column or column.startswith("95 %") else ""
    digits = 1 if column.startswith("paper") else digits
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"  # + 0.0: no "-0.0"
