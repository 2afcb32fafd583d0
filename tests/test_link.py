"""Post-processing against its definition in loops, and against examples small enough to see."""

import itertools
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mstlib.config import MSTError
from mstlib.evaluation.columns import ClipDetections
from mstlib.link import LINKS, link
from mstlib.link.blr import blr, lift
from mstlib.link.overlap import iou_matrix, overlapping
from mstlib.link.seqnms import seqnms
from mstlib.link.tubelet import tubelet

BOX, NEXT, FAR = (10, 10, 30, 30), (12, 10, 32, 30), (60, 60, 90, 90)  # IoU(BOX, NEXT) = 0.82


def clip(*frames):
    """A clip of frames, each a list of (label, score, box) or None for one that was skipped."""
    rows = [row for frame in frames for row in frame or []]
    return ClipDetections(np.array([len(frame or []) for frame in frames], np.int32),
                          np.array([frame is None for frame in frames], bool),
                          np.array([row[2] for row in rows], np.float32).reshape(-1, 4),
                          np.array([row[1] for row in rows], np.float32),
                          np.array([row[0] for row in rows], np.int16))


def random_clip(seed, frames=6, boxes=6, classes=2):
    """A clip with few places and few scores, so that there are links, suppressions and ties."""
    g = np.random.default_rng(seed)
    coarse, place = g.random() < 0.5, g.integers(6, 60)
    count = g.integers(0, boxes + 1, g.integers(0, frames + 1))
    skipped = g.random(len(count)) < 0.15
    total = np.where(skipped, 0, count).sum()
    low = g.integers(0, place, (total, 2)) if coarse else g.uniform(0, place, (total, 2))
    size = g.integers(0, 5, (total, 2)) * 6 if coarse else g.uniform(8, 40, (total, 2))
    scores = g.integers(0, 4, total) / 3 if coarse else g.random(total)
    return ClipDetections(np.where(skipped, 0, count).astype(np.int32), skipped,
                          np.concatenate([low, low + size], 1).astype(np.float32),
                          scores.astype(np.float32),
                          g.integers(1, classes + 1, total).astype(np.int16))


def random_relations(found, seed):
    g = np.random.default_rng(seed)
    whole = g.random() < 0.5
    return [(g.integers(0, 2, shape) if whole else g.random(shape)).astype(np.float32)
            for shape in itertools.pairwise(found.counts)]


