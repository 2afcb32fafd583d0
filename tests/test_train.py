"""Training: determinism, exact resume, honest failure, and that it learns at all."""

import csv
import json
import os
import re
import signal
import sys
import warnings
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from interruptions import interrupted_at
from scenes import SquareClip, square_clips

from mstlib.checkpoint import load_weights, read_metadata, save_weights
from mstlib.cli.options import how_to_train, with_data
from mstlib.config import MSTError, config_from_dict, with_overrides
from mstlib.data.dataset import BadFile, Dataset
from mstlib.data.minivid.benchmark import CLASSES
from mstlib.evaluation.evaluate import evaluate
from mstlib.model.backbone import freeze_batch_norms
from mstlib.model.detector import build_model
from mstlib.model.losses import losses_of, sample
from mstlib.model.rpn import covered, leave_out
from mstlib.profiles import get_config
from mstlib.stream import detect_clips
from mstlib.training import train as training
from mstlib.training import update
from mstlib.training.batches import collate, draw, image_window, kept_maps, map_batch
from mstlib.training.experiment import clips_of, for_data, run_training
from mstlib.training.start import detector_weights, load_shared
from mstlib.training.state import load_state
from mstlib.training.train import How, Stopped, pretrain, train_variant
from mstlib.training.trainlog import SlowData
from mstlib.training.update import BadStep, learning_rate, make_optimizer, train_step


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


def test_an_interrupted_run_resumes_to_the_same_weights(pretrained, tmp_path):
    config = get_config("tiny", "g")
    train_variant(config, square_clips(), 0, pretrained, tmp_path / "whole.pt")
    again = partial(train_variant, config, square_clips(), 0, pretrained, tmp_path / "cut.pt")
    interrupted_at(6, again)
    assert load_state(tmp_path / "cut.pt")["step"] == 4  # saved every 4 steps
    again()
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
    monkeypatch.setattr(update, "DRIFT_LIMIT", 1e-4)
    with pytest.raises(MSTError, match="DAlign ran away at step"):
        train_variant(get_config("tiny", "d"), square_clips(), 0, pretrained, tmp_path / "d.pt")


def test_a_dalign_in_place_of_the_maps_has_a_scale_of_its_own(pretrained, tmp_path, monkeypatch):
    """|F'-F| / |F| says how far what is added goes, nothing of what stands in its place."""
    monkeypatch.setattr(update, "DRIFT_LIMIT", 1e-4)
    config = with_overrides(get_config("tiny", "d"), {"model.dalign_residual": False})
    state = train_variant(config, square_clips(), 0, pretrained, tmp_path / "d.pt")
    assert state["step"] == 8 and state["log"][0]["drift"] > 1e-4


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
    config = with_overrides(get_config("tiny", "g"), {"train.frozen": 0})
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


# ---- stopping, and what is left behind -----------------------------------------------------------


def test_sigterm_saves_the_step_and_the_same_call_goes_on(pretrained, tmp_path, monkeypatch):
    config = with_overrides(get_config("tiny", "g"), {"train.log_every": 4})
    train_variant(config, square_clips(), 0, pretrained, tmp_path / "whole.pt")
    step = training.train_step

    def asked_at_two(model, batches, optimizer, recipe, number, *rest):
        if number == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(model, batches, optimizer, recipe, number, *rest)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(training, "train_step", asked_at_two)
    with pytest.raises(Stopped, match="stopped by SIGTERM after step 3 of 8") as stopped:
        train_variant(config, square_clips(), 0, pretrained, tmp_path / "cut.pt")
    assert stopped.value.exit_code == 143 and signal.getsignal(signal.SIGTERM) is before
    assert load_state(tmp_path / "cut.pt")["step"] == 3
    monkeypatch.setattr(training, "train_step", step)
    train_variant(config, square_clips(), 0, pretrained, tmp_path / "cut.pt")
    whole, cut = load_state(tmp_path / "whole.pt"), load_state(tmp_path / "cut.pt")
    assert same(whole["model"], cut["model"]) and whole["log"] == cut["log"]


def test_the_batch_that_broke_a_training_is_kept(tmp_path):
    config = with_overrides(get_config("tiny"), {"pretrain.lr": 1e12, "pretrain.clip_norm": 1e30})
    with pytest.raises(MSTError, match="not finite at step") as error:
        pretrain(config, square_clips(), 0, tmp_path / "x.pt")
    assert str(tmp_path / "x.bad-batch.pt") in str(error.value)
    kept = load_state(tmp_path / "x.bad-batch.pt")
    assert re.search(rf"at step {kept['step']}\b", str(error.value))
    by_name = {clip.name: clip for clip in square_clips()}
    for window, (name, frames, flip) in zip(kept["windows"], kept["picks"], strict=True):
        image = by_name[name].frame(frames[0])
        assert torch.equal(window[0], image.flip(-1) if flip else image)


