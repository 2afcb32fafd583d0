"""Damage in every layout: an error that names file and line, or a counted skip, never silence."""

import json
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mstlib.cli import main as cli
from mstlib.config import MSTError
from mstlib.data.check.check import check_data
from mstlib.data.dataset import BadFile
from mstlib.data.formats.lookalike import LOOKALIKES, write_lookalike
from mstlib.data.readers import open_dataset
from mstlib.evaluation.detections_csv import read_csv

SNIPPET = "train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000"
XML = f"Annotations/VID/{SNIPPET}/000001.xml"
DET = "Annotations/DET/train/*/*/*_0.xml"
LIST, DET_LIST = "ImageSets/VID_train_15frames.txt", "ImageSets/DET_train_30classes.txt"
GT = "UAV-benchmark-MOTD_v1.0/GT/M0101_gt_whole.txt"
IGNORE = GT.replace("whole", "ignore")
MASK, DAVIS_LIST, NAMES = ("Annotations/480p/bear/00001.png", "ImageSets/480p/train.txt",
                           "ImageSets/2017/train.txt")
FRAMES = {  # of each layout: frame 1 of the first clip of train
    "imagenet-vid": f"Data/VID/{SNIPPET}/000001.JPEG",
    "imagenet-det": "Data/DET/train/*/*/*_0.JPEG", "uavdt": "UAV-benchmark-M/M0101/img000002.jpg",
    "davis": "JPEGImages/480p/bear/00001.jpg", "davis-2017": "JPEGImages/480p/bear/00001.jpg",
    "coco-vid": "data/train/train-1/000001.jpg",
}
OBJECT = ("<object><trackid>9</trackid><name>n02691156</name><bndbox><xmax>20</xmax><xmin>10</xmin>"
          "<ymax>20</ymax><ymin>10</ymin></bndbox><occluded>0</occluded></object>\n")


