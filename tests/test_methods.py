"""The rivals and what they bring along: optical flow in DAlign's place, FGFA, SELSA, a ResNeXt in
small, and detections that are linked across frames.

Each computation is tested against a slow second statement of it, in loops.
"""

import json
import math
import pickle
import sys
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from interruptions import interrupted_at
from scenes import SquareClip, square_clips
from torch import nn

from mstlib import plain
from mstlib.checkpoint import save_weights
from mstlib.cli import evaluate as cli_evaluate
from mstlib.cli import main as cli
from mstlib.config import DETECTORS, Levels, MSTError, with_overrides
from mstlib.data.clip import sample_supports, window_indices
from mstlib.data.dataset import BadFile, Dataset
from mstlib.evaluation.assess import Ask, figures, rescore, run_evaluation, score_clip
from mstlib.evaluation.detecting import detections_of
from mstlib.evaluation.detections import read_index, read_shard, shards
from mstlib.evaluation.linked import run_linked
from mstlib.link import link
from mstlib.model.backbone import build_backbone, grouped_stage, residual_stage
from mstlib.model.detector import MST, build_model
from mstlib.model.engine import MODES, Engine
from mstlib.model.fgfa import FGFA, FlowAggregation
from mstlib.model.flow import FlowAlign, carry
from mstlib.model.flownet import FlowNetS, cell_flow, flow_of_halves, halved, warp
from mstlib.model.linking import box_relations
from mstlib.model.losses import motion_loss
from mstlib.model.selsa import SELSA, SELSALevel, spread
from mstlib.profiles import TINY, get_config
from mstlib.stream import Streamer, detect_clip, find_clip, stream, trace_frame
from mstlib.training import train as training
from mstlib.training.experiment import clips_of
from mstlib.training.start import start_from
from mstlib.training.state import load_state
from mstlib.training.train import pretrain, train_variant
from mstlib.training.update import WindowLosses

FLOW = {"model.align": "flow"}


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def lively(net):
    """FlowNetS with statistics that let a cell or so of flow out, where its start gives a tenth."""
    g = torch.Generator().manual_seed(0)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.copy_(0.1 * torch.randn(layer.running_mean.shape, generator=g))
            layer.running_var.copy_(0.1 + 0.1 * torch.rand(layer.running_var.shape, generator=g))
    return net.eval()


@torch.no_grad()
def model_of(name, levels=None, **settings):
    """A `tiny` detector whose levels have something to say: weights moved from their start, and
    scores spread so that their order is safe from rounding."""
    settings = {key.replace("__", "."): value for key, value in settings.items()}
    config = with_overrides(get_config("tiny", name), settings)
    model = build_model(replace(config, levels=levels or config.levels)).eval()
    generator = torch.Generator().manual_seed(0)
    for key, p in model.named_parameters():
        if not key.startswith("dalign.net"):
            p.add_(0.05 * torch.randn(p.shape, generator=generator))
    if model.carries:
        lively(model.dalign.net)
    model.rpn.parts.head.cls_logits.weight.mul_(5)
    model.head.cls_score.weight.mul_(5)
    return model


def images(frames=7, size=(64, 64), seed=0):
    """Noise: no two places alike, and so no two proposals."""
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randint(256, (frames, 3, *size), dtype=torch.uint8, generator=generator))


@dataclass
class NoiseClip:
    """Frames of noise; those in `bad` cannot be read, from `grown` on they are larger."""

    frames: int = 7
    size: tuple[int, int] = (64, 64)
    bad: tuple[int, ...] = ()
    grown: int = 99
    name: str = "noise"

    def __len__(self):
        return self.frames

    def frame(self, t):
        if t in self.bad:
            raise BadFile(f"frame {t} is damaged")
        h, w = self.size
        return images(self.frames, (h + 8, w) if t >= self.grown else self.size)[t]


def assert_same(one, two, tolerance=1e-4):
    assert [d is None for d in one] == [d is None for d in two]
    for a, b in zip(one, two, strict=True):
        if a is not None:
            assert torch.equal(a.labels, b.labels) and len(a.labels)
            torch.testing.assert_close(a.boxes, b.boxes, rtol=0, atol=tolerance * 64)
            torch.testing.assert_close(a.scores, b.scores, rtol=0, atol=tolerance)


def differ(one, two):
    return any(len(a.scores) != len(b.scores) or not torch.allclose(a.scores, b.scores, atol=1e-4)
               for a, b in zip(one, two, strict=True))


# ---- FlowNetS ----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1.0, 0.5, 0.1875])
def test_flownet_has_the_parameters_of_its_layers_at_any_width(width):
    def wide(channels):
        return channels if channels == 6 else round(channels * width)

    encoder = [(6, 64, 7), (64, 128, 5), (128, 256, 5), (256, 256, 3), (256, 512, 3), (512, 512, 3),
               (512, 512, 3), (512, 512, 3), (512, 1024, 3), (1024, 1024, 3)]
    count = sum(wide(i) * wide(o) * k * k + 2 * wide(o) for i, o, k in encoder)
    reads = wide(1024)
    count += 2 * reads * 9                                             # flow at stride 64
    for adds, beside in ((512, 512), (256, 512), (128, 256), (64, 128)):
        count += 16 * reads * wide(adds) + 16 * 2 * 2                  # two transposed convolutions
        reads = wide(beside) + wide(adds) + 2
        count += 2 * reads * 9                                         # flow
    with torch.device("meta"):
        assert sum(p.numel() for p in FlowNetS(width).parameters()) == count
    assert (width == 1) == (count == 38_680_336)


