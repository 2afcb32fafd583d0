"""The command line: examples that run, errors of one line, exit codes."""

import errno
import shlex
import subprocess
import sys
import warnings

import pytest
import typer

from mstlib.cli import main as cli
from mstlib.config import MSTError

COMMANDS = typer.main.get_command(cli.app).commands


def mst(monkeypatch, *words: str) -> int:
    """The exit code of `mst words`."""
    monkeypatch.setattr(sys, "argv", ["mst", *words])
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back afterwards
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


ALL = COMMANDS | {f"data {name}": command for name, command in COMMANDS["data"].commands.items()}


def examples(name: str) -> list[list[str]]:
    """The words of the examples in a command's help, without `mst` itself."""
    lines = ALL[name].help.split("Example:")[1].splitlines()
    return [shlex.split(line)[1:] for line in lines if line.strip().startswith("mst ")]


def test_every_command_is_there():
    wanted = ("bench check compare cost data detect evaluate figure import index info notebook "
              "notebooks picture pretrain reproduce table train")
    assert sorted(COMMANDS) == wanted.split()


@pytest.mark.parametrize("name", sorted(ALL))
def test_examples_in_help_are_valid_commands(name):
    assert examples(name), f"the help of {name} has no example"
    for words in examples(name):
        depth = len(name.split())
        assert words[:depth] == name.split()
        ALL[name].make_context(name, words[depth:])  # parses and converts, runs nothing


def test_help_does_not_wait_for_torch():
    heavy = "any(m in sys.modules for m in ('torch', 'pandas'))"
    code = f"import sys, mstlib.cli.main; sys.exit({heavy})"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("words", "says"), [
    ("data --profile huge", "unknown profile 'huge'; choose one of tiny, mini"),
    ("data --profile tiny --split dev", "no split 'dev'; choose one of train, val, test"),
    ("train --variant z", "unknown variant 'z'"),
    ("train --set train.lrr=1", "unknown setting 'train.lrr'"),
    ("train --set train", "'train': settings are given as NAME=VALUE"),
    ("train --set train.lr=fast", "train.lr is of type float (now 0.0005), got 'fast'"),
    ("train --set train.steps=1.5", "train.steps is of type int (now 1600), got '1.5'"),
    ("train --out x.safetensors", "x.safetensors: this file has to be called NAME.pt"),
    ("train --weights x.pt", "x.pt: this file has to be called NAME.safetensors"),
    ("pretrain --out x", "x: this file has to be called NAME.pt"),
    ("train --set train.batch=0", "train.batch must be above 0, got 0"),
    ("pretrain --out x.pt --set pretrain.save_every=0", "pretrain.save_every must be above 0"),
    ("train --set train.warmup=-1", "train.warmup must be 0 or more, got -1"),
    ("train --set model.nms=5.0", "model.nms must be between 0 and 1, got 5.0"),
    ("train --set model.anchor_sizes=()", "model.anchor_sizes must be above 0, got ()"),
    ("train --set pretrain.precision=half", "pretrain.precision cannot be 'half'; choose float32"),
    ("train --set model.dalign_layout=3", "model.dalign_layout cannot be '3'; choose 1, 2"),
    ("train --set model.heads=3", "model.width must be a multiple of model.heads, got 256, 3"),
    ("train --set model.pixel_mean=(0.5,)", "model.pixel_mean must be 3 numbers, got (0.5,)"),
    ("evaluate nowhere.safetensors", "nowhere.safetensors: no such checkpoint"),
    ("table X", "there is no table 'X'; choose one of I, II, III"),
    ("figure 2", "no figure '2' is made from runs; choose one of 1, 5, 6"),
    ("notebook nowhere.ipynb", "nowhere.ipynb: no such notebook"),
    ("compare nowhere.json", "nowhere.json"),
    ("reproduce --on moon", "no workflow/moon/config.yaml; choose one of kubernetes, local, slurm"),
    ("reproduce --on kubernetes",
     "'kubernetes' needs: pip install snakemake-executor-plugin-kubernetes"),
    ("reproduce --set seed=1", "the batch has no setting 'seed'; it has profile, train, runs"),
    ("reproduce --set runs=q", "no run is called 'q'"),
])
def test_mistakes_are_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, words, says):
    monkeypatch.chdir(tmp_path)
    assert mst(monkeypatch, *words.split()) == 2
    out, err = capsys.readouterr()
    assert err.startswith("mst: error: ") and says in err and err.count("\n") == 1
    assert out == "" and not list(tmp_path.iterdir())


def test_a_misspelt_option_shows_the_usage(monkeypatch, capsys):
    assert mst(monkeypatch, "train", "--varaint", "g") == 2
    assert "No such option" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "says"), [
    (errno.ENOSPC, "/results/x: No space left on device; free some space"),
    (errno.EACCES, "/results/x: Permission denied; free some space or choose a writable folder"),
])
def test_disk_trouble_is_one_line(monkeypatch, capsys, number, says):
    fail(monkeypatch, OSError(number, errno_text(number), "/results/x"))
    assert mst(monkeypatch, "info") == 2
    assert says in (err := capsys.readouterr().err) and err.count("\n") == 1


def test_other_errors_keep_their_traceback(monkeypatch):
    fail(monkeypatch, ZeroDivisionError("a bug"))
    monkeypatch.setattr(sys, "argv", ["mst", "info"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_a_message_of_several_lines_becomes_one(monkeypatch, capsys):
    fail(monkeypatch, MSTError("first\n  second"))
    assert mst(monkeypatch, "info") == 2
    assert capsys.readouterr().err == "mst: error: first second\n"


def test_a_warning_is_one_line_without_its_place_in_the_code(monkeypatch, capsys):
    monkeypatch.setattr("mstlib.report.batch.describe",
                        lambda: [warnings.formatwarning("two\n lines", UserWarning, "x.py", 7)])
    assert mst(monkeypatch, "info") == 0
    assert capsys.readouterr().out == "mst: warning: two lines\n\n"


def test_ctrl_c_is_130_and_silent(monkeypatch, capsys):
    fail(monkeypatch, KeyboardInterrupt())
    assert mst(monkeypatch, "info") == 130
    assert capsys.readouterr().err == ""


def fail(monkeypatch, error: BaseException) -> None:
    """Let `mst info` raise `error`."""

    def raising():
        raise error

    monkeypatch.setattr("mstlib.report.batch.describe", raising)


def errno_text(number: int) -> str:
    """What the system says of an error number."""
    return {errno.ENOSPC: "No space left on device", errno.EACCES: "Permission denied"}[number]


def test_info_names_what_counts(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("MST_DATA", str(tmp_path))
    assert mst(monkeypatch, "info") == 0
    out = capsys.readouterr().out
    assert "torch" in out and f"MiniVID, tiny: {tmp_path}" in out and "checkpoints:" in out


def test_settings_reach_the_configuration():
    config = cli.config_of("tiny", "g", ["train.lr=1", "model.width=64", "test.window=3"])
    assert (config.train.lr, config.model.width, config.test.window) == (1.0, 64, 3)
    assert isinstance(config.train.lr, float) and config.levels.instance
    settings = ["train.lr_scale={'dalign': 0.01}", "train.decay_at=(0.5,)"]
    config = cli.config_of("tiny", "a", settings)
    assert config.train.lr_scale == {"dalign": 0.01} and config.train.decay_at == (0.5,)