def test_weights_survive_a_gradient_that_is_not_finite(tmp_path):
    model, batch = build_model(get_config("tiny")), a_batch()
    recipe = replace(get_config("tiny").train, lr=1e-2)
    before = {k: v.clone() for k, v in model.state_dict().items() if "num_batches" not in k}
    model.fc.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(BadStep, match="gradient is not finite at step 3"):
        train_step(model, [batch], make_optimizer(model, recipe), recipe, 3)
    learnt = [k for k, _ in model.named_parameters()]
    assert all(torch.equal(before[k], model.state_dict()[k]) for k in learnt)


def test_the_log_tells_how_the_data_came_and_goes_to_tensorboard(pretrained, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out, folder = tmp_path / "a.pt", tmp_path / "board"
    state = train_variant(get_config("tiny"), square_clips(), 0, pretrained, out,
                          How(tensorboard=folder))
    with out.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [2, 4, 6, 8]
    for row in rows:
        assert float(row["step_s"]) >= float(row["wait_s"]) >= 0 and float(row["frames_per_s"]) > 0
        assert row["unreadable"] == "0"
    events = EventAccumulator(str(folder)).Reload().Scalars("class")
    assert [(e.step, e.value) for e in events] == [
        (row["step"], pytest.approx(row["class"], rel=1e-5)) for row in state["log"]]


def test_tensorboard_that_is_not_installed_is_a_one_line_error(pretrained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MSTError, match="--tensorboard needs: pip install tensorboard"):
        train_variant(get_config("tiny"), square_clips(), 0, pretrained, tmp_path / "a.pt",
                      How(tensorboard=tmp_path))


def test_a_tensorboard_folder_that_cannot_be_is_a_one_line_error(pretrained, tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("")
    with pytest.raises(MSTError, match="file: no folder for TensorBoard .File exists"):
        train_variant(get_config("tiny"), square_clips(), 0, pretrained, tmp_path / "a.pt",
                      How(tensorboard=tmp_path / "file"))


def test_waiting_for_data_is_said_once_and_only_when_it_lasts():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        quick, slow = SlowData(), SlowData()
        quick.add(100.0, 100.0)  # workers start
        for _ in range(100):
            quick.add(0.19, 1.0)
            slow.add(0.3, 1.0)
            if slow.steps == 31:  # 30 s since the first step
                assert not said
    assert [str(w.message)[:38] for w in said] == ["30% of the time is spent waiting for d"]


def test_skipped_files_are_counted_in_the_log_and_said_at_the_end(pretrained, tmp_path, capsys):
    @dataclass(frozen=True)
    class Broken(SquareClip):
        def frame(self, t):
            if t == 2:
                raise BadFile(f"{self.name}/2.jpg: cut short")
            return super().frame(t)

    clips = [Broken("broken"), *square_clips(2)]
    config = with_overrides(get_config("tiny", "c"), {"train.frozen": 0})
    with pytest.raises(BadFile, match="broken/2.jpg: cut short"):
        train_variant(config, clips, 0, pretrained, tmp_path / "x.pt")
    train_variant(config, clips, 0, pretrained, tmp_path / "c.pt", How(skip_bad=True))
    with (tmp_path / "c.csv").open(newline="") as file:
        count = sum(float(row["unreadable"]) for row in csv.DictReader(file))
    assert count > 0
    assert capsys.readouterr().err == (f"windows drawn anew: {count:.0f}, for bad files: 1\n"
                                       "broken/2.jpg: cut short\n")


# ---- forward passes and precision ----------------------------------------------------------------


def a_batch(first=0, clip=0):
    """One window of a reference and two supports."""
    clips, pick = square_clips(), (clip, [2, 1, 4], False)
    return collate([image_window(clips, pick)], clips, [pick], first)


def gradients(model, batches, **changes):
    """The gradients of one update of which nothing is clipped or taken."""
    recipe = replace(get_config("tiny").train, lr=0.0, clip_norm=1e9, **changes)
    model.zero_grad(set_to_none=True)
    values = train_step(model, batches, make_optimizer(model, recipe), recipe, 5, seed=3)
    return values, {k: p.grad.clone() for k, p in model.named_parameters() if p.grad is not None}


def test_the_gradient_of_several_forward_passes_is_their_mean():
    model = build_model(get_config("tiny", "g")).train()
    freeze_batch_norms(model)
    one, two = a_batch(0, clip=0), a_batch(1, clip=1)
    (losses1, grads1), (losses2, grads2) = gradients(model, [one]), gradients(model, [two])
    losses, grads = gradients(model, [one, two])
    assert losses["class"] == pytest.approx((losses1["class"] + losses2["class"]) / 2)
    assert set(grads) == set(grads1) | set(grads2)
    for key, gradient in grads.items():
        both = [g[key] for g in (grads1, grads2) if key in g]
        torch.testing.assert_close(gradient, sum(both) / 2, rtol=1e-4, atol=1e-7)


def test_what_a_pass_draws_depends_on_its_window_not_on_the_passes_before_it():
    model = build_model(get_config("tiny", "c")).train()
    freeze_batch_norms(model)
    state = torch.get_rng_state()
    alone = gradients(model, [a_batch(1)])[0]["class"]
    torch.randperm(100)  # the global state may be anything
    assert gradients(model, [a_batch(1)])[0]["class"] == alone
    assert gradients(model, [a_batch(2)])[0]["class"] != alone
    assert not torch.equal(state, torch.get_rng_state())  # by our own randperm
    state = torch.get_rng_state()
    gradients(model, [a_batch(0)])
    assert torch.equal(state, torch.get_rng_state())


def test_bfloat16_computes_the_backbone_in_half_and_the_rest_in_float32():
    model = build_model(get_config("tiny", "g")).train()
    freeze_batch_norms(model)
    seen = {}
    for name in ("backbone.conv4", "reduce", "dalign.expand", "rpn.parts.head.cls_logits", "fc",
                 "proposal.layers.0.query", "head.cls_score"):
        model.get_submodule(name).register_forward_hook(
            lambda _, inputs, output, name=name: seen.__setitem__(name, output.dtype))
    exact, _ = gradients(model, [a_batch()])
    assert set(seen.values()) == {torch.float32} and len(seen) == 7
    half, grads = gradients(model, [a_batch()], precision="bfloat16")
    assert {k for k, dtype in seen.items() if dtype == torch.bfloat16} == {
        "backbone.conv4", "reduce"}
    assert half != exact and all(g.dtype == torch.float32 for g in grads.values())
    for key in ("rpn_class", "class"):
        assert half[key] == pytest.approx(exact[key], rel=0.02)


def test_bfloat16_trains_and_resumes(pretrained, tmp_path):
    config = with_overrides(get_config("tiny", "g"), {"train.precision": "bfloat16",
                                                      "train.frozen": 2})
    state = train_variant(config, square_clips(), 0, pretrained, tmp_path / "g.pt")
    assert state["step"] == 8 and all(row["class"] < 3 for row in state["log"])
    assert all(v.dtype != torch.bfloat16 for v in weights_of(tmp_path / "g.pt").values())


@pytest.mark.parametrize(("precision", "says"), [
    ("float16", "precision float16 needs a GPU; use bfloat16 or float32"),
    ("half", "unknown precision 'half'; choose float32, bfloat16, float16")])
def test_precisions_that_cannot_be(precision, says, pretrained, tmp_path):
    config = with_overrides(get_config("tiny"), {"train.precision": precision})
    with pytest.raises(MSTError, match=says):
        train_variant(config, square_clips(), 0, pretrained, tmp_path / "a.pt")


def test_a_scaled_gradient_that_overflows_is_no_update_and_no_end():
    """What float16 does on a GPU now and then, with the scaler of the CPU."""
    model = build_model(get_config("tiny")).train()
    recipe = replace(get_config("tiny").train, lr=1e-2)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    plain = gradients(model, [a_batch()])[0]["norm"]
    before = [p.clone() for p in model.parameters()]
    overflow = model.fc.weight.register_hook(lambda gradient: gradient * float("inf"))
    values = train_step(model, [a_batch()], make_optimizer(model, recipe), recipe, 5, 3,
                        scaler=scaler)
    assert "norm" not in values and values["class"] < 10 and scaler.get_scale() == 2.0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    overflow.remove()
    values = train_step(model, [a_batch()], make_optimizer(model, recipe), recipe, 5, 3,
                        scaler=scaler)
    assert values["norm"] == pytest.approx(plain, rel=1e-3)  # unscaled before it is clipped
    assert not all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


# ---- ignored regions -----------------------------------------------------------------------------


def test_the_share_of_a_box_in_an_ignored_region():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 4, 10], [20, 20, 30, 30], [4, 0, 6, 10]])
    regions = torch.tensor([[5.0, 0, 50, 50], [0, 0, 10, 3]])
    assert torch.allclose(covered(boxes, regions), torch.tensor([0.5, 0.3, 1.0, 0.5]))
    labels = torch.tensor([0, 0, 1, -1])
    assert leave_out(labels, boxes, regions).tolist() == [-1, 0, 1, -1]
    assert leave_out(labels, boxes, regions[:0]) is labels


