"""A video in a notebook: watched to its end, shown, handed in by a button; and what is no video."""

import csv
import re
from dataclasses import replace

import pytest
import torch
from films import COUNT, RATE, film, hurt, plain, shown
from ipywidgets import IntProgress
from scenes import square_clips

from mstlib import show, upload
from mstlib.config import VARIANTS, MSTError
from mstlib.data.clip import Detections
from mstlib.data.minivid.benchmark import CLASSES
from mstlib.data.video import open_video
from mstlib.detect import DetectedFrame, detect_video
from mstlib.evaluation.agreement import agreement
from mstlib.model.detector import build_model
from mstlib.movie import write_frames
from mstlib.profiles import TINY


@pytest.fixture(scope="module")
def model():
    """An untrained model that finds something in every frame."""
    return build_model(replace(TINY, levels=VARIANTS["g"]), generator_seed=3).eval()


@pytest.fixture
def squares(model):
    return upload.watch(model, open_video([square_clips()[0].frame(t) for t in range(6)]))


def test_a_video_is_watched_and_the_bar_is_full(model, tmp_path):
    bar, seen = IntProgress(5, 0, 9), []
    video = open_video(film(tmp_path / "street.mp4"))
    watched = upload.watch(model, video, bar, write=[seen.append])
    assert (bar.value, bar.max) == (COUNT, COUNT)
    assert watched.name == "street" and watched.whole and len(watched) == COUNT == len(seen)
    assert shown(watched.frames) == list(range(COUNT)) and watched.numbers == list(range(COUNT))
    for found, frame in zip(watched.found, detect_video(model, video), strict=True):
        assert torch.equal(found.boxes, frame.detections.boxes)


def test_a_video_of_unknown_length_fills_the_bar_too(model):
    bar = IntProgress(0, 0, 1)
    frames = (square_clips()[0].frame(t) for t in range(4))
    upload.watch(model, open_video(frames), bar)
    assert (bar.value, bar.max) == (4, 4)


def test_only_the_beginning_of_a_long_video_is_watched_and_said_so(model, tmp_path):
    video = open_video(film(tmp_path / "long.mp4"))
    watched = upload.watch(model, video, limit=5)
    assert len(watched) == 5 and not watched.whole
    _, words = upload.film_picture(watched, 0, CLASSES, 0.5)
    assert words.endswith("The first 5 frames of it were watched.")
    assert upload.watch(model, video, limit=COUNT).whole


def test_large_frames_are_kept_small_with_their_boxes():
    kept = upload.Film("large")
    image = torch.zeros(3, 2 * upload.SHORT, 4 * upload.SHORT, dtype=torch.uint8)
    one = Detections(torch.tensor([[0.0, 10, 100, 200]]), torch.tensor([0.9]), torch.tensor([1]))
    kept.add(DetectedFrame(0, one, image))
    kept.add(DetectedFrame(1, None, None))                 # left out
    kept.add(DetectedFrame(2, one, image[:, :50, :60]))    # small: as it is
    assert kept.frame(0).shape == (3, upload.SHORT, 2 * upload.SHORT)
    assert kept.found[0].boxes.tolist() == [[0, 5, 50, 100]]
    assert kept.numbers == [0, 2] and kept.frame(1).shape == (3, 50, 60)
    assert kept.found[1].boxes.tolist() == one.boxes.tolist()


def test_a_film_is_a_clip_without_ground_truth(squares):
    assert len(squares.target(0).boxes) == 0
    figure = show.film_strip(squares, [0, 5], squares.found, targets=False, classes=CLASSES,
                             threshold=0.0, titles=["first", "last"])
    assert [axis.get_title() for axis in figure.axes] == ["first", "last"]


def test_a_picture_says_what_was_found(squares):
    _, words = upload.film_picture(squares, 99, CLASSES, 1.0)
    assert words == "frames, frame 5: nothing (of score 1 or more)."
    _, words = upload.film_picture(squares, 2, CLASSES, 0.0)
    names = re.findall(r"([a-z]+-[a-z]+) \d\.\d\d", words)
    assert names == [CLASSES[k - 1] for k in squares.found[2].labels.tolist()]


# ---- the button ----------------------------------------------------------------------------------


def hand_in(box, name: str, content: bytes) -> None:
    """What arrives from the browser when somebody chooses a file."""
    box.children[0].children[0].set_state({"value": [
        {"name": name, "type": "", "size": len(content), "content": memoryview(content),
         "last_modified": 0}]})


def parts(box):
    """(line under the button, choice of videos, frame slider, picture)."""
    controls, picture = box.children[3].children
    return box.children[1].value, *controls.children[:2], picture.value


