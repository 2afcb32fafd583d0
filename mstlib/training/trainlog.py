"""The log of a training, as CSV and for TensorBoard; a training state holds it too. Not part of the
paper.
"""

import csv
from dataclasses import dataclass, field
from pathlib import Path

from mstlib.config import MSTError
from mstlib.distributed import Group, warn
from mstlib.fileio import write_via
from mstlib.training.loader import Step

SLOW_SHARE = 0.2   # of the time spent waiting for data: worth a warning
SLOW_AFTER = 30.0  # seconds of training before it is said


# ---- the log -----------------------------------------------------------------------------------


@dataclass
class Log:
    """The log of a training; its fields are saved with the state, so that a resumed training's log
    is that of an uninterrupted one.

    rows: step and mean losses since the row before. loader: to each row, how the data came: seconds
    of a step (step_s) and of those waited for data (wait_s), frames that the loader reads in a
    second (frames_per_s), windows skipped for unreadable files (unreadable). bad: how often each
    unreadable file was met. losses, times: what the next row will be made of.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    loader: list[dict[str, float]] = field(default_factory=list)
    bad: dict[str, int] = field(default_factory=dict)
    losses: dict[str, list[float]] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)

    def add(self, losses: dict[str, float], data: Step, waited: float, spent: float,
            workers: int) -> None:
        """One step: its losses, its data, seconds waited for them and seconds in all."""
        for key, value in losses.items():
            self.losses.setdefault(key, []).append(value)
        speed = data.frames / max(data.seconds, 1e-9) * max(1, workers)
        now = {"step_s": spent, "wait_s": waited, "frames_per_s": speed}
        for key, value in (now | {"unreadable": len(data.bad)}).items():
            self.times.setdefault(key, []).append(value)
        for line in data.bad:
            self.bad[line] = self.bad.get(line, 0) + 1

    def collect(self, group: Group) -> None:
        """Bring to process 0 what the others have noted since the last time."""
        if group.world == 1:
            return
        notes = group.gather((self.losses, self.times, self.bad))
        if group.rank:
            self.losses, self.times, self.bad = {}, {}, {}
            return
        for losses, times, bad in notes[1:]:
            for own, more in ((self.losses, losses), (self.times, times)):
                for key, values in more.items():
                    own.setdefault(key, []).extend(values)
            for line, count in bad.items():
                self.bad[line] = self.bad.get(line, 0) + count

    def close_row(self, step: int, group: Group, writer: object = None) -> None:
        """Make a row of what all processes have noted since the last one; to TensorBoard too."""
        self.collect(group)
        if group.rank:
            return
        row = {"step": step} | {k: sum(v) / len(v) for k, v in self.losses.items()}
        loader = {k: sum(v) / len(v) for k, v in self.times.items()}
        loader["unreadable"] = sum(self.times.get("unreadable", []))
        self.rows.append(row)
        self.loader.append(loader)
        self.losses, self.times = {}, {}
        for key, value in (row | loader).items() if writer else ():
            writer.add_scalar(key, value, step)
        if writer:
            writer.flush()

    def write(self, path: Path) -> None:
        """The log as CSV; a loss that was absent in a stretch is an empty cell."""
        rows = [row | loader for row, loader in zip(self.rows, self.loader, strict=True)]
        names = list(dict.fromkeys(k for row in rows for k in row))
        with write_via(path) as tmp, tmp.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows({k: round(v, 5) for k, v in row.items()} for row in rows)

    def bad_lines(self) -> list[str]:
        """What to say at the end of files that could not be read; nothing if there were none."""
        if not self.bad:
            return []
        head = f"windows drawn anew: {sum(self.bad.values())}, for bad files: {len(self.bad)}"
        return [head, *list(self.bad)[:5], *(["..."] if len(self.bad) > 5 else [])]


class SlowData:
    """Says once that training waits for its data, when that is so for long enough.

    The first step does not count: workers have to start.
    """

    def __init__(self) -> None:
        self.waited, self.spent, self.steps, self.said = 0.0, 0.0, 0, False

    def add(self, waited: float, spent: float) -> None:
        """One more step, seconds waited for data and seconds in all."""
        self.steps += 1
        if self.steps > 1:
            self.waited, self.spent = self.waited + waited, self.spent + spent
        if not self.said and self.spent > SLOW_AFTER and self.waited > SLOW_SHARE * self.spent:
            self.said = True
            warn(f"{self.waited / self.spent:.0%} of the time is spent waiting for data; give more "
                 "--workers, or data on a faster disk")


def board(folder: Path | None, start: int):
    """A TensorBoard writer for `folder`, or None without one; MSTError if it is not installed or
    the folder cannot be."""
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MSTError("--tensorboard needs: pip install tensorboard") from error
    try:
        return SummaryWriter(folder, purge_step=start + 1)
    except OSError as error:
        raise MSTError(f"{folder}: no folder for TensorBoard ({error.strerror}); choose another "
                       "one") from error
