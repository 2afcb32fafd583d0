"""RDN and MEGA on the shared base: roles of frames, training, the walk through a clip.

That both compute what the public code computes is tested in test_import_mega.py.
"""

from dataclasses import dataclass, replace

import pytest
import torch
from scenes import SquareClip, square_clips

from mstlib.checkpoint import load_weights, save_weights
from mstlib.config import Levels, MSTError, config_from_dict, with_overrides
from mstlib.data.clip import sample_roles, window_indices
from mstlib.data.dataset import BadFile
from mstlib.evaluation.evaluate import evaluate
from mstlib.model.backbone import freeze_batch_norms
from mstlib.model.detector import MST, build_model
from mstlib.model.losses import losses_of
from mstlib.model.mega import MEGA
from mstlib.model.rdn import RDN, lead_count, leading
from mstlib.profiles import get_config
from mstlib.stream import Streamer, detect_clip, detect_clips, propose_clip, trace_frame
from mstlib.training.state import load_state
from mstlib.training.train import pretrain, train_variant

PLAIN = Levels(proposal=True)  # Table V, (h)
LOSSES = ("rpn_class", "rpn_box", "class", "box")
ALONE = {"test.memory_frames": 0, "test.global_frames": 0}
WHOLE = Levels(dalign=True, frame=True, proposal=True, instance=True)  # Table V, (l)


def config_of(method, levels=PLAIN, **changes):
    config = with_overrides(get_config("tiny", "c"), {"model.method": method} | changes)
    return replace(config, levels=levels)


def model_of(method, levels=PLAIN, **changes):
    return build_model(config_of(method, levels, **changes)).eval()


# ---- which detector ----------------------------------------------------------------------------


def test_the_method_is_a_value_of_the_configuration():
    assert [type(model_of(m)) for m in ("mst", "rdn", "mega")] == [MST, RDN, MEGA]
    assert type(model_of("mega", Levels())) is MST  # without a proposal level all are the same
    with pytest.raises(MSTError, match="unknown model.method 'dff'; choose one of mst, fgfa, sel"):
        model_of("dff")


def test_a_configuration_written_before_there_were_methods_still_loads():
    plain = get_config("tiny", "g").to_dict()
    for section, names in {"model": ("method", "lead_share", "mega_stages"),
                           "train": ("memory_frames", "global_frames"),
                           "test": ("pad", "memory_frames", "global_frames")}.items():
        for name in names:
            del plain[section][name]
    config = config_from_dict(plain)
    assert type(build_model(config)) is MST and not config.test.pad


def test_weights_come_back_as_the_detector_they_belong_to(tmp_path):
    pytest.importorskip("safetensors")
    for method, kind in (("rdn", RDN), ("mega", MEGA)):
        path = save_weights(model_of(method), tmp_path / f"{method}.safetensors", 0, half=False)
        again = load_weights(path)[0]
        assert type(again) is kind
        assert all(map(torch.equal, again.parameters(), model_of(method).parameters()))


# ---- RDN ---------------------------------------------------------------------------------------


def test_the_best_fifth_of_each_frame_leads():
    assert leading([3, 1, 4], 2).tolist() == [1, 1, 0, 1, 1, 1, 0, 0]
    assert lead_count(get_config("paper").model) == 15
    assert lead_count(get_config("mini").model) == 2  # of 8
    assert lead_count(replace(get_config("mini").model, support_proposals=2)) == 1


def test_rdn_without_its_last_word_is_variant_c():
    """Its base stage is (c); the advanced stage adds what its last layer says."""
    c, rdn = model_of("mst"), model_of("rdn")
    rdn.load_state_dict(c.state_dict(), strict=False)
    clip = SquareClip("square")
    window = torch.stack([clip.frame(t) for t in (2, 0, 4)])[None]
    with_it = rdn(window)[0][0].scores
    torch.nn.init.zeros_(rdn.proposal.advanced[1].value.weight)
    scores = rdn(window)[0][0].scores
    assert torch.equal(scores, c(window)[0][0].scores)
    assert with_it.shape != scores.shape or not torch.allclose(with_it, scores)


