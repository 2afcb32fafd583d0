"""Run records, the comparison of runs, the tables and the claims."""

import csv
import json
import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from mstlib.config import VARIANTS, MSTError, with_overrides
from mstlib.paper import TABLES as PAPER
from mstlib.profiles import get_config
from mstlib.report import records as records_module
from mstlib.report.catalogue import CATALOGUE, KS, PAPER_TABLES, TABLES, needs
from mstlib.report.cells import NOT_OURS, by_name
from mstlib.report.claims import CLAIMS, Claim
from mstlib.report.records import code_state
from mstlib.report.results import (
    check_tables,
    make_claims,
    make_table,
    new_record,
    read_record,
    read_runs,
    write_record,
    write_tables,
)
from mstlib.report.stats import compare, hierarchical_interval
from mstlib.report.tables import NAMES_II, run_of_row
from mstlib.report.verdicts import DECIDE

ROOT = Path(__file__).resolve().parents[1]
NOISE = np.random.default_rng(2).normal(0, 0.5, 1000)  # of a run's resamplings, not shared


@pytest.fixture(autouse=True, scope="module")
def no_git():
    """Records do not ask git, which takes longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records_module, "code_state", lambda: {"commit": None, "dirty": None})
        yield


def record(variant="a", seed=0, level=60.0, noise=None, config=None, slices=None, resamples=1000,
           **changes):
    """A record of mAP `level` on all slices, or as `slices` has them; its bootstrap is that plus
    noise common to all records."""
    shared = np.random.default_rng(1).normal(0, 2, resamples) + (0 if noise is None else noise)
    slices = dict.fromkeys(("all", "clean", "deteriorated"), level) | (slices or {})
    fields = {
        "metrics": {"vid": {"mAP": level, "per_class": {"cat": level}, "slices": slices}},
        "bootstrap": {part: np.round(mean + shared, 2).tolist() for part, mean in slices.items()},
        "split": "test", "counts": {"clips": 4, "frames": 24}, "steps": 8,
        "losses": {"total": 1.5}, "seconds": {"train": 12.34, "evaluate": 5.0},
        "device": "CPU, 1 thread", "recipe": ["mst train --variant a"],
    }
    return new_record(config or get_config("tiny", variant), variant, seed, **fields | changes)


def runs(name, level=60.0, seeds=(0, 1), profile="tiny", **changes):
    """Records of a run of the catalogue, seeds 0.2 apart."""
    run = CATALOGUE[name]
    config = with_overrides(get_config(profile, run.variant), {**run.train, **run.test})
    fields = {"config": config, "tag": run.tag} | changes
    return [record(run.variant, seed, level + 0.2 * seed, **fields) for seed in seeds]


def every_variant(seeds=(0, 1)):
    """A plausible complete set: each variant's mAP rises along the alphabet, seeds 0.2 apart."""
    return [one for k, v in enumerate(VARIANTS) for one in runs(v, 60 + 2 * k, seeds)]


def written(folder, records):
    """A folder of results that holds these records."""
    for one in records:
        write_record(one, folder / "runs")
    return folder


LEVELS = {name: 40 + k / 2 for k, name in enumerate(CATALOGUE)}  # each run has its own mAP


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """Results with two seeds of every run of the catalogue, where it has two."""
    records = [one for name, run in CATALOGUE.items()
               for one in runs(name, LEVELS[name], list(run.seeds)[:2], resamples=20)]
    for one in records:
        if one["config"]["data"]["name"] == "miniuav-v1":
            one["metrics"]["uavdt"] = {"mAP": one["metrics"]["vid"]["mAP"] / 2}
    return written(tmp_path_factory.mktemp("full"), records)


made = lru_cache(make_table)  # of `full`, which does not change


# Records ------------------------------------------------------------------------------------------


def test_round_trip(tmp_path):
    one = record("g", 3, config=get_config("tiny", "g"))
    path = write_record(one, tmp_path)
    assert path.name == "tiny-g-seed3.json"
    assert read_record(path) == one
    assert one["seconds"] == {"train": 12.3, "evaluate": 5.0} and one["levels"]["instance"] is True
    assert set(one["versions"]) == {"python", "torch", "torchvision", "numpy", "platform"}
    assert len(path.read_text().splitlines()) < 200  # bootstrap values stand on one line


def test_read_runs_sorts_and_selects(tmp_path):
    for one in (record("b", 10), record("b", 2), record("a", 1), record("b", 0, tag="k4")):
        write_record(one, tmp_path)
    ids = [one["id"] for one in read_runs(tmp_path, "tiny")]
    assert ids == ["tiny-a-seed1", "tiny-b-seed2", "tiny-b-seed10", "tiny-b-k4-seed0"]
    assert read_runs(tmp_path, "mini") == read_runs(tmp_path / "absent", "tiny") == []


