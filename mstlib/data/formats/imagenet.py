"""ImageNet VID and DET in the official layout (ILSVRC2015): the paper's data, Sec. IV-A and IV-C.

Data/VID/train/PACKAGE/SNIPPET/000000.JPEG has its objects in Annotations/VID/... .xml. The lists of
15 training frames a snippet and of the DET images of the 30 classes come with the public code of
FGFA and MEGA, and so does the reading of a box: xmin to ymax are taken as they stand, pixel indices
with xmax and ymax inside the object, clipped to 0..W-1 and 0..H-1. (Protocols `vid` and
`vid-devkit` add the one pixel.)
"""

import math
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import torch

from mstlib.data.clip import Clip, Target
from mstlib.data.dataset import BadFile, Dataset
from mstlib.data.frames import FileClip, clip_target, last_number

SYNSETS = {  # the <name> of each class in the XML files, in the official order
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
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ImageNetClip(FileClip):
    """A snippet of VID, or one still image of DET.

    stem: the path below Data/VID and Annotations/VID, or below Data/DET and Annotations/DET.
    """

    root: Path
    kind: str                              # VID or DET
    stem: str
    length: int
    references: tuple[int, ...] | None = None

    @property
    def name(self) -> str:
        return self.stem

    def __len__(self) -> int:
        return self.length

    def path(self, t: int) -> Path:
        return self.root / "Data" / self.kind / f"{self._frame(t)}.JPEG"

    def annotation(self, t: int) -> Path:
        """The XML file of frame t."""
        return self.root / "Annotations" / self.kind / f"{self._frame(t)}.xml"

    def annotated(self, t: int) -> Target:
        return self._read(t)[0]

    def size(self, t: int) -> tuple[int, int]:
        stated = self._read(t)[1] if self.annotation(t).is_file() else None
        return stated or super().size(t)

    def target(self, t: int) -> Target:
        """Ground truth of frame t, clipped to the last pixel; raises BadFile as `read_xml`."""
        target, size = self._read(t)
        height, width = size or super().size(t)
        return clip_target(target, (height - 1, width - 1))

    def _frame(self, t: int) -> str:
        return f"{self.stem}/{t:06d}" if self.kind == "VID" else self.stem

    def _read(self, t: int) -> tuple[Target, tuple[int, int] | None]:
        return read_xml(self.annotation(t), strict=self.kind == "VID")


# ---- one annotation ------------------------------------------------------------------------------


def read_xml(path: Path, strict: bool = True) -> tuple[Target, tuple[int, int] | None]:
    """The objects of an annotation file, not clipped, and the image's (H, W) that it states.

    strict: an object of another class than the 30 is an error, as in VID; else it is dropped, as
    DET wants it. Objects without <trackid> get id -1. BadFile names the file and the line.
    """
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        hint = "; no annotation of the test videos is published: use val"
        raise BadFile(f"{path}: cannot be read ({error.strerror})"
                      f"{hint if 'test' in path.parts else ''}") from error
    except ElementTree.ParseError as error:
        raise BadFile(f"{path}:{error.position[0]}: not whole XML ({error}); "
                      "extract it anew") from error
    rows = []
    for k, item in enumerate(root.iterfind("object")):
        try:
            row = _object(item)
            if row[0] in LABELS:
                rows.append(row)
            elif strict:
                raise ValueError(f"<name> {row[0]} is none of the 30 classes of ImageNet VID")
        except ValueError as error:
            raise BadFile(f"{path}:{_line(path, k)}: {error}") from error
    names, boxes, ids, occluded = zip(*rows, strict=True) if rows else ((),) * 4
    target = Target.of(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                       torch.tensor([LABELS[name] for name in names], dtype=torch.int64),
                       torch.tensor(ids, dtype=torch.int64), torch.tensor(occluded,
                                                                          dtype=torch.bool))
    return target, _stated_size(root)


def _object(item: ElementTree.Element) -> tuple[str, list[float], int, bool]:
    """Synset, box, track id and occlusion of an <object>; ValueError says what is wrong."""
    corners = [item.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    try:
        box = [float(text) for text in corners]
        track = int(item.findtext("trackid", "-1"))
    except (TypeError, ValueError):
        raise ValueError("<bndbox> needs the numbers xmin, ymin, xmax, ymax and <trackid> a whole "
                         f"one, got {corners} and {item.findtext('trackid')}") from None
    if not all(map(math.isfinite, box)) or box[0] > box[2] or box[1] > box[3]:
        raise ValueError(f"<bndbox> must have finite xmin <= xmax and ymin <= ymax, got {box}")
    return item.findtext("name", "").strip(), box, track, item.findtext("occluded") == "1"


def _stated_size(root: ElementTree.Element) -> tuple[int, int] | None:
    """(H, W) of the <size> element, None where it is missing or zero."""
    try:
        size = int(root.findtext("size/height", "0")), int(root.findtext("size/width", "0"))
    except ValueError:
        return None
    return size if min(size) > 0 else None


def _line(path: Path, k: int) -> int:
    """The line on which the k-th <object> begins."""
    text = path.read_text(encoding="utf-8", errors="replace")
    starts = [match.start() for match in re.finditer("<object[ >]", text)]
    return text.count("\n", 0, starts[k]) + 1 if k < len(starts) else 1


# ---- splits --------------------------------------------------------------------------------------


def vid_splits(root: Path) -> tuple[str, ...]:
    """The splits whose frames are there."""
    return tuple(s for s in SPLITS if (_home(root) / "Data" / "VID" / s).is_dir())


def det_splits(root: Path) -> tuple[str, ...]:
    """The training split, the only one that is used of DET."""
    return ("train",) if (_home(root) / "Data" / "DET" / "train").is_dir() else ()


def splits(root: Path) -> tuple[str, ...]:
    """Those of VID; of these train only if DET is there too."""
    return tuple(s for s in vid_splits(root) if s != "train" or det_splits(root))


def open_imagenet(root: Path, split: str) -> Dataset:
    """VID and DET put together for training (Sec. IV-A); VID alone for val and test."""
    clips: list[Clip] = [*open_vid(root, split)]
    if split == "train":
        clips += open_det(root, split)
    return Dataset("imagenet", split, CLASSES, clips)


def open_vid(root: Path, split: str) -> Dataset:
    """The snippets of a split. In train, references are the 15 frames a snippet of the list,
    those without an object too (DEVIATIONS.md 20).

    Without VID_train_15frames.txt every frame is a reference, with a warning.
    """
    home = _home(root)
    listed = _listed(home, split)
    there = [s for s in listed if (home / "Data" / "VID" / s[0]).is_dir()]
    if len(there) < len(listed):
        missing = next(s[0] for s in listed if s not in there)
        warnings.warn(f"{home / 'Data' / 'VID'}: {len(listed) - len(there)} of {len(listed)} "
                      f"listed {split} videos are missing and left out, {missing} first",
                      stacklevel=2)
    clips = [ImageNetClip(home, "VID", stem, length, frames) for stem, length, frames in there]
    return Dataset("imagenet-vid", split, CLASSES, clips)


def open_det(root: Path, split: str) -> Dataset:
    """The still images of the 30 classes, each a clip of one frame; ids are -1.

    BadFile if DET_train_30classes.txt is missing: the official lists name all 200 classes.
    """
    home = _home(root)
    path = _list_file(home, "DET_train_30classes.txt")
    if path is None:
        raise BadFile(f"{home / 'ImageSets'}: DET_train_30classes.txt is missing; it comes with "
                      "the public code of FGFA and MEGA")
    stems = dict.fromkeys(words[0] for _, words in _lines(path))
    return Dataset("imagenet-det", split, CLASSES,
                   [ImageNetClip(home, "DET", stem, 1) for stem in stems])


Listed = tuple[str, int, tuple[int, ...] | None]  # stem, number of frames, references


def _listed(home: Path, split: str) -> list[Listed]:
    """The snippets of a split: from the list of the parents' code, else all folders."""
    name = {"train": "VID_train_15frames.txt", "val": "VID_val_videos.txt"}.get(split, "")
    if name and (path := _list_file(home, name)):
        return _videos(path, marked=split == "train")
    if split == "train":
        warnings.warn(f"{home / 'ImageSets'}: {name} is missing, so every frame may be a "
                      "reference in training, not 15 a video as in the paper's parents",
                      stacklevel=2)
    base = home / "Data" / "VID"
    folders = sorted(p for p in (base / split).glob("*/*" if split == "train" else "*")
                     if p.is_dir())
    return [(p.relative_to(base).as_posix(), last_number(p, "{:06d}.JPEG") + 1, None)
            for p in folders]


def _videos(path: Path, marked: bool) -> list[Listed]:
    """A list of `STEM 1 FRAME LENGTH` lines: one for each training frame (`marked`), or video."""
    lengths, frames = {}, defaultdict(set)
    for number, words in _lines(path):
        if len(words) != 4 or not (words[2] + words[3]).isdecimal():
            raise BadFile(f"{path}:{number}: expected 'VIDEO 1 FRAME LENGTH', "
                          f"got '{' '.join(words)}'")
        stem, frame, length = words[0], int(words[2]), int(words[3])
        if frame >= length or lengths.setdefault(stem, length) != length:
            raise BadFile(f"{path}:{number}: frame {frame} of a video of {length} frames, or "
                          "another length than before")
        frames[stem].add(frame)
    return [(stem, length, tuple(sorted(frames[stem])) if marked else None)
            for stem, length in lengths.items()]


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, words) of each line of a list that is not empty."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if words := line.split():
                    yield number, words
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path}: cannot be read ({error})") from error


def _home(root: Path) -> Path:
    """The folder with Data, Annotations and ImageSets: the root or a folder of ILSVRC in it."""
    return next((home for name in ("ILSVRC2015", "ILSVRC") if (home := root / name).is_dir()), root)


def _list_file(home: Path, name: str) -> Path | None:
    """A list by name from where FGFA, MEGA or mmtracking put it, None if it is not there."""
    folders = ("ImageSets", f"ImageSets/{name[:3]}", "Lists")
    return next((p for folder in folders if (p := home / folder / name).is_file()), None)
