"""The cells that the paper's tables have in common: our numbers, and what a cell without one says.

Numbers come from run records alone; a row names those that it is made of.
"""

from collections.abc import Mapping, Sequence

from mstlib.report.catalogue import CATALOGUE
from mstlib.report.stats import mean_and_sd, slice_map

Runs = Mapping[str, list[dict]]  # by name of the catalogue: VARIANT or VARIANT-TAG
NOT_OURS = "not re-run: no implementation here"


def by_name(records: Sequence[dict]) -> dict[str, list[dict]]:
    """Records by the name of their run, each by rising seed."""
    runs: dict[str, list[dict]] = {}
    for record in sorted(records, key=lambda r: r["seed"]):
        name = f"{record['variant']}-{record['tag']}" if record["tag"] else record["variant"]
        runs.setdefault(name, []).append(record)
    return runs


def ours(runs: Runs, name: str, data: str, part: str = "all") -> dict:
    """Our cells of a row: mean mAP over seeds on a slice of frames, its spread, how many seeds, and
    the records behind them."""
    found = runs.get(name, [])
    if not found:
        return {f"our mAP ({data})": missing(name), "sd over seeds": None, "seeds": 0, "runs": ""}
    mean, deviation = mean_and_sd([slice_map(record, part) for record in found])
    return {f"our mAP ({data})": mean, "sd over seeds": deviation, "seeds": len(found),
            "runs": ids(found)}


def missing(name: str) -> str:
    """What a cell says whose run is not there."""
    return f"not run: mst reproduce --train --set runs={name}" if name in CATALOGUE else NOT_OURS


def ids(records: Sequence[dict]) -> str:
    """The ids of a run's records, as a shell reads them: mini-g-seed{0,1,2}."""
    stem = records[0]["id"].rpartition("-seed")[0]
    seeds = [str(record["seed"]) for record in records]
    return f"{stem}-seed{seeds[0]}" if len(seeds) == 1 else f"{stem}-seed{{{','.join(seeds)}}}"


def elsewhere(others: Runs, name: str, profile: str, absent: str) -> float | str:
    """Mean mAP of a run at another profile, or what it needs."""
    values = [slice_map(r) for r in others.get(name, []) if r["profile"] == profile]
    return mean_and_sd(values)[0] if values else absent


REAL = {"ImageNet VID": ("imagenet-vid", "imagenet"), "UAVDT": ("uavdt",)}  # names of readers


def real(others: Runs, name: str, data: str = "ImageNet VID") -> dict:
    """The cell for the paper's own data, which whoever has it can fill: `mst evaluate --record` on
    it gives a record like paper-g-imagenet-vid-seed0."""
    found = [r for run in (name, *(f"{name}-{reader}" for reader in REAL[data]))
             for r in others.get(run, []) if r["dataset"]["name"] in REAL[data]]
    return {f"our mAP ({data})": elsewhere({name: found}, name, "paper", f"not run: needs {data}")}


def midi(others: Runs, name: str) -> dict:
    """The cell for profile `midi`, which wants a GPU."""
    return {"our mAP (profile midi)": elsewhere(others, name, "midi", "not run: needs a GPU")}
