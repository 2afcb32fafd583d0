"""Numbers as pictures: scores over time, slices of frames, differences with their intervals.

Marks differ in shape and lightness, never in colour alone; the paper's numbers are hollow diamonds
and ours are filled, so that the two are not taken for one another. Not part of the paper.
"""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from torch import Tensor

from mstlib.data.clip import DETERIORATIONS
from mstlib.report.cells import by_name
from mstlib.report.stats import slice_map
from mstlib.show import chart

if TYPE_CHECKING:  # matplotlib and pandas are imported where they are used
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL = 46  # letters in a line of a claim
INK, PALE = "#222222", "#BBBBBB"
LINES = (("o", "-", "#0077BB"), ("s", "--", "#D0540B"), ("^", ":", "#332288"))  # mark, line, colour
FILLS = ("", "////", "....")  # of bars side by side
HATCHES = dict(zip(DETERIORATIONS, ("////", "....", "xxxx", "\\\\\\\\"), strict=True))


def score_chart(scores: Mapping[str, Sequence[float]], flags: Tensor, threshold: float = 0.5
                ) -> "Figure":
    """Scores 0..1 of one object over time, a line for each detector, and when it was deteriorated.

    scores: by name of the detector, one a frame (NaN: not annotated). flags (T, 4) bool: shaded,
    with a row of hatched blocks for each deterioration underneath.
    """
    figure, axis = chart(height=3.4)
    for (name, values), (mark, line, colour) in zip(scores.items(), LINES, strict=False):
        axis.plot(range(len(values)), values, line, marker=mark, color=colour, ms=4.5, label=name)
    for t in flags.any(1).nonzero().flatten().tolist():
        axis.axvspan(t - 0.5, t + 0.5, color="#E8E8E8", lw=0, zorder=0)
    axis.axhline(threshold, color=INK, lw=0.8, ls=(0, (1, 2)), label="threshold")
    _kinds(axis, flags)
    axis.set_xlabel("frame", fontsize=9)
    axis.set_ylabel("score of a right detection", fontsize=9, loc="top")
    axis.legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False)
    return figure


def _kinds(axis: "Axes", flags: Tensor) -> None:
    """Under the curve a row for each deterioration, a block in every frame that shows it."""
    heights = [-0.12 - 0.11 * k for k in range(len(DETERIORATIONS))]
    for k, (kind, height) in enumerate(zip(DETERIORATIONS, heights, strict=True)):
        for t in flags[:, k].nonzero().flatten().tolist():
            axis.bar(t, 0.09, 1.0, height - 0.045, color="white", edgecolor=INK, lw=0.5,
                     hatch=HATCHES[kind])
    axis.set_yticks([0, 0.5, 1, *heights], ["0", "0.5", "1", *DETERIORATIONS])
    axis.set_ylim(heights[-1] - 0.08, 1.05)
    axis.set_xlim(-0.6, len(flags) - 0.4)


def bar_chart(values: Mapping[str, float], label: str, digits: int = 1) -> "Figure":
    """One horizontal bar with its number for each name; NaN gets no bar."""
    figure, axis = chart(height=0.5 + 0.32 * len(values))
    names, numbers = list(values), list(values.values())
    known = [0.0 if value != value else value for value in numbers]
    bars = axis.barh(names, known, color="#0077BB", height=0.7)
    texts = ["not measured" if value != value else f"{value:.{digits}f}" for value in numbers]
    axis.bar_label(bars, texts, padding=3, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(label, fontsize=9)
    axis.margins(x=0.12)
    return figure


def share_chart(shares: Mapping[str, Mapping[str, float]], label: str) -> "Figure":
    """Groups of horizontal bars with their numbers: by detector, by name of the group; NaN gets no
    bar."""
    names = list(dict.fromkeys(name for groups in shares.values() for name in groups))
    figure, axis = chart(height=0.7 + 0.17 * (len(shares) + 1) * len(names))
    high = 0.8 / len(shares)
    for k, (detector, groups) in enumerate(shares.items()):
        values = [groups.get(name, float("nan")) for name in names]
        places = [y + (k - (len(shares) - 1) / 2) * high for y in range(len(names))]
        bars = axis.barh(places, [0 if v != v else v for v in values], high, label=detector,
                         color=LINES[k % 3][2], edgecolor="white", hatch=FILLS[k % 3])
        axis.bar_label(bars, ["–" if v != v else f"{v:.0f}" for v in values], padding=3, fontsize=7)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set_xlabel(label, fontsize=9)
    axis.margins(x=0.08)
    axis.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(shares),
                frameon=False)
    return figure


