"""Evaluation against precision-recall curves worked out by hand; slices; damaged input."""

import json

import numpy as np
import pytest
import torch
from evaluation_cases import BOX, FAR, found, random_split, target

from mstlib.config import MSTError
from mstlib.data.clip import Detections, Target
from mstlib.evaluation.evaluate import deteriorated_frames, evaluate, metrics, slice_masks
from mstlib.evaluation.measures import proposal_recall


def ap(detections, targets, protocol="vid"):
    """mAP of one clip with one class."""
    return evaluate([detections], [targets], ["thing"], protocol).mAP


# Worked by hand ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["vid", "vid-devkit"])
def test_curve_worked_by_hand(protocol):
    # Three objects. By falling score:        right?  precision  recall
    #   .9  on A                               yes     1/1        1/3
    #   .8  on A again, a duplicate            no      1/2        1/3
    #   .7  far from B                         no      1/3        1/3
    #   .6  on B                               yes     2/4        2/3
    # Envelope: 1 up to recall 1/3, 1/2 up to 2/3, 0 beyond. Area: 1/3 + 1/6 = 1/2.
    targets = [target((1, BOX), (1, FAR)), target((1, BOX))]
    detections = [found((1, .8, BOX), (1, .9, BOX)), found((1, .6, BOX), (1, .7, FAR))]
    assert ap(detections, targets, protocol) == pytest.approx(50)


def test_envelope_lifts_a_dip():
    # Four objects: yes, no, yes, yes -> precision 1, 1/2, 2/3, 3/4 at recall 1/4, 1/4, 2/4, 3/4.
    # The dip 2/3 is lifted to 3/4. Area: (1 + 3/4 + 3/4) / 4 = 0.625.
    targets = [target((1, BOX)) for _ in range(4)]
    detections = [found((1, .9, BOX)), found((1, .8, FAR), (1, .7, BOX)), found((1, .6, BOX))]
    assert ap([*detections, found()], targets) == pytest.approx(62.5)


def test_last_pixel_counts():
    # Upper half of the box: inclusive 10 x 5 / 100 = 0.5 is enough; without +1 it were 36 / 81.
    assert ap([found((1, .9, (0, 0, 9, 4)))], [target((1, BOX))]) == 100
    assert ap([found((1, .9, (0, 0, 9, 3.9)))], [target((1, BOX))]) == 0


def test_devkit_tolerates_ten_pixels_on_small_objects():
    # 10 x 10 object: threshold 100 / (20 * 20) = 0.25. Three rows overlap by 0.3, two by 0.2.
    for rows, vid, devkit in [(3, 0, 100), (2, 0, 0), (5, 100, 100)]:
        seen, truth = [found((1, .9, (0, 0, 9, rows - 1)))], [target((1, BOX))]
        assert (ap(seen, truth, "vid"), ap(seen, truth, "vid-devkit")) == (vid, devkit)
    # 100 x 100 object: 10000 / 110^2 = 0.83, so the usual 0.5 remains.
    wide = [target((1, (0, 0, 99, 99)))]
    assert ap([found((1, .9, (0, 0, 99, 48)))], wide, "vid-devkit") == 0
    assert ap([found((1, .9, (0, 0, 99, 49)))], wide, "vid-devkit") == 100


def test_devkit_takes_the_best_object_still_free():
    # Objects A 100 x 100 and B 100 x 80 nested. .9 is A exactly. .8 is 100 x 99: IoU 0.99 with A,
    # 0.81 with B. vid: A is its best and taken, wrong: recall stops at 1/2. devkit: it takes B.
    truth = [target((1, (0, 0, 99, 99)), (1, (0, 0, 99, 79)))]
    seen = [found((1, .9, (0, 0, 99, 99)), (1, .8, (0, 0, 99, 98)))]
    assert ap(seen, truth, "vid") == pytest.approx(50)
    assert ap(seen, truth, "vid-devkit") == pytest.approx(100)


def test_class_without_ground_truth_is_left_out_of_the_mean():
    result = evaluate([[found((1, .9, BOX), (2, .95, BOX))]], [[target((1, BOX), (3, FAR))]],
                      ["cat", "dog", "car"])
    assert result.per_class["cat"] == 100
    assert np.isnan(result.per_class["dog"])  # detected, but there is none
    assert result.per_class["car"] == 0
    assert result.mAP == 50


def test_box_of_another_class_is_wrong():
    result = evaluate([[found((2, .9, BOX))]], [[target((1, BOX), (2, FAR))]], ["cat", "dog"])
    assert result.mAP == 0


@pytest.mark.parametrize("wrong_first", [True, False])
def test_equal_scores_count_the_wrong_one_first(wrong_first):
    # One object, one right and one wrong detection of the same score: precision 1/2 at recall 1.
    frames = [(found((1, .5, FAR)), target()), (found((1, .5, BOX)), target((1, BOX)))]
    frames = frames if wrong_first else frames[::-1]
    assert ap([d for d, _ in frames], [t for _, t in frames]) == pytest.approx(50)


