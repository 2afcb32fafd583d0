"""A split of a data set: clips with the names of their classes."""

from collections.abc import Sequence
from dataclasses import dataclass

from mstlib.config import MSTError
from mstlib.data.clip import Clip


class BadFile(MSTError):
    """A file of a data set that is missing or cannot be read: skipped and counted on request."""


@dataclass(frozen=True)
class Dataset(Sequence[Clip]):
    """Clips of one split; label k of their targets is classes[k - 1]."""

    name: str
    split: str
    classes: tuple[str, ...]
    clips: Sequence[Clip]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:
        return self.clips[index]
