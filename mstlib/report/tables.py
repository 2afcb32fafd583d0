"""The paper's nine tables, filled from run records: theirs beside ours, never in one column.

Each row names the runs that its numbers are made of (`results/runs/<id>.json`); a row without runs
says what would fill it. Times stand in the records of the bench, multiply-adds are counted.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

from mstlib.config import MEGA_VARIANTS, VARIANTS
from mstlib.evaluation.evaluate import SLICES
from mstlib.paper import TABLES
from mstlib.report.catalogue import KS, RS, links_of, percent, run_name
from mstlib.report.cells import NOT_OURS, Given, midi, ours, real
from mstlib.report.cost_table import alignment_costs, instance_ms
from mstlib.report.stats import mean_and_sd, slice_map

TITLES = {
    "I": "Table I: detectors on ImageNet VID, and on MiniVID.",
    "II": "Table II: detectors on UAVDT, and on MiniUAV.",
    "III": "Table III: which part brings what.",
    "IV": "Table IV: DAlign against FlowNetS.",
    "V": "Table V: the parts added to MEGA.",
    "VI": "Table VI: K, how many proposals the instance level takes for objects.",
    "VII": "Table VII: r, the share of supports that each of them listens to.",
    "VIII": "Table VIII: with and without frames of deteriorated appearance (AD).",
    "IX": "Table IX: whose query the frame level computes.",
}


# ---- the tables --------------------------------------------------------------------------------

NAMES_I = {"FGFA": "fgfa", "SELSA": "selsa", "RDN": "rdn", "MEGA": "h", "Ours": "g"}
LINK_NAMES = {"Seq-NMS": "seqnms", "BLR": "blr", "tubelet re-scoring": "tubelet"}


def run_of_row(row: Mapping) -> str:
    """The run that stands for a row of Table I, "" if the detector is not implemented."""
    method, _, link = row["method"].partition(" + ")
    if method not in NAMES_I:
        return ""
    stronger = "x" if row["backbone"] == "ResNeXt-101" else ""
    return run_name(NAMES_I[method], stronger, LINK_NAMES.get(link, ""))


def table_i(given: Given) -> list[dict]:
    """The paper's rows, then those that we have besides: every detector with every linking."""
    rows = [dict(row) for row in TABLES["I"]]
    there = {run_of_row(row) for row in rows}
    names = {"a": "Faster R-CNN"} | {name: method for method, name in NAMES_I.items()}
    more = [{"method": "Faster R-CNN", "run": "a"}, {"method": "Faster R-CNN", "run": "a-x"},
            {"method": "RDN, base stage", "run": "c"}]
    more += [{"method": f"{names[v]} + {text}", "run": f"{v}-{link}"} for v in names
             for text, link in LINK_NAMES.items() if link in links_of(v)]
    rows += [row for row in more if row["run"] not in there]
    return [_row_i(row, given) for row in rows]


def _row_i(row: dict, given: Given) -> dict:
    name = row.get("run") or run_of_row(row)
    small = "ResNeXt" if name.endswith("-x") else "ResNet"
    return {"method": row["method"], "backbone, paper": row.get("backbone", "not in the paper"),
            "backbone, ours": f"mini {small}" if name else "",
            "feature storage": row.get("storage", ""),
            "paper mAP (ImageNet VID)": row.get("mAP"), **ours(given, name),
            **(real(given, name) if name else {"our mAP (ImageNet VID)": NOT_OURS})}


NAMES_II = {"Faster R-CNN": "a", "FGFA": "fgfa", "RDN": "rdn", "MEGA": "h", "Ours": "g"}


def table_ii(given: Given) -> list[dict]:
    """mAP at IoU 0.5 as the paper's numbers seem to be, and the official AP at 0.7 of one class."""
    rows = []
    for row in TABLES["II"]:
        name = NAMES_II[row["method"]]
        found = given.runs.get(f"{name}-uav", [])
        official = [record["metrics"]["uavdt"]["mAP"] for record in found
                    if "uavdt" in record["metrics"]]
        rows.append({"method": row["method"], "paper mAP (UAVDT)": row["mAP"],
                     **ours(given, f"{name}-uav"),
                     "our AP at 0.7, one class": mean_and_sd(official)[0] if official else None,
                     **real(given, name, "UAVDT")})
    return rows


def table_iii(given: Given) -> list[dict]:
    """A row a variant, with the mean on clean and on deteriorated frames."""
    return [{"variant": variant, **asdict(levels), **_row_iii(variant, given)}
            for variant, levels in VARIANTS.items()]


