"""Small generated data sets in the layouts of the real ones, to try commands and test readers on.

The frames are MiniVID's (`mstlib.data.minivid.film`), cut to 4:3 so that height and width differ;
its eight classes stand for classes of the format. The same seed gives the same bytes. Nothing can
be learnt from so few frames, and no number measured on them means anything.
"""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray as Array
from PIL import Image

from mstlib.config import MSTError
from mstlib.data.formats.davis import OBJECTS
from mstlib.data.formats.imagenet import SYNSETS
from mstlib.data.minivid.benchmark import CLASSES
from mstlib.data.minivid.film import annotate, direct_clip, film_frame
from mstlib.data.minivid.scene import Scene
from mstlib.fileio import write_bytes, write_json, write_text

SYNSET_OF = tuple(SYNSETS)[:16:2]  # MiniVID's label k is shown as synset k - 1 of these
QUALITY = 90                       # of the JPEG files
PALETTE = (0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128)  # the first colours of DAVIS


@dataclass(frozen=True)
class Seen:
    """An object in a frame: MiniVID's label 1 to 8, track from 0, box x1 y1 x2 y2 in whole px."""

    label: int
    track: int
    box: tuple[int, int, int, int]
    occluded: bool


@dataclass(frozen=True)
class Film:
    """A clip: frames (T, H, W, 3) uint8, its objects frame by frame, masks (T, H, W) of track + 1
    where nothing is in front of the object."""

    frames: Array
    seen: list[list[Seen]]
    masks: Array


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
    films = _films(seed, length, width)
    for write in LOOKALIKES[format]:
        write(folder, films)
    return folder


