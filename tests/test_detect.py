"""Any video in, detections out, frame by frame: the class behind `mst detect`, and the command."""

import csv
import json
import re
import shlex
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from films import COUNT, SIZE, film, hurt, plain
from PIL import Image
from scenes import square_clips

from mstlib import detect as module
from mstlib.checkpoint import save_weights
from mstlib.cli import main as cli
from mstlib.config import VARIANTS, MSTError, SourceConfig
from mstlib.data.clip import Detections
from mstlib.data.frames import folder_clip
from mstlib.data.minivid.benchmark import CLASSES, load_minivid
from mstlib.data.video import first, open_video
from mstlib.detect import DetectedFrame, class_names, detect_video, sides
from mstlib.evaluation.detections_csv import csv_rows, exact
from mstlib.fileio import keep_via
from mstlib.keep import csv_file, file_for, json_file
from mstlib.model.detector import build_model
from mstlib.movie import draw
from mstlib.profiles import TINY
from mstlib.progress import progress
from mstlib.show import PALETTE
from mstlib.stream import detect_clip


def tiny(variant="g", classes=8, **source):
    """An untrained model that finds something in every frame."""
    config = replace(TINY, levels=VARIANTS[variant], source=SourceConfig(**source),
                     model=replace(TINY.model, classes=classes))
    return build_model(config, generator_seed=3).eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_weights(tiny(), tmp_path_factory.mktemp("w") / "g.safetensors", 0, classes=CLASSES)


def same(a, b):
    return len(a.scores) == len(b.scores) and torch.equal(a.labels, b.labels) and (
        torch.allclose(a.boxes, b.boxes, atol=1e-3) and torch.allclose(a.scores, b.scores,
                                                                       atol=1e-5))


class Echo:
    """A Streamer that finds in frame t one object as large as the frame, of score t / 100; it
    answers `delay` frames late."""

    delay, made = 3, []

    def __init__(self, model, mode=None, test=None, precision="float32"):
        self.held, self.count, self.test, self.precision = [], 0, test, precision
        self.pushes = []
        Echo.made.append(self)

    def push(self, *frames):
        self.pushes.append(len(frames))
        for frame in frames:
            box = [0.0, 0.0, *frame.shape[:0:-1]] if frame is not None else None
            self.held.append(box and Detections(
                torch.tensor([box]), torch.tensor([self.count / 100]), torch.tensor([1])))
            self.count += 1
        return [self.held.pop(0) for _ in range(len(self.held) - self.delay)]

    def flush(self):
        held, self.held = self.held, []
        return held


@pytest.fixture
def echo(monkeypatch):
    monkeypatch.setattr(module, "Streamer", Echo)
    Echo.made.clear()
    return Echo


# ---- in Python -----------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["a", "g"])
def test_a_video_gets_the_detections_of_the_clip(tmp_path, monkeypatch, variant):
    monkeypatch.setenv("MST_DATA", str(tmp_path))
    model = tiny(variant)
    clip = load_minivid(TINY.data, "test")[1]
    expected = detect_clip(model, clip, model.config.test)
    found = list(detect_video(model, open_video("minivid:test/1", minivid=TINY.data)))
    assert [f.number for f in found] == list(range(len(clip)))
    assert all(same(f.detections, e) for f, e in zip(found, expected, strict=True))
    assert sum(len(e.scores) for e in expected) > 10 and all(f.image is None for f in found)


def test_frames_left_out_are_in_no_window_as_in_the_evaluation(tmp_path):
    model, clip = tiny("g"), square_clips(1, frames=8)[0]
    for t in range(len(clip)):
        Image.fromarray(clip.frame(t).permute(1, 2, 0).numpy()).save(tmp_path / f"{t}.png")
    (tmp_path / "3.png").write_bytes(b"")
    expected = detect_clip(model, folder_clip(tmp_path), TINY.test, skip_bad=True)
    found = list(detect_video(model, open_video(tmp_path, skip_bad=True)))
    assert [f.detections is None for f in found] == [t == 3 for t in range(8)]
    assert all(same(f.detections, e) for f, e in zip(found, expected, strict=True) if e)


