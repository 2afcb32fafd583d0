"""Failures by kind and by cost: against hand-made cases, and against evaluating what is mended."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_cases import BOX, FAR, found, naive_iou, random_split, target
from scenes import SquareClip

from mstlib.config import MSTError
from mstlib.data.clip import Detections
from mstlib.data.dataset import Dataset
from mstlib.evaluation import failure_counts as counts
from mstlib.evaluation.evaluate import evaluate
from mstlib.evaluation.failures import KINDS, diagnose
from mstlib.evaluation.judged import judge_all
from mstlib.evaluation.matching import match
from mstlib.report import charts, failure_pictures

CLASSES = ("box-disc", "box-cross", "cone-disc")
HALF = (0, 0, 9, 3)      # IoU 0.4 with BOX, the last pixels included
NEXT = (20, 0, 29, 9)


def one(detections, *objects, threshold=0.5, **more):
    """The diagnosis of a single frame."""
    return diagnose([[found(*detections)]], [[target(*objects, **more)]], CLASSES, threshold)


def kinds(diagnosis):
    return [case.kind for case in diagnosis.cases]


# ---- which kind ----------------------------------------------------------------------------------


def test_each_kind_is_told_from_the_others():
    cases = {
        "missed": [],
        "wrong class": [(2, 0.9, BOX)],
        "duplicate": [(1, 0.9, BOX), (1, 0.8, BOX)],
        "poor box": [(1, 0.9, HALF)],
        "nothing there": [(1, 0.9, BOX), (1, 0.8, FAR)],
    }
    assert set(cases) == set(KINDS)
    for kind, detections in cases.items():
        assert kinds(one(detections, (1, BOX))) == [kind], kind


def test_a_right_answer_is_no_failure():
    diagnosis = one([(1, 0.9, BOX)], (1, BOX))
    assert diagnosis.cases == []
    assert diagnosis.objects[0].state == "found" and diagnosis.objects[0].score == pytest.approx(.9)


def test_a_wrong_class_in_a_poor_box_stands_for_nothing():
    assert kinds(one([(2, 0.9, HALF)], (1, BOX))) == ["missed", "nothing there"]


def test_an_object_that_something_wrong_was_said_of_is_not_missed_too():
    diagnosis = one([(1, 0.6, HALF), (2, 0.8, BOX)], (1, BOX))
    assert sorted(kinds(diagnosis)) == ["poor box", "wrong class"]
    (seen,) = diagnosis.objects
    assert seen.state == "wrong class" and seen.score == pytest.approx(0.8)  # the surer one


def test_a_found_object_stays_found_whatever_else_is_said_of_it():
    diagnosis = one([(1, 0.6, BOX), (2, 0.8, BOX)], (1, BOX))
    assert kinds(diagnosis) == ["wrong class"] and diagnosis.objects[0].state == "found"


def test_weak_detections_do_not_count_but_a_weak_right_one_is_named():
    diagnosis = one([(2, 0.4, BOX), (1, 0.3, BOX)], (1, BOX))
    (case,) = diagnosis.cases
    assert case.kind == "missed" and case.row == 1 and case.score == pytest.approx(0.3)
    (case,) = one([(2, 0.4, BOX)], (1, BOX)).cases
    assert case.row is None and case.score == 0


def test_a_case_says_where_it_is_and_what_about():
    flags = [[False] * 4, [True, False, True, False]]
    truth = [[target(), target((3, FAR))], [target(), target((1, NEXT), (2, BOX), flags=flags,
                                                            ids=[7, 9])]]
    seen = [[found(), found((3, 0.9, FAR))],
            [found((2, 0.7, FAR)), found((1, 0.9, NEXT), (1, 0.8, BOX))]]
    nothing, wrong = diagnose(seen, truth, CLASSES).cases
    assert nothing[:7] == ("nothing there", 1, 0, None, None, (), 2)
    assert nothing.row == 0 and nothing.box == FAR
    assert wrong[:7] == ("wrong class", 1, 1, 1, 9, ("motion blur", "occlusion"), 2)
    assert wrong.row == 1 and wrong.box == BOX


def test_a_detection_in_an_ignored_region_is_no_failure():
    assert kinds(one([(1, 0.9, FAR)], ignored=[FAR])) == []


@pytest.mark.parametrize("seed", range(3))
def test_verdicts_are_those_of_the_evaluation(seed):
    predictions, targets = random_split(seed, clips=6)
    judged, table = judge_all(predictions, targets, 3), match(predictions, targets, CLASSES)
    assert sorted(zip(judged.label, judged.score, judged.tp, judged.frame, judged.object,
                      strict=True)) == sorted(zip(table.label, table.score, table.tp, table.frame,
                                                  table.object, strict=True))
    frames = [frame for clip in predictions for frame in clip]
    for i, (frame, row) in enumerate(zip(judged.frame, judged.row, strict=True)):
        assert frames[frame].scores[row] == judged.score[i]
        assert frames[frame].boxes[row].tolist() == judged.boxes[i].tolist()


def test_equal_scores_keep_each_their_own_box():
    frame = found((1, 0.9, FAR), (1, 0.9, BOX), (1, 0.9, NEXT))
    (case,) = diagnose([[frame]], [[target((1, BOX), (1, NEXT))]], CLASSES).cases
    assert case.kind == "nothing there" and case.row == 0 and case.box == FAR


# ---- what it costs -------------------------------------------------------------------------------


def right_row(seen, truth, o):
    """The detection that is right for object o of a frame, straight from the protocol; or None."""
    taken = {}
    for i in sorted(range(len(seen.scores)), key=lambda i: -float(seen.scores[i])):
        same = [k for k in range(len(truth.labels)) if truth.labels[k] == seen.labels[i]]
        overlap = {k: naive_iou(seen.boxes[i].tolist(), truth.boxes[k].tolist()) for k in same}
        best = max(overlap, key=overlap.get, default=None)
        if best is not None and overlap[best] >= 0.5:
            taken.setdefault(best, i)
    return taken.get(o)


def mended(predictions, targets, case, threshold):
    """The predictions without one failure, as the words of `diagnose` say it."""
    seen, truth = predictions[case.clip][case.t], targets[case.clip][case.t]
    gone, score = {case.row}, None
    if case.kind in ("wrong class", "poor box", "missed"):
        right = right_row(seen, truth, case.object)
        score = threshold if case.kind == "missed" else case.score
        if right is not None and float(seen.scores[right]) >= score:
            score = None
        else:
            gone.add(right)
    rows = [i for i in range(len(seen.scores)) if i not in gone]
    boxes, scores, labels = seen.boxes[rows], seen.scores[rows], seen.labels[rows]
    if score is not None:
        boxes = torch.cat([boxes, truth.boxes[case.object][None]])
        scores = torch.cat([scores, torch.tensor([score])])
        labels = torch.cat([labels, truth.labels[case.object][None]])
    out = [list(clip) for clip in predictions]
    out[case.clip][case.t] = Detections(boxes, scores, labels)
    return out


@pytest.mark.parametrize("seed", range(8))
def test_lost_ap_is_what_evaluating_the_mended_detections_gives(seed):
    predictions, targets = random_split(seed, clips=6)
    before = sum(v for v in evaluate(predictions, targets, CLASSES).per_class.values() if v == v)
    cases = diagnose(predictions, targets, CLASSES, 0.4).cases
    assert len({case.kind for case in cases}) >= 3
    for case in cases:
        again = evaluate(mended(predictions, targets, case, 0.4), targets, CLASSES).per_class
        after = sum(v for v in again.values() if v == v)
        assert case.lost == pytest.approx(after - before, abs=1e-9), case
        assert case.lost >= 0


def test_lost_ap_by_hand():
    truth = [[target((1, BOX), (1, NEXT))]]
    (case,) = diagnose([[found((1, 0.9, FAR), (1, 0.8, BOX), (1, 0.7, NEXT))]], truth,
                       CLASSES).cases
    # precision 1/2 and 2/3, envelope 2/3: AP 66.7; without the false alarm 100
    assert case.kind == "nothing there" and case.lost == pytest.approx(100 - 200 / 3)
    (case,) = diagnose([[found((1, 0.8, BOX))]], truth, CLASSES).cases
    assert case.kind == "missed" and case.lost == pytest.approx(50)
    poor = found((1, 0.8, BOX), (1, 0.6, (20, 0, 29, 3)))
    (case,) = diagnose([[poor]], truth, CLASSES).cases
    assert case.kind == "poor box" and case.lost == pytest.approx(50)


def test_a_wrong_class_costs_both_classes():
    seen = found((1, 0.9, NEXT), (1, 0.8, BOX))         # NEXT is of class 2
    cases = diagnose([[seen]], [[target((1, BOX), (2, NEXT))]], CLASSES).cases
    (case,) = cases
    assert case.kind == "wrong class" and case.lost == pytest.approx(50 + 100)


def test_a_class_that_has_no_object_has_no_ap_to_lose():
    diagnosis = one([(3, 0.9, FAR), (1, 0.8, BOX)], (1, BOX))
    assert [(case.kind, case.lost) for case in diagnosis.cases] == [("nothing there", 0.0)]


# ---- counts --------------------------------------------------------------------------------------


@pytest.fixture
def story():
    """Four frames of one object (clean, blurred, blurred and hidden, clean) and two detectors."""
    flags = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    truth = [[target((1, BOX), flags=[f], ids=[5]) for f in np.array(flags, bool).tolist()]]
    plain = [[found((1, 0.9, BOX)), found((2, 0.8, BOX)), found(), found((1, 0.9, BOX),
                                                                     (3, 0.6, FAR))]]
    full = [[found((1, 0.9, BOX)), found((1, 0.7, BOX)), found(), found((1, 0.9, HALF))]]
    return truth, {"a": diagnose(plain, truth, CLASSES), "g": diagnose(full, truth, CLASSES)}


def test_the_table_counts_each_deterioration(story):
    table = counts.failure_table(story[1]["a"]).set_index("object shows")
    assert table["object-frames"].tolist() == [4, 2, 2, 0, 1, 0, None]
    assert table["missed"].tolist() == [1, 0, 1, 0, 1, 0, None]
    assert table["wrong class"].tolist() == [1, 0, 1, 0, 0, 0, None]
    assert table["nothing there"].tolist()[-1] == 1
    shares = counts.not_found(story[1]["a"])
    assert shares["clean"] == 0 and shares["motion blur"] == 100 and np.isnan(shares["defocus"])


def test_cases_are_chosen_by_kind_and_deterioration_and_sorted(story):
    cases = story[1]["a"].cases
    assert counts.choose(cases, order="clip order") == cases
    assert [case.lost for case in counts.choose(cases)] == sorted(
        (case.lost for case in cases), reverse=True)
    assert [c.kind for c in counts.choose(cases, view="occlusion")] == ["missed"]
    assert [c.kind for c in counts.choose(cases, "wrong class", "motion blur")] == ["wrong class"]
    with pytest.raises(MSTError, match="no failure here: kind poor box, deterioration any"):
        counts.choose(cases, "poor box")
    with pytest.raises(MSTError, match="no failure here"):
        counts.choose(cases, "nothing there", "clean")  # nothing is there that could be clean
    with pytest.raises(MSTError, match="unknown choice 'fog'"):
        counts.choose(cases, view="fog")


def test_changes_say_what_became_of_whom(story):
    _, both = story
    table = counts.changes(both["a"], both["g"]).set_index("from")
    assert table.loc["wrong class", "to found"] == 1 and table.loc["missed", "to missed"] == 1
    assert table.loc["found", "to poor box"] == 1 and int(table.to_numpy().sum()) == 4
    assert [seen.t for seen in counts.nobody_finds(both)] == [2]
    assert [seen.t for seen in counts.nobody_finds({"g": both["g"]})] == [2, 3]
    with pytest.raises(MSTError, match="diagnose both detectors on the same clips"):
        counts.changes(both["a"], one([], (1, BOX)))


def test_wrong_classes_are_told_apart():
    seen = [[found((1, 0.9, BOX), (2, 0.8, BOX)), found((3, 0.9, BOX)), found((2, 0.7, BOX))]]
    truth = [[target((1, BOX))] * 3]
    told = counts.wrong_classes(diagnose(seen, truth, CLASSES), seen, CLASSES)
    assert told == {"in all": 3, "beside a right answer": 1, "that name the twin": 2}


class Marked(SquareClip):
    """The red square is blurred in frames 0 to 3 of 6, the green one always."""

    def target(self, t):
        flags = torch.zeros(2, 4, dtype=torch.bool)
        flags[0, 0], flags[1, 0] = t < 4, True
        return replace(super().target(t), flags=flags)


def test_clean_views_are_looked_for_in_the_window():
    clip = Marked("squares")
    assert counts.clean_views(clip, 2, 0, 5, 1) == [4]
    assert counts.clean_views(clip, 3, 0, 5, 1) == [4, 5]
    assert counts.clean_views(clip, 0, 0, 5, 1) == [] == counts.clean_views(clip, 3, 1, 5, 1)


def squares(*frames):
    """The squares, a detector that sees red only in the last two frames, and what is wrong."""
    clip = Marked("squares/0")
    data = Dataset("squares", "test", CLASSES, [clip])
    seen = [[found(*((1, 0.9, clip.target(t).boxes[0].tolist()),) * (t > 3)) for t in range(6)]]
    truth = [[clip.target(t) for t in range(6)]]
    return data, {"(x)": seen}, {"(x)": diagnose(seen, truth, CLASSES)}


def test_what_the_window_could_have_shown():
    data, _, diagnoses = squares()
    red = [s for s in diagnoses["(x)"].objects if s.track == 0]
    assert [s.state for s in red] == ["missed"] * 4 + ["found"] * 2
    lost = [s for s in red if s.state != "found"]
    assert counts.window_help(data, lost, 5, 1) == {
        "in the window": 50, "elsewhere in the clip": 50, "nowhere in the clip": 0}
    assert np.isnan(counts.window_help(data, [], 5, 1)["in the window"])
    shared = counts.circumstances(data, lost, diagnoses["(x)"], 5, 1, CLASSES)
    assert shared == {"deteriorated": 100, "no clean view in the window": 50,
                      "found elsewhere in it": 50, "a twin": 100}
    table = counts.by_clean_views(data, red, 5, 1)
    assert table["clean views in the window"].tolist() == ["0", "1", "2"]
    assert table["% not found"].tolist() == pytest.approx([100, 100, 100 / 3])  # 2; 3, 4 and 5
    assert counts.by_clean_views(data, red, 5, 1, most=1).to_dict("list") == {
        "clean views in the window": ["0", "1 or more"], "object-frames": [2, 4],
        "% not found": [100, 50]}
    nothing, whole = torch.zeros(0, 4), torch.tensor([[0.0, 0, 64, 64]])
    there = data[0].target(1).boxes[:1]
    proposals = [[nothing, there, whole, nothing, nothing, nothing]]
    assert counts.unproposed(data, lost, proposals) == 75


# ---- pictures ------------------------------------------------------------------------------------


def test_a_case_is_marked_and_told():
    data, seen, diagnoses = squares()
    case = counts.choose(diagnoses["(x)"].cases, order="clip order")[0]
    figure, words = failure_pictures.case_picture(data, seen, diagnoses, "(x)", case)
    assert words.startswith("missed of (x): box-disc, motion blur, clip 0, frame 0; said nothing")
    (axis,) = figure.axes
    assert axis.get_title() == "(x): missed"
    marks = [p for p in axis.patches if p.get_edgecolor()[:3] == pytest.approx(
        (0xF0 / 255, 0xE4 / 255, 0x42 / 255))]
    x1, y1, x2, y2 = data[0].target(0).boxes[0].tolist()
    assert marks[0].get_bbox().extents.tolist() == pytest.approx([x1 - 3, y1 - 3, x2 + 3, y2 + 3])


def test_a_case_can_be_followed_to_both_ends_of_its_clip():
    data, seen, diagnoses = squares()
    case = diagnoses["(x)"].cases[0]
    for step, t, said in ((-6, 0, "missed"), (6, 5, "found .90")):
        figure, words = failure_pictures.case_picture(data, seen, diagnoses, "(x)", case, step)
        assert figure.axes[0].get_title() == f"(x): {said}"
        assert words.endswith(f"The picture shows frame {t}.") == (t != case.t)


def test_what_is_about_no_object_has_a_place_in_its_frame_only():
    truth, seen = [[target(), target()]], [[found((2, 0.8, BOX)), found()]]
    (case,) = diagnose(seen, truth, CLASSES).cases
    clip = SquareClip("squares/0", frames=2)
    assert failure_pictures.place_of(clip, case, 0).tolist() == [list(BOX)]
    assert failure_pictures.place_of(clip, case, 1) is None
    data = Dataset("squares", "test", CLASSES, [clip])
    place = failure_pictures.place_of(clip, case, 0)
    assert failure_pictures.verdict(data, seen[0][0], None, place, 0.5) == "says box-cross .80"
    assert failure_pictures.verdict(data, seen[0][1], None, place, 0.5) == "says nothing here"
    assert failure_pictures.case_text(data, case) == "about no object, clip 0, frame 0"


def test_rows_of_frames_name_what_they_show():
    data, seen, diagnoses = squares()
    figure, words = failure_pictures.kind_rows(data, seen, diagnoses)
    assert "missed of (x) (" in words and "wrong class" not in words
    figure, words = failure_pictures.detector_rows(data, seen, diagnoses, diagnoses["(x)"].cases[0])
    assert words.endswith("In that frame: (x) missed.") and len(figure.axes) == 3


def test_rows_stay_in_their_clip():
    assert failure_pictures.around(12, 24, 5, 2) == [8, 10, 12, 14, 16]
    assert failure_pictures.around(23, 24, 5, 3) == [11, 14, 17, 20, 23]
    assert failure_pictures.around(1, 24, 5, 2) == [1, 3, 5, 7, 9]
    assert failure_pictures.around(1, 6, 5, 3) == [1, 4]


def test_bars_side_by_side_differ_without_colour():
    shares = {"(a)": {"clean": 10.0, "fog": float("nan")}, "(g)": {"clean": 7.0, "fog": 50.0}}
    axis = charts.share_chart(shares, "percent").axes[0]
    assert len({bars[0].get_hatch() for bars in axis.containers}) == 2
    assert [text.get_text() for text in axis.texts] == ["10", "–", "7", "50"]
