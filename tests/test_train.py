"""Training: determinism, exact resume, honest failure, and that it learns at all."""

from dataclasses import replace

import pytest
import torch
from scenes import square_clips

from mstlib import train as training
from mstlib.batches import draw, kept_maps, map_batch
from mstlib.checkpoint import load_weights, read_metadata, save_weights
from mstlib.config import MSTError, config_from_dict, with_overrides
from mstlib.evaluate import evaluate
from mstlib.model.detector import build_model
from mstlib.profiles import get_config
from mstlib.stream import detect_clips
from mstlib.train import (
    learning_rate,
    load_state,
    pretrain,
    train_variant,
)


def weights_of(path):
    return load_state(path)["model"]


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a) and set(a) == set(b)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    out = tmp_path_factory.mktemp("pre") / "pre.pt"
    pretrain(get_config("tiny"), square_clips(), 0, out)
    return out


@pytest.mark.parametrize("variant", ["a", "g"])
def test_a_seed_gives_the_same_weights_twice_and_another_seed_others(variant, pretrained, tmp_path):
    config = get_config("tiny", variant)
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        train_variant(config, square_clips(), seed, pretrained, tmp_path / f"{name}.pt")
    one, two, other = (weights_of(tmp_path / f"{n}.pt") for n in ("one", "two", "other"))
    assert same(one, two)
    assert not same(one, other)


def test_an_interrupted_run_resumes_to_the_same_weights(pretrained, tmp_path, monkeypatch):
    config = get_config("tiny", "g")
    train_variant(config, square_clips(), 0, pretrained, tmp_path / "whole.pt")
    step = training.train_step

    def dies_at_six(model, batch, optimizer, recipe, number):
        if number == 6:
            raise KeyboardInterrupt
        return step(model, batch, optimizer, recipe, number)

    monkeypatch.setattr(training, "train_step", dies_at_six)
    with pytest.raises(KeyboardInterrupt):
        train_variant(config, square_clips(), 0, pretrained, tmp_path / "cut.pt")
    assert load_state(tmp_path / "cut.pt")["step"] == 4  # saved every 4 steps
    monkeypatch.setattr(training, "train_step", step)
    train_variant(config, square_clips(), 0, pretrained, tmp_path / "cut.pt")
    assert same(weights_of(tmp_path / "whole.pt"), weights_of(tmp_path / "cut.pt"))
    assert load_state(tmp_path / "whole.pt")["log"] == load_state(tmp_path / "cut.pt")["log"]


def test_training_a_variant_leaves_the_frozen_backbone_and_batch_norms_alone(pretrained, tmp_path):
    train_variant(get_config("tiny", "g"), square_clips(), 0, pretrained, tmp_path / "g.pt")
    before, after = weights_of(pretrained), weights_of(tmp_path / "g.pt")
    frozen = [k for k in before if k.startswith("backbone.") and "conv5" not in k or "running" in k]
    assert frozen and all(torch.equal(before[k], after[k]) for k in frozen)
    assert not torch.equal(before["fc.weight"], after["fc.weight"])
    assert after["dalign.expand.weight"].abs().sum() > 0


def test_kept_maps_are_the_backbones_and_flips_belong_to_whole_clips(pretrained, tmp_path):
    config, clips = get_config("tiny", "g"), square_clips()
    model = build_model(config).eval()
    maps = kept_maps(model, clips, tmp_path / "maps.npy")
    with torch.no_grad():
        fresh = model.c4(clips[1].frame(2)[None].flip(-1))[0]
    torch.testing.assert_close(maps[1, len(clips[0]) + 2].float(), fresh, atol=2e-2, rtol=1e-2)
    g = torch.Generator().manual_seed(0)
    batch = map_batch(clips, maps, (64, 64), replace(config.train, batch=16), 2, g)
    g = torch.Generator().manual_seed(0)
    picks = draw(clips, replace(config.train, batch=16), 2, g)
    assert {flip for _, _, flip in picks} == {True, False}
    for b, (n, frames, flip) in enumerate(picks):
        for k, t in enumerate(frames):
            row = sum(len(c) for c in clips[:n]) + t
            assert torch.equal(batch.windows[b, k], maps[int(flip), row].float())
            expected = clips[n].target(t).flip(64) if flip else clips[n].target(t)
            assert torch.equal(batch.targets[b][k].boxes, expected.boxes)


def test_flipping_a_target_twice_gives_it_back():
    target = square_clips(1)[0].target(2)
    flipped = target.flip(64)
    assert torch.equal(flipped.boxes[:, 0], 64 - target.boxes[:, 2])
    assert torch.allclose(flipped.flip(64).boxes, target.boxes)
    assert torch.allclose(flipped.flip(64).centres, target.centres)