def _films(seed: int, length: int, width: int) -> Iterator[Film]:
    """Clip after clip."""
    clip = 0
    while True:
        yield _film((seed, 0, clip), length, width, width * 3 // 4)
        clip += 1


def _film(seed: tuple[int, int, int], length: int, width: int, height: int) -> Film:
    scene = Scene()
    script, scenery, _ = direct_clip(seed, length, width, scene)
    frames, seen, masks = [], [], []
    for t in range(length):
        frame, views, whole = film_frame(script, scenery, t, width, scene)
        frames.append(np.rint(np.clip(frame[:, :height], 0, 1) * 255).astype(np.uint8))
        rows = [(view, annotate(view, t, width, scene)) for view in views]
        seen.append([Seen(row["label"], view.body.track, box, bool(row["flags"][2]))
                     for view, row in rows if row and (box := _whole_pixels(row["box"], height))])
        mask, half = np.zeros((height, width), dtype=np.uint8), width // 2
        for view, silhouette in zip(views, whole, strict=True):  # back to front
            inside = silhouette[half : half + height, half : half + width] > 0.5
            mask[inside] = view.body.track + 1
        masks.append(mask)
    return Film(np.stack(frames).transpose(0, 2, 3, 1), seen, np.stack(masks))


def _whole_pixels(box: Array, height: int) -> tuple[int, int, int, int] | None:
    """The pixels that a box touches above the cut at `height`; None if hardly any."""
    x1, y1 = (math.floor(v) for v in box[:2])
    x2, y2 = math.ceil(box[2]), min(math.ceil(box[3]), height)
    return (x1, y1, x2, y2) if min(x2 - x1, y2 - y1) >= 4 else None


def _write_image(path: Path, pixels: Array, palette: bool = False) -> None:
    """A JPEG file, or a PNG file of a mask (H, W): grey, or with the colours of DAVIS."""
    image, file = Image.fromarray(pixels), io.BytesIO()
    if palette:
        image = Image.frombytes("P", image.size, pixels.tobytes())
        image.putpalette(PALETTE)
    jpeg = pixels.ndim == 3
    image.save(file, "JPEG" if jpeg else "PNG", **({"quality": QUALITY} if jpeg else {}))
    write_bytes(path, file.getvalue())


# ---- ImageNet ------------------------------------------------------------------------------------


def _write_vid(folder: Path, films: Iterator[Film]) -> None:
    """Three training snippets, two of val, one of test without annotation; every second training
    frame is in the list of references."""
    package = "ILSVRC2015_VID_train_0000/ILSVRC2015_train_0000"
    stems = [*(f"train/{package}{k}000" for k in range(3)),
             *(f"val/ILSVRC2015_val_0000{k}000" for k in range(2)), "test/ILSVRC2015_test_00000000"]
    lists: dict[str, list[str]] = {}
    for stem, film in zip(stems, films, strict=False):
        split, length = stem.split("/")[0], len(film.frames)
        for t in range(length):
            _write_image(folder / f"Data/VID/{stem}/{t:06d}.JPEG", film.frames[t])
            if split != "test":
                write_text(folder / f"Annotations/VID/{stem}/{t:06d}.xml",
                           xml_text(f"{t:06d}", film.frames[t].shape, film.seen[t], tracks=True))
            if split == "train" and t % 2:
                lists.setdefault("VID_train_15frames", []).append(f"{stem} 1 {t} {length}")
            if split == "val":
                frames = lists.setdefault("VID_val_frames", [])
                frames.append(f"{stem}/{t:06d} {len(frames) + 1}")
                lists.setdefault("VID/val", []).append(frames[-1].removeprefix("val/"))
        if split == "val":
            first = len(lists["VID_val_frames"]) - length + 1
            lists.setdefault("VID_val_videos", []).append(f"{stem} {first} 0 {length}")
    for name, lines in lists.items():
        write_text(folder / "ImageSets" / f"{name}.txt", "\n".join(lines) + "\n")


def _write_det(folder: Path, films: Iterator[Film]) -> None:
    """Four still images; each also shows an accordion, which is none of the 30 classes."""
    lines = []
    for k, film in zip(range(4), films, strict=False):
        wnid = SYNSET_OF[film.seen[0][0].label - 1] if film.seen[0] else SYNSET_OF[0]
        stem = f"train/ILSVRC2013_train/{wnid}/{wnid}_{k}"
        _write_image(folder / f"Data/DET/{stem}.JPEG", film.frames[0])
        text = xml_text(f"{wnid}_{k}", film.frames[0].shape, film.seen[0], tracks=False)
        other = _xml_object("n02672831", (1, 1, 9, 9), "")
        write_text(folder / f"Annotations/DET/{stem}.xml",
                   text.replace("</annotation>", f"{other}</annotation>"))
        lines.append(f"{stem} 1")
    write_text(folder / "ImageSets/DET_train_30classes.txt", "\n".join(lines) + "\n")


def xml_text(name: str, shape: tuple[int, ...], seen: list[Seen], tracks: bool) -> str:
    """The annotation of one image (H, W, 3): inclusive pixel indices, as in the official files."""
    objects = "".join(
        _xml_object(SYNSET_OF[s.label - 1], (*s.box[:2], s.box[2] - 1, s.box[3] - 1),
                    f"\n\t\t<occluded>{int(s.occluded)}</occluded>\n\t\t<generated>0</generated>"
                    if tracks else "", s.track if tracks else None) for s in seen)
    return (f"<annotation>\n\t<filename>{name}</filename>\n\t<source>\n\t\t<database>lookalike"
            f"</database>\n\t</source>\n\t<size>\n\t\t<width>{shape[1]}</width>\n\t\t<height>"
            f"{shape[0]}</height>\n\t</size>\n{objects}</annotation>\n")


def _xml_object(wnid: str, box: tuple[int, ...], flags: str, track: int | None = None) -> str:
    first = "" if track is None else f"\n\t\t<trackid>{track}</trackid>"
    x1, y1, x2, y2 = box
    return (f"\t<object>{first}\n\t\t<name>{wnid}</name>\n\t\t<bndbox>\n\t\t\t<xmax>{x2}</xmax>\n"
            f"\t\t\t<xmin>{x1}</xmin>\n\t\t\t<ymax>{y2}</ymax>\n\t\t\t<ymin>{y1}</ymin>\n"
            f"\t\t</bndbox>{flags}\n\t</object>\n")


# ---- UAVDT, DAVIS, COCO-VID ----------------------------------------------------------------------


def _write_uavdt(folder: Path, films: Iterator[Film]) -> None:
    """Two training sequences and a test sequence; the upper left corner of M0101 is ignored."""
    for name, film in zip(("M0101", "M0201", "M0203"), films, strict=False):
        lines, (height, width) = [], film.masks.shape[1:]
        for t, frame in enumerate(film.frames, 1):
            _write_image(folder / f"UAV-benchmark-M/{name}/img{t:06d}.jpg", frame)
            lines += [f"{t},{s.track + 1},{s.box[0]},{s.box[1]},{s.box[2] - s.box[0]},"
                      f"{s.box[3] - s.box[1]},1,{2 if s.occluded else 1},{1 + (s.label - 1) % 3}\n"
                      for s in film.seen[t - 1]]
        truth, split = folder / "UAV-benchmark-MOTD_v1.0/GT", "test" if name > "M0201" else "train"
        ignored = [f"{t},-1,0,0,{width // 4},{height // 4},-1,-1,-1\n" for t in range(1, t + 1)]
        write_text(truth / f"{name}_gt_whole.txt", "".join(lines))
        write_text(truth / f"{name}_gt_ignore.txt", "".join(ignored) if name == "M0101" else "")
        write_text(folder / f"M_attr/{split}/{name}_attr.txt", "1,0,0,1,0,0,0,1,0,0,0\n")


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
    _write_image(folder / "JPEGImages/480p" / f"{name}.jpg", frame)
    _write_image(folder / "Annotations/480p" / f"{name}.png", mask, palette)


def _write_coco(folder: Path, films: Iterator[Film]) -> None:
    """Three clips of train, two of val, one of test; a crowd in the corner of every first frame."""
    categories = [{"id": k, "name": name} for k, name in enumerate(CLASSES, 1)]
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        data = {"videos": [], "images": [], "annotations": [], "categories": categories}
        for v, film in zip(range(1, count + 1), films, strict=False):
            data["videos"].append({"id": v, "name": f"{split}-{v}"})
            for t, frame in enumerate(film.frames):
                _add_coco_frame(data, v, t, f"{split}-{v}/{t:06d}.jpg", film)
                _write_image(folder / "data" / split / data["images"][-1]["file_name"], frame)
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
    "imagenet": (_write_vid, _write_det), "imagenet-vid": (_write_vid,),
    "imagenet-det": (_write_det,), "uavdt": (_write_uavdt,), "davis": (_write_davis_2016,),
    "davis-2017": (_write_davis_2017,), "coco-vid": (_write_coco,),
}