def test_boxes_come_back_in_pixels_of_the_video(echo):
    frames = np.zeros((5, 40, 60, 3), np.uint8)
    for source, scale in (({"format": "davis", "short_side": 80}, 2),
                          ({"format": "davis", "short_side": 80, "long_side": 90}, 1.5),
                          ({"format": "davis"}, 1), ({}, 1.6)):
        model = tiny("a", **source)  # without a size: MiniVID's own, 64 at tiny
        found = list(detect_video(model, open_video(frames)))
        assert all(torch.allclose(f.detections.boxes, torch.tensor([[0.0, 0, 60, 40]]))
                   for f in found)
        small, factor = module.resized(torch.zeros(3, 40, 60, dtype=torch.uint8),
                                       *sides(model.config))
        assert factor == pytest.approx(scale)
        assert small.shape == (3, round(40 * scale), round(60 * scale))


def test_each_frame_keeps_its_number_and_image_around_frames_left_out(tmp_path, echo):
    frames = [plain(t) for t in range(9)]
    for t in (0, 4, 5, 8):
        frames[t] = frames[t][:8]  # of another size than frame 1
    frames[0] = tmp_path / "missing.png"
    video = open_video(frames, skip_bad=True)
    found = list(detect_video(tiny("a"), video, images=True))
    assert [f.number for f in found] == list(range(9)) and video.skipped == 4
    assert [f.number for f in found if f.detections is None] == [0, 4, 5, 8]
    seen = [f for f in found if f.detections is not None]
    assert [round(100 * float(f.detections.scores)) for f in seen] == [1, 2, 3, 6, 7]
    assert all((f.image.permute(1, 2, 0).numpy() == frames[f.number]).all() for f in seen)


def test_an_error_of_the_video_comes_after_the_detections_of_all_frames_before_it(echo):
    def source():
        yield from (plain(t) for t in range(7))
        raise RuntimeError("the camera fell down")

    seen = []
    with pytest.raises(RuntimeError, match="fell down"):
        for found in detect_video(tiny("a"), open_video(source())):
            seen.append(found.number)
    assert seen == list(range(7))


def test_memory_is_flat_over_ten_thousand_frames(echo):
    alive, most = weakref.WeakSet(), 0

    def source():
        for _ in range(10_000):
            frame = torch.zeros(3, 64, 64, dtype=torch.uint8)
            alive.add(frame)
            yield frame

    count = 0
    for found in detect_video(tiny("a"), open_video(source()), images=True):
        assert found.image is not None
        count, most = count + 1, max(most, len(alive))
    assert count == 10_000 and most <= Echo.delay + 12


def test_one_who_stops_listening_stops_the_reading(echo):
    read = []

    def source():
        for t in range(1000):
            read.append(t)
            yield plain(t)

    found = detect_video(tiny("a"), open_video(source()))
    next(found)
    found.close()
    now = len(read)
    assert now <= 1 + Echo.delay + 7 and len(read) == now


def test_a_class_without_a_name_and_unknown_modes():
    model = tiny("a", classes=3)
    assert class_names(model, {"classes": '["a", "b", "c"]'}) == ("a", "b", "c")
    assert class_names(model, {}) == ("class 1", "class 2", "class 3")
    assert class_names(tiny("a"), {}) == CLASSES
    with pytest.raises(MSTError, match="unknown mode 'fast'; choose one of exact, cached, causal"):
        list(detect_video(model, open_video([plain(0)]), "fast"))


def test_frames_of_a_file_go_in_together_those_of_a_camera_one_by_one(echo):
    frames = [plain(t) for t in range(10)]
    list(detect_video(tiny("a"), open_video(frames)))
    list(detect_video(tiny("a"), first(open_video(iter(frames)), 7)))
    assert [e.pushes for e in Echo.made] == [[4, 4, 2], [1] * 7]  # tiny: a batch of 4


# ---- files ---------------------------------------------------------------------------------------


