"""One annotation file of ImageNet VID or DET: <object> elements with wnid, box, track id, flags.

Boxes are read as the public code of FGFA and MEGA does: xmin to ymax as they stand, indices of
pixels, xmax and ymax inside the object. Sec. IV-A of the paper names the data.
"""

import math
import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

import torch
from torch import Tensor

from mstlib.data.clip import Target
from mstlib.data.dataset import BadFile
from mstlib.data.frames import FARTHEST

SYNSETS = {  # the <name> of each class, in the official order
    "n02691156": "airplane", "n02419796": "antelope", "n02131653": "bear", "n02834778": "bicycle",
    "n01503061": "bird", "n02924116": "bus", "n02958343": "car", "n02402425": "cattle",
    "n02084071": "dog", "n02121808": "domestic_cat", "n02503517": "elephant", "n02118333": "fox",
    "n02510455": "giant_panda", "n02342885": "hamster", "n02374451": "horse", "n02129165": "lion",
    "n01674464": "lizard", "n02484322": "monkey", "n03790512": "motorcycle", "n02324045": "rabbit",
    "n02509815": "red_panda", "n02411705": "sheep", "n01726692": "snake", "n02355227": "squirrel",
    "n02129604": "tiger", "n04468005": "train", "n01662784": "turtle", "n04530566": "watercraft",
    "n02062744": "whale", "n02391049": "zebra",
}
CLASSES = tuple(SYNSETS.values())
LABELS = {synset: k for k, synset in enumerate(SYNSETS, 1)}
SIDES = ("xmin", "ymin", "xmax", "ymax")


class Annotation(NamedTuple):
    """What an annotation file says: the objects, not clipped, and the image's (H, W) if stated.

    generated (N,) bool: boxes that nobody drew, interpolated between drawn ones. order: which
    <object> of the file each of the N is, from 0.
    """

    target: Target
    size: tuple[int, int] | None
    generated: Tensor
    order: list[int]


class Row(NamedTuple):
    """An <object>."""

    name: str
    box: list[float]
    track: int
    occluded: bool
    generated: bool


def read_xml(path: Path, strict: bool = True) -> Annotation:
    """The annotation in a file.

    strict: an object of another class than the 30 is an error, as in VID; else it is dropped, as
    DET wants it. Objects without <trackid> get id -1. BadFile names the file and each line where
    something is wrong: XML cut short, numbers that are none, a box without area, a class unknown.
    """
    root, rows, faults = _root(path), {}, []
    for k, item in enumerate(root.iterfind("object")):
        try:
            row = _object(item)
            if row.name in LABELS:
                rows[k] = row
            elif strict or not re.fullmatch(r"n\d{8}", row.name):
                raise ValueError(f"<name> '{row.name}' is none of the 30 classes of ImageNet VID")
        except ValueError as error:
            faults.append(f"{path}:{object_line(path, k)}: {error}")
    if faults:
        raise BadFile(*faults)
    names, boxes, tracks, occluded, generated = zip(*rows.values(), strict=True) if rows else (
        (),) * 5
    target = Target.of(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                       torch.tensor([LABELS[name] for name in names], dtype=torch.int64),
                       torch.tensor(tracks, dtype=torch.int64),
                       torch.tensor(occluded, dtype=torch.bool))
    return Annotation(target, _stated_size(path, root), torch.tensor(generated, dtype=torch.bool),
                      list(rows))


def object_line(path: Path, k: int) -> int:
    """The line on which the k-th <object> of a whole XML file begins."""
    lines, parser = [], expat.ParserCreate()

    def note(name: str, _: dict) -> None:
        if name == "object":
            lines.append(parser.CurrentLineNumber)

    parser.StartElementHandler = note
    parser.Parse(path.read_bytes(), True)
    return lines[k]


def _root(path: Path) -> ElementTree.Element:
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        hint = "; no annotation of the test videos is published: use val"
        raise BadFile(f"{path}: cannot be read ({error.strerror})"
                      f"{hint if 'test' in path.parts else ''}") from error
    except ElementTree.ParseError as error:
        raise BadFile(f"{path}:{error.position[0]}: not whole XML ({error}); "
                      "extract it anew") from error
    if root.tag != "annotation":
        raise BadFile(f"{path}:1: begins with <{root.tag}>, not with <annotation>; extract it anew")
    return root


def _object(item: ElementTree.Element) -> Row:
    """The content of an <object>; ValueError says what is wrong."""
    corners = [item.findtext(f"bndbox/{side}") for side in SIDES]
    try:
        box = [float(text) for text in corners]
    except (TypeError, ValueError):
        raise ValueError(f"<bndbox> needs the numbers {', '.join(SIDES)}, got {corners}") from None
    if not all(map(math.isfinite, box)) or max(map(abs, box)) > FARTHEST:
        raise ValueError(f"<bndbox> needs finite pixels, got {corners}")
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError(f"<bndbox> has no area: {', '.join(SIDES)} are {corners}")
    track, occluded, generated = (_whole(item, tag, default) for tag, default in (
        ("trackid", "-1"), ("occluded", "0"), ("generated", "0")))
    name = item.findtext("name", "").strip()
    return Row(name, box, track, occluded == 1, generated == 1)


def _whole(item: ElementTree.Element, tag: str, default: str) -> int:
    """The whole number of an element; ValueError if it is none."""
    text = item.findtext(tag, default)
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"<{tag}> must be a whole number, got '{text}'") from None


def _stated_size(path: Path, root: ElementTree.Element) -> tuple[int, int] | None:
    """(H, W) of the <size> element, None where it is missing or zero; BadFile if it is no size."""
    try:
        size = _whole(root, "size/height", "0"), _whole(root, "size/width", "0")
    except ValueError as error:
        raise BadFile(f"{path}: {error}") from None
    return size if min(size) > 0 else None
