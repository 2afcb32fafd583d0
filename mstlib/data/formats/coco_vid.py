"""COCO-VID: one JSON file a split, the COCO format with `videos`, as mmtracking writes it.

For custom data, and for every data set that somebody has converted to it already; not part of the
paper. `coco_json.py` says what an entry must be. The file is parsed once, when a split is opened.
"""

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray as Array

from mstlib.config import MSTError
from mstlib.data.clip import Target
from mstlib.data.dataset import BadFile, Dataset, Fault
from mstlib.data.formats.coco_json import images_by_clip, labels_of, load, wrong_annotation
from mstlib.data.formats.lists import missing_frames
from mstlib.data.frames import FileClip

SPLITS = ("train", "val", "test")
IMAGES = (".", "{split}", "data", "data/{split}", "images", "Data/VID", "Data/DET")


@dataclass(frozen=True)
class CocoClip(FileClip):
    """A video of a COCO-VID file. The rows of frame t are starts[t] to starts[t + 1]."""

    name: str
    source: Path                 # the JSON file
    folder: Path                 # of the images
    files: tuple[str, ...]
    sizes: Array                 # (T, 2) height and width, 0 where the file does not say
    starts: Array                # (T + 1,)
    rows: dict[str, Array]       # box (N, 4) xyxy, label, id, occluded, ignored, entry
    references: tuple[int, ...] | None = None
    damaged: dict[int, tuple[str, ...]] = field(default_factory=dict)  # frame -> what is wrong

    def __len__(self) -> int:
        return len(self.files)

    def path(self, t: int) -> Path:
        return self.folder / self.files[t]

    def where(self, t: int, k: int | None = None) -> str:
        if k is None:
            return str(self.path(t))
        here = slice(self.starts[t], self.starts[t + 1])
        entries = self.rows["entry"][here][~self.rows["ignored"][here]]
        return f"{self.source}: annotations[{entries[k]}]"

    def stated(self, t: int) -> tuple[int, int] | None:
        height, width = self.sizes[t].tolist()
        return (height, width) if height and width else None

    def annotated(self, t: int) -> Target:
        if t in self.damaged:
            raise BadFile(*self.damaged[t])
        now = {name: torch.from_numpy(column[self.starts[t] : self.starts[t + 1]])
               for name, column in self.rows.items()}
        here, away = ~now["ignored"], now["ignored"]
        return Target.of(now["box"][here], now["label"][here], now["id"][here],
                         now["occluded"][here], now["box"][away])


def splits(root: Path) -> tuple[str, ...]:
    """The splits that a folder has a JSON file for; all if `root` is such a file itself."""
    return tuple(split for split in SPLITS if json_files(root, split))


def json_files(root: Path, split: str) -> list[Path]:
    """The annotation file of a split: annotations/SPLIT.json, else all annotations/*_SPLIT.json."""
    if root.is_file():
        return [root] if root.suffix == ".json" else []
    plain = root / "annotations" / f"{split}.json"
    return [plain] if plain.is_file() else sorted(plain.parent.glob(f"*_{split}.json"))


def open_coco_vid(root: Path, split: str) -> Dataset:
    """The clips of a COCO-VID file; images without a video are one-frame clips.

    BadFile naming file and entry if the JSON is cut short, or if videos, images or categories are
    not what they should be. A frame with a wrong annotation cannot be read, and is a fault.
    """
    path, *others = json_files(root, split)
    if others:
        raise MSTError(f"{root}: which is the {split} split, {path.name} or {others[0].name}? "
                       "Give the JSON file itself")
    data = load(path)
    labels, classes = labels_of(path, data["categories"])
    clips = images_by_clip(path, data)
    if not data["annotations"]:
        warnings.warn(f"{path}: has no annotation, so every image shows nothing", stacklevel=2)
    order = [image for _, images in clips for image in images]
    place = {image["id"]: n for n, image in enumerate(order)}
    folder = _image_folder(path, root, split, [image["file_name"] for image in order])
    faults, damaged = _damage(path, data["annotations"], place, labels)
    rows = _rows(data["annotations"], place, labels)
    made, first = [], 0
    for name, images in clips:
        made.append(_clip(name, path, folder, images, rows, first, damaged))
        first += len(images)
    faults += missing_frames((f"{path}: images[{k}]", str(folder / image["file_name"]))
                             for k, image in enumerate(data["images"]))
    return Dataset("coco-vid", split, classes, made, tuple(faults))


