"""What a training goes on from: its state between two steps, whose it is, and the batch that broke
it. Not part of the paper.

A state is written whole or not at all, and read without executing code. It is gone on from by the
training that wrote it only: what decides the weights is saved with it, by name.
"""

import hashlib
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mstlib.config import MSTError
from mstlib.distributed import Group
from mstlib.fileio import load_tensors, write_via
from mstlib.model.detector import MST
from mstlib.training.batches import Batch
from mstlib.training.loader import Feed
from mstlib.training.trainlog import Log

FREE = ("log_every", "save_every")  # settings that decide nothing of what is learnt


@dataclass
class Training:
    """A training between two steps: what is saved and gone on from; run: its `facts`."""

    run: dict[str, object]
    out: Path
    group: Group
    model: MST
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    wall_s: float = 0.0
    log: Log = field(default_factory=Log)

    def resume(self) -> None:
        """Go on from the saved state, if there is one; MSTError if it is incomplete or of another
        run, or if the processes do not all see it."""
        if self.out.exists():
            saved = load_state(self.out)
            check_same_run(saved.get("run"), self.run, self.out)
            try:
                self.restore(saved)
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise MSTError(f"{self.out}: not a complete training state ({error!r:.80}); delete "
                               "it and train again") from error
        if len(set(self.group.gather(self.step))) > 1:
            raise MSTError(f"{self.out}: not all processes see the same state; choose a place on a "
                           "file system that all nodes share")

    def restore(self, saved: dict) -> None:
        """Take over a saved state of this run."""
        for name in ("model", "optimizer", "scaler"):
            getattr(self, name).load_state_dict(saved[name])
        self.step, self.wall_s = saved["step"], saved["wall_s"]
        self.log = Log() if self.group.rank else Log(rows=saved["log"], **saved["notes"])

    def save(self) -> None:
        """Write the state and, beside it, the log; process 0 alone writes."""
        self.log.collect(self.group)
        if self.group.rank == 0:
            notes = asdict(self.log)
            parts = {name: getattr(self, name).state_dict()
                     for name in ("model", "optimizer", "scaler")}
            save_state(self.out, {"run": self.run, "step": self.step, "wall_s": self.wall_s,
                                  "log": notes.pop("rows"), "notes": notes} | parts)
            self.log.write(self.out.with_suffix(".csv"))
        self.group.any(True)  # nobody leaves, which would end all, before it is written


# ---- whose state it is ---------------------------------------------------------------------------


def facts(model: MST, feed: Feed) -> dict[str, object]:
    """What decides the weights of a training, by name: what its state may be gone on with.

    Settings of the recipe stand under their bare names; start and data are digests.
    """
    sections = model.config.to_dict()
    out = {"seed": feed.seed} | {f"{section}.{name}": value
                                 for section in ("levels", "source", "model")
                                 for name, value in sections[section].items()}
    out |= {name: value for name, value in asdict(feed.recipe).items() if name not in FREE}
    start = digest(model.state_dict())
    return out | {"the data's digest": feed.digest(), "the start's digest": start}


def check_same_run(there: object, here: dict[str, object], out: Path) -> None:
    """MSTError that names the first fact in which a saved run and this one differ."""
    if not isinstance(there, dict):
        raise MSTError(f"{out}: not a training state of this version of mstlib; delete it to train "
                       "anew or choose another place")
    differ = [name for name in here | there if here.get(name) != there.get(name)]
    if differ:
        first, more = differ[0], f" and {len(differ) - 1} more" if differ[1:] else ""
        raise MSTError(f"{out}: holds another run ({first} is {there.get(first)} there and "
                       f"{here.get(first)} here{more}); delete it to train anew or choose another "
                       "place")


def digest(tensors: dict[str, Tensor]) -> str:
    """Eight hex digits that tell sets of weights apart."""
    sha = hashlib.sha256()
    for name, tensor in tensors.items():
        sha.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:8]


# ---- files ---------------------------------------------------------------------------------------


def save_state(path: Path, state: dict) -> None:
    """A training checkpoint, written whole or not at all, also through a power cut."""
    with write_via(path) as tmp:
        try:
            torch.save(state, tmp)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(f"torch could not save ({error})".splitlines()[0]) from error
        with tmp.open("rb") as file:
            os.fsync(file.fileno())  # on the disk before it gets its name


def save_bad_batch(out: Path, step: int, batch: Batch, losses: dict[str, float], rank: int) -> Path:
    """Keep the batch that broke a training beside its state, to be looked at: a dict of step,
    picks (clip, frames, flipped), losses and windows (images, or kept conv4 maps)."""
    path = out.with_suffix(f".bad-batch{f'-{rank}' if rank else ''}.pt")
    save_state(path, {"step": step, "picks": [list(pick) for pick in batch.picks],
                      "losses": losses, "windows": batch.windows.cpu()})
    return path


def load_state(path: Path) -> dict:
    """A training checkpoint, read without executing code; MSTError if missing or damaged."""
    if not path.exists():
        raise MSTError(f"{path}: no such checkpoint; train it first (mst pretrain, mst train)")
    try:
        return dict(load_tensors(path))
    except Exception as error:
        raise MSTError(f"{path}: not a readable checkpoint ({type(error).__name__}); "
                       f"delete it and train again") from error
