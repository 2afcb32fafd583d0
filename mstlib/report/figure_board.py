"""What the re-made figures of the paper share: a board of frames, and stretches of time.

Not part of the paper itself; `figure_examples` (Fig. 1), `figure_sequences` (Fig. 5) and
`figure_failures` (Fig. 6) draw on it in the visual language of `mstlib.show`.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate, groupby
from typing import TYPE_CHECKING

from mstlib.data.clip import Clip
from mstlib.data.dataset import Dataset
from mstlib.evaluation.story import of_track
from mstlib.show import DPI, legend_text

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 0.6  # score from which a detection is drawn, Sec. IV-E: "The show threshold is set to 0.6"
GAP, TITLE, LABEL, LEGEND = 0.05, 0.42, 1.12, 0.24  # inches
CONTOUR = "#CC0000"  # the paper's red; in print it is thick and dashed, which no frame's edge is


def board(labels: Sequence[tuple[str, str]], columns: int, panel: float,
          titled: Collection[int] | None = None) -> tuple["Figure", list[list["Axes"]]]:
    """A figure with a row of `columns` frames for each label, and its axes.

    labels: (in bold, below it), left of the row. panel: inches of a frame. titled: the rows that
    have room for titles above (default: all).
    """
    from matplotlib.figure import Figure

    heads = [TITLE if titled is None or row in titled else GAP for row in range(len(labels))]
    ends = list(accumulate(panel + head for head in heads))  # from the top
    width, height = LABEL + columns * (panel + GAP), ends[-1] + LEGEND
    figure = Figure((width, height), DPI)
    axes = [[figure.add_axes(((LABEL + c * (panel + GAP)) / width, 1 - end / height,
                              panel / width, panel / height)) for c in range(columns)]
            for end in ends]
    for row, (bold, plain) in zip(axes, labels, strict=True):
        beside(row[0], bold, plain)
        for axis in row:
            axis.set_axis_off()
    return figure, axes


def beside(axis: "Axes", bold: str, plain: str, y: float = 0.5) -> None:
    """Words left of a frame, `y` of its height up: some in bold, the others below."""
    place, text = axis.get_position(), axis.figure.text
    x, y = place.x0 - 0.05 * place.width, place.y0 + y * place.height
    text(x, y + 0.02 * place.height, bold, va="bottom", ha="right", fontsize=7, fontweight="bold")
    text(x, y - 0.02 * place.height, plain, va="top", ha="right", fontsize=7)


def outline(axis: "Axes") -> None:
    """The contour that marks a frame: thick dashes of red over white along its edge."""
    from matplotlib.patches import Rectangle

    for colour, style in (("white", "-"), (CONTOUR, (0, (2.2, 0.9)))):
        axis.add_patch(Rectangle((0.016, 0.016), 0.968, 0.968, transform=axis.transAxes, fill=False,
                                 ec=colour, lw=3, ls=style))


def legend(figure: "Figure", used: set[str], contour: str = "") -> None:
    """What the styles of box mean that were used, and the contour, at the foot of the figure."""
    marks = [f"thick dashed contour: {contour}"] if contour else []
    figure.text(0.5, 0.07 / figure.get_figheight(), legend_text(used, *marks), fontsize=7,
                ha="center")


def short(clip: Clip) -> str:
    """A clip's name without the data set's: "clip 0013"."""
    return f"clip {clip.name.rsplit('/')[-1]}"


def class_of(data: Dataset, c: int, track: int) -> str:
    """The name of a track's class."""
    targets = (of_track(data[c].target(t), track) for t in range(len(data[c])))
    return data.classes[next(int(target.labels[0]) for target in targets if len(target.labels)) - 1]


def runs(marks: Iterable[bool]) -> list[tuple[int, int]]:
    """The first and last frame of each stretch of marked frames."""
    stretches = [list(group) for _, group in groupby(enumerate(marks), lambda pair: bool(pair[1]))]
    return [(part[0][0], part[-1][0]) for part in stretches if part[0][1]]


def run_around(marks: Iterable[bool], t: int) -> tuple[int, int]:
    """The stretch of marked frames that holds frame t; t alone if it is not marked."""
    return next((run for run in runs(marks) if run[0] <= t <= run[1]), (t, t))


def before_and_after(t: int, run: tuple[int, int], length: int, count: int) -> list[int]:
    """At most `count` evenly spaced frames of a clip, frame t one of them: a stretch with what was
    before and after it."""
    first, last = run
    step = -(-(last - first + 2) // (count - 1))
    return around(t, length, count, step, middle=(first + last) / 2)


def around(t: int, length: int, count: int, step: int, middle: float | None = None) -> list[int]:
    """At most `count` frames of a clip, `step` apart and frame t one of them; `middle` (or else t)
    lies in the middle, or as near to it as the clip allows."""
    frames = range(t % step, length, step)
    start = sum(s < (t if middle is None else middle) for s in frames) - count // 2
    start = max(0, min(start, len(frames) - count))
    return list(frames[start:start + count])
