"""The catalogue of runs: what it names exists, its settings are valid, its commands can be run."""

import shlex
import subprocess
from types import SimpleNamespace

import pytest
import typer

from mstlib.checkpoint import load_weights, save_weights, variant_of
from mstlib.cli.main import app
from mstlib.cli.options import config_of, pairs, typed
from mstlib.config import DETECTORS, MEGA_VARIANTS, VARIANTS, MSTError, with_overrides
from mstlib.fileio import ROOT
from mstlib.limits import at_test
from mstlib.link import LINKS
from mstlib.model.detector import build_model
from mstlib.profiles import get_config
from mstlib.report import catalogue
from mstlib.report.catalogue import (
    CATALOGUE,
    KS,
    LINKED,
    PAPER_TABLES,
    RS,
    STARTS,
    TABLES,
    needs,
    options,
    own_runs,
    select,
    start_name,
    table_name,
)
from mstlib.report.recording import recipe


def test_names_are_unique_and_tell_what_a_run_is():
    assert len(CATALOGUE) == len(catalogue.build())
    for name, run in CATALOGUE.items():
        assert name == "-".join(filter(None, [run.variant, run.tag])) and run.variant in DETECTORS
        assert run.table in ("", *PAPER_TABLES) and len(run.seeds) >= 3 and run.seeds[0] == 0
        assert run.table != "III" or len(run.seeds) == 5                       # smaller steps


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no git repository to list the files of")
def test_only_shipped_weights_are_over_a_megabyte():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True,
                            check=True).stdout.split("\0")
    sizes = {name: (ROOT / name).stat().st_size for name in listed if (ROOT / name).is_file()}
    shipped = {f"results/checkpoints/mini-{name}.safetensors"
               for name, run in CATALOGUE.items() if run.shipped}
    assert {name for name, size in sizes.items() if size > 1_000_000} == shipped
    assert sum(sizes[name] for name in shipped) < 60_000_000 and sum(sizes.values()) < 120_000_000


def test_runs_that_use_the_weights_of_others():
    for run in CATALOGUE.values():
        if not run.of:
            assert not (run.test or run.link)
            continue
        owner = CATALOGUE[run.of]
        assert not owner.of and owner.variant == run.variant
        assert not (run.train or run.start or run.shipped)
        assert set(run.seeds) <= set(owner.seeds)  # its weights are trained
        assert bool(run.test) != bool(run.link)    # it differs in how it detects, or is linked


def test_links_exist_and_are_the_tags_of_their_runs():
    linked = [run for run in CATALOGUE.values() if run.link]
    assert {run.link for run in linked} == set(LINKS) and {run.of for run in linked} == set(LINKED)
    assert all(run.tag == run.link for run in linked)
    assert not [run for run in linked if run.link == "blr" and run.variant in ("a", "fgfa")]


def given(settings) -> list[str]:
    """NAME=VALUE of settings, as a shell hands them to `mst`."""
    words = shlex.split(options(settings))
    assert words[::2] == ["--set"] * len(settings)
    return words[1::2]


@pytest.mark.parametrize("name", [name for name, run in CATALOGUE.items() if run.train])
def test_settings_of_training_come_through_a_shell(name):
    run = CATALOGUE[name]
    usual = get_config("mini", run.variant)
    assert config_of("mini", run.variant, given(run.train)) == with_overrides(usual, run.train)
    assert with_overrides(usual, run.train) != usual


@pytest.mark.parametrize("name", [name for name, run in CATALOGUE.items() if run.test])
def test_settings_of_detecting_come_through_a_shell(name):
    run, config = CATALOGUE[name], get_config("mini", CATALOGUE[name].variant)
    changes = {key: typed(config, key, value) for key, value in pairs(given(run.test)).items()}
    assert changes == run.test
    assert at_test(config, changes) != config


@pytest.mark.parametrize("settings", [
    {"train.lr_scale": {"frame": 3.0, "rpn": 0.5}}, {"data.name": "a name; of two"},
    {"model.backbone_weights": ""}, {"model.dalign_residual": False},
    {"train.decay_at": (0.5,), "train.lr": 1e-05},
])
def test_any_setting_comes_through_a_shell(settings):
    usual = get_config("mini", "g")
    assert config_of("mini", "g", given(settings)) == with_overrides(usual, settings)


