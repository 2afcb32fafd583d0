"""What a trace says, and what the same weights would do under other conditions."""

import pytest
import torch
from scenes import SquareClip
from torchvision.ops import deform_conv2d

from mstlib.config import VARIANTS, Levels, MSTError
from mstlib.data.clip import Target
from mstlib.evaluation import listening
from mstlib.evaluation.alignment import feature_differences
from mstlib.model.deform import sampling_points
from mstlib.model.detector import build_model
from mstlib.model.trace import Trace
from mstlib.model.whatif import asked_again, class_scores, switched
from mstlib.profiles import get_config
from mstlib.stream import trace_frame

CLIP = SquareClip("square")


@pytest.fixture(scope="module")
def whole():
    """Variant (g), its levels woken up, and its trace of a frame."""
    model = build_model(get_config("tiny", "g")).eval()
    found, trace, frames = trace_frame(model, CLIP, 3, model.config.test)
    return model, found, trace, frames


def test_the_head_reads_the_features_of_every_level(whole):
    model, _, trace, frames = whole
    N, M = len(trace.proposals[0]), len(trace.supports)
    assert list(trace.features) == ["RoI", "proposal", "instance"]
    assert all(f.shape == (N, 32) for f in trace.features.values())
    torch.testing.assert_close(class_scores(model, trace.features["instance"]), trace.scores)
    assert trace.support_features.shape == (M, 32)
    assert trace.maps.shape == trace.aligned.shape == (len(frames), 16, 8, 8)
    relation = model.proposal(trace.features["RoI"], trace.proposals[0], trace.support_features,
                              trace.supports)
    torch.testing.assert_close(relation, trace.features["proposal"])


def test_any_frame_can_ask(whole):
    model, _, trace, _ = whole
    maps, turned = trace.aligned[None], trace.aligned.roll(-2, 0)[None]  # frame 2 as the reference
    A = model.frame.attention(maps, asking=2)
    torch.testing.assert_close(A.flatten(2).sum(-1), torch.ones(1, 64))
    torch.testing.assert_close(A, model.frame.attention(turned).roll(2, 2))
    torch.testing.assert_close(model.frame.attention(maps)[0], trace.frame_attention)


# ---- what if -----------------------------------------------------------------------------------


def test_the_instance_level_asked_again_as_it_was_gives_the_same(whole):
    model, _, trace, _ = whole
    level = model.instance
    again, how = asked_again(model, trace, level.K, level.r)
    torch.testing.assert_close(again, trace.features["instance"])
    assert torch.equal(how["mask"], trace.instance["mask"])
    more, how = asked_again(model, trace, 7, 1.0)
    assert len(how["rows"]) == 7 and how["mask"].all()
    assert (level.K, level.r) == (4, 0.2)  # the model keeps its own
    with pytest.raises(MSTError, match="K must be at least 1"):
        asked_again(model, trace, 0, 0.2)
    with pytest.raises(MSTError, match="does not have"):
        asked_again(build_model(get_config("tiny", "c")), trace, 4, 0.2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_switched_levels_are_gone_and_the_model_keeps_them(whole, variant):
    model = whole[0]
    levels = VARIANTS[variant]
    other = switched(model, levels)
    fresh = build_model(get_config("tiny", variant)).eval()  # built that way, the same weights
    fresh.load_state_dict({k: v for k, v in model.state_dict().items() if k in fresh.state_dict()})
    found, want = (trace_frame(m, CLIP, 2, m.config.test)[0] for m in (other, fresh))
    torch.testing.assert_close(found.scores, want.scores)
    torch.testing.assert_close(found.boxes, want.boxes)
    assert model.instance is not None and model.levels == VARIANTS["g"]


def test_a_level_that_was_never_there_cannot_be_switched_on():
    model = build_model(get_config("tiny", "c"))
    with pytest.raises(MSTError, match="without the frame level; it has proposal"):
        switched(model, Levels(frame=True))


# ---- listening ---------------------------------------------------------------------------------


def target(*boxes, labels, ids) -> Target:
    """Objects of one frame."""
    return Target.of(torch.tensor(boxes).float().reshape(-1, 4), torch.tensor(labels).long(),
                     torch.tensor(ids).long())


def test_supports_are_what_they_show_to_the_object():
    left, right, top = [0, 0, 10, 10], [20, 0, 30, 10], [0, 20, 10, 30]
    targets = [target(left, right, labels=[1, 2], ids=[5, 6]),
               target(right, left, top, labels=[1, 2, 1], ids=[5, 6, 7])]
    trace = Trace(proposals=[torch.tensor([right, left]).float()],
                  supports=torch.tensor([left, right, left, top, [40, 40, 50, 50]]).float(),
                  support_frame=torch.tensor([0, 1, 1, 1, 1]))
    assert listening.support_ids(trace, targets).tolist() == [5, 5, 6, 7, -1]
    kinds = listening.support_kinds(trace, targets, track=5)
    assert [listening.KINDS[k] for k in kinds] == [
        "same object", "same object", "other object", "same class", "background"]
    mass = listening.mass_by_kind(torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25]), kinds)
    assert mass == pytest.approx({"same object": 0.3, "same class": 0.15, "other object": 0.3,
                                  "background": 0.25})
    assert listening.best_proposal(trace, targets[0], 5) == 1
    assert listening.shown_ids(trace.supports, target(labels=[], ids=[])).tolist() == [-1] * 5


# ---- deformable sampling -------------------------------------------------------------------------


def test_a_cell_reads_exactly_the_places_that_move_its_output():
    """Whole offsets, so that every place is a cell: its output depends on these and no others."""
    g = torch.Generator().manual_seed(1)
    first, second = (torch.randint(-1, 2, (18, 9, 9), generator=g).double() for _ in range(2))
    x = torch.randn(1, 1, 9, 9, generator=g, dtype=torch.double, requires_grad=True)
    w1, w2 = (torch.rand(1, 1, 3, 3, generator=g, dtype=torch.double) + 0.5 for _ in range(2))
    middle = deform_conv2d(x, first[None], w1, padding=1)
    out = deform_conv2d(middle, second[None], w2, padding=1)[0, 0, 4, 4]
    (gradient,) = torch.autograd.grad(out, x)
    read = {(round(x), round(y)) for x, y in sampling_points(first, second, (4, 4)).tolist()}
    moved = {(x, y) for y, x in gradient[0, 0].nonzero().tolist()}
    assert moved == {(x, y) for x, y in read if 0 <= x < 9 and 0 <= y < 9}


def test_a_shifted_support_read_where_it_went_is_the_reference():
    """A stand-in for DAlign that says "two cells to the right" everywhere, and adds nothing."""
    F_t = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(2))
    F_s = F_t.roll(2, 2)
    right = torch.zeros(1, 2, 6, 8, 2)
    right[..., 0] = 2
    three, how = feature_differences(lambda x: (x, {"displacement": right}), F_t, F_s)
    before, read, after = three.values()
    assert before.min() > 0.2 and torch.equal(before, after) and "displacement" in how
    assert read[:, :6].max() < 1e-5 < 0.2 < read[:, 6:].min()  # the last columns left the map


def test_without_offsets_a_cell_reads_its_neighbourhood():
    zero = torch.zeros(18, 9, 9)
    places = sampling_points(zero, zero, (4, 6))
    assert places.shape == (81, 2) and places.mean(0).tolist() == [6, 4]
    assert len(set(map(tuple, places.tolist()))) == 25 and places.max() == 8