def naive_halved(image, stride):
    """(3, H, W): the last row and column repeated to whole cells, then means of 2 x 2 pixels."""
    _, h, w = image.shape
    out = torch.zeros(3, math.ceil(h / stride) * stride // 2, math.ceil(w / stride) * stride // 2,
                      dtype=image.dtype)
    for i, j, dy, dx in product(range(out.shape[1]), range(out.shape[2]), (0, 1), (0, 1)):
        out[:, i, j] += image[:, min(2 * i + dy, h - 1), min(2 * j + dx, w - 1)] / 4
    return out


def naive_flow(net, reference, support, stride):
    """(2, h, w) in cells: the network's flow, as large as stride 8's maps of the whole image, then
    means of blocks of cells; a pixel of the halves is two pixels."""
    pair = torch.cat([naive_halved(reference, stride), naive_halved(support, stride)])
    flow, block = net(pair[None])[0], stride // 8
    out = torch.zeros(2, flow.shape[1] // block, flow.shape[2] // block, dtype=flow.dtype)
    for i, j in product(range(out.shape[1]), range(out.shape[2])):
        here = flow[:, block * i : block * (i + 1), block * j : block * (j + 1)]
        out[:, i, j] = here.mean((1, 2)) * 2 / stride
    return out


@pytest.mark.parametrize("stride", [8, 16])
@torch.no_grad()
def test_flow_in_cells_is_that_of_the_halved_images_at_any_size(stride):
    net = lively(FlowNetS(0.1)).double()
    for h, w in ((64, 48), (37, 50)):
        one, two = random(2, 1, 3, h, w)
        torch.testing.assert_close(halved(one, stride)[0], naive_halved(one[0], stride))
        flow = cell_flow(net, one, two, stride)
        assert flow.shape == (1, 2, math.ceil(h / stride), math.ceil(w / stride))
        assert torch.equal(flow, flow_of_halves(net, halved(one, stride), halved(two, stride),
                                                stride))
        torch.testing.assert_close(flow[0], naive_flow(net, one[0], two[0], stride))


def test_places_are_not_rounded_to_half_precision():
    """At the far end of a map 63 cells wide bfloat16 knows only every fourth of a cell."""
    maps, flow = random(1, 2, 3, 63).bfloat16(), random(1, 2, 3, 63).bfloat16()
    assert torch.equal(warp(maps, flow), warp(maps.float(), flow.float()).bfloat16())


# ---- FlowAlign ---------------------------------------------------------------------------------


def flow_align(backbone="mini", channels=3):
    config = replace(TINY.model, align="flow", backbone=backbone)
    align = FlowAlign(channels, config).eval()
    lively(align.net)
    return align


def window_of(align, size, B=2, L=3):
    """Images (B, L, 3, H, W), maps (B, L, C, h, w), and maps that carry their images."""
    h, w = (math.ceil(side / align.stride) for side in size)
    pictures = random(B, L, 3, *size).float()
    maps = random(B, L, align.channels, h, w, seed=1).float()
    carried = carry(maps.flatten(0, 1), pictures.flatten(0, 1), align.stride).unflatten(0, (B, L))
    return pictures, maps, carried


def naive_warp(image, flow):
    """(C, h, w) read at p + flow(p): bilinear, places outside moved to the border."""
    _, h, w = image.shape
    out = torch.zeros_like(image)
    for i, j in product(range(h), range(w)):
        x = min(max(j + float(flow[0, i, j]), 0), w - 1)
        y = min(max(i + float(flow[1, i, j]), 0), h - 1)
        x0, y0 = math.floor(x), math.floor(y)
        for yy, xx in product((y0, y0 + 1), (x0, x0 + 1)):
            weight = (1 - abs(y - yy)) * (1 - abs(x - xx))
            if weight:
                out[:, i, j] += weight * image[:, yy, xx]
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_maps_carry_comes_back_bit_for_bit(dtype):
    for backbone, size in product(("mini", "resnet18"), ((64, 48), (37, 50))):
        align = flow_align(backbone)
        pictures, maps, _ = window_of(align, size)
        pictures, maps = (of.flatten(0, 1).to(dtype) for of in (pictures, maps))
        back = align.halves(carry(maps, pictures, align.stride))
        assert torch.equal(back.maps, maps)
        assert torch.equal(back.as_reference, halved(pictures, align.stride))


@pytest.mark.parametrize("backbone", ["mini", "resnet18"])
@torch.no_grad()
def test_aligning_warps_each_map_by_its_own_flow(backbone):
    align = flow_align(backbone)
    for size in ((48, 64), (37, 50)):
        pictures, maps, carried = window_of(align, size)
        aligned, trace = align(carried)
        halves = align.halves(carried.flatten(0, 1))
        halves = type(halves)(*(of.unflatten(0, (2, 3)) for of in vars(halves).values()))
        torch.testing.assert_close(align.align(halves.as_reference[:, 0], halves), aligned)
        for b, t in product(range(2), range(3)):
            flow = naive_flow(align.net, pictures[b, 0], pictures[b, t], align.stride)
            near = {"atol": 1e-4, "rtol": 1e-4}
            torch.testing.assert_close(trace["displacement"][b, t], flow.permute(1, 2, 0), **near)
            torch.testing.assert_close(aligned[b, t], naive_warp(maps[b, t], flow), **near)
        assert trace["displacement"].std() > 0.1


class Steady(nn.Module):
    """In the place of FlowNetS: a flow of (x, y) pixels between images that differ."""

    def __init__(self, x=0.0, y=0.0):
        super().__init__()
        self.flow = x, y

    def forward(self, pairs):
        one, two = pairs.chunk(2, dim=1)
        moved = (one != two).any(dim=3).any(dim=2).any(dim=1).to(pairs)  # (B,)
        flow = moved[:, None] * pairs.new_tensor(self.flow)            # (B, 2)
        h, w = (side // 4 for side in pairs.shape[-2:])
        return flow[..., None, None].expand(-1, -1, h, w)


def test_without_flow_the_aligned_maps_are_the_maps():
    align = flow_align()
    align.net = Steady()
    _, maps, carried = window_of(align, (37, 50))
    aligned, trace = align(carried)
    torch.testing.assert_close(aligned, maps)
    assert trace["displacement"].abs().max() == 0


def test_a_known_flow_shifts_the_maps_of_the_other_frames():
    """8 pixels right and 4 down on halved images: 2 cells and 1 cell of stride 8."""
    align = flow_align()
    align.net = Steady(8, 4)
    _, maps, carried = window_of(align, (64, 80))
    aligned, trace = align(carried)
    torch.testing.assert_close(aligned[:, 0], maps[:, 0])  # the reference with itself
    torch.testing.assert_close(aligned[:, 1:, :, :-1, :-2], maps[:, 1:, :, 1:, 2:])
    assert (trace["displacement"][:, 1:] == torch.tensor([2, 1])).all()


@pytest.mark.parametrize("way", [1, -1])
def test_the_motion_loss_reads_flow_as_it_reads_dalign(way):
    """A square that moves by 8 pixels in two frames: a cell to the right."""
    clip = SquareClip("square", speed=4.0)
    shown, hidden = clip.target(1), clip.target(3)
    hidden = replace(hidden, ids=torch.tensor([0, 9]))  # the other square goes the other way
    align = flow_align()
    align.net = Steady(4.0 * way)
    displacement = align(window_of(align, (64, 64), 1, 2)[2])[1]["displacement"]
    loss = motion_loss(displacement, [[shown, hidden]], 8)
    assert loss < 1e-12 if way == 1 else loss > 0.2


def test_half_precision_runs():
    for name, settings in (("fgfa", {}), ("g", {"model__align": "flow"})):
        found = Streamer(model_of(name, **settings), precision="bfloat16").push(*images(4))
        assert len(found) == 2 and all(d.scores.dtype == torch.float32 for d in found)


# ---- the method with flow, FGFA: detections ----------------------------------------------------


def test_detectors_are_found_by_name():
    kinds = {name: type(build_model(get_config("tiny", name))) for name in ("fgfa", "selsa", "g")}
    assert kinds == {"fgfa": FGFA, "selsa": SELSA, "g": MST}
    assert set("abcdefghijkl") | {"fgfa", "selsa", "rdn"} == set(DETECTORS)


def test_mega_is_not_aligned_by_flow():
    for name in "il":
        with pytest.raises(MSTError, match="^MEGA is aligned by DAlign only; leave model.align"):
            build_model(with_overrides(get_config("tiny", name), FLOW))


@pytest.mark.parametrize("mode", MODES)
def test_without_flow_the_whole_method_is_the_one_without_alignment(mode):
    model = model_of("g", model__align="flow")
    other = build_model(replace(model.config, levels=replace(model.levels, dalign=False))).eval()
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("dalign")}
    other.load_state_dict(weights)
    moved = list(stream(model, images(), mode))
    model.dalign.net = Steady()
    still = list(stream(model, images(), mode))
    assert_same(still, list(stream(other, images(), mode)))
    assert differ(moved, still)


@torch.no_grad()
def test_kept_frames_are_aligned_to_themselves_by_flow():
    model, frames = model_of("g", model__align="flow"), torch.stack(images(2))
    for x, state in zip(model.c4(frames), Engine(model, "cached").enter(frames), strict=True):
        aligned = model.dalign(torch.stack([x, x])[None])[0][0]
        torch.testing.assert_close(state.maps, aligned[1:])
        assert not torch.allclose(aligned[1], x[: len(aligned[1])], atol=0.01)


def forwards(model, frames):
    """The detections of each reference by a forward pass on its window of images."""
    test = model.config.test
    windows = [window_indices(t, len(frames), test.window, test.stride)
               for t in range(len(frames))]
    return [model(torch.stack([frames[s] for s in w])[None])[0][0] for w in windows]


@pytest.mark.parametrize("name", ["fgfa", "d", "g"])
@pytest.mark.parametrize(("frames", "size"), [(7, (64, 64)), (1, (64, 64)), (3, (64, 80)),
                                              (3, (50, 71))])
def test_exact_is_the_forward_pass_on_each_window(name, frames, size):
    """At both ends of a video, too, and for a still image."""
    model, clip = model_of(name, model__align="flow"), NoiseClip(frames, size)
    whole = [clip.frame(t) for t in range(frames)]
    assert_same(detect_clip(model, clip, model.config.test), forwards(model, whole))


def test_fgfa_works_without_alignment():
    model = model_of("b", model__method="fgfa")
    assert type(model) is FGFA and model.dalign is None
    assert_same(list(stream(model, images(4))), forwards(model, images(4)))


def test_fgfa_is_detected_with_exactly_or_not_at_all():
    for mode in ("cached", "causal"):
        for name in ("fgfa", "b"):  # b: the frame level alone
            model = model_of(name, model__method="fgfa")
            with pytest.raises(MSTError, match=f"^fgfa knows no mode '{mode}', only exact"):
                Streamer(model, mode)
        test = replace(model.config.test, mode=mode)
        with pytest.raises(MSTError, match=f"^noise: fgfa knows no mode '{mode}'"):
            detect_clip(model, NoiseClip(), test)


def naive_aggregation(level, window):
    """(L, C, h, w), reference first -> F'' (C, h, w) and weights (L, h, w), cell by cell."""
    L, _, h, w = window.shape
    e = [level.embed(frame[None])[0] for frame in window]
    out, weights = torch.zeros_like(window[0]), torch.zeros(L, h, w, dtype=window.dtype)
    for i, j in product(range(h), range(w)):
        alike = []
        for tau in range(L):
            u, v = e[tau][:, i, j], e[0][:, i, j]
            alike.append(math.exp(float(u @ v) / math.sqrt(float(u @ u) * float(v @ v))))
        for tau in range(L):
            weights[tau, i, j] = alike[tau] / sum(alike)
            out[:, i, j] += weights[tau, i, j] * window[tau, :, i, j]
    return out, weights


@torch.no_grad()
def test_fgfa_is_a_mean_weighted_by_likeness_at_the_same_place():
    torch.manual_seed(0)
    level, x = FlowAggregation(4, TINY.model).double(), random(2, 3, 4, 5, 6)
    out, weights, attention = level(x), level.weights(x), level.attention(x)
    assert out.shape == (2, 1, 4, 5, 6) and torch.equal(out, level(x, True))
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 5, 6, dtype=x.dtype))
    assert weights.std() > 0.01
    for b in range(2):
        mean, of_each = naive_aggregation(level, x[b])
        torch.testing.assert_close(out[b, 0], mean)
        torch.testing.assert_close(weights[b], of_each)
    cells = torch.arange(30)
    attention = attention.flatten(-2)                                  # (B, cells, L, cells)
    torch.testing.assert_close(attention[:, cells, :, cells].permute(1, 2, 0),
                               weights.flatten(2))
    torch.testing.assert_close(attention.sum((2, 3)), torch.ones(2, 30, dtype=x.dtype))


