"""The data set checker: every kind of damage is found, as exactly the line that names it."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from shared_data import SHARED, needs_davis

from mstlib.cli import main as cli
from mstlib.data.check.check import check_data, report_lines
from mstlib.data.formats.lookalike import LOOKALIKES, write_lookalike
from mstlib.data.readers import FORMATS

VID = "Annotations/VID/train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000"
VID_IMAGES = VID.replace("Annotations", "Data")
GT = "UAV-benchmark-MOTD_v1.0/GT/M0101_gt_whole.txt"
MASKS, COCO = "Annotations/480p/bear", "annotations/train.json"


@pytest.fixture(scope="session")
def lookalikes(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a look-alike by name, written once; not to be changed."""
    base, made = tmp_path_factory.mktemp("lookalikes"), {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = write_lookalike(name, base / name)
        return made[name]

    return folder


@pytest.fixture
def copy(lookalikes, tmp_path) -> Callable[[str], Path]:
    """A copy of a look-alike to damage."""
    return lambda name: Path(shutil.copytree(lookalikes(name), tmp_path / name))


def problems(format: str, root: Path, **how) -> dict[str, list[str]]:
    return check_data(format, root, **how)["problems"]


def cut(path: Path, share: float = 0.6) -> None:
    """Leave the first part of a file."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def replace(path: Path, old: str, new: str, count: int = 1) -> None:
    """Replace text that is there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def edit(root: Path, change: Callable[[dict], object], split: str = "train") -> None:
    """Change the JSON file of a COCO-VID look-alike in place."""
    path = root / "annotations" / f"{split}.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def mst(monkeypatch, *words: object) -> int:
    """The exit code of `mst words`."""
    monkeypatch.setattr(sys, "argv", ["mst", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


# ---- sound data ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*sequences are read")
@pytest.mark.parametrize("name", LOOKALIKES)
def test_a_sound_data_set_has_no_problems_and_right_counts(lookalikes, name):
    format = name if name in FORMATS else "davis"
    report = check_data(format, lookalikes(name))
    assert report["problems"] == {}
    assert ("box that was not drawn but interpolated" in report["notes"]) == (
        name in ("imagenet", "imagenet-vid"))
    for split, counts in report["splits"].items():
        dataset = FORMATS[format].open(lookalikes(name), split)
        assert (counts["clips"], counts["frames"]) == (len(dataset), sum(map(len, dataset)))
        if split == "test" and format.startswith("imagenet"):
            continue  # no annotation is published
        targets = [(c.name, clip_target) for c in dataset for clip_target in map(
            c.annotated, range(len(c)))]
        assert counts["boxes"] == sum(len(t.boxes) for _, t in targets)
        assert counts["ignored"] == sum(len(t.ignored) for _, t in targets)
        assert counts["tracks"] == len({(n, int(i)) for n, t in targets for i in t.ids if i >= 0})
        for k, kind in enumerate(dataset.classes, 1):
            boxes = sum(int((t.labels == k).sum()) for _, t in targets)
            assert counts["classes"][kind]["boxes"] == boxes
        assert counts["boxes"] == sum(c["boxes"] for c in counts["classes"].values())
        assert counts["generated"] == sum(c.generated(t) for c in dataset for t in range(len(c)))


def test_several_processes_find_the_same(copy):
    root = copy("uavdt")
    (root / "UAV-benchmark-M/M0201/img000004.jpg").unlink()
    assert check_data("uavdt", root, "train", jobs=2) == check_data("uavdt", root, "train")


def test_test_videos_of_imagenet_are_looked_at_without_annotations(copy):
    root = copy("imagenet-vid")
    frame = root / "Data/VID/test/ILSVRC2015_test_00000000/000003.JPEG"
    frame.unlink()
    report = check_data("imagenet-vid", root, "test")
    assert report["problems"] == {"missing frame": [
        f"{frame}: frame 3 of test/ILSVRC2015_test_00000000 is not there"]}
    assert report["notes"] == {"split without annotations": [
        "test: its frames were looked at only"]}


# ---- images --------------------------------------------------------------------------------------


FRAMES = {  # of each format: frame 2 of the first clip of train
    "imagenet-vid": f"{VID_IMAGES}/000002.JPEG", "uavdt": "UAV-benchmark-M/M0101/img000003.jpg",
    "davis": "JPEGImages/480p/bear/00002.jpg", "coco-vid": "data/train/train-1/000002.jpg",
}


@pytest.mark.parametrize("format", FRAMES)
def test_a_missing_frame(copy, format):
    path = copy(format) / FRAMES[format]
    path.unlink()
    found = problems(format, path.parents[len(Path(FRAMES[format]).parts) - 1])
    assert list(found) == ["missing frame"]
    assert len(found["missing frame"]) == 1
    assert found["missing frame"][0].startswith(f"{path}: frame 2 of ")


@pytest.mark.parametrize("format", FRAMES)
def test_a_cut_and_an_unreadable_image(copy, format):
    root = copy(format)
    path = root / FRAMES[format]
    cut(path)
    (line,) = problems(format, root)["image that cannot be read"]
    assert line.startswith(f"{path}: ")
    assert problems(format, root, quick=True) == {}  # its header is whole
    path.write_bytes(b"<html>not found</html>")
    (line,) = problems(format, root, quick=True)["image that cannot be read"]
    assert line.startswith(f"{path}: ")


@pytest.mark.parametrize("format", FRAMES)
def test_a_frame_size_that_changes_inside_a_clip(copy, format):
    root = copy(format)
    path = root / FRAMES[format]
    Image.new("RGB", (200, 180)).save(path)
    line = f"{path}: 200 x 180 pixels, but the clip begins with 96 x 72 pixels"
    found = problems(format, root)
    assert found.pop("frames of several sizes") == [line]
    if format != "uavdt":  # the others say of which size the frame was
        assert found.pop("frame of another size than annotated") == [
            f"{path}: 200 x 180 pixels, but the annotation is about 96 x 72 pixels"]
    assert found == {}


# ---- boxes, classes, tracks: ImageNet VID --------------------------------------------------------


def test_vid_boxes(copy):
    root = copy("imagenet-vid")
    paths = [root / VID / f"{t:06d}.xml" for t in range(6)]
    texts = [path.read_text() for path in paths]
    xmax, xmin = (int(texts[0].split(f"<{side}>")[1].split("<")[0]) for side in ("xmax", "xmin"))
    replace(paths[0], f"<xmax>{xmax}", f"<xmax>{xmin}")
    line = texts[1][: texts[1].index("<object")].count("\n") + 1
    paths[1].write_text(texts[1].replace("<xmax>", "<xmax>nan", 1))
    paths[2].write_text(texts[2].replace("<xmax>", "<xmax>-", 1))  # below xmin
    paths[3].write_text(texts[3].replace("<xmin>", "<xmin>9", 1).replace("<xmax>", "<xmax>99", 1))
    paths[4].write_text(texts[4].replace("<xmax>", "<xmax>1", 1))  # 1 in front: at least 100 more
    cut(paths[5])
    found = problems("imagenet-vid", root)
    (outside,) = found.pop("box outside of the image")
    (across,) = found.pop("box across the border of the image")
    assert outside.startswith(f"{paths[3]}:{line}: object 0 (")
    assert "x1 y1 x2 y2 are" in outside and outside.endswith("in 96 x 72 pixels")
    assert across.startswith(f"{paths[4]}:{line}: object 0 (")
    area, nan, swapped, whole = found.pop("annotation that cannot be read")
    assert area.startswith(f"{paths[0]}:{line}: <bndbox> has no area")
    assert nan.startswith(f"{paths[1]}:{line}: ") and swapped.startswith(f"{paths[2]}:{line}: ")
    assert whole.startswith(f"{paths[5]}:") and "XML" in whole
    assert found == {}


def test_vid_tracks_and_classes(copy):
    root = copy("imagenet-vid")
    first, third, last = (root / VID / f"{t:06d}.xml" for t in (0, 3, 7))
    name = third.read_text().split("<name>")[1].split("<")[0]
    other = "n02084071" if name != "n02084071" else "n02958343"
    replace(third, f"<name>{name}", f"<name>{other}")  # a track changes its class, and back
    body = first.read_text().split("<object>")[1].split("</object>")[0]
    track = body.split("<trackid>")[1].split("<")[0]
    replace(first, "</annotation>", f"<object>{body}</object></annotation>")  # and is there twice
    replace(last, f"<name>{name}", "<name>n00000001")
    found = problems("imagenet-vid", root)
    there, back = found.pop("track that changes its class")
    assert there.startswith(f"{third}:10: object 0 (") and there.endswith("in frame 0")
    assert back.startswith(f"{third.with_name('000004.xml')}:10: ") and back.endswith("in frame 3")
    (twice,) = found.pop("track twice in a frame")
    assert twice.startswith(f"{first}:") and f"track {track})" in twice
    (unknown,) = found.pop("annotation that cannot be read")
    assert unknown.startswith(f"{last}:") and "'n00000001' is none of the 30 classes" in unknown
    assert found == {}


def test_vid_lists(copy):
    root = copy("imagenet-vid")
    path = root / "ImageSets" / "VID_train_15frames.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, "train/gone 1 0 9", "train/gone 1 1 9"]))
    assert problems("imagenet-vid", root) == {"missing video": [
        f"{path}:{len(lines) + 1}: {root / 'Data/VID/train/gone'} is not on disk"]}
    path.write_text("\n")
    found = problems("imagenet-vid", root)
    assert found["line of a list that is wrong"] == [f"{path}: names nothing"]
    assert found["split without a clip"] == [f"{root}: train"]
    path.write_text("\n".join([*lines[:3], "train/x 1", "y"]))
    found = problems("imagenet-vid", root, split="train").pop("line of a list that is wrong")
    assert [line.split(": ")[0] for line in found] == [f"{path}:4", f"{path}:5"]


# ---- UAVDT, DAVIS --------------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "kind", "says"), [
    ("1,1,5,5,0,9,1,1,1", "annotation that cannot be read", "positive width and height"),
    ("1,1,5,nan,9,9,1,1,1", "annotation that cannot be read", "must be finite"),
    ("1,1,5,5,9,9,1,1,4", "annotation that cannot be read", "class must be 1"),
    ("1,1,5,5,9", "annotation that cannot be read", "expected 9 columns"),  # cut
    ("1,9,200,5,9,9,1,1,1", "box outside of the image", "(car, track 9): x1 y1 x2 y2 are [200.0"),
    ("1,9,90,5,9,9,1,1,1", "box across the border of the image", "(car, track 9)"),
])
def test_uavdt_rows(copy, row, kind, says):
    root = copy("uavdt")
    rows = (root / GT).read_text().splitlines()
    (root / GT).write_text("\n".join([*rows, row]))
    (line,) = problems("uavdt", root).pop(kind)
    assert line.startswith(f"{root / GT}:{len(rows) + 1}: ") and says in line


def test_every_wrong_row_of_a_file_is_told_once(copy):
    root = copy("uavdt")
    rows = (root / GT).read_text().splitlines()
    (root / GT).write_text("\n".join([*rows, "1,1,5", "", "2,1,5,5,9,9,1,1,9"]))
    found = problems("uavdt", root)["annotation that cannot be read"]
    assert [line.split(": ")[0] for line in found] == [
        f"{root / GT}:{len(rows) + k}" for k in (1, 3)]


def test_uavdt_tracks_and_missing_sequences(copy):
    root = copy("uavdt")
    rows = (root / GT).read_text().splitlines()
    frame, track, *_, number = rows[0].split(",")
    other = {"1": "truck", "2": "bus", "3": "car"}[number]
    (root / GT).write_text("\n".join([*rows[1:], f"{rows[0][:-1]}{int(number) % 3 + 1}",
                                      f"{frame},{track},1,1,9,9,1,1,{int(number) % 3 + 1}"]))
    shutil.rmtree(root / "UAV-benchmark-M/M0201")
    found = problems("uavdt", root)
    (line,) = found.pop("missing video")
    assert line.startswith(f"{root / 'M_attr/train/M0201_attr.txt'}: {root / 'UAV-benchmark-M'}")
    assert len(found.pop("track twice in a frame")) == 1
    (line,) = found.pop("track that changes its class")
    assert f"was {other} in frame 0" in line and line.startswith(f"{root / GT}:")
    assert found == {}


def test_uavdt_test_sequences_without_annotation_are_a_problem(copy):
    """Only of ImageNet VID is the test split without."""
    root = copy("uavdt")
    path = root / GT.replace("M0101", "M0203")
    path.unlink()
    (line,) = problems("uavdt", root, split="test")["annotation that cannot be read"]
    assert line.startswith(f"{path}: cannot be read")


def test_a_video_without_any_object_is_one_note(copy):
    root = copy("coco-vid")
    edit(root, lambda data: data["annotations"].__delitem__(slice(None)))
    report = check_data("coco-vid", root, "train")
    assert report["problems"] == {} and report["splits"]["train"]["empty"] == 24
    first = root / "data/train/train-1/000000.jpg"
    lines = report["notes"].pop("video without an object")
    assert lines[0] == f"{first}: nor in any other frame" and len(lines) == 3
    assert "frame without an object" not in report["notes"]


def test_davis_masks_and_lists(copy):
    root = copy("davis")
    masks = [root / MASKS / f"{t:05d}.png" for t in range(4)]
    Image.new("L", (96, 72)).save(masks[0])
    cut(masks[1])
    masks[2].unlink()
    Image.new("L", (48, 36), 255).save(masks[3])
    path = root / "ImageSets/480p/val.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, *(
        f"/JPEGImages/480p/{name}/00000.jpg /Annotations/480p/{name}/00000.png"
        for name in ("cows", "hike"))]))
    report = check_data("davis", root)
    assert report["notes"]["frame without an object"] == [f"{masks[0]}: frame 0 of bear"]
    assert report["notes"]["video that is left out"] == [
        f"{root / 'ImageSets/480p/train.txt'}:17: hike shows no class of ImageNet VID",
        f"{path}:{len(lines) + 2}: hike shows no class of ImageNet VID"]
    cut_one, gone = report["problems"].pop("annotation that cannot be read")
    assert cut_one.startswith(f"{masks[1]}: ") and gone.startswith(f"{masks[2]}: ")
    assert report["problems"] == {
        "missing video": [f"{path}:{len(lines) + 1}: {root / 'JPEGImages/480p/cows'}: cannot be "
                          "read (No such file or directory)"],
        "frame of another size than annotated": [
            f"{root / 'JPEGImages/480p/bear/00003.jpg'}: 96 x 72 pixels, but the annotation is "
            "about 48 x 36 pixels"]}


