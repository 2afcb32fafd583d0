"""Annotations in the MOTChallenge text format: gt.txt, seqinfo.ini, and labels.txt for class names.

A line is `frame, id, x, y, width, height, confidence, class, visibility`; frames count from 1, x
and y are the upper left corner in pixels. Not part of the paper: see docs/own-videos.md.
"""

import configparser
from pathlib import Path

from mstlib.config import MSTError
from mstlib.data.formats.annotated import Box, Video, named
from mstlib.data.frames import FARTHEST

COLUMNS = ("frame", "id", "x", "y", "width", "height", "confidence", "class", "visibility")
VISIBLE = 0.5  # an object of which less is visible counts as occluded


def mot_sources(source: Path, images: Path | None) -> list[tuple[Path, Path]]:
    """Annotation files with their images.

    source: a gt.txt, the folder of a sequence (gt/gt.txt, img1/), or a folder of sequences; then
    `images`, if the frames are not in img1/, holds a video or a folder of frames of each sequence.
    MSTError if there are none.
    """
    if source.is_dir() and not (source / "gt" / "gt.txt").exists():
        files = sorted(source.glob("*/gt/gt.txt"))
        if not files:
            raise MSTError(f"{source}: neither gt/gt.txt nor NAME/gt/gt.txt in this folder")
        return [(file, named(images, _sequence(file).name) if images else _sequence(file) / "img1")
                for file in files]
    file = source / "gt" / "gt.txt" if source.is_dir() else source
    return [(file, images or _sequence(file) / "img1")]


def read_mot(path: Path, classes: tuple[str, ...] = ()) -> Video:
    """What a gt.txt says about one video; MSTError names the file and the line.

    Class k is classes[k - 1], or line k of the labels.txt beside `path`. Confidence 0 marks a
    region to ignore, id -1 an object without a track.
    """
    labels = path.with_name("labels.txt")
    classes = classes or tuple(
        "\n".join(map(str.strip, _lines(labels) if labels.exists() else ())).strip().splitlines())
    frames, size = _seqinfo(_sequence(path) / "seqinfo.ini")
    boxes: dict[object, Box] = {}
    columns = 0
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        count = line.count(",") + 1
        columns = columns or count
        if count != columns:
            raise MSTError(f"{path}:{number}: {count} columns, but {columns} in the lines before: "
                           f"'{line.strip()}'; is the file cut short?")
        box = _box(path, number, line, classes)
        if frames is not None and box.frame not in frames:
            raise MSTError(f"{path}:{number}: frame {box.frame + 1}, but seqinfo.ini has seqLength="
                           f"{len(frames)}")
        key = number if box.ignored or box.track < 0 else (box.frame, box.track)
        if key in boxes:
            raise MSTError(f"{path}:{number}: id {box.track} is in frame {box.frame + 1} twice")
        boxes[key] = box
    return Video(path, list(boxes.values()), classes, frames, size)


def _sequence(path: Path) -> Path:
    """The folder of the sequence that a gt.txt is about."""
    folder = path.absolute().parent
    return folder.parent if folder.name == "gt" else folder


def _box(path: Path, number: int, line: str, classes: tuple[str, ...]) -> Box:
    """The box of one line; what stands in columns after the sixth may be missing, and in the files
    of 2015 there is a tenth."""
    where = f"{path}:{number}"
    try:
        if line.count(",") > len(COLUMNS):
            raise ValueError(line)
        row = dict(zip(COLUMNS, map(float, line.split(",")), strict=False))
        frame, track, x, y, w, h = (row[name] for name in COLUMNS[:6])
    except (ValueError, KeyError):
        raise MSTError(f"{where}: not a line of gt.txt (frame,id,x,y,width,height,...): "
                       f"'{line.strip()}'") from None
    if not all(abs(value) < FARTHEST for value in row.values()) or min(w, h) <= 0:
        raise MSTError(f"{where}: a box needs finite numbers and a positive width and height: "
                       f"'{line.strip()}'")
    if frame < 1 or frame % 1 or track % 1:
        raise MSTError(f"{where}: frame and id are whole numbers and frames count from 1, got "
                       f"{frame:g} and {track:g}")
    ignored, seen = row.get("confidence", 1) == 0, row.get("visibility", 1)
    label = "" if ignored else _label(where, row.get("class", -1), classes)
    return Box(int(frame) - 1, max(int(track), -1), label, (x, y, x + w, y + h),
               0 <= seen < VISIBLE, ignored, number)


def _label(where: str, number: float, classes: tuple[str, ...]) -> str:
    """The name of a class number; with one class there may be none (-1)."""
    if not classes:
        raise MSTError(f"{where}: classes have numbers only; name them with --classes car,person "
                       "or in a labels.txt beside gt.txt, a name a line")
    number = 1 if number == -1 and len(classes) == 1 else number
    if number not in range(1, len(classes) + 1):
        raise MSTError(f"{where}: class {number:g}, but there are names for 1 to {len(classes)}: "
                       f"{', '.join(classes)}")
    if not classes[int(number) - 1]:
        raise MSTError(f"{where}: class {number:g} has no name: a blank line in labels.txt")
    return classes[int(number) - 1]


def _seqinfo(path: Path) -> tuple[range | None, tuple[int, int] | None]:
    """Frames and (height, width) of a sequence by its seqinfo.ini, None where it says nothing."""
    if not path.exists():
        return None, None
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string("\n".join(_lines(path)))
        info = parser["Sequence"]
        length, height, width = (info.getint(key) for key in ("seqLength", "imHeight", "imWidth"))
    except (configparser.Error, KeyError, ValueError) as error:
        raise MSTError(f"{path}: not a seqinfo.ini with [Sequence], seqLength, imWidth, imHeight "
                       f"({error})") from None
    size = (height, width) if height and width else None
    return None if length is None else range(length), size


def _lines(path: Path) -> list[str]:
    """The lines of a text file; MSTError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MSTError(f"{path}: not readable ({reason}); give gt.txt or the folder of a sequence"
                       ) from None