def test_rdn_traces_its_base_stage():
    window = torch.stack([SquareClip("square").frame(t) for t in (2, 0, 4)])[None]
    _, traces = model_of("rdn")(window, trace=True)
    assert len(traces[0].relation) == 2 and len(traces[0].supports) == 18


# ---- frames and their roles --------------------------------------------------------------------


def roles(t, length, seed, span=3):
    g = torch.Generator().manual_seed(seed)
    picks = sample_roles(t, length, 2, span, g, memory_frames=3, global_frames=4)
    return picks[:2], picks[2:5], picks[5:]


def test_local_frames_are_near_memory_is_a_window_earlier_global_frames_are_anywhere():
    seen = set()
    for seed in range(60):
        local, memory, far = roles(20, 40, seed)
        assert all(17 <= s <= 23 and s != 20 for s in local) and len(set(local)) == 2
        assert all(10 <= s <= 16 for s in memory) and len(set(memory)) == 3  # 20 - 7, +- 3
        assert len(set(far)) == 4
        seen |= set(far)
    assert seen == set(range(40))


def test_at_the_start_of_a_video_memory_is_made_of_its_first_frames():
    picks = [s for seed in range(60) for s in roles(2, 40, seed)[1]]
    assert set(picks) == {0, 1, 2, 3} and picks.count(0) > len(picks) / 3  # 0 also for -3, -2, -1
    assert all(set(part) == {0} for part in roles(0, 1, 0))  # a still image


def test_windows_can_be_filled_with_copies_of_the_ends():
    assert window_indices(0, 24, 5, 2, pad=True) == [0, 0, 0, 2, 4]
    assert window_indices(22, 24, 5, 2, pad=True) == [22, 18, 20, 23, 23]
    assert window_indices(10, 24, 5, 2, pad=True) == window_indices(10, 24, 5, 2)


def training_window(model):
    """conv4 maps (2, L, C, h, w) of a window as it is drawn for training, and its targets."""
    recipe, g = model.config.train, torch.Generator().manual_seed(0)
    clip = SquareClip("square", frames=12)
    frames = [6] + model.sample(6, len(clip), recipe.supports, recipe.span, g)
    maps = model.c4(torch.stack([clip.frame(t) for t in frames])).detach()
    return torch.stack([maps, maps]), [[clip.target(t) for t in frames]] * 2


def total_loss(model, maps, targets):
    torch.manual_seed(0)
    return sum(losses_of(model, maps, (64, 64), targets).values())


def test_memory_teaches_nothing_but_is_heard():
    """A window of reference, 2 local, 2 memory and 2 global frames: gradients reach all but the
    memory, yet the loss depends on it."""
    model = model_of("mega").train()
    freeze_batch_norms(model)
    maps, targets = training_window(model)
    assert maps.shape[1] == 7
    loss = total_loss(model, maps.requires_grad_(), targets)
    (gradient,) = torch.autograd.grad(loss, maps)
    assert (gradient.abs().sum((0, 2, 3, 4)) > 0).tolist() == [1, 1, 1, 0, 0, 1, 1]
    changed = maps.detach().clone()
    changed[:, 3:5] = changed[:, 3:5].flip(-1) + 1
    assert not torch.isclose(total_loss(model, changed, targets), loss)


def test_the_other_levels_work_on_the_local_frames():
    """Table V (l): memory and global frames are neither aligned nor heard by the instance level."""
    model = model_of("mega", WHOLE).train()
    maps, targets = training_window(model)
    torch.nn.init.normal_(model.dalign.expand.weight, std=0.1)
    x, how = model.aggregate(maps)
    assert x.shape == maps.shape and how["displacement"].shape[1] == 3
    assert torch.equal(x[:, 3:], maps[:, 3:]) and not torch.allclose(x[:, :3], maps[:, :3])
    p = model.window([torch.rand(6, 32)] * 7, [torch.rand(6, 4)] * 7, [torch.rand(6)] * 7)
    p = model.assign_roles(p)
    assert len(p.s) == 18 and p.counts == [6] * 3 and len(p.global_pool.boxes) == 12
    assert [len(pool.boxes) for pool in p.memory] == [12, 4]
    losses = losses_of(model, maps, (64, 64), targets)
    assert {"motion", "offset", "drift"} < set(losses)
    assert all(torch.isfinite(v) for v in losses.values())


