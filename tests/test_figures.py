"""The re-made figures of the paper: each rule of choice on hand-made cases, and the same bytes."""

import io
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image, ImageColor
from scenes import SquareClip

from mstlib.checkpoint import save_weights
from mstlib.config import MSTError
from mstlib.data.clip import DETERIORATIONS, Detections
from mstlib.data.dataset import Dataset
from mstlib.evaluation.story import of_track
from mstlib.model.detector import build_model
from mstlib.png import png_bytes
from mstlib.profiles import get_config
from mstlib.report import figure_board as board
from mstlib.report import figure_examples, figure_failures, figure_sequences, figures
from mstlib.show import colour_of, draw_boxes, show_image, untangle

BLUR, OCCLUSION, POSE = (DETERIORATIONS.index(kind) for kind in
                         ("motion blur", "occlusion", "rare pose"))


@dataclass(frozen=True)
class Marked(SquareClip):
    """The two squares, or the red one alone, with `marks`: (track, deterioration, frames)."""

    frames: int = 8
    marks: tuple = ()
    alone: bool = False

    def target(self, t):
        target = super().target(t)
        flags = torch.zeros(2, 4, dtype=torch.bool)
        for track, kind, times in self.marks:
            flags[track, kind] |= t in times
        target = replace(target, flags=flags)
        return of_track(target, 0) if self.alone else target


def data_of(*clips) -> Dataset:
    return Dataset("squares", "test", ("red", "green"), clips)


def detections(*rows) -> Detections:
    """Rows of (box, score, label)."""
    boxes = torch.tensor([list(box) for box, _, _ in rows]).float().reshape(-1, 4)
    return Detections(boxes, torch.tensor([float(r[1]) for r in rows]),
                      torch.tensor([r[2] for r in rows]).long())


def test_stretches_of_time():
    marks = [t in (0, 3, 4, 5) for t in range(8)]
    assert board.runs(marks) == [(0, 0), (3, 5)] and board.runs([]) == []
    assert board.run_around(marks, 4) == (3, 5) and board.run_around(marks, 2) == (2, 2)


@pytest.mark.parametrize("t, run, length, want", [
    (10, (10, 10), 24, [7, 8, 9, 10, 11, 12]),
    (22, (22, 22), 24, [18, 19, 20, 21, 22, 23]),
    (1, (0, 2), 24, [0, 1, 2, 3, 4, 5]),
    (8, (7, 13), 24, [4, 6, 8, 10, 12, 14]),
    (2, (0, 4), 5, [0, 2, 4]),
])
def test_before_and_after_holds_the_frame_and_stays_in_the_clip(t, run, length, want):
    assert board.before_and_after(t, run, length, 6) == want


def test_tags_that_lie_on_each_other_move_apart():
    figure, ((axis,),) = board.board([("bold", "plain")], 1, 1.35)
    show_image(axis, torch.zeros(3, 64, 64, dtype=torch.uint8))
    box, label = torch.tensor([[10.0, 20, 50, 50]]), torch.tensor([1])
    for style in ("found", "wrong class", "nothing there"):
        draw_boxes(axis, box, label, torch.tensor([0.9]), style=style)
    untangle(axis)
    tags = [text.get_window_extent() for text in axis.texts]
    assert len(tags) == 3
    assert not any(a.overlaps(b) for i, a in enumerate(tags) for b in tags[:i])
    frame = axis.get_window_extent()
    assert all(frame.y0 <= tag.y0 and tag.y1 <= frame.y1 for tag in tags)
    assert [text.get_text() for text in figure.texts] == ["bold", "plain"]


def test_close_ups_show_the_object_with_its_box():
    clip = Marked("marked")
    for t in range(len(clip)):
        image, boxes = figure_examples.close_up(clip, t, 0, 30)
        x0, y0, x1, y1 = boxes[0].round().int().tolist()
        inside = image[0, max(y0, 0):y1, max(x0, 0):x1]
        assert image.shape == (3, 30, 30) and (inside == 220).all() and len(inside)
    assert figure_examples.largest_side(clip, [0, 1], 0) == 31  # 1.7 x 18 pixels
    assert figure_examples.largest_side(Marked("m", start=(0, 0)), [0], 1) == 34


