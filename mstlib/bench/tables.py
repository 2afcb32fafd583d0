"""The bench's record as tables, for a terminal and for notebook 10: cells are text.

The paper's numbers stand in columns of their own: its whole detector on an unnamed GPU, where ours
is what the table says.
"""

from collections.abc import Callable, Sequence

from mstlib.bench.count import FLOPS
from mstlib.paper import TABLES
from mstlib.report.stats import compare, mean_and_sd, slice_map

UNKNOWN = "not measured"
TITLES = {
    "parts": "A frame of (g), stage by stage",
    "variants": "The variants of Table III",
    "modes": "The modes of inference, and the two forms that keep nothing, variant (g)",
    "windows": "Growth with the length of the window, (g)",
    "sizes": "Growth with the size of the image, (g)",
    "proposals": "Growth with the number of proposals, (g)",
    "instance": "K and r of the instance level, alone (Tables VI and VII)",
    "relation": "One relation layer (Eq. 7-10)",
    "alignment": "DAlign against FlowNetS, one support frame (Table IV)",
}


def page_of(record: dict) -> str:
    """A whole record as a Markdown page."""
    texts = [text_of(name, entry) for name, entry in record["experiments"].items()]
    return "\n\n".join([
        f"# What inference costs: profile {record['profile']}, {record['kind']}",
        "Made by `mst bench` from the record beside it; docs/speed.md says what the columns mean.",
        *texts]) + "\n"


def text_of(name: str, entry: dict) -> str:
    """An experiment as Markdown: title, machine, table, and what follows from it."""
    lines = [f"- {line}" for line in line_texts(entry)]
    return "\n".join([f"## {TITLES[name]}", "", machine_line(entry), "",
                      *aligned(table_of(name, entry)), *([""] if lines else []), *lines])


def aligned(rows: list[dict[str, str]]) -> list[str]:
    """Lines of a Markdown table whose columns stand under one another in a terminal, too."""
    cells = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    texts = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
             for row in cells]
    return [texts[0], "| " + " | ".join("-" * w for w in widths) + " |", *texts[1:]]


def machine_line(entry: dict) -> str:
    """What an experiment was measured on."""
    m, rounds = entry["measured"], [r["ms"]["rounds"] for r in entry["rows"] if r.get("ms")]
    threads = f", {m['threads']} thread(s), {m['cores']} cores" if m["kind"] == "cpu" else ""
    compiled = ", compiled" if m["compiled"] else ""
    return (f"{m['device']}{threads}, {m['precision']}{compiled}, torch {m['versions']['torch']}, "
            f"{m['date']}, load {m['load'][0]} to {m['load'][1]}; median [quartiles] of "
            f"{min(rounds, default=0)} rounds")


def line_texts(entry: dict) -> list[str]:
    """The lines through the growth with the window, in words."""
    return [f"{mode}: {line['ms_per_support']:.3g} ms a support frame, {line['percent_of_37']:.2f} "
            f"% of a frame at window 37, {line['percent_of_alone']:.2f} % of one alone; at the end "
            f"time grows with the power {line['power']:.2f} of the length, and the longest window "
            f"takes {line['bend']:.2f} of what the line through the others foretells"
            for mode, line in entry.get("lines", {}).items() if line]


def table_of(name: str, entry: dict) -> list[dict[str, str]]:
    """Rows of an experiment, as text."""
    return [{column: text(row) for column, text in COLUMNS[name].items()} for row in entry["rows"]]


# ---- cells --------------------------------------------------------------------------------------


def amount(value: float) -> str:
    """A number of things with a unit of thousands: 682 M."""
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:.4g}"


def number(value: float) -> str:
    """Three digits or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spread_text(found: dict | None) -> str:
    """Median and quartiles."""
    if found is None:
        return UNKNOWN
    return f"{number(found['median'])} [{number(found['q1'])}, {number(found['q3'])}]"


def factor_text(found: dict | None) -> str:
    """How many times faster, median and quartiles."""
    return "–" if found is None else f"{spread_text(found)} x"


def memory_text(found: int | None) -> str:
    """Megabytes, 10^6."""
    return UNKNOWN if found is None else number(found / 1e6)


def plain(name: str) -> Callable[[dict], str]:
    """A cell that is a field as it is."""
    return lambda row: str(row[name])


def size_text(row: dict) -> str:
    """Height and width of an image."""
    return " x ".join(map(str, row["size"]))


def paper_runtime(row: dict) -> str:
    """The paper's runtime at this K and r."""
    name = {"VI": "K", "VII": "r_percent"}[row["table"]]
    return next(str(r["runtime_ms"]) for r in TABLES[row["table"]] if r[name] == row[name])


