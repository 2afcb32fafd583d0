"""Evaluation against independent code: the definition in loops, and pycocotools run directly."""

import itertools
import json

import numpy as np
import pytest
import torch
from evaluation_cases import BOX, FAR, found, naive_map, random_split, target, with_regions
from hypothesis import given, settings
from hypothesis import strategies as st

from mstlib.data.clip import Detections
from mstlib.evaluation.bootstrap import bootstrap_maps, bootstrap_slices, resample_weights
from mstlib.evaluation.evaluate import coco_metrics, deteriorated_frames, evaluate, metrics
from mstlib.evaluation.matching import columns, match
from mstlib.evaluation.precision import average_precisions

MATCHED = ("vid", "vid-devkit", "uavdt")


@pytest.mark.parametrize("protocol", MATCHED)
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_definition(seed, protocol):
    predictions, targets = random_split(seed)
    targets = with_regions(targets, seed) if seed % 2 else targets
    expected = naive_map(predictions, targets, 3, protocol)
    assert evaluate(predictions, targets, "abc", protocol).mAP == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("protocol", MATCHED)
@pytest.mark.parametrize("seed", range(4))
def test_slices_of_objects_equal_the_definition(seed, protocol):
    predictions, targets = random_split(seed, clips=8)
    targets = with_regions(targets, seed)
    slices = metrics(predictions, targets, "abc", protocol)["slices"]
    for name, low, high in [("small objects", 0, 1024), ("medium objects", 1024, 9216)]:
        expected = naive_map(predictions, targets, 3, protocol, lambda box, low=low, high=high:
                             low <= (box[2] - box[0]) * (box[3] - box[1]) < high)
        assert slices[name] == pytest.approx(expected, abs=1e-4)
    assert slices["large objects"] is None  # none of 96 x 96


@pytest.mark.parametrize("protocol", MATCHED)
def test_chunks_of_detections_do_not_matter(protocol, monkeypatch):
    predictions, targets = random_split(3, clips=8, frames=9)
    targets = with_regions(targets, 3)
    whole = metrics(predictions, targets, "abc", protocol)
    monkeypatch.setattr("mstlib.evaluation.matching.CHUNK", 3)
    assert metrics(predictions, targets, "abc", protocol) == whole


def test_a_detection_remembers_its_object():
    truth = [[target((1, BOX)), target((2, FAR), (1, BOX))]]
    seen = [[found((1, .9, BOX)), found((1, .8, BOX), (1, .7, BOX), (1, .6, FAR), (2, .5, FAR))]]
    for protocol in ("vid", "vid-devkit"):
        table = match(seen, truth, "ab", protocol)
        assert table.label.tolist() == [1, 1, 1, 1, 2]      # class by class, by falling score
        assert table.tp.tolist() == [True, True, False, False, True]
        assert table.object.tolist() == [0, 2, 2, -1, 1]    # the duplicate stands for it too
        assert table.frame.tolist() == [0, 1, 1, 1, 1]
        assert table.truth.frames.tolist() == [0, 1, 1]


@pytest.mark.parametrize("seed", range(3))
def test_bootstrap_equals_evaluating_resampled_videos(seed):
    predictions, targets = random_split(seed)
    table = match(predictions, targets, "abc")
    maps = bootstrap_maps(table, resamples=20, seed=7)
    for weights, got in zip(resample_weights(len(targets), 20, 7), maps, strict=True):
        drawn = np.repeat(np.arange(len(targets)), weights)
        expected = naive_map([predictions[c] for c in drawn], [targets[c] for c in drawn], 3)
        assert got == pytest.approx(expected, abs=1e-9)


def test_chunks_of_resamples_do_not_matter(monkeypatch):
    predictions, targets = random_split(1, clips=6)
    table = match(predictions, targets, "abc")
    whole = bootstrap_maps(table, 30)
    monkeypatch.setattr("mstlib.evaluation.precision.CHUNK", 1)
    assert bootstrap_maps(table, 30) == pytest.approx(whole, abs=1e-9)


