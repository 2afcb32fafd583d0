"""From a data set to figures through two kills: the commands of docs/training.md, on every layout.

A kill is a SIGKILL that the process sends itself, in a fork of this one, at a place that makes the
test repeatable: after step 6, and after the first shard of detections.
"""

import json
import os
import re
import shlex
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from shared_data import SHARED, needs_davis

from mstlib.cli import main as cli
from mstlib.evaluation import detections
from mstlib.training import train
from mstlib.training.state import load_state

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## From a data set to figures, through two kills")[1].split("\n## ")[0]
LINES = [shlex.split(line) for line in SECTION.split("```")[1].strip().splitlines()]
LAYOUTS = [name for name in re.findall(r"`([a-z0-9-]+)`", SECTION.split("```")[0])
           if name not in ("val", "test")]
SHORTER = {"train.steps=300": "train.steps=10", "train.save_every=20": "train.save_every=4"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks a process that uses torch"),
    pytest.mark.filterwarnings("ignore"),
]


def mst(words: list[str]) -> int:
    """The exit code of `mst words`, run in this process."""
    before, form = sys.argv, warnings.formatwarning
    sys.argv = ["mst", *words]
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.argv, warnings.formatwarning = before, form
    return 0


def killed(words: list[str]) -> bool:
    """Is `mst words` killed? In a fork, so that the kill takes nothing with it."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        step, shard = train.train_step, detections._write_shard

        def train_step(model, batches, optimizer, recipe, number, *rest):
            if number == 6:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(model, batches, optimizer, recipe, number, *rest)

        def write_shard(folder, kept):
            shard(folder, kept)
            os.kill(os.getpid(), signal.SIGKILL)

        train.train_step, detections._write_shard = train_step, write_shard
        os._exit(mst(words))
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def plain(words: list[str]) -> list[str]:
    """The words after `mst`; less of the rest, for a test."""
    return [SHORTER.get(word, word) for word in words[words.index("mst") + 1:]]


def shard_of(number: int) -> dict:
    """The arrays of a saved shard."""
    with np.load(f"build/walk/found/shard-{number:06d}.npz") as file:
        return dict(file)


def test_the_page_names_the_layouts():
    from mstlib.data.formats.lookalike import LOOKALIKES

    assert set(LAYOUTS) == set(LOOKALIKES)
    assert [line[0] for line in LINES] == ["mst", "mst", "timeout", "mst", "timeout", "mst", "mst"]


@pytest.mark.parametrize("layout", [*LAYOUTS, pytest.param("DAVIS", marks=needs_davis)])
def test_from_data_to_figures_through_two_kills(layout, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(detections, "SHARD_FRAMES", 1)  # one clip a shard
    data, check, cut, resume, stop, go_on, again = map(plain, LINES)
    if layout == "DAVIS":
        small_davis()
    else:
        assert mst([layout if word == "imagenet-vid" else word for word in data]) == 0
    assert mst(check) == 0
    assert "no problems (every image decoded)" in capsys.readouterr().out

    assert cut == resume and killed(cut)
    assert load_state(Path("build/walk/g.pt"))["step"] == 4
    assert not Path("build/walk/g.safetensors").exists()
    assert mst(resume) == 0
    assert capsys.readouterr().out == "weights: build/walk/g.safetensors\n"
    whole = [word.replace("walk/g.pt", "whole.pt") for word in resume]
    assert mst(whole) == 0
    assert Path("build/walk/g.safetensors").read_bytes() == Path(
        "build/whole.safetensors").read_bytes()

    assert stop == go_on and killed(stop)
    first, = Path("build/walk/found").glob("shard-*.npz")
    written = first.stat().st_mtime_ns
    assert mst(again) == 2 and "clips missing); go on with" in capsys.readouterr().err
    assert mst(go_on) == 0 and first.stat().st_mtime_ns == written
    record = json.loads(Path("build/walk/figures.json").read_text())
    assert record["steps"] == 10 and record["recipe"] == [
        shlex.join(["mst", *resume]), shlex.join(["mst", *go_on])]
    assert mst([*again, "--protocol", "vid-devkit", "--out", "build/again.json"]) == 0
    scored = json.loads(Path("build/again.json").read_text())
    assert set(scored["metrics"]) == {"vid", "vid-devkit", "coco", "uavdt"}
    assert all(metrics["mAP"] is not None for metrics in scored["metrics"].values())
    for protocol, metrics in record["metrics"].items():
        assert scored["metrics"][protocol] == metrics
    assert scored["bootstrap"] == record["bootstrap"]


def small_davis() -> None:
    """Some of the real DAVIS as build/walk/data, five frames a clip."""
    root = Path("build/walk/data")
    for split, names in (("train", ("bear", "dog-agility", "bus")), ("val", ("dog",))):
        lines = [line for line in (SHARED / f"DAVIS/ImageSets/480p/{split}.txt").read_text()
                 .splitlines() if line.split("/")[3] in names and int(line[-9:-5]) < 5]
        for kind in ("JPEGImages", "Annotations"):
            (root / kind).mkdir(parents=True, exist_ok=True)
            (root / kind / "480p").unlink(missing_ok=True)
            (root / kind / "480p").symlink_to(SHARED / "DAVIS" / kind / "480p")
        (root / "ImageSets/480p").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets/480p" / f"{split}.txt").write_text("\n".join(lines) + "\n")
