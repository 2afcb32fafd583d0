"""MiniVID, the embedded benchmark: generated once from a seed, cached on disk, read as clips.

The class of an object is its body and the key painted on its front: from behind, only other frames
tell. `scene.py` draws what happens in a clip, `render.py`, `sprite.py` and `film.py` turn it into
frames, `generate.py` writes the files, `card.py` describes the result. Not part of the paper: it
stands in for ImageNet VID, which cannot be had on most machines: DEVIATIONS.md 1.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mstlib.config import DataConfig, MSTError
from mstlib.data.clip import Target
from mstlib.data.minivid.film import FIELDS
from mstlib.data.minivid.generate import ensure_minivid, extent
from mstlib.data.minivid.scene import BODIES, KEYS, Scene

__all__ = ["CLASSES", "MiniClip", "Scene", "ensure_minivid", "load_minivid"]

CLASSES = tuple(f"{body}-{key}" for body in BODIES for key in KEYS)  # label = 1 + 2 * body + key


@dataclass(frozen=True)
class MiniClip:
    """A clip of MiniVID; see `mstlib.data.clip.Clip`."""

    name: str
    frames: np.ndarray           # (T, 3, S, S) uint8, memory-mapped
    rows: dict[str, np.ndarray]  # columns of `FIELDS`, a row for each object and frame
    pan: np.ndarray              # (T, 2) px: where the background lies on the screen

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, t: int) -> Tensor:
        """Frame t as a (3, S, S) uint8 RGB tensor."""
        return torch.from_numpy(np.array(self.frames[t]))

    def at(self, t: int) -> dict[str, np.ndarray]:
        """All columns of `FIELDS` in frame t: the target's, and azimuth, visible, key, speed ..."""
        here = self.rows["frame"] == t
        return {name: column[here] for name, column in self.rows.items()}

    def target(self, t: int) -> Target:
        """Ground truth of frame t."""
        now = self.at(t)
        names = ("box", "label", "id", "flags", "centre")
        return Target(*(torch.from_numpy(now[name]) for name in names))

    def true_motion(self, t: int, s: int, stride: int) -> tuple[Tensor, Tensor]:
        """Where each cell of frame t's feature grid has gone in frame s: what DAlign should find.

        Returns displacement (h, w, 2) float32 in cells (x, y), and mask (h, w) int64: the track id
        where the cell's centre lies in the box of an object annotated in both frames (the nearest
        object wins), elsewhere -1 and the background's displacement. The points of an object move
        with its centre and scale about it; its turning is not followed.
        """
        along = (torch.arange(self.frames.shape[-1] // stride) + 0.5) * stride
        cells = torch.stack(torch.meshgrid(along, along, indexing="xy"), dim=-1)  # (h, w, 2) px
        motion = torch.from_numpy(self.pan[s] - self.pan[t]).expand_as(cells).clone()
        mask = torch.full(cells.shape[:2], -1, dtype=torch.int64)
        now, then = self.at(t), self.at(s)
        for i in np.argsort(now["depth"], kind="stable"):  # nearest last, over the others
            for j in np.flatnonzero(then["id"] == now["id"][i]):
                corner, opposite = torch.from_numpy(now["box"][i]).view(2, 2)
                inside = ((cells >= corner) & (cells < opposite)).all(dim=-1)
                here = torch.from_numpy(now["centre"][i])
                there = torch.from_numpy(then["centre"][j])
                growth = float(then["scale"][j] / now["scale"][i])
                motion[inside] = (there - here) + (growth - 1) * (cells[inside] - here)
                mask[inside] = int(now["id"][i])
        return motion / stride, mask


def load_minivid(
    config: DataConfig, split: str, root: Path | None = None, workers: int | None = None,
    scene: Scene | None = None,
) -> list[MiniClip]:
    """The clips of a split, generated first if absent.

    MSTError as `ensure_minivid`, and if the cached files are damaged or incomplete.
    """
    folder = ensure_minivid(config, split, root, workers, scene)
    frames, columns, pan = _read(folder, config, split)
    bounds = np.searchsorted(columns["clip"], np.arange(len(frames) + 1))
    clips = []
    for c in range(len(frames)):
        rows = {name: column[bounds[c] : bounds[c + 1]] for name, column in columns.items()}
        clips.append(MiniClip(f"{config.name}/{split}/{c:04d}", frames[c], rows, pan[c]))
    return clips


def _read(folder: Path, config: DataConfig, split: str) -> tuple[np.ndarray, dict, np.ndarray]:
    """Frames (memory-mapped), columns and pan of a split; MSTError unless all shapes fit."""
    (clips, length), size = extent(config, split), config.size
    try:
        frames = np.load(folder / "frames.npy", mmap_mode="r", allow_pickle=False)
        with np.load(folder / "targets.npz", allow_pickle=False) as file:
            columns = {name: file[name] for name in (*FIELDS, "pan")}
    except Exception as error:  # numpy and zipfile raise a dozen kinds on damaged files
        raise _damaged(folder, error) from error
    want = {"frames": (clips, length, 3, size, size), "pan": (clips, length, 2)}
    for name, (width, _) in FIELDS.items():
        want[name] = (len(columns["clip"]), *([width] if width else []))
    for name, array in {"frames": frames, **columns}.items():
        if array.shape != want[name]:
            raise _damaged(folder, f"{name} is {array.shape}, expected {want[name]}")
    if frames.dtype != np.uint8:
        raise _damaged(folder, f"frames.npy holds {frames.dtype}, expected uint8")
    return frames, columns, columns.pop("pan")


def _damaged(folder: Path, why: object) -> MSTError:
    reason = " ".join(str(why).split())
    return MSTError(f"damaged MiniVID cache in {folder} ({reason}); delete this folder, "
                    "it will be made again")