@needs_davis
def test_real_davis_lacks_22_sequences_and_has_14_empty_masks():
    report = check_data("davis", SHARED / "DAVIS", quick=True)
    assert report["problems"] == {}
    left_out = report["notes"]["video that is left out"]  # 22 without a class, on disk or not
    assert len(left_out) == 22 and all("shows no class of" in line for line in left_out)
    empty = report["notes"]["frame without an object"]
    assert len(empty) == 14 and all("bmx-bumps" in line for line in empty)
    assert {s: (c["clips"], c["frames"]) for s, c in report["splits"].items()} == {
        "train": (16, 1124), "val": (12, 693)}


# ---- COCO-VID ------------------------------------------------------------------------------------


def test_every_wrong_annotation_of_a_coco_file_is_named_and_the_rest_is_looked_at(copy):
    root, rows = copy("coco-vid"), {}

    def damage(data):
        rows.update(enumerate(data["annotations"]))
        one = data["annotations"]
        one[3]["bbox"] = [5, 5, 0, 9]
        one[4]["bbox"] = [5, 5, -3, 9]
        one[5]["bbox"] = [5, float("nan"), 3, 9]
        one[6]["bbox"] = [5, 5, 3]
        one[7]["category_id"] = 99
        one[8]["image_id"] = 9999
        del one[9]["bbox"]
        one[-1]["bbox"] = [500, 5, 9, 9]  # in a frame that can be read
        one[-1].update(iscrowd=0)

    edit(root, damage)
    (root / FRAMES["coco-vid"]).unlink()
    path, found = root / COCO, problems("coco-vid", root)
    at = {k: f"{path}: annotations[{k}]: " for k in rows}
    box = "bbox must be x, y and a positive width and height, got "
    assert found.pop("box without area") == [f"{at[3]}{box}[5, 5, 0, 9]"]
    assert found.pop("box with swapped corners") == [f"{at[4]}{box}[5, 5, -3, 9]"]
    assert found.pop("box that is no number") == [f"{at[5]}{box}[5, nan, 3, 9]"]
    assert found.pop("annotation that is incomplete") == [
        f"{at[6]}{box}[5, 5, 3]", f"{at[9]}bbox must be list, got None"]
    assert found.pop("unknown class") == [f"{at[7]}category 99 is not listed"]
    assert found.pop("annotation of a missing image") == [f"{at[8]}image 9999 is not listed"]
    (outside,) = found.pop("box outside of the image")
    assert outside.startswith(f"{path}: annotations[{max(rows)}]: object ")
    assert "x1 y1 x2 y2 are [500.0, 5.0, 509.0, 14.0] in 96 x 72 pixels" in outside
    (missing,) = found.pop("missing frame")
    assert missing.startswith(f"{(root / FRAMES['coco-vid']).absolute()}: frame 2 of train-1")
    assert found == {}


