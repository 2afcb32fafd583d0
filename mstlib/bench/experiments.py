"""The experiments on whole frames: where the time goes, variants, modes, growth.

Each takes a profile and how to measure, and returns what it found as plain JSON: {"rows": [...]}
and what else there is to say. A row that took too long or too much memory has "ms" None.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import numpy as np
import torch

from mstlib.bench.count import count_step, total
from mstlib.bench.measure import alternate, digits, peak_bytes, ratio, seconds, spread
from mstlib.bench.stages import STAGES, stage_parameters, watched
from mstlib.bench.steps import (
    ALL_MODES,
    MS,
    NOT_MEASURED,
    PLAIN,
    WHOLE,
    WINDOW,
    Case,
    How,
    Measured,
    Step,
    bearable,
    case_of,
    frame_step,
    image_size,
    kept_bytes,
    random_model,
    remember,
    step_count,
    time_steps,
)
from mstlib.config import VARIANTS
from mstlib.model.detector import MST
from mstlib.model.engine import Engine
from mstlib.profiles import get_config

WINDOWS = (1, 5, 13, 25, 37, 101)  # frames; 1: the reference alone
SCALES = (0.5, 0.75, 1.0, 1.5)     # of the sides of an image
SHARES = (0.5, 1.0, 2.0)           # of the proposals that are kept
REDUCED = (120, 200)               # a fifth of 600 x 1000: the plain form's matrix fits
BOTH = ("exact", "cached")


def longest_window(profile: str) -> int:
    """The paper's 37 frames, at `tiny` its own few."""
    return get_config(profile).test.window if profile == "tiny" else WINDOW


def about(case: Case) -> dict[str, object]:
    """What a row has to say of its configuration."""
    model = case.config.model
    return {"window": case.window, "stride": case.config.test.stride, "size": list(case.size),
            "proposals": model.reference_proposals, "support_proposals": model.support_proposals}


# ---- parts and variants --------------------------------------------------------------------------


def parts(profile: str, how: How) -> dict:
    """A frame of (g), stage by stage: parameters, multiply-adds, time and peak memory."""
    case = case_of(profile, window=longest_window(profile))
    model = random_model(case, how)
    gauge, memory, turns = partial(seconds, device=how.device), {}, {}
    for mode in (mode for mode in BOTH if bearable(case, mode, how)):
        with suppress(torch.OutOfMemoryError):
            step = frame_step(model, case, mode, how)
            memory[mode] = peaks(model, step, how)
            turns[mode] = partial(staged, model, step, gauge)
    timed = alternate(turns, how.repeats, how.budget, warm=False)
    return {**about(case), "rows": [row for mode in BOTH for row in stage_rows(
        model, case, mode, timed.get(mode, []), memory.get(mode, {}))]}


def staged(model: MST, step: Step, gauge: Callable) -> dict[str, float]:
    """What a gauge says of each stage in one frame, calls added up; "whole" is the frame."""
    with watched(model, gauge) as found:
        whole = gauge(step)
    return {name: sum(values) for name, values in found.items()} | {"whole": whole}


def peaks(model: MST, step: Step, how: How) -> dict[str, int]:
    """Peak bytes of each stage and of the whole frame."""
    whole, _ = remember(step, how)
    with watched(model, partial(peak_bytes, device=how.device)) as found:
        step()
    return {name: max(values) for name, values in found.items()} | {"whole": whole}


def stage_rows(model: MST, case: Case, mode: str, timed: list[dict[str, float]],
               memory: dict[str, int]) -> Iterator[dict]:
    """A row for each stage that a mode goes through, the last one the whole frame."""
    counts = count_step(case.config, mode, case.size)
    own = stage_parameters(model)
    macs = {name: sum(counts[name]) for name in STAGES if name in counts}
    own["whole"], macs["whole"] = sum(own.values()), total(counts)
    for name, number in macs.items():
        yield {"mode": mode, "part": name, "parameters": own[name], "multiply_adds": number,
               "ms": spread([t[name] for t in timed], MS) if timed else None,
               "peak_bytes": memory.get(name)}


def variants(profile: str, how: How) -> dict:
    """The whole of each variant of Table III; in one mode where the modes are the same."""
    window = longest_window(profile)
    cases = {v: case_of(profile, v, window=window) for v in VARIANTS}
    models = {v: random_model(case, how) for v, case in cases.items()}
    asked = {f"{v} {mode}": (models[v], cases[v], mode) for v in VARIANTS
             for mode in (BOTH if Engine(models[v], "exact").whole else ("exact",))}
    measured = time_steps(asked, how)
    return {**about(cases["g"]), "rows": [{
        "variant": name[0], "mode": mode, "window": case.window,
        "parameters": sum(stage_parameters(model).values()),
        "multiply_adds": step_count(case, mode), **fields(measured.get(name))}
        for name, (model, case, mode) in asked.items()]}


