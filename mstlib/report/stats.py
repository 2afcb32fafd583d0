"""Is a difference real? Two variants compared over seeds and videos, from their run records.

Two things make an mAP uncertain: which videos are tested (bootstrap vectors of the records, drawn
alike for all runs and therefore paired) and which seed trained the model. The interval covers both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.config import MSTError

NAN = float("nan")
ENOUGH_SEEDS = 5  # seed noise is about as large as the paper's small steps; fewer cannot tell them


@dataclass(frozen=True)
class Comparison:
    """How much better one variant is than another, in points of mAP.

    difference: mean over the seeds in common. low, high: 95 % interval. spread: standard deviation
    of the difference over seeds. verdict: holds, does not hold, within noise, or not measured. NaN
    where a number cannot be known.
    """

    difference: float
    low: float
    high: float
    spread: float
    seeds: int
    verdict: str
    note: str


def compare(
    better: Sequence[dict], base: Sequence[dict], part: str = "all", seed: int = 0
) -> Comparison:
    """Compare the runs of two variants on a slice of frames, seed by seed.

    part: all, clean or deteriorated. seed: of the hierarchical bootstrap. MSTError if two runs of a
    seed do not hold the same resamples.
    """
    pairs = _pair_seeds(better, base)
    for one, two in pairs:
        check_pair(one, two, part)
    return compare_vectors([(vector_of(one, part), vector_of(two, part)) for one, two in pairs],
                           seed)


Vector = tuple[float, Array]  # mAP of a run on some frames, and of its resamplings (B,)


def vector_of(record: dict, part: str = "all") -> Vector:
    """mAP of a run on a slice of frames, and of its resamplings of the videos."""
    return slice_map(record, part), np.array(record["bootstrap"].get(part, []), float)


def compare_vectors(pairs: Sequence[tuple[Vector, Vector]], seed: int = 0) -> Comparison:
    """Compare the first with the second of each pair, one a seed; see `compare`."""
    points = [one - two for (one, _), (two, _) in pairs]
    if not pairs or np.isnan(points).any():
        return no_comparison("a slice without objects" if pairs else "no seed in common",
                             len(pairs))
    vectors = np.stack([one - two for (_, one), (_, two) in pairs])  # (S, B)
    low, high = hierarchical_interval(vectors, seed)
    mean, spread = mean_and_sd(points)
    return Comparison(mean, low, high, spread, len(pairs), verdict(low, high),
                      _seed_note(len(pairs)))


def no_comparison(why: str, seeds: int = 0) -> Comparison:
    """What there is to say where something is missing."""
    return Comparison(NAN, NAN, NAN, NAN, seeds, verdict(NAN, NAN), why)


def hierarchical_interval(vectors: Array, seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of a mean over seeds; vectors (S seeds, B resamples of the videos).

    In each resample of the videos the seeds are drawn with replacement too: a model trained with
    another seed would differ as well. NaN resamples (no object drawn) are left out.
    """
    seeds, resamples = vectors.shape
    generator = np.random.default_rng([seed, seeds, resamples])
    picks = generator.integers(seeds, size=(seeds, resamples))
    means = vectors[picks, np.arange(resamples)].mean(axis=0)  # (B,)
    known = means[~np.isnan(means)]
    if not len(known):
        return NAN, NAN
    low, high = np.percentile(known, [2.5, 97.5]).tolist()
    return low, high


def verdict(low: float, high: float) -> str:
    """What an interval of a claimed gain says: holds, does not hold or within noise."""
    if np.isnan(low) or np.isnan(high):
        return "not measured"
    if low > 0:
        return "holds"
    return "does not hold" if high < 0 else "within noise"


def slice_map(record: dict, part: str = "all") -> float:
    """mAP of a record on a slice under its main protocol, percent; NaN if it has none."""
    value = record["metrics"][record["protocol"]]["slices"].get(part)
    return NAN if value is None else value


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; NaN if there are too few values or one is NaN."""
    known = len(values) and not np.isnan(values).any()
    return (fmean(values) if known else NAN, stdev(values) if known and len(values) > 1 else NAN)


def _pair_seeds(better: Sequence[dict], base: Sequence[dict]) -> list[tuple[dict, dict]]:
    """Records of equal seed, by rising seed."""
    ones, twos = ({record["seed"]: record for record in side} for side in (better, base))
    return [(ones[seed], twos[seed]) for seed in sorted(ones.keys() & twos.keys())]


def _videos(record: dict) -> dict:
    """What a run was tested on; records written before frames could be skipped do not say so."""
    counts = {"skipped": 0} | record["dataset"].get("counts", {})
    return record["dataset"] | {"counts": counts}


def check_pair(one: dict, two: dict, part: str) -> None:
    """MSTError unless two records were tested on the same videos and hold the same resamples."""
    sizes = [len(record["bootstrap"].get(part, [])) for record in (one, two)]
    if _videos(one) != _videos(two) or sizes[0] != sizes[1] or not sizes[0]:
        raise MSTError(f"{one['id']} and {two['id']} cannot be paired on '{part}' ({sizes[0]} and "
                       f"{sizes[1]} resamples); evaluate both on the same videos again")


def _seed_note(seeds: int) -> str:
    """A warning if there are too few seeds to know how much a seed matters."""
    if seeds == 1:
        return "1 seed: seed noise is not in the interval"
    return f"only {seeds} seeds: seed noise is poorly known" if seeds < ENOUGH_SEEDS else ""