@pytest.mark.parametrize(("change", "message"), [
    (lambda r: r.pop("seed"), "field 'seed' missing"),
    (lambda r: r.update(seed="0"), "field 'seed' got str"),
    (lambda r: r.update(variant="b"), "field 'id' is 'tiny-a-seed0'"),
    (lambda r: r["levels"].update(frame=True), "not variant 'a'"),
    (lambda r: r["metrics"].pop("vid"), "no slices under 'vid'"),
    (lambda r: r["metrics"]["vid"]["slices"].update(all=101), "'metrics' holds 101"),
    (lambda r: r["bootstrap"]["all"].pop(), "different lengths"),
    (lambda r: r["bootstrap"]["all"].__setitem__(0, "7"), "'bootstrap' holds '7'"),
    (lambda r: r["bootstrap"]["all"].__setitem__(0, float("nan")), "'bootstrap' holds nan"),
    (lambda r: r["bootstrap"].update(all=3), "must hold lists"),
    (lambda r: r["dataset"].pop("counts"), "no counts"),
])
def test_damaged_records_are_named(tmp_path, change, message):
    one = record()
    change(one)
    path = tmp_path / "tiny-a-seed0.json"
    path.write_text(json.dumps(one))
    with pytest.raises(MSTError, match=f"tiny-a-seed0.json: .*{message}"):
        read_record(path)
    with pytest.raises(MSTError, match=message):
        write_record(one, tmp_path / "elsewhere")


@pytest.mark.parametrize("content", [b'{"id": "tiny', b"\xff\xfe", b"[1, 2]", b""])
def test_damaged_files_are_named(tmp_path, content):
    path = tmp_path / "tiny-a-seed0.json"
    path.write_bytes(content)
    with pytest.raises(MSTError, match="tiny-a-seed0.json is damaged"):
        read_runs(tmp_path, "tiny")


def test_missing_and_renamed_files(tmp_path):
    with pytest.raises(MSTError, match="cannot read .*nowhere.json"):
        read_record(tmp_path / "nowhere.json")
    moved = write_record(record(), tmp_path).rename(tmp_path / "other.json")
    with pytest.raises(MSTError, match="holds the record 'tiny-a-seed0'"):
        read_record(moved)


def test_code_state(tmp_path, monkeypatch):
    monkeypatch.setattr(records_module, "PACKAGE", tmp_path)
    assert code_state() == {"commit": None, "dirty": None}  # outside git
    if shutil.which("git") is None:
        pytest.skip("git is not installed")

    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "records.py").write_text("1")
    assert code_state()["commit"] is None  # in a repository, but not part of it
    git("add", "."), git("commit", "-m", "first")
    state = code_state()
    assert len(state["commit"]) == 40 and state["dirty"] is False
    (tmp_path / "records.py").write_text("2")
    assert code_state() == {"commit": state["commit"], "dirty": True}


# Comparison ---------------------------------------------------------------------------------------


def test_verdicts():
    base = [record("a", seed) for seed in range(5)]
    noise = np.random.default_rng(2).normal(0, 0.5, 1000)
    for gain, wanted in [(2, "holds"), (-2, "does not hold"), (0.2, "within noise")]:
        better = [record("b", seed, 60 + gain, noise) for seed in range(5)]
        got = compare(better, base)
        assert got.verdict == wanted
        assert got.difference == pytest.approx(gain) and got.seeds == 5 and got.note == ""
        assert got.low < gain < got.high
        assert got.high - got.low == pytest.approx(2 * 1.96 * 0.5, rel=0.1)  # the paired noise only


def test_seed_noise_widens_the_interval():
    # Over videos alone each seed is certain (+4 or -2); over seeds the mean gain of 1.6 is not.
    base = [record("a", seed) for seed in range(5)]
    better = [record("b", seed, 60 + gain) for seed, gain in enumerate([4, -2, 4, -2, 4])]
    got = compare(better, base)
    assert got.difference == pytest.approx(1.6) and got.verdict == "within noise"
    assert got.spread == pytest.approx(np.std([4, -2, 4, -2, 4], ddof=1))
    # 5 draws of +4 (share 0.6) and -2: P(none is +4) = 0.01, P(all) = 0.08; so -0.8 to 4.
    assert got.low == pytest.approx(-0.8) and got.high == pytest.approx(4)


def test_few_seeds_and_unequal_seeds():
    one = compare([record("b", 0, 63), record("b", 1, 65)], [record("a", 1), record("a", 2)])
    assert (one.seeds, one.difference, one.verdict) == (1, 5, "holds")
    assert "1 seed" in one.note and np.isnan(one.spread)
    two = compare([record("b", s, 63) for s in (0, 1)], [record("a", s) for s in (0, 1)])
    assert "only 2 seeds" in two.note and two.spread == 0
    none = compare([record("b", 0)], [record("a", 1)])
    assert (none.verdict, none.note) == ("not measured", "no seed in common")


def test_slice_without_objects_is_not_measured():
    def empty(variant):
        one = record(variant)
        one["metrics"]["vid"]["slices"]["clean"] = None
        return [one]

    assert compare(empty("b"), empty("a"), "clean").verdict == "not measured"


