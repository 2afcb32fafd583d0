"""Results: the tables of this project, made from run records and from nothing else.

Table III (which part of the method brings what) and the verdicts on its claims. `check_tables`
makes them again and compares, so a number in a table always has records behind it.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mstlib.config import VARIANTS, MSTError
from mstlib.evaluation.evaluate import SLICES
from mstlib.fileio import write_text
from mstlib.paper import CLAIMS_III, Claim, paper_difference, paper_map
from mstlib.report.controls import comparisons_controls
from mstlib.report.records import new_record, read_record, read_runs, write_record
from mstlib.report.stats import compare, mean_and_sd, slice_map

if TYPE_CHECKING:  # pandas is imported where it is used
    import pandas

__all__ = ["all_tables", "check_tables", "comparisons_iii", "controls", "new_record",
           "read_record", "read_runs", "table_iii", "write_record", "write_table", "write_tables"]

SLICED_CLAIMS = ("ba", "ca", "ga")  # asked on clean and on deteriorated frames too (Table VIII)
INTERVAL = (
    "Interval: bootstrap 95 %, videos and seeds drawn with replacement, paired by video and seed. "
    "Verdict: holds if the whole interval is above 0, does not hold if it is below."
)
PAPER_COLUMN = "paper mAP (ImageNet VID)"


def table_iii(records: Sequence[dict]) -> "pandas.DataFrame":
    """Table III as a pandas DataFrame, a row a variant, the caption in `.attrs["caption"]`.

    Marks of the four parts; the paper's mAP; ours: mean and sd over seeds, number of seeds, and the
    mean on clean and on deteriorated frames (percent). MSTError if the runs are not comparable.
    """
    runs, setting = _main_runs(records)
    rows = [_row_iii(variant, runs.get(variant, []), setting["data"]) for variant in VARIANTS]
    return _frame(rows, _caption("Table III: which part brings what.", setting))


def _row_iii(variant: str, runs: list[dict], data: str) -> dict:
    """One row of Table III; `data` names our column."""
    values = {part: mean_and_sd([slice_map(record, part) for record in runs]) for part in SLICES}
    return {
        "variant": variant, **asdict(VARIANTS[variant]), PAPER_COLUMN: paper_map(variant),
        f"our mAP ({data})": values["all"][0], "sd over seeds": values["all"][1],
        "seeds": len(runs), "our mAP clean frames": values["clean"][0],
        "our mAP deteriorated frames": values["deteriorated"][0],
    }


def comparisons_iii(records: Sequence[dict]) -> "pandas.DataFrame":
    """The claims of Table III as a DataFrame: the paper's difference, ours, interval, verdict.

    Each claim on all frames, and `SLICED_CLAIMS` on clean and on deteriorated frames too. MSTError
    as `table_iii`.
    """
    runs, setting = _main_runs(records)
    asked = [(claim, part) for claim in CLAIMS_III for part in SLICES
             if part == "all" or claim.better + claim.base in SLICED_CLAIMS]
    rows = [_row_claim(claim, part, runs) for claim, part in asked]
    caption = _caption("Does each step of Table III hold here?", setting)
    return _frame(rows, f"{caption} {INTERVAL}")


def _row_claim(claim: Claim, part: str, runs: dict[str, list[dict]]) -> dict:
    """One row of the claims table."""
    ours = compare(runs.get(claim.better, []), runs.get(claim.base, []), part)
    return {
        "claim": f"{claim.better} > {claim.base}", "what": claim.part, "frames": part,
        "paper difference (ImageNet VID)": paper_difference(claim, part),
        "our difference": ours.difference, "95 % low": ours.low, "95 % high": ours.high,
        "sd over seeds": ours.spread, "seeds": ours.seeds, "verdict": ours.verdict,
        "note": ours.note,
    }


def _main_runs(records: Sequence[dict]) -> tuple[dict[str, list[dict]], dict]:
    """Untagged runs by variant, and what all of them share; MSTError unless they are comparable."""
    main = sorted((r for r in records if not r["tag"]), key=lambda r: (r["variant"], r["seed"]))
    if not main:
        raise MSTError("no run records for Table III; train and evaluate a variant first")
    for record in main:
        _check_same(main[0], record)
    runs: dict[str, list[dict]] = {}
    for record in main:
        runs.setdefault(record["variant"], []).append(record)
    return runs, _setting(main)


def _check_same(one: dict, two: dict) -> None:
    """MSTError naming the first field in which two runs of one table must not differ, but do."""
    for name in ("dataset", "protocol", "profile"):
        if one[name] != two[name]:
            raise MSTError(f"{one['id']} and {two['id']} differ in '{name}'; repeat one of them")
    for name in sorted(one["config"].keys() | two["config"].keys()):
        if name != "levels" and one["config"].get(name) != two["config"].get(name):
            raise MSTError(f"{one['id']} and {two['id']} differ in 'config.{name}'; repeat one of "
                           "them with the same settings, or tag the run that differs")


def _setting(main: list[dict]) -> dict[str, str]:
    """What a caption has to say of the runs."""
    dataset = main[0]["dataset"]
    counts = ", ".join(f"{number} {name}" for name, number in dataset["counts"].items())
    return {
        "data": f"{dataset['name']} {dataset['split']}", "counts": counts,
        "protocol": main[0]["protocol"], "profile": main[0]["profile"],
        "seeds": ", ".join(str(seed) for seed in sorted({r["seed"] for r in main})),
        "device": "; ".join(sorted({r["device"] for r in main})),
    }


def _caption(title: str, setting: dict[str, str]) -> str:
    """Principle: a number carries its data set, protocol, seeds and device."""
    return (f"{title} Ours: {setting['data']} ({setting['counts']}), profile {setting['profile']}, "
            f"protocol {setting['protocol']}, mAP in percent, seeds {setting['seeds']}, "
            f"device {setting['device']}. The paper: ImageNet VID validation.")


def _frame(rows: list[dict], caption: str) -> "pandas.DataFrame":
    """A DataFrame that carries its caption."""
    try:
        import pandas
    except ImportError as error:
        raise MSTError("tables need pandas: pip install 'mstlib[all]'") from error
    frame = pandas.DataFrame(rows)
    frame.attrs["caption"] = caption
    return frame


def write_table(name: str, frame: "pandas.DataFrame", folder: str | Path) -> list[Path]:
    """Write a DataFrame as `folder`/<name>.csv and .md (with its caption); the two paths."""
    return [write_text(Path(folder) / file, text) for file, text in _texts(name, frame).items()]


def write_tables(results_folder: str | Path, profile: str = "mini") -> list[Path]:
    """Make every table anew from `results_folder`/runs and write it to `results_folder`/tables."""
    frames = all_tables(read_runs(Path(results_folder) / "runs", profile))
    folder = Path(results_folder) / "tables"
    return [path for name, frame in frames.items() for path in write_table(name, frame, folder)]


def check_tables(results_folder: str | Path, profile: str = "mini") -> list[str]:
    """Differences between the tables in a folder and those its records give; empty if all agree.

    MSTError if a record is damaged or there is none.
    """
    frames = all_tables(read_runs(Path(results_folder) / "runs", profile))
    folder = Path(results_folder) / "tables"
    files = [item for name, frame in frames.items() for item in _texts(name, frame).items()]
    return [line for file, text in files for line in _differences(folder / file, text)]


def all_tables(records: Sequence[dict]) -> dict[str, "pandas.DataFrame"]:
    """Every table by file name."""
    return {"table_III": table_iii(records), "table_III_claims": comparisons_iii(records),
            "controls": controls(records)}


def controls(records: Sequence[dict]) -> "pandas.DataFrame":
    """The questions of `mstlib.report.controls`, answered; MSTError as `table_iii`."""
    setting = _main_runs(records)[1]
    return comparisons_controls(records, f"{_caption('Controls.', setting)} {INTERVAL}")


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
    """A value as text: a tick for True, differences with their sign, the paper's one digit."""
    if isinstance(value, bool):
        return "✓" if value else ""
    if isinstance(value, str | int):
        return str(value)
    if value is None or math.isnan(value):
        return ""
    digits = 1 if column.startswith("paper") else 2
    sign = "+" if "difference" in column or column.startswith("95 %") else ""
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"  # + 0.0: no "-0.00"
