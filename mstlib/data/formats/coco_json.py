"""The JSON file of COCO-VID: reading it, and naming every entry that is not what it should be.

Top level: `videos` (id, name), `images` (id, video_id, frame_id from 0, file_name, height, width),
`annotations` (id, image_id, category_id, instance_id, bbox x y w h, iscrowd, ignore, occluded) and
`categories` (id, name), as mmtracking writes it.
"""

import json
import math
from collections import defaultdict
from pathlib import Path

from mstlib.data.dataset import BadFile, Fault
from mstlib.data.frames import FARTHEST, wrong_box

FIELDS = {  # of each list: field -> its types, with None where the field may be missing
    "videos": {"id": int | str, "name": str | None},
    "images": {"id": int | str, "file_name": str, "video_id": int | str | None,
               "frame_id": int | None, "height": int | None, "width": int | None},
    "annotations": {"id": int | str, "image_id": int | str, "category_id": int | str, "bbox": list,
                    "instance_id": int | None, "iscrowd": int | None, "ignore": int | None,
                    "occluded": int | None},
    "categories": {"id": int, "name": str},
}
INCOMPLETE, NO_IMAGE, NO_CLASS = (
    "annotation that is incomplete", "annotation of a missing image", "unknown class")
HIGHEST_ID = 2**62


def load(path: Path) -> dict:
    """The JSON file with its four lists (`videos` may be missing); BadFile if it is not that.

    Annotations are not looked at yet.
    """
    try:
        data = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise BadFile(f"{path}:{error.lineno}: not whole JSON ({error.msg}, column {error.colno}); "
                      "write or copy it anew") from error
    except OSError as error:
        raise BadFile(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise BadFile(f"{path}: not a JSON file of COCO-VID ({error})") from error
    if not isinstance(data, dict):
        raise BadFile(f"{path}: COCO-VID is a JSON object, this is a {type(data).__name__}")
    data.setdefault("videos", [])
    for kind, fields in FIELDS.items():
        if not isinstance(data.get(kind), list):
            raise BadFile(f"{path}: has no list '{kind}'")
        if kind in ("images", "categories") and not data[kind]:
            raise BadFile(f"{path}: its list '{kind}' is empty")
        if kind != "annotations":
            _check(path, kind, data[kind], fields)
    return data


def _check(path: Path, kind: str, entries: list, fields: dict[str, object]) -> None:
    """BadFile naming each entry of a list that has not the fields it should have, or has the id of
    another."""
    faults, seen = [], set()
    for k, entry in enumerate(entries):
        if wrong := _wrong_field(entry, fields):
            faults.append(f"{path}: {kind}[{k}]: {wrong}")
        elif entry["id"] in seen:
            faults.append(f"{path}: {kind}[{k}]: id {entry['id']} is there twice")
        else:
            seen.add(entry["id"])
    if faults:
        raise BadFile(*faults)


def _wrong_field(entry: object, fields: dict[str, object]) -> str:
    """The first field that is missing or of another type; nothing: an empty text."""
    if not isinstance(entry, dict):
        return f"must be a JSON object, got {repr(entry)[:60]}"
    for name, types in fields.items():
        if not isinstance(entry.get(name), types):
            needed = getattr(types, "__name__", str(types)).replace(" | None", " or nothing")
            return f"{name} must be {needed}, got {repr(entry.get(name))[:60]}"
    return ""


# ---- lists ---------------------------------------------------------------------------------------


def labels_of(path: Path, categories: list[dict]) -> tuple[dict[int, int], tuple[str, ...]]:
    """Category id -> label, and class names: categories in the order of their ids."""
    ordered = sorted(categories, key=lambda category: category["id"])
    names = tuple(category["name"].strip() for category in ordered)
    if not all(names) or len(set(names)) < len(names) or not names:
        raise BadFile(f"{path}: categories need names, each its own, got {', '.join(names)}")
    return {category["id"]: k for k, category in enumerate(ordered, 1)}, names


def images_by_clip(path: Path, data: dict) -> list[tuple[str, list[dict]]]:
    """(name, images in order) of each clip; an image without a video is a clip of its own.

    BadFile if a video is not listed, or if its images are not in one clear order.
    """
    names = {video["id"]: video.get("name") or str(video["id"]) for video in data["videos"]}
    clips = defaultdict(list)
    for k, image in enumerate(data["images"]):
        video = image.get("video_id")
        still = video is None or video == -1 and video not in names  # -1: written so for DET
        if not still and video not in names:
            raise BadFile(f"{path}: images[{k}]: is of video {video}, which is not listed")
        if min(image.get("height") or 0, image.get("width") or 0) < 0:
            raise BadFile(f"{path}: images[{k}]: height and width must not be negative")
        clips[("image", image["id"]) if still else ("video", video)].append(image)
    return [(names[key] if kind == "video" else images[0]["file_name"], _in_order(path, images))
            for (kind, key), images in clips.items()]


def _in_order(path: Path, images: list[dict]) -> list[dict]:
    """The images of a video by frame_id, in the order of the file where none of them has one."""
    numbers = [image.get("frame_id") for image in images]
    if len(images) == 1 or set(numbers) == {None}:
        return images
    video = f"{path}: video {images[0]['video_id']}"
    if None in numbers:
        raise BadFile(f"{video}: has images with a frame_id and images without")
    if len(set(numbers)) < len(numbers):
        again = next(n for k, n in enumerate(numbers) if n in numbers[:k])
        raise BadFile(f"{video}: has frame_id {again} twice")
    return sorted(images, key=lambda image: image["frame_id"])


def wrong_annotation(entry: object, images: dict, labels: dict) -> Fault | None:
    """What is wrong with an annotation of listed images and categories, None if nothing is."""
    if wrong := _wrong_field(entry, FIELDS["annotations"]):
        return Fault(INCOMPLETE, wrong)
    if abs(entry.get("instance_id") or 0) > HIGHEST_ID:
        return Fault(INCOMPLETE, f"instance_id {entry['instance_id']} is too large")
    if entry["image_id"] not in images:
        return Fault(NO_IMAGE, f"image {entry['image_id']} is not listed")
    if entry["category_id"] not in labels:
        return Fault(NO_CLASS, f"category {entry['category_id']} is not listed")
    kind = _wrong_bbox(entry["bbox"])
    what = f"bbox must be x, y and a positive width and height, got {repr(entry['bbox'])[:60]}"
    return Fault(kind, what) if kind else None


def _wrong_bbox(bbox: list) -> str:
    """What is wrong with x, y, width, height; nothing: an empty text."""
    if len(bbox) != 4 or not all(type(value) in (int, float) for value in bbox):
        return INCOMPLETE
    x, y, w, h = (value if abs(value) < FARTHEST else math.nan for value in bbox)
    return wrong_box((x, y, x + w, y + h))
