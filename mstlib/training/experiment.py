"""One training from end to end: open the data, train, export. What `mst` and the Snakemake graph
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
from mstlib.config import Config, MSTError
from mstlib.data.clip import Clip
from mstlib.data.dataset import Dataset
from mstlib.distributed import rank
from mstlib.fileio import ROOT
from mstlib.model.detector import MST, build_model
from mstlib.profiles import get_config
from mstlib.training.state import load_state
from mstlib.training.train import PLAINLY, How, pretrain, train_variant

SHIPPED_SEED = 0  # of every variant this seed's weights ship
CHECKPOINTS = ROOT / "results" / "checkpoints"


def clips_of(config: Config, split: str, root: Path | None = None, skip_bad: bool = False
             ) -> Dataset:
    """A split of the configuration's data set, frames at the configuration's size.

    root: the data set's folder (of one that is generated: the cache, None for the usual one).
    skip_bad and errors are those of `load_minivid` and `open_dataset`; MSTError where a folder is
    needed and none is given.
    """
    source = config.source
    if source.format == "minivid":
        from mstlib.data.minivid.benchmark import CLASSES, load_minivid

        dataset = Dataset(config.data.name, split, CLASSES, load_minivid(config.data, split, root))
    elif source.format == "miniuav":
        from mstlib.data.miniuav.generate import ensure_miniuav

        dataset = opened("uavdt", split, ensure_miniuav(config.data, root), skip_bad)
        dataset = replace(dataset, name=config.data.name)
    else:
        dataset = opened(source.format, split, root, skip_bad)
    if not (source.short_side or source.long_side):
        return dataset
    from mstlib.data.frames import Sized

    clips = [Sized(clip, source.short_side, source.long_side) for clip in dataset]
    return replace(dataset, clips=clips)


def opened(form: str, split: str, root: Path | None, skip_bad: bool = False) -> Dataset:
    """A split of a data set on disk; MSTError without a folder or as `open_dataset`."""
    from mstlib.data.readers import open_dataset

    if root is None:
        raise MSTError(f"data of format {form} lies in a folder of yours: give --data {form}:PATH")
    return open_dataset(form, root, split, skip_bad)


def for_data(config: Config, dataset: Dataset) -> Config:
    """The configuration with as many classes as the data set has."""
    return replace(config, model=replace(config.model, classes=len(dataset.classes)))


def targets_of(clips: Sequence[Clip]) -> list[list]:
    """Ground truth of every frame of every clip."""
    return [[clip.target(t) for t in range(len(clip))] for clip in clips]


def run_pretraining(config: Config, seed: int, out: Path, root: Path | None = None,
                    how: How = PLAINLY) -> dict:
    """Single-frame pretraining on the training split, saved to `out`."""
    data = clips_of(config, "train", root, how.skip_bad)
    return pretrain(for_data(config, data), data, seed, out, how)


def run_training(config: Config, seed: int, init: Path | None, out: Path, weights: Path,
                 root: Path | None = None, how: How = PLAINLY) -> dict:
    """Train a variant from `init` to the training state `out`, and export its `weights`.

    Where safetensors is not installed (a bare GPU image), the training state is all that is left,
    with a warning; the same call elsewhere goes on from it and exports. Of several processes the
    first exports.
    """
    data = clips_of(config, "train", root, how.skip_bad)
    config = for_data(config, data)
    state = train_variant(config, data, seed, init, out, how)
    if rank() == 0:
        export(config, out, weights, seed, data.classes)
    return state


def export(config: Config, out: Path, weights: Path, seed: int, classes: Sequence[str]) -> None:
    """The weights of the training state `out` as safetensors, if that is installed."""
    model = build_model(config)
    model.load_state_dict(load_state(out)["model"])
    if importlib.util.find_spec("safetensors"):
        save_weights(model, weights, seed, classes=classes)
    else:
        warnings.warn(f"safetensors is not installed: {out} holds the training, {weights} was not "
                      f"written", stacklevel=2)


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
    from mstlib.data.minivid.generate import home

    config = get_config(profile, variant)
    folder = home(config.data, root).parent / "trained" / profile
    weights = folder / f"{variant}.safetensors"
    if not weights.exists():
        run_pretraining(get_config(profile), SHIPPED_SEED, folder / "pretrained.pt", root)
        run_training(config, SHIPPED_SEED, folder / "pretrained.pt", folder / f"{variant}.pt",
                     weights, root)
    return load_weights(weights, variant)[0]
