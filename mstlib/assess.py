"""One evaluation from end to end: weights in, the measured part of a run record out.

Average precision under each protocol, and what the parts do inside: RPN recall by slice, DAlign's
offsets against the true motion.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path

from mstlib.checkpoint import load_weights
from mstlib.data.clip import Clip
from mstlib.experiment import clips_of, targets_of
from mstlib.model.detector import MST


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

    Recall counts on all clips, alignment on every third.
    """
    from mstlib.evaluate import proposal_recall, slice_masks
    from mstlib.stream import propose_clip

    proposals = [propose_clip(model, clip, model.config.test) for clip in clips]
    recall = {name: proposal_recall(proposals, truth, frames=mask)
              for name, mask in slice_masks(truth).items()}
    recall = {name: None if math.isnan(r) else round(r, 4) for name, r in recall.items()}
    out = {"rpn_recall": recall, "proposals": model.model_config.reference_proposals}
    if model.dalign:
        from mstlib.alignment import alignment_error
        out["alignment"] = alignment_error(model, clips[::every])
    return out
