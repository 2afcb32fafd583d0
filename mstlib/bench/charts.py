"""The bench's record as pictures: stages, modes, growth, K and r, alignment.

In the language of `mstlib.report.charts`: marks differ in shape and lightness; what the paper
measured is a hollow diamond in a panel of its own.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING

from mstlib.bench.experiments import BOTH
from mstlib.bench.tables import number
from mstlib.paper import TABLES
from mstlib.report.charts import INK, LINES, PALE
from mstlib.show import panels

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE = LINES[0][2], LINES[1][2]


def of_mode(rows: Sequence[dict], mode: str) -> list[dict]:
    """The rows of a mode that were measured."""
    return [row for row in rows if row["mode"] == mode and row["ms"]]


def curve(axis: "Axes", rows: Sequence[dict], x: Callable[[dict], float], style: int = 0,
          label: str = "") -> None:
    """Medians over x, with a bar from quartile to quartile."""
    mark, line, colour = LINES[style]
    at, found = [x(row) for row in rows], [row["ms"] for row in rows]
    middle = [f["median"] for f in found]
    spread = [[m - f["q1"] for m, f in zip(middle, found, strict=True)],
              [f["q3"] - m for m, f in zip(middle, found, strict=True)]]
    axis.errorbar(at, middle, spread, fmt=line + mark, color=colour, ms=4.5, capsize=2, label=label)


# ---- where the time goes -------------------------------------------------------------------------


def stage_chart(rows: Sequence[dict]) -> "Figure":
    """Share of each stage in a frame's time (bar) and in its multiply-adds (tick), a panel a mode;
    modes that were not measured have ticks only."""
    figure, axes = panels(2, height=3.2)
    for axis, mode in zip(axes, BOTH, strict=True):
        *stages, whole = [row for row in rows if row["mode"] == mode]
        names = [row["part"] for row in stages]
        counted = [100 * row["multiply_adds"] / whole["multiply_adds"] for row in stages]
        if whole["ms"]:
            sum_ms = sum(row["ms"]["median"] for row in stages)
            shares = [100 * row["ms"]["median"] / sum_ms for row in stages]
            axis.barh(names, shares, color=BLUE, height=0.7)
            for k, row in enumerate(stages):
                axis.text(max(shares[k], counted[k]) + 3, k, f"{number(row['ms']['median'])} ms",
                          fontsize=7, va="center")
        axis.plot(counted, names, "|", color=ORANGE, ms=11, mew=2.5)
        axis.invert_yaxis()
        axis.set_xlim(0, 118)
        axis.set_title(mode if whole["ms"] else f"{mode}: time not measured", fontsize=9)
        axis.set_xlabel("% of time (bar), of multiply-adds (tick)", fontsize=8)
    return figure


def mode_chart(rows: Sequence[dict]) -> "Figure":
    """Milliseconds a frame of each mode that was measured, on a logarithmic axis."""
    known = [row for row in rows if row["ms"]]
    figure, (axis,) = panels(1, height=0.7 + 0.32 * len(known))
    names, found = [row["mode"] for row in known], [row["ms"] for row in known]
    axis.barh(names, [f["median"] for f in found], color=BLUE, height=0.7, log=True)
    for k, f in enumerate(found):
        axis.plot([f["q1"], f["q3"]], [k, k], color=INK, lw=1.5)
        axis.text(1.1 * f["q3"], k, f"{number(f['median'])} ms", fontsize=8, va="center")
    axis.invert_yaxis()
    axis.set_xlim(min(f["q1"] for f in found) / 2, 3 * max(f["q3"] for f in found))
    axis.set_xlabel("ms a frame (logarithmic); dark line: quartiles", fontsize=9)
    return figure


# ---- growth --------------------------------------------------------------------------------------


def window_chart(rows: Sequence[dict]) -> "Figure":
    """Time over the window's length, a panel a mode; dotted: the line through all but the
    longest."""
    import numpy as np

    figure, axes = panels(2)
    for style, (axis, mode) in enumerate(zip(axes, BOTH, strict=True)):
        known = of_mode(rows, mode)
        curve(axis, known, itemgetter("window"), style)
        if len(known) > 2:
            length = np.array([row["window"] for row in known])
            middle = [row["ms"]["median"] for row in known]
            fit = np.polyval(np.polyfit(length[:-1], middle[:-1], 1), length)
            axis.plot(length, fit, color=INK, lw=1, ls=(0, (1, 2)))
        axis.set_title(mode, fontsize=9)
        axis.set_xlabel("frames in the window", fontsize=9)
        axis.set_ylim(bottom=0)
    axes[0].set_ylabel("ms a frame", fontsize=9)
    return figure


def growth_chart(sizes: Sequence[dict], proposals: Sequence[dict]) -> "Figure":
    """Time over the number of pixels and over the number of proposals, a line a mode, both axes
    logarithmic."""
    figure, axes = panels(2)
    for style, mode in enumerate(BOTH):
        curve(axes[0], of_mode(sizes, mode), lambda row: row["size"][0] * row["size"][1], style,
              mode)
        curve(axes[1], of_mode(proposals, mode), itemgetter("proposals"), style, mode)
    for axis, label in zip(axes, ("pixels of the image", "proposals of the reference"),
                           strict=True):
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.yaxis.set_major_formatter("{x:,.0f}")
        axis.yaxis.set_minor_formatter("")
        axis.set_xlabel(label, fontsize=9)
    axes[0].set_ylabel("ms a frame", fontsize=9)
    axes[1].legend(fontsize=8, frameon=False)
    return figure


# ---- the paper's tables -------------------------------------------------------------------------


def sweep_chart(rows: Sequence[dict]) -> "Figure":
    """Runtime over K (Table VI) and over r (Table VII): above ours, the instance level alone for
    two widths; below the paper's, its whole detector."""
    figure, axes = panels(2, 2, height=4.6)
    for k, (table, name, label) in enumerate((("VI", "K", "K"), ("VII", "r_percent", "r, %"))):
        ours, paper = axes[k], axes[k + 2]
        widths = sorted({row["width"] for row in rows})
        for style, width in enumerate(widths):
            mine = [row for row in rows if row["table"] == table and row["width"] == width]
            curve(ours, sorted(mine, key=itemgetter(name)), itemgetter(name), style, f"d = {width}")
        paper.plot([row[name] for row in TABLES[table]],
                   [row["runtime_ms"] for row in TABLES[table]], "D-", mfc="none", color=ORANGE,
                   ms=5, lw=0.8)
        ours.set_ylim(bottom=0)
        paper.set_ylim(90, 120)
        ours.set_title(f"ours: instance level alone, over {label}", fontsize=9)
        paper.set_title("the paper: the whole detector", fontsize=9)
        paper.set_xlabel(label, fontsize=9)
    axes[0].legend(fontsize=8, frameon=False)
    for axis in (axes[0], axes[2]):
        axis.set_ylabel("ms", fontsize=9)
    return figure


