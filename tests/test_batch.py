"""The batch: the graph lists the right jobs, runs them once, and says what it reproduced."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mstlib.config import MSTError, with_overrides
from mstlib.profiles import get_config
from mstlib.report import batch, recording
from mstlib.report.catalogue import CATALOGUE

NOTEBOOK = """# %% tags=["parameters"]
table = "I"
profile = "p"
results = "r"

# %%
print("table", table)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the notebook that the graph runs, beside its work and result folders."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "tables.py").write_text(NOTEBOOK)
    return folder


def settings(home: Path, **more: str) -> dict[str, str]:
    """Settings of a small graph whose files all lie in `home`."""
    names = {"work": home / "made", "results": home / "results", "notebook": home / "tables.py"}
    return {"profile": "tiny", **{k: str(v) for k, v in names.items()}, **more}


def snakemake(home: Path, *options: str, **more: str) -> subprocess.CompletedProcess:
    """Run the graph without `reproduce`'s checks; its output is on stdout and stderr."""
    command = batch.snakemake_command(2, "local", settings(home, **more), options)
    return subprocess.run(command, cwd=batch.ROOT, capture_output=True, text=True, check=False)


def jobs(home: Path, **more: str) -> list[str]:
    """The messages of the jobs that would run, sorted."""
    done = snakemake(home, "--dry-run", **more)
    assert done.returncode == 0, done.stderr
    return sorted(re.findall(r"^Job \d+: (.*)$", done.stdout + done.stderr, re.MULTILINE))


def test_training_graph(home):
    lists = jobs(home, train="True", runs="b,g,g-k2,a-seqnms", seeds="0,3", pretrain_seed="5")
    trained = [f"variant ({v}), seed {s}" for v in "abg" for s in (0, 3)]
    tables = ("table_I", "table_III", "table_IV", "table_VI", "table_VII", "table_VIII",
              "table_IX", "controls", "claims")
    assert lists == sorted([
        "generated data, vid train", "generated data, vid test", "pretraining on single frames",
        *(f"training {run}" for run in trained), *(f"evaluating {run}" for run in trained),
        "evaluating variant (g-k2), seed 0", "linking the detections of (a), seed 0",
        *(f"weights of variant ({v}), seed 0, to "
          f"{home}/made/trained/checkpoints/tiny-{v}.safetensors" for v in "abg"),
        f"records, tables and checkpoints to {home}/results",
        *(f"{table} from the run records" for table in tables),
        *(f"running {home}/tables.py on {table}" for table in tables if table[:2] == "ta"),
    ])


def test_training_graph_of_all_is_the_catalogue():
    lists = [line for line in jobs_of("mini") if line.startswith("training")]
    assert lists == sorted(f"training variant ({run.name}), seed {seed}"
                           for run in CATALOGUE.values() if not run.of for seed in run.seeds)


def jobs_of(profile: str, **more: str) -> list[str]:
    """The messages of all jobs of a profile's training graph, sorted."""
    values = {"profile": profile, "train": "True", "work": "nowhere", "results": "nowhere", **more}
    command = batch.snakemake_command(1, "local", values, ["--dry-run"])
    done = subprocess.run(command, cwd=batch.ROOT, capture_output=True, text=True, check=True)
    return sorted(re.findall(r"^Job \d+: (.*)$", done.stdout + done.stderr, re.MULTILINE))


def test_tables_can_be_asked_for_one_by_one():
    lists = jobs_of("mini", tables="V,IX", seeds="0")
    assert [line for line in lists if "from the run records" in line] == [
        "claims from the run records", "table_IX from the run records",
        "table_V from the run records"]
    assert sum(line.startswith("training") for line in lists) == 7  # h to l, g and g-ref


def test_a_profile_without_warm_start_trains_from_nothing():
    lists = jobs_of("midi", tables="III", seeds="0")
    assert not [line for line in lists if "pretraining" in line]
    assert sum(line.startswith("training") for line in lists) == 7


def test_training_graph_at_tiny_is_table_iii_with_its_five_seeds_unless_told(home):
    lists = jobs(home, train="True")
    trained = [line for line in lists if line.startswith("training")]
    assert trained == [f"training variant ({v}), seed {s}" for v in "abcdefg" for s in range(5)]


