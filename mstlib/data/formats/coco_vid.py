"""COCO-VID: one JSON file a split, the COCO format with `videos`, as mmtracking writes it.

For custom data, and for every data set that somebody has converted to it already. Top level:
`videos` (id, name), `images` (id, video_id, frame_id from 0, file_name, height, width),
`annotations` (id, image_id, category_id, instance_id, bbox x y w h, iscrowd, ignore, occluded) and
`categories` (id, name). The file is parsed once, when the split is opened.
"""

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray as Array

from mstlib.config import MSTError
from mstlib.data.clip import Target
from mstlib.data.dataset import BadFile, Dataset
from mstlib.data.frames import FileClip

SPLITS = ("train", "val", "test")
FIELDS = {  # of each list: field -> its types, with None where the field may be missing
    "videos": {"id": int | str, "name": str | None},
    "images": {"id": int | str, "file_name": str, "video_id": int | str | None,
               "frame_id": int | None, "height": int | None, "width": int | None},
    "annotations": {"id": int | str, "image_id": int | str, "category_id": int | str, "bbox": list,
                    "instance_id": int | None},
    "categories": {"id": int, "name": str},
}
IMAGES = (".", "{split}", "data", "data/{split}", "images", "Data/VID")  # where frames may lie


@dataclass(frozen=True)
class CocoClip(FileClip):
    """A video of a COCO-VID file. The rows of frame t are starts[t] to starts[t + 1]."""

    name: str
    folder: Path
    files: tuple[str, ...]
    sizes: Array                 # (T, 2) height and width, 0 where the file does not say
    starts: Array                # (T + 1,)
    rows: dict[str, Array]       # box (N, 4) xyxy, label, id, occluded, ignored
    references: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.files)

    def path(self, t: int) -> Path:
        return self.folder / self.files[t]

    def size(self, t: int) -> tuple[int, int]:
        height, width = self.sizes[t].tolist()
        return (height, width) if height and width else super().size(t)

    def annotated(self, t: int) -> Target:
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

    Raises BadFile naming the file and the entry if the JSON is cut short or an entry does not fit.
    """
    path, *others = json_files(root, split)
    if others:
        raise MSTError(f"{root}: which is the {split} split, {path.name} or {others[0].name}? "
                       "Give the JSON file itself")
    data = _load(path)
    labels, classes = _categories(path, data["categories"])
    clips = _images_by_clip(path, data)
    order = [image for _, images in clips for image in images]
    rows = _rows(path, data["annotations"], {i["id"]: k for k, i in enumerate(order)}, labels)
    folder = _image_folder(path, root, split, [image["file_name"] for image in order])
    made, first = [], 0
    for name, images in clips:
        made.append(_clip(name, folder, images, rows, first))
        first += len(images)
    return Dataset("coco-vid", split, classes, made)


def _load(path: Path) -> dict:
    """The JSON file with its four lists (`videos` may be missing); BadFile if it is not that."""
    try:
        data = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise BadFile(f"{path}:{error.lineno}: not whole JSON ({error.msg}, column {error.colno}); "
                      "write or copy it anew") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path}: cannot be read ({error})") from error
    if not isinstance(data, dict):
        raise BadFile(f"{path}: COCO-VID is a JSON object, this is a {type(data).__name__}")
    data.setdefault("videos", [])
    for kind, fields in FIELDS.items():
        if not isinstance(data.get(kind), list):
            raise BadFile(f"{path}: has no list '{kind}'")
        _check(path, kind, data[kind], fields)
    return data


def _check(path: Path, kind: str, entries: list, fields: dict[str, object]) -> None:
    """BadFile naming the first entry of a list that has not the fields it should have."""
    try:
        if all(isinstance(e.get(name), types) for name, types in fields.items() for e in entries):
            return
    except AttributeError:
        pass  # an entry is no object: found below
    k = next(k for k, e in enumerate(entries) if not isinstance(e, dict)
             or not all(isinstance(e.get(name), types) for name, types in fields.items()))
    needs = ", ".join(f"{name} ({getattr(types, '__name__', types)})"
                      for name, types in fields.items())
    raise BadFile(f"{path}: {kind}[{k}] must have {needs}; got {repr(entries[k])[:100]}")


def _categories(path: Path, categories: list[dict]) -> tuple[dict[int, int], tuple[str, ...]]:
    """Category id -> label, and class names: categories in the order of their ids."""
    ordered = sorted(categories, key=lambda category: category["id"])
    labels = {category["id"]: k for k, category in enumerate(ordered, 1)}
    if len(labels) < len(ordered) or not ordered:
        raise BadFile(f"{path}: categories need ids of their own, got {[c['id'] for c in ordered]}")
    return labels, tuple(str(category["name"]) for category in ordered)


def _images_by_clip(path: Path, data: dict) -> list[tuple[str, list[dict]]]:
    """(name, images in order) of each clip; a frame number or image id may come once only."""
    names = {video["id"]: video.get("name") or str(video["id"]) for video in data["videos"]}
    clips, seen = defaultdict(list), set()
    for image in data["images"]:
        video = image.get("video_id")
        if image["id"] in seen:
            raise BadFile(f"{path}: image {image['id']} is there twice")
        if video is not None and video not in names:
            raise BadFile(f"{path}: image {image['id']} is of video {video}, which is not listed")
        seen.add(image["id"])
        clips[("image", image["id"]) if video is None else ("video", video)].append(image)
    return [(names[key] if kind == "video" else images[0]["file_name"], _in_order(path, images))
            for (kind, key), images in clips.items()]


def _in_order(path: Path, images: list[dict]) -> list[dict]:
    """The images of a video by frame_id, in the order of the file where they have none."""
    numbers = [k if (n := image.get("frame_id")) is None else n for k, image in enumerate(images)]
    if len(set(numbers)) < len(numbers):
        again = next(n for k, n in enumerate(numbers) if n in numbers[:k])
        raise BadFile(f"{path}: video {images[0].get('video_id')} has frame_id {again} twice")
    return [images[k] for k in sorted(range(len(images)), key=numbers.__getitem__)]


def _rows(path: Path, entries: list[dict], place: dict[int, int], labels: dict[int, int]
          ) -> dict[str, Array]:
    """All annotations as columns, by image: what `CocoClip.rows` has, and image (its place)."""
    for entry in entries:
        if entry["image_id"] not in place:
            raise _bad(path, entry, f"image {entry['image_id']} is not listed")
        if entry["category_id"] not in labels:
            raise _bad(path, entry, f"category {entry['category_id']} is not listed")
    tracks = [-1 if (i := entry.get("instance_id")) is None else i for entry in entries]
    flags = {name: np.array([bool(entry.get(name)) for entry in entries], dtype=bool)
             for name in ("iscrowd", "ignore", "occluded")}
    image = np.array([place[entry["image_id"]] for entry in entries], dtype=np.int64)
    label = np.array([labels[entry["category_id"]] for entry in entries], dtype=np.int64)
    columns = {"image": image, "box": _boxes(path, entries), "label": label,
               "id": np.array(tracks, dtype=np.int64), "occluded": flags["occluded"],
               "ignored": flags["iscrowd"] | flags["ignore"]}
    order = np.argsort(image, kind="stable")
    return {name: column[order] for name, column in columns.items()}


def _boxes(path: Path, entries: list[dict]) -> Array:
    """(N, 4) float32 xyxy; BadFile at a box that is not four finite numbers with an area."""
    try:
        boxes = np.array([entry["bbox"] for entry in entries] or np.zeros((0, 4)), dtype=np.float64)
        if boxes.shape != (len(entries), 4):
            raise ValueError(boxes.shape)
        bad = ~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] <= 0).any(axis=1)
    except (TypeError, ValueError, OverflowError):
        bad = np.array([not _is_box(entry["bbox"]) for entry in entries])
    if bad.any():
        wrong = entries[int(bad.argmax())]
        raise _bad(path, wrong, "bbox must be x, y and a positive width and height, "
                                f"got {wrong['bbox']!r}")
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1).astype(np.float32)


def _is_box(bbox: list) -> bool:
    return len(bbox) == 4 and all(isinstance(v, int | float) and abs(v) < 1e9 for v in bbox)


def _bad(path: Path, entry: dict, what: str) -> BadFile:
    return BadFile(f"{path}: annotation {entry['id']}: {what}")


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


def _clip(name: str, folder: Path, images: list[dict], rows: dict[str, Array], first: int
          ) -> CocoClip:
    """The clip of images number `first` and on."""
    starts = np.searchsorted(rows["image"], np.arange(first, first + len(images) + 1))
    here = slice(starts[0], starts[-1])
    mine = {k: column[here] for k, column in rows.items() if k != "image"}
    marked = tuple(t for t, image in enumerate(images) if image.get("is_vid_train_frame"))
    sizes = np.array([(image.get("height") or 0, image.get("width") or 0) for image in images])
    return CocoClip(name, folder, tuple(image["file_name"] for image in images), sizes,
                    starts - starts[0], mine, marked or None)
