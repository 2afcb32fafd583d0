"""`mst bench`: counts against counting by hand, turns, memory, records; no time is judged."""

import json
import platform
import re
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import deform_conv2d, roi_align
from typer.testing import CliRunner

from mstlib.bench import charts, experiments, layers, steps
from mstlib.bench.count import count_step, multiply_adds, shape_model, state_bytes, total
from mstlib.bench.measure import LiveTensors, alternate, peak_bytes, ratio, seconds, spread
from mstlib.bench.record import (
    FIELDS,
    begin_record,
    experiment_names,
    read_bench,
    record_path,
    run,
)
from mstlib.bench.stages import STAGES, stage_parameters, watched
from mstlib.bench.steps import ALL_MODES, PLAIN, WHOLE, How, case_of, frame_step, random_model
from mstlib.bench.tables import (
    COLUMNS,
    machine_line,
    modes_beside_map,
    number,
    page_of,
    table_of,
    text_of,
)
from mstlib.cli.main import app
from mstlib.config import VARIANTS, MSTError, with_overrides
from mstlib.model.deform import sample_taps, sum_taps
from mstlib.model.engine import MODES, Engine
from mstlib.model.fast import can_compile, speed_up
from mstlib.model.flownet import warp
from mstlib.profiles import get_config
from mstlib.report.batch import ROOT
from mstlib.stream import stream

CPU = torch.device("cpu")
QUICK = How(repeats=1)
SIZE = (64, 64)  # of tiny's images

# ---- multiply-adds ------------------------------------------------------------------------------


def zeros(*shape):
    return torch.zeros(shape)