def fields(measured: Measured | None) -> dict[str, object]:
    """What a row says of a frame, None throughout where it was left out."""
    return measured.fields() if measured else NOT_MEASURED


# ---- modes ---------------------------------------------------------------------------------------


def modes(profile: str, how: How) -> dict:
    """All modes and the two forms that keep nothing, against the plain one, of the variant (g)."""
    test = get_config(profile).test
    cases = [case_of(profile, window=test.window, stride=test.stride)]
    if longest_window(profile) != test.window:
        cases.append(case_of(profile, window=WINDOW))
    if profile == "paper":
        cases.append(case_of(profile, window=WINDOW, size=REDUCED))
    return {"rows": [row for case in cases for row in mode_rows(case, how)]}


def mode_rows(case: Case, how: How) -> Iterator[dict]:
    """A row for each mode in one setting."""
    model = random_model(case, how)
    measured = time_steps({mode: (model, case, mode) for mode in ALL_MODES}, how)

    def faster(than: str, mode: str) -> dict | None:
        both = {than, mode} <= measured.keys()
        return ratio(measured[than].seconds, measured[mode].seconds) if both else None

    for mode in ALL_MODES:
        yield {"mode": mode, **about(case), "multiply_adds": step_count(case, mode),
               "kept_bytes": kept_bytes(case, mode), **fields(measured.get(mode)),
               "times_faster_than_plain": faster(PLAIN, mode),
               "times_faster_than_whole": faster(WHOLE, mode)}


# ---- growth --------------------------------------------------------------------------------------


def windows(profile: str, how: How) -> dict:
    """Growth with the length of the window, and the line through it."""
    cases = {str(length): case_of(profile, window=length) for length in WINDOWS}
    rows = growth(cases, how)
    return {"rows": rows, "lines": {mode: line([r for r in rows if r["mode"] == mode])
                                    for mode in BOTH}}


def sizes(profile: str, how: How) -> dict:
    """Growth with the size of the images."""
    window, (h, w) = longest_window(profile), image_size(get_config(profile))
    shapes = [(round(h * scale), round(w * scale)) for scale in SCALES]
    return {"rows": growth({f"{h} x {w}": case_of(profile, window=window, size=(h, w))
                            for h, w in shapes}, how)}


def proposals(profile: str, how: How) -> dict:
    """Growth with the number of proposals, of the reference and of each support frame."""
    window, model = longest_window(profile), get_config(profile).model
    return {"rows": growth({str(share): case_of(
        profile, window=window,
        reference_proposals=round(share * model.reference_proposals),
        support_proposals=round(share * model.support_proposals)) for share in SHARES}, how)}


def growth(cases: dict[str, Case], how: How) -> list[dict]:
    """Rows of modes exact and cached in several cases, measured by turns."""
    models = {config: random_model(case, how) for config, case in
              {case.config.model: case for case in cases.values()}.items()}
    asked = {f"{mode} {name}": (models[case.config.model], case, mode)
             for mode in BOTH for name, case in cases.items()}
    measured = time_steps(asked, how)
    return [{"mode": mode, **about(case), "multiply_adds": step_count(case, mode),
             **fields(measured.get(name))} for name, (_, case, mode) in asked.items()]


def line(rows: list[dict]) -> dict | None:
    """The straight line through the medians over the window's length, None where too few were
    measured: fewer than three, or not windows 1 and 37.

    Its slope, per support frame, also in percent of what a frame costs alone and of what it costs
    with the paper's window. bend: the longest window's time over what the line through the shorter
    ones foretells. power: with which power of the length time grows at the end; 1 or less is
    growth that is at most linear.
    """
    known = {row["window"]: row["ms"]["median"] for row in rows if row["ms"]}
    if len(known) < 3 or not {1, WINDOW} <= known.keys():
        return None
    length, ms = np.array(list(known.items()), dtype=float).T
    slope, _ = np.polyfit(length, ms, 1)
    foretold = np.polyval(np.polyfit(length[:-1], ms[:-1], 1), length[-1])
    return {"ms_per_support": digits(slope), "percent_of_alone": digits(100 * slope / known[1]),
            "percent_of_37": digits(100 * slope / known[WINDOW]),
            "bend": digits(ms[-1] / foretold),
            "power": digits(np.log(ms[-1] / ms[-2]) / np.log(length[-1] / length[-2]))}