def test_the_graph_on_slurm(home):
    """The plugin is there and takes the profile; nothing is submitted."""
    command = batch.snakemake_command(4, "slurm", settings(home, train="True", tables="IX"),
                                      ["--dry-run"])
    done = subprocess.run(command, cwd=batch.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "training variant (g-ref), seed 2" in done.stdout + done.stderr


def test_committed_results_do_not_pass_for_trained_ones(home, tmp_path):
    """A fresh clone holds records and checkpoints; `make reproduce TRAIN=1` must still train."""
    for name in ("runs/tiny-a-seed0.json", "checkpoints/tiny-a.safetensors",
                 "tables/table_III.csv", "tables/table_III_claims.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    lists = jobs(home, train="True", runs="a", seeds="0", results=str(tmp_path))
    assert "pretraining on single frames" in lists and "training variant (a), seed 0" in lists
    assert "evaluating variant (a), seed 0" in lists


def test_graph_of_what_is_shipped(home, tmp_path):
    for variant in "ag":
        path = tmp_path / "checkpoints" / f"tiny-{variant}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "runs").mkdir()
    for variant in "ag":  # without a record there is nothing to compare with
        (tmp_path / "runs" / f"tiny-{variant}-seed0.json").touch()
    lists = jobs(home, runs="a,g", tables="III", results=str(tmp_path))
    assert [line for line in lists if "evaluat" in line or "compar" in line] == [
        "comparing with the committed records", "evaluating variant (a), seed 0",
        "evaluating variant (g), seed 0"]
    assert "generated data, vid test" in lists and "table_III from the run records" in lists
    assert not [line for line in lists if "training" in line or "weights" in line]


def outputs(train: str, **more: str) -> list[str]:
    """All files that the graph would make with the profile's own folders."""
    values = {"profile": "tiny", "train": train, "notebook": "Snakefile", **more}
    command = batch.snakemake_command(1, "local", values, ["--summary"])
    done = subprocess.run(command, cwd=batch.ROOT, capture_output=True, text=True, check=True)
    return [line.split("\t")[0] for line in done.stdout.splitlines()[1:]]


def test_only_publishing_mini_writes_the_committed_results():
    mini, tiny = outputs("True", profile="mini"), outputs("True", runs=",".join(CATALOGUE))
    assert "build/mini/trained/runs/mini-g-seed2.json" in mini and "build/mini/published" in mini
    assert all(name.startswith("build/mini/") for name in mini)
    assert len(tiny) == len(mini) and all(name.startswith("build/tiny/") for name in tiny)
    for profile, results in (("mini", "results"), ("tiny", "build/tiny/results")):
        values = {"profile": profile, "train": "True", "notebook": "Snakefile"}
        command = batch.snakemake_command(1, "local", values, ["--dry-run"])
        done = subprocess.run(command, cwd=batch.ROOT, capture_output=True, text=True, check=True)
        assert f"records, tables and checkpoints to {results}\n" in done.stdout + done.stderr


def test_profiles_name_options_that_snakemake_has():
    command = [sys.executable, "-m", "snakemake", "--help"]
    known = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    profiles = sorted(batch.ROOT.glob("workflow/*/config.yaml"))
    assert [path.parent.name for path in profiles] == ["kubernetes", "local", "slurm"]
    for path in profiles:
        unknown = [key for key in yaml.safe_load(path.read_text()) if f"--{key}" not in known]
        assert not unknown, f"{path}: {unknown}"


def test_a_missing_checkpoint_is_one_line(home):
    with pytest.raises(MSTError, match=r"tiny-a\.safetensors: no such checkpoint; train it with"):
        batch.reproduce("tiny", settings=settings(home) | {"results": str(home / "none")})


def test_one_batch_at_a_time(tmp_path):
    lock = tmp_path / "build" / "reproduce.lock"
    hold = f"""
import sys
from pathlib import Path
from mstlib.report.batch import only_one
with only_one(Path({str(lock)!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", hold]
    with subprocess.Popen(command, cwd=batch.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(MSTError, match="another batch runs here"), batch.only_one(lock):
            pass
        holder.kill()  # no clean end
        holder.wait()
    with batch.only_one(lock):
        pass


@pytest.mark.parametrize(("difference", "verdict"), [
    (0.0, "same"), (0.05, "same"), (-0.05, "same"), (0.06, "close"), (-0.5, "close"),
    (0.51, "differs"), (-3.0, "differs"),
])
def test_verdicts(difference, verdict):
    row = batch._row({"id": "tiny-a-seed0", "variant": "a"}, "vid", 60.0, 60.0 + difference)
    assert row["verdict"] == verdict
    assert batch.report_lines([row])[1].split()[-1] == verdict


@pytest.fixture(scope="module")
def trained(home, tmp_path_factory):
    """The whole chain on the tiny profile, variants (a) and (g), one seed."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MST_DATA", str(cache))
        done = snakemake(home, train="True", runs="a,g", tables="III", seeds="0")
        assert done.returncode == 0, done.stdout + done.stderr
        yield home


@pytest.mark.slow
def test_training_makes_records_tables_checkpoints_and_a_page(trained):
    made = {str(p.relative_to(trained)) for p in trained.rglob("*") if p.is_file()}
    assert made >= {
        "results/runs/tiny-a-seed0.json", "results/runs/tiny-g-seed0.json",
        "results/checkpoints/tiny-a.safetensors", "results/checkpoints/tiny-g.safetensors",
        "results/tables/table_III.csv", "results/tables/table_III.md", "results/tables/claims.md",
        "made/index.html", "made/index.md", "made/notebooks/table_III.ipynb",
        "made/pretrained-seed0.pt", "made/times/train-g-seed0.tsv",
    }
    assert not [name for name in made if name.startswith("made/unfinished") and ".pt" in name]
    record = json.loads((trained / "results/runs/tiny-g-seed0.json").read_text())
    assert record["losses"] and record["seconds"]["train"] > 0
    assert "table III" in (trained / "made/notebooks/table_III.ipynb").read_text()


@pytest.mark.slow
def test_nothing_changed_nothing_runs(trained):
    assert jobs(trained, train="True", runs="a,g", tables="III", seeds="0") == []


@pytest.mark.slow
def test_a_new_seed_leaves_the_others_alone(trained):
    lists = jobs(trained, train="True", runs="a,g", tables="III", seeds="0,1")
    assert [line for line in lists if "training" in line] == [
        "training variant (a), seed 1", "training variant (g), seed 1"]
    assert not [line for line in lists if "seed 0" in line]


@pytest.mark.slow
def test_what_is_shipped_reproduces_the_records(trained, capfd):
    values = settings(trained, runs="a,g", tables="III", work=str(trained / "again"))
    before = (trained / "results/runs/tiny-g-seed0.json").read_bytes()
    tables = {path.name: path.read_bytes() for path in (trained / "results/tables").iterdir()}
    for name in tables:
        (trained / "results/tables" / name).unlink()
    git = ["git", "-C", str(trained / "results"), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "--quiet"], ["add", "runs"], ["commit", "--quiet", "-m", "records"]):
        subprocess.run([*git, *words], check=True)
    (trained / "results/runs/tiny-g-seed0.json").unlink()
    assert batch.reproduce("tiny", settings=values) == 0
    rows = json.loads((trained / "again/reproduced.json").read_text())
    assert [(row["run"], row["difference"], row["verdict"]) for row in rows] == [
        ("tiny-a-seed0", 0.0, "same"), ("tiny-g-seed0", 0.0, "same")]
    assert (trained / "results/runs/tiny-g-seed0.json").read_bytes() == before
    for name, content in tables.items():
        assert (trained / "results/tables" / name).read_bytes() == content
    capfd.readouterr()
    assert batch.reproduce("tiny", settings=values) == 0
    out, err = capfd.readouterr()
    assert "Nothing to be done" in out + err and "tiny-g-seed0" in out


