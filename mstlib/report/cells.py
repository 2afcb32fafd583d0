"""The cells that the paper's tables have in common: our numbers, and what a cell without one says.

Numbers come from run records alone; a row names those that it is made of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mstlib.report.catalogue import CATALOGUE, run_name
from mstlib.report.stats import mean_and_sd, slice_map

Runs = Mapping[str, list[dict]]  # by name of the catalogue: VARIANT or VARIANT-TAG
NOT_OURS = "not re-run: no implementation here"


@dataclass(frozen=True)
class Given:
    """What a table is made of: records of its runs, and of runs at other profiles; the data set and
    split of the former, for the head of a column; the folder of the bench's records."""

    runs: Runs
    others: Runs
    data: str
    bench: Path


def by_name(records: Sequence[dict]) -> dict[str, list[dict]]:
    """Records by the name of their run, each by rising seed."""
    runs: dict[str, list[dict]] = {}
    for record in sorted(records, key=lambda r: r["seed"]):
        runs.setdefault(run_name(record["variant"], record["tag"]), []).append(record)
    return runs


def ours(given: Given, name: str, part: str = "all") -> dict:
    """Our cells of a row: mean mAP over seeds on a slice of frames, its spread, how many seeds, and
    the records behind them."""
    found, column = given.runs.get(name, []), f"our mAP ({given.data})"
    if not found:
        return {column: missing(name), "sd over seeds": None, "seeds": 0, "runs": ""}
    mean, deviation = mean_and_sd([slice_map(record, part) for record in found])
    return {column: mean, "sd over seeds": deviation, "seeds": len(found), "runs": ids(found)}


def missing(name: str) -> str:
    """What a cell says whose run is not there."""
    return f"not run: mst reproduce --train --set runs={name}" if name in CATALOGUE else NOT_OURS


def ids(records: Sequence[dict]) -> str:
    """The ids of a run's records, as a shell reads them: mini-g-seed{0,1,2}."""
    stem = records[0]["id"].rpartition("-seed")[0]
    seeds = [str(record["seed"]) for record in records]
    return f"{stem}-seed{seeds[0]}" if len(seeds) == 1 else f"{stem}-seed{{{','.join(seeds)}}}"


REAL = {"ImageNet VID": ("imagenet-vid", "imagenet"), "UAVDT": ("uavdt",)}  # names of readers


def real(given: Given, name: str, data: str = "ImageNet VID") -> dict:
    """The cell for the paper's own data, which whoever has it can fill: `mst evaluate --record` on
    it gives a record like paper-g-imagenet-vid-seed0."""
    found = [r for run in (name, *(f"{name}-{reader}" for reader in REAL[data]))
             for r in given.others.get(run, []) if r["dataset"]["name"] in REAL[data]]
    return {f"our mAP ({data})": mean_at(found, "paper", f"not run: needs {data}")}


MIDI, NO_GPU = "our mAP (profile midi)", "not run: needs a GPU"
MIDI_HOW = ("Profile midi (256 pixels, ResNet-50, the parts at full width) is run by `mst "
            "reproduce --train --profile midi --set tables=III,IX` on a GPU, in an estimated 35 to "
            "70 hours.")


def midi(given: Given, name: str) -> dict:
    """The cell for profile `midi`, which wants a GPU."""
    return {MIDI: mean_at(given.others.get(name, []), "midi", NO_GPU)}


def mean_at(records: Sequence[dict], profile: str, absent: str) -> float | str:
    """Mean mAP of the records of a profile, or what to say where there is none."""
    values = [slice_map(r) for r in records if r["profile"] == profile]
    return mean_and_sd(values)[0] if values else absent
