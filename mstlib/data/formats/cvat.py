"""Annotations of CVAT, format "CVAT for video 1.1": tracks of boxes in an XML file.

Not part of the paper: it lets the method be trained on videos of one's own, see docs/own-videos.md.
Frame numbers are those of the source video: a task that starts at frame 100 and takes every fifth
frame has boxes at 100, 105, 110 ...
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from mstlib.config import MSTError
from mstlib.data.formats.annotated import Box, Video, named
from mstlib.data.frames import FARTHEST

OTHER_SHAPES = ("polygon", "polyline", "points", "ellipse", "cuboid", "skeleton", "mask")


def cvat_sources(source: Path, images: Path | None) -> list[tuple[Path, Path]]:
    """Annotation files with their images.

    source: an .xml file, an unpacked export (annotations.xml, images/), or a folder of NAME.xml;
    then `images` holds a video or a folder of frames of each NAME. MSTError if there are none.
    """
    if source.is_dir() and not (source / "annotations.xml").exists():
        files = sorted(source.glob("*.xml"))
        if not files:
            raise MSTError(f"{source}: no .xml in this folder")
        return [(file, named(images or source, file.stem)) for file in files]
    file = source / "annotations.xml" if source.is_dir() else source
    return [(file, images or file.parent / "images")]


def read_cvat(path: Path) -> Video:
    """What a CVAT file says about one video; MSTError names the file and the line.

    Between the boxes of a track that are listed (perhaps keyframes only) boxes are interpolated
    linearly; `outside` ends an object until its next box, the box before stays until then. After
    its last listed box an object is not annotated.
    """
    root, lines = _parse(path)
    frames, size = _extent(path, root, lines)
    names = tuple(filter(None, (label.findtext("name", "") for label in root.iter("label"))))
    boxes, seen = [], set()
    for track in root.findall("track"):
        where, ident, label = f"{path}:{lines[track]}", track.get("id"), track.get("label")
        if ident in seen:
            raise MSTError(f"{where}: track {ident} is there twice")
        if names and label not in names:
            raise MSTError(f"{where}: label '{label}' is none of the task's: {', '.join(names)}")
        seen.add(ident)
        boxes += _boxes(path, track, lines, frames)
    return Video(path, boxes, names, frames, size)


def _parse(path: Path) -> tuple[ET.Element, dict[ET.Element, int]]:
    """The root element, and the line where the opening tag of each element ends."""
    parser, lines, number = ET.XMLPullParser(["start"]), {}, 0
    try:
        for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
            parser.feed(line)
            lines.update((element, number) for _, element in parser.read_events())
        parser.close()
        lines.update((element, number) for _, element in parser.read_events())
    except ET.ParseError as error:
        raise MSTError(f"{path}:{error.position[0]}: not complete XML ({error}); export it from "
                       "CVAT again") from None
    except OSError as error:
        raise MSTError(f"{path}: {error.strerror}; give the annotations.xml of a CVAT export"
                       ) from None
    root = next(iter(lines))
    if root.tag != "annotations" or root.find("image") is not None:
        raise MSTError(f"{path}:{lines[root]}: not a file of 'CVAT for video 1.1'; choose that "
                       "format when you export the task")
    return root, lines


def _extent(path: Path, root: ET.Element, lines: dict) -> tuple[range | None, tuple | None]:
    """The annotated frames and the (height, width) of the video, as far as the file tells."""
    if len(root.findall(".//tasks/task")) > 1:
        raise MSTError(f"{path}:{lines[root]}: a project of several tasks; export each task alone")
    meta = {name: root.find(f"./meta//{name}") for name in ("size", "start_frame", "frame_filter")}
    text = {name: (element.text or "") if element is not None else ""
            for name, element in meta.items()}
    whole = root.find("./meta//original_size")
    size = None if whole is None else tuple(
        _number(path, lines[whole], name, whole.findtext(name)) for name in ("height", "width"))
    if not text["size"]:
        return None, size
    step = text["frame_filter"].replace(" ", "").removeprefix("step=") or "1"
    count, start, step = (int(_number(path, lines[root], name, value)) for name, value in (
        ("size", text["size"]), ("start_frame", text["start_frame"] or "0"), ("step", step)))
    return range(start, start + count * max(step, 1), max(step, 1)), size


def _boxes(path: Path, track: ET.Element, lines: dict, frames: range | None) -> Iterator[Box]:
    """The boxes of one track, one for each annotated frame where the object is in the picture."""
    where, shapes = f"{path}:{lines[track]}", track.findall("box")
    other = next((shape.tag for shape in track if shape.tag in OTHER_SHAPES), None)
    label, ident = track.get("label"), track.get("id", "")
    if other:
        raise MSTError(f"{where}: track {ident} is a {other}; only boxes can be read, draw it as a "
                       "rectangle")
    if not label or not ident.isdigit():
        raise MSTError(f"{where}: a track needs a number as id and a label, got id '{ident}', "
                       f"label '{label or ''}'")
    listed = sorted((_shape(path, lines[shape], shape) for shape in shapes), key=lambda s: s[0])
    for (frame, *_), (twin, _, _, line) in zip(listed, listed[1:], strict=False):
        if frame == twin:
            raise MSTError(f"{path}:{line}: track {ident} has two boxes in frame {frame}")
    for frame, box, occluded, line in _dense(listed):
        if frames is None or frame in frames:
            yield Box(frame, int(ident), label, box, occluded, line=line)
        elif not frames.start <= frame < frames.stop:
            raise MSTError(f"{path}:{line}: frame {frame}, but the task has frames {frames.start} "
                           f"to {frames[-1] if frames else frames.start}")


def _shape(path: Path, line: int, shape: ET.Element) -> tuple:
    """A listed box: frame, (x1, y1, x2, y2) or None if outside, occluded, line."""
    names = ("frame", "outside", "occluded", "xtl", "ytl", "xbr", "ybr")
    frame, outside, occluded, *box = (
        _number(path, line, name, shape.get(name, "0" if name in names[1:3] else None))
        for name in names)
    if frame < 0 or frame % 1 or not {outside, occluded} <= {0, 1}:
        raise MSTError(f"{path}:{line}: frame must be a whole number, outside and occluded 0 or 1, "
                       f"got {frame:g}, {outside:g}, {occluded:g}")
    if outside:
        return int(frame), None, False, line
    if not (box[0] < box[2] and box[1] < box[3]):
        raise MSTError(f"{path}:{line}: a box has no area, xtl ytl xbr ybr are {box}")
    turn = math.radians(_number(path, line, "rotation", shape.get("rotation", "0")))
    return int(frame), _upright(box, turn), occluded == 1, line


def _upright(box: list[float], turn: float) -> tuple[float, ...]:
    """The upright box around `box` turned about its centre by `turn` radians."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    w, h = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    cos, sin = abs(math.cos(turn)), abs(math.sin(turn))
    reach_x, reach_y = w * cos + h * sin, w * sin + h * cos
    return x - reach_x, y - reach_y, x + reach_x, y + reach_y


def _dense(listed: list[tuple]) -> Iterator[tuple]:
    """Every frame between the listed boxes of a track: (frame, box, occluded, line)."""
    for (frame, box, occluded, line), (after, then, *_) in zip(
            listed, [*listed[1:], (None, None)], strict=True):
        for t in range(frame, frame + 1 if after is None else after):
            if box is not None:
                share = 0.0 if then is None else (t - frame) / (after - frame)
                goal = box if then is None else then
                yield t, tuple(a + share * (b - a) for a, b in zip(box, goal, strict=True)), \
                    occluded, line


def _number(path: Path, line: int, name: str, text: str | None) -> float:
    """A finite number of an attribute or element; MSTError if it is absent or something else."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not abs(value) < FARTHEST:
        raise MSTError(f"{path}:{line}: {name} is not a number: '{text}'") from None
    return value