def test_resamples_without_objects_are_left_out():
    known = np.linspace(1, 2, 101)
    vectors = np.concatenate([known, [np.nan] * 50])[None]
    assert hierarchical_interval(vectors) == pytest.approx((1.025, 1.975))
    assert np.isnan(hierarchical_interval(np.full((2, 3), np.nan))).all()


def test_other_videos_cannot_be_paired():
    with pytest.raises(MSTError, match="tiny-b-seed0 and tiny-a-seed0 cannot be paired"):
        compare([record("b", counts={"clips": 5})], [record("a")])
    short = {part: [60.0] for part in ("all", "clean", "deteriorated")}
    with pytest.raises(MSTError, match="1 and 1000 resamples"):
        compare([record("b", bootstrap=short)], [record("a")])


# Tables -------------------------------------------------------------------------------------------


def expand(cell):
    """The ids that a cell of column `runs` stands for, as a shell expands them."""
    found = re.fullmatch(r"(.*)\{(.*)\}", cell)
    return [found[1] + seed for seed in found[2].split(",")] if found else [cell]


@pytest.mark.parametrize("number", PAPER_TABLES)
def test_every_table_is_made_of_its_runs_and_names_them(full, number):
    frame = made(number, full, "tiny")
    named = [one for cell in frame["runs"] if cell for one in expand(cell)]
    wanted = {path.stem for path in (full / "runs").glob("*.json")
              if path.stem.removeprefix("tiny-").rpartition("-seed")[0] in needs(f"table_{number}")}
    assert set(named) == wanted
    assert len(frame) >= len(PAPER[number])
    for text in (f"Table {number}:", "4 clips, 24 frames", "protocol vid", "seeds 0, 1",
                 "device CPU", "profile tiny"):
        assert text in frame.attrs["caption"]


@pytest.mark.parametrize(("number", "column", "value", "name"), [
    ("I", "method", "RDN + BLR", "rdn-blr"), ("I", "method", "MEGA + BLR", "h-blr"),
    ("I", "method", "Faster R-CNN", "a"), ("I", "method", "RDN, base stage", "c"),
    ("I", "method", "Faster R-CNN + tubelet re-scoring", "a-tubelet"),
    ("I", "method", "Ours + Seq-NMS", "g-seqnms"), ("I", "method", "SELSA", "selsa"),
    ("II", "method", "MEGA", "h-uav"), ("II", "method", "Faster R-CNN", "a-uav"),
    ("III", "variant", "c", "c"), ("IV", "module", "Ours-F", "g-flow"),
    ("IV", "module", "Ours-D", "g"), ("V", "variant", "k", "k"),
    ("VI", "paper K", 10, "g-k2"), ("VI", "paper K", 25, "g-k7"), ("VI", "paper K", 20, "g"),
    ("VII", "our r, %", 30, "g-r30"), ("VII", "our r, %", 20, "g"),
    ("IX", "query", "ref", "g-ref"), ("IX", "query", "all", "g"),
])
def test_each_row_is_the_mean_of_its_own_run(full, number, column, value, name):
    frame = made(number, full, "tiny")
    (row,) = frame[frame["runs"] == f"tiny-{name}-seed{{0,1}}"].to_dict("records")
    ours = next(text for text in row if text.startswith("our mAP ("))
    assert row[column] == value and row["seeds"] == 2
    assert row[ours] == pytest.approx(LEVELS[name] + 0.1)
    assert row["sd over seeds"] == pytest.approx(0.02**0.5)


def test_rows_of_the_two_backbones_are_told_apart(full):
    frame = made("I", full, "tiny").set_index(["method", "backbone, paper"])
    assert frame.loc[("Ours", "ResNet-101"), "runs"] == "tiny-g-seed{0,1}"
    assert frame.loc[("Ours", "ResNeXt-101"), "runs"] == "tiny-g-x-seed{0,1}"
    assert frame.loc[("Ours", "ResNeXt-101"), "backbone, ours"] == "mini ResNeXt"
    assert frame.loc[("MAMBA", "ResNeXt-101"), "our mAP (minivid-v1 test)"] == NOT_OURS


def test_table_ii_is_of_other_data_and_has_the_official_figure_too(full):
    frame = made("II", full, "tiny").set_index("method")
    assert frame.loc["Ours", "our mAP (miniuav-v1 test)"] == pytest.approx(LEVELS["g-uav"] + 0.1)
    official = frame.loc["Ours", "our AP at 0.7, one class"]
    assert official == pytest.approx(LEVELS["g-uav"] / 2 + 0.05)


