"""Saved detections: a folder of shards that an interrupted evaluation adds to, or a CSV file.

Not part of the paper. A model is run once and scored as often as one likes, under any protocol:

    FOLDER/index.json        data set, split, classes, clips with their lengths, the run
    FOLDER/shard-000012.npz  clip 12 and perhaps more: plain arrays, see `ClipDetections`
    FILE.csv                 detections from elsewhere, a row each, see `read_csv`
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.config import MSTError
from mstlib.data.dataset import Dataset
from mstlib.evaluation.columns import ClipDetections, check_values
from mstlib.fileio import write_json, write_via

FORMAT = "mstlib-detections-1"
SHARD_FRAMES = 256  # a shard is written when its clips have so many frames: what a crash may cost
COLUMNS = {"boxes": np.float32, "scores": np.float32, "labels": np.int16}  # one row a detection


@dataclass(frozen=True)
class Index:
    """What the detections in a folder belong to; run: who made them (weights, variant, seed ...).

    clips: (name, length) of every clip of the split, saved yet or not.
    """

    dataset: str
    split: str
    classes: tuple[str, ...]
    clips: tuple[tuple[str, int], ...]
    run: dict

    @staticmethod
    def of(dataset: Dataset, run: dict) -> "Index":
        """The index of a data set; lengths are asked of the clips, no frame is read."""
        return Index(dataset.name, dataset.split, tuple(dataset.classes),
                     tuple((clip.name, len(clip)) for clip in dataset), run)


# A folder -----------------------------------------------------------------------------------------


def start_folder(folder: Path, index: Index) -> None:
    """Write the index, or go on where the same run stopped; MSTError if the folder is another's."""
    path = Path(folder) / "index.json"
    if not path.exists():
        write_json(path, {"format": FORMAT} | asdict(index))
        return
    there, here = (json.loads(json.dumps(asdict(i))) for i in (read_index(folder), index))
    if there != here:
        raise MSTError(f"{path}: holds detections of another run ({difference(there, here)}); give "
                       "an empty folder, or remove this one")


def difference(there: dict, here: dict) -> str:
    """The first value in which two dicts of one kind differ, in words; dicts may hold dicts."""
    name = next(k for k in here | there if here.get(k) != there.get(k))
    one, other = there.get(name), here.get(name)
    if isinstance(one, dict) and isinstance(other, dict):
        return f"{name}, {difference(one, other)}"
    long = isinstance(one, list) or isinstance(other, list)
    return f"{name} differs" if long else f"{name} is {one} there and {other} here"


def read_index(folder: Path) -> Index:
    """The index of a folder of detections; MSTError if it is missing, damaged or foreign."""
    path = Path(folder) / "index.json"
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain["format"] != FORMAT:
            raise MSTError(f"{path}: format '{plain['format']}', this version reads {FORMAT}; "
                           "save the detections again")
        clips = tuple((str(name), int(length)) for name, length in plain["clips"])
        return Index(str(plain["dataset"]), str(plain["split"]),
                     tuple(map(str, plain["classes"])), clips, dict(plain["run"]))
    except OSError as error:
        raise MSTError(f"{path}: not readable ({error.strerror}); a folder of detections is "
                       "written by `mst evaluate CHECKPOINT --save FOLDER`") from None
    except (KeyError, TypeError, ValueError) as error:
        raise MSTError(f"{path}: not an index of detections ({type(error).__name__}: {error}); "
                       "save the detections again") from None


def write_shards(folder: Path, clips: Iterable[tuple[int, ClipDetections]]) -> None:
    """Write (clip number, detections) as they come, whole clips together in shards.

    Also what is complete when the iteration is interrupted or raises. Each shard is named after its
    first clip: processes that share the clips of a split never write the same one.
    """
    kept: dict[int, ClipDetections] = {}
    try:
        for number, found in clips:
            kept[number] = found
            if sum(len(c.counts) for c in kept.values()) >= SHARD_FRAMES:
                _write_shard(folder, kept)
                kept = {}
    finally:
        if kept:
            _write_shard(folder, kept)