def some(t=0, image=None):
    """A frame with a strong and a weak detection."""
    return DetectedFrame(t, Detections(torch.tensor([[10.1, 8, 50.7, 28], [4, 2, 8, 6]]),
                               torch.tensor([0.9, 0.2]), torch.tensor([2, 1])), image)


def test_numbers_in_files_are_short_and_exact():
    values = torch.rand(500, generator=torch.Generator().manual_seed(0)) * 1000
    assert torch.equal(torch.tensor(exact(values)), values)
    assert exact(torch.tensor([[0.1, 411.5]])) == [[0.1, 411.5]]


def test_a_file_is_there_after_an_error_and_old_ones_stay_where_nothing_came(tmp_path):
    path = tmp_path / "new" / "found.csv"
    with pytest.raises(ZeroDivisionError), csv_file(path, "clip", ("a", "b")) as write:
        write(some(3))
        assert not path.exists() and len(list(path.parent.glob("*.part"))) == 1
        raise ZeroDivisionError
    rows = list(csv.reader(path.open()))
    assert rows[1] == ["clip", "3", "b", "0.9", "10.1", "8.0", "50.7", "28.0"] and len(rows) == 3
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(MSTError, match="cannot write .*found.csv: disk full.*found.csv.*part"), \
            keep_via(path) as temporary:
        temporary.write_text("half a li")
        raise OSError(28, "disk full")
    assert list(csv.reader(path.open())) == rows  # what cannot be trusted replaces nothing


@pytest.mark.parametrize("ends", ["well", "early"])
def test_json_is_whole_however_the_run_ends(tmp_path, ends):
    path, about = tmp_path / "found.json", {"video": "ünï", "fps": None}
    try:
        with json_file(path, about, ("a", "b")) as write:
            for found in (some(0), DetectedFrame(1, None), some(2)):
                write(found)
            if ends == "early":
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    plain = json.loads(path.read_text(encoding="utf-8"))
    assert plain["complete"] == (ends == "well") and plain["video"] == "ünï"
    assert plain["classes"] == ["a", "b"]
    assert plain["frames"][1] == {"frame": 1, "skipped": True}
    assert plain["frames"][2]["detections"][0] == {"label": "b", "score": 0.9,
                                                   "box": [10.1, 8, 50.7, 28]}


def test_where_detections_go(tmp_path):
    assert file_for(tmp_path / "a.csv", "x") == tmp_path / "a.csv"
    assert file_for(tmp_path / "new", "minivid-v1/test/3") == (
        tmp_path / "new" / "minivid-v1-test-3.csv")
    (tmp_path / "my.csv").mkdir()
    assert file_for(tmp_path / "my.csv", "x") == tmp_path / "my.csv" / "x.csv"
    with pytest.raises(MSTError, match="a .csv, a .json or a folder, not to '.txt'"):
        file_for(tmp_path / "a.txt", "x")


def test_what_is_drawn():
    image = torch.full((3, 31, 63), 40, dtype=torch.uint8)
    picture = draw(image, some().detections, ("a", "b"))
    factor = 15  # 480 / 31
    assert picture.size == (63 * factor + 1, 31 * factor + 1)  # even
    pixels = np.asarray(picture).astype(int)
    colour = [int(PALETTE[1][i : i + 2], 16) for i in (1, 3, 5)]  # of label 2
    assert pixels[18 * factor, round(10.1 * factor)].tolist() == colour          # left side
    assert pixels[18 * factor, round(10.1 * factor) - 1].tolist() == [255] * 3   # its white edge
    assert pixels[18 * factor, 30 * factor].tolist() == [40] * 3                 # inside
    assert (pixels[2 * factor : 6 * factor, 4 * factor : 8 * factor] == 40).all()  # too weak
    assert (pixels[: 8 * factor - 2] == colour).all(-1).any()                    # the tag, above
    strong = np.asarray(draw(image, some().detections, ("a", "b"), threshold=0.95))
    assert (strong[: 31 * factor, : 63 * factor] == 40).all()


def test_a_tag_stays_in_the_picture_and_boxes_may_leave_it():
    boxes = torch.tensor([[-20.0, -20, 500, 500], [470, 470, 479, 479], [0, 0, 3, 3]])
    found = Detections(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 2, 3]))
    image = torch.zeros(3, 480, 480, dtype=torch.uint8)
    picture = draw(image, found, ("first", "second", "a class with a long name"))
    assert picture.size == (480, 480)


