"""The shared attention and the three levels (Sec. III-C) against their equations."""

import math

import pytest
import torch

from mstlib.config import ModelConfig
from mstlib.model.attention import FLOOR, Geometry, Relation
from mstlib.model.frame import FrameLevel
from mstlib.model.instance import InstanceLevel, same_id, top_r
from mstlib.model.proposal import ProposalLevel


def boxes(n, g):
    """n random boxes of very different sizes."""
    corner = 100 * torch.rand(n, 2, generator=g, dtype=torch.double)
    size = torch.exp(1 + 3 * torch.rand(n, 2, generator=g, dtype=torch.double))
    return torch.cat([corner, corner + size], dim=1)


def relation_loop(layer, a, b1, s, b2):
    """Eq. 7-10 as nested loops over references, supports and heads."""
    G, d = layer.G, a.shape[1]
    dk = d // G
    out = a.clone()
    for i in range(len(a)):
        for head in range(G):
            part = slice(head * dk, (head + 1) * dk)
            logits = []
            for j in range(len(s)):
                q, k = layer.query(a[i])[part], layer.key(s[j])[part]
                w1, h1 = b1[i, 2] - b1[i, 0], b1[i, 3] - b1[i, 1]
                w2, h2 = b2[j, 2] - b2[j, 0], b2[j, 3] - b2[j, 1]
                terms = [torch.log(w1 / w2), torch.log(h1 / h2),
                         torch.log(w1 / h1) - torch.log(w2 / h2)]      # Eq. 9
                angles = [100 * t / 1000 ** (8 * k / 64) for t in terms for k in range(8)]
                e = torch.stack([x.sin() for x in angles] + [x.cos() for x in angles])
                geometry = layer.geometry.weight.weight[head] @ e + layer.geometry.weight.bias[head]
                logits.append(q @ k / math.sqrt(dk)
                              + torch.log(torch.clamp(torch.relu(geometry), min=FLOOR)))
            weights = torch.softmax(torch.stack(logits), dim=0)        # Eq. 7
            for j in range(len(s)):
                out[i, part] += weights[j] * layer.value(s[j])[part]   # Eq. 10
    return out


@pytest.fixture
def case():
    """A relation layer with strong geometry, five references and seven supports."""
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(1)
    layer = Relation(16, 4).double()
    torch.nn.init.normal_(layer.geometry.weight.weight, std=1.0)
    a, s = (torch.randn(n, 16, generator=g, dtype=torch.double) for n in (5, 7))
    return layer, a, boxes(5, g), s, boxes(7, g)


def test_relation_is_the_nested_loops_of_equations_7_to_10(case):
    layer, *inputs = case
    torch.testing.assert_close(layer(*inputs), relation_loop(layer, *inputs))


def test_low_rank_geometry_equals_the_direct_one(case):
    layer, _, b1, _, b2 = case
    torch.testing.assert_close(layer.geometry.low_rank(b1, b2), layer.geometry.direct(b1, b2))


def test_geometry_of_equation_9_ignores_where_boxes_are(case):
    layer, _, b1, _, b2 = case
    torch.testing.assert_close(layer.geometry(b1 + 50, b2), layer.geometry(b1, b2))
    torch.manual_seed(0)
    full = Geometry(4, "full").double()
    torch.nn.init.normal_(full.weight.weight, std=1.0)
    assert not torch.allclose(full(b1 + 50, b2), full(b1, b2))  # RDN's includes centre distances


def test_weighted_with_unmasked_logits_is_the_layer_itself(case):
    layer, a, b1, s, b2 = case
    logits = sum(layer.logits(a, b1, s, b2))
    values = layer.supports(s, b2).v
    torch.testing.assert_close(layer.weighted(a, values, logits), layer(a, b1, s, b2))


def test_projecting_values_first_changes_nothing(case):
    """Weighting unprojected features, then projecting (Eq. 10 as printed), gives the same sum."""
    layer, a, b1, s, b2 = case
    weights = sum(layer.logits(a, b1, s, b2)).softmax(-1)              # (G, N, M)
    out = a.clone()
    for head in range(layer.G):
        part = slice(head * 4, head * 4 + 4)
        out[:, part] += (weights[head] @ s) @ layer.value.weight[part].T
    torch.testing.assert_close(out, layer(a, b1, s, b2))


