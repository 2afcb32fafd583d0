"""From annotation tools to COCO-VID: boxes worked out by hand, damaged files, adding twice."""

import json
import re
import shlex
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image

from mstlib.cli import main as cli
from mstlib.config import MSTError
from mstlib.data.formats import convert as converting
from mstlib.data.formats.convert import convert
from mstlib.data.formats.cvat import read_cvat
from mstlib.data.formats.mot import read_mot
from mstlib.data.readers import open_dataset

SIZE = (48, 64)  # (H, W) of every test frame
META = ("<meta><task><size>{count}</size><start_frame>{start}</start_frame>"
        "<frame_filter>{step}</frame_filter><labels><label><name>car</name></label>"
        "<label><name>person</name></label></labels><original_size><width>64</width>"
        "<height>48</height></original_size></task></meta>")


def box(frame: int, x1=2.0, y1=4.0, x2=12.0, y2=14.0, **more) -> str:
    """A <box> of CVAT."""
    values = {"frame": frame, "outside": 0, "occluded": 0, "keyframe": 1,
              "xtl": x1, "ytl": y1, "xbr": x2, "ybr": y2} | more
    return "<box " + " ".join(f'{k}="{v}"' for k, v in values.items()) + "></box>"


def track(*boxes: str, ident: object = 0, label: str = "car") -> str:
    return "\n".join([f'<track id="{ident}" label="{label}">', *boxes, "</track>"])


def cvat(path: Path, *tracks: str, count=6, start=0, step="") -> Path:
    """A CVAT file: line 1 the head, line 2 the meta data, the tracks from line 3 on."""
    head = "<?xml version='1.0'?><annotations><version>1.1</version>"
    path.write_text("\n".join([head, META.format(count=count, start=start, step=step), *tracks,
                               "</annotations>"]))
    return path


def mot(folder: Path, *lines: str, labels: str = "car\nperson\n", length: int | None = 6) -> Path:
    """A MOT sequence without frames."""
    (folder / "gt").mkdir(parents=True)
    (folder / "gt" / "gt.txt").write_text("\n".join(lines))
    if labels:
        (folder / "gt" / "labels.txt").write_text(labels)
    if length is not None:
        (folder / "seqinfo.ini").write_text(
            f"[Sequence]\nname=x\nseqLength={length}\nimWidth=64\nimHeight=48\n")
    return folder / "gt" / "gt.txt"


def frames(folder: Path, count: int = 6, size: tuple[int, int] = SIZE) -> Path:
    """Frames that tell their number: frame t is grey 10 t. Named so that text order is wrong."""
    folder.mkdir(parents=True)
    for t in range(count):
        Image.new("RGB", size[::-1], (10 * t,) * 3).save(folder / f"f{t}.png")
    return folder