def test_nothing_detected_and_nothing_there():
    assert ap([found()], [target((1, BOX))]) == 0
    assert np.isnan(ap([found((1, .9, BOX))], [target()]))
    # A frame without objects still counts its false alarm: precision 1/2 at recall 1.
    assert ap([found((1, .9, BOX)), found((1, .8, BOX))], [target(), target((1, BOX))]) == 50


# Slices ------------------------------------------------------------------------------------------


def sliced_clip():
    """One clean frame found, one blurred and one with a rare pose and an occlusion missed."""
    flags = [[[False] * 4], [[True, False, False, False]], [[False, False, True, True]]]
    return ([found((1, .9, BOX)), found(), found((1, .8, FAR))],
            [target((1, BOX), flags=f) for f in flags])


def test_slices():
    detections, targets = sliced_clip()
    assert deteriorated_frames([targets]).tolist() == [False, True, True]
    masks = slice_masks([targets])
    assert masks["rare pose"].tolist() == masks["occlusion"].tolist() == [False, False, True]
    stored = metrics([detections], [targets], ["thing"])
    assert stored["slices"] == {
        "all": pytest.approx(33.3333), "clean": 100, "deteriorated": 0, "motion blur": 0,
        "defocus": None, "occlusion": 0, "rare pose": 0, "slow motion": pytest.approx(33.3333),
        "medium motion": None, "fast motion": None, "small objects": pytest.approx(33.3333),
        "medium objects": None, "large objects": None}
    assert stored["objects"]["classes"] == {"thing": 3}
    assert stored["objects"]["slices"]["deteriorated"] == 2
    assert stored["per_class"] == {"thing": stored["mAP"]}
    json.dumps(stored, allow_nan=False)


SMALL, LARGE = (0, 0, 9, 9), (100, 100, 299, 299)
SLICED = {  # detections beside one on LARGE at .9 and one on SMALL at .6 -> AP of small, of large
    "nothing else": ([], 100, 100),
    "a duplicate of the large object": ([(1, .8, LARGE)], 100, 100),  # large: wrong, but after .9
    "a better duplicate": ([(1, .95, (100, 100, 299, 298))], 100, 100),
    "a false alarm counts in both": ([(1, .95, FAR)], 50, 50),
    "a false alarm between the two": ([(1, .7, FAR)], 50, 100),
    "a duplicate of the small object": ([(1, .5, SMALL)], 100, 100),
}


@pytest.mark.parametrize("protocol", ["vid", "vid-devkit", "uavdt"])
@pytest.mark.parametrize("name", SLICED)
def test_objects_outside_of_a_slice_are_neither_right_nor_wrong(name, protocol):
    more, small, large = SLICED[name]
    seen = [found((1, .9, LARGE), (1, .6, SMALL), *more)]
    slices = metrics([seen], [[target((1, SMALL), (1, LARGE))]], ["thing"], protocol)["slices"]
    assert (slices["small objects"], slices["large objects"]) == (small, large)


def test_uavdt_is_one_class_at_seven_tenths():
    # Seven of ten rows: 70 / 100. The class of a vehicle does not matter.
    for rows, expected in [(7, 100), (6, 0)]:
        result = evaluate([[found((2, .9, (0, 0, 9, rows - 1)))]], [[target((1, BOX))]],
                          ["car", "truck"], "uavdt")
        assert result.per_class == {"vehicle": expected} and result.mAP == expected


REGION = (50, 50, 59, 54)  # the upper half of FAR
IGNORING = {  # a detection at .9 beside the right one at .8 -> AP
    "half of it in the region": ((1, FAR), 100),
    "less than half of it": ((1, (50, 50, 59, 60)), 50),
    "all of it, of another class": ((2, (50, 50, 52, 52)), 100),
    "elsewhere": ((1, (80, 80, 89, 89)), 50),
}


@pytest.mark.parametrize("protocol", ["vid", "vid-devkit", "uavdt", "coco"])
@pytest.mark.parametrize("name", IGNORING)
def test_what_lies_in_an_ignored_region_does_not_count(name, protocol):
    (label, box), expected = IGNORING[name]
    where = (50, 50, 60, 55) if protocol == "coco" else REGION  # continuous: no last pixel there
    box = tuple(b + (protocol == "coco") * (k > 1) for k, b in enumerate(box))
    truth = target((1, (0, 0, 20, 20)), (2, (20, 20, 50, 50)), ignored=[where])
    seen = found((label, .9, box), (1, .8, (0, 0, 20, 20)), (2, .8, (20, 20, 50, 50)))
    result = evaluate([[seen]], [[truth]], ["car", "truck"], protocol)
    got = result.extra["AP50"] if protocol == "coco" else result.mAP
    if protocol == "uavdt" and expected == 50:
        expected = 100 * 2 / 3  # one class: two objects right after one wrong
    elif expected == 50:
        expected = 75           # the other class is perfect
    assert got == pytest.approx(expected, abs=0.5 if protocol == "coco" else 1e-9)