def test_proposal_level_stacks_two_layers_on_unchanged_supports(case):
    _, a, b1, s, b2 = case
    level = ProposalLevel(ModelConfig(width=16, heads=4)).double()
    by_hand = level.layers[1](level.layers[0](a, b1, s, b2), b1, s, b2)
    torch.testing.assert_close(level(a, b1, s, b2), by_hand)
    last = level.weights(a, b1, level.supports(s, b2))[-1]["weights"]
    torch.testing.assert_close(last.sum(-1), torch.ones_like(last[..., 0]))


# ---- frame level -------------------------------------------------------------------------------


@pytest.fixture(params=[("identity", 0.0), ("zero", 0.0), ("identity", 0.5)], ids=str)
def frame_level(request):
    torch.manual_seed(0)
    init, place = request.param
    level = FrameLevel(16, ModelConfig(frame_width=16, frame_heads=2, frame_init=init,
                                       frame_place=place))
    torch.nn.init.normal_(level.expand.weight, std=0.5)  # zero start would hide every mistake
    return level.double()


def test_frame_level_is_permutation_equivariant_over_frames(frame_level):
    x = torch.randn(2, 4, 16, 3, 5, dtype=torch.double)
    order = [2, 0, 3, 1]
    torch.testing.assert_close(frame_level(x[:, order]), frame_level(x)[:, order])


def test_query_ref_is_the_reference_rows_of_query_all(frame_level):
    x = torch.randn(2, 4, 16, 3, 5, dtype=torch.double)
    every = frame_level(x, query_all=True)
    torch.testing.assert_close(frame_level(x, query_all=False), every[:, :1])


def test_frame_level_is_equations_4_to_6(frame_level):
    x = torch.randn(1, 2, 16, 2, 3, dtype=torch.double)
    t = x[0].permute(0, 2, 3, 1).reshape(-1, 16)
    centred = t - t.mean(0)
    unit = centred / (centred.pow(2).mean().sqrt() + 1e-6)
    Q, K, V = frame_level.query(unit), frame_level.key(unit), frame_level.value(centred)
    AV = torch.zeros_like(Q)
    for head in range(2):
        part = slice(head * 8, head * 8 + 8)
        logits = Q[:, part] @ K[:, part].T / math.sqrt(8)
        if frame_level.sharpness is not None:  # token i is cell i % 6 of a map of 2 x 3
            for i in range(12):
                for j in range(12):
                    dy, dx = (i % 6) // 3 - (j % 6) // 3, i % 3 - j % 3
                    logits[i, j] -= 0.5 * (dy**2 + dx**2)
        A = torch.softmax(logits, dim=1)                               # Eq. 5
        AV[:, part] = A @ V[:, part]
    expected = (t + frame_level.expand(AV)).reshape(2, 2, 3, 16).permute(0, 3, 1, 2)
    torch.testing.assert_close(frame_level(x)[0], expected)


def test_frame_attention_of_the_trace_sums_to_one(frame_level):
    A = frame_level.attention(torch.randn(2, 4, 16, 3, 5, dtype=torch.double))
    assert A.shape == (2, 15, 4, 3, 5)
    torch.testing.assert_close(A.flatten(2).sum(-1), torch.ones(2, 15, dtype=torch.double))


def test_moving_a_supports_features_about_changes_nothing_for_content_attention(frame_level):
    """Why alignment cannot matter to the frame level as it stands, and would if it saw places."""
    x = torch.randn(1, 3, 16, 3, 5, dtype=torch.double)
    moved = x.clone()
    moved[0, 1] = x[0, 1].roll((1, 2), dims=(1, 2))
    same = torch.allclose(frame_level(x, False), frame_level(moved, False))
    assert same is (frame_level.sharpness is None)


# ---- instance level ----------------------------------------------------------------------------


@pytest.fixture
def instance():
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(3)
    level = InstanceLevel(ModelConfig(width=16, heads=4, instance_k=3, instance_r=0.25)).double()
    a, s = (torch.randn(n, 16, generator=g, dtype=torch.double) for n in (6, 12))
    return level, a, boxes(6, g), s, boxes(12, g), g