def forest_chart(comparisons: "pandas.DataFrame") -> "Figure":
    """`results.make_claims` as a forest plot: a row a claim, our difference with its 95 % interval.

    The paper's difference, of other data, is a hollow diamond. A dot is filled where the verdict
    is "holds", crossed out where it is "does not hold". Claims without a difference of ours are
    left out.
    """
    comparisons = comparisons[comparisons["our difference"].notna()]
    figure, axis = chart(height=1.0 + 0.36 * len(comparisons))
    marks = {"holds": ("o", INK), "within noise": ("o", "white"), "does not hold": ("X", INK)}
    paper = next(c for c in comparisons.columns if c.startswith("paper"))
    rows = comparisons.to_dict("records")
    for y, row in enumerate(rows):
        axis.plot([row["95 % low"], row["95 % high"]], [y, y], color=INK, lw=1.4)
        mark, face = marks.get(row["verdict"], ("", "none"))
        axis.plot(row["our difference"], y, mark, color=INK, mfc=face, ms=6)
        if row[paper] == row[paper]:
            axis.plot(row[paper], y - 0.28, "D", mfc="none", color="#D0540B", ms=5)
    axis.axvline(0, color=INK, lw=0.8)
    axis.set_yticks(range(len(rows)), [_claim_text(row) for row in rows], fontsize=8)
    axis.set_ylim(len(rows) - 0.4, -0.8)
    axis.set_xlabel("difference in mAP, points", fontsize=9)
    _forest_legend(axis, marks)
    return figure


def _claim_text(row: dict) -> str:
    """A claim in words, and the frames that it is about unless the words say so."""
    said = row["frames"] == "all" or row["frames"] in row["claim"]
    text = row["claim"] + ("" if said else f" ({row['frames']} frames)")
    return "\n".join(wrap(text.replace(" > ", "\u00a0>\u00a0"), LABEL))


def _forest_legend(axis: "Axes", marks: Mapping[str, tuple[str, str]]) -> None:
    """What the marks of a forest plot mean."""
    for verdict, (mark, face) in marks.items():
        axis.plot([], [], mark, color=INK, mfc=face, ms=6, label=f"ours: {verdict}")
    axis.plot([], [], "D", mfc="none", color="#D0540B", ms=5, label="the paper (its own data)")
    axis.legend(fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.35, 1), frameon=False,
                handletextpad=0.2, columnspacing=1.2)


def seed_chart(records: Sequence[dict], part: str = "all") -> "Figure":
    """mAP of every run: a row a name of the catalogue, a dot a seed, a bar at the mean."""
    runs = by_name(records)
    figure, axis = chart(height=1.0 + 0.26 * len(runs))
    for y, found in enumerate(runs.values()):
        values = [slice_map(record, part) for record in found]
        axis.plot(values, [y] * len(values), "o", color="#0077BB", ms=5, alpha=0.7, mec=INK)
        axis.plot(sum(values) / len(values), y, "|", color=INK, ms=16, mew=2)
    axis.set_yticks(range(len(runs)), list(runs))
    axis.set_ylim(len(runs) - 0.4, -0.6)
    axis.set_xlabel(f"mAP in percent, {part} frames (dot: a seed, bar: their mean)", fontsize=9)
    return figure
