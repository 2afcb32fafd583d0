"""Records of the bench: results/bench/PROFILE-KIND.json, kind cpu or cuda; and running it.

Each experiment stands there with the machine, date and load that it was measured under, so that one
can be measured again without the others. Names of hosts and paths are not recorded.
"""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from mstlib.bench import experiments, layers
from mstlib.bench.steps import How
from mstlib.bench.tables import page_of, text_of
from mstlib.config import MSTError
from mstlib.fileio import write_json, write_text
from mstlib.profiles import get_config
from mstlib.report.records import code_state, versions

FRAMES = {  # whole frames of a profile
    "parts": experiments.parts, "variants": experiments.variants, "modes": experiments.modes,
    "windows": experiments.windows, "sizes": experiments.sizes,
    "proposals": experiments.proposals,
}
LAYERS = {  # single layers, at the paper's sizes only
    "instance": layers.instance, "relation": layers.relation, "alignment": layers.alignment,
}
FIELDS = ("device", "kind", "cores", "threads", "precision", "compiled", "date", "load",
          "versions", "commit", "dirty")


def experiment_names(profile: str) -> list[str]:
    """What is measured in a profile, in order."""
    return [*FRAMES, *(LAYERS if profile == "paper" else [])]


def run(profile: str, names: Sequence[str], how: How) -> Iterator[tuple[str, dict]]:
    """Measure one experiment after the other: its name and its entry of the record.

    MSTError, before anything is measured, if there is no such profile or experiment.
    """
    get_config(profile)
    known = experiment_names(profile)
    for name in names:
        if name not in known:
            raise MSTError(f"profile '{profile}' has no experiment '{name}'; "
                           f"choose one of {', '.join(known)}")
    for name in (name for name in known if name in names or not names):
        load = os.getloadavg()[0]
        result = FRAMES[name](profile, how) if name in FRAMES else LAYERS[name](how)
        load = [round(load, 1), round(os.getloadavg()[0], 1)]
        yield name, {"measured": machine(how) | {"load": load}, **result}


def machine(how: How) -> dict[str, object]:
    """What a time depends on."""
    cuda = how.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(how.device) if cuda else cpu_name(),
        "kind": how.device.type, "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "precision": how.precision, "compiled": how.compiled,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": versions() | ({"cuda": torch.version.cuda} if cuda else {}), **code_state()}


def cpu_name() -> str:
    """The processor's model, or its architecture where the system does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


# ---- files ---------------------------------------------------------------------------------------


def record_path(profile: str, kind: str) -> Path:
    """Where the record of a profile and a kind of device lies; trials with `tiny` are no result."""
    return Path("build" if profile == "tiny" else "results", "bench", f"{profile}-{kind}.json")


def begin_record(path: Path, profile: str, kind: str, anew: bool) -> dict:
    """The record in a file, to be gone on with, or an empty one if there is none.

    MSTError if the file holds another profile or kind, or is damaged; `anew` takes a damaged one,
    or one of an older version, for none.
    """
    record = {"profile": profile, "kind": kind, "experiments": {}}
    if path.exists():
        try:
            record = read_bench(path)
        except MSTError:
            if not anew:
                raise
    if (record["profile"], record["kind"]) != (profile, kind):
        raise MSTError(f"{path} holds profile '{record['profile']}' on {record['kind']}, not "
                       f"'{profile}' on {kind}; choose another --out")
    return record


def update_record(path: Path, record: dict, name: str, entry: dict) -> None:
    """Put one experiment into the record and write it; the others stay. The same as tables stands
    beside it, in a .md."""
    found = record["experiments"] | {name: entry}
    names = experiment_names(record["profile"])
    record["experiments"] = {n: found[n] for n in names if n in found}
    write_json(path, record)
    write_text(path.with_suffix(".md"), page_of(record))


def read_bench(path: str | Path) -> dict:
    """The record in a file; MSTError if it is missing or damaged."""
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MSTError(f"cannot read {path}: {error.strerror}; `mst bench` makes it") from None
    except ValueError as error:
        raise MSTError(f"{path} is damaged ({error}); make it again with `mst bench`") from None
    for problem in problems(record):
        raise MSTError(f"{path}: {problem}; make it again with `mst bench`")
    return record


def problems(record: object) -> Iterator[str]:
    """What is wrong with a record, if anything."""
    if not isinstance(record, dict) or not isinstance(record.get("experiments"), dict):
        yield "not a record of the bench"
        return
    if {"profile", "kind", "experiments"} != set(record):
        yield "fields must be profile, kind and experiments"
    for name, entry in record["experiments"].items():
        if name not in FRAMES | LAYERS:
            yield f"unknown experiment '{name}'"
        elif not isinstance(entry.get("rows"), list) or not entry["rows"]:
            yield f"experiment '{name}' has no rows"
        elif missing := [f for f in FIELDS if f not in entry.get("measured", {})]:
            yield f"experiment '{name}' does not say its {missing[0]}"
        else:
            try:
                text_of(name, entry)
            except (KeyError, TypeError) as error:
                yield f"experiment '{name}' is of another version of mstlib (no {error})"