@torch.no_grad()
def test_copies_of_the_reference_give_the_reference_back():
    torch.manual_seed(0)
    level, one = FlowAggregation(4, TINY.model).double(), random(2, 1, 4, 5, 6)
    torch.testing.assert_close(level(one.expand(-1, 5, -1, -1, -1)), one)


def test_the_trace_of_fgfa_has_every_part():
    model = model_of("fgfa")
    found, trace, frames = trace_frame(model, NoiseClip(size=(50, 71)), 2, model.config.test)
    assert frames == [2, 0, 1, 3, 4] and len(found.scores)
    assert trace.displacement.shape == (5, 7, 9, 2) and trace.offsets is None
    assert trace.displacement[1:].std() > 0.1
    assert trace.frame_attention.shape == (63, 5, 7, 9)
    torch.testing.assert_close(trace.frame_attention.sum((1, 2, 3)), torch.ones(63))
    N = len(trace.proposals[0])
    assert len(trace.proposals) == 1 and trace.scores.shape == (N, 9)  # the reference's alone
    assert trace.relation == [] and trace.instance == {}


# ---- SELSA -------------------------------------------------------------------------------------


def test_far_frames_are_spread_evenly_over_the_video():
    assert spread(20, 4) == [2, 7, 12, 17] and spread(3, 8) == [0, 1, 2] and spread(5, 0) == []
    for length, count in product(range(1, 30), range(12)):
        frames = spread(length, count)
        assert frames == sorted(set(frames)) and len(frames) == min(count, length)
        assert all(0 <= t < length for t in frames)
        ends = [a + b for a, b in zip(frames, reversed(frames), strict=True)]
        assert set(ends) <= {length - 1, length}  # a frame is no point: to half a frame symmetric
        gaps = {b - a for a, b in zip(frames, frames[1:], strict=False)}
        assert max(gaps, default=1) - min(gaps, default=1) <= 1