def paper_flow(row: dict, column: str) -> str:
    """What Table IV prints of a module, at 256 x 256 where its figure is from."""
    found = [r[column] for r in TABLES["IV"] if r["module"] == row["module"]]
    return str(found[0]) if found and row["size"] == [256, 256] else "–"


MODE, WINDOW, SIZE = {"mode": plain("mode")}, {"window": plain("window")}, {"size": size_text}
PARAMETERS = {"parameters": lambda row: f"{row['parameters']:,}"}
COUNTED = {"multiply-adds": lambda row: amount(row["multiply_adds"]),
           "FLOPs": lambda row: amount(FLOPS * row["multiply_adds"])}
TIME = {"ms": lambda row: spread_text(row["ms"])}
MEMORY = {"peak MB": lambda row: memory_text(row["peak_bytes"])}
FASTER = {"faster than plain": lambda row: factor_text(row["times_faster_than_plain"])}
COLUMNS = {
    "parts": MODE | {"part": plain("part")} | PARAMETERS | COUNTED | TIME | MEMORY,
    "variants": {"variant": plain("variant")} | MODE | WINDOW | PARAMETERS | COUNTED | TIME
    | MEMORY,
    "modes": MODE | WINDOW | {"stride": plain("stride")} | SIZE | COUNTED | TIME | FASTER
    | {"faster than whole window": lambda row: factor_text(row["times_faster_than_whole"])}
    | MEMORY | {"kept MB": lambda row: memory_text(row["kept_bytes"])},
    "windows": MODE | WINDOW | COUNTED | TIME | MEMORY,
    "sizes": MODE | SIZE | COUNTED | TIME | MEMORY,
    "proposals": MODE | {"proposals": plain("proposals"),
                         "of a support frame": plain("support_proposals")} | COUNTED | TIME
    | MEMORY,
    "instance": {"table": plain("table"), "d": plain("width"), "K": plain("K"),
                 "r, %": plain("r_percent")} | COUNTED | TIME
    | {"paper, whole detector, ms": paper_runtime},
    "relation": {"form": plain("form"), "d": plain("width")} | COUNTED | TIME | FASTER | MEMORY
    | {"largest difference": plain("difference")},
    "alignment": {"module": plain("module")} | SIZE | PARAMETERS | COUNTED
    | {"multiply-adds counted at output size": lambda row: amount(row["at_output_size"])} | TIME
    | {"faster than FlowNetS": lambda row: factor_text(row["times_faster_than_flow"])} | MEMORY
    | {"paper, M parameters": lambda row: paper_flow(row, "params_M"),
       "paper, GFLOPs": lambda row: paper_flow(row, "gflops")},
}


# ---- the modes, side by side -------------------------------------------------------------------

GIVES_UP = {
    "exact": "nothing",
    "cached": "supports aligned to the reference: they are aligned to themselves, once, and know "
              "the frames before them only",
    "causal": "the same, and the frames after the reference; no delay",
}


def modes_beside_map(entry: dict, records: Sequence[dict], variant: str = "g"
                     ) -> list[dict[str, str]]:
    """Each mode's mAP (of the run records, "not run" where there is none) and its difference to
    mode exact, beside its time in experiment `modes` with the window of these runs."""
    runs = {mode: [r for r in records if r["variant"] == variant
                   and r["tag"] == ("" if mode == "exact" else mode)] for mode in GIVES_UP}
    rows = []
    for mode, lost in GIVES_UP.items():
        test = runs[mode][0]["config"]["test"] if runs[mode] else None
        timed = [row for row in entry["rows"] if row["mode"] == mode and test
                 and (row["window"], row["stride"]) == (test["window"], test["stride"])]
        rows.append({
            "mode": mode, "mAP, mean ± sd over seeds": map_text(runs[mode]),
            "difference to exact [95 %]": difference_text(runs[mode], runs["exact"]),
            "window": str(test["window"]) if test else "–",
            "ms a frame": spread_text(timed[0]["ms"]) if timed else UNKNOWN, "gives up": lost})
    return rows


def map_text(runs: list[dict]) -> str:
    """Mean and standard deviation of mAP over seeds."""
    if not runs:
        return "not run"
    mean, deviation = mean_and_sd([slice_map(run) for run in runs])
    return f"{mean:.2f} ± {deviation:.2f}, {len(runs)} seeds" if len(runs) > 1 else f"{mean:.2f}"


def difference_text(runs: list[dict], base: list[dict]) -> str:
    """Paired difference of mAP with its interval over videos and seeds."""
    if not runs or runs is base:
        return "–"
    ours = compare(runs, base)
    return f"{ours.difference:+.2f} [{ours.low:+.2f}, {ours.high:+.2f}]"
