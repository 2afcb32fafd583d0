"""UAVDT in the official layout: vehicles from a drone, the paper's second data set (Sec. IV-A).

Images UAV-benchmark-M/M0101/img000001.jpg, annotations M0101_gt_whole.txt (objects, a line each:
frame, id, x, y, w, h, out-of-view, occlusion, class) and M0101_gt_ignore.txt (regions, the same
columns) in UAV-benchmark-MOTD_v1.0/GT. Out-of-view is 1 none, 2 medium, 3 small; occlusion 1 none,
2 large, 3 medium, 4 small; class 1 car, 2 truck, 3 bus. The benchmark scores vehicles as one class:
that is a matter of evaluation, the clips keep the three.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from mstlib.data.clip import Target
from mstlib.data.dataset import BadFile, Dataset, Fault
from mstlib.data.formats.lists import NO_VIDEO, numbered_lines
from mstlib.data.frames import FARTHEST, FileClip
from mstlib.data.images import last_number

CLASSES = ("car", "truck", "bus")
OCCLUDED = torch.tensor([2.0, 3.0], dtype=torch.float64)  # large and medium: 30 % and more hidden
NONE = torch.zeros(0, 10, dtype=torch.float64)
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

    def where(self, t: int, k: int | None = None) -> str:
        if k is None:
            return str(self.path(t))
        return f"{self._file('whole')}:{int(self._rows('whole')[t][k, 9])}"

    def annotated(self, t: int) -> Target:
        objects = self._rows("whole").get(t, NONE)
        there = self._file("ignore").exists()
        regions = (self._rows("ignore") if there else {}).get(t, NONE)
        return Target.of(_xyxy(objects), objects[:, 8].long(), objects[:, 1].long(),
                         torch.isin(objects[:, 7], OCCLUDED), _xyxy(regions))

    def _file(self, kind: str) -> Path:
        return self.truth / f"{self.name}_gt_{kind}.txt"

    def _rows(self, kind: str) -> dict[int, Tensor]:
        path = self._file(kind)
        changed = path.stat().st_mtime_ns if path.is_file() else 0
        return read_rows(path, len(self), kind == "whole", changed)


def _xyxy(rows: Tensor) -> Tensor:
    """Boxes (N, 4) float32 from the columns x, y, w, h."""
    return torch.cat([rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], dim=1).float()


@lru_cache(maxsize=128)  # both files of all sequences of a split, once in a process
def read_rows(path: Path, length: int, objects: bool, changed: int = 0) -> dict[int, Tensor]:
    """The rows of an annotation file by frame, from 0: (N, 10), the nine columns and the line.

    length: of the sequence. objects: the file of objects; else that of ignored regions, which have
    no class. changed: when the file was; another time, another file to the cache. BadFile names the
    file and each line that is not nine finite numbers, or where frame, id, class or a flag is not
    what it can be, or a box has no area.
    """
    rows: dict[int, list[list[float]]] = {}
    faults = []
    for number, line in numbered_lines(path):
        try:
            row = _row(line, length, objects)
            rows.setdefault(int(row[0]) - 1, []).append([*row, number])
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}, got '{line}'")
    if objects and not rows and not faults:
        faults.append(f"{path}: holds no row; extract it anew")
    if faults:
        raise BadFile(*faults)
    return {t: torch.tensor(rows[t], dtype=torch.float64) for t in rows}


def _row(line: str, length: int, objects: bool) -> list[float]:
    """The numbers of a line; ValueError says what is wrong with them."""
    words = line.rstrip(", ").split(",")
    if len(words) != 9:
        raise ValueError(f"expected 9 columns {COLUMNS}, not {len(words)}")
    try:
        row = [float(word) for word in words]
    except ValueError:
        raise ValueError(f"expected numbers, 9 columns {COLUMNS}") from None
    if not all(map(math.isfinite, row)) or max(map(abs, row[2:6])) > FARTHEST:
        raise ValueError("numbers must be finite and boxes in pixels")
    if row[0] % 1 or row[1] % 1 or row[0] < 1:
        raise ValueError("frame and id must be whole, and frames count from 1")
    if min(row[4:6]) <= 0:
        raise ValueError("a box needs a positive width and height")
    if objects:
        _check_object(row, length)
    return row


def _check_object(row: list[float], length: int) -> None:
    """ValueError unless frame, flags and class of an object are what they can be."""
    if row[0] > length:
        raise ValueError(f"there are {length} images only")
    if row[6] not in (1, 2, 3) or row[7] not in (1, 2, 3, 4):
        raise ValueError("out-of-view must be 1 to 3 and occlusion 1 to 4")
    if row[8] not in (1, 2, 3):
        raise ValueError("class must be 1 (car), 2 (truck) or 3 (bus)")


# ---- splits --------------------------------------------------------------------------------------


def splits(root: Path) -> tuple[str, ...]:
    """The official two, if images and annotations are there."""
    return ("train", "test") if _images(root).is_dir() and _truth(root).is_dir() else ()


def open_uavdt(root: Path, split: str) -> Dataset:
    """The sequences of a split, by M_attr/SPLIT where that is there, else by the official list.

    The release writes one of the names with a blank: `M0701 _attr.txt`.
    """
    attributes = sorted((root / "M_attr" / split).glob("M*_attr.txt"))
    names = {p.name.removesuffix("_attr.txt").strip(): str(p) for p in attributes} or dict.fromkeys(
        {"train": TRAIN, "test": TEST}[split], f"the official {split} list")
    clips, faults = [], []
    for name, where in names.items():
        folder = _images(root) / name
        try:
            clips.append(UavdtClip(name, folder, _truth(root), last_number(folder, IMAGE)))
        except BadFile as error:
            faults.append(Fault(NO_VIDEO, f"{where}: {error}"))
    return Dataset("uavdt", split, CLASSES, clips, tuple(faults))


def _images(root: Path) -> Path:
    return root / "UAV-benchmark-M"


def _truth(root: Path) -> Path:
    """The folder of annotations: of the toolkit's archive, or GT beside the images."""
    toolkit = root / "UAV-benchmark-MOTD_v1.0" / "GT"
    return toolkit if toolkit.is_dir() else root / "GT"