def test_coco_tracks_splits_and_images(copy):
    root = copy("coco-vid")

    def damage(data):
        by_image = {}
        for row in data["annotations"]:
            by_image.setdefault(row["image_id"], []).append(row)
        first, second = by_image[1][0], by_image[2][0]
        assert first["instance_id"] == second["instance_id"]
        second["category_id"] = first["category_id"] % 8 + 1
        third = by_image[3][0]
        data["annotations"].append(third | {"id": 10_000})

    edit(root, damage)
    edit(root, lambda data: data["categories"].pop(), split="test")
    edit(root, lambda data: data["images"][0].update(
        file_name="../train/train-1/000000.jpg"), split="val")
    found = problems("coco-vid", root)
    assert len(found.pop("track that changes its class")) == 2  # there and back
    assert len(found.pop("track twice in a frame")) == 1
    assert [line.split(": ")[1] for line in found.pop("classes differ between splits")] == [
        "val", "test"]
    (same,) = found.pop("video in two splits")
    assert same.endswith("val-1 is in train and val")
    assert set(found) <= {"unknown class"}  # where the test split shows the class taken away


@pytest.mark.parametrize(("damage", "says"), [
    (lambda root: cut(root / COCO), "train.json:"),
    (lambda root: (root / COCO).write_text("[]"), "is a JSON object"),
    (lambda root: edit(root, lambda data: data.pop("images")), "has no list 'images'"),
    (lambda root: edit(root, lambda data: data["images"].append(data["images"][0])), "twice"),
    (lambda root: shutil.rmtree(root / "data" / "train"), "none of its 24 images"),
])
def test_a_coco_file_that_cannot_be_opened_is_one_problem_and_other_splits_go_on(
        copy, damage, says):
    root = copy("coco-vid")
    damage(root)
    report = check_data("coco-vid", root)
    (line,) = report["problems"].pop("split that cannot be opened")
    assert line.startswith(str(root / COCO)) and says in line and report["problems"] == {}
    assert set(report["splits"]) == {"val", "test"}


