"""DAVIS 2016 and 2017 in the official layout: boxes from masks, real video that anybody can get.

Not a data set of the paper. A sequence of animals or vehicles gets the class of ImageNet VID that
its object has, so that a model of those 30 classes can be trained or measured on it; other
sequences are left out. JPEGImages/480p/SEQ/00000.jpg, Annotations/480p/SEQ/00000.png, lists in
ImageSets: 480p (2016: pairs of image and mask, one object a mask) or 2017 (names of sequences,
palette masks whose index is the object).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray as Array

from mstlib.data.clip import Target
from mstlib.data.dataset import BadFile, Dataset, Fault
from mstlib.data.formats.davis_classes import OBJECTS, objects_of
from mstlib.data.formats.imagenet_xml import CLASSES
from mstlib.data.formats.lists import BAD_LINE, NO_VIDEO, missing_frames, numbered_lines
from mstlib.data.frames import FileClip
from mstlib.data.images import frame_files, image_size, open_image


@dataclass(frozen=True)
class DavisClip(FileClip):
    """A sequence. labels: object -> label; object 0 stands for whatever is not background."""

    name: str
    root: Path
    frames: tuple[str, ...]      # without suffix
    labels: dict[int, int]

    def __len__(self) -> int:
        return len(self.frames)

    def path(self, t: int) -> Path:
        return self.root / "JPEGImages" / "480p" / self.name / f"{self.frames[t]}.jpg"

    def mask(self, t: int) -> Path:
        """The mask of frame t."""
        return self.root / "Annotations" / "480p" / self.name / f"{self.frames[t]}.png"

    def where(self, t: int, k: int | None = None) -> str:
        return str(self.mask(t))

    def stated(self, t: int) -> tuple[int, int] | None:
        """(H, W) of the mask, None where it cannot be read."""
        try:
            return image_size(self.mask(t))
        except BadFile:
            return None

    def annotated(self, t: int) -> Target:
        return boxes_of(read_mask(self.mask(t), indexed=0 not in self.labels), self.labels)


def read_mask(path: Path, indexed: bool) -> Array:
    """(H, W) mask: palette index or grey value, 0 is background; BadFile as `read_image`, and if it
    is no PNG file or, of an indexed mask, if its pixels are colours instead of numbers."""
    image = open_image(path)
    if image.format != "PNG" or indexed and image.mode not in ("P", "L"):
        raise BadFile(f"{path}: a {image.format} file of mode {image.mode}, but masks are PNG files"
                      f"{' of palette indices' if indexed else ''}; extract it anew")
    return np.array(image if image.mode == "P" else image.convert("L"))


def boxes_of(mask: Array, labels: dict[int, int]) -> Target:
    """A box around the pixels of each object that has a label; its index is the track id.

    Labels {0: k}: all that is not background is one object (2016), with id 1. An object without
    pixels is not in the frame.
    """
    if 0 in labels:
        mask, labels = mask > 0, {1: labels[0]}
    found = [(box, label, index) for index, label in labels.items()
             if (box := _box(mask == index))]
    boxes, names, ids = zip(*found, strict=True) if found else ((),) * 3
    return Target.of(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                     torch.tensor(names, dtype=torch.int64), torch.tensor(ids, dtype=torch.int64))


def _box(mask: Array) -> tuple[int, int, int, int] | None:
    """x1, y1, x2, y2 around the true pixels, from the left edge of the first to the right edge of
    the last; None if there are none."""
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


# ---- splits --------------------------------------------------------------------------------------


def splits(root: Path) -> tuple[str, ...]:
    """Splits with a list; none without the folder of images."""
    there = (root / "JPEGImages" / "480p").is_dir()
    return tuple(s for s in ("train", "val") if there and (_lists(root) / f"{s}.txt").is_file())


def open_davis(root: Path, split: str) -> Dataset:
    """The sequences of a split that show a class of VID, of 2017 if its lists are there.

    BadFile if davis_semantics.json is damaged.
    """
    year = "2017" if _lists(root).name == "2017" else "2016"
    listed, faults = _sequences(_lists(root) / f"{split}.txt")
    objects = objects_of(root) if year == "2017" else OBJECTS
    clips, left_out = [], []
    for name, lines in listed.items():
        folder = root / "JPEGImages" / "480p" / name
        if not objects.get(name):
            left_out.append(f"{lines[0][0]}: {name} shows no class of ImageNet VID"
                            f"{'' if folder.is_dir() else ' (and is not on disk)'}")
            continue
        labels = {k: CLASSES.index(c) + 1 for k, c in objects[name].items()}
        try:
            clips.append(_clip(root, name, [frame for _, frame in lines if frame],
                               labels if year == "2017" else {0: next(iter(labels.values()))}))
            faults += missing_frames(_files(clips[-1], lines))
        except BadFile as error:
            faults.append(Fault(NO_VIDEO, f"{lines[0][0]}: {error}"))
    return Dataset(f"davis-{year}", split, CLASSES, clips, tuple(faults), tuple(left_out))


def _clip(root: Path, name: str, frames: list[str], labels: dict[int, int]) -> DavisClip:
    """A sequence; where no frames are listed, those that have an image or a mask: one without the
    other is missed when it is read. BadFile if there is no image."""
    images, masks = (root / part / "480p" / name for part in ("JPEGImages", "Annotations"))
    files = {*frame_files(images), *(frame_files(masks) if masks.is_dir() else ())}
    stems = sorted({Path(file).stem for file in files})
    return DavisClip(name, root, tuple(frames or stems), labels)


def _files(clip: DavisClip, lines: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Where each listed frame is listed, with its image, and with its mask."""
    for t, (where, frame) in enumerate(lines):
        if frame:
            yield where, str(clip.path(t))
            yield where, str(clip.mask(t))


def _lists(root: Path) -> Path:
    """The folder of lists; a release of 2017 holds those of 2016 too."""
    newer = root / "ImageSets" / "2017"
    return newer if newer.is_dir() else root / "ImageSets" / "480p"


def _sequences(path: Path) -> tuple[dict[str, list[tuple[str, str]]], list[Fault]]:
    """Sequence -> where it is listed, and the frame listed there; what is wrong with the list.

    In 2017, where a line is the name of a sequence, the frame is empty.
    """
    sequences: dict[str, list[tuple[str, str]]] = {}
    place_of, expected = (_place_2017, "expected the name of a sequence") if (
        path.parent.name == "2017") else (_place_2016, "expected an image and its mask")
    faults, seen = [], set()
    for number, line in numbered_lines(path):
        where, place = f"{path}:{number}", place_of(line.split())
        if place is None or place in seen:
            what = "listed already" if place else expected
            faults.append(Fault(BAD_LINE, f"{where}: {what}, got '{line}'"))
            continue
        seen.add(place)
        sequences.setdefault(place[0], []).append((where, place[1]))
    if not sequences and not faults:
        faults.append(Fault(BAD_LINE, f"{path}: names nothing"))
    return sequences, faults


def _place_2016(words: Sequence[str]) -> tuple[str, str] | None:
    """Sequence and frame of a line that names an image and its mask; None if it does not."""
    parts = [Path(word).with_suffix("").parts[-2:] for word in words]
    return parts[0] if len(parts) == 2 and len(parts[0]) == 2 and parts[0] == parts[1] else None


def _place_2017(words: Sequence[str]) -> tuple[str, str] | None:
    """The sequence of a line, and no frame; None if it is no name."""
    return (words[0], "") if len(words) == 1 and "/" not in words[0] else None
