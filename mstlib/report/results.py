"""Results: the tables of this project, made from run records and from nothing else.

The paper's nine tables (`mstlib.report.tables`), the claims that it makes of them
(`mstlib.report.verdicts`) and the controls. `check_tables` makes them again and compares, so a
number in a table always has records behind it.
"""

import csv
import io
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mstlib.config import DETECTORS, MSTError, config_from_dict
from mstlib.fileio import write_text
from mstlib.report.catalogue import CATALOGUE, TABLES, needs, run_name, table_name
from mstlib.report.cells import MIDI, MIDI_HOW, NO_GPU, Given, by_name
from mstlib.report.controls import control_rows, plainly
from mstlib.report.records import new_record, read_record, read_runs, write_record
from mstlib.report.tables import MAKERS, TITLES
from mstlib.report.verdicts import RULE, claim_rows, summary

if TYPE_CHECKING:  # pandas is imported where it is used
    import pandas

__all__ = ["check_tables", "make_claims", "make_table", "new_record", "read_record", "read_runs",
           "write_record", "write_table", "write_tables"]

BENCH = Path("bench")  # beside runs/


def make_table(name: str, results: str | Path, profile: str = "mini",
               bench: Path | None = None) -> "pandas.DataFrame":
    """A table of `TABLES` as a pandas DataFrame, its caption in `.attrs["caption"]`.

    results: the folder that holds runs/. bench: that of the bench's records, results/bench unless
    given. MSTError if there is no such table, if a record is damaged or if the runs are not
    comparable.
    """
    table_name(name.removeprefix("table_"))
    records = read_runs(Path(results) / "runs", profile)
    bench = bench or Path(results) / BENCH
    if name == "claims":
        return make_claims(records, bench)
    asked = set(needs(name))
    mine = [r for run, found in by_name(records).items() if run in asked for r in found]
    check_comparable(mine, name == "controls")
    if name == "controls":
        return _frame(control_rows(mine), f"{caption('Controls.', mine)} {RULE}")
    number = name.removeprefix("table_")
    others = by_name([r for p in ("midi", "paper") if p != profile
                      for r in read_runs(Path(results) / "runs", p)])
    data = data_of(mine) or ("miniuav-v1 test" if number == "II" else "minivid-v1 test")
    rows = MAKERS[number](Given(by_name(mine), others, data, bench))
    how = f" {MIDI_HOW}" if any(row.get(MIDI) == NO_GPU for row in rows) else ""
    return _frame(rows, caption(TITLES[number], mine) + how)


def make_claims(records: Sequence[dict], bench: Path, tables: Sequence[str] = ()
                ) -> "pandas.DataFrame":
    """The claims of the paper (about some of its tables) with verdicts; see `mstlib.report.claims`.
    """
    rows = claim_rows(by_name(records), bench, tables)
    text = ["What the paper claims in Sec. IV-D and IV-E, and what our runs say: "
            f"{summary(rows)}.",
            "" if tables else plainly(records),
            "The paper's differences are of ImageNet VID (Table II: UAVDT), ours of generated "
            "data, in points of mAP.", RULE]
    return _frame(rows, " ".join(part for part in text if part))


# ---- what a table says of its runs -------------------------------------------------------------


def data_of(records: Sequence[dict]) -> str:
    """The data set and split of runs, for the head of a column."""
    names = {f"{r['dataset']['name']} {r['dataset']['split']}": None for r in records}
    return ", ".join(names)


def caption(title: str, records: Sequence[dict]) -> str:
    """Principle: a number carries its data set, protocol, seeds and device."""
    if not records:
        return f"{title} No run of it is here yet."
    first = records[0]
    counts = ", ".join(f"{number} {name}" for name, number in first["dataset"]["counts"].items())
    seeds = ", ".join(str(seed) for seed in sorted({r["seed"] for r in records}))
    devices = "; ".join(sorted({r["device"] for r in records}))
    return (f"{title} Ours: {data_of(records)} ({counts}), profile {first['profile']}, "
            f"protocol {first['protocol']}, mAP in percent, seeds {seeds}, device {devices}. "
            "The paper's numbers are of its own data and never share a column with ours.")


def check_comparable(records: Sequence[dict], loose: bool = False) -> None:
    """MSTError naming the first two runs of a table that were not tested alike, or that differ in
    more than their seeds and what the catalogue says of them. loose: seeds of a run may differ in
    that, too (b-place once had settings of a DAlign that it lacks)."""
    for runs in by_name(records).values():
        for other in runs:
            _check_same(records[0], other, ("dataset", "protocol", "profile"))
            _check_config(records[0], other, declared(records[0]) | declared(other))
            _check_config(runs[0], other, declared(other) if loose else ())