def test_table_iii_ticks_the_parts_and_shows_the_slices(tmp_path):
    slices = {"clean": 90.0, "deteriorated": 30.0}
    frame = make_table("III", written(tmp_path, runs("g", slices=slices)), "tiny")
    assert frame["variant"].tolist() == list("abcdefg")
    assert frame["paper mAP (ImageNet VID)"].tolist() == [75.1, 78, 81.8, 78.5, 82.4, 82.8, 83.3]
    last = frame.iloc[6]
    assert (last["our mAP clean frames"], last["our mAP deteriorated frames"]) == (90, 30)
    assert last[["dalign", "frame", "proposal", "instance"]].all()
    assert frame["seeds"].tolist() == [0] * 6 + [2]


def test_table_iv_counts_what_alignment_costs(tmp_path):
    frame = make_table("IV", tmp_path, "tiny").set_index("module")
    assert frame.loc["FlowNetS", "our M parameters, paper's width"] == "38.680"  # as the paper's
    assert frame.loc["DAlign", "our M parameters, paper's width"] == "1.956"
    assert set(frame.loc[["FlowNetS", "DAlign"], "our mAP (minivid-v1 test)"]) == {"not a detector"}
    text = next(path for path in write_tables(tmp_path, "tiny") if path.name == "table_IV.md")
    assert "| DAlign | 1.956 | 0.64 |  | 1.956 |" in text.read_text()  # the paper's digits


def test_tables_vi_and_vii_compare_the_same_weights_and_show_measured_times(tmp_path):
    """(g) has more seeds than the runs beside it: they do not count here."""
    written(tmp_path, [*runs("g", 60, (0, 1, 2)), *runs("g-k2", 50, (0, 1)),
                       *runs("g-r10", 40, (1,))])
    six = make_table("VI", tmp_path, "tiny", ROOT / "results" / "bench")
    assert six["runs"].tolist() == ["tiny-g-k2-seed{0,1}", "", "tiny-g-seed{0,1}", "", ""]
    assert six["our K"].tolist() == [*KS[:2], get_config("tiny").model.instance_k, *KS[2:]]
    seven = make_table("VII", tmp_path, "tiny")
    assert seven["runs"].tolist() == ["tiny-g-r10-seed1", "tiny-g-seed1", "", "", ""]
    time = next(column for column in six if column.startswith("our runtime"))
    assert all(value > 0 for value in six[time])
    assert all("mst bench" in value for value in seven[time])  # no record of it beside these runs


def test_table_viii_is_about_leaving_frames_out(tmp_path):
    harmed = {"clean": 80.0, "deteriorated": 40.0}
    written(tmp_path, runs("a", 60, (0,), slices=harmed))
    frame = make_table("VIII", tmp_path, "tiny").set_index("method")
    assert frame["paper gain without AD"].tolist() == [13.2, 6.3]
    row = frame.loc["Faster R-CNN"]
    assert (row["our with AD"], row["our without AD"]) == (60, 80)
    assert row["our gain without AD, difference"] == 20
    assert frame.loc["Ours", "our with AD"] == "not run: mst reproduce --train --set runs=g"


@pytest.mark.parametrize("number", PAPER_TABLES)
def test_rows_without_runs_say_what_would_fill_them(tmp_path, number):
    frame = make_table(number, tmp_path, "tiny")
    assert "No run of it is here yet." in frame.attrs["caption"]
    assert set(frame["seeds"]) == {0} and set(frame["runs"]) == {""}
    columns = {"VIII": ["our with AD", "our without AD"]}.get(number) or [
        next(c for c in frame if c.startswith("our mAP ("))]
    asked = {cell.partition("runs=")[2] for c in columns for cell in frame[c] if "runs=" in cell}
    assert asked == set(needs(f"table_{number}"))
    rest = {cell for c in columns for cell in frame[c] if "runs=" not in cell}
    assert rest <= {NOT_OURS, "not a detector"}


def test_runs_on_the_papers_data_and_at_midi_fill_their_own_columns(tmp_path):
    def real(variant, data, level, **changes):
        (one,) = runs(variant, level, (0,), "paper", **changes)
        one["dataset"]["name"] = data
        return one

    written(tmp_path, [
        *runs("g"), *runs("g", 70, (0, 1), "midi"),
        real("g", "imagenet-vid", 83, tag="imagenet-vid"),  # as `mst evaluate --record` tags it
        real("a", "davis-2017", 10, tag="davis-2017"),      # is no number of the paper's data
        real("g", "uavdt", 62, tag="uavdt"),
        real("g", "imagenet-vid", 85, tag="seqnms")])
    three = make_table("III", tmp_path, "tiny").set_index("variant")
    assert three.loc["g", "our mAP (ImageNet VID)"] == 83
    assert three.loc["a", "our mAP (ImageNet VID)"] == "not run: needs ImageNet VID"
    assert three.loc["g", "our mAP (profile midi)"] == pytest.approx(70.1)
    assert three.loc["a", "our mAP (profile midi)"] == "not run: needs a GPU"
    assert "--profile midi" in three.attrs["caption"]                    # and how it would be run
    assert "midi" not in make_table("V", tmp_path).attrs["caption"]
    assert three.loc["g", "our mAP (minivid-v1 test)"] == pytest.approx(60.1)
    one = make_table("I", tmp_path, "tiny").set_index("method")
    assert one.loc["Ours + Seq-NMS", "our mAP (ImageNet VID)"] == 85
    two = make_table("II", tmp_path, "tiny").set_index("method")
    assert two.loc["Ours", "our mAP (UAVDT)"] == 62
    assert two.loc["RDN", "our mAP (UAVDT)"] == "not run: needs UAVDT"


