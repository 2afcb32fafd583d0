"""UAVDT in the official layout: vehicles from a drone, the paper's second data set (Sec. IV-A).

Images UAV-benchmark-M/M0101/img000001.jpg, annotations M0101_gt_whole.txt (objects, a line each:
frame, id, x, y, w, h, out-of-view, occlusion, class) and M0101_gt_ignore.txt (regions, the same
columns) in UAV-benchmark-MOTD_v1.0/GT. Occlusion is 1 none, 2 large, 3 medium, 4 small; class is
1 car, 2 truck, 3 bus. The benchmark scores vehicles as one class: that is a matter of evaluation,
the clips keep the three.
"""

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from mstlib.data.clip import Target
from mstlib.data.dataset import BadFile, Dataset
from mstlib.data.frames import FileClip, last_number

CLASSES = ("car", "truck", "bus")
OCCLUDED = torch.tensor([2.0, 3.0], dtype=torch.float64)  # large and medium: 30 % and more hidden
NONE = torch.zeros(0, 9, dtype=torch.float64)
IMAGE = "img{:06d}.jpg"  # from 1
COLUMNS = "frame,id,x,y,w,h,out-of-view,occlusion,class"
# The official split, 30 and 20 sequences: what M_attr/train and M_attr/test of the release hold.
TRAIN = (
    "M0101", "M0201", "M0202", "M0204", "M0206", "M0207", "M0210", "M0301", "M0401", "M0402",
    "M0501", "M0603", "M0604", "M0605", "M0702", "M0703", "M0704", "M0901", "M0902", "M1002",
    "M1003", "M1005", "M1006", "M1008", "M1102", "M1201", "M1202", "M1304", "M1305", "M1306",
)
TEST = (
    "M0203", "M0205", "M0208", "M0209", "M0403", "M0601", "M0602", "M0606", "M0701", "M0801",
    "M0802", "M1001", "M1004", "M1007", "M1009", "M1101", "M1301", "M1302", "M1303", "M1401",
)


@dataclass(frozen=True)
class UavdtClip(FileClip):
    """A sequence; its two annotation files are read when the first target is asked for."""

    name: str
    folder: Path             # images
    truth: Path              # folder GT
    length: int

    def __len__(self) -> int:
        return self.length

    def path(self, t: int) -> Path:
        return self.folder / IMAGE.format(t + 1)

    def annotated(self, t: int) -> Target:
        objects, regions = (
            read_rows(self.truth / f"{self.name}_gt_{kind}.txt", len(self), kind == "whole")
            for kind in ("whole", "ignore"))
        objects, regions = objects.get(t, NONE), regions.get(t, NONE)
        occluded = torch.isin(objects[:, 7], OCCLUDED)
        return Target.of(_xyxy(objects), objects[:, 8].long(), objects[:, 1].long(), occluded,
                         _xyxy(regions))


def _xyxy(rows: Tensor) -> Tensor:
    """Boxes (N, 4) float32 from the columns x, y, w, h."""
    return torch.cat([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], dim=1).float()


@lru_cache(maxsize=128)  # both files of all sequences of a split, once in a process
def read_rows(path: Path, length: int, objects: bool) -> dict[int, Tensor]:
    """The rows (N, 9) of an annotation file by frame, from 0, of a sequence of `length` frames.

    objects: the file of objects; else that of ignored regions, which may be missing and has no
    classes and may be empty. BadFile names file and line where there are not nine finite numbers,
    a box has no area, or frame, id or class is not what it can be.
    """
    if not objects and not path.exists():
        return {}
    rows: dict[int, list[list[float]]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path}: cannot be read ({error})") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = _row(line, length, objects)
            except ValueError as error:
                raise BadFile(f"{path}:{number}: {error}, got '{line.strip()}'") from error
            rows.setdefault(int(row[0]) - 1, []).append(row)
    return {t: torch.tensor(rows[t], dtype=torch.float64) for t in rows}


def _row(line: str, length: int, objects: bool) -> list[float]:
    """The numbers of a line; ValueError says what is wrong with them."""
    words = line.rstrip(", \t").split(",")
    if len(words) != 9:
        raise ValueError(f"expected 9 columns {COLUMNS}, not {len(words)}")
    try:
        row = [float(word) for word in words]
    except ValueError:
        raise ValueError(f"expected numbers, 9 columns {COLUMNS}") from None
    if not all(map(math.isfinite, row)) or row[0] % 1 or row[1] % 1 or row[0] < 1:
        raise ValueError("numbers must be finite, frame and id whole, and frames count from 1")
    if objects and row[0] > length:
        raise ValueError(f"there are {length} images only")
    if objects and min(row[4:6]) <= 0:
        raise ValueError("a box needs a positive width and height")
    if objects and row[8] not in (1, 2, 3):
        raise ValueError("class must be 1 (car), 2 (truck) or 3 (bus)")
    return row


# ---- splits --------------------------------------------------------------------------------------


def splits(root: Path) -> tuple[str, ...]:
    """The official two, if images and annotations are there."""
    return ("train", "test") if _images(root).is_dir() and _truth(root).is_dir() else ()


def open_uavdt(root: Path, split: str) -> Dataset:
    """The sequences of a split, by M_attr/SPLIT where that is there, else by the official list.

    Listed sequences that are not on disk are left out, with one warning that counts them.
    """
    attributes = sorted((root / "M_attr" / split).glob("M*_attr.txt"))
    names = [p.name.removesuffix("_attr.txt") for p in attributes] or {
        "train": TRAIN, "test": TEST}[split]
    there = [name for name in names if (_images(root) / name).is_dir()]
    if len(there) < len(names):
        missing = next(name for name in names if name not in there)
        warnings.warn(f"{_images(root)}: {len(names) - len(there)} of {len(names)} {split} "
                      f"sequences are missing and left out, {missing} first", stacklevel=2)
    folders = {name: _images(root) / name for name in there}
    clips = [UavdtClip(name, folder, _truth(root), last_number(folder, IMAGE))
             for name, folder in folders.items()]
    return Dataset("uavdt", split, CLASSES, clips)


def _images(root: Path) -> Path:
    return root / "UAV-benchmark-M"


def _truth(root: Path) -> Path:
    """The folder of annotations: of the toolkit's archive, or GT beside the images."""
    toolkit = root / "UAV-benchmark-MOTD_v1.0" / "GT"
    return toolkit if toolkit.is_dir() else root / "GT"