def naive_relation(layer, a, s):
    """a_i + sum_j softmax_j(q_i k_j / sqrt(c)) v_j for each head, one proposal after the other."""
    c, out = a.shape[1] // layer.G, []
    q, k, v = layer.query(a), layer.key(s), layer.value(s)
    for i in range(len(a)):
        parts = []
        for head in (slice(g * c, g * c + c) for g in range(layer.G)):
            likes = [math.exp(float(q[i, head] @ k[j, head]) / math.sqrt(c)) for j in range(len(s))]
            parts.append(sum(like * v[j, head] for j, like in enumerate(likes)) / sum(likes))
        out.append(a[i] + torch.cat(parts))
    return torch.stack(out)


def naive_selsa(level, a, s):
    """Relation, fully connected layer of both sides, relation."""
    a = naive_relation(level.layers[0], a, s)
    fc = level.before[1][0]
    a, s = ((x @ fc.weight.T + fc.bias).clamp(min=0) for x in (a, s))
    return naive_relation(level.layers[1], a, s)


@torch.no_grad()
def test_selsa_is_two_relations_with_a_layer_between_and_no_geometry():
    torch.manual_seed(0)
    level, a, s = SELSALevel(TINY.model).double(), random(4, 32).relu(), random(5, 32).relu()
    near, far = random(4, 4), 100 * random(5, 4)
    for moved in (False, True):  # the layer between starts as nothing
        if moved:
            for p in level.parameters():
                p.add_(0.2 * random(*p.shape, seed=p.numel()))
        torch.testing.assert_close(level(a, near, s, far), naive_selsa(level, a, s))
    assert torch.equal(level(a, near, s, far), level(a, 3 * near, s, -far))


