"""Empty charts, and shares of a whole as bars: what a head says of one proposal, what becomes of
many objects.

Parts differ in lightness and hatching, never in colour alone. Not part of the paper.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mstlib.show.boxes import ink_on
from mstlib.show.output import DPI

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNED, OTHER = "#0077BB", "#C8C8C8"
PARTS = (("#0077BB", ""), ("#EE9A00", "//"), ("#882255", ""), ("#DDDDDD", ".."), ("#222222", ""))
WIDE = 4.5  # percent: a part that is narrower has no room for its number


def panels(columns: int, rows: int = 1, width: float = 8.4, height: float = 3.0
           ) -> tuple["Figure", list["Axes"]]:
    """A figure, inches, and its axes row by row, without frames above and right."""
    from matplotlib.figure import Figure

    figure = Figure((width, height), DPI, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return figure, axes


def chart(width: float = 8.4, height: float = 3.0) -> tuple["Figure", "Axes"]:
    """As `panels`, of one chart."""
    figure, (axis,) = panels(1, width=width, height=height)
    return figure, axis


def share_bars(axis: "Axes", shares: Mapping[str, float], signed: str = "") -> None:
    """A posterior, shares 0..1 by name, as horizontal bars with their numbers; `signed`, the right
    name, is dark and has a tick mark."""
    names = list(shares)
    colours = [SIGNED if name == signed else OTHER for name in names]
    bars = axis.barh(range(len(names)), list(shares.values()), height=0.76, lw=0.5,
                     edgecolor="#222222", color=colours)
    axis.bar_label(bars, [f"{v:.2f}".removeprefix("0") for v in shares.values()], padding=2,
                   fontsize=6)
    axis.set_axis_on()
    axis.set_yticks(range(len(names)), [f"✓ {n}" if n == signed else n for n in names], fontsize=6)
    axis.set_xlim(0, 1.16)
    axis.set_xticks([])
    axis.invert_yaxis()
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.tick_params(length=0)


def stacked_bars(rows: Mapping[str, Mapping[str, float]], label: str) -> "Figure":
    """A bar of 100 percent a row, cut into the same parts (at most five), which a legend names."""
    figure, axis = chart(height=0.9 + 0.34 * len(rows))
    left = [0.0] * len(rows)
    for part, (colour, hatch) in zip(next(iter(rows.values())), PARTS, strict=False):
        values = [row[part] for row in rows.values()]
        bars = axis.barh(list(rows), values, left=left, color=colour, hatch=hatch, label=part,
                         height=0.74, edgecolor="white", lw=0.6)
        axis.bar_label(bars, [f"{v:.0f}" if v >= WIDE else "" for v in values], fontsize=7,
                       label_type="center", color=ink_on(colour))
        left = [a + b for a, b in zip(left, values, strict=True)]
    axis.invert_yaxis()
    axis.set_xlim(0, 100)
    axis.set_xlabel(label, fontsize=8)
    axis.legend(fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    return figure
