"""Evaluating a detector with its detections linked across frames (Sec. IV-D, "Post-processing")."""

import time
from collections.abc import Sequence
from pathlib import Path

from mstlib.config import MSTError
from mstlib.evaluation.assess import USUAL, Ask, Data, figures, identity, prepared, score_clip
from mstlib.evaluation.detecting import detections_of, this_process
from mstlib.model.linking import box_relations


def run_linked(weights: Path, links: Sequence[str], split: str = "test",
               variant: str | None = None, protocols: Sequence[str] = USUAL,
               root: Path | None = None, data: Data = None, skip_bad: bool = False,
               jobs: int = 1, device: str = "cpu", settings: dict[str, object] | None = None
               ) -> dict[str, dict]:
    """As `run_evaluation`, once for each way of linking the same detections: by name of `LINKS`.

    MSTError as there, for an unknown name, and for blr where the detector has no relations.
    """
    asks = {name: Ask(protocols, True, skip_bad, jobs, name) for name in links}
    begun, scores = time.monotonic(), {name: [] for name in links}
    if this_process()[1] > 1:
        raise MSTError("several processes share an evaluation through a folder: give --save FOLDER "
                       "first, then link what it holds: --detections FOLDER --link seqnms")
    model, dataset, run = prepared(weights, split, variant, root, data, skip_bad, device, settings)
    text = f"linked, ({run['variant']}) seed {run['seed']} on {dataset.name} {split}"
    for number, columns, found in detections_of(model, dataset, range(len(dataset)), skip_bad,
                                                text):
        relations = box_relations(model, found) if "blr" in links else None
        for name, ask in asks.items():
            scores[name].append(score_clip(dataset, ask, number, columns, relations))
    return {name: identity(run, begun, device) | figures(scores[name], dataset, ask)
            for name, ask in asks.items()}
