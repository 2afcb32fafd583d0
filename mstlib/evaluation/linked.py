"""Evaluating a detector with its detections linked across frames (Sec. IV-D, "Post-processing")."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from numpy.typing import NDArray as Array

from mstlib.config import MSTError
from mstlib.data.clip import Detections
from mstlib.data.dataset import BadFile, Dataset
from mstlib.data.frames import Sized
from mstlib.evaluation.assess import USUAL, Ask, Data, figures, identity, prepared, score_clip
from mstlib.evaluation.columns import ClipDetections, flatten
from mstlib.evaluation.detecting import this_process
from mstlib.model.detector import MST
from mstlib.model.linking import box_relations
from mstlib.progress import progress
from mstlib.stream import find_clip


def run_linked(weights: Path, links: Sequence[str], split: str = "test",
               variant: str | None = None, protocols: Sequence[str] = USUAL,
               root: Path | None = None, data: Data = None, skip_bad: bool = False,
               device: str = "cpu", settings: dict[str, object] | None = None
               ) -> dict[str, dict]:
    """As `run_evaluation`, once for each way of linking the same detections: by name of `LINKS`.

    MSTError as there, for an unknown name, and for blr where the detector has no relations.
    """
    asks = {name: Ask(protocols, True, skip_bad, link=name) for name in links}
    begun, scores = time.monotonic(), {name: [] for name in links}
    if this_process()[1] > 1:
        raise MSTError("several processes share an evaluation through a folder: give --save FOLDER "
                       "first, then link what it holds: --detections FOLDER --link seqnms")
    model, dataset, run = prepared(weights, split, variant, root, data, skip_bad, device, settings)
    for number, found, relations in linkable(model, dataset, skip_bad, "blr" in links):
        for name, ask in asks.items():
            scores[name].append(score_clip(dataset, ask, number, found, relations))
    return {name: identity(run, begun, device) | figures(scores[name], dataset, ask)
            for name, ask in asks.items()}


def linkable(model: MST, dataset: Dataset, skip_bad: bool, related: bool
             ) -> Iterator[tuple[int, ClipDetections, list[Array] | None]]:
    """(number, detections, relations of neighbouring frames if `related`) of each clip."""
    source = model.config.source
    for n in progress(range(len(dataset)), f"linked detections on {dataset.name} {dataset.split}"):
        clip = Sized(dataset[n], source.short_side, source.long_side)
        try:
            frames = list(find_clip(model, clip, model.config.test, skip_bad))
        except BadFile as error:
            raise MSTError(f"{error}; or leave out what cannot be read: --skip-bad") from error
        found = [f and Detections(f.detections.boxes / clip.scale(t), f.detections.scores,
                                  f.detections.labels) for t, f in enumerate(frames)]
        yield (n, flatten(found, f"detections, clip {clip.name}", len(dataset.classes)),
               box_relations(model, frames) if related else None)