def test_missing_seeds_and_one_seed(tmp_path):
    written(tmp_path, [*runs("b", seeds=(0, 3)), *runs("c", seeds=(2,)), *runs("d", seeds=(10, 9))])
    frame = make_table("III", tmp_path, "tiny").set_index("variant")
    assert frame.loc["b", "runs"] == "tiny-b-seed{0,3}" and frame.loc["b", "seeds"] == 2
    assert frame.loc["c", "runs"] == "tiny-c-seed2" and np.isnan(frame.loc["c", "sd over seeds"])
    assert frame.loc["d", "runs"] == "tiny-d-seed{9,10}"
    assert "seeds 0, 2, 3, 9, 10" in frame.attrs["caption"]


def test_seeds_are_written_as_whole_numbers(tmp_path):
    """Also where some rows have none, which makes them floats in a DataFrame."""
    write_tables(written(tmp_path, [*runs("a"), *runs("b"), *runs("c")]), "tiny")
    for name in ("claims", "table_III", "controls"):
        with (tmp_path / "tables" / f"{name}.csv").open(newline="") as file:
            seeds = {row["seeds"] for row in csv.DictReader(file)}
        assert seeds == {"claims": {"2", ""}, "table_III": {"2", "0"}, "controls": {"0"}}[name]


def test_unknown_tables_are_one_line(tmp_path):
    with pytest.raises(MSTError, match="there is no table 'X'; choose one of I, II, .* controls"):
        make_table("X", tmp_path, "tiny")


# Which runs may stand in one table ----------------------------------------------------------------


def other(variant, seed, **settings):
    """A record of a run with other settings, given as train__lr=0.5."""
    dotted = {name.replace("__", "."): value for name, value in settings.items()}
    return record(variant, seed, config=with_overrides(get_config("tiny", variant), dotted))


@pytest.mark.parametrize(("one", "two", "field"), [
    (record, lambda v, s: other(v, s, train__lr=0.5), "config.train.lr"),
    (record, lambda v, s: other(v, s, model__align="flow"), "config.model.align"),
    (record, lambda v, s: record(v, s, split="val"), "dataset"),
    (record, lambda v, s: record(v, s, counts={"clips": 5, "frames": 24}), "dataset"),
])
def test_seeds_that_differ_in_more_than_the_seed_share_no_row(tmp_path, one, two, field):
    written(tmp_path, [one("g", 0), two("g", 1)])
    with pytest.raises(MSTError, match=f"tiny-g-seed0 and tiny-g-seed1 differ in '{field}'"):
        make_table("III", tmp_path, "tiny")


@pytest.mark.parametrize(("one", "two", "field"), [
    (record, lambda v, s: other(v, s, train__lr=0.5), "config.train.lr"),
    (record, lambda v, s: record(v, s, split="val"), "dataset"),
])
def test_variants_that_differ_in_more_than_their_parts_share_no_table(tmp_path, one, two, field):
    written(tmp_path, [one("a", 0), two("b", 0)])
    with pytest.raises(MSTError, match=f"tiny-a-seed0 and tiny-b-seed0 differ in '{field}'"):
        make_table("III", tmp_path, "tiny")
    assert len(make_table("V", tmp_path, "tiny"))  # neither of them stands there


def test_a_protocol_of_its_own_shares_no_table(tmp_path):
    metrics = {"coco": {"mAP": 40.0, "slices": {"all": 40.0}}}
    written(tmp_path, [record("a"), record("b", protocol="coco", metrics=metrics)])
    with pytest.raises(MSTError, match="tiny-a-seed0 and tiny-b-seed0 differ in 'protocol'"):
        make_table("III", tmp_path, "tiny")


def test_older_records_without_newer_fields_stay_comparable(tmp_path):
    older, newer = runs("g", seeds=(0, 1))
    for name in ("align", "flow_width", "frame_place"):
        del older["config"]["model"][name]
    newer["dataset"]["counts"]["skipped"] = 0  # counted since frames can be skipped
    written(tmp_path, [older, newer, *runs("a")])
    frame = make_table("III", tmp_path, "tiny").set_index("variant")
    assert frame.loc["g", "seeds"] == 2
    claims = make_claims(read_runs(tmp_path / "runs", "tiny"), tmp_path, ["III"])
    assert claims.set_index("claim").loc["all four parts together: g > a", "seeds"] == 2
    newer["dataset"]["counts"]["skipped"] = 3
    written(tmp_path, [newer])
    with pytest.raises(MSTError, match="differ in 'dataset'"):
        make_table("III", tmp_path, "tiny")