def test_bootstrap_of_deteriorated_frames_equals_evaluating_them():
    predictions, targets = random_split(8, clips=6)
    table = match(predictions, targets, "abc")
    stored = bootstrap_slices(table, resamples=15, seed=3)
    frames = deteriorated_frames(targets)
    starts = np.cumsum([0, *map(len, targets)])
    parts = [[[f for f, kept in zip(clip, frames[s:], strict=False) if kept]
              for clip, s in zip(side, starts, strict=False)] for side in (predictions, targets)]
    for weights, got in zip(resample_weights(6, 15, 3), stored["deteriorated"], strict=True):
        drawn = np.repeat(np.arange(6), weights)
        expected = naive_map(*([side[c] for c in drawn] for side in parts), 3)
        assert (got is None and np.isnan(expected)) or got == pytest.approx(expected, abs=0.006)


def test_bootstrap_is_paired_and_repeatable():
    predictions, targets = random_split(0)
    others, _ = random_split(0)
    one = bootstrap_maps(match(predictions, targets, "abc"), 50)
    assert np.array_equal(one, bootstrap_maps(match(others, targets, "abc"), 50))
    assert not np.array_equal(one, bootstrap_maps(match(predictions, targets, "abc"), 50, seed=1))
    draws = resample_weights(6, 40, 0)
    assert (draws.sum(axis=1) == 6).all() and len({tuple(d) for d in draws.tolist()}) > 30
    assert np.array_equal(draws[:10], resample_weights(6, 10, 0))  # more resamples only add


def test_bootstrap_of_a_slice_without_objects():
    predictions, targets = [[found((1, .9, BOX))]] * 2, [[target((1, BOX))]] * 2
    stored = bootstrap_slices(match(predictions, targets, ["thing"]), resamples=3)
    assert stored == {"all": [100.0] * 3, "clean": [100.0] * 3, "deteriorated": [None] * 3}