def test_a_json_file_stands_for_one_split_and_data_without_tracks_is_a_note(copy):
    root = copy("coco-vid")
    edit(root, lambda data: [row.pop("instance_id") for row in data["annotations"]])
    report = check_data("coco-vid", root / COCO)
    (counts,) = report["splits"].values()
    (note,) = report["notes"]["object without a track"]
    assert report["problems"] == {} and counts["tracks"] == 0
    assert note.startswith(f"train: {counts['boxes']} of {counts['boxes']} boxes")


# ---- the report, the command ---------------------------------------------------------------------


def test_at_most_so_many_lines_of_a_kind_are_shown_and_all_are_written(
        copy, tmp_path, monkeypatch, capsys):
    root = copy("coco-vid")
    for path in sorted((root / "data/train/train-1").iterdir())[1:]:
        path.unlink()
    out = tmp_path / "report.json"
    assert mst(monkeypatch, "data", "check", root, "--show", 2, "--out", out) == 1
    said = capsys.readouterr().out.splitlines()
    at = said.index("problem: missing frame: 7")
    assert said[at + 1].endswith("000001.jpg: frame 1 of train-1 is not there")
    assert said[at + 3] == "  ... and 5 more" and "7 problems (every image decoded)" in said
    assert len(json.loads(out.read_text())["problems"]["missing frame"]) == 7
    lines = report_lines(json.loads(out.read_text()), show=7)
    assert not any("more" in line for line in lines)