def test_figure_1_marks_the_stretch_and_what_was_before_and_after():
    clip = Marked("clips/0007", marks=((0, BLUR, (2, 3, 4)),))
    figure, text = figure_examples.examples(data_of(clip))
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["whole frame 3\nmotion blur", "frame 1\nclean", "frame 2\nmotion blur",
                      "frame 3\nmotion blur", "frame 4\nmotion blur", "frame 5\nclean"]
    outlined = [any(p.get_edgecolor()[:3] == (0.8, 0, 0) for p in axis.patches)
                for axis in figure.axes]
    assert outlined == [True, False, True, True, True, False]
    assert "motion blur (clip 0007, frames 2 to 4)" in text and "defocus" not in text


def test_a_rare_colour_keeps_its_meaning():
    noise = torch.randint(0, 255, (3, 64, 64), generator=torch.Generator().manual_seed(0))
    figure, ((axis,),) = board.board([("bold", "plain")], 1, 1.35)
    show_image(axis, noise.to(torch.uint8))
    draw_boxes(axis, torch.tensor([[10.0, 20, 50, 50]]), torch.tensor([8]))
    with Image.open(io.BytesIO(png_bytes(figure))) as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(256)}
    assert ImageColor.getrgb(colour_of(8)) in colours


def test_a_challenge_is_the_object_deteriorated_most():
    one = Marked("one", marks=((0, POSE, (1, 5, 6)), (1, BLUR, range(8))))
    two = Marked("two", marks=((1, POSE, (0, 2, 3, 4)),))
    lone = Marked("lone", marks=((0, POSE, (6, 7)),), alone=True)
    choose = figure_sequences.challenge
    assert choose([one, two, two], "rare pose", 3) == (1, 1, [2, 3, 4])
    assert choose([one, two, lone], "rare pose", 3) == (2, 0, [5, 6, 7])  # no other object
    assert choose([one], "motion blur", 20) == (0, 1, list(range(8)))
    assert choose([one, two], "defocus", 3) is None


def test_what_counts_as_a_failure():
    target = Marked("marked").target(0)
    red, green = target.boxes.tolist()
    low = [red[0], red[1], red[2], red[1] + 0.4 * (red[3] - red[1])]  # IoU 0.4
    cases = {
        "right": ([(red, 0.9, 1)], {}),
        "weak": ([(red, 0.5, 1)], {"missed": 1}),
        "nothing": ([], {"missed": 1}),
        "green's": ([(green, 0.9, 2)], {"missed": 1}),
        "wrong": ([(red, 0.7, 2), (red, 0.2, 1)], {"wrong class": 0.7}),
        "poor": ([(low, 0.8, 1)], {"poor box": 0.8}),
        "poor, but": ([(low, 0.8, 1), (red, 0.7, 1)], {}),
        "twice": ([(red, 0.9, 1), (red, 0.7, 2)], {"duplicate": 0.7}),
        "twice wrong": ([(red, 0.9, 2), (red, 0.7, 3)], {"duplicate": 0.7, "wrong class": 0.9}),
    }
    for name, (rows, want) in cases.items():
        assert figure_failures.faults(detections(*rows), target, 0) == pytest.approx(want), name
    assert figure_failures.faults(detections(), target, 5) == {}  # not annotated here


def test_a_right_answer_for_a_neighbour_is_not_held_against_an_object():
    target = Marked("marked").target(0)
    target = replace(target, boxes=torch.tensor([[0.0, 0, 20, 20], [4, 0, 24, 20]]))
    found = detections(((3, 0, 23, 20), 0.9, 2), ((3, 0, 23, 20), 0.8, 1))
    assert len(figure_failures.about_object(found, target, 0).boxes) == 0
    assert figure_failures.about_object(found, target, 1).labels.tolist() == [2]