def _row_iii(variant: str, given: Given) -> dict:
    (paper,) = [row["mAP"] for row in TABLES["III"] if row["variant"] == variant]
    parts = {part: mean_and_sd([slice_map(r, part) for r in given.runs.get(variant, [])])[0]
             for part in SLICES[1:]}
    return {"paper mAP (ImageNet VID)": paper, **ours(given, variant),
            **{f"our mAP {part} frames": value for part, value in parts.items()},
            **midi(given, variant), **real(given, variant)}


def table_iv(given: Given) -> list[dict]:
    """Modules alone, then the whole detector with each: at the paper's size, then at ours."""
    names = {"Ours-F": "g-flow", "Ours-D": "g"}
    paper = {row["module"]: row for row in TABLES["IV"]}
    costs = alignment_costs()
    rows = []
    for module, row in paper.items():
        name = names.get(module)
        mine = ours(given, name) if name else ours(given, "") | {
            f"our mAP ({given.data})": "not a detector"}
        rows.append({"module": module, "paper M parameters": row["params_M"],
                     "paper GFLOPs": row["gflops"], "paper mAP (ImageNet VID)": row["mAP"],
                     **costs[module], **mine})
    return rows


def table_v(given: Given) -> list[dict]:
    """A row a variant of MEGA."""
    marks = ("dalign", "frame", "instance")
    return [{"variant": row["variant"],
             **{m: getattr(MEGA_VARIANTS[row["variant"]], m) for m in marks},
             "paper mAP (ImageNet VID)": row["mAP"], **ours(given, row["variant"]),
             **real(given, row["variant"])} for row in TABLES["V"]]


def table_vi(given: Given) -> list[dict]:
    """Five values of K, the paper's in the order of ours: the third is each one's own."""
    values = [KS[0], KS[1], None, KS[2], KS[3]]
    own = _own_setting(given, "instance_k", 6)
    return [_row_vi("VI", {"paper K": row["K"]}, row, {"our K": own if k is None else k},
                    "g" if k is None else f"g-k{k}", given)
            for row, k in zip(TABLES["VI"], values, strict=True)]


def table_vii(given: Given) -> list[dict]:
    """Five values of r, the same as the paper's."""
    shares = {percent(r): f"g-r{percent(r)}" for r in RS}
    return [_row_vi("VII", {"paper r, %": row["r_percent"]}, row, {"our r, %": row["r_percent"]},
                    shares.get(row["r_percent"], "g"), given)
            for row in TABLES["VII"]]


def _row_vi(table: str, theirs: dict, row: Mapping, mine: dict, name: str, given: Given) -> dict:
    runs = given.runs
    seeds = {r["seed"] for r in runs.get("g-k2", runs.get("g-r10", []))}  # of one set of weights
    same = {name: [r for r in runs.get(name, []) if not seeds or r["seed"] in seeds]}
    return {**theirs, "paper mAP (ImageNet VID)": row["mAP"],
            "paper runtime, ms": row["runtime_ms"], **mine, **ours(replace(given, runs=same), name),
            "our runtime of this level, ms, paper's size and value": instance_ms(
                given.bench, table, next(iter(theirs.values())))}


def _own_setting(given: Given, name: str, default: object) -> object:
    """A setting of the model that the runs of (g) have."""
    found = given.runs.get("g", [])
    return found[0]["config"]["model"][name] if found else default


def table_viii(given: Given) -> list[dict]:
    """Rows (a) and (g), and what leaving the deteriorated frames out changes."""
    rows = []
    for row, method in zip(TABLES["VIII"], ("Faster R-CNN", "Ours"), strict=True):
        found = given.runs.get(row["variant"], [])
        all_, clean = (ours(given, row["variant"], part) for part in ("all", "clean"))
        key = f"our mAP ({given.data})"
        gain = clean[key] - all_[key] if found else None
        rows.append({
            "method": method, "paper with AD (ImageNet VID)": row["all"],
            "paper without AD (ImageNet VID)": row["clean"],
            "paper gain without AD": round(row["clean"] - row["all"], 1),
            "our with AD": all_[key], "sd over seeds": all_["sd over seeds"],
            "our without AD": clean[key], "sd over seeds without AD": clean["sd over seeds"],
            "our gain without AD, difference": gain, "seeds": all_["seeds"],
            "runs": all_["runs"]})
    return rows


def table_ix(given: Given) -> list[dict]:
    """Trained with either query."""
    return [{"query": row["query"], "paper mAP (ImageNet VID)": row["mAP"],
             **ours(given, name), **midi(given, name), **real(given, name)}
            for row, name in zip(TABLES["IX"], ("g-ref", "g"), strict=True)]


MAKERS: dict[str, Callable[[Given], list[dict]]] = {
    "I": table_i, "II": table_ii, "III": table_iii, "IV": table_iv, "V": table_v, "VI": table_vi,
    "VII": table_vii, "VIII": table_viii, "IX": table_ix,
}