# Files --------------------------------------------------------------------------------------------


def test_check_tables_finds_an_edited_cell(tmp_path):
    written(tmp_path, every_variant())
    paths = {path.name: path for path in write_tables(tmp_path, "tiny")}
    assert list(paths) == [f"{name}.{kind}" for name in TABLES for kind in ("csv", "md")]
    assert check_tables(tmp_path, "tiny") == []

    text = paths["table_III.md"].read_text()
    assert "| c |  |  | ✓ |  | 81.8 | 64.10 | 0.14 | 2 | tiny-c-seed{0,1} |" in text
    paths["table_III.md"].write_text(text.replace("64.10 | 0.14", "65.10 | 0.14"))
    rows = len(CLAIMS) + 1
    paths["claims.csv"].write_text(paths["claims.csv"].read_text() + "h > g\n")
    paths["table_V.csv"].unlink()
    three, five, claims = check_tables(tmp_path, "tiny")
    assert "table_III.md, line 7: has '| c |" in three and "65.10" in three
    assert "table_V.csv: cannot be read" in five
    assert f"claims.csv: {rows + 1} lines, the records give {rows}" in claims


def test_tables_change_with_a_record(tmp_path):
    written(tmp_path, every_variant())
    paths = write_tables(tmp_path, "tiny")
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_tables(tmp_path, "tiny")] == before
    write_record(record("a", 0, 50), tmp_path / "runs")
    found = "\n".join(check_tables(tmp_path, "tiny"))
    assert all(f"{name}.csv, line" in found for name in ("table_I", "table_III", "claims"))
    assert "table_V.csv" not in found


def test_committed_tables_are_those_of_the_committed_records():
    assert check_tables(ROOT / "results") == []


def test_paper_numbers_fit_together():
    assert set(PAPER) == set(PAPER_TABLES)
    for row in PAPER["III"]:
        levels = VARIANTS[row["variant"]]
        assert all(row[name] == getattr(levels, name)
                   for name in ("dalign", "frame", "proposal", "instance"))
    full_method = [("I", 11), ("III", -1), ("IV", -1), ("VI", 2), ("VII", 1), ("IX", -1)]
    assert {PAPER[table][row]["mAP"] for table, row in full_method} == {83.3}
    assert [row["all"] for row in PAPER["VIII"]] == [75.1, 83.3]


# Controls -----------------------------------------------------------------------------------------


def test_controls_are_answered_from_tagged_runs_and_are_silent_where_none_ran(tmp_path):
    placed = runs("d-place", 84)
    for one in placed:
        one["measures"] = {"alignment": {"all": {"explained": 0.5}}}
    written(tmp_path, [*every_variant(), *runs("b-place", 80), *placed])
    frame = make_table("controls", tmp_path, "tiny").set_index("claim")
    row = frame.loc["d-place > b-place"]
    assert row["our difference"] == pytest.approx(4) and row["verdict"] == "holds"
    assert row["seeds"] == 2 and row["motion explained by the offsets"] == 50
    assert frame.loc["g > g-label", "verdict"] == "not measured"


def test_the_claims_page_says_plainly_who_is_beaten_and_what_was_tried(tmp_path):
    written(tmp_path, [*runs("a", 60), *runs("g", 70), *runs("fgfa", 75)])
    said = make_table("claims", tmp_path, "tiny").attrs["caption"].rpartition("Plainly: ")[2]
    assert said.startswith("here the whole method beats Faster R-CNN (+10.0 [")
    assert "; stays behind FGFA (-5.0 [" in said
    assert "MEGA" not in said and "Tried" not in said                      # nothing known of them
    written(tmp_path, [*runs("g-place", 80), *runs("h", 70)])
    said = make_table("claims", tmp_path, "tiny").attrs["caption"]
    assert "Tried: a term of place" in said and "+5.0 [" in said.partition("over FGFA")[0][-20:]
    assert "Plainly" not in make_table("claims", tmp_path / "none", "tiny").attrs["caption"]


# Claims: how each kind is decided -----------------------------------------------------------------


def decide(kind, names, records, part="all", bench=ROOT / "nowhere"):
    """What records say of a claim."""
    return DECIDE[kind](Claim("III", "a claim", kind, names, part=part), by_name(records), bench)


@pytest.mark.parametrize(("gain", "verdict"), [
    (2, "holds"), (0.2, "within noise"), (-2, "does not hold")])
def test_better(gain, verdict):
    records = [*runs("b", 60 + gain, noise=NOISE), *runs("a", 60)]
    ours = decide("better", ("b", "a"), records)
    assert (ours.verdict, ours.seeds) == (verdict, 2)
    assert ours.difference == pytest.approx(gain)


def test_better_on_some_frames_only():
    records = [*runs("b", slices={"deteriorated": 50}), *runs("a", slices={"deteriorated": 40})]
    assert decide("better", ("b", "a"), records).verdict == "within noise"
    assert decide("better", ("b", "a"), records, "deteriorated").difference == 10


