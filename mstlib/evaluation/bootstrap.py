"""How sure is an mAP? The videos are drawn anew, with replacement, a thousand times."""

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.evaluation.evaluate import SLICES, plain
from mstlib.evaluation.matching import MatchTable
from mstlib.evaluation.motion import frame_slices
from mstlib.evaluation.precision import average_precisions, mean_present


def resample_weights(clips: int, resamples: int, seed: int) -> Array:
    """(resamples, clips): how often each video is drawn, `clips` draws with replacement.

    Depends on its arguments only, so two models on the same videos get the same draws: their
    bootstrap vectors are paired.
    """
    draws = np.random.default_rng([seed, clips]).integers(clips, size=(resamples, clips))
    return np.stack([np.bincount(row, minlength=clips) for row in draws])


def bootstrap_maps(
    table: MatchTable, resamples: int = 1000, seed: int = 0, frames: Array | None = None
) -> Array:
    """(resamples,) mAP in percent with the VIDEOS drawn anew, paired through `resample_weights`.

    Frames of a video are alike, so videos are the units. A class that no drawn video holds is left
    out of that mean; NaN if none is left.
    """
    weights = resample_weights(table.clips, resamples, seed)
    return 100 * mean_present(average_precisions(table, weights, frames))


def bootstrap_slices(
    table: MatchTable, resamples: int = 1000, seed: int = 0
) -> dict[str, list[float | None]]:
    """What a run record keeps: `bootstrap_maps` of each of SLICES, two decimals, None for NaN."""
    masks, maps = frame_slices(table.truth, len(table.clip_of)), {}
    for name in SLICES:
        everything = bool(maps) and masks[name].all()  # no frame is annotated as deteriorated
        maps[name] = maps["all"] if everything else bootstrap_maps(table, resamples, seed,
                                                                   masks[name])
    return {name: plain(values.tolist(), digits=2) for name, values in maps.items()}
