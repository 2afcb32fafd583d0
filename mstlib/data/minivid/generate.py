"""Making MiniVID's files: clips filmed by several processes, a folder that shows when complete.

Needs numpy only, no torch: a generating process starts at once.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from mstlib.config import DataConfig, MSTError
from mstlib.data.generated import cache_folder, default_workers, in_processes, made_once
from mstlib.data.minivid.film import FIELDS, film_clip
from mstlib.data.minivid.scene import Scene
from mstlib.progress import progress

VERSION = 1  # of the generator: raise it whenever the bytes change, so that no old cache is read
SPLITS = ("train", "val", "test")

Filmed = tuple[int, np.ndarray, dict]  # clip, frames, ground truth


def ensure_minivid(
    config: DataConfig, split: str, root: Path | None = None, workers: int | None = None,
    scene: Scene | None = None,
) -> Path:
    """Folder of a split, generated first if absent (root: MST_DATA, else ~/.cache/mstlib).

    The same settings give the same bytes for any number of workers. Several processes may call
    this at once: each makes its own copy and the first to finish is kept. MSTError if the split is
    unknown or the folder cannot be written.
    """
    extent(config, split)
    scene, workers = scene or Scene(), workers or default_workers()
    write = partial(_write, config=config, split=split, scene=scene, workers=workers)
    return made_once(home(config, root, scene) / split, "MiniVID", write)


def extent(config: DataConfig, split: str) -> tuple[int, int]:
    """Clips of a split and frames of a clip; MSTError if there is no such split."""
    if split not in SPLITS:
        raise MSTError(f"MiniVID has no split '{split}'; choose one of {', '.join(SPLITS)}")
    length = config.train_length if split == "train" else config.test_length
    return getattr(config, f"{split}_clips"), length


def home(config: DataConfig, root: Path | None = None, scene: Scene | None = None) -> Path:
    """Folder of the whole data set; its name changes with settings, knobs and generator."""
    facts = {"config": asdict(config), "scene": asdict(scene or Scene()), "version": VERSION}
    return cache_folder(config.name, facts, root)


def _write(folder: Path, config: DataConfig, split: str, scene: Scene, workers: int) -> None:
    """Film a split into frames.npy (N, T, 3, S, S) uint8 and targets.npz.

    Clips are written at their place with plain writes: on a full disk these raise, a memory map
    would kill the process.
    """
    (clips, length), size = extent(config, split), config.size
    jobs = [((config.seed, SPLITS.index(split), c), length, size, scene) for c in range(clips)]
    tables: dict[int, dict] = {}
    with (folder / "frames.npy").open("wb") as file:
        shape = (clips, length, 3, size, size)
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        start = file.tell()
        filmed = in_processes(_film, jobs, workers, f"MiniVID {split}")
        for clip, frames, table in progress(filmed, f"MiniVID {split}, clips", total=clips):
            file.seek(start + clip * frames.nbytes)
            file.write(frames.tobytes())
            tables[clip] = table
    columns = {name: np.concatenate([tables[c][name] for c in range(clips)]) for name in FIELDS}
    pan = np.stack([tables[c]["pan"] for c in range(clips)])
    np.savez(folder / "targets.npz", **columns, pan=pan)


def _film(seed: tuple[int, int, int], *rest: object) -> Filmed:
    """A job's clip; its arguments are those of `film_clip`."""
    return (seed[2], *film_clip(seed, *rest))