@pytest.fixture(scope="module")
def lookalikes(tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a look-alike of three frames a clip by name, written once."""
    base, made = tmp_path_factory.mktemp("lookalikes"), {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = write_lookalike(name, base / name, length=3, width=64)
        return made[name]

    return folder


@pytest.fixture
def copy(lookalikes, tmp_path) -> Callable[[str], Path]:
    """A copy of a look-alike to damage, in a folder whose name is not easy."""
    return lambda name: Path(shutil.copytree(lookalikes(name), tmp_path / "Straße 1 é" / name))


def read_all(format: str, root: Path, skip_bad: bool = False) -> tuple[list[str], list[str]]:
    """What reading every frame of train complains of: errors, warnings."""
    errors = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            dataset = open_dataset(format, root, "train", skip_bad)
        except BadFile as error:
            return [str(error)], []
        for clip in dataset:
            for t in range(len(clip)):
                try:
                    clip.frame(t)
                    clip.target(t)
                except BadFile as error:
                    errors.append(str(error))
    return errors, [str(w.message) for w in said if "shows no class" not in str(w.message)]


# ---- what to do to a file ------------------------------------------------------------------------


def add(line: str) -> Callable[[Path], object]:
    """A line more at the end."""
    return lambda path: path.write_text(path.read_text().rstrip("\n") + f"\n{line}\n")


def put(old: str = "", new: str = "") -> Callable[[Path], object]:
    """An <object> more in an XML file, with a part of it replaced."""
    assert old in OBJECT
    return lambda path: path.write_text(path.read_text().replace(
        "</annotation>", OBJECT.replace(old, new) + "</annotation>"))


def whole(content: str | bytes) -> Callable[[Path], object]:
    """Another content."""
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else
                                         content.encode())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])


def picture(mode: str, size: tuple[int, int] = (64, 48), kind: str = "PNG") -> Callable:
    """An image in its place."""
    return lambda path: Image.new(mode, size, 1).save(path, kind)


def edit(kind: str, k: int = 0, **fields: object) -> Callable[[Path], object]:
    """Other fields in an entry of a JSON file."""
    def change(path: Path) -> None:
        data = json.loads(path.read_text())
        data[kind][k].update(fields)
        path.write_text(json.dumps(data))
    return change


JSON = "annotations/train.json"
DAMAGE = [  # layout, file, what is done to it, what the error says after the file's name
    *(("imagenet-vid", XML, *case) for case in [
        (cut, r":\d+: not whole XML"), (whole(""), ":1: not whole"), (Path.unlink, ": cannot be"),
        (whole("<html><body/></html>"), ":1: begins with <html>"),
        (put("<xmin>10", "<xmin>nan"), r":\d+: <bndbox> needs finite"),
        (put("<xmax>20", "<xmax>inf"), r":\d+: <bndbox> needs finite"),
        (put("<xmax>20", "<xmax>1e39"), r":\d+: <bndbox> needs finite"),
        (put("<xmax>20", "<xmax>10"), r":\d+: <bndbox> has no area"),
        (put("<ymin>10", "<ymin>21"), r":\d+: <bndbox> has no area"),
        (put("<xmin>10", "<xmin>ten"), r":\d+: <bndbox> needs the numbers"),
        (put("<xmin>10</xmin>"), r":\d+: <bndbox> needs the numbers"),
        (put("<xmax>20</xmax><xmin>10", "<xmax>99</xmax><xmin>80"), r":\d+: a box lies outside"),
        (put("n02691156", "n00000001"), r":\d+: <name> 'n00000001' is none of the 30"),
        (put("<name>n02691156</name>"), r":\d+: <name> '' is none of the 30"),
        (put("<trackid>9", "<trackid>x"), r":\d+: <trackid> must be a whole number"),
        (put("<occluded>0", "<occluded>?"), r":\d+: <occluded> must be a whole number"),
        (lambda p: whole(p.read_text().replace("<width>64", "<width>?"))(p), ": <size/width>")]),
    *(("imagenet-vid", LIST, *case) for case in [
        (add("train/gone 1 0 3"), ":4: .*train/gone is not on disk"),
        (add(f"{SNIPPET} 1 3 3"), ":4: there is no frame 3 in 3"),
        (add(f"{SNIPPET} 1 0 9"), f":4: {SNIPPET} has 9 frames here, 3 in"),
        (add(f"{SNIPPET} 1 2"), ":4: expected 'VIDEO 1 FRAME LENGTH'"),
        (add(f"{SNIPPET} 1 -2 3"), ":4: expected"), (whole("\n \n"), ": names nothing"),
        (whole(b"\xff\xfe\x00"), ": not a text file")]),
    *(("imagenet-det", DET, *case) for case in [
        (cut, r":\d+: not whole XML"), (put("<name>n02691156</name>"), r":\d+: <name> ''"),
        (put("<xmax>20", "<xmax>10"), r":\d+: <bndbox> has no area")]),
    *(("imagenet-det", DET_LIST, *case) for case in [
        (add("train/a 1"), ":5: .*a.JPEG is not on disk"), (add("train/a b c"), ":5: expected"),
        (whole(""), ": names nothing")]),
    *(("uavdt", GT, *case) for case in [
        (add("1,9,5,5,9,9,1"), r":\d+: expected 9 columns"), (Path.unlink, ": cannot be read"),
        (add("1,9,nan,5,9,9,1,1,1"), r":\d+: numbers must be finite"),
        (add("1,9,5,5,0,9,1,1,1"), r":\d+: a box needs a positive"),
        (add("1,9,5,5,-9,9,1,1,1"), r":\d+: a box needs a positive"),
        (add("1,9,500,5,9,9,1,1,1"), r":\d+: a box lies outside of the image"),
        (add("1,9,5,5,9,9,1,1,7"), r":\d+: class must be"),
        (add("1,9,5,5,9,9,1,7,1"), r":\d+: out-of-view must be"),
        (add("9,9,5,5,9,9,1,1,1"), r":\d+: there are 3 images"),
        (add("1,a,5,5,9,9,1,1,1"), r":\d+: expected numbers"), (whole("\n"), ": holds no row")]),
    ("uavdt", IGNORE, add("1,9,5,5,0,9,1,-1,-1"), r":\d+: a box needs a positive"),
    *(("davis", MASK, *case) for case in [
        (cut, ": not an image, or cut"), (whole(""), ": not an image"), (Path.unlink, " is not on"),
        (picture("L", kind="JPEG"), ": a JPEG file of mode L, but masks are PNG")]),
    *(("davis-2017", MASK, *case) for case in [
        (cut, ": not an image, or cut"), (Path.unlink, ": cannot be read"),
        (picture("RGB"), ": a PNG file of mode RGB, but masks are")]),
    *(("davis", DAVIS_LIST, *case) for case in [
        (add("/JPEGImages/480p/bear/9.jpg /Annotations/480p/bear/9.png"), ":10: .* is not on disk"),
        (add("/JPEGImages/480p/cows/0.jpg /Annotations/480p/cows/0.png"), ":10: .*cows: cannot be"),
        (add("/JPEGImages/480p/bear/2.jpg /Annotations/480p/bus/2.png"), ":10: expected an image"),
        (add("/JPEGImages/480p/bus/00000.jpg /Annotations/480p/bus/00000.png"), ":10: listed alr"),
        (add("bear"), ":10: expected an image and its mask"), (whole(""), ": names nothing")]),
    *(("davis-2017", NAMES, *case) for case in [
        (add("cows"), ":3: .*cows: cannot be read"), (add("bear"), ":3: listed already"),
        (add("one two"), ":3: expected the name of a sequence")]),
    *(("coco-vid", JSON, *case) for case in [
        (edit("annotations", bbox=[1, 1, 0, 9]), r": annotations\[0\]: bbox must be"),
        (edit("annotations", bbox=[500, 1, 9, 9]), r": annotations\[0\]: a box lies outside"),
        (edit("annotations", category_id=99), r": annotations\[0\]: category 99"),
        (edit("images", 1, file_name="gone.jpg"), r": images\[1\]: .*gone.jpg is not on disk")]),
]


@pytest.mark.parametrize(("name", "file", "damage", "says"), [
    pytest.param(*case, id=f"{case[0]} {case[3]}") for case in DAMAGE])
def test_damage_is_an_error_that_names_file_and_line_and_a_line_of_the_report(
        copy, name, file, damage, says):
    root, format = copy(name), name.removesuffix("-2017")
    (path,) = root.glob(file)
    damage(path)
    errors, _ = read_all(format, root)
    line = re.escape(str(path)) + says
    assert errors and all(re.search(line, error) for error in errors)
    report = check_data(format, root, "train")
    assert any(found.startswith(str(root)) for lines in report["problems"].values()
               for found in lines)
    if "names nothing" not in says and "not a text" not in says:  # else nothing is left
        errors, said = read_all(format, root, skip_bad=True)
        assert (said and "bad entries left out: " in said[0]) or 1 <= len(errors) <= 3


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize(("damage", "says"), [
    (cut, "not an image, or cut short"), (whole(b""), "not an image"), (whole("a"), "not an image"),
    (Path.unlink, "cannot be read|is not on disk"), (picture("RGB", (80, 80)), "80 x 80 pixels"),
    (lambda path: path.rename(path.with_suffix(".bmp")), "cannot be read|is not on disk"),
], ids=["cut", "empty", "text", "missing", "other size", "renamed"])
def test_a_damaged_frame_is_an_error_that_names_it(copy, name, damage, says):
    root, format = copy(name), name.removesuffix("-2017")
    (path,) = root.glob(FRAMES[name])
    damage(path)
    errors, _ = read_all(format, root)
    if name == "uavdt" and "80" in says:  # no file says of which size the frames are
        assert errors == [] and "frames of several sizes" in check_data(
            format, root, "train")["problems"]
        return
    assert errors and re.search(rf"{re.escape(str(path))}.*({says})", errors[0])
    report = check_data(format, root, "train")
    assert any(str(path) in line for lines in report["problems"].values() for line in lines)
    assert len(read_all(format, root, skip_bad=True)[0]) == 1


@pytest.mark.parametrize("name", FRAMES)
def test_modes_and_links_are_no_damage(copy, name):
    """Grey, CMYK, RGBA and 16-bit images, an EXIF orientation, a symbolic link."""
    root, format = copy(name), name.removesuffix("-2017")
    (path,) = root.glob(FRAMES[name])
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = np.full((48, 64), 300, np.uint16)
    for image, kind in ((Image.new("L", (64, 48)), "JPEG"), (Image.new("CMYK", (64, 48)), "JPEG"),
                        (Image.new("RGBA", (64, 48)), "PNG"), (Image.fromarray(grey), "PNG"),
                        (Image.new("RGB", (64, 48)), "JPEG")):
        image.save(path, kind, exif=exif)
        assert read_all(format, root) == ([], [])
    elsewhere = path.rename(root.parent / "elsewhere.jpg")
    path.symlink_to(elsewhere)
    assert read_all(format, root) == ([], []) and check_data(format, root)["problems"] == {}


@pytest.mark.parametrize(("name", "file"), [
    ("imagenet-vid", LIST), ("imagenet-vid", "ImageSets/VID_val_videos.txt"), ("imagenet-vid", XML),
    ("imagenet-det", DET_LIST), ("uavdt", GT), ("uavdt", IGNORE), ("davis", DAVIS_LIST),
    ("davis-2017", NAMES), ("coco-vid", JSON)])
@pytest.mark.parametrize("change", [
    lambda data: b"\xef\xbb\xbf" + data, lambda data: data.replace(b"\n", b"\r\n"),
    lambda data: data.replace(b"\n", b"\n\n") + b"\n", lambda data: data.replace(b"\n", b" \t\n"),
], ids=["BOM", "CRLF", "blank lines", "blanks at the end"])
def test_how_a_text_file_was_saved_does_not_matter(lookalikes, copy, name, file, change):
    root, format = copy(name), name.removesuffix("-2017")
    (path,) = root.glob(file)
    path.write_bytes(change(path.read_bytes()))
    changed, plain = check_data(format, root), check_data(format, lookalikes(name))
    assert changed["splits"] == plain["splits"] and changed["problems"] == {}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_videos_of_one_frame_are_read_and_checked(tmp_path, name):
    root = write_lookalike(name, tmp_path / name, length=1, width=64)
    format = name.removesuffix("-2017")
    if name == "imagenet-vid":  # every second frame is a reference: none of one
        (root / LIST).write_text(f"{SNIPPET} 1 0 1\n")
    if name != "imagenet":
        assert check_data(format, root)["problems"] == {}
        assert read_all(format, root) == ([], [])


# ---- detections as CSV ---------------------------------------------------------------------------

ROW = "train-1,0,box-disc,0.9,1,1,9,9"
HEAD = "clip,frame,label,score,x1,y1,x2,y2"


@pytest.mark.parametrize(("content", "says"), [
    (f"\ufeff{HEAD}\r\n{ROW}\r\n", ""), (f"\n{HEAD}\n\n{ROW}\n\n", ""), (f"{ROW}\n", ""),
    ("", "found.csv: empty, without even"), (f"{HEAD}\n{ROW[:-2]}", "line 2: 7 columns, expect"),
    (f"{HEAD}\n{ROW},1", "line 2: 9 columns"), (ROW.replace("0.9", "nan"), "line 1: score and box"),
    (ROW.replace(",9,9", ",1e39,9"), "line 1: score and box"),
    (ROW.replace(",0,", ",0.5,"), "line 1: frame must be a whole number"),
    (ROW.replace(",0,", ",7,"), "line 1: frame 7 is outside of train-1"),
    (ROW.replace("box-disc", "dog"), "line 1: unknown class 'dog'"),
    (ROW.replace("train-1", "x"), "line 1: unknown clip 'x'"),
])
def test_a_csv_file_is_read_as_it_was_saved_or_named_with_its_line(
        lookalikes, tmp_path, content, says):
    dataset = open_dataset("coco-vid", lookalikes("coco-vid"), "train")
    path = tmp_path / "found.csv"
    path.write_text(content, newline="", encoding="utf-8")
    if not says:
        assert sum(int(found.counts.sum()) for _, found in read_csv(path, dataset)) == 1
        return
    with pytest.raises(MSTError, match=re.escape(says)):
        list(read_csv(path, dataset))


# ---- the commands --------------------------------------------------------------------------------


def mst(monkeypatch, *words: object) -> int:
    """The exit code of `mst words`."""
    monkeypatch.setattr(sys, "argv", ["mst", *map(str, words)])
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    return 0


def test_train_and_evaluate_end_in_one_line_or_skip_and_count(copy, monkeypatch, capsys, tmp_path):
    root, out = copy("coco-vid"), tmp_path / "g.pt"
    (root / FRAMES["coco-vid"]).write_bytes(b"")                 # frame 1 of train-1
    edit("annotations", -1, bbox=[1, 1, 0, 9])(root / JSON)      # in the last frame of train-3
    train = ["train", "--profile", "tiny", "--data", f"coco-vid:{root}", "--out", out, "--workers",
             0, "--set", "source.short_side=48", "--set", "train.steps=6"]
    assert mst(monkeypatch, *train) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "bbox must be" in said and "--skip-bad" in said
    with pytest.warns(UserWarning, match="bad entries left out: 1; "):
        assert mst(monkeypatch, *train, "--skip-bad") == 0
    said = capsys.readouterr().err
    assert re.search(r"windows drawn anew: \d+, for bad files: \d", said)
    assert "000001.jpg: not an image" in said
    evaluate = ["evaluate", out.with_suffix(".safetensors"), "--data", f"coco-vid:{root}",
                "--split", "train", "--protocol", "vid"]
    assert mst(monkeypatch, *evaluate) == 2
    assert "bbox must be" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="bad entries left out: 1; "):
        assert mst(monkeypatch, *evaluate, "--skip-bad") == 0
    assert "3 clips, 7 frames, 2 more skipped" in capsys.readouterr().out
