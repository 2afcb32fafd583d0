"""One evaluation from end to end: weights or saved detections in, a run's figures out.

Clips are detected, scored and forgotten one by one; what stays in memory is the verdicts, 15 bytes
a detection and protocol. Sec. IV-A of the paper; docs/evaluation.md tells how to save, resume,
share among processes and score again.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.checkpoint import load_weights
from mstlib.config import Config, MSTError, config_from_dict
from mstlib.data.clip import Clip, Target
from mstlib.data.dataset import BadFile, Dataset
from mstlib.distributed import choose_device
from mstlib.evaluation.bootstrap import bootstrap_slices
from mstlib.evaluation.columns import ClipDetections
from mstlib.evaluation.detecting import detections_of, save_detections, this_process
from mstlib.evaluation.detections import (
    Index,
    check_same,
    read_index,
    read_shard,
    require_complete,
    shards,
)
from mstlib.evaluation.detections_csv import first_clip, read_csv
from mstlib.evaluation.evaluate import check_protocol, coco_metrics, table_metrics
from mstlib.evaluation.matching import RULES, Verdicts, assemble, match_clip
from mstlib.evaluation.measures import measures
from mstlib.evaluation.motion import Truth, annotate
from mstlib.evaluation.workers import share
from mstlib.link import LINKS, link
from mstlib.model.detector import MST
from mstlib.profiles import get_config
from mstlib.training.experiment import clips_of, targets_of

USUAL = ("vid", "vid-devkit", "coco")
Data = tuple[str, Path] | None  # format (see `mstlib.data.readers.FORMATS`) and folder


@dataclass(frozen=True)
class Ask:
    """What is asked of an evaluation; skip_bad: leave out frames that cannot be read. link: how
    detections are linked across frames before they are scored (`mstlib.link.LINKS`), "": not."""

    protocols: Sequence[str] = USUAL
    bootstrap: bool = True
    skip_bad: bool = False
    jobs: int = 1
    link: str = ""

    def __post_init__(self) -> None:
        """MSTError now rather than after hours of detecting."""
        for name in self.protocols:
            check_protocol(name)
        if self.link and self.link not in LINKS:
            raise MSTError(f"unknown linking '{self.link}'; choose one of {', '.join(LINKS)}")
        if "coco" in self.protocols and not find_spec("pycocotools"):
            raise MSTError("the coco protocol needs pycocotools: pip install 'mstlib[all]'")

    @property
    def matched(self) -> list[str]:
        """Protocols that need matching; the bootstrap is one of `vid`."""
        wanted = {*self.protocols, *(("vid",) if self.bootstrap else ())}
        return [name for name in RULES if name in wanted]


@dataclass(frozen=True)
class Score:
    """A clip that has been scored: verdicts by protocol; found: kept if `coco` is asked for."""

    number: int
    truth: Truth
    verdicts: dict[str, Verdicts]
    skipped: int  # frames
    found: ClipDetections | None


def run_evaluation(weights: Path, split: str = "test", variant: str | None = None,
                   protocols: Sequence[str] = USUAL, bootstrap: bool = True,
                   root: Path | None = None, data: Data = None, save: Path | None = None,
                   skip_bad: bool = False, jobs: int = 1, device: str = "cpu",
                   settings: dict[str, object] | None = None) -> dict:
    """Evaluate exported weights on a split of a data set: the measured part of a run record.

    data: MiniVID if None. save: a folder for the detections, gone on from where it was left; needed
    under torchrun, whose processes share the clips (number 0 alone scores, the others return {}).
    settings: changed for detecting, see `load_weights`. The half-precision file is what is
    evaluated, so that whoever has it gets the same figures.
    """
    ask, begun = Ask(protocols, bootstrap, skip_bad, jobs), time.monotonic()
    model, dataset, run = prepared(weights, split, variant, root, data, skip_bad, device, settings)
    text = f"({run['variant']}) seed {run['seed']} on {dataset.name} {split}"
    if save is None and this_process()[1] > 1:
        raise MSTError("several processes share an evaluation through a folder: give --save FOLDER")
    scores, proposals = [], []
    if save is None:
        for number, columns, found in detections_of(model, dataset, range(len(dataset)), skip_bad,
                                                    text):
            scores.append(score_clip(dataset, ask, number, columns))
            proposals.append([f and f.proposals for f in found])
    else:
        save_detections(model, dataset, save, run, skip_bad, text)
        if this_process()[0]:
            return {}
        scores = score_folder(save, dataset, ask)
    out = identity(run, begun, device) | figures(scores, dataset, ask)
    return out if data else out | {
        "measures": measures(model, dataset, targets_of(dataset), proposals or None)}


def rescore(source: Path, data: Data = None, split: str | None = None, ask: Ask = Ask(),
            root: Path | None = None) -> dict:
    """As `run_evaluation` from saved detections, a folder or a CSV file; no model is loaded.

    data: needed unless they are of MiniVID; split: that of the folder if None, else test. Where
    nothing says who made them, as in a CSV file, without variant, seed, config and time.
    """
    index, begun = None if Path(source).is_file() else read_index(source), time.monotonic()
    run = index.run if index else {}
    config = None if data else _config_of(source, run)
    dataset = open_data(config, data, split or (index.split if index else "test"), root,
                        ask.skip_bad)
    scores = (score_folder(source, dataset, ask) if index else
              [score_clip(dataset, ask, *item) for item in read_csv(source, dataset)])
    known = {"variant", "seed", "config", "weights"} <= set(run)
    return (identity(run, begun, "cpu") if known else {}) | figures(scores, dataset, ask)


def _config_of(source: Path, run: dict) -> Config:
    """The configuration of a run; of a CSV file without one MiniVID's, if its clips are MiniVID's.

    MSTError if nothing tells the data set.
    """
    if "config" in run:
        return config_from_dict(run["config"])
    mini = get_config("mini")
    if Path(source).is_file() and first_clip(source).startswith(f"{mini.data.name}/"):
        return mini
    raise MSTError(f"{source}: give the data set that these detections are of, --data PATH")


def prepared(weights: Path, split: str, variant: str | None, root: Path | None, data: Data,
             skip_bad: bool, device: str, settings: dict[str, object] | None
             ) -> tuple[MST, Dataset, dict]:
    """What an evaluation needs: model on its device, data set, and who they are; see
    `run_evaluation`."""
    model, metadata = load_weights(weights, variant, settings)
    dataset = open_data(model.config, data, split, root, skip_bad)
    check_classes(model, metadata, dataset, weights)
    run = {"weights": Path(weights).name, "sha256": file_hash(weights), "seed": metadata["seed"],
           "variant": metadata["variant"], "config": model.config.to_dict()}
    return model.to(choose_device(device)).eval(), dataset, run


def identity(run: dict, begun: float, device: str) -> dict:
    """Whose figures they are, and what detecting (or scoring again) took since `begun`."""
    return {"weights": run["weights"], "variant": run["variant"], "seed": int(run["seed"]),
            "config": run["config"], "device": str(choose_device(device)),
            "evaluate_s": round(time.monotonic() - begun, 1)}


def open_data(config: Config | None, data: Data, split: str, root: Path | None = None,
              skip_bad: bool = False) -> Dataset:
    """A split with frames and boxes as they are on disk; without data: MiniVID as in `config`.

    root: MiniVID's cache. MSTError as `open_dataset` and `load_minivid`.
    """
    if data is not None:
        from mstlib.data.readers import open_dataset

        return open_dataset(*data, split, skip_bad)
    if not config.generated:
        raise MSTError(f"this is about {config.source.format} data in a folder of yours: give "
                       f"--data {config.source.format}:PATH")
    return clips_of(replace(config, source=replace(config.source, short_side=0, long_side=0)),
                    split, root)


def check_classes(model: MST, metadata: dict[str, str], dataset: Dataset, weights: Path) -> None:
    """MSTError unless the model tells apart the classes of the data set, as far as it says."""
    count, there = model.config.model.classes, tuple(dataset.classes)
    named = tuple(json.loads(metadata.get("classes", "[]")))  # absent from older weights
    if count != len(there) or named not in ((), there):
        names = f" ({', '.join(named[:3])} ...)" if named else ""
        raise MSTError(f"{weights}: a model of {count} classes{names}, {dataset.name} has "
                       f"{len(there)} ({', '.join(there[:3])} ...); train one on it, or give the "
                       "--data that it was trained on")


def file_hash(path: Path) -> str:
    """SHA-256 of a file: what tells two trainings of one name apart."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Scoring ------------------------------------------------------------------------------------------