def film(path: Path, count: int = 6) -> Path:
    """A video file whose frame t is grey 20 t; the upper half of each frame is white."""
    av = pytest.importorskip("av", reason="PyAV is not installed")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        for t in range(count):
            pixels = np.full((*SIZE, 3), 20 * t, dtype=np.uint8)
            pixels[: SIZE[0] // 2] = 255
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def found(path: Path) -> dict[int, tuple]:
    """Frame -> corners of the only track of a CVAT file."""
    return {b.frame: b.corners for b in read_cvat(path).boxes}


def document(root: Path, split: str = "train") -> dict:
    return json.loads((root / "annotations" / f"{split}.json").read_text())


def mst(monkeypatch, *words: object) -> int:
    """The exit code of `mst words`."""
    monkeypatch.setattr(sys, "argv", ["mst", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


# ---- CVAT ----------------------------------------------------------------------------------------


def test_between_keyframes_boxes_are_interpolated_linearly(tmp_path):
    path = cvat(tmp_path / "a.xml", track(box(0, 0, 0, 10, 10), box(4, 8, 4, 18, 16)))
    assert found(path) == {0: (0, 0, 10, 10), 1: (2, 1, 12, 11.5), 2: (4, 2, 14, 13),
                           3: (6, 3, 16, 14.5), 4: (8, 4, 18, 16)}


def test_outside_ends_an_object_until_its_next_box(tmp_path):
    gone = box(3, 60, 40, 60, 40, outside=1)  # without area: only its frame counts
    path = cvat(tmp_path / "a.xml", track(box(0), gone, box(5, 20, 20, 30, 30)))
    assert found(path) == {0: (2, 4, 12, 14), 1: (2, 4, 12, 14), 2: (2, 4, 12, 14),
                           5: (20, 20, 30, 30)}


def test_boxes_may_come_in_any_order_and_after_the_last_one_there_is_nothing(tmp_path):
    path = cvat(tmp_path / "a.xml", track(box(2, 4, 4, 14, 14), box(0, 0, 4, 10, 14)))
    assert found(path) == {0: (0, 4, 10, 14), 1: (2, 4, 12, 14), 2: (4, 4, 14, 14)}


def test_a_task_with_a_frame_filter_counts_frames_of_the_video(tmp_path):
    path = cvat(tmp_path / "a.xml", track(box(2, 0, 0, 8, 8), box(8, 12, 0, 20, 8)),
                count=3, start=2, step="step=3")
    assert read_cvat(path).frames == range(2, 11, 3)
    assert found(path) == {2: (0, 0, 8, 8), 5: (6, 0, 14, 8), 8: (12, 0, 20, 8)}


@pytest.mark.parametrize(("degrees", "corners"), [
    (90, (-3, 4, 7, 24)),                           # 20 x 10 about (2, 14) becomes 10 x 20
    (180, (-8, 9, 12, 19)),
    (45, (2 - 15 / 2**0.5, 14 - 15 / 2**0.5, 2 + 15 / 2**0.5, 14 + 15 / 2**0.5)),
])
def test_a_turned_box_is_the_upright_box_around_it(tmp_path, degrees, corners):
    path = cvat(tmp_path / "a.xml", track(box(0, -8, 9, 12, 19, rotation=degrees)))
    assert found(path)[0] == pytest.approx(corners)


def test_tracks_keep_their_label_and_occlusion(tmp_path):
    path = cvat(tmp_path / "a.xml", track(box(0), ident=3, label="person"),
                track(box(1, occluded=1), ident=7))
    video = read_cvat(path)
    assert [(b.track, b.label, b.occluded) for b in video.boxes] == [
        (3, "person", False), (7, "car", True)]
    assert video.classes == ("car", "person") and video.size == SIZE


@pytest.mark.parametrize(("tracks", "says"), [
    ([track(box(0, xbr="x"))], "a.xml:4: xbr is not a number: 'x'"),
    ([track(box(0), box(1, xtl="nan"))], "a.xml:5: xtl is not a number: 'nan'"),
    ([track(box(0, 12, 4, 2, 14))], "a.xml:4: a box has no area"),
    ([track(box(0, 2, 4, 12, 4))], "a.xml:4: a box has no area"),
    ([track('<box frame="0" xtl="1" ytl="1" xbr="9"></box>')],
     "a.xml:4: ybr is not a number: 'None'"),
    ([track(box(0)), track(box(1), box(1), ident=2)],
     "a.xml:8: track 2 has two boxes in frame 1"),
    ([track(box(0), box(6))], "a.xml:5: frame 6, but the task has frames 0 to 5"),
    ([track(box(0), ident="x")], "a.xml:3: a track needs a number as id and a label"),
    ([track(box(0), label="")], "a.xml:3: label '' is none of the task's: car, person"),
    ([track(box(0), label="dog")], "a.xml:3: label 'dog' is none of the task's: car, person"),
    ([track(box(0)), track(box(1))], "a.xml:6: track 0 is there twice"),
    ([track(box(0, outside="yes"))], "a.xml:4: outside is not a number: 'yes'"),
    ([track(box(0, occluded=2))], "a.xml:4: frame must be a whole number, outside and occluded"),
    ([track(box(1.5))], "a.xml:4: frame must be a whole number"),
    ([track(box(-1))], "a.xml:4: frame must be a whole number"),
    ([track(box(0, xbr="1e39"))], "a.xml:4: xbr is not a number: '1e39'"),
    ([track('<polygon frame="0" points="1,1;2,2;3,1"></polygon>')],
     "a.xml:3: track 0 is a polygon; only boxes can be read"),
    (['<image id="0" name="1.png"></image>'], "a.xml:1: not a file of 'CVAT for video 1.1'"),
    (["<track>"], "a.xml:4: not complete XML (mismatched tag"),
])
def test_damage_is_named_with_its_line(tmp_path, tracks, says):
    with pytest.raises(MSTError) as caught:
        read_cvat(cvat(tmp_path / "a.xml", *tracks))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_cut_file_is_named_with_the_line_where_it_ends(tmp_path):
    path = cvat(tmp_path / "a.xml", track(*(box(t) for t in range(6))))
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(MSTError, match=r"a\.xml:9: not complete XML"):
        read_cvat(path)
    path.write_bytes(b"")
    with pytest.raises(MSTError, match="not complete XML"):
        read_cvat(path)
    with pytest.raises(MSTError, match="b.xml: No such file"):
        read_cvat(tmp_path / "b.xml")


# ---- MOT -----------------------------------------------------------------------------------------


def test_a_line_of_mot_by_hand(tmp_path):
    path = mot(tmp_path, "3,7,10.5,20,30,15,1,2,0.3", "", "1,2,0,0,5,5,1,1,0.9")
    late, early = read_mot(path).boxes
    assert (late.frame, late.track, late.label, late.corners, late.occluded, late.ignored) == (
        2, 7, "person", (10.5, 20, 40.5, 35), True, False)
    assert (early.frame, early.label, early.occluded) == (0, "car", False)


def test_confidence_0_is_a_region_to_ignore_of_any_class(tmp_path):
    path = mot(tmp_path, "1,1,0,0,5,5,0,12,1", "1,1,0,0,9,9,0,12,1", "1,-1,0,0,5,5,1,1,1")
    assert [(b.ignored, b.track) for b in read_mot(path).boxes] == [
        (True, 1), (True, 1), (False, -1)]


def test_classes_given_replace_labels_and_one_class_needs_no_number(tmp_path):
    path = mot(tmp_path, "1,1,0,0,5,5,1,-1,-1,-1")
    assert read_mot(path, ("walker",)).boxes[0].label == "walker"
    assert not read_mot(path, ("walker",)).boxes[0].occluded  # visibility -1: not told


@pytest.mark.parametrize(("lines", "says"), [
    (["1,1,0,0,5"], "gt.txt:1: not a line of gt.txt"),
    (["1,1,0,0,5,5,1,1,1", "2,1,0,0,5,5"], "gt.txt:2: 6 columns, but 9 in the lines before"),
    (["1,1,0,0,5,5,1,1,1,1,1"], "gt.txt:1: not a line of gt.txt"),
    (["1,1,0,0,5,1e39,1,1,1"], "gt.txt:1: a box needs finite numbers"),
    (["1,1,0,0,5,five,1,1,1"], "gt.txt:1: not a line of gt.txt"),
    (["1,1,0,0,nan,5,1,1,1"], "gt.txt:1: a box needs finite numbers"),
    (["1,1,0,0,5,0,1,1,1"], "gt.txt:1: a box needs finite numbers and a positive width"),
    (["0,1,0,0,5,5,1,1,1"], "gt.txt:1: frame and id are whole numbers and frames count from 1"),
    (["1,1.5,0,0,5,5,1,1,1"], "gt.txt:1: frame and id are whole numbers"),
    (["1,1,0,0,5,5,1,3,1"], "gt.txt:1: class 3, but there are names for 1 to 2: car, person"),
    (["7,1,0,0,5,5,1,1,1"], "gt.txt:1: frame 7, but seqinfo.ini has seqLength=6"),
    (["1,1,0,0,5,5,1,1,1", "1,1,9,9,5,5,1,1,1"], "gt.txt:2: id 1 is in frame 1 twice"),
])
def test_damaged_mot_is_named_with_its_line(tmp_path, lines, says):
    with pytest.raises(MSTError) as caught:
        read_mot(mot(tmp_path, *lines))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_files_from_windows_and_names_with_blanks_around_are_no_matter(tmp_path):
    path = mot(tmp_path, labels="")
    path.write_bytes(b"\xef\xbb\xbf1,1,0,0,5,5,1,2,1\r\n\r\n2,1,0,0,5,5,1,1,1\r\n")
    path.with_name("labels.txt").write_bytes(b"\xef\xbb\xbfcar \r\n person\r\n\r\n")
    assert [b.label for b in read_mot(path).boxes] == ["person", "car"]
    path.with_name("labels.txt").write_text("car\n\nperson\n")
    with pytest.raises(MSTError, match="gt.txt:1: class 2 has no name: a blank line"):
        read_mot(path)


def test_more_frames_annotated_than_there_are_names_the_line(tmp_path):
    path = mot(tmp_path / "s", "1,1,0,0,5,5,1,1,1", "7,1,0,0,5,5,1,1,1", length=None)
    with pytest.raises(MSTError, match=r"gt.txt:2: a box in frame 6 .* but there are 6 frames"):
        convert("mot", path, frames(tmp_path / "one"), tmp_path / "my", "train")


def test_mot_without_class_names_or_with_a_damaged_seqinfo(tmp_path):
    path = mot(tmp_path / "a", "1,1,0,0,5,5,1,1,1", labels="")
    with pytest.raises(MSTError, match="gt.txt:1: classes have numbers only; name them"):
        read_mot(path)
    (tmp_path / "a" / "seqinfo.ini").write_text("seqLength=six")
    with pytest.raises(MSTError, match="seqinfo.ini: not a seqinfo.ini"):
        read_mot(path, ("car",))


# ---- the data set --------------------------------------------------------------------------------


def test_what_is_written_reads_back_as_targets(tmp_path):
    path = cvat(tmp_path / "a.xml", track(box(0), box(1, 4, 4, 14, 14), box(2, outside=1), ident=5),
                track(box(1, -6, 40, 10.5, 60, occluded=1), ident=2, label="person"), count=3)
    said = convert("cvat", path, frames(tmp_path / "street", 3), tmp_path / "my", "train")
    assert said == ["street: 3 frames, 3 boxes, 2 objects"]
    dataset = open_dataset("coco-vid", tmp_path / "my", "train")
    assert dataset.classes == ("car", "person") and [c.name for c in dataset] == ["street"]
    clip = dataset[0]
    assert [int(clip.frame(t)[0, 0, 0]) for t in range(len(clip))] == [0, 10, 20]
    now = clip.annotated(1)
    assert now.boxes.tolist() == [[0, 40, 10.5, 48], [4, 4, 14, 14]]  # cut to the picture
    assert now.labels.tolist() == [2, 1] and now.flags[:, 2].tolist() == [True, False]
    assert clip.target(0).ids.tolist() == [now.ids.tolist()[1]] and len(set(now.ids.tolist())) == 2
    assert len(clip.target(2).boxes) == 0


def test_ignored_regions_and_missing_track_ids_survive(tmp_path):
    mot(tmp_path / "s", "1,-1,2,2,5,5,1,1,1", "1,9,20,20,8,8,0,1,1", "2,4,99,99,5,5,1,2,1")
    frames(tmp_path / "s" / "img1")
    said = convert("mot", tmp_path / "s", None, tmp_path / "my", "val")
    assert said == ["s: 6 frames, 1 boxes, 0 objects; 1 ignored regions; "
                    "1 boxes wholly outside of the picture left out"]
    target = open_dataset("coco-vid", tmp_path / "my", "val")[0].target(0)
    assert target.ids.tolist() == [-1] and target.boxes.tolist() == [[2, 2, 7, 7]]
    assert target.ignored.tolist() == [[20, 20, 28, 28]]


def test_a_second_video_continues_the_ids_and_loses_nothing(tmp_path):
    root, path = tmp_path / "my", cvat(tmp_path / "a.xml", track(box(0), box(5)))
    convert("cvat", path, frames(tmp_path / "one"), root, "train")
    first = document(root)
    (root / "annotations" / "train.json").write_text(json.dumps({"info": {"by": "us"}, **first}))
    other = cvat(tmp_path / "b.xml", track(box(1), label="dog"), track(box(2), ident=1))
    other.write_text(other.read_text().replace("person", "dog"))
    convert("cvat", other, frames(tmp_path / "two"), root, "train")
    both = document(root)
    assert both["info"] == {"by": "us"}
    for name in ("videos", "images", "annotations", "categories"):
        assert both[name][: len(first[name])] == first[name]
        ids = [entry["id"] for entry in both[name]]
        assert len(set(ids)) == len(ids) > len(first[name])
    tracks = [{a["instance_id"] for a in both["annotations"] if a["video_id"] == v} for v in (1, 2)]
    assert [len(t) for t in tracks] == [1, 2] and not tracks[0] & tracks[1]
    assert [len(c) for c in open_dataset("coco-vid", root, "train")] == [6, 6]


def test_a_class_has_one_id_in_all_splits(tmp_path):
    root = tmp_path / "my"
    cars = mot(tmp_path / "a", "1,1,0,0,5,5,1,1,1", labels="car\nperson")
    people = mot(tmp_path / "b", "1,1,0,0,5,5,1,1,1", labels="person")
    convert("mot", cars, frames(tmp_path / "one"), root, "train")
    convert("mot", people, frames(tmp_path / "two"), root, "val")
    train, val = (open_dataset("coco-vid", root, split) for split in ("train", "val"))
    assert train.classes == val.classes == ("car", "person")
    assert val[0].target(0).labels.tolist() == [2]
    dogs = mot(tmp_path / "c", "1,1,0,0,5,5,1,1,1", labels="dog")
    convert("mot", dogs, frames(tmp_path / "dogs"), root, "val")  # a class that is new to train
    assert open_dataset("coco-vid", root, "train").classes == ("car", "person", "dog")
    other = document(root) | {"categories": [{"id": 1, "name": "boat"}]}
    (root / "annotations" / "test.json").write_text(json.dumps(other))
    with pytest.raises(MSTError, match="class 1 is car, but .*test.json has 1 boat"):
        convert("mot", cars, frames(tmp_path / "three"), root, "val")


@pytest.mark.parametrize("trouble", ["missing frames", "disk"])
def test_if_anything_fails_everything_is_as_before(tmp_path, monkeypatch, trouble):
    root, several = tmp_path / "my", tmp_path / "several"
    path = cvat(tmp_path / "a.xml", track(box(0), box(5)))
    kept = frames(root / "images" / "kept")  # frames that lie in the data set already
    convert("cvat", path, kept, root, "train")
    several.mkdir()
    for name in "bc":
        cvat(several / f"{name}.xml", track(box(0), box(5)))
    frames(several / "b")
    frames(several / "c", 6 if trouble == "disk" else 4)
    if trouble == "disk":
        def no_space(path, value):
            raise MSTError(f"cannot write {path}: No space left on device")
        monkeypatch.setattr(converting, "write_json", no_space)
    before = {p: p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
    with pytest.raises(MSTError, match="4 frames, but the annotation has 6|No space"):
        convert("cvat", several, None, root, "train", copy=True)
    assert {p: p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()} == before
    with pytest.raises(MSTError, match="is there already|holds a video 'kept' already"):
        convert("cvat", path, kept, root, "train", copy=True)
    assert len(list(kept.iterdir())) == 6


def test_a_failure_spares_frames_that_lie_in_the_data_set(tmp_path):
    kept = frames(tmp_path / "my" / "images" / "kept", 3)
    path = cvat(tmp_path / "a.xml", track(box(0)))
    with pytest.raises(MSTError, match="3 frames, but the annotation has 6, 0 to 5"):
        convert("cvat", path, kept, tmp_path / "my", "train")
    assert len(list(kept.iterdir())) == 3


def test_two_that_add_at_once_both_arrive(tmp_path, monkeypatch):
    root, read = tmp_path / "my", converting._read

    def slow(path):
        known = read(path)
        time.sleep(0.05)  # long enough for the other one to read the same
        return known

    monkeypatch.setattr(converting, "_read", slow)
    path = cvat(tmp_path / "a.xml", track(box(0)))
    threads = [threading.Thread(target=convert, args=(
        "cvat", path, frames(tmp_path / name), root, "train")) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(v["name"] for v in document(root)["videos"]) == ["x", "y", "z"]


def test_frames_are_referred_to_by_relative_paths_or_copied(tmp_path):
    path = cvat(tmp_path / "a.xml", track(box(0)))
    convert("cvat", path, frames(tmp_path / "there" / "one"), tmp_path / "my", "train")
    convert("cvat", path, tmp_path / "there" / "one", tmp_path / "my", "val", copy=True)
    names = [document(tmp_path / "my", s)["images"][0]["file_name"] for s in ("train", "val")]
    assert names == ["../there/one/f0.png", "images/one/f0.png"]
    assert len(list((tmp_path / "my" / "images" / "one").iterdir())) == 6
    assert not list((tmp_path / "my").rglob("*.part"))


def test_a_folder_with_the_whole_video_gives_the_frames_of_the_task(tmp_path):
    path = cvat(tmp_path / "a.xml", track(box(2), box(8)), count=3, start=2, step="step=3")
    for count, greys in ((12, [20, 50, 80]), (3, [0, 10, 20])):  # the whole video, the task's only
        name = f"v{count}"
        convert("cvat", path, frames(tmp_path / name, count), tmp_path / name / "my", "train")
        clip = open_dataset("coco-vid", tmp_path / name / "my", "train")[0]
        assert [int(clip.frame(t)[0, 0, 0]) for t in range(len(clip))] == greys
        assert [len(clip.target(t).boxes) for t in range(3)] == [1, 1, 1]


def test_frames_of_another_size_than_annotated_are_an_error(tmp_path):
    path = cvat(tmp_path / "a.xml", track(box(0)))
    with pytest.raises(MSTError, match="32 x 24 pixels, but .*a.xml is about frames of 64 x 48"):
        convert("cvat", path, frames(tmp_path / "one", size=(24, 32)), tmp_path / "my", "train")


def test_a_file_that_is_not_coco_vid_is_left_alone(tmp_path):
    path = cvat(tmp_path / "a.xml", track(box(0)))
    there = tmp_path / "my" / "annotations" / "train.json"
    there.parent.mkdir(parents=True)
    for content in ('{"videos": []}', "[1, 2", "[]", '{"videos": [1]}'):
        there.write_text(content)
        with pytest.raises(MSTError, match="train.json: nothing can be added"):
            convert("cvat", path, frames(tmp_path / f"f{len(content)}"), tmp_path / "my", "train")
        assert there.read_text() == content


# ---- video files ---------------------------------------------------------------------------------


def test_the_annotated_frames_are_taken_out_of_a_video_file(tmp_path):
    video = film(tmp_path / "street.mp4", 10)
    path = cvat(tmp_path / "a.xml", track(box(2), box(8)), count=3, start=2, step="step=3")
    convert("cvat", path, video, tmp_path / "my", "train")
    clip = open_dataset("coco-vid", tmp_path / "my", "train")[0]
    assert [clip.path(t).name for t in range(3)] == ["000002.jpg", "000005.jpg", "000008.jpg"]
    greys = [float(clip.frame(t)[:, 36:].float().mean()) for t in range(3)]
    assert greys == pytest.approx([40, 100, 160], abs=4)


def test_a_video_filmed_with_a_turned_phone_is_put_upright(tmp_path):
    video = film(tmp_path / "phone.mp4")
    data = bytearray(video.read_bytes())
    matrix = data.index(b"tkhd") + 44  # of the track header: a quarter turn clockwise
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    video.write_bytes(data)
    path = mot(tmp_path / "s", "1,1,0,0,5,5,1,1,1", length=None)
    convert("mot", path, video, tmp_path / "my", "train")
    frame = open_dataset("coco-vid", tmp_path / "my", "train")[0].frame(0)
    assert frame.shape == (3, 64, 48)  # what was the top, white, is now at the right
    assert frame[:, :, 28:].float().mean() > 240 > 20 > frame[:, :, :20].float().mean()


def test_a_video_that_is_too_short_or_damaged_leaves_nothing_behind(tmp_path):
    path = cvat(tmp_path / "a.xml", track(box(0)), count=9)
    short, noise = film(tmp_path / "short.mp4"), tmp_path / "noise.mp4"
    noise.write_bytes(bytes(1000))
    for video, says in ((short, "6 frames, but the annotation has 9"),
                        (noise, "frame 0 cannot be decoded")):
        with pytest.raises(MSTError, match=says):
            convert("cvat", path, video, tmp_path / "my", "train")
        assert not list((tmp_path / "my").rglob("*.*"))


def test_without_pyav_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(MSTError, match="pip install av"):
        convert("cvat", cvat(tmp_path / "a.xml", track(box(0))), tmp_path / "a.mp4",
                tmp_path / "my", "train")


# ---- the command ---------------------------------------------------------------------------------


def test_the_command_converts_and_says_what_it_did(tmp_path, monkeypatch, capsys):
    path = cvat(tmp_path / "a.xml", track(box(0), box(2)))
    assert mst(monkeypatch, "data", "convert", "cvat", path, "--images", frames(tmp_path / "one"),
               "--out", tmp_path / "my", "--name", "monday") == 0
    assert capsys.readouterr().out == (
        "monday: 6 frames, 3 boxes, 1 objects\n"
        f"annotations: {tmp_path}/my/annotations/train.json\n")


@pytest.mark.parametrize(("words", "says"), [
    ("yolo a.xml", "no converter for 'yolo'; choose one of cvat, mot"),
    ("cvat a.xml --classes car", "--classes is for mot"),
    ("cvat a.xml --split dev", "no split 'dev'; choose one of train, val, test"),
    ("cvat a.xml", "images: no such video or folder of frames"),
    ("cvat a.xml --images one --name a/b", "'a/b' cannot be the name of a folder"),
    ("cvat empty", "empty: no .xml in this folder"),
    ("mot empty", "empty: neither gt/gt.txt nor NAME/gt/gt.txt in this folder"),
    ("cvat several --images one", "one: one video or folder of frames must be named b, 0 are"),
    ("mot nowhere", "nowhere: not readable (No such file or directory)"),
    ("cvat a.xml --images one --out a.xml/x", "cannot be made (Not a directory)"),
])
def test_mistakes_are_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    cvat(tmp_path / "a.xml", track(box(0)))
    for name in ("empty", "several"):
        (tmp_path / name).mkdir()
    cvat(tmp_path / "several" / "b.xml", track(box(0)))
    frames(tmp_path / "one")
    assert mst(monkeypatch, "data", "convert", "--out", "my", *words.split()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("mst: error: ") and says in err and err.count("\n") == 1


# ---- the page ------------------------------------------------------------------------------------


def test_the_walk_through_of_the_page_runs(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[1] / "docs" / "own-videos.md").read_text(encoding="utf-8")
    lines = "".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL)).splitlines()
    commands = [shlex.split(line, comments=True)[1:] for line in page.splitlines()
                if line.startswith("mst ")]
    assert [c[0] for c in commands].count("train") == 3
    for words in commands:  # each is a valid command line, also those that take long
        inner = typer.main.get_command(cli.app).commands[words[0]]
        if words[0] == "data":
            words, inner = words[1:], inner.commands[words[1]]
        inner.make_context(words[0], words[1:])
    monkeypatch.chdir(tmp_path)
    shell = []
    for line in lines:
        if not line.startswith("mst "):
            shell.append(line)
        elif line.startswith("mst data "):
            subprocess.run(["bash", "-e"], input="\n".join(shell), text=True, check=True)
            shell = []
            assert mst(monkeypatch, *shlex.split(line)[1:]) == 0, line
    said = capsys.readouterr().out
    assert "first: 8 frames, 14 boxes, 2 objects" in said
    assert said.count("no problems (every image decoded)") == 2
    assert "note: frame without an object: 6" in said