def test_the_worst_case_has_these_causes_and_no_others():
    clip = Marked("marked", marks=((0, POSE, (1, 2, 5, 6, 7)), (0, BLUR, (2,)),
                                   (1, OCCLUSION, (4, 5))))
    wrong, missed = {"wrong class": 0.7}, {"missed": 1.0}
    red = [{}, wrong, {"wrong class": 0.99}, {}, {"wrong class": 0.9}, missed, missed, wrong]
    green = [{}] * 4 + [{"wrong class": 0.6}, {"wrong class": 0.8}, {}, {}]
    known = {(0, 0): red, (0, 1): green}
    worst = figure_failures.worst
    assert worst([clip], known, "wrong class", ["rare pose"]) == ("wrong class", 0.7, 0, 0, 1)
    assert worst([clip], known, "wrong class", ["occlusion"])[1:] == (0.8, 0, 1, 5)
    assert worst([clip], known, "wrong class", figure_failures.HARD)[1:] == (0.8, 0, 1, 5)
    assert worst([clip], known, "missed", figure_failures.HARD)[1:] == (2, 0, 0, 5)
    assert worst([clip], known, "poor box", figure_failures.HARD) is None


def test_figure_6_outlines_the_failures(monkeypatch):
    clip = Marked("clips/0003", marks=((0, POSE, (3, 4)),))
    boxes = [clip.target(t).boxes.tolist() for t in range(8)]
    found = [[detections((red, 0.9, 2 if t == 3 else 1), (green, 0.9, 2))
              for t, (red, green) in enumerate(boxes)]]
    monkeypatch.setattr("mstlib.stream.detect_clips", lambda *_: found)
    model = SimpleNamespace(config=SimpleNamespace(test=None))
    figure, text = figure_failures.failures(data_of(clip), [model])
    outlined = [axis.get_title() for axis in figure.axes
                if any(p.get_edgecolor()[:3] == (0.8, 0, 0) for p in axis.patches)]
    assert len(figure.axes) == 6 and outlined == ["frame 3\nrare pose"]
    assert "wrong class under rare pose (clip 0003, red, frame 3, score 0.90)" in text
    assert "thick dashed contour: failure" in figure.texts[-1].get_text()
    with pytest.raises(MSTError, match=r"squares test: \(g\) makes no mistake under rare pose"):
        figure_failures.failures(data_of(Marked("clean")), [model])


def test_without_a_case_there_is_no_figure():
    clean = data_of(Marked("clean"))
    with pytest.raises(MSTError, match="squares test: no object shows one deterioration alone"):
        figure_examples.examples(clean)
    with pytest.raises(MSTError, match="squares test: no object in rare pose or in motion blur"):
        figure_sequences.sequences(clean, [])


def test_errors_name_what_is_wrong(tmp_path):
    with pytest.raises(MSTError, match="no figure '2' is made from runs; choose one of 1, 5, 6"):
        figures.write_figure("2", tmp_path / "out.png", tmp_path, "tiny")
    for name, variant in (("5", "a"), ("6", "g")):
        with pytest.raises(MSTError, match=f"tiny-{variant}.safetensors: no such checkpoint"):
            figures.write_figure(name, tmp_path / "out.png", tmp_path, "tiny")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A folder with untrained models of the variants that the figures need."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for variant in figure_sequences.ROWS:
        torch.manual_seed(0)
        save_weights(build_model(get_config("tiny", variant)),
                     folder / f"tiny-{variant}.safetensors", 0)
    return folder


@pytest.mark.parametrize("name", figures.FIGURES)
def test_the_same_inputs_give_the_same_bytes(name, checkpoints, tmp_path):
    paths = [tmp_path / f"{i}" / f"fig{name}.png" for i in range(2)]
    root = checkpoints.parent / "data"
    texts = {figures.write_figure(name, path, checkpoints, "tiny", root) for path in paths}
    assert paths[0].read_bytes() == paths[1].read_bytes()
    (text,) = texts
    assert "\n" not in text and "minivid-v1 test" in text and "Rule: " in text
    with Image.open(paths[0]) as image:
        assert image.mode == "P" and image.width > 800
    assert paths[0].stat().st_size < 600_000