def score_folder(folder: Path, dataset: Dataset, ask: Ask) -> list[Score]:
    """Score saved detections shard by shard; MSTError if they are incomplete or of other data."""
    index = read_index(folder)
    check_same(index, dataset, folder)
    held = shards(folder, index)
    require_complete(folder, index, held)
    return list(chain(*share(partial(_score_shard, index, dataset, ask), list(held), ask.jobs)))


def _score_shard(index: Index, dataset: Dataset, ask: Ask, path: Path) -> list[Score]:
    return [score_clip(dataset, ask, *item) for item in read_shard(path, index)]


def score_clip(dataset: Dataset, ask: Ask, number: int, found: ClipDetections,
               relations: Sequence[Array] | None = None) -> Score:
    """The verdicts on a clip's detections; ground truth of skipped frames does not count either.

    relations: of neighbouring frames, for `ask.link` blr; see `mstlib.link`.
    """
    clip = dataset[number]
    if ask.link:
        found = link(ask.link, found, relations)
    targets = [None if skipped else _target(clip, t, ask.skip_bad)
               for t, skipped in enumerate(found.skipped)]
    found = found.without(np.array([target is None for target in targets]))
    truth = annotate(targets, f"{dataset.name}, clip {clip.name}", len(dataset.classes))
    return Score(number, truth, {name: match_clip(found, truth, name) for name in ask.matched},
                 int(found.skipped.sum()), found if "coco" in ask.protocols else None)


