"""One training from end to end: train and export. What `mst` and the Snakemake graph
call.

Folders: training states and kept maps go to a work folder (`build/<profile>`), what is worth
keeping to `results/`: run records, tables and one seed's checkpoints.
"""

import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mstlib.checkpoint import load_weights, save_weights
from mstlib.config import Config
from mstlib.data.clip import Clip
from mstlib.model.detector import MST
from mstlib.profiles import get_config
from mstlib.train import load_state, pretrain, train_variant

SHIPPED_SEED = 0  # of every variant this seed's weights ship
CHECKPOINTS = Path(__file__).resolve().parents[1] / "results" / "checkpoints"


def clips_of(config: Config, split: str, root: Path | None = None) -> Sequence[Clip]:
    """The clips of a split of the configuration's data set; raises as `load_minivid`."""
    from mstlib.data.minivid import load_minivid

    return load_minivid(config.data, split, root)


def targets_of(clips: Sequence[Clip]) -> list[list]:
    """Ground truth of every frame of every clip."""
    return [[clip.target(t) for t in range(len(clip))] for clip in clips]


def run_pretraining(config: Config, seed: int, out: Path, root: Path | None = None) -> dict:
    """Single-frame pretraining on the training split, saved to `out`."""
    return pretrain(config, clips_of(config, "train", root), seed, out)


def run_training(config: Config, seed: int, init: Path | None, out: Path, weights: Path,
                 root: Path | None = None) -> dict:
    """Train a variant from `init` to the training state `out`, and export its `weights`.

    Where safetensors is not installed (a bare GPU image), the training state is all that is left,
    with a warning; the same call elsewhere goes on from it and exports.
    """
    state = train_variant(config, clips_of(config, "train", root), seed, init, out)
    model = MST(config)
    model.load_state_dict(load_state(out)["model"])
    if importlib.util.find_spec("safetensors"):
        save_weights(model, weights, seed)
    else:
        warnings.warn(f"safetensors is not installed: {out} holds the training, {weights} was not "
                      f"written", stacklevel=2)
    return state


def test_config(config: Config, **changes: object) -> Config:
    """The configuration with another test window or batch; trained weights stay as they are."""
    return replace(config, test=replace(config.test, **changes))


def trained(profile: str, variant: str, root: Path | None = None) -> MST:
    """The shipped model of a variant; where none ships it is trained first, with a progress bar.

    For notebooks: at `tiny` that takes seconds, at `mini` the checkpoints ship with the repository.
    """
    shipped = CHECKPOINTS / f"{profile}-{variant}.safetensors"
    if shipped.exists():
        return load_weights(shipped, variant)[0]
    from mstlib.data.generate import home

    config = get_config(profile, variant)
    folder = home(config.data, root).parent / "trained" / profile
    weights = folder / f"{variant}.safetensors"
    if not weights.exists():
        run_pretraining(config, SHIPPED_SEED, folder / "pretrained.pt", root)
        run_training(config, SHIPPED_SEED, folder / "pretrained.pt", folder / f"{variant}.pt",
                     weights, root)
    return load_weights(weights, variant)[0]