def test_learning_rate_warms_up_and_decays():
    recipe = replace(get_config("mini").train, lr=1.0, steps=100, warmup=10, decay_at=(0.6, 0.9))
    assert [round(learning_rate(s, recipe), 4) for s in (0, 4, 9, 59, 60, 90)] == [
        0.1, 0.5, 1.0, 1.0, 0.1, 0.01]


def test_a_loss_that_is_not_finite_stops_training_with_one_line(tmp_path):
    config = with_overrides(get_config("tiny"), {"pretrain.lr": 1e12, "pretrain.clip_norm": 1e30})
    with pytest.raises(MSTError, match="not finite at step"):
        pretrain(config, square_clips(), 0, tmp_path / "x.pt")


def test_a_dalign_that_runs_away_stops_training_with_one_line(pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "DRIFT_LIMIT", 1e-4)
    with pytest.raises(MSTError, match="DAlign ran away at step"):
        train_variant(get_config("tiny", "d"), square_clips(), 0, pretrained, tmp_path / "d.pt")


def test_a_pretrained_detector_of_another_profile_is_refused(pretrained, tmp_path):
    config = with_overrides(get_config("tiny", "g"), {"model.width": 48})
    with pytest.raises(MSTError, match="does not fit this model, first key at fault fc.weight"):
        train_variant(config, square_clips(), 0, pretrained, tmp_path / "g.pt")


def test_a_state_of_another_run_is_not_gone_on_from(pretrained, tmp_path):
    out = tmp_path / "g.pt"
    train_variant(get_config("tiny", "g"), square_clips(), 0, pretrained, out)
    with pytest.raises(MSTError, match="holds another run"):
        train_variant(get_config("tiny", "g"), square_clips(), 1, pretrained, out)


def test_data_without_track_ids_trains_with_one_warning(pretrained, tmp_path):
    clips = [replace(clip, ids=(-1, -1)) for clip in square_clips()]
    with pytest.warns(UserWarning, match="no track ids") as warned:
        state = train_variant(get_config("tiny", "g"), clips, 0, pretrained, tmp_path / "g.pt")
    assert len([w for w in warned if "track ids" in str(w.message)]) == 1
    assert {"motion", "identity"}.isdisjoint(state["log"][-1])


def test_unfrozen_training_moves_the_backbone(pretrained, tmp_path):
    config = with_overrides(get_config("tiny", "g"), {"train.frozen": False})
    train_variant(config, square_clips(), 0, pretrained, tmp_path / "g.pt")
    before, after = weights_of(pretrained), weights_of(tmp_path / "g.pt")
    assert not torch.equal(before["backbone.stem.0.weight"], after["backbone.stem.0.weight"])


def test_missing_or_damaged_training_states_are_one_line_errors(pretrained, tmp_path):
    with pytest.raises(MSTError, match="no such checkpoint"):
        load_state(tmp_path / "none.pt")
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(pretrained.read_bytes()[:5000])
    with pytest.raises(MSTError, match="not a readable checkpoint"):
        load_state(damaged)


# ---- exported checkpoints ----------------------------------------------------------------------


def test_exported_weights_come_back_with_their_configuration(tmp_path):
    model = build_model(get_config("tiny", "g"), 5)
    path = save_weights(model, tmp_path / "g.safetensors", seed=5)
    again, metadata = load_weights(path, "g")
    assert again.config == model.config and metadata["seed"] == "5" and metadata["variant"] == "g"
    for k, v in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[k], v.half().to(v.dtype))


def test_checkpoints_at_fault_are_one_line_errors(tmp_path):
    path = save_weights(build_model(get_config("tiny", "c")), tmp_path / "c.safetensors", seed=0)
    with pytest.raises(MSTError, match=r"holds variant \(c\), not \(g\)"):
        load_weights(path, "g")
    with pytest.raises(MSTError, match="no such checkpoint"):
        read_metadata(tmp_path / "none.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MSTError, match="not a readable safetensors file"):
        load_weights(cut)


def test_a_configuration_survives_json():
    import json
    config = get_config("mini", "f")
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(MSTError, match="does not fit this version"):
        config_from_dict({"profile": "mini"})


# ---- it learns ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_clip_is_learnt_by_heart(tmp_path):
    """Pretraining and the whole method on one clip of two squares: mAP above 0.9."""
    clips = square_clips(1)
    config = with_overrides(get_config("tiny", "g"), {
        "pretrain.steps": 150, "pretrain.save_every": 150, "pretrain.lr": 0.01,
        "train.steps": 60, "train.save_every": 60, "train.batch": 4, "model.classes": 2})
    pretrain(config, clips, 0, tmp_path / "pre.pt")
    train_variant(config, clips, 0, tmp_path / "pre.pt", tmp_path / "g.pt")
    model = build_model(config)
    model.load_state_dict(weights_of(tmp_path / "g.pt"))
    truth = [[clip.target(t) for t in range(len(clip))] for clip in clips]
    found = detect_clips(model, clips, config.test)
    assert evaluate(found, truth, ("red", "green")).mAP > 90