def alignment_chart(rows: Sequence[dict]) -> "Figure":
    """Multiply-adds and time of the ways to align a support frame, by size of the images."""
    figure, axes = panels(2, height=2.6)
    sizes = sorted({tuple(row["size"]) for row in rows})
    values = (("multiply-adds, G", lambda row: row["multiply_adds"] / 1e9),
              ("ms a support frame", lambda row: row["ms"]["median"]))
    for axis, (label, value) in zip(axes, values, strict=True):
        for k, size in enumerate(sizes):
            mine = [row for row in rows if tuple(row["size"]) == size]
            places = [i + 0.38 * k for i in range(len(mine))]
            bars = axis.barh(places, [value(row) for row in mine], 0.36, color=(PALE, BLUE)[k % 2],
                             edgecolor=INK, lw=0.5, label=" x ".join(map(str, size)))
            axis.bar_label(bars, [number(value(row)) for row in mine], padding=3, fontsize=7)
        axis.set_yticks([i + 0.19 for i in range(len(mine))],
                        [row["module"].replace(", half", ",\nhalf") for row in mine], fontsize=8)
        axis.invert_yaxis()
        axis.set_xlabel(label, fontsize=9)
        axis.margins(x=0.15)
    axes[1].set_yticklabels([])
    axes[1].legend(fontsize=8, frameon=False, loc="lower right")
    return figure