@pytest.mark.slow
def test_a_failed_variant_does_not_stop_the_others(trained, tmp_path):
    shutil.copytree(trained / "results", tmp_path / "results")
    (tmp_path / "results/checkpoints/tiny-a.safetensors").write_bytes(b"damaged")
    values = settings(trained, runs="a,g", tables="III", results=str(tmp_path / "results"),
                      work=str(tmp_path / "work"))
    assert batch.reproduce("tiny", settings=values) == 1
    assert (tmp_path / "work/reproduced/tiny-g-seed0.json").exists()
    assert not (tmp_path / "work/reproduced/tiny-a-seed0.json").exists()
    assert (tmp_path / "work/notebooks/table_III.ipynb").exists()
    page = (tmp_path / "work/index.md").read_text()
    assert "1 files were not made" in page and "reproduced.json" in page
    assert "tiny-a.safetensors: not a readable safetensors file" in page


def test_a_record_tells_how_to_repeat_a_run_with_other_settings():
    config = with_overrides(get_config("mini", "d"), {"train.motion_loss": 0.0})
    lines = recording.recipe(config, "d", 2, "test", "free")
    assert lines[1].endswith("weights/d-free-seed2.safetensors --set train.motion_loss=0.0")
    assert lines[2] == ("mst evaluate build/mini/weights/d-free-seed2.safetensors --split test "
                        "--tag free")
    assert "--set" not in "".join(recording.recipe(get_config("mini", "d"), "d", 2, "test"))


def test_a_summary_tells_what_led_to_the_weights(tmp_path):
    rows = [{"step": 5, "class": 2.0}, {"step": 7, "class": 1.5}]
    state = {"step": 7, "wall_s": 1.26, "log": rows}
    recording.write_summary(state, tmp_path / "pre.json", "mst pretrain ...")
    recording.write_summary(state | {"log": []}, tmp_path / "g.json", "mst train ...",
                            tmp_path / "pre.pt")
    assert recording.summary_of(tmp_path / "g.safetensors") == {
        "steps": 7, "seconds": 1.3, "losses": {}, "recipe": ["mst pretrain ...", "mst train ..."]}
    assert recording.summary_of(tmp_path / "pre.pt")["losses"] == {"class": 1.5}
    assert recording.summary_of(tmp_path / "shipped.safetensors") == {}
    (tmp_path / "g.json").write_text("{")
    with pytest.raises(MSTError, match="g.json: not readable"):
        recording.summary_of(tmp_path / "g.safetensors")
