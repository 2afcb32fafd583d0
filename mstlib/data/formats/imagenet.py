"""ImageNet VID and DET in the official layout (ILSVRC2015): the paper's data, Sec. IV-A and IV-C.

Data/VID/train/PACKAGE/SNIPPET/000000.JPEG has its objects in Annotations/VID/... .xml, which
`imagenet_xml.py` reads; `imagenet_lists.py` tells what belongs to a split. Boxes are clipped to
0..W-1 and 0..H-1, as FGFA and MEGA do: xmax and ymax are the last pixels of an object. (Protocols
`vid` and `vid-devkit` add the one pixel.)
"""

from dataclasses import dataclass
from pathlib import Path

from mstlib.data.clip import Target
from mstlib.data.dataset import BadFile, Dataset
from mstlib.data.formats.imagenet_lists import FRAME, images_of, videos_of
from mstlib.data.formats.imagenet_xml import CLASSES, Annotation, object_line, read_xml
from mstlib.data.frames import FileClip, clip_target
from mstlib.data.images import image_size

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
        file = f"{self.stem}/{FRAME.format(t)}" if self.kind == "VID" else f"{self.stem}.JPEG"
        return self.root / "Data" / self.kind / file

    def annotation(self, t: int) -> Path:
        """The XML file of frame t."""
        below = self.path(t).relative_to(self.root / "Data").with_suffix(".xml")
        return self.root / "Annotations" / below

    def read(self, t: int) -> Annotation:
        """All that the XML file of frame t says; in VID another class is an error."""
        return read_xml(self.annotation(t), strict=self.kind == "VID")

    def annotated(self, t: int) -> Target:
        return self.read(t).target

    def where(self, t: int, k: int | None = None) -> str:
        path = self.annotation(t)
        return str(path) if k is None else f"{path}:{object_line(path, self.read(t).order[k])}"

    def stated(self, t: int) -> tuple[int, int] | None:
        """(H, W) of the XML file, None where it has none or cannot be read."""
        try:
            return self.read(t).size
        except BadFile:
            return None

    def generated(self, t: int) -> int:
        return int(self.read(t).generated.sum())

    def target(self, t: int) -> Target:
        """Ground truth of frame t, clipped to the last pixel; raises BadFile as `read_xml`."""
        found = self.read(t)
        height, width = found.size or image_size(self.path(t))
        target = self.inside(t, found.target, (height, width))
        return clip_target(target, (height - 1, width - 1))


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
    parts = [open_vid(root, split), *([open_det(root, split)] if split == "train" else [])]
    return Dataset("imagenet", split, CLASSES, [clip for part in parts for clip in part],
                   tuple(fault for part in parts for fault in part.faults))


def open_vid(root: Path, split: str) -> Dataset:
    """The snippets of a split. In train, references are the 15 frames a snippet of the list,
    those without an object too (DEVIATIONS.md 20).

    Without VID_train_15frames.txt every frame is a reference, with a warning.
    """
    home = _home(root)
    videos, faults = videos_of(home, split)
    clips = [ImageNetClip(home, "VID", *video) for video in videos]
    return Dataset("imagenet-vid", split, CLASSES, clips, tuple(faults))


def open_det(root: Path, split: str) -> Dataset:
    """The still images of the 30 classes, each a clip of one frame; ids are -1.

    BadFile if DET_train_30classes.txt is missing: the official lists name all 200 classes.
    """
    home = _home(root)
    stems, faults = images_of(home)
    clips = [ImageNetClip(home, "DET", stem, 1) for stem in stems]
    return Dataset("imagenet-det", split, CLASSES, clips, tuple(faults))


def _home(root: Path) -> Path:
    """The folder with Data, Annotations and ImageSets: the root or a folder of ILSVRC in it."""
    return next((home for name in ("ILSVRC2015", "ILSVRC") if (home := root / name).is_dir()), root)
