"""The batch: starts the Snakemake graph, compares what it reproduced, writes its index page.

The graph itself, what depends on what and the command of each step, is `Snakefile`; Snakemake knows
what is out of date and runs it here, on SLURM or on Kubernetes. Not part of the paper.
"""

import csv
import html
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

from mstlib.config import MSTError, get_config
from mstlib.fileio import write_json, write_text

ROOT = Path(__file__).resolve().parents[1]  # the repository
ROUNDING = 0.05  # mAP in percent: what another machine's rounding moves
DIFFERENT = 0.5  # mAP in percent: more than rounding can move, less than two seeds differ


def reproduce(
    profile: str = "mini", train: bool = False, jobs: int = 2, where: str = "local",
    settings: Sequence[str] = (), options: Sequence[str] = (),
) -> int:
    """Run the graph of `Snakefile`; returns the exit code: 0, or 1 if a job failed or results differ.

    jobs: at once; where: a folder of `workflow/`; settings: values of the Snakefile such as
    "seeds=[0,1]"; options: passed to snakemake. MSTError outside the repository, if a shipped
    checkpoint is missing, or if another batch runs in the same folder.
    """
    get_config(profile)
    values = [f"profile={profile}", f"train={train}", *settings]
    command = snakemake_command(jobs, where, values, options)
    with only_one(ROOT / "build" / "reproduce.lock") as lock:
        return subprocess.run(command, cwd=ROOT, pass_fds=[lock], check=False).returncode


def snakemake_command(
    jobs: int, where: str, settings: Sequence[str], options: Sequence[str] = ()
) -> list[str]:
    """The command line that runs the graph; MSTError outside the repository or for an unknown place."""
    if not (ROOT / "Snakefile").exists():
        raise MSTError(f"{ROOT}/Snakefile is missing: run this in a clone of the repository")
    places = sorted(p.parent.name for p in (ROOT / "workflow").glob("*/config.yaml"))
    if where not in places:
        raise MSTError(f"no workflow/{where}/config.yaml; choose one of {', '.join(places)}")
    count = "--cores" if where == "local" else "--jobs"
    return [
        sys.executable, "-m", "snakemake", "--directory", str(ROOT),
        "--snakefile", str(ROOT / "Snakefile"), "--workflow-profile", str(ROOT / "workflow" / where),
        count, str(jobs), "--nolock", *options, "--config", *settings,
    ]


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
            raise MSTError(f"{path}: another batch is running here; wait for it or stop it") from None
        os.set_inheritable(file.fileno(), True)
        yield file.fileno()


# -- what was reproduced -------------------------------------------------------------------------


def compare_records(reproduced: Sequence[Path], runs: Path) -> list[dict]:
    """One row for each reproduced record: the committed mAP of the same run, ours, and a verdict.

    mAP in percent. The verdict is "same" within rounding, "close" where another processor may
    explain it, "differs" beyond. MSTError if the committed record is missing.
    """
    from mstlib.results import read_record

    rows = []
    for path in reproduced:
        here = read_record(path)
        there = read_record(runs / f"{here['id']}.json")
        protocol = next(iter(here["metrics"]))
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
    head = f"{'run':20} {'recorded':>9} {'here':>7} {'difference':>11}  verdict"
    return [head] + [
        f"{r['run']:20} {r['recorded']:9.2f} {r['here']:7.2f} {r['difference']:+11.3f}  {r['verdict']}"
        for r in rows
    ]


# -- the index page ------------------------------------------------------------------------------

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>MST: what the batch produced</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
table {{ border-collapse: collapse }} td, th {{ padding: .2em .7em; border-bottom: 1px solid #999 }}
td {{ text-align: right }} td:first-child, th {{ text-align: left }}
</style>
</head>
<body>
<h1>MST: what the batch produced</h1>
{sections}
</body>
</html>
"""


def write_index(files: Sequence[Path], out: Path) -> None:
    """A page with each table (.csv) and comparison (.json) shown and every other file linked.

    MSTError if one of the files is missing or unreadable.
    """
    sections = [_section(Path(path), Path(out)) for path in files]
    write_text(out, PAGE.format(sections="\n".join(sections)))


def _section(path: Path, out: Path) -> str:
    """Heading, link and, where the file is a table, the table."""
    if not path.exists():
        raise MSTError(f"{path}: no such file; `mst reproduce` makes it")
    link = html.escape(os.path.relpath(path, out.parent))
    rows: list[list[str]] = []
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    elif path.suffix == ".json":
        records = json.loads(path.read_text(encoding="utf-8"))
        rows = [list(records[0]), *(list(map(str, r.values())) for r in records)] if records else []
    title = html.escape(path.stem.replace("_", " "))
    return f'<h2>{title}</h2>\n<p><a href="{link}">{link}</a></p>\n{_html_table(rows)}'


def _html_table(rows: list[list[str]]) -> str:
    """Rows as an HTML table, the first as its head; nothing for no rows."""
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        lines.append("<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in row) + "</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>" if lines else ""


def write_report(reproduced: Sequence[Path], runs: Path, out: Path) -> list[dict]:
    """Compare, write the rows to `out` as JSON, return them; raises as `compare_records`."""
    rows = compare_records(reproduced, runs)
    write_json(out, rows)
    return rows