@pytest.mark.parametrize(("levels", "verdict", "difference"), [
    ({"g": 70, "a": 60, "b": 65}, "holds", 5),
    ({"g": 65.2, "a": 60, "b": 65}, "within noise", 0.2),
    ({"g": 60, "a": 50, "b": 65}, "does not hold", -5),
])
def test_best_is_decided_against_every_rival(levels, verdict, difference):
    records = [one for name, level in levels.items()
               for one in runs(name, level, noise=NOISE if name == "g" else None)]
    ours = decide("best", ("g", "a", "b"), records)
    assert ours.verdict == verdict and ours.note == "closest rival: b"
    assert ours.difference == pytest.approx(difference)


@pytest.mark.parametrize(("level", "verdict"), [
    (60.0, "holds"), (60.8, "within noise"), (58.9, "within noise"), (63, "does not hold")])
def test_alike_is_within_a_point(level, verdict):
    noise = NOISE / 2
    records = [*runs("g", noise=noise), *runs("g-r10", 60.1), *runs("g-r30", level)]
    assert decide("alike", ("g", "g-r10", "g-r30"), records).verdict == verdict


def test_alike_shows_the_largest_difference_of_either_sign():
    records = [*runs("g"), *runs("g-r10", 62), *runs("g-r30", 57)]
    ours = decide("alike", ("g", "g-r10", "g-r30"), records)
    assert ours.difference == pytest.approx(3) and ours.note == "largest difference: to g-r30"


@pytest.mark.parametrize(("clean", "verdict"), [
    (70, "holds"), (60, "within noise"), (50, "does not hold")])
def test_slices(clean, verdict):
    records = [record("a", seed, slices={"clean": clean}) for seed in (0, 1)]
    ours = decide("slices", ("a",), records)
    assert (ours.verdict, ours.difference) == (verdict, clean - 60)


@pytest.mark.parametrize(("clean", "verdict"), [
    (71, "holds"), (78, "within noise"), (90, "does not hold")])
def test_interaction_compares_two_leads(clean, verdict):
    """(g) leads by 8 on all frames, and by `clean` - 70 on clean ones."""
    records = [*runs("g", 68, slices={"clean": clean}), *runs("a", 60, slices={"clean": 70})]
    ours = decide("interaction", ("g", "a"), records)
    assert ours.verdict == verdict
    assert ours.difference == pytest.approx(8.1 - (clean - 70) - 0.1, abs=0.11)


@pytest.mark.parametrize("kind", ["better", "interaction"])
def test_runs_of_other_videos_are_not_compared(kind):
    records = [*runs("g", counts={"clips": 5}), *runs("a")]
    with pytest.raises(MSTError, match="tiny-g-seed0 and tiny-a-seed0 cannot be paired"):
        decide(kind, ("g", "a"), records)


@pytest.mark.parametrize(("kind", "names", "note"), [
    ("better", ("g", "a"), "no seed in common"), ("slices", ("a",), "no seed in common"),
    ("interaction", ("g", "a"), "no seed in common"), ("best", ("g", "b"), "not every run is"),
    ("alike", ("g", "b"), "not every run is"), ("grows", ("VI",), "not measured: mst bench"),
])
def test_claims_without_their_runs_are_not_measured(kind, names, note):
    ours = decide(kind, names, runs("g", seeds=(0,)) + runs("c"))
    assert ours.verdict == "not measured" and note in ours.note and np.isnan(ours.difference)


