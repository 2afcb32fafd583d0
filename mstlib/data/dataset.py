"""A split of a data set: clips with the names of their classes, and what was found wrong with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mstlib.config import MSTError
from mstlib.data.clip import Clip


class BadFile(MSTError):
    """A file of a data set that is missing or damaged: skipped and counted on request.

    args: a line `file[:line]: what` for each thing wrong with it; the message is the first.
    """

    def __str__(self) -> str:
        more = len(self.args) - 1
        return f"{self.args[0]}{f' (and {more} more)' if more else ''}"


class Fault(NamedTuple):
    """Something wrong in a list or annotation file: its kind, and `file[:line or entry]: what`."""

    kind: str
    line: str


@dataclass(frozen=True)
class Dataset(Sequence[Clip]):
    """Clips of one split; label k of their targets is classes[k - 1].

    faults: what the files of the split name wrongly, or name and is not on disk. left_out: a line
    for each video that the reader leaves out by design.
    """

    name: str
    split: str
    classes: tuple[str, ...]
    clips: Sequence[Clip]
    faults: tuple[Fault, ...] = ()
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:
        return self.clips[index]
