"""One run from end to end: train, export, evaluate, record. What `mst` and the Snakemake graph
call.

Folders: training states and kept maps go to a work folder (`build/<profile>`), what is worth
keeping to `results/`: run records, tables and one seed's checkpoints.
"""

import importlib.util
import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mstlib.checkpoint import load_weights, save_weights
from mstlib.config import Config, get_config
from mstlib.data.clip import Clip
from mstlib.model.detector import MST
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


def run_evaluation(weights: Path, split: str = "test", variant: str | None = None,
                   protocols: Sequence[str] = ("vid", "vid-devkit", "coco"), bootstrap: bool = True,
                   root: Path | None = None) -> dict:
    """Evaluate exported weights on a split of their data set: the measured part of a run record.

    The half-precision file is what is evaluated, so that whoever has it gets the same figures.
    """
    from mstlib.data.minivid import CLASSES
    from mstlib.evaluate import bootstrap_slices, metrics
    from mstlib.matching import match
    from mstlib.stream import detect_clips

    model, metadata = load_weights(weights, variant)
    clips = clips_of(model.config, split, root)
    begun = time.monotonic()
    predictions = detect_clips(model, clips, model.config.test,
                               f"({metadata['variant']}) seed {metadata['seed']} on {split}")
    wall, truth = time.monotonic() - begun, targets_of(clips)
    frames = sum(len(c) for c in clips)
    out = {"variant": metadata["variant"], "seed": int(metadata["seed"]), "split": split,
           "clips": len(clips), "frames": frames, "evaluate_s": round(wall, 1),
           "metrics": {p: metrics(predictions, truth, CLASSES, p) for p in protocols}}
    if bootstrap:
        out["bootstrap"] = bootstrap_slices(match(predictions, truth, CLASSES), truth)
    return out | {"config": model.config.to_dict(), "measures": measures(model, clips, truth)}


def measures(model: MST, clips: Sequence[Clip], truth: list[list], every: int = 3) -> dict:
    """What the parts do inside: RPN recall by slice, and DAlign's offsets against the true motion.

    Recall counts on every third clip (the proposals need a second pass), alignment likewise.
    """
    from mstlib.evaluate import proposal_recall, slice_masks
    from mstlib.stream import propose_clip

    some, known = clips[::every], truth[::every]
    proposals = [propose_clip(model, clip, model.config.test) for clip in some]
    masks = slice_masks(known)
    recall = {name: proposal_recall(proposals, known, frames=masks[name])
              for name in ("all", "clean", "deteriorated")}
    recall = {name: None if math.isnan(r) else round(r, 4) for name, r in recall.items()}
    out = {"rpn_recall": recall, "proposals": model.model_config.reference_proposals}
    if model.dalign:
        from mstlib.alignment import alignment_error
        out["alignment"] = alignment_error(model, some)
    return out


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