def naive_walk(model, frames):
    """What SELSA finds in each frame, all anew for every reference; None: a frame that is missing,
    which is in nobody's window."""
    m, out = model.model_config, []
    for t, reference in enumerate(frames):
        if reference is None:
            out.append(None)
            continue
        far = [s for s in spread(len(frames), model.config.test.window - 1) if s != t]
        supports = []
        for s in [t, *(s for s in far if frames[s] is not None)]:
            maps, size = model.c4(frames[s][None]), frames[s].shape[-2:]
            boxes = model.rpn.propose(maps, size, [m.reference_proposals])[0]
            a = model.roi_features(model.reduce(model.backbone.c5(maps)), boxes)[0]
            supports.append(a[: m.support_proposals])
            if s == t:
                mine, where = a, boxes
        mine = naive_selsa(model.proposal, mine, torch.cat(supports))
        out.append(model.decode(mine, where, reference.shape[-2:])[0])
    return out


@torch.no_grad()
@pytest.mark.parametrize(("frames", "bad"), [(7, ()), (3, ()), (1, ()), (7, (2, 3))])
def test_selsa_hears_the_same_frames_of_the_whole_video_for_each_reference(frames, bad):
    """A window of 5: 0, 2, 4 and 6 of 7 frames; all of fewer. Missing frames are passed over."""
    model, clip = model_of("selsa"), NoiseClip(frames, bad=bad)
    whole = [None if t in bad else clip.frame(t) for t in range(frames)]
    found = detect_clip(model, clip, model.config.test, skip_bad=bool(bad))
    assert_same(found, naive_walk(model, whole))
    if frames == 7 and not bad:
        alone = detect_clip(model, clip, replace(model.config.test, window=1))
        assert differ(found, alone)


def test_selsa_in_one_line_what_it_does_not_do():
    model = model_of("selsa")
    for mode in ("cached", "causal"):
        with pytest.raises(MSTError, match=f"^noise: SELSA knows no mode '{mode}', only exact"):
            detect_clip(model, NoiseClip(), replace(model.config.test, mode=mode))
    with pytest.raises(MSTError, match="^selsa draws frames from the whole video and cannot be st"):
        Streamer(model)
    with pytest.raises(MSTError, match=r"^noise: frames of different sizes, \(H, W\) \(64, 64\)"):
        detect_clip(model, NoiseClip(grown=5), model.config.test)
    with pytest.raises(BadFile, match="^frame 2 is damaged"):
        detect_clip(model, NoiseClip(bad=(2,)), model.config.test)
    for levels in (Levels(dalign=True, proposal=True), Levels(frame=True, proposal=True)):
        with pytest.raises(MSTError, match="^SELSA draws frames from the whole video, which are n"):
            build_model(replace(model.config, levels=levels))


# ---- training ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minivid(tmp_path_factory):
    """The training split of MiniVID at `tiny`."""
    return clips_of(TINY, "train", tmp_path_factory.mktemp("minivid"))


@pytest.fixture(scope="module")
def pretrained(minivid, tmp_path_factory):
    out = tmp_path_factory.mktemp("pre") / "pre.pt"
    short = {"pretrain.steps": 8, "pretrain.save_every": 8}
    pretrain(with_overrides(TINY, short), minivid, 0, out)
    return out


def variant(name, **settings):
    config = get_config("tiny", name.removesuffix("-flow"))
    return with_overrides(config, (FLOW if name.endswith("-flow") else {}) | settings)


@pytest.mark.parametrize("name", ["g-flow", "fgfa", "selsa"])
def test_an_interrupted_training_ends_with_the_same_bytes(name, minivid, pretrained, tmp_path):
    config = variant(name)
    train_variant(config, minivid, 0, pretrained, tmp_path / "whole.pt")
    again = partial(train_variant, config, minivid, 0, pretrained, tmp_path / "cut.pt")
    interrupted_at(6, again)
    again()
    whole, cut = (load_state(tmp_path / f"{end}.pt") for end in ("whole", "cut"))
    assert whole["log"] == cut["log"] and ("motion" in whole["log"][-1]) == (name != "selsa")
    files = []
    for state in (whole, cut):
        model = build_model(config)
        model.load_state_dict(state["model"])
        files.append(save_weights(model, tmp_path / f"{len(files)}.safetensors", 0).read_bytes())
    assert files[0] == files[1]
    start, end = build_model(config).state_dict(), whole["model"]
    level = "proposal" if name == "selsa" else "frame"
    assert any(not torch.equal(start[k], end[k]) for k in start if k.startswith(level))


