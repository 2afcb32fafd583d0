"""Checkpoints of mega.pytorch: every key finds its place, and the model computes what theirs does.

The checkpoints are synthetic, with the real names and small widths; the expected numbers come
from formulas written here from the source's, in its own conventions (blue first, boxes that end on
their last pixel).
"""

import json
import math
from collections import deque
from copy import deepcopy
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torchvision.models import resnet50
from torchvision.models.resnet import Bottleneck
from torchvision.ops import roi_align

from mstlib.checkpoint import load_weights, read_metadata, save_weights
from mstlib.config import MSTError, config_from_dict, with_overrides
from mstlib.model.caffe import CaffeGeometry, CaffeMEGA, CaffeMST, CaffeRDN, caffe_anchors
from mstlib.model.mega_weights import ANCHORS, import_mega, mega_config

BOX = "roi_heads.box.feature_extractor."
D, G, CLASSES = 64, 16, 3
SIZE = (70, 120)  # not whole cells
LAST = torch.tensor([0.0, 0, 1, 1])


# ---- checkpoints with the real names -----------------------------------------------------------


def draw(shapes):
    """Random weights of about unit gain and small biases."""
    g = torch.Generator().manual_seed(7)
    out = {}
    for name, shape in shapes.items():
        out[f"{name}.weight"] = torch.randn(shape, generator=g) / math.sqrt(math.prod(shape[1:]))
        out[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=g)
    return out


@cache
def trunk():
    """ResNet-50 with batch norms that do something."""
    torch.manual_seed(3)
    g = torch.Generator().manual_seed(3)
    net = resnet50()
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.weight.data = 0.2 + 0.3 * torch.rand(len(m.weight), generator=g)
            m.bias.data = 0.1 * torch.randn(len(m.bias), generator=g)
            m.running_var = 0.5 + torch.rand(len(m.weight), generator=g)
            m.running_mean = 0.1 * torch.randn(len(m.weight), generator=g)
    return net.eval()


def relation(prefix, k, geometry=True):
    shapes = {f"{BOX}{prefix}Wqs.{k}": (D, D), f"{BOX}{prefix}Wks.{k}": (D, D),
              f"{BOX}{prefix}Wvs.{k}": (D, D, 1, 1)}
    return shapes | ({f"{BOX}{prefix}Wgs.{k}": (G, 64, 1, 1)} if geometry else {})


def checkpoint(kind, reduce=16):
    """The state dict of a checkpoint; reduce 0 leaves the 1x1 convolution out."""
    return dict(drawn(kind, reduce))