BY_HAND = {  # call, multiply-adds
    "linear": (lambda: F.linear(zeros(5, 7), zeros(3, 7), zeros(3)), 5 * 7 * 3),
    "conv": (lambda: F.conv2d(zeros(2, 4, 10, 10), zeros(6, 4, 3, 3), padding=1),
             2 * 100 * 6 * 4 * 9),
    "strided conv": (lambda: F.conv2d(zeros(1, 4, 10, 10), zeros(6, 4, 3, 3), stride=2, padding=1),
                     25 * 6 * 4 * 9),
    "grouped conv": (lambda: F.conv2d(zeros(1, 4, 10, 10), zeros(6, 2, 1, 1), groups=2),
                     100 * 6 * 2),
    "transposed conv": (lambda: F.conv_transpose2d(zeros(1, 4, 5, 5), zeros(4, 6, 4, 4), stride=2,
                                                   padding=1), 25 * 4 * 6 * 16),
    "attention": (lambda: F.scaled_dot_product_attention(
        zeros(2, 3, 5, 8), zeros(2, 3, 7, 8), zeros(2, 3, 7, 8)), 2 * 3 * 5 * 7 * (8 + 8)),
    "nine taps of four corners": (lambda: sample_taps(zeros(2, 4, 5, 6), zeros(2, 18, 5, 6)),
                                  2 * 30 * 9 * 4 * 4),
    "sum of taps": (lambda: sum_taps(zeros(2, 30, 2, 9, 8), zeros(2, 36, 5, 6)),
                    2 * 30 * 2 * 9 * 4 * 8),
    "warp": (lambda: warp(zeros(1, 4, 5, 6), zeros(1, 2, 5, 6)), 4 * 30 * 4),
    "RoIAlign": (lambda: roi_align(zeros(1, 4, 9, 9), [zeros(3, 4)], 7, sampling_ratio=2),
                 3 * 4 * 49 * 4 * 4),
    "deformable conv": (lambda: deform_conv2d(zeros(1, 4, 5, 6), zeros(1, 18, 5, 6),
                                              zeros(8, 4, 3, 3), padding=1),
                        30 * 9 * 4 * 4 + 30 * 8 * 4 * 9),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_multiply_adds_are_those_counted_by_hand(name):
    call, wanted = BY_HAND[name]
    assert multiply_adds(call) == wanted
    with torch.inference_mode():
        assert multiply_adds(call) == wanted
    with torch.device("meta"):
        assert multiply_adds(call) == wanted


@pytest.mark.parametrize("mode", MODES)
def test_what_is_counted_from_shapes_is_what_is_computed(mode):
    case = case_of("tiny")
    model = random_model(case, QUICK)
    step = frame_step(model, case, mode, QUICK)
    with watched(model, multiply_adds) as found:
        whole = multiply_adds(step)  # a frame that has all of its proposals
    assert found == count_step(case.config, mode, SIZE)
    assert whole == total(found)  # nothing that counts lies outside the stages


def test_the_whole_window_computes_every_frame_every_time():
    config = case_of("tiny").config
    whole, exact, cached = (count_step(config, m, SIZE) for m in (WHOLE, "exact", "cached"))
    assert sum(whole["conv1-4"]) == 5 * sum(exact["conv1-4"]) == 5 * sum(cached["conv1-4"])
    assert 2 * sum(whole["RPN"]) == 2 * sum(exact["RPN"]) == 5 * sum(cached["RPN"])  # twice a frame
    assert whole["frame level, attention"] == exact["frame level, attention"]
    assert "DAlign, halves" not in whole and "frame level, keys" not in exact
    single = count_step(get_config("tiny", "a"), "exact", SIZE)
    assert set(single) == {"conv1-4", "RPN", "conv5", "RoIAlign, fc", "head, NMS"}


def test_cached_grows_by_the_same_for_each_two_frames_and_exact_by_more():
    def counts(mode):
        return [total(count_step(case_of("tiny", window=n).config, mode, SIZE))
                for n in (5, 9, 13, 17)]

    steps_of = {m: [b - a for a, b in zip(counts(m), counts(m)[1:], strict=False)] for m in MODES}
    assert len(set(steps_of["cached"])) == len(set(steps_of["causal"])) == 1
    assert steps_of["exact"][0] < steps_of["exact"][1] < steps_of["exact"][2]


def test_paper_scale_is_counted_without_being_computed():
    """2394 cells, 16 heads of 32: 37 frames ask 37 frames, and two linear layers on each side."""
    counts = count_step(get_config("paper", "g"), "exact", (600, 1000))
    tokens = 37 * 38 * 63
    assert sum(counts["frame level, attention"]) == 2 * tokens**2 * 512 + 4 * tokens * 1024 * 512
    assert 10.5e12 < total(counts) < 10.6e12


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_belongs_to_one_stage(variant):
    model = shape_model(get_config("tiny", variant))
    assert sum(stage_parameters(model).values()) == sum(p.numel() for p in model.parameters())


def test_watching_leaves_the_model_as_it_was():
    model = random_model(case_of("tiny"), QUICK)
    before = [dict(vars(part)) for part in model.modules()]
    with pytest.raises(RuntimeError), watched(model, lambda call: call()):
        raise RuntimeError
    assert [dict(vars(part)) for part in model.modules()] == before
    assert all(name in STAGES for name in count_step(case_of("tiny").config, "exact", SIZE))


# ---- time ---------------------------------------------------------------------------------------


def test_turns_alternate_and_the_first_round_is_left_out():
    order = []

    def turn(name):
        order.append(name)
        return len(order)

    found = alternate({name: partial(turn, name) for name in "abc"}, repeats=3)
    assert "".join(order) == "abc" + "abc" + "cba" + "abc"
    assert found == {"a": [4, 9, 10], "b": [5, 8, 11], "c": [6, 7, 12]}
    order.clear()
    assert alternate({"a": partial(turn, "a")}, repeats=2, warm=False) == {"a": [1, 2]}


def test_no_round_begins_after_the_budget_but_three_do():
    assert len(alternate({"a": lambda: 0}, repeats=10, budget=0)["a"]) == 3
    assert len(alternate({"a": lambda: 0}, repeats=2, budget=0)["a"]) == 2
    assert len(alternate({"a": lambda: 0}, repeats=10, budget=100)["a"]) == 10


def test_spread_and_ratio():
    assert spread([4, 1, 2, 3, 5], factor=10) == {"median": 30, "q1": 20, "q3": 40, "rounds": 5}
    assert spread([1, 2])["q1"] == 1.25
    assert spread([1.23456])["median"] == 1.235  # four digits
    assert ratio([10, 20, 90], [5, 4, 30])["median"] == 3  # 2, 5, 3: of the same round


def test_seconds_are_those_of_one_call():
    calls = []
    assert seconds(lambda: calls.append(1), CPU) >= 0 and calls == [1]


# ---- memory -------------------------------------------------------------------------------------


def test_peak_bytes_by_hand():
    x = zeros(1000)  # 4000 bytes; not counted, it was there before

    def chain():
        a = x + 1
        b = a + 1           # a and b
        del a
        return (b * 2).view(10, 100).t().sum()  # b, its double, their sum of 4 bytes

    assert peak_bytes(chain, CPU) == 8004
    assert peak_bytes(lambda: (x + 1).add_(1)[None], CPU) == 4000
    assert peak_bytes(lambda: [x[:10], x.view(10, 100)], CPU) == 0
    layer = nn.Linear(100, 200)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert peak_bytes(lambda: layer(zeros(10, 100)), CPU) == 4000 + 8000


def test_what_is_kept_is_what_is_alive_at_the_end():
    with LiveTensors() as live:
        kept = zeros(100) + 1
        (kept * 2).sum()
    assert live.now == 400 and live.peak == 804 and len(kept) == 100


def test_the_plain_form_needs_its_attention_matrix():
    case = case_of("tiny")
    model = random_model(case, QUICK)
    need = {m: peak_bytes(frame_step(model, case, m, QUICK), CPU) for m in ALL_MODES}
    matrix = 4 * 2 * (5 * 64)**2  # two heads, five frames of 8 x 8 cells
    assert need[PLAIN] > 2 * matrix > need[WHOLE] > need["cached"]


def test_bytes_kept_of_a_frame_by_hand():
    config = get_config("tiny", "c")  # conv4 maps, proposals with features, keys and values
    N, M, d, cells = 16, 6, 32, 64
    maps, rois = 16 * cells, N * (4 + 1 + d)
    supports = 2 * (2 * M * d)  # two layers; boxes are a view of the proposals
    assert state_bytes(config, "exact", SIZE) == 4 * (maps + rois + supports)


# ---- steps --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_step_is_one_frame_in_the_middle_of_a_long_video(mode, monkeypatch):
    windows, settled = [], []
    detect, settle = Engine.detect, Engine.settle
    monkeypatch.setattr(Engine, "detect", lambda self, w: windows.append(w) or detect(self, w))
    monkeypatch.setattr(Engine, "settle", lambda self, w: settled.append(w) or settle(self, w))
    case = case_of("tiny", window=9, stride=2)
    step = frame_step(random_model(case, QUICK), case, mode, QUICK)
    windows.clear()
    settled.clear()
    for _ in range(3):
        found = step()
        assert len(found.proposals) == case.config.model.reference_proposals
    assert [len(w) for w in windows] == [1, 1, 1] == [len(w) for w in settled]
    assert {len(w[0]) for w in windows} == {5 if mode == "causal" else 9}
    assert {len(w[0]) for w in settled} == {5}


def test_what_takes_too_much_is_left_out_and_said_so():
    rows = experiments.growth({"5": case_of("tiny", window=5)}, replace(QUICK, most=8e6))
    assert {row["mode"]: row["ms"] is None for row in rows} == {"exact": True, "cached": False}
    assert rows[0]["multiply_adds"] > 8e6 > rows[1]["multiply_adds"]
    assert table_of("sizes", {"rows": rows})[0]["ms"] == "not measured"


def test_the_attention_matrix_must_fit(monkeypatch):
    case, most = case_of("tiny"), replace(QUICK, most=1e30)
    assert steps.bearable(case, PLAIN, most)
    monkeypatch.setattr(steps, "LARGEST", 4 * 2 * (5 * 64)**2 - 1)
    assert not steps.bearable(case, PLAIN, most) and steps.bearable(case, WHOLE, most)
    assert steps.bearable(case_of("tiny", "c"), PLAIN, most)  # has no frame level


def test_what_a_gpu_has_no_memory_for_is_left_out(monkeypatch):
    def full(model, case, mode, how):
        if mode == "exact":
            raise torch.OutOfMemoryError("40 GB")
        return step(model, case, mode, how)

    step = steps.frame_step
    monkeypatch.setattr(steps, "frame_step", full)
    rows = experiments.growth({"5": case_of("tiny")}, QUICK)
    assert [(row["mode"], row["ms"] is None) for row in rows] == [("exact", True),
                                                                  ("cached", False)]


def test_random_maps_are_as_large_as_trained_ones():
    config = with_overrides(get_config("paper", "a"), {"model.backbone": "resnet50"})
    case = steps.Case(config, (96, 160))
    maps = random_model(case, QUICK).c4(steps.noise(1, (96, 160)))
    assert 0.1 < float(maps.detach().std()) < 100


def test_every_mode_runs_at_half_precision_but_the_plain_form_which_stays_exact():
    case, how = case_of("tiny"), replace(QUICK, precision="bfloat16")
    model, seen = random_model(case, how), []
    model.head.register_forward_hook(lambda *a: seen.append(a[2][0].dtype))
    for mode in ALL_MODES:
        frame_step(model, case, mode, how)()
    assert seen == [torch.float32] + (len(ALL_MODES) - 1) * [torch.bfloat16]


def test_a_line_through_the_growth():
    def rows(times):
        return [{"window": w, "ms": {"median": t}} for w, t in times]

    straight = [(w, 10 + 0.5 * w) for w in experiments.WINDOWS]
    found = experiments.line(rows(straight))
    assert found["ms_per_support"] == 0.5 and found["bend"] == 1 and found["power"] < 1
    assert found["percent_of_alone"] == pytest.approx(100 * 0.5 / 10.5, rel=1e-3)
    assert found["percent_of_37"] == pytest.approx(100 * 0.5 / 28.5, rel=1e-3)
    bent = experiments.line(rows([(w, w**2) for w in experiments.WINDOWS]))
    assert bent["bend"] > 1.5 and bent["power"] == 2
    assert experiments.line(rows(straight[1:])) is None


# ---- layers -------------------------------------------------------------------------------------


def test_the_forms_of_the_relation_layer_agree_and_plain_counts_more():
    rows = layers.relation(QUICK, n=20, m=50, widths=(32,))["rows"]
    assert [row["form"] for row in rows] == ["plain", "fast", "supports kept"]
    assert all(row["difference"] <= 1e-5 for row in rows)
    macs = [row["multiply_adds"] for row in rows]
    n, m, d, G = 20, 50, 32, 16
    geometry = G * n * m * 48
    assert macs[1] == n * d * d + 2 * m * d * d + 2 * n * m * d + geometry
    assert macs[2] == macs[1] - 2 * m * d * d
    assert macs[0] == (n + m) * d * d + n * m * d + geometry + G * n * m * d + n * d * d
    assert rows[0]["peak_bytes"] > rows[1]["peak_bytes"]


def test_k_and_r_grow_in_the_order_of_the_tables():
    over_k = [layers.needed(k, 0.2, 512) for k in layers.K]
    over_r = [layers.needed(20, r / 100, 512) for r in layers.R]
    assert over_k == sorted(set(over_k)) and over_r == sorted(set(over_r))
    assert over_k[2] == over_r[1]
    assert layers.needed(20, 0.2, 512) == (
        20 * 512**2 + 20 * 2775 * 512 + 16 * 20 * 2775 * 48 + 20 * 555 * 512)


def test_what_the_instance_level_needs_at_r_100_is_what_it_computes():
    shapes = replace(QUICK, device=torch.device("meta"))
    with shapes.device:
        step = layers.instance_step(64, 30, 100, 20, 100, shapes)
        assert multiply_adds(step) == layers.needed(20, 1.0, 64, 100)


def test_table_iv_is_counted_as_the_paper_did():
    rows = layers.alignment(QUICK, sizes=((256, 256),))["rows"]
    flow, half, dalign = rows
    assert flow["parameters"] == 38_680_336 and dalign["parameters"] == 1_956_048
    assert f"{flow['at_output_size'] / 1e9:.2f}" == "8.90"  # as printed
    assert f"{flow['multiply_adds'] / 1e9:.2f}" == "5.26"   # as computed
    assert dalign["multiply_adds"] == dalign["at_output_size"] < half["multiply_adds"]


# ---- records ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A record of all experiments at tiny, made by the command, and what it printed."""
    path = tmp_path_factory.mktemp("bench") / "tiny-cpu.json"
    done = CliRunner().invoke(app, ["bench", "--profile", "tiny", "--device", "cpu", "--repeats",
                                    "1", "--out", str(path)])
    assert done.exit_code == 0, done.output
    return path, done.output


def test_the_command_measures_everything(tiny):
    path, output = tiny
    record = read_bench(path)
    assert (record["profile"], record["kind"]) == ("tiny", "cpu")
    assert list(record["experiments"]) == experiment_names("tiny")
    for name, entry in record["experiments"].items():
        assert text_of(name, entry) in output
        assert set(FIELDS) <= set(entry["measured"])
        for row, cells in zip(entry["rows"], table_of(name, entry), strict=True):
            assert row["ms"]["rounds"] == 1 and row["ms"]["q1"] <= row["ms"]["q3"]
            assert row["peak_bytes"] > 0 and row["multiply_adds"] > 0
            assert list(cells) == list(COLUMNS[name]) and "not measured" not in cells.values()
    modes = record["experiments"]["modes"]["rows"]
    assert [row["mode"] for row in modes] == list(ALL_MODES)
    assert modes[0]["times_faster_than_plain"]["median"] == 1
    assert {row["found"] for row in modes[2:]} == {16}
    rows = record["experiments"]["variants"]["rows"]
    assert [r["variant"] for r in rows] == [*"abc", *(v for v in "defg" for _ in range(2))]
    parts = [r for r in record["experiments"]["parts"]["rows"] if r["mode"] == "cached"]
    assert [r["part"] for r in parts] == [*STAGES, "whole"]
    for field in ("parameters", "multiply_adds"):
        assert sum(r[field] for r in parts[:-1]) == parts[-1][field]


def test_the_page_beside_the_record_has_its_tables(tiny):
    page = tiny[0].with_suffix(".md").read_text(encoding="utf-8")
    for name, entry in read_bench(tiny[0])["experiments"].items():
        assert text_of(name, entry) in page
        rows = [line for line in text_of(name, entry).splitlines() if line.startswith("|")]
        assert len(rows) == 2 + len(entry["rows"]) and len({len(row) for row in rows}) == 1
    assert str(tiny[0].parent) not in page and platform.node() not in page


def test_a_record_names_no_place(tiny):
    text = tiny[0].read_text(encoding="utf-8")
    record = json.loads(text)
    assert platform.node() not in text and str(Path.home()) not in text
    strings = re.findall(r'"([^"]*)"', text)
    assert not [s for s in strings if re.search(r"(^|\s)[/~]|\\|://", s)]
    assert all("T" not in e["measured"]["date"] for e in record["experiments"].values())


def test_only_puts_one_experiment_into_the_record(tiny, tmp_path):
    path = tmp_path / "tiny-cpu.json"
    path.write_text(tiny[0].read_text())
    before = read_bench(path)["experiments"]
    done = CliRunner().invoke(app, ["bench", "--profile", "tiny", "--device", "cpu", "--only",
                                    "sizes", "--repeats", "2", "--out", str(path)])
    assert done.exit_code == 0, done.output
    after = read_bench(path)["experiments"]
    assert list(after) == list(before)
    assert [name for name in after if after[name] != before[name]] == ["sizes"]
    assert after["sizes"]["rows"][0]["ms"]["rounds"] == 2


def test_only_paper_has_single_layers():
    assert experiment_names("paper")[-3:] == ["instance", "relation", "alignment"]
    with pytest.raises(MSTError, match="profile 'tiny' has no experiment 'relation'; choose one of "
                                       "parts, variants"):
        next(run("tiny", ["relation"], QUICK))
    with pytest.raises(MSTError, match="unknown profile 'small'"):
        next(run("small", [], QUICK))
    with pytest.raises(MSTError, match="unknown precision 'int8'"):
        steps.how_to_measure("cpu", "int8")


def test_trials_are_no_results():
    assert record_path("mini", "cpu") == Path("results/bench/mini-cpu.json")
    assert record_path("tiny", "cuda") == Path("build/bench/tiny-cuda.json")


@pytest.mark.parametrize("damage, message", [
    (lambda r: r["experiments"]["parts"].pop("rows"), "experiment 'parts' has no rows"),
    (lambda r: r["experiments"]["sizes"]["measured"].pop("load"), "'sizes' does not say its load"),
    (lambda r: r["experiments"].update(speed={}), "unknown experiment 'speed'"),
    (lambda r: r.pop("experiments"), "not a record of the bench"),
    (lambda r: r.update(host="x"), "fields must be profile, kind and experiments"),
])
def test_a_damaged_record_is_one_line(tiny, tmp_path, damage, message):
    record = json.loads(tiny[0].read_text())
    damage(record)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    with pytest.raises(MSTError, match=message):
        read_bench(path)


def test_files_that_are_no_records(tiny, tmp_path):
    path = tmp_path / "record.json"
    with pytest.raises(MSTError, match="cannot read .*; `mst bench` makes it"):
        read_bench(path)
    path.write_text("{")
    with pytest.raises(MSTError, match="is damaged"):
        read_bench(path)
    path.write_text(tiny[0].read_text())
    with pytest.raises(MSTError, match="holds profile 'tiny' on cpu, not 'mini' on cpu"):
        begin_record(path, "mini", "cpu", anew=True)


def test_a_record_of_an_older_version_is_begun_anew_when_all_is_measured(tiny, tmp_path):
    path, empty = tmp_path / "tiny-cpu.json", {"profile": "tiny", "kind": "cpu", "experiments": {}}
    assert begin_record(path, "tiny", "cpu", anew=False) == empty
    record = json.loads(tiny[0].read_text())
    path.write_text(json.dumps(record))
    assert begin_record(path, "tiny", "cpu", anew=True) == record  # until it is measured again
    del record["experiments"]["windows"]["lines"]["cached"]["power"]
    path.write_text(json.dumps(record))
    with pytest.raises(MSTError, match="'windows' is of another version of mstlib .no 'power'."):
        begin_record(path, "tiny", "cpu", anew=False)
    assert begin_record(path, "tiny", "cpu", anew=True) == empty


def test_map_of_the_modes_beside_their_time():
    def run_of(mode, seed, value):
        """A run whose mAP is `value` on each of three resamplings of the videos."""
        return {"id": f"{mode}{seed}", "variant": "g", "tag": "" if mode == "exact" else mode,
                "seed": seed, "protocol": "vid", "dataset": {},
                "config": {"test": {"window": 9, "stride": 2}},
                "metrics": {"vid": {"slices": {"all": value}}}, "bootstrap": {"all": [value] * 3}}

    entry = {"rows": [{"mode": m, "window": w, "stride": s, "ms": {
        "median": 10 * w, "q1": 9, "q3": 11}} for m in MODES for w, s in ((37, 1), (9, 2))]}
    records = [run_of(*key) for key in (("exact", 0, 78.0), ("exact", 1, 79.0),
                                        ("cached", 0, 77.5), ("cached", 1, 78.5))]
    exact, cached, causal = modes_beside_map(entry, records)
    assert exact["mAP, mean ± sd over seeds"] == "78.50 ± 0.71, 2 seeds"
    assert cached["difference to exact [95 %]"] == "-0.50 [-0.50, -0.50]"
    assert exact["difference to exact [95 %]"] == "–" == causal["window"]
    assert cached["ms a frame"].startswith("90 [") and cached["window"] == "9"
    assert causal["mAP, mean ± sd over seeds"] == "not run"
    assert {row["mode"] for row in (exact, cached, causal)} == set(MODES)


@pytest.mark.parametrize("name", ["mini-cpu", "paper-cpu"])
def test_what_is_committed_belongs_together(name):
    """The record, its page of tables, and what notebook 10 shows of it."""
    path = ROOT / "results" / "bench" / f"{name}.json"
    record = read_bench(path)
    assert list(record["experiments"]) == experiment_names(record["profile"])
    assert path.with_suffix(".md").read_text(encoding="utf-8") == page_of(record)
    shown = (ROOT / "notebooks" / "10_speed_and_cost.ipynb").read_text(encoding="utf-8")
    for entry in record["experiments"].values():
        assert machine_line(entry) in shown, "the notebook is older than the record: make bench"


def test_numbers_as_text(tiny):
    assert [number(v) for v in (15240.4, 123.4, 12.34, 0.1234)] == ["15,240", "123", "12.3",
                                                                    "0.123"]
    line = machine_line(read_bench(tiny[0])["experiments"]["modes"])
    assert f"{torch.get_num_threads()} thread(s), " in line and "of 1 rounds" in line


def test_every_chart_draws_its_rows(tiny):
    rows = {name: e["rows"] for name, e in read_bench(tiny[0])["experiments"].items()}
    figure = charts.stage_chart(rows["parts"])
    assert [a.get_title() for a in figure.axes] == ["exact", "cached"]
    unmeasured = [row | {"ms": None} if row["mode"] == "exact" else row for row in rows["parts"]]
    titles = [a.get_title() for a in charts.stage_chart(unmeasured).axes]
    assert titles == ["exact: time not measured", "cached"]
    names = [t.get_text() for t in charts.mode_chart(rows["modes"]).axes[0].get_yticklabels()]
    assert names == list(ALL_MODES)
    assert len(charts.window_chart(rows["windows"]).axes[0].lines) > 1
    assert len(charts.growth_chart(rows["sizes"], rows["proposals"]).axes) == 2


def test_charts_of_the_tables():
    sweep = layers.instance(QUICK, n=40, m=80, widths=(32, 64))["rows"]
    assert len(sweep) == 2 * (5 + 5)
    figure = charts.sweep_chart(sweep)
    papers = figure.axes[2].lines[0].get_ydata()
    assert list(papers) == [99.6, 102.6, 105.7, 109.3, 112.0]
    rows = layers.alignment(QUICK, sizes=((64, 64), (96, 96)))["rows"]
    assert len(charts.alignment_chart(rows).axes) == 2
    for name, table in (("instance", sweep), ("alignment", rows)):
        assert len(table_of(name, {"rows": table})) == len(table)
    assert {row["paper, M parameters"] for row in table_of("alignment", {"rows": rows})} == {"–"}


# ---- compiled stages ----------------------------------------------------------------------------


def test_without_a_compiler_there_is_a_line_and_nothing_is_compiled(monkeypatch):
    def broken(function):
        raise RuntimeError("no C++ compiler\nin many lines")

    with pytest.warns(UserWarning, match="torch.compile does not work here: no C.. compiler in"):
        assert not can_compile(CPU, broken)
    monkeypatch.setattr("mstlib.model.fast.can_compile", lambda device: False)
    model = speed_up(random_model(case_of("tiny"), QUICK), compiled=True)
    assert model.backbone.conv5._compiled_call_impl is None


@pytest.mark.slow
def test_compiled_stages_find_the_same():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not can_compile(CPU):
            pytest.skip("torch.compile does not work here")
    model = random_model(case_of("tiny"), QUICK)
    frames = steps.noise(6, SIZE)
    plain = list(stream(model, frames, "cached"))
    compiled = list(stream(speed_up(model, compiled=True), frames, "cached"))
    for a, b in zip(plain, compiled, strict=True):
        torch.testing.assert_close(a.scores, b.scores, rtol=0, atol=1e-4)
        torch.testing.assert_close(a.boxes, b.boxes, rtol=0, atol=1e-2)
        assert torch.equal(a.labels, b.labels)