def norms(module):
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def test_batch_norms_of_flow_learn_while_the_backbones_stay(minivid, pretrained, tmp_path):
    config = variant("fgfa", **{"train.steps": 2})
    model = build_model(config).train()
    start_from(model, pretrained, config.train)
    assert not any(m.training or m.weight.requires_grad for m in norms(model.backbone))
    assert all(m.training and m.weight.requires_grad for m in norms(model.dalign.net))
    train_variant(config, minivid, 0, pretrained, tmp_path / "fgfa.pt")
    before, after = model.state_dict(), load_state(tmp_path / "fgfa.pt")["model"]
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert not any(k.startswith("backbone.") and "conv5" not in k or
                   k.startswith("backbone.") and ("running" in k or "bn" in k) for k in moved)
    of_flow = [k for k in before if k.startswith("dalign.net")]
    assert {k for k in of_flow if "running" in k or "batches" in k} <= moved
    assert sum(k in moved for k in of_flow) > 0.9 * len(of_flow)


def feed_of(config, clips, init, monkeypatch):
    """The model of a training at its start and where it takes its windows from."""
    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", lambda model, feed, *_: (model, feed))
        return train_variant(config, clips, 0, init, init.with_name("none.pt"))


@torch.no_grad()
def test_kept_maps_teach_what_images_teach(minivid, pretrained, monkeypatch):
    """With train.frozen = 3 conv4 may learn, and windows are images; else they are kept maps, which
    differ by their rounding, with the pixels of the images behind them."""
    model, kept = feed_of(variant("g-flow"), minivid, pretrained, monkeypatch)
    same, read = feed_of(variant("g-flow", **{"train.frozen": 3}), minivid, pretrained, monkeypatch)
    losses, C = WindowLosses(model), model.backbone.channels
    for step in range(4):
        (maps,), (pictures,) = kept[step].batches, read[step].batches
        fresh = same.c4(pictures.windows.flatten(0, 1)).unflatten(0, pictures.windows.shape[:2])
        assert torch.equal(maps.windows[:, :, C:], fresh[:, :, C:])
        torch.testing.assert_close(maps.windows[:, :, :C], fresh[:, :, :C], rtol=1e-3, atol=1e-3)
        both = []
        for batch in (maps, pictures):
            torch.manual_seed(step)
            both.append(losses(batch))
        assert set(both[0]) == set(both[1]) > {"motion", "offset", "drift"}
        for name, value in both[0].items():
            torch.testing.assert_close(value, both[1][name], rtol=0.02, atol=0.01)
    assert {pick[2] for step in range(4) for pick in kept[step].batches[0].picks} == {True, False}


def test_what_kept_maps_carry_does_not_follow_the_model_to_its_device():
    model, pictures = model_of("fgfa"), torch.stack(images(2, (50, 71)))
    maps, carrier = model.conv4(pictures), model.carrier()
    wanted = model.c4(pictures)
    assert len(pickle.dumps(carrier)) < 5000  # no model goes along to the loader's processes
    model.to("meta")  # as it would to a GPU
    assert torch.equal(carrier(maps, pictures), wanted)
    assert model_of("g").carrier() is None


def test_selsa_learns_from_the_whole_video_fgfa_from_the_frames_nearby(pretrained, monkeypatch):
    clips = square_clips(2, frames=24)
    for name, far in (("selsa", True), ("fgfa", False)):
        config = variant(name, **{"train.batch": 16})
        _, feed = feed_of(config, clips, pretrained.with_suffix(".pt"), monkeypatch)
        picks = [frames for _, frames, _ in feed[0].batches[0].picks]
        away = [abs(s - frames[0]) for frames in picks for s in frames[1:]]
        assert all(len(frames) == 3 and len(set(frames)) == 3 for frames in picks)
        assert max(away) > 10 if far else max(away) <= config.train.span
    assert model_of("fgfa").sample is sample_supports


# ---- a ResNeXt in small ------------------------------------------------------------------------