def test_values_beside_the_profiles_own():
    own = get_config("mini", "g").model
    assert own.instance_k not in KS and own.instance_r not in RS
    assert sorted([*KS, own.instance_k])[2] == own.instance_k  # Table VI: the middle of five
    assert sorted([*RS, own.instance_r])[1] == own.instance_r  # Table VII: the second of five


def test_pretrainings():
    assert start_name("", 0) == "pretrained-seed0" and start_name("x", 3) == "pretrained-x-seed3"
    assert {run.start for run in CATALOGUE.values()} == {"", *STARTS}
    for start in STARTS:
        assert own_runs(start) == [n for n, run in CATALOGUE.items() if run.tag == start]
    assert set(VARIANTS) | set(MEGA_VARIANTS) < set(own_runs("")) and "g-k2" not in own_runs("")


# What is asked for --------------------------------------------------------------------------------


@pytest.mark.parametrize(("runs", "tables", "seeds", "wanted"), [
    ("a,g-k2", "", "", ["a", "g", "g-k2"]), (["a", "g-k2"], "", "", ["a", "g", "g-k2"]),
    ("", "IX", "", ["g", "g-ref"]), ("", ["IX", "VIII"], "", ["a", "g", "g-ref"]),
    ("", "VIII, IX", "0", ["a", "g", "g-ref"]), ("rdn-blr", "", 2, ["rdn", "rdn-blr"]),
    ("a", "IX", [0, 2], ["a"]),  # `runs` says which of them
    ("[a, b]", "", "", ["a", "b"]),
])
def test_select_takes_lists_and_text_with_commas(runs, tables, seeds, wanted):
    found = select("mini", runs, tables, seeds)
    assert list(found) == wanted
    asked = [int(s) for s in (seeds if isinstance(seeds, list) else [seeds]) if s != ""]
    for name, run in found.items():
        assert list(run.seeds) == [s for s in CATALOGUE[name].seeds if not asked or s in asked]


def test_select_of_all():
    assert select("mini").keys() == CATALOGUE.keys()
    assert list(select("tiny")) == list(select("paper")) == list(VARIANTS)
    assert list(select("mini", seeds="4")["g"].seeds) == [4]
    assert list(select("mini", seeds="4")["g-k2"].seeds) == []  # it has three


@pytest.mark.parametrize(("asked", "message"), [
    ({"runs": "a,z"}, "no run is called 'z'; there are a, b,"),
    ({"runs": ["g-k3"]}, "no run is called 'g-k3'"),
    ({"tables": "III,X"}, "no table is called 'X'; there are I, II,"),
    ({"seeds": "0,9"}, "no run that is asked for has a seed '9'; seeds are 0 to 4"),
    ({"runs": "rdn", "seeds": ["one"]}, "has a seed 'one'; seeds are 0 to 2"),
])
def test_what_does_not_exist_is_one_line(asked, message):
    with pytest.raises(MSTError, match=message) as error:
        select("mini", **asked)
    assert "\n" not in str(error.value)


# Tables -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "wanted"), [
    ("III", "a b c d e f g"), ("IV", "g-flow g"), ("V", "h i j k l"),
    ("VI", "g-k2 g-k4 g-k7 g-k8 g"), ("VII", "g-r10 g-r30 g-r40 g-r50 g"), ("VIII", "a g"),
    ("IX", "g-ref g"), ("II", "a-uav fgfa-uav rdn-uav h-uav g-uav"),
])
def test_runs_of_a_table(table, wanted):
    assert sorted(needs(f"table_{table}")) == sorted(wanted.split())


def test_runs_of_the_larger_tables():
    one, controls = needs("table_I"), needs("controls")
    assert {"fgfa", "selsa", "rdn", "h", "g", "a", "c", "g-x", "a-seqnms", "g-blr"} < set(one)
    assert {"d-place", "d-free", "g-label", "g-causal", "b", "d", "g"} < set(controls)
    assert needs("claims") == list(CATALOGUE)
    for table in TABLES:
        assert len(set(needs(table))) == len(needs(table)) and set(needs(table)) <= set(CATALOGUE)
    everywhere = {name for table in TABLES if table != "claims" for name in needs(table)}
    assert everywhere == set(CATALOGUE)  # nothing is trained that no table shows