def test_a_video_that_is_handed_in_is_watched_and_shown(model, squares, tmp_path):
    box = upload.upload_box(model, squares, CLASSES, tmp_path / "kept", threshold=0.0)
    before, strip = parts(box)[-1], box.children[2]
    assert "frames, frame 0: " in before and strip.value == ""
    hand_in(box, "mine.mp4", film(tmp_path / "any.mp4").read_bytes())
    line, videos, frame, picture = parts(box)
    bar = box.children[0].children[1]
    assert line == "written to kept/: mine-found.csv, mine-found.mp4"
    assert "mine, frame 0: " in picture and bar.value == bar.max == COUNT
    assert "Film strip of mine" in strip.value and f"in frame {COUNT - 1}." in strip.value
    movie = open_video(tmp_path / "kept" / "mine-found.mp4")
    assert (movie.length, movie.fps) == (COUNT, RATE)
    with (tmp_path / "kept" / "mine-found.csv").open() as table:
        rows = list(csv.DictReader(table))
    again = detect_video(model, open_video(tmp_path / "any.mp4"))
    assert len(rows) == sum(len(frame.detections.scores) for frame in again)
    assert {row["clip"] for row in rows} == {"mine"}
    assert [name for name, _ in videos.options] == ["1: frames", "2: mine"] and videos.value == 1
    frame.value = frame.max
    assert frame.max == COUNT - 1 and f"mine, frame {COUNT - 1}: " in parts(box)[-1]
    videos.value = 0                                       # a shorter one: the last frame it has
    assert frame.max == 5 and "frames, frame 5: " in parts(box)[-1] and strip.value == ""


def test_what_is_no_video_is_one_line_and_the_picture_stays(model, squares, tmp_path):
    box = upload.upload_box(model, squares, CLASSES, tmp_path / "kept")
    before = parts(box)[-1]
    for name, content in (("notes.txt", b"no <video> at all\n" * 99), ("cut.mp4", b"\0" * 4000),
                          ("nothing.mp4", b"")):
        hand_in(box, name, content)
        line, videos, _, picture = parts(box)
        assert re.fullmatch(rf"<p>{name}: [^/]+</p>", line), line   # no path of this machine
        assert picture == before and len(videos.options) == 1
    assert not (tmp_path / "kept").exists()
    hand_in(box, "good.mp4", film(tmp_path / "good.mp4").read_bytes())
    assert "good-found.mp4" in parts(box)[0] and len(parts(box)[1].options) == 2


def test_the_same_file_can_be_handed_in_again(model, squares, tmp_path):
    content = film(tmp_path / "any.mp4").read_bytes()
    box = upload.upload_box(model, squares, CLASSES, tmp_path)
    hand_in(box, "mine.mp4", content)
    hand_in(box, "mine.mp4", content)
    assert [name for name, _ in parts(box)[1].options] == ["1: frames", "2: mine", "3: mine"]


def test_frames_that_cannot_be_decoded_are_left_out_and_counted(model, tmp_path):
    path = hurt(film(tmp_path / "hurt.avi", codec="mjpeg"), 4)
    received = upload.received(model, "C:\\films\\hurt.avi", path.read_bytes(), tmp_path, CLASSES)
    assert received.name == "hurt" and 4 not in received.numbers
    _, words = upload.film_picture(received, 0, CLASSES, 0.5)
    assert words.endswith(" 1 frames cannot be decoded.")


# ---- frames into a file, and answers compared ----------------------------------------------------


def test_frames_become_a_film_that_can_be_opened(tmp_path):
    frames = [torch.from_numpy(plain(t, (60, 80))).permute(2, 0, 1) for t in range(5)]
    video = open_video(write_frames(tmp_path / "clip.mp4", frames, RATE))
    assert (video.fps, video.length) == (RATE, 5)
    again = list(video)
    assert shown(again) == list(range(5)) and again[0].shape == (3, 480, 640)


def boxes(*rows) -> Detections:
    """Rows of (label, score, box)."""
    return Detections(torch.tensor([r[2] for r in rows]).float().reshape(-1, 4),
                      torch.tensor([r[1] for r in rows]), torch.tensor([r[0] for r in rows]).long())


def test_answers_agree_on_class_and_place():
    here, near, far = (0, 0, 10, 10), (0, 0, 10, 9), (50, 50, 60, 60)
    one = [boxes((1, 0.9, here), (2, 0.8, far), (1, 0.2, far)), boxes()]
    two = [boxes((1, 0.6, near), (3, 0.9, far)), boxes((1, 0.9, here))]
    assert agreement(one, two) == (2, 3, 1) and agreement(one, two).found_again == 50
    assert agreement(one, two, threshold=0.7).both == 0
    twice = [boxes((1, 0.9, here), (1, 0.8, near))]
    assert agreement(twice, [boxes((1, 0.9, here))]).both == 1  # one box stands for one only
    assert agreement([boxes()], [boxes()]).found_again != agreement([boxes()], [boxes()])[0]
    with pytest.raises(MSTError, match="2 and 1 frames"):
        agreement(one, two[:1])