@torch.no_grad()
def test_the_small_resnext_has_groups_stride_8_and_a_dilated_conv5():
    backbone = build_backbone(replace(get_config("mini").model, backbone="minix")).eval()
    maps = backbone.c4(torch.rand(1, 3, 64, 50))
    assert backbone.stride == 8 and maps.shape == (1, 64, 8, 7)
    assert backbone.c5(maps).shape == (1, 96, 8, 7)
    spatial = {name: [m for m in stage.modules()
                      if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
               for name, stage in backbone.named_children() if name != "stem"}
    assert [len(found) for found in spatial.values()] == [3, 3, 6, 3]
    assert all(m.groups == 4 and m.in_channels == m.out_channels
               for found in spatial.values() for m in found)
    assert all(m.dilation == ((2, 2) if name == "conv5" else (1, 1))
               for name, found in spatial.items() for m in found)
    assert all(m.stride == (1, 1) for m in spatial["conv5"])


def test_the_small_resnext_is_about_as_large_as_the_small_resnet():
    counts = [sum(p.numel() for p in stage(64, 96, 2, 1).parameters())
              for stage in (grouped_stage, residual_stage)]
    assert 0.7 < counts[0] / counts[1] < 0.9
    odd = replace(TINY.model, backbone="minix", widths=(8, 12, 18, 16, 24))
    with pytest.raises(MSTError, match="^backbone minix: model.widths .* multiples of 4, got 18"):
        build_backbone(odd)


def test_the_small_resnext_is_trained(tmp_path):
    config = variant("c", **{"model.backbone": "minix", "pretrain.steps": 2, "train.steps": 2})
    pretrain(config, square_clips(2), 0, tmp_path / "pre.pt")
    before = load_state(tmp_path / "pre.pt")["model"]
    train_variant(config, square_clips(2), 0, tmp_path / "pre.pt", tmp_path / "c.pt")
    after = load_state(tmp_path / "c.pt")["model"]
    moved = {k.split(".")[1] for k in before if k.startswith("backbone.")
             and not torch.equal(before[k], after[k])}
    assert moved == {"conv5"}
    with pytest.raises(MSTError, match="does not fit this model"):
        train_variant(variant("c"), square_clips(2), 0, tmp_path / "pre.pt", tmp_path / "d.pt")


# ---- relations of detections -------------------------------------------------------------------


def found_in(model, clip, skip_bad=False, **test):
    return list(find_clip(model, clip, replace(model.config.test, **test), skip_bad))


def naive_weights(layer, a, b1, s, b2):
    """s_ij (Eq. 7) of every pair of proposals, mean over the heads."""
    c, q, k = a.shape[1] // layer.G, layer.query(a), layer.key(s)
    geometry = torch.zeros(layer.G, len(a), len(s)) if layer.geometry.kind == "none" else \
        layer.geometry.direct(b1, b2).clamp(min=plain.FLOOR).log()
    out = torch.zeros(len(a), len(s))
    for g, i in product(range(layer.G), range(len(a))):
        head = slice(g * c, g * c + c)
        e = [math.exp(float(q[i, head] @ k[j, head]) / math.sqrt(c) + float(geometry[g, i, j]))
             for j in range(len(s))]
        out[i] += torch.tensor(e) / sum(e) / layer.G
    return out


@pytest.mark.parametrize("name", ["c", "g", "rdn", "selsa", "h"])
@torch.no_grad()
def test_relations_are_the_weights_of_the_first_layer_between_the_proposals(name):
    model, clip = model_of(name), NoiseClip(3)
    frames = found_in(model, clip)
    relations = box_relations(model, frames)
    assert len(relations) == 2 and all(r.dtype == np.float32 for r in relations)
    for relation, one, two in zip(relations, frames, frames[1:], strict=False):
        weights = naive_weights(model.proposal.layers[0], one.features, one.proposals,
                                two.features, two.proposals)
        torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))  # of all proposals
        rows, columns = one.detections.rows.tolist(), two.detections.rows.tolist()
        assert relation.shape == (len(rows), len(columns)) and min(relation.shape) > 1
        for (i, row), (j, column) in product(enumerate(rows), enumerate(columns)):
            assert relation[i, j] == pytest.approx(float(weights[row, column]), abs=1e-5)
        once = {column: j for j, column in enumerate(columns)}.values()
        assert (relation[:, list(once)].sum(1) < 1 + 1e-5).all()


@pytest.mark.parametrize("name", ["c", "g", "fgfa"])
def test_a_detection_says_which_proposal_it_was_made_of(name):
    model, clip = model_of(name), NoiseClip(3)
    for t, frame in enumerate(found_in(model, clip)):
        _, trace, _ = trace_frame(model, clip, t, model.config.test)
        found = frame.detections
        assert len(found.rows) == len(found.scores) > 1
        torch.testing.assert_close(trace.scores[found.rows, found.labels], found.scores,
                                   rtol=0, atol=1e-4)
        torch.testing.assert_close(frame.proposals, trace.proposals[0], rtol=0, atol=1e-2)


def test_frames_without_detections_have_no_relations():
    model = model_of("c")
    frames = found_in(model, NoiseClip(4, bad=(1,)), skip_bad=True)
    D = [0 if frame is None else len(frame.detections.scores) for frame in frames]
    assert [r.shape for r in box_relations(model, frames)] == [(D[0], 0), (0, D[2]), (D[2], D[3])]
    model.roi.score_thresh = 2.0
    assert [r.shape for r in box_relations(model, found_in(model, NoiseClip(3)))] == [(0, 0)] * 2
    assert box_relations(model, found_in(model, NoiseClip(1))) == []


def test_relations_need_a_proposal_level():
    for name in ("a", "d", "fgfa"):
        with pytest.raises(MSTError, match="^BLR links by learned relations, and this detector ha"):
            box_relations(model_of(name), [])


# ---- linked evaluation -------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path, monkeypatch, minivid_home):
    """Weights of (c), MiniVID in a cache of its own, an empty folder to work in."""
    monkeypatch.setenv("MST_DATA", str(minivid_home))
    monkeypatch.chdir(tmp_path)
    return save_weights(model_of("c"), tmp_path / "c.safetensors", 0)


