"""The lists of ImageNet VID and DET: which videos, frames and images a split is made of.

The official ones stand in ImageSets/VID; those of the 15 training frames a video and of the DET
images of the 30 classes (Sec. IV-C of the paper) come with the public code of FGFA and MEGA.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mstlib.data.dataset import BadFile, Fault
from mstlib.data.formats.lists import BAD_LINE, NO_VIDEO, missing_frames, numbered_lines
from mstlib.data.images import last_number

FRAME = "{:06d}.JPEG"  # from 0


class Video(NamedTuple):
    """A snippet: its path below Data/VID, its number of frames, the frames that training may draw
    as references (None: all)."""

    stem: str
    length: int
    references: tuple[int, ...] | None = None


class Entry(NamedTuple):
    """A line of a list: where it stands, which frames of which video it names."""

    where: str
    stem: str
    frames: range
    length: int = 0  # of the video, 0 where the line does not say


def videos_of(home: Path, split: str) -> tuple[list[Video], list[Fault]]:
    """The snippets of a split that are on disk, and what is wrong with the lists.

    By the lists of FGFA and MEGA, else by the official ones, else by the folders there are (what
    the official lists of train, one a class, name together).
    """
    if split == "train" and (path := find_list(home, "VID_train_15frames.txt")):
        return _listed(home, *_read(path, _reference), marked=True)
    if split == "train":
        warnings.warn(f"{home / 'ImageSets'}: VID_train_15frames.txt is missing, so every frame "
                      "may be a reference in training, not 15 a video as in the paper's parents",
                      stacklevel=2)
        return _folders(home, split)
    for name, parse in ((f"VID_{split}_videos.txt", _video), (f"VID_{split}_frames.txt", _frame),
                        (f"VID/{split}.txt", _frame)):
        if path := find_list(home, name):
            return _listed(home, *_read(path, parse, split), marked=False)
    return _folders(home, split)


def images_of(home: Path) -> tuple[list[str], list[Fault]]:
    """The DET images of the 30 classes, as paths below Data/DET, and what is wrong with the list.

    BadFile if DET_train_30classes.txt is missing: the official lists name all 200 classes.
    """
    path = find_list(home, "DET_train_30classes.txt")
    if path is None:
        raise BadFile(f"{home / 'ImageSets'}: DET_train_30classes.txt is missing; it comes with "
                      "the public code of FGFA and MEGA")
    entries, faults = _read(path, _image)
    stems: dict[str, str] = {}
    for entry in entries:
        stems.setdefault(entry.stem, entry.where)
    faults += missing_frames((where, f"{home}/Data/DET/{stem}.JPEG")
                             for stem, where in stems.items())
    return list(stems), faults


def find_list(home: Path, name: str) -> Path | None:
    """A list by name from where the official release, FGFA, MEGA or mmtracking put it, None if it
    is not there."""
    folders = ("ImageSets", f"ImageSets/{name[:3]}", "Lists")
    return next((p for folder in folders if (p := home / folder / name).is_file()), None)


# ---- lines ---------------------------------------------------------------------------------------


Parse = Callable[[str, list[str], str], Entry]  # where, words of a line, split; ValueError


def _read(path: Path, parse: Parse, split: str = "train") -> tuple[list[Entry], list[Fault]]:
    """The entries of a list and its wrong lines; a list without any line is wrong too."""
    entries, faults = [], []
    for number, line in numbered_lines(path):
        where = f"{path}:{number}"
        try:
            entries.append(parse(where, line.split(), split))
        except ValueError as error:
            faults.append(Fault(BAD_LINE, f"{where}: {error}, got '{line}'"))
    if not entries and not faults:
        faults.append(Fault(BAD_LINE, f"{path}: names nothing"))
    return entries, faults


def _reference(where: str, words: list[str], split: str) -> Entry:
    """VIDEO 1 FRAME LENGTH: frame FRAME of a video of LENGTH frames may be a reference."""
    if len(words) != 4 or not all(map(str.isdecimal, words[2:])):
        raise ValueError("expected 'VIDEO 1 FRAME LENGTH'")
    frame, length = map(int, words[2:])
    if frame >= length:
        raise ValueError(f"there is no frame {frame} in {length} frames, which count from 0")
    return Entry(where, words[0], range(frame, frame + 1), length)


def _video(where: str, words: list[str], split: str) -> Entry:
    """VIDEO NUMBER 0 LENGTH: a whole video."""
    entry = _reference(where, words, split)
    return entry._replace(frames=range(entry.length))


def _frame(where: str, words: list[str], split: str) -> Entry:
    """VIDEO/FRAME NUMBER, the official form; VIDEO without the name of the split, or with it."""
    stem, _, frame = words[0].removeprefix(f"{split}/").rpartition("/")
    if len(words) != 2 or not frame.isdecimal() or not stem:
        raise ValueError("expected 'VIDEO/FRAME NUMBER'")
    return Entry(where, f"{split}/{stem}", range(int(frame), int(frame) + 1))


def _image(where: str, words: list[str], split: str) -> Entry:
    """IMAGE 1, or the image alone."""
    if len(words) > 2 or words[1:] not in ([], ["1"]):
        raise ValueError("expected 'IMAGE 1'")
    return Entry(where, words[0], range(1))


# ---- videos --------------------------------------------------------------------------------------


def _listed(home: Path, entries: list[Entry], faults: list[Fault], marked: bool
            ) -> tuple[list[Video], list[Fault]]:
    """The videos that the entries name; marked: the named frames alone are references."""
    videos: dict[str, list[Entry]] = {}
    for entry in entries:
        videos.setdefault(entry.stem, []).append(entry)
    there = {}
    for stem, lines in videos.items():
        if not (home / "Data" / "VID" / stem).is_dir():
            faults.append(Fault(NO_VIDEO, f"{lines[0].where}: {home}/Data/VID/{stem} is not on "
                                          "disk"))
        elif odd := next((line for line in lines if line.length != lines[0].length), None):
            faults.append(Fault(BAD_LINE, f"{odd.where}: {stem} has {odd.length} frames here, "
                                          f"{lines[0].length} in {lines[0].where}"))
        else:
            there[stem] = lines
    faults += missing_frames(_files(home, there.values()))
    found = []
    for stem, lines in there.items():
        frames = tuple(sorted(t for line in lines for t in line.frames))
        found.append(Video(stem, lines[0].length or frames[-1] + 1, frames if marked else None))
    return found, faults


def _files(home: Path, videos: Iterable[list[Entry]]) -> Iterator[tuple[str, str]]:
    """Where each named frame is named, and its file."""
    for entry in (entry for lines in videos for entry in lines):
        for t in entry.frames:
            yield entry.where, f"{home}/Data/VID/{entry.stem}/{FRAME.format(t)}"


def _folders(home: Path, split: str) -> tuple[list[Video], list[Fault]]:
    """The folders of a split: train holds them in packages."""
    base, videos, faults = home / "Data" / "VID", [], []
    for folder in sorted((base / split).glob("*/*" if split == "train" else "*")):
        if folder.is_dir():
            try:
                length = last_number(folder, FRAME) + 1
                videos.append(Video(folder.relative_to(base).as_posix(), length))
            except BadFile as error:
                faults.append(Fault(NO_VIDEO, str(error)))
    return videos, faults
