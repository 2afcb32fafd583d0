"""Several processes on the CPU, really started by torchrun: the same weights as one process, and an
end for all when one of them cannot go on."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scenes import square_clips

from mstlib.config import MSTError, with_overrides
from mstlib.data.dataset import BadFile
from mstlib.distributed import ALONE, Group, choose_device, rank
from mstlib.profiles import get_config
from mstlib.training.loader import Step
from mstlib.training.state import load_state
from mstlib.training.train import pretrain, train_variant
from mstlib.training.trainlog import Log

TESTS = Path(__file__).parent
SETTINGS = {"train.forward": 1, "train.batch": 4, "train.steps": 8, "train.save_every": 4}

PROGRAM = '''
"""A training whose process 1 meets the trouble named on the command line at step 5."""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from scenes import square_clips
from mstlib.training import train
from mstlib.config import MSTError, with_overrides
from mstlib.data.dataset import BadFile
from mstlib.profiles import get_config

trouble, init, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
step_of, steps_of = train.train_step, train.steps
mine = os.environ["RANK"] == "1"

def train_step(model, batches, optimizer, recipe, number, *rest):
    if mine and number == 5:
        if trouble == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if trouble == "preempted":
            os.kill(os.getpid(), signal.SIGTERM)
        if trouble == "nan":
            batches[-1].windows.fill_(float("nan"))
    return step_of(model, batches, optimizer, recipe, number, *rest)

def steps(feed, numbers, workers):
    for number, item in zip(numbers, steps_of(feed, numbers, workers)):
        bad = mine and trouble == "file" and number == 5
        yield BadFile("video/5.jpg: cut short") if bad else item

train.train_step, train.steps = train_step, steps
config = with_overrides(get_config("tiny", "g"), {settings!r})
try:
    train.train_variant(config, square_clips(), 0, init, out)
except MSTError as error:
    sys.stderr.write("said by " + os.environ["RANK"] + f": {{error}}\\n")  # one write: unbroken
    sys.exit(getattr(error, "exit_code", 2))
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pretrained detector, one process's weights, and the program that torchrun starts."""
    folder = tmp_path_factory.mktemp("distributed")
    pretrain(get_config("tiny"), square_clips(), 0, folder / "pre.pt")
    config = with_overrides(get_config("tiny", "g"), SETTINGS)
    train_variant(config, square_clips(), 0, folder / "pre.pt", folder / "one.pt")
    program = PROGRAM.format(tests=str(TESTS), settings=SETTINGS)
    (folder / "program.py").write_text(program)
    return folder


def torchrun(folder, out, trouble="none", count=2):
    """Start the program in `count` processes; (exit code, what they printed)."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
               str(count), folder / "program.py", trouble, folder / "pre.pt", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=TESTS.parent)
    return done.returncode, done.stderr


def assert_same_training(folder, out):
    """The state at `out` has the weights and the log of one undisturbed process."""
    one, two = load_state(folder / "one.pt"), load_state(out)
    assert two["step"] == 8
    for name, tensor in one["model"].items():
        torch.testing.assert_close(two["model"][name], tensor, rtol=1e-5, atol=1e-6)
    for a, b in zip(one["log"], two["log"], strict=True):
        assert a["class"] == pytest.approx(b["class"]) and a["norm"] == pytest.approx(b["norm"])


@pytest.mark.slow
def test_two_processes_learn_what_one_does_through_a_kill_and_a_preemption(folder, tmp_path):
    out = tmp_path / "two.pt"
    code, said = torchrun(folder, out, "killed")
    assert code != 0 and "SIGKILL" in said
    assert load_state(out)["step"] == 4  # the last save before step 5
    code, said = torchrun(folder, out, "preempted")
    assert code != 0 and "stopped by SIGTERM after step 6 of 8" in said
    assert load_state(out)["step"] == 6
    assert torchrun(folder, out)[0] == 0
    assert_same_training(folder, out)
    weights, pre = load_state(out)["model"], load_state(folder / "pre.pt")["model"]
    assert not torch.equal(weights["fc.weight"], pre["fc.weight"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["two.csv", "two.pt"]  # 0 alone writes


@pytest.mark.slow
@pytest.mark.parametrize(("trouble", "mine"), [
    ("nan", "loss is not finite at step 5 (maps nan)"), ("file", "video/5.jpg: cut short")])
def test_all_processes_end_with_a_line_when_one_cannot_go_on(folder, tmp_path, trouble, mine):
    out = tmp_path / "two.pt"
    code, said = torchrun(folder, out, trouble)
    # torchrun ends the others when the first one leaves: either tells the reason
    assert code != 0 and (f"said by 1: {mine}" in said or f"said by 0: process 1: {mine}" in said)
    assert "[rank0]: Traceback" not in said
    assert load_state(out)["step"] == 4
    assert (tmp_path / "two.bad-batch-1.pt").exists() == (trouble == "nan")


# ---- without other processes ---------------------------------------------------------------------


def test_a_training_that_torchrun_did_not_start_is_a_group_of_one(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert rank() == 0
    module = torch.nn.Linear(2, 2)
    assert ALONE.any(True, False) == (True, False) and ALONE.gather(3) == [3]
    assert ALONE.shared(module) is module
    monkeypatch.setenv("RANK", "3")
    assert rank() == 3


@pytest.mark.parametrize(("name", "says"), [
    ("tpu", "unknown device 'tpu'; choose auto, cpu or cuda"),
    ("cuda", "no GPU that torch can use; train with --device cpu")])
def test_devices_that_are_not_there(name, says, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MSTError, match=says):
        choose_device(name)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


def test_each_process_of_a_node_has_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert choose_device("auto") == torch.device("cuda", 3)
    monkeypatch.setenv("LOCAL_RANK", "4")
    with pytest.raises(MSTError, match="5 processes on a node with 4 GPUs"):
        choose_device("auto")


class Meeting:
    """A group of two whose other process has noted the same, as `Log.collect` sees it."""

    world = 2

    def __init__(self, rank):
        self.rank = rank

    def gather(self, value):
        return [value, ({"class": [4.0]}, {"step_s": [1.0]}, {"a.jpg": 2})]


def test_a_fault_of_another_process_stops_this_one():
    class Two(Group):
        def any(self, *flags):
            return (True,)

        def gather(self, value):
            return [value, "process 1: a file is cut short"]

    ALONE.agree(None)
    with pytest.raises(BadFile, match="my own"):
        ALONE.agree(BadFile("my own"))
    with pytest.raises(MSTError, match="process 1: a file is cut short"):
        Two().agree(None)
    with pytest.raises(BadFile, match="my own"):
        Two().agree(BadFile("my own"))


def test_process_0_logs_the_mean_of_all_and_the_others_nothing():
    step = Step([], frames=6, seconds=0.5, bad=["a.jpg"])
    for number in (0, 1):
        log = Log()
        log.add({"class": 2.0}, step, waited=0.1, spent=0.4, workers=2)
        log.close_row(7, Meeting(number))
        assert log.rows == ([] if number else [{"step": 7, "class": 3.0}])
        assert log.losses == {} and log.bad == ({} if number else {"a.jpg": 3})
    assert replace(Group(), world=1).gather("x") == ["x"]