def _target(clip: Clip, t: int, skip_bad: bool) -> Target | None:
    try:
        return clip.target(t)
    except BadFile as error:
        if skip_bad:
            return None
        raise MSTError(f"{error}; or leave out what cannot be read: --skip-bad") from error


def figures(scores: Sequence[Score], dataset: Dataset, ask: Ask) -> dict:
    """data set, split, clips, frames (without the skipped ones), skipped, metrics, bootstrap."""
    scores = sorted(scores, key=lambda score: score.number)
    truths, lengths = [s.truth for s in scores], [len(clip) for clip in dataset]
    skipped, found, out = sum(s.skipped for s in scores), {}, {}
    if skipped == sum(lengths):
        raise MSTError(f"{dataset.name} {dataset.split}: not one frame could be read; look at it "
                       "with mst data check")
    for name in ask.matched:  # a table at a time: the verdicts in it are not held twice for long
        table = assemble(name, dataset.classes, [s.verdicts.pop(name) for s in scores], truths,
                         lengths)
        found[name] = table_metrics(table) if name in ask.protocols else {}
        if name == "vid" and ask.bootstrap:
            out["bootstrap"] = bootstrap_slices(table)
    if "coco" in ask.protocols:
        found["coco"] = coco_metrics([s.found for s in scores], truths, dataset.classes, ask.jobs)
    return {"dataset": dataset.name, "split": dataset.split, "clips": len(scores),
            "frames": sum(lengths) - skipped, "skipped": skipped,
            "metrics": {name: found[name] for name in ask.protocols}} | out
