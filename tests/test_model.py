"""The whole model: variants, training losses, detections, traces."""

import pytest
import torch
from scenes import SquareClip, square_clips

from mstlib.config import VARIANTS, MSTError, with_overrides
from mstlib.data.clip import sample_supports, window_indices
from mstlib.model.backbone import MiniBackbone
from mstlib.model.detector import build_model
from mstlib.model.losses import losses_of, motion_loss, proposal_ids
from mstlib.profiles import get_config
from mstlib.stream import detect_clip, trace_frame

LEVELS = ("dalign", "frame", "proposal", "instance")


def model_of(variant, **overrides):
    return build_model(with_overrides(get_config("tiny", variant), overrides))


def windows(clip, frames, batch=2):
    """The same window `batch` times: images (B, L, 3, H, W) and targets."""
    images = torch.stack([clip.frame(t) for t in frames])
    return torch.stack([images] * batch), [[clip.target(t) for t in frames]] * batch


def training_losses(model, frames=(2, 0, 4), clip=None):
    images, targets = windows(clip or SquareClip("square"), frames)
    maps = model.c4(images.flatten(0, 1)).unflatten(0, images.shape[:2])
    torch.manual_seed(0)
    return losses_of(model, maps, (64, 64), targets)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_has_the_parts_that_table_iii_ticks(variant):
    model = model_of(variant)
    ticks = {"a": "", "b": "f", "c": "p", "d": "df", "e": "dp", "f": "dfp", "g": "dfpi"}[variant]
    assert "".join(name[0] for name in LEVELS if getattr(model, name) is not None) == ticks


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_trained_part_gets_a_gradient(variant):
    model = model_of(variant).train()
    for name, p in model.named_parameters():  # leave the zero start, where gradients may vanish
        if name.startswith(LEVELS):
            torch.nn.init.normal_(p, std=0.05)
    sum(training_losses(model).values()).backward()
    silent = [n for n, p in model.named_parameters()
              if p.grad is None or not p.grad.abs().sum() > 0]
    assert [n for n in silent if not n.startswith(("rpn", "frame.key.bias", "frame.query.bias"))
            and not n.endswith("key.bias")] == []


def test_losses_of_the_whole_method():
    many = {"model.support_proposals": 64, "model.reference_proposals": 64}  # some hit an object
    losses = training_losses(model_of("g", **many).train())
    assert set(losses) == {"rpn_class", "rpn_box", "class", "box", "motion", "identity",
                           "offset", "drift"}
    assert all(torch.isfinite(v) for v in losses.values())


def test_data_without_track_ids_trains_without_the_id_losses():
    clip = SquareClip("square", ids=(-1, -1))
    assert {"motion", "identity"}.isdisjoint(training_losses(model_of("g").train(), clip=clip))


@pytest.mark.parametrize("variant", VARIANTS)
def test_detections_are_valid_and_traces_do_not_change_them(variant):
    model = model_of(variant).eval()
    images, _ = windows(SquareClip("square"), (2, 0, 4) if variant != "a" else (2,))
    found, none = model(images)
    again, traces = model(images, trace=True)
    assert none == [] and len(traces) == 2
    for one, two in zip(found, again, strict=True):
        torch.testing.assert_close(one.boxes, two.boxes)
        torch.testing.assert_close(one.scores, two.scores)
        assert one.boxes.shape[1] == 4 and len(one.labels) == len(one.scores)
        assert one.boxes.min() >= 0 and one.boxes.max() <= 64
        assert one.labels.min() >= 1 and one.labels.max() <= 8


def test_the_trace_of_the_whole_method_has_every_part():
    model = model_of("g").eval()
    detections, trace, frames = trace_frame(model, SquareClip("square"), 3, model.config.test)
    L, M, N = len(frames), model.model_config.support_proposals, len(trace.proposals[0])
    assert frames[0] == 3 and len(trace.proposals) == L
    assert trace.displacement.shape == (L, 8, 8, 2) and trace.offsets.shape == (L, 18, 8, 8)
    assert trace.frame_attention.shape == (64, L, 8, 8)
    assert len(trace.supports) == sum(min(M, len(p)) for p in trace.proposals)
    assert trace.relation[0]["weights"].shape[1:] == (N, len(trace.supports))
    assert len(trace.relation) == 2 and trace.instance["mask"].shape[1] == len(trace.supports)
    assert trace.scores.shape == (N, 9) and len(detections.boxes) > 0