def test_names_of_tables():
    assert [table_name(name) for name in PAPER_TABLES] == list(TABLES[:9])
    assert [table_name(name) for name in TABLES] == list(TABLES)
    for wrong in ("X", "iii", ""):
        with pytest.raises(MSTError, match=f"there is no table '{wrong}'; choose one of I, II"):
            table_name(wrong)


# How a record says that it can be repeated --------------------------------------------------------


def parse(line):
    """A command line of `mst` as its name and its parameters; a mistake in it is an error."""
    program, name, *words = shlex.split(line)
    assert program == "mst"
    command = typer.main.get_command(app).commands[name]
    with command.make_context(name, words) as context:
        return SimpleNamespace(name=name, **context.params)


def commands(name, seed=1, profile="mini", split="test"):
    """The commands in the record of a run of the catalogue, as parameters."""
    run = CATALOGUE[name]
    settings = CATALOGUE[run.of].train if run.of else run.train
    config = with_overrides(get_config(profile, run.variant), {**settings, **run.test})
    lines = recipe(config, run.variant, seed, split, run.tag, run.test, run.link)
    return [parse(line) for line in lines]


@pytest.mark.parametrize("name", CATALOGUE)
def test_recipes_repeat_what_the_catalogue_says(name):
    run = CATALOGUE[name]
    owner = CATALOGUE[run.of] if run.of else run
    pretrain, train, evaluate = commands(name)
    assert [c.name for c in (pretrain, train, evaluate)] == ["pretrain", "train", "evaluate"]
    wanted = with_overrides(get_config("mini"), STARTS.get(owner.start, {}))
    assert config_of(pretrain.profile, "a", pretrain.settings) == wanted
    wanted = with_overrides(get_config("mini", run.variant), owner.train)
    assert config_of(train.profile, train.variant, train.settings) == wanted
    assert (train.seed, train.init) == (1, pretrain.out)
    assert pretrain.out.name == f"{start_name(owner.start, 0)}.pt"
    assert evaluate.checkpoint == train.weights
    assert evaluate.checkpoint.name == f"{owner.name}-seed1.safetensors"
    assert (evaluate.link or []) == [run.link] * bool(run.link)
    assert "-".join(filter(None, [evaluate.tag, *(evaluate.link or [])])) == run.tag
    changes = pairs(evaluate.settings)
    assert {key: typed(wanted, key, value) for key, value in changes.items()} == run.test


def test_recipes_as_text():
    place = recipe(get_config("mini", "g"), "g", 0, "val", "k2-seqnms", {"model.instance_k": 2},
                   "seqnms")
    assert place[2] == ("mst evaluate build/mini/weights/g-seed0.safetensors --split val --tag k2 "
                        "--link seqnms --set model.instance_k=2")
    assert "--set" not in "".join(place[:2])


def test_a_recipe_without_warm_start_has_no_pretraining():
    train, evaluate = commands("g", profile="midi")
    assert (train.name, train.init, train.profile) == ("train", None, "midi")
    assert evaluate.checkpoint == train.weights


# Detectors by name --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_builds_and_knows_its_name(name):
    model = build_model(get_config("tiny", name))
    assert variant_of(model) == name and model.levels == DETECTORS[name].levels


@pytest.mark.parametrize(("name", "settings"), [
    ("g", {"model.align": "flow"}), ("fgfa", {}), ("selsa", {}), ("h", {}),
    ("g", {"model.backbone": "minix"}),
])
def test_checkpoints_say_whose_they_are(tmp_path, name, settings):
    model = build_model(with_overrides(get_config("tiny", name), settings))
    path = save_weights(model, tmp_path / "weights.safetensors", 3)
    again, metadata = load_weights(path, name)
    assert (metadata["variant"], metadata["seed"]) == (name, "3")
    assert variant_of(again) == name and again.config == model.config
    assert type(again) is type(model) and type(again.dalign) is type(model.dalign)
    with pytest.raises(MSTError, match=rf"holds variant \({name}\), not \(b\)"):
        load_weights(path, "b")
