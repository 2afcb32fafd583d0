"""Run records: all that is known of one training and its evaluation, as plain JSON.

One file a run, `results/runs/<id>.json`. Tables and notebooks are made from these records alone, so
whoever has them can check every number without training anything.
"""

import itertools
import json
import platform
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torchvision

from mstlib.config import DETECTORS, Config, MSTError
from mstlib.fileio import write_json
from mstlib.report.catalogue import run_name

PACKAGE = Path(__file__).parent
FIELDS = {  # name -> JSON types; every record has all of them
    "id": str, "profile": str, "variant": str, "tag": str, "seed": int, "levels": dict,
    "config": dict, "commit": (str, type(None)), "dirty": (bool, type(None)), "versions": dict,
    "device": str, "seconds": dict, "steps": int, "losses": dict, "dataset": dict, "protocol": str,
    "metrics": dict, "bootstrap": dict, "recipe": list,
}


def new_record(
    config: Config,
    variant: str,
    seed: int,
    *,
    metrics: dict[str, dict],
    bootstrap: dict[str, list],
    split: str,
    counts: dict[str, int],
    steps: int,
    losses: dict[str, float],
    seconds: dict[str, float],
    device: str,
    recipe: list[str],
    protocol: str = "vid",
    tag: str = "",
) -> dict:
    """A run record, ready to be written.

    metrics: of `evaluate.metrics`, by protocol. bootstrap: `bootstrap_slices` under `protocol`.
    counts: clips, frames, objects of `split`. seconds: wall time of "train" and "evaluate".
    losses: the last training losses by name. recipe: the command lines that rerun this. tag: what
    differs from the profile's own settings, such as "k4"; such a run stays out of Table III.
    MSTError if a field is missing or of the wrong kind.
    """
    record = {
        "id": run_id(config.profile, variant, seed, tag),
        "profile": config.profile, "variant": variant, "tag": tag, "seed": seed,
        "levels": asdict(config.levels), "config": config.to_dict(),
        **code_state(), "versions": versions(), "device": device,
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "steps": steps, "losses": losses,
        "dataset": {"name": config.data.name, "split": split, "counts": counts},
        "protocol": protocol, "metrics": metrics, "bootstrap": bootstrap, "recipe": recipe,
    }
    check_record(record, "new record")
    return json.loads(json.dumps(record))  # tuples become lists, as they will be when read back


def run_id(profile: str, variant: str, seed: int, tag: str = "") -> str:
    """Name of a run, such as mini-g-seed0 or mini-g-k4-seed0."""
    return run_name(profile, variant, tag, f"seed{seed}")


def write_record(record: dict, folder: str | Path) -> Path:
    """Write the record to `folder`/<id>.json and return that path; MSTError if it is not sound."""
    path = Path(folder) / f"{record.get('id', 'record')}.json"
    check_record(record, str(path))
    return write_json(path, record)


def read_record(path: str | Path) -> dict:
    """The record in a file; MSTError naming file and field if it is damaged."""
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MSTError(f"cannot read {path}: {error.strerror}; check the path") from error
    except ValueError as error:  # not UTF-8, or not JSON
        raise MSTError(f"{path} is damaged ({error}); restore it or repeat the run") from error
    check_record(record, str(path))
    if record["id"] != path.stem:
        raise MSTError(f"{path} holds the record '{record['id']}'; rename the file to its id")
    return record


def read_runs(folder: str | Path, profile: str) -> list[dict]:
    """Records of a profile in `folder`, by variant, tag and seed; MSTError if one is damaged."""
    records = [read_record(path) for path in Path(folder).glob(f"{profile}-*.json")]
    return sorted(records, key=lambda r: (r["variant"], r["tag"], r["seed"]))


def check_record(record: object, where: str) -> None:
    """MSTError naming `where` and the field unless the record is complete and fits together."""
    if not isinstance(record, dict):
        raise MSTError(f"{where} is damaged: not a run record; restore it or repeat the run")
    for name, kind in FIELDS.items():
        if name not in record or not isinstance(record[name], kind):
            found = f"got {type(record[name]).__name__}" if name in record else "missing"
            raise MSTError(f"{where}: field '{name}' {found}; restore it or repeat the run")
    for problem in _problems(record):
        raise MSTError(f"{where}: {problem}; restore it or repeat the run")


def _problems(record: dict):
    """What does not fit together in a record that has all its fields."""
    wanted = run_id(record["profile"], record["variant"], record["seed"], record["tag"])
    if record["id"] != wanted:
        yield f"field 'id' is '{record['id']}', its other fields say '{wanted}'"
    known = DETECTORS.get(record["variant"])
    if known is None or record["levels"] != asdict(known.levels):
        yield f"field 'levels' is not variant '{record['variant']}' of {', '.join(DETECTORS)}"
    if not isinstance(record["dataset"].get("counts"), dict):
        yield "field 'dataset' has no counts"
    if not {"name", "split"} <= set(record["dataset"]):
        yield "field 'dataset' needs name and split"
    main = record["metrics"].get(record["protocol"])
    if not isinstance(main, dict) or not isinstance(main.get("slices"), dict):
        yield f"field 'metrics' has no slices under '{record['protocol']}'"
    else:
        yield from _odd_numbers("metrics", main["slices"].values())
    yield from _bootstrap_problems(record["bootstrap"])


def _bootstrap_problems(bootstrap: dict):
    """What is wrong with the bootstrap vectors of a record."""
    vectors = list(bootstrap.values())
    if not all(isinstance(vector, list) for vector in vectors):
        yield "field 'bootstrap' must hold lists of mAP by slice"
    elif len({len(vector) for vector in vectors}) > 1:
        yield "field 'bootstrap' has lists of different lengths"
    else:
        yield from _odd_numbers("bootstrap", itertools.chain(*vectors))


def _odd_numbers(field: str, values):
    """Complaints about values that are neither None nor a percentage (NaN is not one)."""
    for value in values:
        if value is not None and not (isinstance(value, int | float) and 0 <= value <= 100):
            yield f"field '{field}' holds {value!r}, not a percentage"


def versions() -> dict[str, str]:
    """Versions of what computes the numbers, and the kind of machine."""
    return {"python": platform.python_version(), "torch": torch.__version__,
            "torchvision": torchvision.__version__, "numpy": np.__version__,
            "platform": f"{platform.system()} {platform.machine()}"}


def device_name(device: str | torch.device) -> str:
    """What to call a device in a record: the GPU's model, or the CPU with its threads."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


def code_state() -> dict[str, str | bool | None]:
    """commit of this package's code, and dirty: does it differ from it? None outside git."""
    tracked = _git("ls-files", "--error-unmatch", Path(__file__).name) is not None
    commit = _git("rev-parse", "HEAD") if tracked else None  # not of a repository around the venv
    changes = _git("status", "--porcelain", "--", ".") if commit else None
    return {"commit": commit, "dirty": None if changes is None else changes != ""}


def _git(*arguments: str) -> str | None:
    """Output of a git command in the package's folder, None if it fails or there is no git."""
    try:
        done = subprocess.run(["git", *arguments], cwd=PACKAGE, capture_output=True, text=True,
                              timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
