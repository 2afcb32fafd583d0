"""Run records, the comparison of variants, and the tables."""

import json
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from mstlib.cli.options import config_of
from mstlib.config import VARIANTS, MSTError
from mstlib.paper import CLAIMS_III, TABLES, paper_difference
from mstlib.profiles import get_config
from mstlib.report import records as records_module
from mstlib.report.controls import RUNS, options, split_name
from mstlib.report.records import code_state
from mstlib.report.results import (
    check_tables,
    comparisons_iii,
    controls,
    new_record,
    read_record,
    read_runs,
    table_iii,
    write_record,
    write_tables,
)
from mstlib.report.stats import compare, hierarchical_interval


def record(variant="a", seed=0, level=60.0, noise=None, config=None, **changes):
    """A record of mAP `level` on all slices; its bootstrap is `level` plus noise common to all."""
    shared = np.random.default_rng(1).normal(0, 2, 1000)
    vector = np.round(level + shared + (0 if noise is None else noise), 2).tolist()
    parts = ("all", "clean", "deteriorated")
    slices = dict.fromkeys(parts, level)
    fields = {
        "metrics": {"vid": {"mAP": level, "per_class": {"cat": level}, "slices": slices}},
        "bootstrap": dict.fromkeys(parts, vector), "split": "test",
        "counts": {"clips": 4, "frames": 24}, "steps": 8, "losses": {"total": 1.5},
        "seconds": {"train": 12.34, "evaluate": 5.0}, "device": "CPU, 1 thread",
        "recipe": ["mst train --variant a"],
    }
    return new_record(config or get_config("tiny", variant), variant, seed, **fields | changes)


def every_variant(seeds=(0, 1)):
    """A plausible complete set: each variant's mAP rises along the alphabet, seeds 0.2 apart."""
    return [record(v, seed, 60 + 2 * k + 0.2 * seed)
            for k, v in enumerate(VARIANTS) for seed in seeds]


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


def test_table_iii():
    frame = table_iii(every_variant()[:-2] + [record("g", 0, 90, tag="k4")])
    assert frame["variant"].tolist() == list("abcdefg")
    assert frame["paper mAP (ImageNet VID)"].tolist() == [75.1, 78, 81.8, 78.5, 82.4, 82.8, 83.3]
    ours = frame["our mAP (minivid-v1 test)"]
    assert ours[0] == pytest.approx(60.1)
    assert frame["sd over seeds"][0] == pytest.approx(0.02**0.5)
    assert np.isnan(ours[6]) and frame["seeds"].tolist() == [2] * 6 + [0]  # tagged runs stay out
    for text in ("minivid-v1 test", "4 clips", "protocol vid", "seeds 0, 1", "device CPU"):
        assert text in frame.attrs["caption"]


def test_claims():
    frame = comparisons_iii(every_variant())
    assert len(frame) == 9 + 2 * 3
    all_frames = frame[frame["frames"] == "all"]
    assert all_frames["claim"].tolist() == [
        "b > a", "c > a", "c > b", "d > b", "e > c", "f > d", "f > e", "g > f", "g > a"]
    differences = [2.9, 6.7, 3.8, 0.5, 0.6, 4.3, 0.4, 0.5, 8.2]
    assert all_frames["paper difference (ImageNet VID)"].tolist() == differences
    assert all_frames["our difference"].tolist() == pytest.approx([2, 4, 2, 4, 4, 4, 2, 2, 12])
    assert set(frame["verdict"]) == {"holds"}
    assert "bootstrap 95 %" in frame.attrs["caption"]
    clean = frame[(frame["claim"] == "g > a") & (frame["frames"] == "clean")]
    assert clean["paper difference (ImageNet VID)"].item() == 1.3  # Table VIII, 89.6 - 88.3
    assert comparisons_iii(every_variant()[:2])["verdict"].unique().tolist() == ["not measured"]


def test_unlike_runs_share_no_table():
    config = get_config("tiny", "b")
    other = replace(config, train=replace(config.train, lr=0.5))
    with pytest.raises(MSTError, match="tiny-a-seed0 and tiny-b-seed0 differ in 'config.train'"):
        table_iii([record("a"), record("b", config=other)])
    with pytest.raises(MSTError, match="differ in 'dataset'"):
        comparisons_iii([record("a"), record("b", split="val")])
    with pytest.raises(MSTError, match="no run records"):
        table_iii([record("a", tag="k4")])


def test_check_tables_finds_an_edited_cell(tmp_path):
    for one in every_variant():
        write_record(one, tmp_path / "runs")
    paths = write_tables(tmp_path, "tiny")
    assert [path.name for path in paths] == [
        "table_III.csv", "table_III.md", "table_III_claims.csv", "table_III_claims.md",
        "controls.csv", "controls.md"]
    assert check_tables(tmp_path, "tiny") == []
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_tables(tmp_path, "tiny")] == before

    text = paths[1].read_text()
    assert "| c |  |  | ✓ |  | 81.8 | 64.10 | 0.14 | 2 | 64.10 | 64.10 |" in text
    paths[1].write_text(text.replace("64.10 | 0.14", "65.10 | 0.14"))
    paths[2].write_text(paths[2].read_text() + "h > g\n")
    paths[3].unlink()
    found = check_tables(tmp_path, "tiny")
    assert len(found) == 3
    assert "table_III.md, line 7: has '| c |" in found[0] and "65.10" in found[0]
    assert "table_III_claims.csv: 17 lines, the records give 16" in found[1]
    assert "table_III_claims.md: cannot be read" in found[2]


def test_tables_change_with_a_record(tmp_path):
    for one in every_variant():
        write_record(one, tmp_path / "runs")
    write_tables(tmp_path, "tiny")
    write_record(record("a", 0, 50), tmp_path / "runs")
    assert any("table_III.csv, line 2" in line for line in check_tables(tmp_path, "tiny"))


def test_paper_numbers_fit_together():
    assert set(TABLES) == {"III", "IV", "V", "VI", "VII", "VIII", "IX"}
    for row in TABLES["III"]:
        levels = VARIANTS[row["variant"]]
        assert all(row[name] == getattr(levels, name)
                   for name in ("dalign", "frame", "proposal", "instance"))
    assert all(paper_difference(claim) > 0 for claim in CLAIMS_III)
    full_method = [("III", -1), ("IV", -1), ("VI", 2), ("VII", 1), ("IX", -1)]
    assert {TABLES[table][row]["mAP"] for table, row in full_method} == {83.3}
    assert [row["all"] for row in TABLES["VIII"]] == [75.1, 83.3]


# ---- controls ----------------------------------------------------------------------------------


def test_controls_are_answered_from_tagged_runs_and_are_silent_where_none_ran():
    runs = [*every_variant(), *(record("b", s, 80 + s, tag="place") for s in (0, 1)),
            *(record("d", s, 84 + s, tag="place") for s in (0, 1))]
    frame = controls(runs).set_index("claim")
    assert frame.loc["d-place > b-place", "our difference"] == pytest.approx(4)
    assert frame.loc["d-place > b-place", "seeds"] == 2
    assert frame.loc["g > g-label", "verdict"] == "not measured"


def test_names_of_controls_give_variant_tag_and_options():
    assert split_name("d-place-free") == ("d", "place-free") and split_name("d") == ("d", "")
    assert options("d") == ""
    assert options("d-free") == "--set train.motion_loss=0.0"
    assert "--set model.frame_place=0.5" in options("b-place")
    for name in RUNS:  # every option is a setting that exists, of the right kind
        given = [item for item in options(name).split() if item != "--set"]
        config_of("mini", split_name(name)[0], given)