def test_label_rule_leaves_background_bit_identical_and_never_mixes_ids(instance):
    level, a, b1, s, b2, _ = instance
    ids = torch.tensor([0, -1, 1, 0, 7, -1])              # 7 has no support
    support_ids = torch.tensor([0, 0, 1, -1, -1, 1, 2, 2, 0, -1, 1, 2])
    out = level.by_label(a, b1, ids, s, b2, support_ids)
    for row in (1, 4, 5):
        assert torch.equal(out[row], a[row])
    assert not torch.equal(out[0], a[0])
    changed = s.clone()
    changed[support_ids != 0] += 10                       # other objects and background
    again = level.by_label(a, b1, ids, changed, b2, support_ids)
    assert torch.equal(out[[0, 3]], again[[0, 3]])        # rows of object 0 never saw them
    assert not torch.equal(out[2], again[2])


def test_the_label_rule_leaks_who_is_foreground_and_the_topk_rule_does_not(instance):
    """In training the literal rule updates true foreground only: "was updated" IS the label.

    A head that sees nothing but whether a row changed separates foreground perfectly; under the
    test-time rule the updated rows are those of highest objectness, whatever their label.
    """
    level, a, b1, s, b2, g = instance
    ids = torch.tensor([0, -1, 1, 0, -1, -1])
    support_ids = torch.tensor([0, 1] * 6)
    literal = level.by_label(a, b1, ids, s, b2, support_ids)
    assert torch.equal((literal != a).any(1), ids >= 0)
    objectness = torch.tensor([0.1, 0.9, 0.2, 0.8, 0.7, 0.3], dtype=torch.double)
    fair, trace = level(a, b1, objectness, s, b2)
    assert sorted(trace["rows"].tolist()) == [1, 3, 4]
    assert not torch.equal((fair != a).any(1), ids >= 0)
    relabelled, _ = level(a, b1, objectness, s, b2)       # ids do not enter at all
    assert torch.equal(fair, relabelled)


def test_topk_rule_copies_the_rest_and_listens_to_the_share_r(instance):
    level, a, b1, s, b2, _ = instance
    objectness = torch.tensor([0.1, 0.9, 0.2, 0.8, 0.7, 0.3], dtype=torch.double)
    out, trace = level(a, b1, objectness, s, b2)
    assert torch.equal(out[[0, 2, 5]], a[[0, 2, 5]])
    assert trace["mask"].sum(1).tolist() == [3, 3, 3]     # r = 25 % of 12 supports
    ignored = ~trace["mask"].any(0)
    assert ignored.any()
    changed = s.clone()
    changed[ignored] = 0                                  # values nobody listens to do not matter
    values = level.relation.weighted(
        a[trace["rows"]], level.relation.supports(changed, b2).v,
        trace["logits"].masked_fill(~trace["mask"], -torch.inf))
    torch.testing.assert_close(out[trace["rows"]], values)


def test_top_r_takes_the_most_similar_by_the_layers_own_logits():
    logits = torch.tensor([[[0.0, 3.0, 1.0, 2.0]], [[0.0, 1.0, 3.0, 0.0]]])  # means 0, 2, 2, 1
    assert top_r(logits, 0.5).tolist() == [[False, True, True, False]]
    assert top_r(logits, 0.01).sum() == 1                 # at least one


def test_identity_loss_is_minus_log_of_the_mass_on_the_same_object(instance):
    level, a, b1, s, b2, _ = instance
    ids, support_ids = torch.tensor([0, -1, 1, 0, 7, -1]), torch.tensor([0, 0, 1, -1] * 3)
    weights = sum(level.relation.logits(a, b1, s, b2)).softmax(-1)     # (G, N, M)
    mass = [weights[:, i, support_ids == ids[i]].sum(-1) for i in (0, 2, 3)]
    expected = -torch.stack(mass).log().mean()
    torch.testing.assert_close(
        level.identity_loss(a, b1, ids, s, b2, support_ids), expected)


def test_identity_loss_gives_no_gradient_to_features_and_none_without_ids(instance):
    level, a, b1, s, b2, _ = instance
    a.requires_grad_()
    level.identity_loss(a, b1, torch.zeros(6, dtype=torch.long), s, b2,
                        torch.zeros(12, dtype=torch.long)).backward()
    assert a.grad is None
    assert level.relation.query.weight.grad is not None
    nobody = torch.full((6,), -1)
    assert level.identity_loss(a, b1, nobody, s, b2, torch.full((12,), -1)) is None


def test_unknown_ids_never_match():
    assert not same_id(torch.tensor([-1, 2]), torch.tensor([-1, -1])).any()