def test_a_window_without_its_roles_is_a_one_line_error():
    model = model_of("mega").train()
    maps, targets = training_window(model)
    with pytest.raises(MSTError, match="2 memory and 2 global frames .* window of 3; draw it"):
        losses_of(model, maps[:, :3], (64, 64), [t[:3] for t in targets])


# ---- training ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    out = tmp_path_factory.mktemp("pre") / "pre.pt"
    pretrain(config_of("mega"), square_clips(), 0, out)  # the same for every method
    return out


@pytest.mark.parametrize("method", ["rdn", "mega"])
def test_every_trained_part_gets_a_gradient(method):
    model = model_of(method, Levels(proposal=True, instance=True)).train()
    for p in (*model.proposal.parameters(), *model.instance.parameters()):
        torch.nn.init.normal_(p, std=0.05)
    total_loss(model, *training_window(model)).backward()
    silent = [n for n, p in model.named_parameters() if n.startswith(("proposal", "instance"))
              and not (p.grad is not None and p.grad.abs().sum() > 0)]
    assert [n for n in silent if not n.endswith("key.bias")] == []  # softmax does not see it


@pytest.mark.parametrize("method", ["rdn", "mega"])
def test_it_is_trained_as_the_variants_are_and_the_loss_falls(method, pretrained, tmp_path):
    config = config_of(method, **{"train.steps": 40, "train.log_every": 10, "train.batch": 4,
                                  "train.save_every": 40})
    train_variant(config, square_clips(1), 0, pretrained, tmp_path / "state.pt")
    log = load_state(tmp_path / "state.pt")["log"]
    assert sum(log[-1][k] for k in LOSSES) < 0.8 * sum(log[0][k] for k in LOSSES)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rdn", "mega"])
def test_a_clip_is_learnt_by_heart(method, tmp_path):
    """As the whole method in test_train.py: pretraining, training, detections of mAP above 0.9."""
    clips = square_clips(1)
    config = config_of(method, **{
        "pretrain.steps": 150, "pretrain.save_every": 150, "pretrain.lr": 0.01,
        "train.steps": 60, "train.save_every": 60, "train.batch": 4, "model.classes": 2})
    pretrain(config, clips, 0, tmp_path / "pre.pt")
    train_variant(config, clips, 0, tmp_path / "pre.pt", tmp_path / "state.pt")
    model = build_model(config)
    model.load_state_dict(load_state(tmp_path / "state.pt")["model"])
    truth = [[clip.target(t) for t in range(len(clip))] for clip in clips]
    assert evaluate(detect_clips(model, clips, config.test), truth, ("red", "green")).mAP > 90


# ---- the walk ----------------------------------------------------------------------------------


def detections(model, clip, **changes):
    return detect_clip(model, clip, with_overrides(model.config, changes).test)


def close(one, two):
    return all(a.scores.shape == b.scores.shape and torch.allclose(a.scores, b.scores, atol=1e-5)
               and torch.allclose(a.boxes, b.boxes, atol=1e-2) for a, b in
               zip(one, two, strict=True))


@pytest.mark.parametrize("levels", [Levels(proposal=True), WHOLE], ids=["(h)", "(l)"])
@torch.no_grad()
def test_without_memory_and_global_frames_each_window_stands_alone(levels):
    model, clip = model_of("mega", levels, **ALONE), SquareClip("square")
    if model.dalign:
        torch.nn.init.normal_(model.dalign.expand.weight, std=0.1)
    alone = [trace_frame(model, clip, t, model.config.test) for t in range(6)]
    assert close(detect_clip(model, clip, model.config.test), [found for found, _, _ in alone])
    for ours, (_, trace, _) in zip(propose_clip(model, clip, model.config.test), alone,
                                   strict=True):
        torch.testing.assert_close(ours, trace.proposals[0], atol=1e-2, rtol=0)


@dataclass(frozen=True)
class Changed(SquareClip):
    """A clip whose frame `at` shows something else."""

    at: int = 0

    def frame(self, t):
        image = super().frame(t)
        return image.flip(-1).roll(9, 1) if t == self.at else image


