"""Training states: who may go on from one, damaged ones; the same weights are the same bytes."""

import hashlib
import os
from dataclasses import replace

import pytest
import torch
from scenes import SquareClip, square_clips

from mstlib.checkpoint import load_weights, save_weights
from mstlib.config import MSTError, with_overrides
from mstlib.data.dataset import BadFile
from mstlib.model.detector import build_model
from mstlib.profiles import get_config
from mstlib.training.loader import Feed
from mstlib.training.state import FREE, facts, load_state, save_state
from mstlib.training.train import train_variant

CONFIG = with_overrides(get_config("tiny", "g"), {"train.steps": 4, "train.save_every": 4})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small training's state."""
    out = tmp_path_factory.mktemp("state") / "g.pt"
    train_variant(CONFIG, square_clips(), 0, None, out)
    return out


def again(out, changes=None, clips=None, seed=0):
    """The same training, or one with something changed, on top of `out`."""
    return train_variant(with_overrides(CONFIG, changes or {}), clips or square_clips(), seed, None,
                         out)


# ---- whose state it is ---------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "says"), [
    ({"train.lr": 0.02}, "lr is 0.01 there and 0.02 here);"),
    ({"train.steps": 8, "train.lr": 0.02}, "steps is 4 there and 8 here and 1 more)"),
    ({"model.nms": 0.6}, "model.nms is 0.5 there and 0.6 here)"),
    ({"source.short_side": 32}, "source.short_side is 0 there and 32 here)"),
    ({"levels": replace(CONFIG.levels, instance=False)}, "levels.instance is True there and False"),
])
def test_a_state_of_other_settings_is_refused_and_the_setting_named(finished, changes, says):
    before = finished.read_bytes()
    with pytest.raises(MSTError) as error:
        again(finished, changes)
    assert f"{finished}: holds another run (" in str(error.value) and says in str(error.value)
    assert finished.read_bytes() == before


def test_a_state_of_another_seed_or_other_data_is_refused(finished):
    with pytest.raises(MSTError, match="seed is 0 there and 3 here"):
        again(finished, seed=3)
    for clips in (square_clips(2),                                     # fewer
                  [replace(clip, name="x") for clip in square_clips()],
                  [replace(clip, start=(9.0, 9.0)) for clip in square_clips()],  # other boxes
                  square_clips()[::-1]):
        with pytest.raises(MSTError, match="the data's digest is"):
            again(finished, clips=clips)


def test_how_often_is_logged_and_saved_may_change(finished):
    assert again(finished, {"train.log_every": 1, "train.save_every": 1})["step"] == 4
    assert set(FREE) == {"log_every", "save_every"}


def test_an_unreadable_annotation_does_not_stop_the_digest(finished):
    class Unreadable(SquareClip):
        def target(self, t):
            raise BadFile("0.xml: cut short")

    feed = Feed([Unreadable("a")], CONFIG.train, 2, 0, None)
    assert len(feed.digest()) == 8


def test_facts_survive_being_saved(tmp_path):
    feed = Feed(square_clips(), CONFIG.train, 2, 0, None)
    model = build_model(CONFIG)
    save_state(tmp_path / "x.pt", {"run": facts(model, feed)})
    assert load_state(tmp_path / "x.pt")["run"] == facts(model, feed)


# ---- damaged states ------------------------------------------------------------------------------


def test_a_flipped_bit_is_noticed(finished, tmp_path):
    """torch.load itself does not look at checksums."""
    data = bytearray(finished.read_bytes())
    weights = load_state(finished)["model"]["fc.weight"].numpy().tobytes()
    data[data.index(weights) + 100] ^= 1
    path = tmp_path / "g.pt"
    path.write_bytes(data)
    assert torch.load(path, weights_only=True)["step"] == 4
    with pytest.raises(MSTError, match="g.pt: not a readable checkpoint"):
        again(path)


@pytest.mark.parametrize(("edit", "says"), [
    (lambda s: s.pop("optimizer"), "not a complete training state"),
    (lambda s: s["model"].pop("fc.weight"), "not a complete training state"),
    (lambda s: s["notes"].update(more=1), "not a complete training state"),
    (lambda s: s["optimizer"]["param_groups"].clear(), "not a complete training state"),
    (lambda s: s.update(run="seed 0"), "not a training state of this version of mstlib"),
    (lambda s: s.clear(), "not a training state of this version of mstlib"),
])
def test_a_state_that_lacks_something_is_one_line(finished, tmp_path, edit, says):
    state = load_state(finished)
    edit(state)
    torch.save(state, tmp_path / "g.pt")
    with pytest.raises(MSTError, match=says):
        again(tmp_path / "g.pt")


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), 5])
def test_a_file_of_something_else_is_one_line(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(MSTError, match="x.pt: not a"):
        again(tmp_path / "x.pt")


# ---- exported weights ----------------------------------------------------------------------------


def test_the_same_weights_are_the_same_bytes(tmp_path):
    """So that their hash tells whose detections a folder holds; the library shuffles metadata."""
    model, umask = build_model(CONFIG, 3), os.umask(0o022)
    os.umask(umask)
    paths = [save_weights(model, tmp_path / f"{k}.safetensors", 3, classes=["ä", "b"])
             for k in range(6)]
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in paths}) == 1
    assert paths[0].stat().st_mode & 0o777 == 0o666 & ~umask  # others may read them
    again_, metadata = load_weights(paths[0], "g")
    assert metadata["classes"] == '["\\u00e4", "b"]' and again_.config == model.config
    for k, v in model.state_dict().items():
        assert torch.equal(again_.state_dict()[k], v.half().to(v.dtype))
