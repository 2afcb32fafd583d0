"""Slices of objects: motion worked out by hand and against a loop, sizes at their limits."""

import numpy as np
import pytest
from evaluation_cases import naive_iou, target

from mstlib.evaluation.motion import annotate, frame_slices, join, motion_ious, object_slices


def columns_of(*clips):
    """Ground truth of clips as columns, and the clip of each frame."""
    lengths = [len(clip) for clip in clips]
    return (join([annotate(clip, "target", 9) for clip in clips], lengths),
            np.repeat(np.arange(len(clips)), lengths))


def moving(x, **more):
    """A frame with one 10 x 10 object at x."""
    return target((1, (x, 0, x + 9, 9)), **{"ids": [5], **more})


def test_motion_worked_by_hand():
    # One pixel a frame: 10 x 10 boxes d pixels apart overlap by (10 - d) / (10 + d).
    near, far = 9 / 11, 8 / 12
    truth, clip_of = columns_of([moving(0), moving(1), moving(2)])
    assert motion_ious(truth, clip_of) == pytest.approx([(near + far) / 2, near, (near + far) / 2])


def test_only_frames_within_ten_count():
    nothing = target()
    for gap, known in [(9, True), (10, False)]:
        truth, clip_of = columns_of([moving(0), *[nothing] * gap, moving(5)])
        assert np.isnan(motion_ious(truth, clip_of)).tolist() == [not known] * 2
    # Resting for 10 frames, then a jump: the first frame still sees 10 equal ones.
    truth, clip_of = columns_of([moving(0)] * 11 + [moving(100)])
    assert motion_ious(truth, clip_of)[0] == 1
    assert motion_ious(truth, clip_of)[1] == pytest.approx(10 / 11)


def test_an_instance_is_one_of_its_clip():
    truth, clip_of = columns_of([moving(0)], [moving(0)])
    assert np.isnan(motion_ious(truth, clip_of)).all()
    assert not any(mask.any() for name, mask in object_slices(truth, clip_of).items()
                   if "motion" in name)


def test_unknown_ids_have_no_motion():
    truth, clip_of = columns_of([moving(0, ids=[-1]), moving(0, ids=[-1])])
    assert list(object_slices(truth, clip_of)) == [
        "small objects", "medium objects", "large objects"]
    truth, clip_of = columns_of([moving(0, ids=[-1]), moving(0, ids=[-1])], [moving(0)] * 2)
    slices = object_slices(truth, clip_of)
    assert slices["slow motion"].tolist() == [False, False, True, True]
    assert not slices["fast motion"].any()


@pytest.mark.parametrize(("rows", "motion"), [
    (9.1, "slow motion"), (9, "medium motion"), (7, "medium motion"), (6.9, "fast motion")])
def test_limits_of_motion(rows, motion):
    # Of a 10 x 10 box `rows` rows are left in the next frame: IoU rows / 10.
    truth, clip_of = columns_of([moving(0), target((1, (0, 0, 9, rows - 1)), ids=[5])])
    slices = object_slices(truth, clip_of)
    assert [name for name, mask in slices.items() if "motion" in name and mask.all()] == [motion]


@pytest.mark.parametrize("seed", range(3))
def test_motion_equals_a_loop(seed):
    g = np.random.default_rng(seed)
    clips = []
    for _ in range(3):
        clip = []
        for _ in range(int(g.integers(3, 30))):
            ids = g.permutation(4)[: g.integers(5)]
            low = g.uniform(0, 20, (len(ids), 2))
            boxes = np.concatenate([low, low + g.uniform(5, 40, (len(ids), 2))], axis=1)
            clip.append(target(*((1, box) for box in boxes.tolist()), ids=ids.tolist()))
        clips.append(clip)
    expected = []
    for clip in clips:
        for t, frame in enumerate(clip):
            for box, number in zip(frame.boxes.tolist(), frame.ids.tolist(), strict=True):
                ious = [naive_iou(box, other) for s in range(max(0, t - 10), t + 11)
                        if s != t and s < len(clip)
                        for other, n in zip(clip[s].boxes.tolist(), clip[s].ids.tolist(),
                                            strict=True) if n == number]
                expected.append(np.mean(ious) if ious else np.nan)
    assert motion_ious(*columns_of(*clips)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(("side", "size"), [
    (31.9, "small"), (32, "medium"), (96, "medium"), (96.1, "large")])
def test_limits_of_size(side, size):
    slices = object_slices(*columns_of([target((1, (10, 20, 10 + side, 20 + side)))]))
    assert [name for name, mask in slices.items() if "objects" in name and mask.all()] == [
        f"{size} objects"]


def test_frames_by_deterioration():
    flags = [[[False] * 4, [True, False, False, True]], [[False] * 4]]
    box = (0, 0, 9, 9)
    truth, _ = columns_of([target((1, box), (1, box), flags=flags[0])],
                          [target(), target((1, box), flags=flags[1])])
    slices = {name: mask.tolist() for name, mask in frame_slices(truth, 3).items()}
    assert slices == {"all": [True] * 3, "clean": [False, True, True],
                      "deteriorated": [True, False, False], "motion blur": [True, False, False],
                      "defocus": [False] * 3, "occlusion": [False] * 3,
                      "rare pose": [True, False, False]}