# ---- the command ---------------------------------------------------------------------------------


def mst(monkeypatch, *words):
    """The exit code of `mst words`."""
    monkeypatch.setattr(sys, "argv", ["mst", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_is_scored_like_the_evaluation_of_the_same_weights(tmp_path, monkeypatch, capsys):
    classes, data, clips = ("red", "green"), tmp_path / "data", square_clips(2, frames=4)
    images, annotations = [], []
    (data / "annotations").mkdir(parents=True)
    model = tiny(classes=2)
    for v, clip in enumerate(clips):
        found = detect_clip(model, clip, TINY.test)  # what counts as true: the best of each frame
        for t, best in enumerate(found):
            images.append({"id": len(images), "video_id": v, "frame_id": t, "height": 64,
                           "width": 64, "file_name": f"{v}/{t}.png"})
            (data / str(v)).mkdir(exist_ok=True)
            Image.fromarray(clip.frame(t).permute(1, 2, 0).numpy()).save(data / f"{v}/{t}.png")
            x1, y1, x2, y2 = best.boxes[0].tolist()
            annotations.append({
                "id": len(images), "image_id": images[-1]["id"], "bbox": [x1, y1, x2 - x1, y2 - y1],
                "category_id": int(best.labels[0])})
    (data / "annotations" / "val.json").write_text(json.dumps({
        "videos": [{"id": v, "name": clip.name} for v, clip in enumerate(clips)], "images": images,
        "annotations": annotations,
        "categories": [{"id": k, "name": name} for k, name in enumerate(classes, 1)]}))
    weights = save_weights(model, tmp_path / "g.safetensors", 0, classes=classes)
    lines = []
    for v, clip in enumerate(clips):
        assert mst(monkeypatch, "detect", data / str(v), "--weights", weights, "--name", clip.name,
                   "--out", tmp_path / "found", "--device", "cpu") == 0
        header, *own = (tmp_path / "found" / f"{clip.name}.csv").read_text().splitlines()
        lines += [header, *own] if not lines else own
    (tmp_path / "all.csv").write_text("\n".join(lines))
    place = ["--data", f"coco-vid:{data}", "--split", "val", "--protocol", "vid", "--out"]
    assert mst(monkeypatch, "evaluate", weights, *place, tmp_path / "a.json", "--device",
               "cpu") == 0
    assert mst(monkeypatch, "evaluate", "--detections", tmp_path / "all.csv", *place,
               tmp_path / "b.json") == 0
    one, two = (json.loads((tmp_path / name).read_text())["metrics"]["vid"]
                for name in ("a.json", "b.json"))
    assert one["mAP"] > 10
    assert one["mAP"] == pytest.approx(two["mAP"], abs=0.02) and one["objects"] == two["objects"]
    assert capsys.readouterr().out.count("4 frames in ") == 2


def test_a_csv_of_minivid_is_known_by_its_clips(tmp_path, monkeypatch, weights):
    from mstlib.evaluation import assess

    monkeypatch.setenv("MST_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(assess, "get_config", lambda _: TINY)  # four clips instead of 96
    path = tmp_path / "found.csv"
    assert mst(monkeypatch, "detect", "minivid:val/0", "--weights", weights, "--out", path,
               "--device", "cpu") == 0
    assert rows(path)[0]["clip"] == "minivid-v1/val/0000"
    assert mst(monkeypatch, "evaluate", "--detections", path, "--split", "val", "--protocol", "vid",
               "--out", tmp_path / "out.json") == 0
    clip = load_minivid(TINY.data, "val")[0]
    direct = detect_clip(tiny(), clip, TINY.test)
    assert len(rows(path)) == pytest.approx(sum(len(d.scores) for d in direct), abs=2)
    assert json.loads((tmp_path / "out.json").read_text())["frames"] == 24


def test_the_printed_lines_and_the_last_one(tmp_path, monkeypatch, capsys, weights, echo):
    path = film(tmp_path / "a.mp4")
    assert mst(monkeypatch, "detect", path, "--weights", weights, "--threshold", 0.045) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0] == f"frame 5: {CLASSES[0]} 0.05 at 0 0 64 32" and len(lines) == 7 + 1
    assert lines[-1].startswith(f"{COUNT} frames in ")
    assert lines[-1].endswith(f"; {COUNT} detections, 7 of score 0.045 or more; 0 frames skipped")
    assert "ms a frame" in lines[-1] and err == ""


def test_progress_tells_the_rate_and_where_it_is_known_the_time_left(monkeypatch, capsys):
    monkeypatch.setattr("mstlib.progress.EVERY", 0.0)
    assert list(progress(iter("abc"), "camera", unit="frames")) == list("abc")
    assert list(progress("abcd", "file", 4, unit="frames")) == list("abcd")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 7 and re.fullmatch(r"camera: 3, \S+ frames/s", lines[2])
    assert re.fullmatch(r"file: 4/4, \S+ frames/s, 0 s left", lines[6])


def test_options_reach_the_streamer_and_the_files(tmp_path, monkeypatch, capsys, weights, echo):
    path, out = film(tmp_path / "a.mp4"), tmp_path / "found.json"
    assert mst(monkeypatch, "detect", path, "--weights", weights, "--window", 3, "--stride", 2,
               "--mode", "causal", "--limit", 5, "--out", out, "--name", "yard",
               "--precision", "bfloat16", "--draw", tmp_path / "found.mp4") == 0
    (streamer,) = Echo.made
    assert (streamer.test.window, streamer.test.stride, streamer.test.mode) == (3, 2, "causal")
    assert streamer.precision == "bfloat16"
    plain = json.loads(out.read_text())
    assert {name: plain[name] for name in ("video", "fps", "mode", "variant", "window", "stride")
            } == {"video": "yard", "fps": 10, "mode": "causal", "variant": "g", "window": 3,
                  "stride": 2}
    assert [f["frame"] for f in plain["frames"]] == list(range(5)) and plain["complete"]
    assert "5 frames in" in capsys.readouterr().out
    drawn = open_video(tmp_path / "found.mp4")
    assert len(list(drawn)) == 5 and drawn.fps == 10
    assert {f.shape for f in drawn} == {(3, 32 * 15, 64 * 15)}


def test_a_damaged_frame_leaves_what_came_before_in_the_files(tmp_path, monkeypatch, capsys,
                                                              weights, echo):
    path, out, drawn = (tmp_path / name for name in ("bad.avi", "found.csv", "found.mp4"))
    hurt(film(path, codec="mjpeg"), 7)
    words = ["detect", path, "--weights", weights, "--out", out, "--draw", drawn]
    assert mst(monkeypatch, *words) == 2
    err = capsys.readouterr().err
    assert err.startswith("mst: error: ") and err.count("\n") == 1
    assert "bad.avi, frame 7: cannot be decoded" in err
    assert f"{out} and {drawn} hold 7 frames" in err
    assert [row["frame"] for row in rows(out)] == list("0123456")
    assert len(list(open_video(drawn))) == 7
    assert mst(monkeypatch, *words, "--skip-bad") == 0
    assert f"{COUNT - 1} frames in" in (text := capsys.readouterr().out)
    assert "1 frames skipped" in text
    assert [int(row["frame"]) for row in rows(out)] == [*range(7), *range(8, COUNT)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.avi", "found.csv", "found.mp4"]


def test_a_full_disk_is_one_line(tmp_path, monkeypatch, capsys, weights, echo):
    path, out = film(tmp_path / "a.mp4"), tmp_path / "found.csv"

    def full(clip, frame, found, classes):
        if frame == 3:
            raise OSError(28, "No space left on device")
        return csv_rows(clip, frame, found, classes)

    monkeypatch.setattr("mstlib.keep.csv_rows", full)
    assert mst(monkeypatch, "detect", path, "--weights", weights, "--out", out) == 2
    err = capsys.readouterr().err
    assert f"cannot write {out}: No space left on device; free some space" in err
    (part,) = tmp_path.glob("found.csv.*.part")
    assert part.name in err and "hold" not in err and not out.exists()
    assert [row["frame"] for row in rows(part)] == list("012")


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (5, 3)])
def test_frames_of_any_size_go_through(size):
    found = list(detect_video(tiny(), open_video(np.zeros((3, *size, 3), np.uint8))))
    assert len(found) == 3
    for boxes in (f.detections.boxes for f in found):
        assert (boxes >= 0).all() and (boxes <= torch.tensor([*size[::-1]] * 2)).all()


def test_ctrl_c_keeps_what_is_done(tmp_path, monkeypatch, capsys, weights, echo):
    path, out = film(tmp_path / "a.mp4"), tmp_path / "found.csv"
    push = Echo.push

    def interrupted(self, *frames):
        if self.count == 8:
            raise KeyboardInterrupt
        return push(self, *frames)

    monkeypatch.setattr(Echo, "push", interrupted)
    assert mst(monkeypatch, "detect", path, "--weights", weights, "--out", out) == 130
    assert f"mst: stopped; {out} holds 5 frames" in capsys.readouterr().err
    assert [row["frame"] for row in rows(out)] == list("01234")  # 8, less those of the delay


@pytest.mark.parametrize(("words", "says"), [
    ("none.mp4", "none.mp4: no such file"), ("text.mp4", "text.mp4: not a video"),
    ("camera:99", "no camera at /dev/video99"), ("a.mp4 --mode fast", "unknown mode 'fast'"),
    ("a.mp4 --precision half", "unknown precision 'half'"),
    ("a.mp4 --out b.txt", "detections go to a .csv, a .json or a folder"),
    ("a.mp4 --draw b.gif", "b.gif: the drawn video is an .mp4"),
    ("a.mp4 --variant c", "holds variant (g), not (c)"),
    ("a.mp4 --device tpu", "unknown device 'tpu'"),
    ("empty", "empty: holds no image"),
])
def test_mistakes_are_one_line_and_touch_nothing(tmp_path, monkeypatch, capsys, weights, words,
                                                 says):
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "a.mp4")
    (tmp_path / "text.mp4").write_text("text")
    (tmp_path / "old.csv").write_text("what was found before")
    (tmp_path / "empty").mkdir()
    words = words.split()
    out = [] if "--out" in words else ["--out", "old.csv"]
    assert mst(monkeypatch, "detect", *words, "--weights", weights, *out) == 2
    text, err = capsys.readouterr()
    assert says in err and err.startswith("mst: error: ") and err.count("\n") == 1 and text == ""
    assert (tmp_path / "old.csv").read_text() == "what was found before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "empty", "old.csv", "text.mp4"]


