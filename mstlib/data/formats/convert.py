"""From what annotation tools export to a data set of layout coco-vid: annotations/SPLIT.json.

`cvat.py` and `mot.py` read the exports, each into a `Video`; `annotated.py` finds its frames; here
both are added to the JSON file that `coco_vid.py` reads. Not part of the paper: see
docs/own-videos.md.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mstlib.config import MSTError
from mstlib.data.formats.annotated import Video, files_of
from mstlib.data.formats.coco_vid import SPLITS
from mstlib.data.formats.cvat import cvat_sources, read_cvat
from mstlib.data.formats.mot import mot_sources, read_mot
from mstlib.data.images import image_size
from mstlib.fileio import write_json

FORMATS = ("cvat", "mot")
LISTS = ("videos", "images", "annotations", "categories")


def convert(format: str, source: Path, images: Path | None, root: Path, split: str, *,
            classes: Sequence[str] = (), name: str = "", copy: bool = False) -> list[str]:
    """Convert the annotations of one video, or of a folder of them; a line of words on each.

    format: one of `FORMATS`. images: the video file or the folder of its frames; for several
    videos the folder that holds those, named like the annotations. MSTError as `add_videos`.
    """
    if format not in FORMATS:
        raise MSTError(f"no converter for '{format}'; choose one of {', '.join(FORMATS)}")
    if classes and format != "mot":
        raise MSTError("--classes is for mot: CVAT's file holds the names of the classes")
    if split not in SPLITS:
        raise MSTError(f"no split '{split}'; choose one of {', '.join(SPLITS)}")
    found = (cvat_sources if format == "cvat" else mot_sources)(source, images)
    if name and len(found) > 1:
        raise MSTError(f"{source}: --name is for one video, here are {len(found)}")
    videos = [(name or _name(where),
               read_cvat(file) if format == "cvat" else read_mot(file, tuple(classes)), where)
              for file, where in found]
    return add_videos(videos, root, split, copy)


def add_videos(videos: Sequence[tuple[str, Video, Path]], root: Path, split: str,
               copy: bool = False) -> list[str]:
    """Add videos to `root`/annotations/`split`.json, all of them or none; a line of words on each.

    Each video comes with its name and its images: a folder of frames, referred to by a relative
    path unless `copy`, or a video file, whose frames go to `root`/images/NAME. Ids continue those
    in the file; several processes may add to one file. MSTError if anything does not fit together;
    then everything is as before.
    """
    path = root / "annotations" / f"{split}.json"
    with _alone(path.parent), ExitStack() as undo:
        document, lines = _read(path), []
        _share_classes(document, path)
        for name, video, images in videos:
            if name in [known.get("name") for known in document["videos"]]:
                raise MSTError(f"{path}: holds a video '{name}' already; give another --name")
            if Path(name).name != name:
                raise MSTError(f"'{name}' cannot be the name of a folder; choose another --name")
            folder = root / "images" / name
            if not folder.exists():
                undo.callback(shutil.rmtree, folder, ignore_errors=True)
            files = files_of(images, video.frames, folder, copy)
            if not files:
                raise MSTError(f"{video.source}: no frame of this video is annotated")
            lines.append(_add(document, name, video, files, root))
        _spread_classes(document, path)
        write_json(path, document)
        undo.pop_all()
    return lines


def _name(images: Path) -> str:
    """What a video is called: as its file, or as its folder of frames."""
    plain = images.parent if images.name in ("img1", "images") else images
    return plain.name if images.is_dir() else plain.stem


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from reading a file of the folder that is about to be replaced."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MSTError(f"{folder}: cannot be made ({error.strerror}); give --out another folder"
                       ) from None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(path: Path) -> dict:
    """The document to add to, empty if there is none; MSTError if the file is not COCO-VID."""
    if not path.exists():
        return {name: [] for name in LISTS}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        for name in LISTS:
            _next(document[name])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MSTError(f"{path}: nothing can be added, it is not a COCO-VID file ({error!r}); mend "
                       "it or move it away") from None
    return document


def _share_classes(document: dict, path: Path) -> None:
    """Take over the classes of the other splits, so that a class has one id in all of them."""
    for other in sorted(path.parent.glob("*.json")):
        for category in _read(other)["categories"]:
            twins = [c for c in document["categories"]
                     if c["id"] == category["id"] or c["name"] == category["name"]]
            if not twins:
                document["categories"].append(dict(category))
            elif twins != [category]:
                raise MSTError(f"{path}: class {twins[0]['id']} is {twins[0]['name']}, but {other} "
                               f"has {category['id']} {category['name']}; give both the same")


def _spread_classes(document: dict, path: Path) -> None:
    """Add the classes of the document to the other splits: all have the same."""
    for other in sorted(path.parent.glob("*.json")):
        known = _read(other)
        if other != path and known["categories"] != document["categories"]:
            write_json(other, known | {"categories": document["categories"]})


def _next(entries: list[dict], key: str = "id") -> int:
    """The first id above all those in use, at least 1."""
    return 1 + max((int(entry.get(key, 0)) for entry in entries), default=0)


def _add(document: dict, name: str, video: Video, files: dict[int, Path], root: Path) -> str:
    """Append a video to the document; a line that says what was added."""
    number, image = _next(document["videos"]), _next(document["images"])
    places: dict[int, tuple[int, int, int]] = {}  # frame -> image id, H, W
    for t, (frame, file) in enumerate(files.items()):
        places[frame] = (image + t, *_size(file, video))
        document["images"].append({
            "id": image + t, "video_id": number, "frame_id": t,
            "file_name": Path(os.path.relpath(file, root)).as_posix(),
            "height": places[frame][1], "width": places[frame][2]})
    document["videos"].append({"id": number, "name": name})
    entries = _entries(video, places, _classes(document, video),
                       _next(document["annotations"], "instance_id"))
    first = _next(document["annotations"])
    document["annotations"] += [{"id": first + k, "video_id": number, **entry}
                                for k, entry in enumerate(entries)]
    ignored = sum(entry["iscrowd"] for entry in entries)
    objects = len({entry["instance_id"] for entry in entries if "instance_id" in entry})
    outside = len(video.boxes) - len(entries)
    return (f"{name}: {len(files)} frames, {len(entries) - ignored} boxes, {objects} objects"
            + (f"; {ignored} ignored regions" if ignored else "")
            + (f"; {outside} boxes wholly outside of the picture left out" if outside else ""))


def _size(file: Path, video: Video) -> tuple[int, int]:
    """(H, W) of a frame; MSTError unless it is the size that was annotated."""
    height, width = image_size(file)
    if video.size not in (None, (height, width)):
        raise MSTError(f"{file}: {width} x {height} pixels, but {video.source} is about frames of "
                       f"{video.size[1]:g} x {video.size[0]:g}; give those")
    return height, width


def _classes(document: dict, video: Video) -> dict[str, int]:
    """The category id of each class name, new ones are appended; MSTError if there are none."""
    names = (*video.classes, *(box.label for box in video.boxes if not box.ignored))
    known = {category["name"]: category["id"] for category in document["categories"]}
    for name in dict.fromkeys(names):
        if name not in known:
            known[name] = _next(document["categories"])
            document["categories"].append({"id": known[name], "name": name})
    if not known:
        raise MSTError(f"{video.source}: names no class; draw boxes, or give --classes (mot)")
    return known


def _entries(video: Video, places: dict[int, tuple[int, int, int]], classes: dict[str, int],
             instance: int) -> list[dict]:
    """The annotations of a video, cut to the picture; its tracks are numbered from `instance`."""
    tracks = sorted({box.track for box in video.boxes if box.track >= 0 and not box.ignored})
    instances = {track: instance + k for k, track in enumerate(tracks)}
    entries = []
    for box in sorted(video.boxes, key=lambda box: (box.frame, box.track)):
        if box.frame not in places:
            raise MSTError(f"{video.source}:{box.line}: a box in frame {box.frame} (counted from "
                           f"0), but there are {len(places)} frames; give all images of the video")
        image, height, width = places[box.frame]
        x1, x2 = (min(max(x, 0), width) for x in box.corners[::2])
        y1, y2 = (min(max(y, 0), height) for y in box.corners[1::2])
        bbox = [round(value, 3) for value in (x1, y1, x2 - x1, y2 - y1)]
        if min(bbox[2:]) <= 0:
            continue
        # an ignored region is of no class, but COCO wants one
        entry = {"image_id": image, "category_id": classes.get(box.label, min(classes.values())),
                 "bbox": bbox, "area": round(bbox[2] * bbox[3], 3),
                 "iscrowd": int(box.ignored), "occluded": int(box.occluded)}
        if box.track >= 0 and not box.ignored:
            entry["instance_id"] = instances[box.track]
        entries.append(entry)
    return entries
