"""Small generated data sets in the layouts of the real ones, to try commands and test readers on.

MiniVID's eight classes stand for classes of the format. The same seed gives the same bytes. Nothing
can be learnt from so few frames, and no number measured on them means anything.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy import ndarray as Array

from mstlib.config import MSTError
from mstlib.data.formats.davis_classes import OBJECTS
from mstlib.data.formats.lookalike_films import Film, generate_films, write_image
from mstlib.data.formats.lookalike_imagenet import write_det, write_vid
from mstlib.data.minivid.benchmark import CLASSES
from mstlib.fileio import write_json, write_text


def write_lookalike(format: str, folder: str | Path, seed: int = 0, length: int = 8,
                    width: int = 96) -> Path:
    """Write a data set of a handful of clips, `length` frames of `width` x 3/4 `width` px each.

    format: a name of LOOKALIKES. MSTError if it is none, or the folder is not empty or not
    writable.
    """
    folder = Path(folder).expanduser()
    if format not in LOOKALIKES:
        raise MSTError(f"no look-alike of '{format}'; choose one of {', '.join(LOOKALIKES)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MSTError(f"{folder}: not an empty folder; choose a new one")
    shown = generate_films(seed, length, width)
    for write in LOOKALIKES[format]:
        write(folder, shown)
    return folder


# ---- UAVDT, DAVIS, COCO-VID ----------------------------------------------------------------------


def _write_uavdt(folder: Path, films: Iterator[Film]) -> None:
    """Two training sequences and a test sequence; the upper left corner of M0101 is ignored."""
    for name, film in zip(("M0101", "M0201", "M0203"), films, strict=False):
        lines, (height, width) = [], film.masks.shape[1:]
        for t, frame in enumerate(film.frames, 1):
            write_image(folder / f"UAV-benchmark-M/{name}/img{t:06d}.jpg", frame)
            lines += [f"{t},{s.track + 1},{s.box[0]},{s.box[1]},{s.box[2] - s.box[0]},"
                      f"{s.box[3] - s.box[1]},1,{2 if s.occluded else 1},{1 + (s.label - 1) % 3}\n"
                      for s in film.seen[t - 1]]
        truth, split = folder / "UAV-benchmark-MOTD_v1.0/GT", "test" if name > "M0201" else "train"
        ignored = [f"{t},9,0,0,{width // 4},{height // 4},1,-1,-1\n" for t in range(1, t + 1)]
        write_text(truth / f"{name}_gt_whole.txt", "".join(lines))
        write_text(truth / f"{name}_gt_ignore.txt", "".join(ignored) if name == "M0101" else "")
        write_text(folder / f"M_attr/{split}/{name}_attr.txt", "1,0,0,0,1,0,0,1,0,0\n")


def _write_davis_2016(folder: Path, films: Iterator[Film]) -> None:
    """Sequences of one object each; of `hike` no class is known to ImageNet VID."""
    splits = {"bear": "train", "bus": "train", "hike": "train", "dog": "val", "elephant": "val"}
    lists: dict[str, list[str]] = {"train": [], "val": []}
    for (name, split), film in zip(splits.items(), films, strict=False):
        for t, frame in enumerate(film.frames):
            _write_davis_frame(folder, f"{name}/{t:05d}", frame,
                               np.where(film.masks[t] > 0, 255, 0).astype(np.uint8), False)
            lists[split].append(f"/JPEGImages/480p/{name}/{t:05d}.jpg "
                                f"/Annotations/480p/{name}/{t:05d}.png \n")
    for split, lines in lists.items():
        write_text(folder / f"ImageSets/480p/{split}.txt", "".join(lines))


def _write_davis_2017(folder: Path, films: Iterator[Film]) -> None:
    """Sequences of several objects; the index of an object is its track + 1."""
    splits = {"dog-gooses": "train", "bear": "train", "dogs-jump": "val", "horsejump-high": "val"}
    for (name, _), film in zip(splits.items(), films, strict=False):
        most = max(2, len(OBJECTS[name]))
        for t, frame in enumerate(film.frames):
            _write_davis_frame(folder, f"{name}/{t:05d}", frame,
                               np.where(film.masks[t] <= most, film.masks[t], 0), True)
    for split in ("train", "val"):
        names = [name for name, where in splits.items() if where == split]
        write_text(folder / f"ImageSets/2017/{split}.txt", "\n".join(names) + "\n")


def _write_davis_frame(folder: Path, name: str, frame: Array, mask: Array, palette: bool) -> None:
    write_image(folder / "JPEGImages/480p" / f"{name}.jpg", frame)
    write_image(folder / "Annotations/480p" / f"{name}.png", mask, palette)


def _write_coco(folder: Path, films: Iterator[Film]) -> None:
    """Three clips of train, two of val, one of test; a crowd in the corner of every first frame."""
    categories = [{"id": k, "name": name} for k, name in enumerate(CLASSES, 1)]
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        data = {"videos": [], "images": [], "annotations": [], "categories": categories}
        for v, film in zip(range(1, count + 1), films, strict=False):
            data["videos"].append({"id": v, "name": f"{split}-{v}"})
            for t, frame in enumerate(film.frames):
                _add_coco_frame(data, v, t, f"{split}-{v}/{t:06d}.jpg", film)
                write_image(folder / "data" / split / data["images"][-1]["file_name"], frame)
        write_json(folder / "annotations" / f"{split}.json", data)


def _add_coco_frame(data: dict, video: int, t: int, file: str, film: Film) -> None:
    height, width = film.masks.shape[1:]
    image = len(data["images"]) + 1
    data["images"].append({"id": image, "video_id": video, "frame_id": t, "file_name": file,
                           "height": height, "width": width})
    crowd = [(1, None, (0, 0, width // 4, height // 4), True)] if t == 0 else []
    for label, track, (x1, y1, x2, y2), is_crowd in [
            *((s.label, 10 * video + s.track, s.box, False) for s in film.seen[t]), *crowd]:
        data["annotations"].append({
            "id": len(data["annotations"]) + 1, "image_id": image, "video_id": video,
            "category_id": label, "instance_id": track, "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1), "iscrowd": is_crowd})


LOOKALIKES = {
    "imagenet": (write_vid, write_det), "imagenet-vid": (write_vid,), "imagenet-det": (write_det,),
    "uavdt": (_write_uavdt,), "davis": (_write_davis_2016,),
    "davis-2017": (_write_davis_2017,), "coco-vid": (_write_coco,),
}