def with_ignored(region):
    """A window whose reference has an ignored region."""
    batch = a_batch()
    batch.targets[0][0] = replace(batch.targets[0][0], ignored=torch.tensor([region]))
    return batch


def test_background_inside_ignored_regions_is_not_sampled(monkeypatch):
    model = build_model(get_config("tiny", "c")).train()
    target = replace(square_clips()[0].target(2), ignored=torch.tensor([[32.0, 0, 64, 64]]))
    boxes = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) * 50
    boxes = torch.cat([boxes, boxes + 12], 1)
    inside = covered(boxes, target.ignored) >= 0.5
    torch.manual_seed(0)
    rois, _, labels, _, _ = sample(model, boxes, torch.rand(200), target)
    assert (covered(rois[labels == 0], target.ignored) < 0.5).all() and (labels == 0).sum() > 5
    assert (labels > 0).any() and inside.sum() > 50
    torch.manual_seed(0)
    rois, _, labels, _, _ = sample(model, boxes, torch.rand(200), square_clips()[0].target(2))
    assert (covered(rois[labels == 0], target.ignored) >= 0.5).any()


def test_anchors_inside_ignored_regions_teach_the_rpn_nothing():
    """With all but the objects ignored the RPN is taught objects only."""
    config = with_overrides(get_config("tiny"), {"model.rpn_batch": 4096})
    model = build_model(config).train()
    maps, clip = torch.rand(1, 1, 16, 8, 8), square_clips()[0]
    plain = clip.target(2)
    everything = replace(plain, ignored=torch.tensor([[-99.0, -99, 163, 163]]))
    nothing = replace(plain, ignored=torch.tensor([[0.0, 0, 0, 0]]))
    with torch.no_grad():
        model.rpn.parts.head.cls_logits.bias.fill_(9.0)  # sure of objects everywhere
        a, b, c = (losses_of(model, maps, (64, 64), [[t]]) for t in (plain, everything, nothing))
    assert a["rpn_class"] > 5 and b["rpn_class"] < 1e-3
    assert torch.equal(a["rpn_class"], c["rpn_class"]) and torch.equal(a["rpn_box"], c["rpn_box"])


