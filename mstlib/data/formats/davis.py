"""DAVIS 2016 and 2017 in the official layout: boxes from masks, real video that anybody can get.

Not a data set of the paper. A sequence of animals or vehicles gets the class of ImageNet VID that
its object has, so that a model of those 30 classes can be trained or measured on it; other
sequences are left out. JPEGImages/480p/SEQ/00000.jpg, Annotations/480p/SEQ/00000.png, lists in
ImageSets: 480p (2016: pairs of image and mask, one object a mask) or 2017 (names of sequences,
palette masks whose index is the object).
"""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray as Array

from mstlib.data.clip import Target
from mstlib.data.dataset import BadFile, Dataset
from mstlib.data.formats.imagenet import CLASSES
from mstlib.data.frames import FileClip, frame_files, open_image

# Objects of each sequence of 2016 and of 2017 train and val that are of a VID class, by their index
# in the masks of 2017; after davis_semantics.json of the release. Riders, poles, ... are no object.
OBJECTS: dict[str, dict[int, str]] = {
    "bear": {1: "bear"}, "bike-packing": {1: "bicycle"}, "blackswan": {1: "bird"},
    "bmx-bumps": {1: "bicycle"}, "bmx-trees": {1: "bicycle"}, "boat": {1: "watercraft"},
    "bus": {1: "bus"}, "car-roundabout": {1: "car"}, "car-shadow": {1: "car"},
    "car-turn": {1: "car"}, "cat-girl": {2: "domestic_cat"}, "classic-car": {3: "car"},
    "cows": {1: "cattle"}, "dog": {1: "dog"}, "dog-agility": {1: "dog"},
    "dog-gooses": {1: "dog", 2: "bird", 3: "bird", 4: "bird", 5: "bird"},
    "dogs-jump": {1: "dog", 2: "dog"}, "dogs-scale": {1: "dog", 2: "dog"},
    "drift-chicane": {1: "car"}, "drift-straight": {1: "car"}, "drift-turn": {1: "car"},
    "elephant": {1: "elephant"}, "flamingo": {1: "bird"}, "horsejump-high": {1: "horse"},
    "horsejump-low": {1: "horse"}, "libby": {1: "dog"}, "longboard": {2: "bicycle"},
    "mallard-fly": {1: "bird"}, "mallard-water": {1: "bird"}, "mbike-trick": {2: "motorcycle"},
    "motocross-bumps": {2: "motorcycle"}, "motocross-jump": {2: "motorcycle"},
    "motorbike": {1: "motorcycle"}, "night-race": {1: "car", 2: "car"},
    "planes-water": {1: "airplane", 2: "airplane"}, "rallye": {1: "car"},
    "scooter-black": {2: "motorcycle"}, "scooter-gray": {1: "motorcycle"},
    "sheep": {1: "sheep", 2: "sheep", 3: "sheep", 4: "sheep", 5: "sheep"},
    "train": {4: "train"}, "varanus-cage": {1: "lizard"},
}
SAME = {  # categories of davis_semantics.json that VID names otherwise
    "boat": "watercraft", "cat": "domestic_cat", "cow": "cattle", "varanus": "lizard",
}


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

    def annotated(self, t: int) -> Target:
        return boxes_of(read_mask(self.mask(t)), self.labels)


def read_mask(path: Path) -> Array:
    """(H, W) mask: palette index, or grey value (0 is background); BadFile as `read_image`."""
    image = open_image(path)
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

    Sequences without such a class, and those that are listed but not on disk, are left out with
    one warning that counts both. BadFile if a list or davis_semantics.json is damaged.
    """
    year = "2017" if _lists(root).name == "2017" else "2016"
    listed = _sequences(_lists(root) / f"{split}.txt")
    objects = _objects(root) if year == "2017" else OBJECTS
    known = [name for name in listed if objects.get(name)]
    there = [name for name in known if (root / "JPEGImages" / "480p" / name).is_dir()]
    if len(there) < len(listed):
        warnings.warn(f"{root}: {len(there)} of {len(listed)} {split} sequences are read; "
                      f"{len(listed) - len(known)} show no class of ImageNet VID, "
                      f"{len(known) - len(there)} are missing on disk", stacklevel=2)
    clips = []
    for name in there:
        labels = {k: CLASSES.index(c) + 1 for k, c in objects[name].items()}
        labels = labels if year == "2017" else {0: next(iter(labels.values()))}
        frames = listed[name] or [Path(f).stem for f in frame_files(
            root / "JPEGImages" / "480p" / name)]
        clips.append(DavisClip(name, root, tuple(frames), labels))
    return Dataset(f"davis-{year}", split, CLASSES, clips)


def _lists(root: Path) -> Path:
    """The folder of lists; a release of 2017 holds those of 2016 too."""
    newer = root / "ImageSets" / "2017"
    return newer if newer.is_dir() else root / "ImageSets" / "480p"


def _sequences(path: Path) -> dict[str, list[str]]:
    """Sequence -> listed frames; none are listed in 2017, where a line is a name."""
    sequences: dict[str, list[str]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path}: cannot be read ({error})") from error
    for number, line in enumerate(lines, 1):
        words = line.split()
        if len(words) == 1 and "/" not in words[0]:
            sequences.setdefault(words[0], [])
        elif len(words) == 2 and words[0].count("/") >= 2:
            image = Path(words[0])
            sequences.setdefault(image.parent.name, []).append(image.stem)
        elif words:
            raise BadFile(f"{path}:{number}: expected an image and its mask, or the name of a "
                          f"sequence, got '{line.strip()}'")
    return sequences


def _objects(root: Path) -> dict[str, dict[int, str]]:
    """The objects of a VID class by sequence: from davis_semantics.json if it is in the root."""
    path = root / "davis_semantics.json"
    if not path.is_file():
        return OBJECTS
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        named = {name: {int(k): SAME.get(c, c) for k, c in objects.items()}
                 for name, objects in plain.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BadFile(f"{path}: must map a sequence to its objects, such as "
                      f'{{"horsejump-high": {{"1": "horse"}}}} ({error})') from error
    return {name: {k: c for k, c in objects.items() if c in CLASSES}
            for name, objects in named.items()}
