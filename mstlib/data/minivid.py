"""MiniVID, the embedded benchmark: generated once from a seed, cached on disk, read as clips.

The class of an object is its body and the key painted on its front: from behind only other frames tell.
`scene.py` draws what happens, `render.py` and `film.py` turn it into frames, `card.py` describes the result.
Nothing here is part of the paper; it stands in for ImageNet VID where that cannot be had.
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
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mstlib.config import DataConfig, MSTError
from mstlib.data.clip import Target
from mstlib.data.film import FIELDS, film_clip
from mstlib.data.scene import BODIES, KEYS, Scene

VERSION = 1  # of the generator: raise it whenever the bytes change, so that old caches are not read
SPLITS = ("train", "val", "test")
CLASSES = tuple(f"{body}-{key}" for body in BODIES for key in KEYS)  # label = 1 + 2 * body + key
STALE = 600  # seconds without a write after which a half-made folder counts as abandoned


@dataclass(frozen=True)
class MiniClip:
    """A clip of MiniVID; see `mstlib.data.clip.Clip`. `rows` holds the columns of `FIELDS` for this clip."""

    name: str
    frames: np.ndarray          # (T, 3, S, S) uint8, memory-mapped
    rows: dict[str, np.ndarray]
    pan: np.ndarray             # (T, 2) px: where the background lies on the screen

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, t: int) -> Tensor:
        """Frame t as a (3, S, S) uint8 RGB tensor."""
        return torch.from_numpy(np.array(self.frames[t]))

    def at(self, t: int) -> dict[str, np.ndarray]:
        """All columns of frame t: the target's, and azimuth, visible, key, speed, scale, depth."""
        here = self.rows["frame"] == t
        return {name: column[here] for name, column in self.rows.items()}

    def target(self, t: int) -> Target:
        """Ground truth of frame t."""
        names = ("box", "label", "id", "flags", "centre")
        now = self.at(t)
        return Target(*(torch.from_numpy(now[name]) for name in names))

    def true_motion(self, t: int, s: int, stride: int) -> tuple[Tensor, Tensor]:
        """Where each cell of frame t's feature grid has gone in frame s: what DAlign should find.

        Returns displacement (h, w, 2) float32 in cells (x, y), and mask (h, w) int64: the track id where
        the cell's centre lies in the box of an object annotated in both frames (the nearest wins), else -1
        and the background's displacement. An object's points move with its centre and scale about it.
        """
        size = self.frames.shape[-1]
        along = (torch.arange(size // stride) + 0.5) * stride  # cell centres, px
        y, x = torch.meshgrid(along, along, indexing="ij")
        motion = torch.from_numpy(self.pan[s] - self.pan[t]).expand(*x.shape, 2).clone()
        mask = torch.full(x.shape, -1, dtype=torch.int64)
        now, then = self.at(t), self.at(s)
        for i in np.argsort(now["depth"], kind="stable"):  # nearest last, over the others
            for j in np.flatnonzero(then["id"] == now["id"][i]):
                x1, y1, x2, y2 = now["box"][i].tolist()
                inside = (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
                here, there = torch.from_numpy(now["centre"][i]), torch.from_numpy(then["centre"][j])
                growth = float(then["scale"][j] / now["scale"][i])
                offset = torch.stack([x, y], dim=-1) - here
                motion[inside] = (there - here + (growth - 1) * offset)[inside]
                mask[inside] = int(now["id"][i])
        return motion / stride, mask


def extent(config: DataConfig, split: str) -> tuple[int, int]:
    """Clips of a split and frames of a clip; MSTError if there is no such split."""
    if split not in SPLITS:
        raise MSTError(f"MiniVID has no split '{split}'; choose one of {', '.join(SPLITS)}")
    length = config.train_length if split == "train" else config.test_length
    return getattr(config, f"{split}_clips"), length


def home(config: DataConfig, root: Path | None = None, scene: Scene | None = None) -> Path:
    """Folder of the whole data set; its name changes with the settings, the knobs and the generator."""
    facts = {"config": asdict(config), "scene": asdict(scene or Scene()), "version": VERSION}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    root = root or os.environ.get("MST_DATA") or Path.home() / ".cache" / "mstlib"
    return Path(root).expanduser() / f"{config.name}-{digest}"


def _film_share(jobs: list[tuple], send, receive) -> None:
    """A worker: films its clips one after the other; ends when nobody listens any more."""
    receive.close()  # else the pipe would stay open after the parent's death
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        for seed, *rest in jobs:
            send.send((seed[2], *film_clip(seed, *rest)))


def film_all(jobs: list[tuple], workers: int) -> Iterator[tuple[int, np.ndarray, dict]]:
    """(clip, frames, ground truth) of every job, as they come; each clip has its own seed."""
    if workers <= 1 or multiprocessing.current_process().daemon:
        for seed, *rest in jobs:
            yield (seed[2], *film_clip(seed, *rest))
        return
    # Forked workers need no guard in the caller's script; elsewhere they are spawned.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    processes, pipes = [], []
    try:
        for w in range(workers):
            receive, send = context.Pipe(duplex=False)
            share = (jobs[w::workers], send, receive)
            processes.append(context.Process(target=_film_share, args=share, daemon=True))
            processes[-1].start()
            send.close()
            pipes.append(receive)
        while pipes:
            for pipe in wait(pipes):
                try:
                    yield pipe.recv()
                except EOFError:
                    pipes.remove(pipe)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def progress(total: int, label: str) -> Callable[[], None]:
    """A function to call after each clip: tqdm's bar if installed, else a line now and then."""
    with contextlib.suppress(ImportError):
        from tqdm.auto import tqdm

        return tqdm(total=total, desc=label, unit="clip").update
    start, state = time.monotonic(), {"done": 0, "said": time.monotonic()}

    def step() -> None:
        state["done"] += 1
        now = time.monotonic()
        if now - state["said"] > 5 or state["done"] == total:
            left = (now - start) / state["done"] * (total - state["done"])
            print(f"{label}: {state['done']}/{total} clips, {left:.0f} s left", file=sys.stderr)
            state["said"] = now

    return step


def _write(folder: Path, config: DataConfig, split: str, scene: Scene, workers: int) -> None:
    """Film a split into `folder`: frames.npy (N, T, 3, S, S) uint8 and targets.npz."""
    (clips, length), size = extent(config, split), config.size
    jobs = [((config.seed, SPLITS.index(split), c), length, size, scene) for c in range(clips)]
    tables: dict[int, dict] = {}
    step = progress(clips, f"MiniVID {split}")
    with (folder / "frames.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (clips, length, 3, size, size)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        for clip, frames, table in film_all(jobs, min(workers, clips)):
            file.seek(start + clip * frames.nbytes)
            file.write(frames.tobytes())
            tables[clip] = table
            step()
    if len(tables) < clips:
        raise RuntimeError(f"MiniVID {split}: a generating process ended early; run again")
    columns = {name: np.concatenate([tables[c][name] for c in range(clips)]) for name in FIELDS}
    pan = np.stack([tables[c]["pan"] for c in range(clips)])
    np.savez(folder / "targets.npz", **columns, pan=pan)


def _sweep(parent: Path, split: str) -> None:
    """Remove half-made folders nobody has written to for a while: a killed generation leaves them."""
    for left in parent.glob(f".{split}-*"):
        with contextlib.suppress(OSError):
            newest = max(p.stat().st_mtime for p in (left, *left.iterdir()))
            if time.time() - newest > STALE:
                shutil.rmtree(left)


def ensure_minivid(
    config: DataConfig, split: str, root: Path | None = None, workers: int | None = None,
    scene: Scene | None = None,
) -> Path:
    """Folder of a split, generated first if absent (root: MST_DATA or ~/.cache/mstlib).

    The same settings give the same bytes for any number of workers. Several processes may call this at
    once: each makes its own copy, the first to finish is kept. MSTError if the folder cannot be written.
    """
    folder, scene = home(config, root, scene) / split, scene or Scene()
    extent(config, split)
    if folder.is_dir():
        return folder
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent, split)
        temporary = Path(tempfile.mkdtemp(prefix=f".{split}-", dir=folder.parent))
        temporary.chmod(0o755)  # mkdtemp's 700 would lock out others who share the cache
        _write(temporary, config, split, scene, workers or default_workers())
        with contextlib.suppress(OSError):  # another process was first: its bytes are the same
            temporary.rename(folder)
        if not folder.is_dir():
            raise OSError(f"could not rename {temporary}")
    except OSError as error:
        why = error.strerror or error
        raise MSTError(f"cannot write MiniVID to {folder}: {why}; set MST_DATA to a folder with room") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def default_workers() -> int:
    """One process a core that this process may use, at most eight."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores)


def load_minivid(
    config: DataConfig, split: str, root: Path | None = None, workers: int | None = None,
    scene: Scene | None = None,
) -> list[MiniClip]:
    """The clips of a split, generated first if absent; MSTError if the cached files are damaged."""
    folder, (clips, length) = ensure_minivid(config, split, root, workers, scene), extent(config, split)
    try:
        frames = np.load(folder / "frames.npy", mmap_mode="r", allow_pickle=False)
        with np.load(folder / "targets.npz", allow_pickle=False) as file:
            columns = {name: file[name] for name in (*FIELDS, "pan")}
    except Exception as error:  # numpy and zipfile raise a dozen kinds on damaged files
        raise _damaged(folder, error) from error
    want = (clips, length, 3, config.size, config.size)
    if frames.shape != want or frames.dtype != np.uint8:
        raise _damaged(folder, f"frames.npy is {frames.dtype} {frames.shape}, expected uint8 {want}")
    pan = columns.pop("pan")
    rows = len(columns["clip"])
    if pan.shape != (clips, length, 2) or any(len(column) != rows for column in columns.values()):
        raise _damaged(folder, "targets.npz: columns of unequal length")
    bounds = np.searchsorted(columns["clip"], np.arange(clips + 1))
    return [
        MiniClip(f"{config.name}/{split}/{c:04d}", frames[c],
                 {name: column[bounds[c]:bounds[c + 1]] for name, column in columns.items()}, pan[c])
        for c in range(clips)
    ]


def _damaged(folder: Path, why: object) -> MSTError:
    return MSTError(f"damaged MiniVID cache in {folder} ({why}); delete this folder, it will be made again")