def test_exit_codes(copy, monkeypatch, capsys, tmp_path):
    root = copy("coco-vid")
    assert mst(monkeypatch, "data", "check", f"coco-vid:{root}", "--quick") == 0
    assert "no problems (headers only)" in capsys.readouterr().out
    cut(root / COCO)
    assert mst(monkeypatch, "data", "check", root, "--split", "train") == 1
    capsys.readouterr()
    monkeypatch.chdir(root.parent)  # a folder that is called as its format
    assert mst(monkeypatch, "data", "check", root.name, "--split", "val") == 0
    assert capsys.readouterr().out.startswith(f"coco-vid: {root.name}\nval: ")
    for words, says in (((tmp_path / "nowhere",), "no such folder"),
                        ((root, "--split", "dev"), "has no split 'dev'"),
                        ((tmp_path,), "no known layout"),
                        ((f"davis:{root}",), "not laid out as davis"),
                        ((f"davos:{root}",), "davos")):
        assert mst(monkeypatch, "data", "check", *words) == 2
        err = capsys.readouterr().err
        assert says in err and err.startswith("mst: error: ") and err.count("\n") == 1


def test_whatever_a_reader_raises_is_a_line(copy, monkeypatch):
    root = copy("davis")

    def explode(clip, t):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("mstlib.data.formats.davis.DavisClip.annotated", explode)
    found = problems("davis", root, split="val")["annotation that cannot be read"]
    assert len(found) == 16 and found[0].endswith(": ZeroDivisionError('a bug')")


def test_the_command_writes_a_lookalike(monkeypatch, capsys, tmp_path):
    assert mst(monkeypatch, "data", "lookalike", "uavdt", tmp_path / "a") == 0
    assert (tmp_path / "a" / GT).is_file() and str(tmp_path / "a") in capsys.readouterr().out
    assert mst(monkeypatch, "data", "lookalike", "uavdt", tmp_path / "a") == 2
    assert "not an empty folder" in capsys.readouterr().err