@pytest.mark.parametrize("protocol", ["vid", "vid-devkit", "uavdt"])
def test_an_object_in_an_ignored_region_counts(protocol):
    truth = target((1, FAR), (1, BOX), ignored=[FAR])
    # Right at .9, its duplicate at .8 wrong although in the region; right at .7: 1/2 + 1/2 * 2/3.
    seen = found((1, .9, FAR), (1, .8, FAR), (1, .7, BOX))
    assert evaluate([[seen]], [[truth]], ["car"], protocol).mAP == pytest.approx(100 * 5 / 6)


def test_a_region_is_of_its_frame():
    truth = [target((1, BOX)), target(ignored=[FAR])]
    assert ap([found((1, .9, FAR), (1, .8, BOX)), found()], truth) == 50
    assert ap([found((1, .8, BOX)), found((1, .9, FAR))], truth) == 100


@pytest.mark.parametrize("protocol", ["vid", "vid-devkit", "coco"])
def test_a_slice_is_the_evaluation_of_its_frames_alone(protocol):
    predictions, targets = random_split(5, clips=6)
    mask = np.arange(sum(map(len, targets))) % 3 > 0
    start = np.cumsum([0, *map(len, targets)])
    parts = [[[f for f, m in zip(clip, mask[s:], strict=False) if m]
              for clip, s in zip(side, start, strict=False)] for side in (predictions, targets)]
    parts = [[clip for clip in side if clip] for side in parts]
    alone = evaluate(*parts, "abc", protocol).mAP
    assert evaluate(predictions, targets, "abc", protocol, mask).mAP == pytest.approx(alone)


def test_proposal_recall():
    # Continuous coordinates: (0,0,10,10) and (0,0,10,5) overlap by exactly 0.5.
    targets = [target((1, (0, 0, 10, 10)), (2, (30, 30, 40, 40))), target(), target((1, BOX))]
    proposals = [torch.tensor([[0.0, 0, 10, 5]]), torch.zeros(2, 4), torch.zeros(0, 4)]
    assert proposal_recall([proposals], [targets]) == pytest.approx(1 / 3)
    assert proposal_recall([proposals], [targets], iou=0.51) == 0
    assert proposal_recall([proposals], [targets], frames=np.array([True, True, False])) == 0.5
    assert np.isnan(proposal_recall([proposals], [targets], frames=np.array([False, True, False])))


# Damaged input -----------------------------------------------------------------------------------

GOOD = found((1, .9, BOX))
NAN = float("nan")
DAMAGED = {
    "NaN box": (found((1, .9, (0, 0, NAN, 9))), "nan.*not finite"),
    "NaN score": (found((1, NAN, BOX)), "1 NaN"),
    "five columns": (Detections(torch.zeros(12, 5), GOOD.scores, GOOD.labels), r"\(12, 5\)"),
    "scores too long": (Detections(GOOD.boxes, torch.zeros(2), GOOD.labels), r"\(2,\)"),
    "labels too long": (Detections(GOOD.boxes, GOOD.scores, torch.ones(3).long()), r"\(3,\)"),
    "float labels": (Detections(GOOD.boxes, GOOD.scores, torch.ones(1)), "integers"),
    "background": (found((0, .9, BOX)), "1..1"),
    "label too large": (found((2, .9, BOX)), "got 2..2"),
    "reversed box": (found((1, .9, (9, 0, 0, 9))), "x2 < x1"),
}


@pytest.mark.parametrize("protocol", ["vid", "coco"])
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_detections_are_named(name, protocol):
    detections, message = DAMAGED[name]
    good = [found((1, .9, BOX)), found()]
    with pytest.raises(MSTError, match=f"prediction, clip 1, frame 1: .*{message}"):
        evaluate([good, [found(), detections]], [[target(), target()]] * 2, ["thing"], protocol)


def test_damaged_targets_lengths_masks_and_names():
    one, two = [found()], [target((1, BOX))]
    cases = [
        (([one], [[target((7, BOX))]]), "target, clip 0, frame 0: labels"),
        (([one], [two, two]), "1 clips, targets for 2"),
        (([one, one + one], [two, two]), "clip 1: predictions for 2 frames, targets for 1"),
        (([], []), "no clips"),
        (([[]], [[]]), "at least one frame"),
        (([one], [two], ["a"], "voc"), "unknown protocol 'voc'"),
        (([one], [two], ["a"], "vid", np.ones(2, bool)), r"must be \(1,\) bool"),
        (([one], [two], ["a"], "vid", np.ones(1)), "float64"),
    ]
    for arguments, message in cases:
        arguments = arguments if len(arguments) > 2 else (*arguments, ["a"])
        with pytest.raises(MSTError, match=message):
            evaluate(*arguments)
    with pytest.raises(MSTError, match=r"proposals must be \(n, 4\)"):
        proposal_recall([[torch.zeros(3, 5)]], [two])
    flagless = Target(two[0].boxes, two[0].labels, two[0].ids, torch.zeros(1, 3), two[0].centres)
    with pytest.raises(MSTError, match=r"clip 0, frame 0: flags must be \(1, 4\)"):
        slice_masks([[flagless]])
    with pytest.raises(MSTError, match="clip 0, frame 0: box .*nan.* not finite"):
        evaluate([one], [[target((1, BOX), ignored=[(0, 0, NAN, 5)])]], ["a"])