def naive_iou(a, b):
    """IoU of two boxes, as one writes it down."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inside = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside
    return inside / max(union, 1e-12)


def naive_paths(found, start, gain, rescore, overlap, suppress=0.3):
    """All from the beginning for every path: D detections -> the indices kept and new scores."""
    frames, boxes = found.frames.tolist(), found.boxes.astype(float).tolist()
    scores, kept = found.scores.astype(float).tolist(), set(range(len(frames)))
    for label in set(found.labels.tolist()):
        there = [d for d in range(len(frames)) if found.labels[d] == label]
        while True:
            worth, before = {}, {}
            for d in there:
                worth[d], before[d] = start(d), None
                for p in there:
                    linked = frames[p] + 1 == frames[d] and naive_iou(boxes[p], boxes[d]) >= overlap
                    if linked and (before[d] is None or worth[p] + gain(p, d) > worth[d]):
                        worth[d], before[d] = worth[p] + gain(p, d), p
            ends = [d for d in there if before[d] is not None]
            if not ends:
                break
            path = [max(ends, key=lambda d: (worth[d], d))]
            while before[path[-1]] is not None:
                path.append(before[path[-1]])
            path.reverse()
            for d, score in zip(path, rescore([scores[d] for d in path]), strict=True):
                scores[d] = score
            gone = {d for d in there for p in path if d not in path and frames[d] == frames[p]
                    and naive_iou(boxes[d], boxes[p]) >= suppress}
            kept -= gone
            there = [d for d in there if d not in gone and d not in path]
    return chosen(found, sorted(kept), scores)


def naive_seqnms(found, rescore="average"):
    s = found.scores.astype(float).tolist()
    return naive_paths(found, lambda d: s[d], lambda p, d: s[d],
                       {"average": lambda x: [sum(x) / len(x)] * len(x),
                        "max": lambda x: [max(x)] * len(x)}[rescore], overlap=0.5)


def naive_blr(found, relations):
    s, boxes = found.scores.astype(float).tolist(), found.boxes.astype(float).tolist()
    frames, first = found.frames.tolist(), (np.cumsum(found.counts) - found.counts).tolist()

    def gain(p, d):
        t = frames[p]
        weight = np.float64(relations[t][p - first[t], d - first[t + 1]])
        return (s[p] + s[d] + naive_iou(boxes[p], boxes[d])) * float(np.exp(weight))

    def rescore(x):
        half = sorted(x, reverse=True)[: -(-len(x) // 2)]
        return [(y + sum(half) / len(half)) / 2 for y in x]

    return naive_paths(found, lambda d: 0.0, gain, rescore, overlap=0.1)


def naive_tubelet(found, top=5, threshold=0.5):
    frames, boxes = found.frames.tolist(), found.boxes.astype(float).tolist()
    s, labels = found.scores.astype(float).tolist(), found.labels.tolist()
    everything = range(len(s))
    taken, beside, positive = set(), set(), set()
    for anchor in sorted(everything, key=lambda d: (-s[d], d)):
        if anchor in taken or anchor in beside:
            continue
        members = [anchor]
        for way in (1, -1):
            at = anchor
            while True:
                options = [d for d in everything if d not in taken and labels[d] == labels[at]
                           and frames[d] == frames[at] + way
                           and naive_iou(boxes[d], boxes[at]) >= 0.5]
                if not options:
                    break
                at = min(options, key=lambda d: (-s[d], d))
                members.append(at)
        taken |= set(members)
        beside |= {d for d in everything for m in members if labels[d] == labels[m]
                   and frames[d] == frames[m] and naive_iou(boxes[d], boxes[m]) >= 0.3}
        best = sorted((s[m] for m in members), reverse=True)[:top]
        if best[-1] >= threshold:
            positive |= set(members)
    return chosen(found, list(everything), [(s[d] + (d in positive)) / 2 for d in everything])


def chosen(found, kept, scores):
    """The detections `kept` of a clip, with scores."""
    counts = np.bincount(found.frames[kept], minlength=len(found.counts)).astype(np.int32)
    return ClipDetections(counts, found.skipped, found.boxes[kept],
                          np.array([scores[d] for d in kept], np.float32), found.labels[kept])


def assert_same(got, wanted):
    for field in fields(ClipDetections):
        a, b = getattr(got, field.name), getattr(wanted, field.name)
        assert a.dtype == b.dtype and np.array_equal(a, b), field.name


def all_ways(found, seed=0):
    """The clip after each method."""
    relations = random_relations(found, seed)
    return {name: link(name, found, relations) for name in LINKS}


# the definition

@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_method_equals_its_definition(seed):
    found = random_clip(seed)
    got = all_ways(found, seed)
    assert_same(got["seqnms"], naive_seqnms(found))
    assert_same(got["blr"], naive_blr(found, random_relations(found, seed)))
    assert_same(got["tubelet"], naive_tubelet(found))
    assert_same(tubelet(found, top=2), naive_tubelet(found, top=2))
    assert_same(seqnms(found, "max"), naive_seqnms(found, "max"))


@pytest.mark.parametrize("seed", range(12))
def test_long_crowded_clips_equal_the_definition(seed):
    found = random_clip(seed + 1000, frames=30, boxes=14, classes=2 - seed % 2)
    got = all_ways(found, seed)
    assert_same(got["seqnms"], naive_seqnms(found))
    assert_same(got["blr"], naive_blr(found, random_relations(found, seed)))
    assert_same(got["tubelet"], naive_tubelet(found))
    assert_same(tubelet(found, top=2, threshold=.3), naive_tubelet(found, top=2, threshold=.3))


@pytest.mark.parametrize("seed", range(40))
def test_the_first_path_is_the_best_of_all(seed):
    found = random_clip(seed, frames=4, boxes=4, classes=1)
    boxes, s, frames = found.boxes.astype(float), found.scores.astype(float), found.frames
    sums = [0.0]
    for length in range(2, len(found.counts) + 1):
        for path in itertools.combinations(range(len(s)), length):
            steps = list(itertools.pairwise(path))
            if all(frames[a] + 1 == frames[b] and naive_iou(boxes[a], boxes[b]) >= 0.5
                   for a, b in steps):
                sums.append(sum(s[list(path)]))
    best = []
    naive_paths(found, lambda d: s[d], lambda p, d: s[d],
                lambda x: best.append(sum(x)) or x, overlap=0.5)
    assert max(best[:1], default=0.0) == pytest.approx(max(sums))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_comes_out_is_a_clip_of_the_same_detections(seed):
    found = random_clip(seed)
    before = [getattr(found, field.name).copy() for field in fields(ClipDetections)]
    for name, got in all_ways(found).items():
        assert len(got.counts) == len(found.counts) and got.counts.sum() == len(got.scores)
        assert [x.dtype.name for x in (got.counts, got.skipped, got.boxes, got.scores, got.labels)
                ] == ["int32", "bool", "float32", "float32", "int16"]
        assert ((got.scores >= 0) & (got.scores <= 1)).all(), name
        rows = [list(map(tuple, np.column_stack([x.frames, x.labels, x.boxes]))) for x in
                (got, found)]
        there = iter(rows[1])
        assert all(row in there for row in rows[0])  # in order
        assert not any(np.shares_memory(getattr(got, f.name), getattr(found, f.name))
                       for f in fields(ClipDetections))
    for old, field in zip(before, fields(ClipDetections), strict=True):
        assert np.array_equal(old, getattr(found, field.name))


@pytest.mark.parametrize("seed", range(5))
def test_classes_do_not_meet(seed):
    found = random_clip(seed + 50, frames=8, boxes=8, classes=3)
    relations = random_relations(found, seed)
    for name, whole in all_ways(found, seed).items():
        for label in range(1, 4):
            mine = found.labels == label
            own = ClipDetections(np.bincount(found.frames[mine], minlength=len(found.counts))
                                 .astype(np.int32), found.skipped, found.boxes[mine],
                                 found.scores[mine], found.labels[mine])
            parts = np.split(mine, np.cumsum(found.counts))
            cut = [r[np.ix_(a, b)] for r, (a, b) in
                   zip(relations, itertools.pairwise(parts[:-1]), strict=True)]
            alone, kept = link(name, own, cut), whole.labels == label
            assert np.array_equal(alone.scores, whole.scores[kept])
            assert np.array_equal(alone.boxes, whole.boxes[kept])


# Seq-NMS

def test_seqnms_averages_a_path_and_drops_what_overlaps_it():
    beside = (10, 10, 30, 22)  # IoU 0.6 with BOX: not a duplicate in one frame alone
    found = clip([(1, .9, BOX), (1, .6, FAR)], [(1, .2, beside), (1, .5, NEXT)])
    got = seqnms(found)
    assert got.counts.tolist() == [2, 1]
    assert got.scores == pytest.approx([.7, .6, .7])  # FAR is on no path: as it was
    assert got.boxes[2].tolist() == list(NEXT)
    assert seqnms(found, "max").scores == pytest.approx([.9, .6, .9])


def test_seqnms_rescues_a_weak_frame():
    found = clip([(1, .9, BOX)], [(1, .1, BOX)], [(1, .8, BOX)])
    assert seqnms(found).scores == pytest.approx([.6] * 3)


def test_a_long_path_beats_a_strong_short_one():
    found = clip([(1, .5, BOX)], [(1, .5, BOX)], [(1, .5, BOX), (1, .9, FAR)], [(1, .4, FAR)])
    assert seqnms(found).scores == pytest.approx([.5, .5, .5, .65, .65])


def test_suppression_is_a_parameter():
    found = clip([(1, .9, BOX), (1, .5, (10, 10, 30, 22))], [(1, .9, BOX)])
    assert seqnms(found).counts.tolist() == [1, 1]
    assert seqnms(found, suppress=0.7).counts.tolist() == [2, 1]


def test_equal_sums_go_to_the_later_end_and_the_earlier_predecessor():
    one, two = (10, 10, 30, 30), (14, 10, 34, 30)  # IoU 0.67: linked to each other
    found = clip([(1, .5, one), (1, .5, two)], [(1, .5, one), (1, .5, two)])
    got = seqnms(found)
    assert got.boxes.tolist() == [list(one), list(two)]


def test_a_score_of_zero_is_part_of_a_path():
    found = clip([(1, 0., BOX)], [(1, .6, BOX)], [(1, 0., BOX)])
    assert seqnms(found).scores == pytest.approx([.2] * 3)
    assert seqnms(clip([(1, 0., BOX)], [(1, 0., BOX)])).scores.tolist() == [0, 0]


def at(x):
    """A box at x. IoU with those 6, 8, 12 further on: 0.54, 0.43, 0.25."""
    return x, 0, x + 20, 20


def test_what_hung_on_a_path_is_worth_less_once_the_path_is_gone():
    tail, rival = [(1, .1, at(26))], [(1, .1, at(26)), (1, .25, at(34))]
    found = clip([(1, .9, at(20))], [(1, .9, at(14)), *tail], tail, rival, rival)
    got = seqnms(found)  # the tail alone is worth 0.4, its rival 0.5
    assert got.counts.tolist() == [1, 2, 1, 1, 1]
    assert got.boxes[-2:].tolist() == [list(at(34))] * 2
    assert_same(got, naive_seqnms(found))


def test_a_box_left_alone_suppresses_nothing():
    found = clip([(1, 0., at(20)), (1, .9, at(12))],
                 [(1, .9, at(12)), (1, .5, at(26)), (1, .2, at(34))])
    got = seqnms(found)  # at(26) had a link to at(20), which went
    assert got.counts.tolist() == [1, 3]
    assert_same(got, naive_seqnms(found))


def test_a_detection_belongs_to_one_tubelet():
    found = clip([(1, .9, at(20))], [(1, .6, at(23))], [(1, .8, at(29))])
    assert_same(tubelet(found, top=1), naive_tubelet(found, top=1))
    found = clip([(1, .9, at(20))], [(1, .1, at(26))], [(1, .8, at(32)), (1, .2, at(26))])
    got = tubelet(found, top=1)  # the best box of the last frame follows the first
    assert got.scores == pytest.approx([.95, .55, .9, .1])
    found = clip([(1, .9, at(20)), (1, .8, at(32))], [(1, .1, at(26))])
    assert tubelet(found, top=2).scores == pytest.approx([.45, .9, .05])  # taken by the first


@pytest.mark.parametrize("gap", [None, []])
def test_no_link_leads_across_a_frame_without_detections(gap):
    found = clip([(1, .9, BOX)], gap, [(1, .3, BOX)])
    for name, got in all_ways(found).items():
        assert got.skipped.tolist() == [False, gap is None, False], name
        assert got.counts.tolist() == [1, 0, 1]
    assert seqnms(found).scores == pytest.approx([.9, .3])


# box linking with relations

def test_lift_adds_the_mean_of_the_better_half_and_halves():
    assert lift([.2, .8, .4]) == pytest.approx([(.2 + .6) / 2, (.8 + .6) / 2, (.4 + .6) / 2])
    assert lift([1., 1.]) == [1, 1]


def test_relations_decide_between_equal_boxes():
    left, right = (10, 10, 30, 30), (14, 10, 34, 30)
    found = clip([(1, .8, (12, 10, 32, 30))], [(1, .5, left), (1, .5, right)])
    for weights, winner in [([[.9, .1]], left), ([[.1, .9]], right)]:
        got = blr(found, [np.array(weights, np.float32)])
        assert got.boxes[1].tolist() == list(winner)
        assert got.scores == pytest.approx([.8, .65])


def test_a_relation_outweighs_score_and_overlap_by_its_exponential():
    near, far = (10, 10, 30, 30), (20, 10, 40, 30)     # IoU 1 and 1/3 with the first
    found = clip([(1, .5, near)], [(1, .5, near), (1, .4, far)])
    equal = np.log((.5 + .5 + 1) / (.5 + .4 + 1 / 3))  # the weight of far that balances 0 of near
    for weight, winner in [(equal - .01, near), (equal + .01, far)]:
        got = blr(found, [np.array([[0, weight]], np.float32)])
        assert got.boxes[1].tolist() == list(winner)


def test_without_any_overlap_no_relation_links():
    found = clip([(1, .9, BOX)], [(1, .2, FAR)])
    assert_same(blr(found, [np.ones((1, 1), np.float32)]), found)


# tubelets

def test_a_steady_tubelet_is_lifted_and_a_flash_is_not():
    steady = [[(1, .8, BOX)], [(1, .2, NEXT)], [(1, .7, BOX)]]
    flash = [(1, .75, FAR)]
    got = tubelet(clip(*steady[:2], steady[2] + flash), top=2)
    assert got.scores == pytest.approx([.9, .6, .85, .875])
    got = tubelet(clip(*steady, [(1, .6, FAR)], [(1, .1, FAR)]), top=2)
    assert got.scores == pytest.approx([.9, .6, .85, .3, .05])  # second best below 0.5: halved


def test_a_duplicate_beside_a_tubelet_starts_none():
    found = clip([(1, .9, BOX), (1, .6, (10, 10, 30, 22)), (1, .6, FAR)])
    assert tubelet(found).scores == pytest.approx([.95, .3, .8])


def test_a_tubelet_goes_both_ways_to_the_best_detection():
    found = clip([(1, .6, NEXT), (1, .7, BOX)], [(1, .9, BOX)], [(1, .55, BOX), (1, .5, NEXT)])
    got = tubelet(found, top=3)
    assert got.scores == pytest.approx([.3, .85, .95, .775, .25])


# overlap

def test_pairs_are_those_of_the_whole_matrix():
    g = np.random.default_rng(0)
    low = g.uniform(0, 40, (50, 2))
    boxes, bounds = np.concatenate([low, low + g.uniform(5, 40, (50, 2))], 1), [0, 20, 20, 45, 50]
    frame = np.repeat(range(4), np.diff(bounds))
    for step in (0, 1):
        pairs = overlapping(boxes, np.array(bounds), step, 0.3)
        all_ious = iou_matrix(boxes, boxes)
        wanted = np.nonzero((all_ious >= 0.3) & (frame[:, None] + step == frame))
        assert np.array_equal([pairs.left, pairs.right], wanted)
        assert np.array_equal(pairs.iou, all_ious[wanted]) and pairs.size == 50


def test_iou_of_boxes_without_area_is_zero():
    flat = np.array([[5, 5, 5, 9], [5, 5, 5, 9], [0, 0, 10, 10]], float)
    assert iou_matrix(flat, flat).tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]


# empty, short, damaged

@pytest.mark.parametrize("found", [clip(), clip([]), clip(None), clip(None, [], None)])
def test_clips_without_detections(found):
    for got in all_ways(found).values():
        assert_same(got, found)


def test_a_clip_of_one_frame_has_no_links():
    found = clip([(1, .9, BOX), (1, .8, BOX), (2, .3, FAR)])
    assert_same(link("seqnms", found), found)
    assert_same(link("blr", found, []), found)
    assert link("tubelet", found).scores == pytest.approx([.95, .4, .15])


def test_unknown_names_are_named():
    with pytest.raises(MSTError, match="'soft'; choose seqnms or blr or tubelet"):
        link("soft", clip([]))
    with pytest.raises(MSTError, match="'mean'; choose average or max"):
        seqnms(clip([]), "mean")


@pytest.mark.parametrize("relations, message", [
    (None, "blr links by relations"),
    ([], "relations for 0 pairs of frames, 2 wanted"),
    ([np.ones((1, 2)), np.ones((2, 1))],
     r"frames 1 and 2 must be \(2, 0\), detections by detections, got \(2, 1\)"),
    ([np.full((1, 2), np.nan), np.ones((2, 0))], "frames 0 and 1 must be finite and >= 0"),
    ([np.full((1, 2), -.5), np.ones((2, 0))], r"must be finite and >= 0, got -0.5..-0.5"),
])
def test_relations_must_fit(relations, message):
    found = clip([(1, .9, BOX)], [(1, .8, BOX), (1, .2, FAR)], None)
    with pytest.raises(MSTError, match=message):
        link("blr", found, relations)


@pytest.mark.parametrize("score", [-.1, 1.5, np.nan])
def test_scores_must_be_probabilities(score):
    with pytest.raises(MSTError, match=r"frame 1: linking needs scores in 0\.\.1, got"):
        link("seqnms", clip([(1, .9, BOX)], [(1, score, BOX)]))