# ---- what training starts from -------------------------------------------------------------------


def test_frozen_stages_stay_and_the_others_learn_with_their_batch_norms_frozen(
        pretrained, tmp_path):
    config = with_overrides(get_config("tiny", "g"), {"train.frozen": 2})
    train_variant(config, square_clips(), 0, pretrained, tmp_path / "g.pt")
    before, after = weights_of(pretrained), weights_of(tmp_path / "g.pt")
    changed = {k.split(".")[1] for k in before
               if k.startswith("backbone.") and not torch.equal(before[k], after[k])}
    assert changed == {"conv3", "conv4", "conv5"}
    assert all(torch.equal(before[k], after[k]) for k in before if "running" in k or "bn" in k)


def test_data_other_than_minivid_keeps_no_maps(pretrained, tmp_path):
    start = tmp_path / "pre.pt"
    start.write_bytes(pretrained.read_bytes())
    config = with_overrides(get_config("tiny", "g"), {"source.format": "davis"})
    train_variant(config, square_clips(), 0, start, tmp_path / "g.pt")
    before, after = weights_of(pretrained), weights_of(tmp_path / "g.pt")
    assert torch.equal(before["backbone.conv4.0.conv1.weight"],
                       after["backbone.conv4.0.conv1.weight"])
    assert not torch.equal(before["fc.weight"], after["fc.weight"])
    assert not list(tmp_path.glob("*.npy"))


def test_fine_tuning_from_exported_weights_starts_other_heads_anew(tmp_path):
    start = build_model(get_config("tiny", "g"), 5)
    init = save_weights(start, tmp_path / "g.safetensors", seed=5, half=False)
    config = with_overrides(get_config("tiny", "c"), {"model.classes": 2, "train.steps": 0})
    model = build_model(config, 1)
    with pytest.warns(UserWarning, match="another number of classes") as warned:
        load_shared(model, detector_weights(init), str(init))
    assert len(warned) == 1
    fresh, own = build_model(config, 1).state_dict(), model.state_dict()
    for k, v in own.items():
        assert torch.equal(v, fresh[k] if k.startswith("head.") else start.state_dict()[k]), k
    state = train_variant(get_config("tiny", "g"), square_clips(), 0, init, tmp_path / "g.pt")
    assert state["step"] == 8


