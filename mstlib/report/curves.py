"""Training curves: logs of losses, read and drawn.

`mst train` writes a log beside its state; some are kept in `results/logs/`, without what depends on
the machine. Notebook 08. Not part of the paper.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mstlib.config import MSTError
from mstlib.report.charts import LINES
from mstlib.show import chart

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.figure import Figure

Curve = tuple[list[int], list[float]]  # steps and values


def read_log(path: str | Path) -> dict[str, Curve]:
    """The losses of a training's log by name; a loss that was absent in a stretch lacks its steps.

    MSTError if the file is missing or is not such a log.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        names = [name for name in (rows[0] if rows else {}) if name != "step"]
        return {name: ([int(r["step"]) for r in rows if r[name]],
                       [float(r[name]) for r in rows if r[name]]) for name in names}
    except FileNotFoundError:
        raise MSTError(f"{path}: no such log; mst train writes one beside its --out") from None
    except (KeyError, TypeError, ValueError) as error:
        raise MSTError(f"{path}: not the log of a training ({error})") from None


def kept_logs(folder: Path, profile: str) -> dict[str, dict[str, Curve]]:
    """The logs of a profile that are kept in `folder`, by the name of their run: "g-seed4"."""
    return {path.stem.removeprefix(f"{profile}-"): read_log(path)
            for path in sorted(folder.glob(f"{profile}-*.csv"))}


def smooth(values: Sequence[float], width: int) -> list[float]:
    """The mean of each value and its neighbours, `width` at most; fewer at both ends."""
    half = width // 2
    parts = [values[max(0, k - half): k + half + 1] for k in range(len(values))]
    return [sum(part) / len(part) for part in parts]


def curve_chart(curves: Mapping[str, Curve], label: str, width: int = 1) -> "Figure":
    """Losses over steps, a line for each training; `width`: see `smooth`."""
    figure, axis = chart(height=3.2)
    for k, (name, (steps, values)) in enumerate(curves.items()):
        mark, line, colour = LINES[k % len(LINES)]
        every = max(1, len(steps) // 12)
        axis.plot(steps, smooth(values, width), line, marker=mark, color=colour, ms=4.5, lw=1.2,
                  markevery=every, label=name)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("step", fontsize=9)
    axis.set_ylabel(label, fontsize=9)
    axis.legend(fontsize=8, frameon=False)
    return figure