def test_the_shipped_weights_are_the_default(tmp_path, monkeypatch, capsys):
    out = tmp_path / "found.json"
    frames = np.zeros((2, *SIZE, 3), np.uint8)
    np.save(tmp_path / "dark.npy", frames)
    assert mst(monkeypatch, "detect", tmp_path / "dark.npy", "--variant", "a", "--out", out) == 0
    plain = json.loads(out.read_text())
    assert plain["variant"] == "a" and plain["classes"] == list(CLASSES)


# ---- the page ------------------------------------------------------------------------------------


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    root = Path(__file__).parents[1]
    page = (root / "docs" / "detect.md").read_text(encoding="utf-8")
    command = typer.main.get_command(cli.app).commands["detect"]
    lines = [shlex.split(line, comments=True) for line in page.splitlines()
             if line.startswith("mst detect")]
    assert len(lines) == 6
    for words in lines:
        command.make_context("detect", words[2:])  # parses and converts, runs nothing
    (tmp_path / "results").symlink_to(root / "results")
    film(tmp_path / "street.mp4", [plain(t) for t in range(3)])
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {"numpy": np}
    for block in blocks:
        exec(block.replace("count=100", "count=2").replace("> 0.5", "> 0"), names)
    assert len(blocks) == 2 and names["found"].number == 1
    assert capsys.readouterr().out.startswith("0 ")