def test_a_file_that_holds_no_detector_is_a_one_line_error(tmp_path):
    torch.save({"step": 3}, tmp_path / "x.pt")
    with pytest.raises(MSTError, match="x.pt: not a training state of mstlib"):
        detector_weights(tmp_path / "x.pt")


def test_the_literal_label_rule_copies_its_rows_where_ids_are_unknown(pretrained, tmp_path):
    clips = [replace(clip, ids=(-1, -1)) for clip in square_clips()]
    config = with_overrides(get_config("tiny", "g"), {"model.instance_rule": "label"})
    with pytest.warns(UserWarning, match="no track ids") as warned:
        train_variant(config, clips, 0, pretrained, tmp_path / "g.pt")
    assert len([w for w in warned if "track ids" in str(w.message)]) == 1
    fresh, after = build_model(config, 0).state_dict(), weights_of(tmp_path / "g.pt")
    level = [k for k in after if k.startswith("instance.")]
    assert level and all(torch.equal(fresh[k], after[k]) for k in level)  # never asked
    assert not torch.equal(weights_of(pretrained)["fc.weight"], after["fc.weight"])


# ---- data sources --------------------------------------------------------------------------------


@pytest.fixture
def squares_on_disk(monkeypatch):
    """`open_dataset` gives clips of squares, whatever folder it is asked for."""

    def open_squares(form, root, split, skip_bad=False):
        return Dataset(f"{form} in {root}", split, ("red", "green"), square_clips(2))

    monkeypatch.setattr("mstlib.data.readers.open_dataset", open_squares)


def test_clips_of_opens_any_format_at_the_configured_size(squares_on_disk, tmp_path):
    config = with_overrides(get_config("tiny"), {"source.format": "davis", "source.short_side": 32})
    data = clips_of(config, "train", tmp_path)
    assert data.name == f"davis in {tmp_path}" and len(data) == 2
    assert data[0].frame(0).shape == (3, 32, 32)
    assert torch.allclose(data[0].target(1).boxes, square_clips()[0].target(1).boxes / 2)
    assert for_data(config, data).model.classes == 2
    with pytest.raises(MSTError, match="give --data davis:PATH"):
        clips_of(config, "train")


def test_minivid_is_a_data_set_with_its_eight_classes(tmp_path):
    config = get_config("tiny")
    data = clips_of(config, "val", tmp_path)
    assert data.classes == CLASSES and for_data(config, data) == config
    assert len(data) == len(data[:]) == 4


def test_a_training_on_other_data_exports_its_classes(squares_on_disk, tmp_path):
    config = with_overrides(get_config("tiny", "c"), {"source.format": "davis"})
    run_training(config, 0, None, tmp_path / "c.pt", tmp_path / "c.safetensors", tmp_path)
    model, metadata = load_weights(tmp_path / "c.safetensors", "c")
    assert json.loads(metadata["classes"]) == ["red", "green"]
    assert model.model_config.classes == 2 and model.config.source.format == "davis"


def test_the_data_option_names_a_format_or_has_it_found_out(tmp_path, monkeypatch):
    config = get_config("tiny")
    assert with_data(config, None) == (config, None)
    found, root = with_data(config, f"davis:{tmp_path}")
    assert (found.source.format, root) == ("davis", tmp_path)
    monkeypatch.setattr("mstlib.data.readers.detect_format", lambda path: "coco-vid")
    found, root = with_data(config, f"{tmp_path}/a:b")
    assert (found.source.format, root) == ("coco-vid", tmp_path / "a:b")
    with pytest.raises(MSTError, match="unknown data format 'davos'; choose one of imagenet"):
        with_data(config, "davos:somewhere")


def test_minivid_is_trained_on_the_cpu_and_read_in_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(16), raising=False)
    mini = get_config("tiny")
    other = with_overrides(mini, {"source.format": "davis"})
    assert how_to_train(mini, None, False, None, None) == How(0, device="cpu")
    assert how_to_train(other, None, True, None, None) == How(8, True, device="auto")
    assert how_to_train(other, 3, False, None, "cpu") == How(3, device="cpu")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert how_to_train(other, None, False, None, None).workers == 3


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