@pytest.fixture(scope="module")
def minivid_home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def mst(monkeypatch, *words):
    """The exit code of `mst evaluate words`."""
    monkeypatch.setattr(sys, "argv", ["mst", "evaluate", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


MEASURED = ("dataset", "split", "clips", "frames", "skipped", "metrics", "bootstrap")


def test_linking_while_detecting_is_linking_what_was_saved(weights, tmp_path):
    run_evaluation(weights, protocols=["vid"], bootstrap=False, save=tmp_path / "found")
    linked = run_linked(weights, ["seqnms", "tubelet"], protocols=["vid", "coco"])
    for name, run in linked.items():
        again = rescore(tmp_path / "found", ask=Ask(["vid", "coco"], link=name))
        assert {k: run[k] for k in MEASURED} == {k: again[k] for k in MEASURED}
    index, model = read_index(tmp_path / "found"), model_of("c")
    model.load_state_dict({k: v.half().float() if v.is_floating_point() else v
                           for k, v in model.state_dict().items()})  # as they were saved
    dataset = clips_of(TINY, "test")
    saved = {n: found for path in shards(tmp_path / "found", index)
             for n, found in read_shard(path, index)}
    scores = []
    for n, found, frames in detections_of(model, dataset, range(len(dataset)), False, "test"):
        relations = box_relations(model, frames)
        for name in ("counts", "boxes", "scores", "labels"):
            assert np.array_equal(getattr(found, name), getattr(saved[n], name))
        assert [r.shape for r in relations] == list(zip(found.counts, found.counts[1:],
                                                        strict=False))
        assert len(link("blr", found, relations).scores) > 0
        scores.append(score_clip(dataset, Ask(["vid"]), n, link("seqnms", saved[n])))
    by_hand = figures(scores, dataset, Ask(["vid"]))
    assert by_hand["metrics"]["vid"] == linked["seqnms"]["metrics"]["vid"]


def test_linked_records_from_the_command_line(weights, tmp_path, monkeypatch, capsys):
    words = [weights, "--protocol", "vid", "--link", "seqnms", "--link", "blr"]
    assert mst(monkeypatch, *words, "--out", tmp_path / "records") == 0
    files = {path.stem: json.loads(path.read_text())
             for path in (tmp_path / "records").glob("*.json")}
    assert set(files) == {"tiny-c-seqnms-seed0", "tiny-c-blr-seed0"}
    printed = capsys.readouterr().out
    for name, record in files.items():
        assert record["id"] == name and record["tag"] == name.split("-")[2]
        assert f"--link {record['tag']}" in record["recipe"][-1]
        assert f"{name} on minivid-v1 test: 4 clips, 24 frames" in printed
    assert mst(monkeypatch, weights, "--protocol", "vid", "--link", "blr", "--tag", "ag",
               "--out", tmp_path / "tagged") == 0
    (tagged,) = (tmp_path / "tagged").glob("*.json")
    assert tagged.stem == "tiny-c-ag-blr-seed0"
    again = json.loads(tagged.read_text())
    assert again["metrics"] == files["tiny-c-blr-seed0"]["metrics"]


def test_saved_detections_are_linked_from_the_command_line(weights, tmp_path, monkeypatch):
    protocol = ["--protocol", "vid"]
    assert mst(monkeypatch, weights, *protocol, "--save", tmp_path / "found") == 0
    assert mst(monkeypatch, "--detections", tmp_path / "found", *protocol, "--link", "seqnms",
               "--out", tmp_path / "records") == 0
    record = json.loads((tmp_path / "records" / "tiny-c-seqnms-seed0.json").read_text())
    assert record["metrics"] == run_linked(weights, ["seqnms"], protocols=["vid"])["seqnms"][
        "metrics"]
    assert "--save" in record["recipe"][-2] and "--link seqnms" in record["recipe"][-1]


def test_a_linked_record_of_another_data_set_keeps_its_name(weights):
    run = run_linked(weights, ["seqnms"], protocols=["vid"])["seqnms"] | {"dataset": "davis"}
    record = cli_evaluate._record(run, "vid", "", "seqnms", None, None)
    assert record["id"] == "tiny-c-davis-seqnms-seed0"


@pytest.mark.parametrize(("words", "says"), [
    ("c.safetensors --link seqnms --save found", "detections are saved as they are found; link"),
    ("--detections found --link blr", "found: BLR links by relations that a model learned"),
    ("c.safetensors --link glue", "unknown linking 'glue'; choose one of seqnms, blr, tubelet"),
    ("--detections found --link glue", "unknown linking 'glue'; choose one of seqnms, blr, tube"),
    ("a.safetensors --link blr", "BLR links by learned relations, and this detector has none"),
    ("none.safetensors --link seqnms", "none.safetensors: no such checkpoint"),
])
def test_wrong_uses_of_linking_are_one_line(words, says, weights, tmp_path, monkeypatch, capsys):
    save_weights(model_of("a"), tmp_path / "a.safetensors", 0)
    assert mst(monkeypatch, *words.split()) == 2
    err = capsys.readouterr().err.splitlines()
    assert err[-1].startswith(f"mst: error: {says}")


def test_several_processes_do_not_link_each_on_their_own(weights, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(MSTError, match="^several processes share an evaluation through a folder"):
        run_linked(weights, ["seqnms"])


def test_a_frame_that_cannot_be_read_names_the_way_out():
    dataset = Dataset("noise", "test", tuple("abcdefgh"), [NoiseClip(3, bad=(1,))])
    with pytest.raises(MSTError, match="^frame 1 is damaged; or leave out .*: --skip-bad"):
        list(detections_of(model_of("c"), dataset, [0], False, "test"))
    ((_, found, frames),) = detections_of(model_of("c"), dataset, [0], True, "test")
    relations = box_relations(model_of("c"), frames)
    assert found.skipped.tolist() == [False, True, False]
    assert [r.shape for r in relations] == [(found.counts[0], 0), (0, found.counts[2])]
    linked = link("blr", found, relations)
    assert np.array_equal(linked.boxes, found.boxes)  # no link leads across it