def benched(folder, medians):
    """The committed record of the bench with these medians in Table VI's rows."""
    bench = json.loads((ROOT / "results" / "bench" / "paper-cpu.json").read_text())
    rows = [r for r in bench["experiments"]["instance"]["rows"] if r["table"] == "VI"]
    for row in rows:
        row["ms"]["median"] = medians[(row["K"] - 10) // 5]
    (folder / "paper-cpu.json").write_text(json.dumps(bench))
    return folder


@pytest.mark.parametrize(("medians", "verdict"), [
    ([1.0, 2.0, 3.0, 4.0, 5.0], "holds"), ([1.0, 2.0, 3.0, 4.0, 3.9], "does not hold")])
def test_grows_reads_the_bench(tmp_path, medians, verdict):
    ours = decide("grows", ("VI",), [], bench=benched(tmp_path, medians))
    assert ours.verdict == verdict and f"{medians[4]}" in ours.note


def test_fewer_counts():
    column = "our M parameters, paper's width"
    ours = decide("fewer", ("DAlign", "FlowNetS", column), [])
    assert ours.verdict == "holds"
    assert ours.note == "M parameters, paper's width: 1.956 against 38.680"
    assert decide("fewer", ("FlowNetS", "DAlign", column), []).verdict == "does not hold"


def test_what_cannot_be_tested_says_why():
    ours = decide("not testable here", ("nobody has it",), [])
    assert (ours.verdict, ours.note) == ("not testable here", "nobody has it")


# Claims: the paper's ------------------------------------------------------------------------------


def test_claims_of_a_table():
    frame = make_claims(every_variant(), ROOT / "nowhere", ["III"]).set_index("claim")
    assert set(frame["table"]) == {"III"} and set(frame["verdict"]) == {"holds"}
    steps = frame[(frame["frames"] == "all") & frame.index.str.contains(" > ")]
    gains = {claim[-5:]: gain for claim, gain in steps["our difference"].items()}
    assert gains == pytest.approx({
        "b > a": 2, "c > a": 4, "c > b": 2, "d > b": 4, "e > c": 4, "f > d": 4, "f > e": 2,
        "g > f": 2, "g > a": 12})
    assert "bootstrap 95 %" in frame.attrs["caption"] and "13 holds" in frame.attrs["caption"]


def test_claims_of_all_tables_are_counted_in_the_caption(full):
    frame = make_table("claims", full, "tiny")
    assert len(frame) == len(CLAIMS)
    counts = frame["verdict"].value_counts()
    for verdict, number in counts.items():
        assert f"{number} {verdict}" in frame.attrs["caption"]
    assert counts["not measured"] == 2  # run times, of the bench


def test_every_run_of_a_claim_is_in_the_catalogue_and_every_table_has_a_claim():
    named = {name for claim in CLAIMS for name in claim.runs
             if claim.kind in ("better", "best", "alike", "slices", "interaction")}
    assert named <= set(CATALOGUE)
    assert {claim.table for claim in CLAIMS} >= set(PAPER_TABLES)
    assert {claim.kind for claim in CLAIMS} == set(DECIDE)
    for claim in CLAIMS:  # a table reads every run that its claims are about
        if claim.kind in ("better", "best", "alike", "slices", "interaction"):
            assert set(claim.runs) <= set(needs(f"table_{claim.table}"))


def paper_numbers(table, part="all"):
    """The paper's mAP by the name of our run, from one of its tables."""
    rows = PAPER[table]
    if table == "VIII":
        return {row["variant"]: row[part] for row in rows}
    names = {
        "I": run_of_row, "II": lambda row: f"{NAMES_II[row['method']]}-uav",
        "III": lambda row: row["variant"], "V": lambda row: row["variant"],
        "IV": lambda row: {"Ours-F": "g-flow", "Ours-D": "g"}.get(row["module"]),
        "VI": lambda row: {10: "g-k2", 15: "g-k4", 20: "g", 25: "g-k7", 30: "g-k8"}[row["K"]],
        "VII": lambda row: {20: "g"}.get(row["r_percent"], f"g-r{row['r_percent']}"),
        "IX": lambda row: {"ref": "g-ref", "all": "g"}[row["query"]],
    }[table]
    return {names(row): row["mAP"] for row in rows if names(row)}


def paper_difference(claim):
    """What the paper's own tables say of a claim, in points of mAP."""
    if claim.kind == "slices":
        (name,) = claim.runs
        return paper_numbers("VIII", "clean")[name] - paper_numbers("VIII")[name]
    if claim.kind == "interaction":
        leads = [paper_numbers("VIII", part) for part in ("all", "clean")]
        return np.subtract(*[lead[claim.runs[0]] - lead[claim.runs[1]] for lead in leads])
    first, *others = (paper_numbers(claim.table, claim.part)[name] for name in claim.runs)
    return first - max(others)


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.kind in (
    "better", "best", "slices", "interaction") and c.part != "deteriorated"],
    ids=lambda claim: f"{claim.table}: {claim.text}")
def test_the_papers_difference_is_that_of_its_own_table(claim):
    difference = paper_difference(claim)
    assert difference > 0  # else the paper would not claim it
    if claim.paper is not None or claim.kind != "best":
        assert claim.paper == pytest.approx(difference)


def test_claims_without_a_difference_hold_in_the_papers_own_numbers():
    shares = [row["mAP"] for row in PAPER["VII"]]
    assert max(abs(value - shares[1]) for value in shares) <= 1  # the only claim of kind alike
    for table in ("VI", "VII"):
        times = [row["runtime_ms"] for row in PAPER[table]]
        assert times == sorted(times)
    flow, dalign = PAPER["IV"][:2]
    assert dalign["params_M"] < flow["params_M"] and dalign["gflops"] < flow["gflops"]
    silent = [c for c in CLAIMS if c.kind in ("alike", "grows", "fewer")
              or c.part == "deteriorated"]
    assert len(silent) == 10 and not [claim for claim in silent if claim.paper is not None]


def test_differences_to_detectors_that_are_not_here():
    rows = {row["method"]: row["mAP"] for row in PAPER["I"] if row["backbone"] != "ResNeXt-101"}
    absent = [c for c in CLAIMS if c.kind == "not testable here" and c.paper is not None]
    assert len(absent) == 5
    for claim in absent:
        rival = claim.text.split()[-1]
        assert claim.paper == pytest.approx(rows["Ours"] - rows[rival])