def coco_reference(predictions, targets, folder, images=None):
    """COCOeval.stats the way its users run it: two JSON files, loadRes, evaluate."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = {"images": [], "categories": [{"id": k} for k in (1, 2, 3)], "annotations": []}
    seen = []
    for image, (d, t) in enumerate(p for c in zip(predictions, targets, strict=True)
                                   for p in zip(*c, strict=True)):
        truth["images"].append({"id": image})
        for (x1, y1, x2, y2), k in zip(t.boxes.tolist(), t.labels.tolist(), strict=True):
            truth["annotations"].append({
                "id": len(truth["annotations"]) + 1, "image_id": image, "category_id": k,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0})
        for (x1, y1, x2, y2), k in itertools.product(t.ignored.tolist(), (1, 2, 3)):
            truth["annotations"].append({
                "id": len(truth["annotations"]) + 1, "image_id": image, "category_id": k,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 1})
        for (x1, y1, x2, y2), s, k in zip(*(x.tolist() for x in (d.boxes, d.scores, d.labels)),
                                          strict=True):
            seen.append({"image_id": image, "category_id": k, "score": s,
                         "bbox": [x1, y1, x2 - x1, y2 - y1]})
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "seen.json").write_text(json.dumps(seen))
    api = COCO(str(folder / "truth.json"))
    run = COCOeval(api, api.loadRes(str(folder / "seen.json")), "bbox")
    if images is not None:
        run.params.imgIds = images
    run.evaluate(), run.accumulate(), run.summarize()
    return run


def test_coco_equals_a_direct_run(tmp_path, capsys):
    predictions, targets = random_split(3, clips=8)
    expected = coco_reference(predictions, targets, tmp_path).stats
    capsys.readouterr()
    result = evaluate(predictions, targets, "abc", "coco")
    assert capsys.readouterr().out == ""
    numbers = [result.extra[name] for name in ("AP", "AP50", "AP75", "AP_small", "AP_medium")]
    assert numbers == pytest.approx((100 * expected[:5]).tolist())
    assert expected[5] == -1 and np.isnan(result.extra["AP_large"])  # no object of 96 x 96 pixels
    assert result.mAP == result.extra["AP"] > 0
    assert np.mean(list(result.per_class.values())) == pytest.approx(result.extra["AP50"])


@pytest.mark.parametrize("seed", range(3))
def test_coco_in_small_chunks_and_two_processes_with_crowds(seed, tmp_path, capsys, monkeypatch):
    predictions, targets = random_split(seed, clips=12, frames=6)
    targets = with_regions(targets, seed)
    if seed == 2:  # more than it takes of a frame and class, with equal scores
        d = predictions[0][0]
        parts = (torch.cat([x] * 60) for x in (d.boxes, d.scores, d.labels))
        predictions[0][0] = Detections(*parts)
    expected = coco_reference(predictions, targets, tmp_path).stats
    monkeypatch.setattr("mstlib.evaluation.coco_protocol.CHUNK", 3)
    found, truths = columns(predictions, targets, 3)
    got = coco_metrics(found, truths, "abc", jobs=2)["extra"]
    capsys.readouterr()
    assert [got[n] for n in ("AP", "AP50", "AP75", "AP_small", "AP_medium")] == pytest.approx(
        (100 * expected[:5]).tolist(), abs=5.1e-5)  # it is rounded to four decimals


def test_coco_where_most_frames_have_nothing_to_match(tmp_path, capsys):
    """Detections there are of all three sizes, of which each range of areas ignores the others, and
    have the scores of right ones."""
    predictions, targets = random_split(5, clips=6, frames=6)
    empty = targets[0][0].__class__.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))
    targets = [[t if k % 3 == 0 else empty for k, t in enumerate(clip)] for clip in targets]
    for clip in predictions:
        for k, d in enumerate(clip):
            scale = torch.tensor([1.0, 1.0, 1.0 + 4 * (k % 4), 1.0 + 4 * (k % 4)])
            clip[k] = Detections(d.boxes * scale, d.scores.mul(20).round() / 20, d.labels)
    expected = coco_reference(predictions, targets, tmp_path).stats
    result = evaluate(predictions, targets, "abc", "coco")
    capsys.readouterr()
    got = [result.extra[name] for name in ("AP", "AP50", "AP75", "AP_small", "AP_medium")]
    assert got == pytest.approx((100 * expected[:5]).tolist()) and min(expected[:2]) > 0


def test_coco_on_a_slice_of_frames(tmp_path):
    predictions, targets = random_split(4, clips=8)
    mask = np.arange(sum(map(len, targets))) % 2 == 0
    expected = coco_reference(predictions, targets, tmp_path, np.flatnonzero(mask).tolist()).stats
    result = evaluate(predictions, targets, "abc", "coco", mask)
    assert result.mAP == pytest.approx(100 * expected[0])


def test_coco_without_detections():
    assert evaluate([[found()]], [[target((1, (0, 0, 20, 20)))]], ["thing"], "coco").mAP == 0


# Properties --------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), protocol=st.sampled_from(MATCHED))
def test_average_precision_is_a_share(seed, protocol):
    predictions, targets = random_split(seed, clips=3)
    aps = average_precisions(match(predictions, targets, "abc", protocol))
    known = aps[~np.isnan(aps)]
    assert ((known >= 0) & (known <= 1 + 1e-12)).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), label=st.integers(1, 3), score=st.floats(-1, 2))
def test_a_false_alarm_never_helps(seed, label, score):
    predictions, targets = random_split(seed, clips=3)
    before = evaluate(predictions, targets, "abc")
    frame = predictions[0][0]
    alarm = found((label, score, (900, 900, 910, 910)))
    worse = Detections(*(torch.cat(pair) for pair in (
        (frame.boxes, alarm.boxes), (frame.scores, alarm.scores), (frame.labels, alarm.labels))))
    after = evaluate([[worse, *predictions[0][1:]], *predictions[1:]], targets, "abc")
    for name, value in before.per_class.items():
        assert np.isnan(value) or after.per_class[name] <= value + 1e-9


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), coarse=st.booleans())
def test_order_of_frames_and_clips_does_not_matter(seed, coarse):
    predictions, targets = random_split(seed, clips=4)
    if coarse:  # many equal scores
        predictions = [[Detections(d.boxes, (d.scores * 3).round() / 3, d.labels) for d in clip]
                       for clip in predictions]
    g = np.random.default_rng(seed)
    order = g.permutation(4)
    within = [g.permutation(len(targets[c])) for c in order]
    shuffled = [[[side[c][t] for t in ts] for c, ts in zip(order, within, strict=True)]
                for side in (predictions, targets)]
    assert evaluate(*shuffled, "abc").mAP == pytest.approx(
        evaluate(predictions, targets, "abc").mAP, abs=1e-9, nan_ok=True)
