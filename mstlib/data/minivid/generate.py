"""Making MiniVID's files: clips filmed by several processes, a folder that shows when complete.

Needs numpy only, no torch: a generating process starts at once.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from pathlib import Path

import numpy as np

from mstlib.config import DataConfig, MSTError
from mstlib.data.minivid.film import FIELDS, film_clip
from mstlib.data.minivid.scene import Scene
from mstlib.progress import progress

VERSION = 1  # of the generator: raise it whenever the bytes change, so that no old cache is read
SPLITS = ("train", "val", "test")
STALE = 600  # seconds without a write after which a half-made folder counts as abandoned

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
    scene = scene or Scene()
    folder = home(config, root, scene) / split
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            _sweep(folder.parent, split)
            _generate(folder, config, split, scene, workers or default_workers())
    except OSError as error:
        raise MSTError(f"cannot write MiniVID to {folder}: {error.strerror or error}; "
                       "set MST_DATA to a folder with room") from error
    return folder


def extent(config: DataConfig, split: str) -> tuple[int, int]:
    """Clips of a split and frames of a clip; MSTError if there is no such split."""
    if split not in SPLITS:
        raise MSTError(f"MiniVID has no split '{split}'; choose one of {', '.join(SPLITS)}")
    length = config.train_length if split == "train" else config.test_length
    return getattr(config, f"{split}_clips"), length


def home(config: DataConfig, root: Path | None = None, scene: Scene | None = None) -> Path:
    """Folder of the whole data set; its name changes with settings, knobs and generator."""
    facts = {"config": asdict(config), "scene": asdict(scene or Scene()), "version": VERSION}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    root = root or os.environ.get("MST_DATA") or Path.home() / ".cache" / "mstlib"
    return Path(root).expanduser() / f"{config.name}-{digest}"


def default_workers() -> int:
    """One process for each core this process may use, at most eight."""
    known = hasattr(os, "sched_getaffinity")
    return min(8, len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1)


def _generate(folder: Path, config: DataConfig, split: str, scene: Scene, workers: int) -> None:
    """Film into a temporary folder beside `folder`, then rename."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{split}-", dir=folder.parent))
    try:
        temporary.chmod(0o755)  # mkdtemp's 700 would lock out others who share the cache
        _write(temporary, config, split, scene, workers)
        with contextlib.suppress(OSError):  # another process was first; its bytes are the same
            temporary.rename(folder)
        if not folder.is_dir():
            raise OSError(f"could not rename {temporary}")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
        filmed = film_all(jobs, min(workers, clips))
        for clip, frames, table in progress(filmed, f"MiniVID {split}, clips", total=clips):
            file.seek(start + clip * frames.nbytes)
            file.write(frames.tobytes())
            tables[clip] = table
    if len(tables) < clips:
        raise MSTError(f"MiniVID {split}: a generating process ended early; run again, with "
                       "workers=1 if memory is short")
    columns = {name: np.concatenate([tables[c][name] for c in range(clips)]) for name in FIELDS}
    pan = np.stack([tables[c]["pan"] for c in range(clips)])
    np.savez(folder / "targets.npz", **columns, pan=pan)


def film_all(jobs: list[tuple], workers: int) -> Iterator[Filmed]:
    """Every job's clip as it comes. A job is the arguments of `film_clip`, its seed included."""
    if workers <= 1 or multiprocessing.current_process().daemon:
        for job in jobs:
            yield (job[0][2], *film_clip(*job))
        return
    processes, pipes = [], []
    try:
        for w in range(workers):
            process, pipe = _start(jobs[w::workers])
            processes.append(process)
            pipes.append(pipe)
        yield from _receive(pipes)
    finally:  # also when the caller was interrupted
        for process in processes:
            process.terminate()
            process.join()


def _start(jobs: list[tuple]) -> tuple[multiprocessing.Process, Connection]:
    """A process that films `jobs`, and the pipe its clips come through."""
    # A forked worker needs no guard in the caller's script; other systems cannot fork safely.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_film_share, args=(jobs, send, receive), daemon=True)
    process.start()
    send.close()  # the worker's end is the only one left: its death ends the pipe
    return process, receive


def _film_share(jobs: list[tuple], send: Connection, receive: Connection) -> None:
    """A worker: films its clips one after the other; ends when nobody listens any more."""
    receive.close()  # else the pipe would outlive the parent
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        for job in jobs:
            send.send((job[0][2], *film_clip(*job)))


def _receive(pipes: list[Connection]) -> Iterator[Filmed]:
    """What the workers send, until all have ended."""
    while pipes:
        for pipe in wait(pipes):
            try:
                yield pipe.recv()
            except EOFError:
                pipes.remove(pipe)


def _sweep(parent: Path, split: str) -> None:
    """Remove half-made folders nobody has written to for a while: killed generations."""
    for left in parent.glob(f".{split}-*"):
        with contextlib.suppress(OSError):  # another process may be sweeping too
            newest = max(path.stat().st_mtime for path in (left, *left.iterdir()))
            if time.time() - newest > STALE:
                shutil.rmtree(left)