def declared(record: dict) -> set[str]:
    """The settings that make a run what it is: its detector's, and those that the catalogue has."""
    run = CATALOGUE[run_name(record["variant"], record["tag"])]
    model = DETECTORS[record["variant"]].model
    return {*(f"model.{field}" for field in model), *run.train, *run.test}


def _check_same(one: dict, two: dict, names: Sequence[str]) -> None:
    for name in names:
        if _known(one[name]) != _known(two[name]):
            raise MSTError(f"{one['id']} and {two['id']} differ in '{name}'; repeat one of them")


def _known(value: object) -> object:
    """A field; records written before frames could be skipped do not say that none was."""
    if isinstance(value, dict) and "counts" in value:
        return value | {"counts": {"skipped": 0} | value["counts"]}
    return value


def _check_config(one: dict, two: dict, but: Collection[str] = ()) -> None:
    """All settings `but` some; what came later has its defaults in older records."""
    ours, theirs = (_settings(r["config"]) for r in (one, two))
    for name in sorted(ours.keys() - set(but)):
        if ours[name] != theirs[name]:
            raise MSTError(f"{one['id']} and {two['id']} differ in 'config.{name}'; repeat one of "
                           "them with the same settings, or tag the run that differs")


def _settings(config: dict) -> dict[str, object]:
    """A configuration as a flat dict, section.field -> value; without levels, which are the
    variant's."""
    plain = config_from_dict(config).to_dict()
    return {f"{section}.{field}": value for section, fields in plain.items()
            if isinstance(fields, dict) and section != "levels" for field, value in fields.items()}


def _frame(rows: list[dict], text: str) -> "pandas.DataFrame":
    """A DataFrame that carries its caption."""
    try:
        import pandas
    except ImportError as error:
        raise MSTError("tables need pandas: pip install 'mstlib[all]'") from error
    frame = pandas.DataFrame(rows)
    frame.attrs["caption"] = text
    return frame


# ---- files -------------------------------------------------------------------------------------


def write_table(name: str, frame: "pandas.DataFrame", folder: str | Path) -> list[Path]:
    """Write a DataFrame as `folder`/<name>.csv and .md (with its caption); the two paths."""
    return [write_text(Path(folder) / file, text) for file, text in _texts(name, frame).items()]


def write_tables(results_folder: str | Path, profile: str = "mini") -> list[Path]:
    """Make every table anew from `results_folder`/runs and write it to `results_folder`/tables."""
    folder = Path(results_folder) / "tables"
    return [path for name in TABLES
            for path in write_table(name, make_table(name, results_folder, profile), folder)]


def check_tables(results_folder: str | Path, profile: str = "mini") -> list[str]:
    """Differences between the tables in a folder and those its records give; empty if all agree.

    MSTError if a record is damaged.
    """
    folder = Path(results_folder) / "tables"
    files = [item for name in TABLES
             for item in _texts(name, make_table(name, results_folder, profile)).items()]
    return [line for file, text in files for line in _differences(folder / file, text)]


def _differences(path: Path, wanted: str) -> list[str]:
    """Lines in which a file differs from the text it should hold."""
    try:
        found = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return [f"{path}: cannot be read ({error})"]
    lines = wanted.splitlines()
    rows = [f"{path}, line {n}: has '{one}', the records give '{two}'"
            for n, (one, two) in enumerate(zip(found, lines, strict=False), start=1) if one != two]
    length = f"{path}: {len(found)} lines, the records give {len(lines)}"
    return rows + ([length] if len(found) != len(lines) else [])


def _texts(name: str, frame: "pandas.DataFrame") -> dict[str, str]:
    """File name -> content of a table's two files."""
    cells = [[_cell(column, value) for column, value in zip(frame.columns, row, strict=True)]
             for row in frame.itertuples(index=False)]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([frame.columns, *cells])
    rule = ["---"] * len(frame.columns)
    lines = ["| " + " | ".join(row) + " |" for row in [frame.columns, rule, *cells]]
    text = "\n".join([frame.attrs["caption"], "", *lines]) + "\n"
    return {f"{name}.csv": out.getvalue(), f"{name}.md": text}


def _cell(column: str, value: object) -> str:
    """A value as text: a tick for True, differences with their sign, the paper's digits."""
    if isinstance(value, bool):
        return "✓" if value else ""
    if isinstance(value, str | int):
        return str(value)
    if value is None or math.isnan(value):
        return ""
    if column == "seeds":
        return str(int(value))  # pandas makes whole numbers floats where one is missing
    two = "GFLOPs" in column or not column.startswith("paper")
    digits = 3 if "parameters" in column else 2 if two else 1
    sign = "+" if "difference" in column or column.startswith("95 %") else ""
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"  # + 0.0: no "-0.00"