@cache
def drawn(kind, reduce):
    out = {}
    for name, tensor in trunk().state_dict().items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue
        place = "backbone.body." if name.startswith("layer") else "backbone.body.stem."
        out[(f"{BOX}head." if name.startswith("layer4") else place) + name] = tensor
    shapes = {"rpn.head.conv": (1024, 1024, 3, 3), "rpn.head.cls_logits": (12, 1024, 1, 1),
              "rpn.head.bbox_pred": (48, 1024, 1, 1)}
    shapes |= {f"{BOX}conv": (reduce, 2048, 1, 1)} if reduce else {}
    wide = (D, (reduce or 2048) * 49)
    if kind == "single":
        shapes |= {f"{BOX}fc6": wide, f"{BOX}fc7": (D, D)}
    elif kind == "mega":
        shapes |= {f"{BOX}l_fcs.0": wide, f"{BOX}l_fcs.1": (D, D), f"{BOX}l_fcs.2": (D, D)}
        for k in range(3):
            shapes |= relation("l_", k)
        shapes |= relation("g_", 0, geometry=False) | relation("g_", 1, geometry=False)
    else:
        shapes |= {f"{BOX}fcs.0": wide, f"{BOX}fcs.1": (D, D)} | relation("", 0) | relation("", 1)
        if kind == "rdn":
            shapes |= {f"{BOX}fcs.2": (D, D)} | relation("", 2) | relation("", 3)
    shapes |= {"roi_heads.box.predictor.cls_score": (CLASSES + 1, D),
               "roi_heads.box.predictor.bbox_pred": (4 * CLASSES + 4, D)}
    out |= draw(shapes)
    if kind == "mega":
        us = [f"{BOX}l_us.{k}" for k in range(3)] + [f"{BOX}g_us.{k}" for k in range(2)]
        g = torch.Generator().manual_seed(8)
        out |= {name: torch.randn(G, 1, D // G, generator=g) for name in us}
    return out | {ANCHORS: caffe_anchors((64, 128, 256, 512), (0.5, 1, 2), 16) - LAST}


@pytest.fixture(scope="module", params=[("single", 16), ("single", 0), ("rdn-base", 16),
                                        ("rdn", 16), ("mega", 16)],
                ids=["single", "single without 1x1", "rdn-base", "rdn", "mega"])
def imported(request):
    state = checkpoint(*request.param)
    model, report = import_mega({"model": state}, request.param[0])
    return state, model, report


# ---- every key ---------------------------------------------------------------------------------


def test_every_key_is_used(imported):
    state, model, report = imported
    assert report.missing == [] and report.complete
    assert report.unused == {ANCHORS: "anchors are computed here: the same ones"}
    assert set(report.used) == set(state) - {ANCHORS}
    filled = [k for k in model.state_dict() if not k.endswith("num_batches_tracked")]
    assert set(report.used.values()) == set(filled)
    added = [k for k in report.used if "_us." in k]  # to the bias of the queries
    assert len(report.used) == len(filled) + len(added)
    assert len(added) == (5 if report.kind == "mega" else 0)
    assert not model.training and len(report.lines()) == len(state) + 2 + bool(added)


def test_the_configuration_is_read_off_the_shapes(imported):
    state, model, report = imported
    m = model.model_config
    reduce = len(state[f"{BOX}conv.weight"]) if f"{BOX}conv.weight" in state else 0
    assert (m.backbone, m.width, m.classes, m.roi_reduce, m.roi_size) == (
        "resnet50", D, CLASSES, reduce, 7)
    assert m.caffe_layout and m.geometry == "full" and m.heads == G
    assert model.levels.proposal == (report.kind != "single")
    assert type(model) is {"rdn": CaffeRDN, "mega": CaffeMEGA}.get(report.kind, CaffeMST)
    test = model.config.test
    assert test.pad and test.window == (25 if report.kind == "mega" else 37)


def test_a_file_as_training_writes_it(tmp_path):
    state = {f"module.{k}": v for k, v in checkpoint("single").items()}
    torch.save({"model": state, "iteration": 120000, "optimizer": {"state": {}}},
               tmp_path / "R_50.pth")
    model, report = import_mega(tmp_path / "R_50.pth", "single")
    assert report.complete
    assert torch.equal(model.fc2.weight, state[f"module.{BOX}fc7.weight"])


@pytest.mark.parametrize(("change", "kind", "says"), [
    (lambda s: s.pop("rpn.head.conv.bias"), "single", "lacks 'rpn.head.conv.bias' .1 in all"),
    (lambda s: s.update({"roi_heads.mask.weight": torch.zeros(1)}), "single",
     "has the unknown 'roi_heads.mask.weight'"),
    (lambda s: s.update({ANCHORS: s[ANCHORS] + 4}), "single", "has other anchors"),
    (lambda s: s.update({f"{BOX}fc7.weight": torch.zeros(D, D + 1)}), "single",
     r"fc7.weight' is \(64, 65\) here, the model needs \(64, 64\)"),
    (lambda s: None, "rdn-base", "lacks 'roi_heads.*fcs.0.weight', so it is no rdn-base"),
    (lambda s: None, "selsa", "unknown kind 'selsa'; choose single, rdn-base, rdn, mega")])
def test_what_does_not_fit_is_named(change, kind, says):
    state = checkpoint("single")
    change(state)
    with pytest.raises(MSTError, match=says):
        import_mega(state, kind)


def test_rdn_is_no_rdn_base():
    with pytest.raises(MSTError, match=r"unknown '.*fcs.2.weight'.*really of kind rdn-base"):
        import_mega(checkpoint("rdn"), "rdn-base")
    state = checkpoint("rdn-base")
    del state[f"{BOX}Wks.1.bias"]
    _, report = import_mega(state, "rdn-base", strict=False)
    assert report.missing == [f"{BOX}Wks.1.bias"] and not report.complete
    assert any("NOT COMPLETE" in line for line in report.lines())


def test_a_bias_that_does_not_fit_is_named():
    state = checkpoint("mega")
    state[f"{BOX}g_us.1"] = torch.zeros(G, 1, 2)
    with pytest.raises(MSTError, match=r"g_us.1' is \(32,\) here, the model needs \(64,\)"):
        import_mega(state, "mega")


# ---- the same numbers --------------------------------------------------------------------------


def image(seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(256, (1, 3, *SIZE), generator=g, dtype=torch.uint8)


@cache
def their_body():
    """Their network: the stride in the first 1x1, layer4 dilated without a stride."""
    net = deepcopy(trunk())
    for m in net.modules():
        if isinstance(m, Bottleneck):
            m.conv1.stride, m.conv2.stride = m.conv2.stride, (1, 1)
    for m in net.layer4.modules():
        if isinstance(m, Bottleneck):
            m.conv1.stride, m.conv2.dilation, m.conv2.padding = (1, 1), (2, 2), (2, 2)
    net.layer4[0].downsample[0].stride = (1, 1)
    return net


@torch.no_grad()
def their_c4(images):
    net = their_body()
    blue_first = images.flip(1).float() - torch.tensor([102.9801, 115.9465, 122.7717])[:, None,
                                                                                       None]
    x = F.max_pool2d(net.bn1(net.conv1(blue_first)).relu(), 3, 2, 1)
    return net.layer3(net.layer2(net.layer1(x)))


def their_rois(state, c4, boxes):
    """fc6 / fcs.0 of boxes that end on their last pixel."""
    x = their_body().layer4.to(c4.dtype)(c4)
    if f"{BOX}conv.weight" in state:
        x = F.conv2d(x, state[f"{BOX}conv.weight"], state[f"{BOX}conv.bias"]).relu()
    x = roi_align(x, [boxes], 7, 1 / 16, sampling_ratio=0, aligned=False).flatten(1)
    name = next(n for n in ("fc6", "fcs.0", "l_fcs.0") if f"{BOX}{n}.weight" in state)
    return their_linear(state, name, x).relu()


def their_linear(state, name, x):
    return F.linear(x, state[f"{BOX}{name}.weight"], state[f"{BOX}{name}.bias"])


def their_relation(state, k, a, s, b1=None, b2=None, prefix=""):
    """One relation layer, head by head and pair by pair, on boxes that end on their last pixel, or
    without boxes. MEGA's u is a row of its own that each key meets beside the query."""
    q = their_linear(state, f"{prefix}Wqs.{k}", a)
    key = their_linear(state, f"{prefix}Wks.{k}", s)
    wv, bv = state[f"{BOX}{prefix}Wvs.{k}.weight"][..., 0, 0], state[f"{BOX}{prefix}Wvs.{k}.bias"]
    n = D // G
    u = state.get(f"{BOX}{prefix}us.{k}", torch.zeros(G, 1, n)).to(a)
    out = torch.zeros_like(a)
    for i in range(len(a)):
        geometry = 1 if b1 is None else their_geometry(state, f"{prefix}Wgs.{k}", b1[i], b2)
        for g in range(G):
            part = slice(g * n, g * n + n)
            logits = (key[:, part] @ q[i, part] + key[:, part] @ u[g, 0]) / math.sqrt(n)
            if b1 is not None:
                logits = logits + (geometry[:, g] + 1e-6).log()
            out[i, part] = wv[part] @ (logits.softmax(0) @ s) + bv[part]
    return a + out


def their_geometry(state, name, box, others):
    """relu(W_g e_ij) of one box and all others, (M, G)."""
    e = others.new_tensor([their_embedding(box.tolist(), b.tolist()) for b in others])
    w, b = state[f"{BOX}{name}.weight"][..., 0, 0], state[f"{BOX}{name}.bias"]
    return (e @ w.T + b).relu()


def their_embedding(box, ref):
    w, h = (box[2] - box[0] + 1, box[3] - box[1] + 1)
    rw, rh = (ref[2] - ref[0] + 1, ref[3] - ref[1] + 1)
    dx = abs((box[0] + box[2]) / 2 - (ref[0] + ref[2]) / 2) / w
    dy = abs((box[1] + box[3]) / 2 - (ref[1] + ref[3]) / 2) / h
    out = []
    for value in (math.log(dx + 1e-3), math.log(dy + 1e-3), math.log(w / rw), math.log(h / rh)):
        angles = [100 * value / 1000 ** (8 / 64 * k) for k in range(8)]
        out += [math.sin(t) for t in angles] + [math.cos(t) for t in angles]
    return out


def test_conv4_is_theirs(imported):
    _, model, _ = imported
    torch.testing.assert_close(model.c4(image()), their_c4(image()), rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_proposals_are_theirs(imported):
    """Objectness, and every anchor's box decoded in their convention."""
    state, model, _ = imported
    c4 = their_c4(image())
    x = F.conv2d(c4, state["rpn.head.conv.weight"], state["rpn.head.conv.bias"], padding=1).relu()
    logits = F.conv2d(x, state["rpn.head.cls_logits.weight"], state["rpn.head.cls_logits.bias"])
    deltas = F.conv2d(x, state["rpn.head.bbox_pred.weight"], state["rpn.head.bbox_pred.bias"])
    ours, changes, anchors = model.rpn.score(c4, SIZE)
    ours, boxes = ours[0], model.rpn.parts.box_coder.decode_single(changes[0], anchors)
    h, w = c4.shape[-2:]
    for y, x, k in ((0, 0, 0), (2, 5, 7), (h - 1, w - 1, 11)):
        row = (y * w + x) * 12 + k
        torch.testing.assert_close(ours[row, 0], logits[0, k, y, x], rtol=1e-3, atol=1e-4)
        x1, y1, x2, y2 = (state[ANCHORS][k] + torch.tensor([x, y, x, y]) * 16).tolist()
        dx, dy, dw, dh = deltas[0, 4 * k : 4 * k + 4, y, x].tolist()
        wide, high = (x2 - x1 + 1) * math.exp(dw), (y2 - y1 + 1) * math.exp(dh)
        cx = x1 + 0.5 * (x2 - x1 + 1) + dx * (x2 - x1 + 1)
        cy = y1 + 0.5 * (y2 - y1 + 1) + dy * (y2 - y1 + 1)
        theirs = torch.tensor([cx - wide / 2, cy - high / 2, cx + wide / 2 - 1, cy + high / 2 - 1])
        torch.testing.assert_close(boxes[row] - LAST, theirs, rtol=1e-3, atol=1e-2)


@torch.no_grad()
def test_scores_and_boxes_of_the_head_are_theirs(imported):
    """From conv4 maps of noise, in which a pixel more or less of a box shows."""
    state, model, report = imported
    c4 = 3 * torch.randn(2, 1024, 5, 8, generator=torch.Generator().manual_seed(1)).relu()
    boxes = torch.tensor([[3.0, 5, 60, 44], [20, 8, 25, 12], [50, 0, 119, 69]])  # last pixel in
    others = torch.tensor([[8.0, 5, 64, 40], [3, 5, 60, 44]])
    a = their_rois(state, c4[:1], boxes)
    both = [boxes + LAST, others + LAST]
    features = model.roi_features(model.reduce(model.backbone.c5(c4)), both)
    ours = features[0]
    if report.kind == "single":
        a = their_linear(state, "fc7", a).relu()
    elif report.kind == "rdn-base":  # the relations of rdn and mega have tests of their own
        ours = model.propose_level(model.window(features, both, [boxes[:, 0], others[:, 0]]))
        s, rois = torch.cat([a, their_rois(state, c4[1:], others)]), torch.cat([boxes, others])
        a = their_base_stage(state, a, s, boxes, rois)
    assert a.std() > 0.05
    torch.testing.assert_close(ours, a, rtol=1e-3, atol=1e-4)
    for name, mine in zip(("cls_score", "bbox_pred"), model.head(ours), strict=True):
        w = state[f"roi_heads.box.predictor.{name}.weight"]
        b = state[f"roi_heads.box.predictor.{name}.bias"]
        torch.testing.assert_close(mine, F.linear(a, w, b), rtol=1e-3, atol=1e-4)


def their_base_stage(state, a, s, b1, b2):
    """RDN's two relation layers."""
    a = their_relation(state, 0, a, s, b1, b2)
    return their_relation(state, 1, their_linear(state, "fcs.1", a).relu(), s, b1, b2)


@torch.no_grad()
def test_relations_are_theirs():
    """Both layers on features that differ, so that whom they attend to decides."""
    state = checkpoint("rdn-base")
    model, _ = import_mega(state, "rdn-base")
    g = torch.Generator().manual_seed(5)
    a, s = 2 * torch.randn(4, D, generator=g), 2 * torch.randn(9, D, generator=g)
    corner, extent = 40 * torch.rand(13, 2, generator=g), 5 + 60 * torch.rand(13, 2, generator=g)
    boxes = torch.cat([corner, corner + extent], dim=1)
    boxes[4:6] = boxes[:2] + 0.05                                     # centres almost the same
    b1, b2 = boxes[:4], boxes[4:]
    ours = model.proposal(a, b1 + LAST, s, b2 + LAST)
    theirs = their_base_stage(state, a, s, b1, b2)
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-2)  # float32 near log(0) is rough
    supports = model.proposal.supports(s, b2 + LAST)
    weights = model.proposal.weights(a, b1 + LAST, supports)          # for traces: the same layers
    uniform = torch.full((G, 4, 9), 1 / 9)
    assert all((w["weights"] - uniform).abs().max() > 0.2 for w in weights)
    values = torch.einsum("gnm,md->gnd", weights[1]["weights"], s)
    first = their_linear(state, "fcs.1", their_relation(state, 0, a, s, b1, b2)).relu()
    w, b = state[f"{BOX}Wvs.1.weight"][..., 0, 0], state[f"{BOX}Wvs.1.bias"]
    heads = torch.einsum("god,gnd->ngo", w.unflatten(0, (G, -1)), values).flatten(1)
    torch.testing.assert_close(first + heads + b, theirs, rtol=1e-2, atol=1e-2)


# ---- RDN's advanced stage, MEGA's stages -------------------------------------------------------

FEW = {"model.support_proposals": 10, "model.reference_proposals": 6}  # 2 of 10 lead


def imported_in_double(kind, settings):
    """Small windows in float64, where log(0) is not rough; weights still are of float32."""
    state = checkpoint(kind)
    config = with_overrides(mega_config(kind, state), FEW | settings)
    model, _ = import_mega(state, kind, config)
    return {k: v.double() for k, v in state.items()}, model.double()


def some_rois(counts, seed=0):
    """Features and boxes (that end on their last pixel) of frames with so many proposals each."""
    g = torch.Generator().manual_seed(seed)
    total = sum(counts)
    corner, extent = (50 * torch.rand(total, 2, generator=g) for _ in range(2))
    boxes = torch.cat([corner, corner + 5 + extent], dim=1).double()
    return (2 * torch.randn(total, D, generator=g).double()).split(counts), boxes.split(counts)


@torch.no_grad()
def test_rdns_advanced_stage_is_theirs():
    """The two best supports of each frame against all, then the reference against these."""
    state, model = imported_in_double("rdn", {})
    features, boxes = some_rois([12, 10, 10])
    ours = model.propose_level(model.window(features, [b + LAST for b in boxes], boxes))
    (a, b1), s = (features[0], boxes[0]), torch.cat([f[:10] for f in features])
    b2 = torch.cat([b[:10] for b in boxes])
    best, best_boxes = (torch.cat([x[f : f + 2] for f in (0, 10, 20)]) for x in (s, b2))
    x = their_base_stage(state, a, s, b1, b2)
    refined = their_relation(state, 2, best, s, best_boxes, b2)
    refined = their_linear(state, "fcs.2", refined).relu()
    theirs = their_relation(state, 3, x, refined, b1, best_boxes)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert (theirs - x).abs().max() > 0.1


def their_lead(x):
    """The two best of every ten."""
    return torch.cat([part[:2] for part in x.split(10)])


def their_stages(state, key, rois_key, x, rois, memory):
    """MEGA's three local stages one after the other; memory: three pairs of features and boxes, or
    None. Returns the key's features and what of the window each stage listened to."""
    n, lead = len(key), their_lead(rois)
    now, rois_now = torch.cat([key, their_lead(x)]), torch.cat([rois_key, lead])
    heard = [(x, rois)]
    now = their_step(state, 0, now, rois_now, heard[0], memory)
    now = their_linear(state, "l_fcs.1", now).relu()
    heard.append((now[n:], lead))
    now = their_step(state, 1, now, rois_now, heard[1], memory)
    now = their_linear(state, "l_fcs.2", now).relu()
    heard.append((now[n:], lead))
    return their_step(state, 2, now[:n], rois_key, heard[2], memory), heard


def their_step(state, k, a, b1, heard, memory):
    s, b2 = (torch.cat(pair) for pair in zip(heard, memory[k], strict=True)) if memory else heard
    return their_relation(state, k, a, s, b1, b2, "l_") if len(a) else a


def their_global(state, k, a, far):
    return their_relation(state, k, a, far, prefix="g_")


@torch.no_grad()
def test_megas_training_window_is_theirs():
    """Reference and two local frames; memory of three frames among themselves; two global ones."""
    state, model = imported_in_double("mega", {})
    features, boxes = some_rois([7] + [10] * 8)
    p = model.window(features[1:], [b + LAST for b in boxes[1:]], boxes[1:])
    p.a, p.boxes = features[0], boxes[0] + LAST  # sampled RoIs are not the reference's supports
    ours = model.propose_level(model.assign_roles(p))
    local, past, far = (torch.cat(features[i:j]) for i, j in ((1, 4), (4, 7), (7, 9)))
    b_local, b_past = torch.cat(boxes[1:4]), torch.cat(boxes[4:7])
    local, past, key = (their_global(state, 0, x, far) for x in (local, past, features[0]))
    memory = their_stages(state, past[:0], b_past[:0], past, b_past, None)[1]
    a, _ = their_stages(state, key, boxes[0], local, b_local, memory)
    torch.testing.assert_close(ours, their_global(state, 1, a, far), rtol=1e-5, atol=1e-5)
    alone, _ = their_stages(state, key, boxes[0], local, b_local, None)
    assert (alone - a).abs().max() > 0.1


def their_clip(state, frames, far):
    """MEGA's features of each reference of a clip: queues of three frames, first filled with copies
    of frame 0, later with copies of the last one; what the oldest frame was goes to memory.

    frames: (features of the ten best proposals, boxes) of each; far: the global frames at each
    time.
    """
    queue, memory = deque(maxlen=3), [deque(maxlen=3) for _ in range(3)]
    queue.extend([frames[0], frames[0], frames[1]])
    for t, (key, rois_key) in enumerate((x[:6], b[:6]) for x, b in frames):
        if t:
            queue.append(frames[min(t + 1, len(frames) - 1)])
        world = torch.cat([frames[s][0] for s in far[t]])
        x, rois = (torch.cat(parts) for parts in zip(*queue, strict=True))
        key, x = their_global(state, 0, key, world), their_global(state, 0, x, world)
        known = [tuple(torch.cat(parts) for parts in zip(*stage, strict=True)) for stage in memory]
        a, heard = their_stages(state, key, rois_key, x, rois, known if memory[0] else None)
        for stage, (s, b), n in zip(memory, heard, (10, 2, 2), strict=True):
            stage.append((s[:n], b[:n]))
        yield their_global(state, 1, a, world)


@torch.no_grad()
def test_mega_walks_through_a_clip_as_theirs():
    """Seven frames, a window of three, a memory of three: frames that have left the window speak
    through what they were in it."""
    state, model = imported_in_double("mega", {
        "test.window": 3, "test.memory_frames": 3, "test.global_frames": 2})
    g = torch.Generator().manual_seed(1)
    maps = 3 * torch.randn(7, 1024, 5, 8, generator=g).relu().double()
    reads, entering, decode, propose = [], [], model.decode, model.rpn.propose
    model.decode = lambda a, *rest: (entering.append(a), decode(a, *rest))[1]
    model.c4 = lambda images: maps[images[:, 0, 0, 0].long()]
    model.rpn.propose = lambda *of: [[x.double() for x in part] for part in propose(*of)]

    def read(t):
        reads.append(t)
        return torch.full((3, *SIZE), t, dtype=torch.uint8)

    found = list(model.walk(read, 7, model.config.test))
    assert len(found) == 7 and all(len(f.detections.boxes) for f in found)
    boxes = [model.rpn.propose(m[None], SIZE, [10])[0][0] for m in maps]
    frames = [(their_rois(state, m[None], b - LAST), b - LAST)
              for m, b in zip(maps, boxes, strict=True)]
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0)).tolist()
    far = [[order[(t + k) % 7] for k in range(2)] for t in range(7)]
    for ours, theirs in zip(entering, their_clip(state, frames, far), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert sorted(set(reads)) == list(range(7)) and len(reads) <= 14  # near once, far once


def test_it_detects(imported):
    _, model, report = imported
    frames = torch.stack([image(0), image(1)], dim=1)
    found, _ = model(frames[:, :1] if report.kind == "single" else frames)
    assert len(found[0].boxes) > 0 and found[0].labels.max() <= CLASSES


def test_anchors_worked_by_hand():
    """At ratio 0.5 a cell of 16 x 16 becomes 23 x 12 (22.6 rounded, 11.5 to even), at 64 pixels
    92 x 48 around (8, 8)."""
    anchors = caffe_anchors((64, 128), (0.5, 1.0), 16)
    assert anchors[0].tolist() == [8 - 46, 8 - 24, 8 + 46, 8 + 24]
    assert anchors[1].tolist() == [8 - 92, 8 - 48, 8 + 92, 8 + 48]
    assert anchors[2].tolist() == [-24, -24, 40, 40]


def test_the_floor_of_the_geometry_is_added():
    geometry = CaffeGeometry(2)
    torch.nn.init.zeros_(geometry.weight.weight)
    geometry.weight.bias.data = torch.tensor([1e-6, -1.0])
    logits = geometry(torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([[0.0, 0, 9, 9]]))
    torch.testing.assert_close(logits[:, 0, 0], torch.tensor([2e-6, 1e-6]).log())


# ---- the command -------------------------------------------------------------------------------


def test_the_command_reports_and_writes_weights_with_their_configuration(tmp_path, capsys):
    safetensors = pytest.importorskip("safetensors.torch")
    from mstlib.cli.imports import import_weights

    state = checkpoint("single")
    torch.save({"model": state}, tmp_path / "R_50.pth")
    import_weights(tmp_path / "R_50.pth", "single", tmp_path / "a.safetensors")
    said = capsys.readouterr().out
    assert f"{BOX}fc7.weight -> fc2.weight" in said and "1 unused, 0 missing" in said
    config = config_from_dict(json.loads(read_metadata(tmp_path / "a.safetensors")["config"]))
    assert config == mega_config("single", state)
    model = CaffeMST(config).eval()
    model.load_state_dict(safetensors.load_file(tmp_path / "a.safetensors"))
    torch.testing.assert_close(model.c4(image()), their_c4(image()), rtol=1e-3, atol=1e-3)


def test_an_imported_mega_comes_back_from_its_file(tmp_path):
    pytest.importorskip("safetensors")
    model, _ = import_mega(checkpoint("mega"), "mega")
    again, _ = load_weights(save_weights(model, tmp_path / "mega.safetensors", 0, half=False))
    assert type(again) is CaffeMEGA and again.config == model.config
    frames = torch.stack([image(0), image(1)], dim=1)
    for one, two in zip(model(frames)[0], again(frames)[0], strict=True):
        assert torch.equal(one.scores, two.scores)


def test_another_configuration_can_be_given():
    state = checkpoint("single")
    config = with_overrides(mega_config("single", state), {"model.score_threshold": 0.5})
    assert import_mega(state, "single", config)[0].roi.score_thresh == 0.5