def test_the_result_of_a_reference_does_not_depend_on_its_batch():
    model, clip = model_of("g").eval(), SquareClip("square")
    one = detect_clip(model, clip, with_overrides(model.config, {"test.batch": 1}).test)
    many = detect_clip(model, clip, with_overrides(model.config, {"test.batch": 6}).test)
    for a, b in zip(one, many, strict=True):
        torch.testing.assert_close(a.boxes, b.boxes, atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(a.scores, b.scores, atol=1e-5, rtol=1e-4)


def test_supports_matter_to_temporal_variants_only():
    clip, other = square_clips(2)
    for variant in VARIANTS:
        model = model_of(variant).eval()
        if model.frame:
            torch.nn.init.normal_(model.frame.expand.weight, std=1.0)
        frames = [clip.frame(2), clip.frame(0), clip.frame(4)]
        mixed = [clip.frame(2), other.frame(5), other.frame(1)]
        n = 3 if variant != "a" else 1
        scores = [model(torch.stack(f[:n])[None])[0][0].scores for f in (frames, mixed)]
        same = scores[0].shape == scores[1].shape and torch.allclose(*scores)
        assert same == (variant == "a")


def test_a_one_frame_video_is_its_own_window():
    model = model_of("g").eval()
    assert len(detect_clip(model, SquareClip("still", frames=1), model.config.test)) == 1
    assert window_indices(0, 1, 37, 1) == [0]


def test_windows_are_cut_at_the_ends_and_start_with_the_reference():
    assert window_indices(0, 24, 9, 2) == [0, 2, 4, 6, 8]
    assert window_indices(10, 24, 9, 2) == [10, 2, 4, 6, 8, 12, 14, 16, 18]
    assert window_indices(23, 24, 9, 2) == [23, 15, 17, 19, 21]


def test_supports_are_drawn_within_the_span_and_without_repeats_where_possible():
    g = torch.Generator().manual_seed(0)
    for t in range(10):
        picks = sample_supports(t, 10, 2, 3, g)
        assert len(set(picks)) == 2 and t not in picks and all(abs(s - t) <= 3 for s in picks)
    assert sample_supports(0, 1, 2, 3, g) == [0, 0]  # a still image is its own support


def test_query_ref_keeps_the_supports_as_they_were_and_changes_the_result():
    """Table IX means something only with the proposal level on."""
    torch.manual_seed(0)
    x = torch.randn(1, 3, 16, 8, 8)
    every, reference = model_of("f"), model_of("f", **{"model.frame_query": "ref"})
    reference.load_state_dict(every.state_dict())
    a, b = every.aggregate(x)[0], reference.aggregate(x)[0]
    torch.testing.assert_close(a[:, 0], b[:, 0])
    torch.testing.assert_close(b[:, 1:], x[:, 1:])  # DAlign starts as identity
    assert not torch.allclose(a[:, 1:], b[:, 1:])


def test_the_dilated_conv5_keeps_resolution_and_dilates_its_first_block_too():
    backbone = MiniBackbone((8, 12, 16, 16, 24))
    x = backbone.c4(torch.zeros(1, 3, 64, 64))
    assert x.shape == (1, 16, 8, 8) and backbone.c5(x).shape == (1, 24, 8, 8)
    threes = [m for m in backbone.conv5.modules() if getattr(m, "kernel_size", None) == (3, 3)]
    assert len(threes) == 2 and all(m.dilation == (2, 2) and m.stride == (1, 1) for m in threes)


def test_proposals_take_the_id_of_the_object_they_overlap_by_half():
    target = SquareClip("square", ids=(5, 9)).target(0)
    boxes = torch.cat([target.boxes, target.boxes + 2, target.boxes + 30])
    assert proposal_ids(boxes, target).tolist() == [5, 9, 5, 9, -1, -1]


def test_motion_loss_is_zero_at_the_true_motion_and_ignores_the_background():
    clip = SquareClip("square", speed=4.0)
    targets = [[clip.target(1), clip.target(3)]]
    d = torch.full((1, 2, 8, 8, 2), 99.0)  # nonsense on the background
    d[:, 0] = 0
    for k, sign in ((0, 1), (1, -1)):
        x1, y1, x2, y2 = (targets[0][0].boxes[k] / 8).tolist()
        for i in range(8):
            for j in range(8):
                if x1 < j + 0.5 < x2 and y1 < i + 0.5 < y2:
                    d[0, 1, i, j] = torch.tensor([sign * 8 / 8, 0.0])
    assert motion_loss(d, targets, 8) < 1e-6
    assert motion_loss(d + 1, targets, 8) > 0.4


def test_unknown_names_are_one_line_errors():
    with pytest.raises(MSTError, match="unknown variant 'z'"):
        get_config("mini", "z")
    with pytest.raises(MSTError, match="unknown profile 'huge'"):
        get_config("huge")
    with pytest.raises(MSTError, match=r"unknown setting 'train\.speed'"):
        with_overrides(get_config("tiny"), {"train.speed": 1})
    with pytest.raises(MSTError, match="frame_width"):
        model_of("b", **{"model.frame_width": 24})
