"""Text files that name videos and frames: reading their lines, finding what is not on disk.

Not part of the paper.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mstlib.data.dataset import BadFile, Fault

BAD_LINE, NO_VIDEO, NO_FRAME = "line of a list that is wrong", "missing video", "missing frame"


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of each line that is not blank, from 1; BadFile if it is not a text file.

    Line ends of any system, and the mark that Windows puts before a text (BOM), are no matter.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadFile(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BadFile(f"{path}: not a text file in UTF-8; copy or extract it anew") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def missing_frames(named: Iterable[tuple[str, str]]) -> list[Fault]:
    """A fault for each (where, path) whose file is not on disk; every folder is listed once."""
    folders: dict[str, set[str]] = {}
    faults = []
    for where, path in named:
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = _names(folder)
        if name not in folders[folder]:
            faults.append(Fault(NO_FRAME, f"{where}: {path} is not on disk"))
    return faults


def _names(folder: str) -> set[str]:
    """The names in a folder (a million in all for ImageNet VID), none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except OSError:
        return set()
