"""The batch: starts the Snakemake graph, compares what it reproduced.

The graph itself, what depends on what and the command of each step, is `Snakefile`; Snakemake knows
what is out of date and runs it here, on SLURM or on Kubernetes. Not part of the paper.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from mstlib.config import MSTError
from mstlib.fileio import ROOT, read_json
from mstlib.profiles import PROFILES, get_config
from mstlib.report.catalogue import select

SETTINGS = (  # what the Snakefile reads from its config
    "profile", "train", "runs", "tables", "seeds", "pretrain_seed", "work", "results", "notebook",
)
ROUNDING = 0.05   # mAP in percent: what another machine's rounding moves
DIFFERENT = 0.5   # mAP in percent: more than rounding explains


def reproduce(
    profile: str = "mini", train: bool = False, jobs: int = 2, where: str = "local",
    settings: dict[str, str] | None = None, options: Sequence[str] = (),
) -> int:
    """Run the graph of `Snakefile`; returns 0, or 1 if a job failed or results differ.

    jobs: at once; where: a folder of `workflow/`; settings: values of the Snakefile such as
    {"seeds": "0,1"}; options: passed to snakemake. MSTError outside the repository, if a shipped
    checkpoint is missing, or if another batch runs in the same folder.
    """
    values = {"profile": profile, "train": str(train)} | (settings or {})
    command = snakemake_command(jobs, where, values, options)
    if not train:
        require_shipped(profile, values)
    with only_one(ROOT / "build" / "reproduce.lock") as lock:
        code = _wait(subprocess.Popen(command, cwd=ROOT, pass_fds=[lock]))
    work = ROOT / values.get("work", f"build/{profile}")
    report = work / "reproduced.json"
    if (work / "index.html").exists():
        print(f"tables, figures, times and failures: {os.path.relpath(work / 'index.html')}")
    if code or train or not report.exists():
        return code
    rows = read_json(report)
    print("\n".join(report_lines(rows)))
    return int(any(row["verdict"] == "differs" for row in rows))


def _wait(child: subprocess.Popen) -> int:
    """The child's exit code; on Ctrl-C, which reaches it too, it gets the time to stop its jobs."""
    try:
        return child.wait()
    except KeyboardInterrupt:
        child.wait()
        raise


def snakemake_command(
    jobs: int, where: str, settings: dict[str, str], options: Sequence[str] = ()
) -> list[str]:
    """The command line that runs the graph; MSTError outside a clone or for unknown names."""
    get_config(settings["profile"])
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        raise MSTError(f"the batch has no setting '{unknown[0]}'; it has {', '.join(SETTINGS)}")
    if not (ROOT / "Snakefile").exists():
        raise MSTError(f"{ROOT}/Snakefile is missing: run this in a clone of the repository")
    places = sorted(p.parent.name for p in (ROOT / "workflow").glob("*/config.yaml"))
    if where not in places:
        raise MSTError(f"no workflow/{where}/config.yaml; choose one of {', '.join(places)}")
    if where != "local" and not find_spec(f"snakemake_executor_plugin_{where}"):
        raise MSTError(f"'{where}' needs: pip install snakemake-executor-plugin-{where}")
    return [
        sys.executable, "-m", "snakemake", "--directory", str(ROOT), "--snakefile",
        str(ROOT / "Snakefile"), "--workflow-profile", str(ROOT / "workflow" / where),
        "--cores" if where == "local" else "--jobs", str(jobs), "--nolock", *options,
        "--config", *(f"{name}={value}" for name, value in settings.items()),
    ]


def require_shipped(profile: str, settings: dict[str, str]) -> None:
    """MSTError if a checkpoint that the batch would evaluate is missing."""
    home = "results" if profile == "mini" else f"build/{profile}/results"
    folder = ROOT / settings.get("results", home) / "checkpoints"
    runs = select(profile, settings.get("runs", ""), settings.get("tables", ""))
    missing = [path for name, run in runs.items() if run.shipped
               and not (path := folder / f"{profile}-{name}.safetensors").exists()]
    if missing:
        raise MSTError(f"{missing[0]}: no such checkpoint; train it with `mst reproduce --train "
                       f"--profile {profile}`")


@contextmanager
def only_one(path: Path):
    """Hold the lock file at `path`; MSTError if another process does.

    Unlike Snakemake's own lock this one ends with its holders, however they end: after a crash or
    a power cut the next run simply goes on. Yields the file descriptor for a child to hold too.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MSTError(f"{path}: another batch runs here; wait for it or stop it") from None
        os.set_inheritable(file.fileno(), True)
        yield file.fileno()


def compare_records(reproduced: Sequence[Path], runs: Path) -> list[dict]:
    """One row for each reproduced record: the committed mAP of the same run, ours, and a verdict.

    mAP in percent. The verdict is "same" within rounding, "close" where another processor may
    explain it, "differs" beyond. MSTError if the committed record is missing.
    """
    from mstlib.report.records import check_record, read_record

    rows = []
    for path in reproduced:
        here = read_json(path)
        check_record(here, str(path))
        there = read_record(runs / f"{here['id']}.json")
        protocol = here["protocol"]
        values = [record["metrics"][protocol]["mAP"] for record in (there, here)]
        rows.append(_row(here, protocol, *values))
    return rows


def _row(record: dict, protocol: str, recorded: float, here: float) -> dict:
    """One comparison; mAP in percent."""
    difference = round(here - recorded, 3)
    verdict = "same" if abs(difference) <= ROUNDING else "close"
    return {
        "run": record["id"], "variant": record["variant"], "protocol": protocol,
        "recorded": round(recorded, 2), "here": round(here, 2), "difference": difference,
        "verdict": verdict if abs(difference) <= DIFFERENT else "differs",
    }


def report_lines(rows: Sequence[dict]) -> list[str]:
    """The comparison as lines for a terminal."""
    wide = max([20, *(len(r["run"]) for r in rows)])
    head = f"{'run':{wide}} {'recorded':>9} {'here':>7} {'difference':>11}  verdict"
    return [head] + [
        f"{r['run']:{wide}} {r['recorded']:9.2f} {r['here']:7.2f} {r['difference']:+11.3f}  "
        f"{r['verdict']}" for r in rows
    ]


def describe() -> list[str]:
    """What is installed here, where the data lies, which checkpoints are shipped: a line each."""
    import torch

    from mstlib import __version__
    from mstlib.data.minivid.generate import home
    from mstlib.report.records import device_name, versions

    device = "cuda" if torch.cuda.is_available() else "cpu"
    shipped = sorted(p.name for p in (ROOT / "results" / "checkpoints").glob("*.safetensors"))
    return [
        f"mstlib {__version__} in {ROOT}",
        ", ".join(f"{name} {version}" for name, version in versions().items()),
        f"device: {device_name(device)}",
        *(f"MiniVID, {name}: {_where(home(config.data))}" for name, config in PROFILES.items()),
        f"checkpoints: {', '.join(shipped) or 'none; train them with `mst reproduce --train`'}",
    ]


def _where(folder: Path) -> str:
    """A data folder with the splits that are there."""
    splits = sorted(p.name for p in folder.glob("[!.]*") if p.is_dir())
    return f"{folder} ({', '.join(splits) or 'not generated yet'})"