def reach(at, **changes):
    """The frames of a clip of 16 whose detections change with frame `at`."""
    model = model_of("mega", **{"test.window": 3} | changes)
    one = detections(model, SquareClip("square", 16, speed=1.0))
    two = detections(model, Changed("square", 16, speed=1.0, at=at))
    return [t for t in range(16) if not (torch.equal(one[t].scores, two[t].scores)
                                         and torch.equal(one[t].boxes, two[t].boxes))]


def test_memory_reaches_far_back_and_never_ahead():
    """A window of 3: frame 6 is seen from 5, 6 and 7; it goes to memory with reference 7. With a
    memory of 2 frames the references 8 and 9 hear it there, and those after them hear of it."""
    assert reach(6, **ALONE) == [5, 6, 7]
    heard = reach(6, **ALONE | {"test.memory_frames": 2})
    assert heard[:5] == [5, 6, 7, 8, 9]
    assert set(reach(6, **ALONE | {"test.memory_frames": 5})) > {5, 6, 7, 8, 9, 10, 11, 12}


def test_memory_begins_when_a_frame_leaves_the_window():
    """A window of 3: frame 0 is in those of 0 and 1, and 2 is the first to remember it. With copies
    a copy of frame 0 leaves at once."""
    clip = SquareClip("square", 16, speed=1.0)
    for pad, first in ((False, 2), (True, 1)):
        settings = ALONE | {"test.window": 3, "test.pad": pad}
        alone = detections(model_of("mega", **settings), clip)
        memory = detections(model_of("mega", **settings | {"test.memory_frames": 5}), clip)
        differ = [t for t in range(16) if not torch.equal(alone[t].scores, memory[t].scores)]
        assert differ == list(range(first, 16))


def test_global_frames_are_those_of_one_order_of_the_whole_video():
    """Three frames: order[t], order[t + 1], order[t + 2]; frame 6 is among them for three t."""
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0)).tolist()
    k = order.index(6)
    expected = {(k - i) % 16 for i in range(3)} | {5, 6, 7}
    assert set(reach(6, **ALONE | {"test.global_frames": 3})) == expected


def test_short_clips_and_copies():
    model = model_of("mega", **{"test.pad": True})
    for frames in (1, 2, 4):  # fewer than the window, fewer than the global frames
        assert len(detections(model, SquareClip("short", frames))) == frames


@dataclass(frozen=True)
class Broken(SquareClip):
    """A clip whose frame 2 cannot be read."""

    def frame(self, t):
        if t == 2:
            raise BadFile("frame 2 is damaged")
        return super().frame(t)


def test_frames_that_cannot_be_read_are_left_out_or_end_it():
    model, clip = model_of("mega"), Broken("broken", 8)
    with pytest.raises(BadFile, match="frame 2"):
        detect_clip(model, clip, model.config.test)
    found = detect_clip(model, clip, model.config.test, skip_bad=True)
    assert [t for t, d in enumerate(found) if d is None] == [2]


@dataclass(frozen=True)
class Growing(SquareClip):
    """A clip whose frames grow at the fourth."""

    def frame(self, t):
        image = super().frame(t)
        return image if t < 4 else image[:, :32]


def test_frames_of_different_sizes_are_a_one_line_error():
    for settings in (ALONE, {}):  # the first has one size in its first window
        model = model_of("mega", **settings)
        with pytest.raises(MSTError, match=r"growing: frames of different sizes, .*\(32, 64"):
            detect_clip(model, Growing("growing", 8), model.config.test)


def test_what_needs_the_whole_video_is_not_streamed():
    with pytest.raises(MSTError, match="mega draws frames from the whole video"):
        Streamer(model_of("mega"))
    model = model_of("mega", **{"test.mode": "cached"})
    with pytest.raises(MSTError, match="MEGA knows no mode 'cached', only exact"):
        detect_clip(model, SquareClip("square"), model.config.test)


@pytest.mark.parametrize("levels", [PLAIN, WHOLE])
def test_rdn_is_streamed_as_mst_is(levels):
    """Exact: as its window's forward pass. Cached: the same where nothing depends on the
    reference."""
    model, clip = model_of("rdn", levels), SquareClip("square")
    exact = [trace_frame(model, clip, t, model.config.test)[0] for t in range(6)]
    assert close(detections(model, clip), exact)
    assert close(detections(model, clip, **{"test.mode": "cached"}), exact) == (levels == PLAIN)