def _damage(path: Path, entries: list, place: dict, labels: dict
            ) -> tuple[list[Fault], dict[int, tuple[str, ...]]]:
    """A fault for each wrong annotation, which is taken out of the list; what is wrong by image."""
    faults, damaged = [], {}
    for k, entry in enumerate(entries):
        if wrong := wrong_annotation(entry, place, labels):
            line = f"{path}: annotations[{k}]: {wrong.line}"
            faults.append(Fault(wrong.kind, line))
            entries[k] = None
            image = entry.get("image_id") if isinstance(entry, dict) else None
            if isinstance(image, int | str) and image in place:
                damaged[place[image]] = (*damaged.get(place[image], ()), line)
    return faults, damaged


def _rows(entries: list[dict | None], place: dict, labels: dict) -> dict[str, Array]:
    """All annotations as columns, by image: what `CocoClip.rows` has, and image (its place)."""
    kept = [(k, entry) for k, entry in enumerate(entries) if entry is not None]
    tracks = [-1 if (i := entry.get("instance_id")) is None else i for _, entry in kept]
    flags = {name: np.array([(entry.get(name) or 0) > 0 for _, entry in kept], dtype=bool)
             for name in ("iscrowd", "ignore", "occluded")}
    image = np.array([place[entry["image_id"]] for _, entry in kept], dtype=np.int64)
    boxes = np.array([entry["bbox"] for _, entry in kept], dtype=np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    columns = {"image": image, "box": boxes.astype(np.float32),
               "label": np.array([labels[e["category_id"]] for _, e in kept], dtype=np.int64),
               "id": np.array(tracks, dtype=np.int64), "occluded": flags["occluded"],
               "ignored": flags["iscrowd"] | flags["ignore"],
               "entry": np.array([k for k, _ in kept], dtype=np.int64)}
    order = np.argsort(image, kind="stable")
    return {name: column[order] for name, column in columns.items()}


def _image_folder(path: Path, root: Path, split: str, names: list[str]) -> Path:
    """The folder that file_name is relative to; BadFile naming the tried ones if none fits."""
    base = root if root.is_dir() else path.parent
    base = base.parent if root.is_file() and base.name == "annotations" else base
    tried = [base / where.format(split=split) for where in IMAGES]
    for folder in tried:
        if any((folder / name).is_file() for name in names):  # the first, unless it is missing
            return folder
    raise BadFile(f"{path}: none of its {len(names)} images is there, such as "
                  f"{', '.join(str(folder / name) for folder in tried for name in names[:1])}")


def _clip(name: str, path: Path, folder: Path, images: list[dict], rows: dict[str, Array],
          first: int, damaged: dict[int, tuple[str, ...]]) -> CocoClip:
    """The clip of images number `first` and on."""
    starts = np.searchsorted(rows["image"], np.arange(first, first + len(images) + 1))
    here = slice(starts[0], starts[-1])
    mine = {k: column[here] for k, column in rows.items() if k != "image"}
    marked = tuple(t for t, image in enumerate(images) if image.get("is_vid_train_frame"))
    sizes = np.array([(image.get("height") or 0, image.get("width") or 0) for image in images])
    bad = {t: damaged[first + t] for t in range(len(images)) if first + t in damaged}
    return CocoClip(name, path, folder, tuple(image["file_name"] for image in images), sizes,
                    starts - starts[0], mine, marked or None, bad)