def _write_shard(folder: Path, kept: dict[int, ClipDetections]) -> None:
    """One file of several clips."""
    joined = {name: np.concatenate([getattr(c, name) for c in kept.values()])
              for name in ("counts", "skipped", *COLUMNS)}
    joined |= {name: joined[name].astype(dtype) for name, dtype in COLUMNS.items()}
    with (write_via(Path(folder) / f"shard-{min(kept):06d}.npz") as path, path.open("wb") as file):
        np.savez(file, clips=np.array(list(kept), np.int32), **joined)


def shards(folder: Path, index: Index) -> dict[Path, list[int]]:
    """Clip numbers of each shard; MSTError if one is damaged, or a clip is in two of them."""
    found = {path: _members(path, ["clips"])["clips"].tolist()
             for path in sorted(Path(folder).glob("shard-*.npz"))}
    seen: dict[int, Path] = {}
    for path, numbers in found.items():
        for number in numbers:
            if number in seen or not 0 <= number < len(index.clips):
                other = f"{seen[number].name} too" if number in seen else "no clip of the index"
                raise MSTError(f"{path}: holds clip {number}, {other}; remove this file and go on")
            seen[number] = path
    return found


def require_complete(folder: Path, index: Index, held: dict[Path, list[int]]) -> None:
    """MSTError naming a clip of the split that no shard holds."""
    missing = sorted(set(range(len(index.clips))) - set(chain(*held.values())))
    if missing:
        raise MSTError(f"{folder}: no detections of clip {index.clips[missing[0]][0]} "
                       f"({len(missing)} of {len(index.clips)} clips missing); go on with "
                       "`mst evaluate CHECKPOINT --save FOLDER`")


def read_shard(path: Path, index: Index) -> Iterator[tuple[int, ClipDetections]]:
    """(clip number, detections) of a shard; MSTError naming the clip if its content cannot be."""
    held = _members(path, ["clips", "counts", "skipped", *COLUMNS])
    clips, counts = held["clips"].tolist(), held["counts"]
    lengths = [index.clips[n][1] for n in clips]
    total = int(counts.sum()) if counts.dtype.kind == "i" else -1
    wanted = {"counts": ((sum(lengths),), "i"), "skipped": ((sum(lengths),), "b"),
              "boxes": ((total, 4), "f"), "scores": ((total,), "f"), "labels": ((total,), "i")}
    for name, (shape, kind) in wanted.items():
        if held[name].shape != shape or held[name].dtype.kind != kind or (counts < 0).any():
            raise MSTError(f"{path}: {name} is {held[name].dtype} {held[name].shape}, expected "
                           f"{shape} for clips {[index.clips[n][0] for n in clips]}; remove this "
                           "file and go on")
    ends = np.cumsum(lengths)
    for number, end, length in zip(clips, ends, lengths, strict=True):
        t = slice(end - length, end)
        d = slice(int(counts[: t.start].sum()), int(counts[: t.stop].sum()))
        found = ClipDetections(counts[t], held["skipped"][t],
                               *(held[name][d] for name in COLUMNS))
        check_values(f"{path}, clip {index.clips[number][0]}", found.frames, found.boxes,
                     found.labels, len(index.classes), found.scores)
        yield number, found


def _members(path: Path, names: list[str]) -> dict[str, Array]:
    """Arrays of an .npz file; MSTError if it is damaged (its checksums are verified)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds on damaged files
        raise MSTError(f"{path}: not a readable shard ({type(error).__name__}); remove this file "
                       "and go on with `mst evaluate CHECKPOINT --save FOLDER`") from None


def check_same(index: Index, dataset: Dataset, where: Path) -> None:
    """MSTError unless detections are of this data set: the same classes, clips and lengths."""
    here, there = tuple(index.classes), tuple(dataset.classes)
    if here != there:
        odd = next((a, b) for a, b in zip((*here, None), (*there, None), strict=False) if a != b)
        raise MSTError(f"{where}: made for other classes ({len(here)} against {len(there)} of "
                       f"{dataset.name}; first difference: {odd[0]} against {odd[1]})")
    clips = tuple((clip.name, len(clip)) for clip in dataset)
    if index.clips != clips:
        odd = next((a, b) for a, b in zip((*index.clips, None), (*clips, None), strict=False)
                   if a != b)
        raise MSTError(f"{where}: made for other clips than {dataset.name} {dataset.split} has; "
                       f"first difference: {odd[0]} against {odd[1]} (name, frames)")


# A CSV file ---------------------------------------------------------------------------------------
