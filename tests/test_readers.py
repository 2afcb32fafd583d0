"""Readers of the official layouts: hand-made data sets, look-alikes, damage, and real DAVIS."""

import itertools
import json
import os
import pickle
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from shared_data import SHARED, needs_davis

from mstlib.config import MSTError
from mstlib.data.dataset import BadFile, Dataset
from mstlib.data.formats import uavdt
from mstlib.data.formats.davis_classes import OBJECTS
from mstlib.data.formats.imagenet_xml import CLASSES, LABELS
from mstlib.data.formats.lookalike import LOOKALIKES, write_lookalike
from mstlib.data.formats.lookalike_films import Film, generate_films
from mstlib.data.frames import FileClip
from mstlib.data.readers import FORMATS, detect_format, open_dataset

pytestmark = pytest.mark.filterwarnings("error")  # a reader warns only where a test expects it


def image(path: Path, width: int = 100, height: int = 50) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (9, 99, 199)).save(path, "JPEG")


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


# ---- look-alikes: every format, from the outside -------------------------------------------------


@pytest.fixture(scope="module")
def looks(tmp_path_factory) -> dict[str, Path]:
    """A look-alike of each kind."""
    base = tmp_path_factory.mktemp("looks")
    return {name: write_lookalike(name, base / name, seed=3, length=4) for name in LOOKALIKES}


def opened(root: Path) -> dict[str, Dataset]:
    """All splits of a folder by its detected format; what is left out by design is no matter."""
    format = detect_format(root)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*shows no class of ImageNet VID")
        return {s: open_dataset(format, root, s) for s in FORMATS[format].splits(root)}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_a_look_alike_is_recognised_read_and_sent_to_workers(looks, name):
    assert detect_format(looks[name]) == name.removesuffix("-2017")
    objects = 0
    for split, dataset in opened(looks[name]).items():
        assert dataset.split == split and len(dataset) > 0
        assert len({clip.name for clip in dataset}) == len(dataset)
        for clip in pickle.loads(pickle.dumps(dataset)):
            for t in range(len(clip)):
                height, width = clip.frame(t).shape[1:]
                assert (height, width) == (72, 96) == clip.size(t)
                if split == "test" and name.startswith("imagenet"):
                    continue
                target = clip.target(t)
                n, b = len(target.boxes), target.boxes
                assert b.dtype == torch.float32 and b.shape == (n, 4)
                assert (b[:, 2:] > b[:, :2]).all() and (b >= 0).all()
                assert (b[:, [0, 2]] <= width).all() and (b[:, [1, 3]] <= height).all()
                assert target.labels.shape == target.ids.shape == (n,)
                assert target.labels.dtype == target.ids.dtype == torch.int64
                assert all(1 <= k <= len(dataset.classes) for k in target.labels.tolist())
                assert len(set(target.ids.tolist()) - {-1}) == n - target.ids.eq(-1).sum()
                objects += n
    assert objects > 10 or name == "imagenet-det"


def test_look_alikes_are_the_same_bytes_for_the_same_seed(tmp_path):
    def bytes_of(root: Path) -> dict:
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*")
                if p.is_file()}

    for name in LOOKALIKES:
        one, two, other = (bytes_of(write_lookalike(name, tmp_path / f"{name}{k}", seed, 2, 48))
                           for k, seed in enumerate((0, 0, 1)))
        assert one == two and one != other


def test_a_look_alike_goes_to_an_empty_folder_only(tmp_path):
    text(tmp_path / "full" / "mine.txt", "keep me")
    with pytest.raises(MSTError, match="full: not an empty folder"):
        write_lookalike("uavdt", tmp_path / "full")
    with pytest.raises(MSTError, match="no look-alike of 'voc'; choose one of imagenet"):
        write_lookalike("voc", tmp_path / "new")
    assert [p.name for p in tmp_path.rglob("*")] == ["full", "mine.txt"]


def film(number: int) -> Film:
    """The film that a look-alike's clip shows, straight from the generator."""
    return next(itertools.islice(generate_films(3, 4, 96), number, None))


def test_three_formats_tell_the_same_of_the_same_film(looks):
    """Boxes, classes and ids of the generator, and of what was read back from each layout."""
    vid, drone, coco = (opened(looks[name])["train"][1] for name in (
        "imagenet-vid", "uavdt", "coco-vid"))
    classes = [c for k, c in enumerate(CLASSES) if k % 2 == 0]
    for t, seen in enumerate(film(1).seen):
        boxes = [list(map(float, s.box)) for s in seen]
        assert drone.target(t).boxes.tolist() == coco.target(t).boxes.tolist() == boxes
        inclusive = [[x1, y1, x2 - 1, y2 - 1] for x1, y1, x2, y2 in boxes]
        assert vid.target(t).boxes.tolist() == inclusive
        assert coco.target(t).labels.tolist() == [s.label for s in seen]
        assert drone.target(t).labels.tolist() == [1 + (s.label - 1) % 3 for s in seen]
        assert [CLASSES[k - 1] for k in vid.target(t).labels] == [
            classes[s.label - 1] for s in seen]
        for clip, shift in ((vid, 0), (drone, 1), (coco, 20)):
            assert clip.target(t).ids.tolist() == [s.track + shift for s in seen]
        for clip in (vid, drone):
            assert clip.target(t).flags[:, 2].tolist() == [s.occluded for s in seen]
        # JPEG is lossy, but it is this frame and not another
        want = torch.from_numpy(film(1).frames[t]).permute(2, 0, 1).float()
        assert (coco.frame(t).float() - want).abs().mean() < 6


@pytest.mark.parametrize("name", ["davis", "davis-2017"])
def test_davis_boxes_surround_the_mask_a_slow_loop_finds(looks, name):
    """The masks' pixels, one by one, against the boxes."""
    seen = 0
    for dataset in opened(looks[name]).values():
        for clip in dataset:
            for t in range(len(clip)):
                pixels, corners = np.array(Image.open(clip.mask(t))), {}
                for y, x in zip(*np.nonzero(pixels), strict=True):
                    k = 1 if name == "davis" else int(pixels[y, x])
                    x1, y1, x2, y2 = corners.get(k, (x, y, x, y))
                    corners[k] = min(x1, x), min(y1, y), max(x2, x), max(y2, y)
                want = {k: [x1, y1, x2 + 1, y2 + 1] for k, (x1, y1, x2, y2) in corners.items()
                        if name == "davis" or k in OBJECTS[clip.name]}
                target = clip.target(t)
                assert dict(zip(target.ids.tolist(), target.boxes.tolist(), strict=True)) == want
                seen += len(want)
    assert seen > 10


# ---- ImageNet VID and DET ------------------------------------------------------------------------

SNIPPET = "train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000"
XML = """<annotation>
\t<size>
\t\t<width>100</width>
\t\t<height>50</height>
\t</size>
\t<object>
\t\t<trackid>4</trackid>
\t\t<name>n02691156</name>
\t\t<bndbox>
\t\t\t<xmax>30</xmax>
\t\t\t<xmin>10</xmin>
\t\t\t<ymax>40</ymax>
\t\t\t<ymin>20</ymin>
\t\t</bndbox>
\t\t<occluded>1</occluded>
\t\t<generated>0</generated>
\t</object>
\t<object>
\t\t<trackid>0</trackid>
\t\t<name>n02391049</name>
\t\t<bndbox><xmax>100</xmax><xmin>-3</xmin><ymax>55</ymax><ymin>0</ymin></bndbox>
\t\t<occluded>0</occluded>
\t</object>
</annotation>
"""


@pytest.fixture
def vid(tmp_path) -> Path:
    """A snippet of three frames, one of val, one of test, two DET images."""
    for t in range(3):
        image(tmp_path / "Data/VID" / SNIPPET / f"{t:06d}.JPEG")
        text(tmp_path / "Annotations/VID" / SNIPPET / f"{t:06d}.xml",
             XML if t else "<annotation><size><width>100</width><height>50</height></size>"
                           "</annotation>")
    for split in ("val", "test"):
        image(tmp_path / f"Data/VID/{split}/ILSVRC2015_{split}_00000000/000000.JPEG")
    text(tmp_path / "Annotations/VID/val/ILSVRC2015_val_00000000/000000.xml", XML)
    text(tmp_path / "ImageSets/VID_train_15frames.txt", f"{SNIPPET} 1 0 3\n{SNIPPET} 1 2 3\n")
    text(tmp_path / "ImageSets/VID_val_videos.txt", "val/ILSVRC2015_val_00000000 1 0 1\n")
    for name in ("n02691156/n02691156_7", "n02391049/n02391049_9"):
        image(tmp_path / f"Data/DET/train/ILSVRC2013_train/{name}.JPEG")
        text(tmp_path / f"Annotations/DET/train/ILSVRC2013_train/{name}.xml",
             re.sub("\t\t<trackid>.*\n", "", XML).replace("n02391049", "n00007846"))
    text(tmp_path / "ImageSets/DET_train_30classes.txt",
         "train/ILSVRC2013_train/n02691156/n02691156_7 1\n"
         "train/ILSVRC2013_train/n02391049/n02391049_9 1\n")
    return tmp_path


def test_the_thirty_classes_are_in_the_official_order():
    names = dict(enumerate(CLASSES, 1))
    assert len(names) == len(LABELS) == 30
    assert [names[k] for k in (1, 7, 10, 19, 26, 28, 30)] == [
        "airplane", "car", "domestic_cat", "motorcycle", "train", "watercraft", "zebra"]
    for wnid, name in {"n02691156": "airplane", "n02062744": "whale", "n02084071": "dog",
                       "n03790512": "motorcycle", "n02324045": "rabbit"}.items():
        assert names[LABELS[wnid]] == name


def test_a_snippet_by_hand(vid):
    dataset = open_dataset("imagenet-vid", vid, "train")
    (clip,) = dataset
    assert (dataset.name, dataset.classes, clip.name) == ("imagenet-vid", CLASSES, SNIPPET)
    assert (len(clip), clip.references) == (3, (0, 2))  # of the list; supports come from all three
    assert len(clip.target(0).boxes) == 0
    target = clip.target(1)
    assert target.boxes.tolist() == [[10, 20, 30, 40], [0, 0, 99, 49]]  # clipped to the last pixel
    assert clip.annotated(1).boxes.tolist() == [[10, 20, 30, 40], [-3, 0, 100, 55]]
    assert target.labels.tolist() == [1, 30] and target.ids.tolist() == [4, 0]
    assert target.flags.tolist() == [[False, False, True, False], [False] * 4]
    assert target.centres[0].tolist() == [20, 30]


def test_generated_boxes_are_told_apart(vid):
    path = vid / "Annotations/VID" / SNIPPET / "000001.xml"
    path.write_text(XML.replace("<generated>0", "<generated>1"))
    clip = open_dataset("imagenet-vid", vid, "train")[0]
    assert [clip.generated(t) for t in range(3)] == [0, 1, 0]
    assert clip.read(1).generated.tolist() == [True, False]


def test_without_a_size_the_image_tells_it(vid):
    path = vid / "Annotations/VID" / SNIPPET / "000001.xml"
    for size in ("", "<size><width>0</width><height>0</height></size>"):
        path.write_text(re.sub(r"\t<size>.*</size>\n", size, XML, flags=re.DOTALL))
        clip = open_dataset("imagenet-vid", vid, "train")[0]
        assert clip.target(1).boxes[1].tolist() == [0, 0, 99, 49] and clip.size(1) == (50, 100)


def test_val_and_test_of_vid(vid):
    val = open_dataset("imagenet", vid, "val")
    assert [clip.name for clip in val] == ["val/ILSVRC2015_val_00000000"]
    assert val[0].references is None and len(val[0].target(0).boxes) == 2
    (clip,) = open_dataset("imagenet-vid", vid, "test")
    assert clip.frame(0).shape == (3, 50, 100)
    with pytest.raises(BadFile, match="no annotation of the test videos is published: use val"):
        clip.target(0)


def test_det_images_are_one_frame_clips_of_the_thirty_classes(vid):
    det = open_dataset("imagenet-det", vid, "train")
    assert [len(clip) for clip in det] == [1, 1] and det.classes == CLASSES
    target = det[0].target(0)
    assert target.boxes.tolist() == [[10, 20, 30, 40]]  # the person is dropped
    assert target.labels.tolist() == [1] and target.ids.tolist() == [-1]
    assert det[0].frame(0).shape == (3, 50, 100)


def test_imagenet_is_vid_and_det_in_training(vid, tmp_path_factory):
    both = open_dataset("imagenet", vid, "train")
    assert [clip.kind for clip in both] == ["VID", "DET", "DET"] and both.name == "imagenet"
    parent = tmp_path_factory.mktemp("parent")
    shutil.copytree(vid, parent / "ILSVRC2015")  # a folder of that name inside is found
    assert detect_format(parent) == "imagenet" and len(open_dataset("imagenet", parent, "val")) == 1
    shutil.rmtree(vid / "Data/DET")
    assert detect_format(vid) == "imagenet-vid"
    with pytest.raises(MSTError, match="no split 'train'; it has val, test"):
        open_dataset("imagenet", vid, "train")


def test_official_lists_of_frames_are_read_where_the_lists_of_the_parents_are_absent(vid):
    """ImageSets/VID/val.txt: every frame, without the name of the split; test.txt likewise."""
    (vid / "ImageSets/VID_val_videos.txt").unlink()
    image(vid / "Data/VID/val/ILSVRC2015_val_00000000/000001.JPEG")
    image(vid / "Data/VID/val/unlisted/000000.JPEG")
    listed = [f"ILSVRC2015_val_00000000/{t:06d} {t + 1}" for t in range(2)]
    text(vid / "ImageSets/VID/val.txt", "\n".join(listed))
    (clip,) = open_dataset("imagenet-vid", vid, "val")
    assert (clip.name, len(clip), clip.references) == ("val/ILSVRC2015_val_00000000", 2, None)
    text(vid / "ImageSets/VID_val_frames.txt", f"val/{listed[0]}\n")  # as FGFA and MEGA write it
    assert len(open_dataset("imagenet-vid", vid, "val")[0]) == 1


def test_a_frame_listed_twice_counts_twice(vid):
    """The list names 15 frames of every video, and some videos have fewer."""
    path = vid / "ImageSets/VID_train_15frames.txt"
    path.write_text(path.read_text() + f"{SNIPPET} 1 2 3\n")
    assert open_dataset("imagenet-vid", vid, "train")[0].references == (0, 2, 2)


@pytest.mark.parametrize("folder", ["ImageSets/VID", "Lists"])
def test_lists_are_found_where_others_put_them(vid, folder):
    (vid / folder).mkdir(exist_ok=True)
    (vid / "ImageSets/VID_train_15frames.txt").rename(vid / folder / "VID_train_15frames.txt")
    assert open_dataset("imagenet-vid", vid, "train")[0].references == (0, 2)


def test_without_the_lists_every_frame_of_every_folder_counts_with_one_warning(vid):
    for path in (vid / "ImageSets").glob("VID*"):
        path.unlink()
    with pytest.warns(UserWarning, match="VID_train_15frames.txt is missing") as caught:
        (clip,) = open_dataset("imagenet-vid", vid, "train")
    assert len(caught) == 1
    assert (clip.name, len(clip), clip.references) == (SNIPPET, 3, None)
    assert len(open_dataset("imagenet-vid", vid, "val")[0]) == 1  # no warning: all frames count
    (vid / "Data/VID" / SNIPPET / "000001.JPEG").unlink()
    with pytest.warns(UserWarning, match="15frames"):
        (clip,) = open_dataset("imagenet-vid", vid, "train")
    assert len(clip) == 3  # frame 2 is still frame 2


def test_a_missing_support_frame_is_named_when_it_is_read(vid):
    (vid / "Data/VID" / SNIPPET / "000001.JPEG").unlink()  # in no list
    clip = open_dataset("imagenet-vid", vid, "train")[0]
    with pytest.raises(BadFile, match="000001.JPEG: cannot be read"):
        clip.frame(1)
    (vid / "Annotations/VID" / SNIPPET / "000001.xml").unlink()
    with pytest.raises(BadFile, match=r"000001.xml: cannot be read \(No such file"):
        clip.target(1)


@pytest.mark.parametrize("old, new, line", [
    ("<xmax>30<", "<xmax>nan<", 6), ("<xmax>30<", "<xmax>inf<", 6), ("<xmax>30<", "<xmax>9<", 6),
    ("<ymin>20<", "<ymin>41<", 6), ("<xmin>10<", "<xmin>ten<", 6), ("<ymax>40</ymax>", "", 6),
    ("n02391049", "n00007846", 18), ("<name>n02391049</name>", "", 18),
    ("<trackid>0", "<trackid>a", 18), ("<ymax>55", "<ymax>-1", 18), ("&", "", 0),
    ("\t</object>\n", "", 23),  # not well-formed: named where the parser stumbles, </annotation>
])
def test_damage_in_an_annotation_is_named_by_file_and_line(vid, old, new, line):
    path = vid / "Annotations/VID" / SNIPPET / "000001.xml"
    path.write_text(XML.replace(old, new, 1))
    clip = open_dataset("imagenet-vid", vid, "train")[0]
    if line == 0:  # nothing replaced: the control
        assert len(clip.target(1).boxes) == 2
        return
    with pytest.raises(BadFile, match=rf"000001\.xml:{line}: "):
        clip.target(1)


@pytest.mark.parametrize("part", [0, 0.3, 0.6, 0.99])
def test_an_annotation_cut_short_is_named(vid, part):
    path = vid / "Annotations/VID" / SNIPPET / "000001.xml"
    path.write_text(XML[: int(part * len(XML))])
    with pytest.raises(BadFile, match=r"000001\.xml:[0-9]+: not whole XML"):
        open_dataset("imagenet-vid", vid, "train")[0].target(1)


@pytest.mark.parametrize("name, line", [
    ("VID_train_15frames.txt", f"{SNIPPET} 1 3 3"), ("VID_train_15frames.txt", f"{SNIPPET} 1 2"),
    ("VID_train_15frames.txt", f"{SNIPPET} 1 2 9"), ("VID_val_videos.txt", f"{SNIPPET} 1 x 3"),
])
def test_damage_in_a_list_is_named_by_file_and_line(vid, name, line):
    path = vid / "ImageSets" / name
    path.write_text(path.read_text() + "\n" + line + "\n")
    number = len(path.read_text().splitlines())
    with pytest.raises(BadFile, match=f"{name}:{number}: "):
        open_dataset("imagenet-vid", vid, "train" if "train" in name else "val")


def test_det_without_its_list_says_what_is_missing(vid):
    (vid / "ImageSets/DET_train_30classes.txt").unlink()
    with pytest.raises(BadFile, match="DET_train_30classes.txt is missing"):
        open_dataset("imagenet", vid, "train")


# ---- UAVDT ---------------------------------------------------------------------------------------


@pytest.fixture
def drone(tmp_path) -> Path:
    """Two sequences of three frames, one of each split."""
    for name, split in (("M0101", "train"), ("M0203", "test")):
        for t in range(1, 4):
            image(tmp_path / f"UAV-benchmark-M/{name}/img{t:06d}.jpg")
        truth = tmp_path / "UAV-benchmark-MOTD_v1.0/GT"
        text(truth / f"{name}_gt_whole.txt", "1,5,10,20,30,15,1,1,1\n3,5,90,40,30,15,3,2,1\n"
                                             "1,6,0,0,5,5,1,3,3\n3,7,40,10,8,8,1,4,2\n")
        text(truth / f"{name}_gt_ignore.txt", "2,-1,70,30,60,10,-1,-1,-1\n")
        text(tmp_path / f"M_attr/{split}/{name}_attr.txt", "1,0,0\n")
    return tmp_path


def test_a_drone_sequence_by_hand(drone):
    dataset = open_dataset("uavdt", drone, "train")
    (clip,) = dataset
    assert (dataset.classes, clip.name, len(clip)) == (("car", "truck", "bus"), "M0101", 3)
    first, second, third = (clip.target(t) for t in range(3))
    assert first.boxes.tolist() == [[10, 20, 40, 35], [0, 0, 5, 5]]
    assert first.labels.tolist() == [1, 3] and first.ids.tolist() == [5, 6]
    assert first.flags[:, 2].tolist() == [False, True]       # medium occlusion
    assert first.ignored.shape == (0, 4)
    assert second.boxes.shape == (0, 4) and second.labels.dtype == torch.int64
    assert second.ignored.tolist() == [[70, 30, 100, 40]]    # clipped to the image
    assert third.boxes.tolist() == [[90, 40, 100, 50], [40, 10, 48, 18]]
    assert third.labels.tolist() == [1, 2] and third.ids.tolist() == [5, 7]
    assert third.flags[:, 2].tolist() == [True, False]       # large; small does not count
    assert clip.annotated(2).boxes[0].tolist() == [90, 40, 120, 55]
    assert [c.name for c in open_dataset("uavdt", drone, "test")] == ["M0203"]


def test_the_official_split_has_thirty_and_twenty_sequences(drone):
    assert (len(set(uavdt.TRAIN)), len(set(uavdt.TEST))) == (30, 20)
    assert not set(uavdt.TRAIN) & set(uavdt.TEST)
    shutil.rmtree(drone / "M_attr")
    for split, name, missing in (("train", "M0101", 29), ("test", "M0203", 19)):
        with pytest.raises(BadFile, match=rf"the official {split} list: .*and {missing - 1} more"):
            open_dataset("uavdt", drone, split)
        with pytest.warns(UserWarning, match=f"bad entries left out: {missing}; "):
            assert [c.name for c in open_dataset("uavdt", drone, split, skip_bad=True)] == [name]


def test_the_attribute_file_that_the_release_names_with_a_blank_counts(drone):
    (drone / "M_attr/test/M0203_attr.txt").rename(drone / "M_attr/test/M0203 _attr.txt")
    assert [clip.name for clip in open_dataset("uavdt", drone, "test")] == ["M0203"]


def test_a_drone_file_that_was_mended_is_read_anew(drone):
    path = drone / "UAV-benchmark-MOTD_v1.0/GT/M0101_gt_whole.txt"
    clip = open_dataset("uavdt", drone, "train")[0]
    assert len(clip.target(0).boxes) == 2
    path.write_text("1,5,10,20,30,15,1,1,1\n")
    os.utime(path, ns=(1, 1))
    assert len(clip.target(0).boxes) == 1


def test_a_missing_ignore_file_means_nothing_is_ignored_and_gt_may_lie_in_the_root(drone):
    shutil.move(drone / "UAV-benchmark-MOTD_v1.0/GT", drone / "GT")
    (drone / "GT/M0101_gt_ignore.txt").unlink()
    clip = open_dataset("uavdt", drone, "train")[0]
    assert clip.target(1).ignored.shape == (0, 4) and len(clip.target(0).boxes) == 2


def test_a_missing_image_in_between_moves_no_annotation(drone):
    (drone / "UAV-benchmark-M/M0101/img000002.jpg").unlink()
    clip = open_dataset("uavdt", drone, "train")[0]
    assert len(clip) == 3 and clip.target(2).ids.tolist() == [5, 7]
    with pytest.raises(BadFile, match="img000002.jpg"):
        clip.frame(1)


@pytest.mark.parametrize("line, why", [
    ("1,5,10,20,30,15,1,1", "expected 9 columns"), ("1,5,10,20,30,15,1,1,1,1", "9 columns"),
    ("1,5,10,20,nan,15,1,1,1", "finite"), ("1,5,10,20,0,15,1,1,1", "positive width"),
    ("1,5,10,20,30,-2,1,1,1", "positive width"), ("1,5,10,20,30,15,1,1,4", "class must be"),
    ("4,5,10,20,30,15,1,1,1", "there are 3 images only"), ("0,5,1,2,3,4,1,1,1", "count from 1"),
    ("1.5,5,1,2,3,4,1,1,1", "whole"), ("one,5,1,2,3,4,1,1,1", "expected numbers"),
])
def test_damage_in_a_drone_file_is_named_by_file_and_line(drone, line, why):
    path = drone / "UAV-benchmark-MOTD_v1.0/GT/M0101_gt_whole.txt"
    path.write_text(f"1,5,10,20,30,15,1,1,1\n\n{line}\n")
    clip = open_dataset("uavdt", drone, "train")[0]
    for _ in range(2):  # an error is not remembered as an empty file
        with pytest.raises(BadFile, match=rf"M0101_gt_whole\.txt:3: .*{why}"):
            clip.target(0)


def test_a_sequence_without_annotation_is_an_error(drone):
    (drone / "UAV-benchmark-MOTD_v1.0/GT/M0101_gt_whole.txt").unlink()
    with pytest.raises(BadFile, match="M0101_gt_whole.txt: cannot be read"):
        open_dataset("uavdt", drone, "train")[0].target(0)


# ---- DAVIS ---------------------------------------------------------------------------------------


def masks_at(root: Path, name: str, masks: list[np.ndarray], mode: str) -> None:
    for t, mask in enumerate(masks):
        height, width = mask.shape[:2]
        image(root / f"JPEGImages/480p/{name}/{t:05d}.jpg", width, height)
        path = root / f"Annotations/480p/{name}/{t:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        made = Image.fromarray(mask) if mode == "L" else Image.frombytes(
            mode, (width, height), mask.tobytes())
        if mode == "P":
            made.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
        made.save(path)


def block(value: int, box: tuple[int, int, int, int], over: np.ndarray | None = None) -> np.ndarray:
    """A mask (20, 30) with a filled box x1 y1 x2 y2."""
    mask = np.zeros((20, 30), np.uint8) if over is None else over.copy()
    mask[box[1] : box[3], box[0] : box[2]] = value
    return mask


@pytest.fixture
def year_2016(tmp_path) -> Path:
    spots = block(255, (2, 3, 5, 6)) + block(255, (20, 10, 29, 18))
    masks_at(tmp_path, "horsejump-low", [spots, np.zeros((20, 30), np.uint8),
                                         block(1, (0, 0, 30, 20))], "L")
    lines = "".join(f"/JPEGImages/480p/horsejump-low/{t:05d}.jpg "
                    f"/Annotations/480p/horsejump-low/{t:05d}.png \n" for t in range(3))
    text(tmp_path / "ImageSets/480p/train.txt", lines)
    return tmp_path


def test_davis_2016_has_one_object_of_any_value(year_2016):
    dataset = open_dataset("davis", year_2016, "train")
    (clip,) = dataset
    assert (dataset.name, dataset.classes) == ("davis-2016", CLASSES)
    assert clip.target(0).boxes.tolist() == [[2, 3, 29, 18]]  # both spots: one object
    assert clip.target(2).boxes.tolist() == [[0, 0, 30, 20]]
    assert clip.target(1).boxes.shape == (0, 4)               # an empty mask is no object
    assert clip.target(0).labels.tolist() == [1 + CLASSES.index("horse")]
    assert clip.target(0).ids.tolist() == clip.target(2).ids.tolist()


def test_a_mask_with_an_alpha_channel_is_read_by_its_grey(year_2016):
    grey = np.stack([block(255, (4, 5, 9, 12)), np.full((20, 30), 255, np.uint8)], axis=-1)
    Image.frombytes("LA", (30, 20), grey.tobytes()).save(
        year_2016 / "Annotations/480p/horsejump-low/00000.png")
    assert open_dataset("davis", year_2016, "train")[0].target(0).boxes.tolist() == [[4, 5, 9, 12]]


@pytest.fixture
def year_2017(tmp_path) -> Path:
    """horsejump-low with horse 1 and rider 2; dogs-jump with dogs 1, 2 and a person 3."""
    both = block(2, (8, 0, 14, 6), block(1, (3, 5, 20, 18)))
    masks_at(tmp_path, "horsejump-low", [both, block(2, (1, 1, 3, 3))], "P")
    trio = block(3, (0, 0, 4, 4), block(2, (25, 1, 30, 6), block(1, (10, 10, 12, 12))))
    masks_at(tmp_path, "dogs-jump", [trio], "P")
    masks_at(tmp_path, "hike", [block(1, (0, 0, 4, 4))], "P")
    text(tmp_path / "ImageSets/2017/train.txt", "horsejump-low\n")
    text(tmp_path / "ImageSets/2017/val.txt", "dogs-jump\nhike\nlibby\n")
    text(tmp_path / "ImageSets/480p/train.txt", "not read\nas there is 2017")
    return tmp_path


def test_davis_2017_has_objects_by_index_and_no_rider(year_2017):
    dataset = open_dataset("davis", year_2017, "train")
    (clip,) = dataset
    assert dataset.name == "davis-2017" and len(clip) == 2
    assert clip.target(0).boxes.tolist() == [[3, 5, 20, 18]]
    assert clip.target(0).ids.tolist() == [1]
    assert len(clip.target(1).boxes) == 0  # the rider alone
    with pytest.raises(BadFile, match=r"val\.txt:3: .*libby: cannot be read"):
        open_dataset("davis", year_2017, "val")
    text(year_2017 / "ImageSets/2017/val.txt", "dogs-jump\nhike\n")
    with pytest.warns(UserWarning, match=r"videos left out: 1 of 2; .*val\.txt:2: hike shows no "
                                         "class of ImageNet VID"):
        (clip,) = open_dataset("davis", year_2017, "val")
    target, dog = clip.target(0), 1 + CLASSES.index("dog")
    assert target.boxes.tolist() == [[10, 10, 12, 12], [25, 1, 30, 6]]
    assert target.labels.tolist() == [dog, dog] and target.ids.tolist() == [1, 2]


def test_the_semantics_file_of_the_release_goes_before_the_built_in_map(year_2017):
    path = text(year_2017 / "davis_semantics.json", json.dumps(
        {"horsejump-low": {"1": "person", "2": "cow"}, "dogs-jump": {}, "hike": {"1": "boat"}}))
    target = open_dataset("davis", year_2017, "train")[0].target(0)
    assert target.boxes.tolist() == [[8, 0, 14, 6]]
    assert CLASSES[target.labels[0] - 1] == "cattle"
    with pytest.warns(UserWarning, match="videos left out: 2 of 3"):
        (clip,) = open_dataset("davis", year_2017, "val")
    assert CLASSES[clip.target(0).labels[0] - 1] == "watercraft"
    for damage in ("{", "[]", '{"bear": 3}', '{"bear": {"one": "bear"}}', '{"bear": {"1": []}}'):
        path.write_text(damage)
        with pytest.raises(BadFile, match="davis_semantics.json"):
            open_dataset("davis", year_2017, "train")


def test_damage_in_davis_is_named(year_2016):
    mask = year_2016 / "Annotations/480p/horsejump-low/00000.png"
    mask.write_bytes(mask.read_bytes()[:-20])
    clip = open_dataset("davis", year_2016, "train")[0]
    with pytest.raises(BadFile, match=r"00000\.png"):
        clip.target(0)
    (year_2016 / "JPEGImages/480p/horsejump-low/00001.jpg").unlink()
    with pytest.raises(BadFile, match=r"00001\.jpg"):
        clip.frame(1)


def test_classes_of_the_davis_map_are_classes_of_vid():
    assert {c for objects in OBJECTS.values() for c in objects.values()} <= set(
        CLASSES)


@needs_davis
def test_real_davis():
    """28 of the 50 sequences are there, the lists name all: the 22 others show no VID class."""
    root = SHARED / "DAVIS"
    assert detect_format(root) == "davis"
    with pytest.warns(UserWarning, match="videos left out: 14 of 30; .* shows no class"):
        train = open_dataset("davis", root, "train")
    with pytest.warns(UserWarning, match="videos left out: 8 of 20; .* shows no class"):
        val = open_dataset("davis", root, "val")
    assert (len(train), sum(map(len, train)), len(val), sum(map(len, val))) == (16, 1124, 12, 693)
    shown = {}
    for clip in [*train, *val]:
        t = len(clip) // 2
        target, mask = clip.target(t), np.array(Image.open(clip.mask(t)).convert("L"))
        rows, columns = np.nonzero(mask)
        assert target.boxes.tolist() == [[columns.min(), rows.min(), columns.max() + 1,
                                          rows.max() + 1]]
        assert clip.frame(t).shape[1:] == mask.shape == clip.size(t)
        shown.setdefault(CLASSES[target.labels[0] - 1], set()).add(clip.name)
    assert {name: len(clips) for name, clips in shown.items()} == {
        "bear": 1, "bird": 4, "bicycle": 2, "watercraft": 1, "bus": 1, "car": 6, "cattle": 1,
        "dog": 3, "elephant": 1, "horse": 2, "motorcycle": 5, "train": 1}
    assert shown["bird"] == {"blackswan", "flamingo", "mallard-fly", "mallard-water"}
    bumps = next(clip for clip in train if clip.name == "bmx-bumps")
    assert len(bumps.target(62).boxes) == 0  # one of the empty masks


# ---- COCO-VID ------------------------------------------------------------------------------------


def coco() -> dict:
    """Two videos (the first one's images out of order), an image of none, categories 7 and 3."""
    annotation = {"image_id": 11, "category_id": 7, "bbox": [1, 2, 3, 4]}
    return {
        "videos": [{"id": 1, "name": "a"}, {"id": 5, "name": "b"}],
        "images": [
            {"id": 12, "video_id": 1, "frame_id": 1, "file_name": "a/1.jpg", "height": 50,
             "width": 100},
            {"id": 11, "video_id": 1, "frame_id": 0, "file_name": "a/0.jpg", "height": 50,
             "width": 100},
            {"id": 30, "video_id": 5, "frame_id": 0, "file_name": "b/0.jpg"},
            {"id": 40, "file_name": "still.jpg"},
        ],
        "annotations": [
            {**annotation, "id": 1, "instance_id": 8, "iscrowd": 0},
            {**annotation, "id": 2, "image_id": 12, "bbox": [90, 40, 30.5, 20], "instance_id": 8,
             "category_id": 3, "occluded": True},
            {**annotation, "id": 3, "iscrowd": 1, "bbox": [50, 10, 80, 10]},
            {**annotation, "id": 4, "ignore": True, "bbox": [0, 0, 9, 9]},
            {**annotation, "id": 5, "image_id": 40},
            {**annotation, "id": 6, "image_id": 30, "bbox": [95, 45, 10, 10]},
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "ant"}],
    }


def coco_root(root: Path, data: dict, name: str = "train.json", images: str = "data") -> Path:
    for entry in coco()["images"]:
        image(root / images / entry["file_name"])
    text(root / "annotations" / name, json.dumps(data))
    return root


def test_a_coco_video_by_hand(tmp_path):
    dataset = open_dataset("coco-vid", coco_root(tmp_path, coco()), "train")
    assert dataset.classes == ("ant", "cat")  # in the order of their ids
    assert [(c.name, len(c)) for c in dataset] == [("a", 2), ("b", 1), ("still.jpg", 1)]
    first, second = (dataset[0].target(t) for t in range(2))
    assert first.boxes.tolist() == [[1, 2, 4, 6]] and first.labels.tolist() == [2]
    assert first.ignored.tolist() == [[50, 10, 100, 20], [0, 0, 9, 9]]
    assert second.boxes.tolist() == [[90, 40, 100, 50]] and second.labels.tolist() == [1]
    assert first.ids.tolist() == second.ids.tolist() == [8]
    assert second.flags[:, 2].tolist() == [True] and not first.flags.any()
    assert dataset[0].path(0) == tmp_path / "data/a/0.jpg"  # sorted by frame_id
    assert dataset[1].target(0).boxes.tolist() == [[95, 45, 100, 50]]  # size from the image
    assert dataset[1].target(0).ids.tolist() == dataset[2].target(0).ids.tolist() == [-1]
    assert [c.references for c in dataset] == [None] * 3


def test_marked_training_frames_are_the_references(tmp_path):
    data = coco()
    for entry in data["images"]:
        entry["is_vid_train_frame"] = entry["id"] == 12
    assert [c.references for c in open_dataset("coco-vid", coco_root(tmp_path, data), "train")] == [
        (1,), None, None]


@pytest.mark.parametrize("images", [".", "train", "data", "data/train", "images", "Data/VID",
                                    "Data/DET"])
def test_images_are_found_in_the_usual_places(tmp_path, images):
    root = coco_root(tmp_path, coco(), "imagenet_vid_train.json", images)
    for where in (root, root / "annotations/imagenet_vid_train.json"):
        assert open_dataset("coco-vid", where, "train")[0].frame(0).shape == (3, 50, 100)
    assert detect_format(root / "annotations/imagenet_vid_train.json") == "coco-vid"


def test_a_json_file_beside_its_images_is_a_data_set(tmp_path):
    coco_root(tmp_path, coco(), images=".")
    shutil.move(tmp_path / "annotations/train.json", tmp_path / "mine.json")
    for split in ("train", "val", "test"):
        assert len(open_dataset("coco-vid", tmp_path / "mine.json", split)) == 3


def test_several_files_of_a_split_are_not_guessed(tmp_path):
    coco_root(tmp_path, coco(), "a_val.json")
    coco_root(tmp_path, coco(), "b_val.json")
    with pytest.raises(MSTError, match="a_val.json or b_val.json"):
        open_dataset("coco-vid", tmp_path, "val")
    coco_root(tmp_path, coco(), "val.json")
    assert len(open_dataset("coco-vid", tmp_path, "val")) == 3


@pytest.mark.parametrize("where, value, why", [
    (("annotations", 1, "image_id"), 99, "annotations[1]: image 99 is not listed"),
    (("annotations", 1, "category_id"), 99, "annotations[1]: category 99 is not listed"),
    *((("annotations", 3, "bbox"), box, "annotations[3]: bbox must be x, y and a positive width")
      for box in ([1, 2, float("nan"), 4], [1, 2, 0, 4], [1, 2, 3, -4], [1, 2, 3], [1, 2, 3, None],
                  ["1", 2, 3, 4], [1, 2.5, 3, 10**400], [1, 2, 1e39, 4])),
    (("annotations", 3, "bbox"), "1 2 3 4", "annotations[3]: bbox must be list"),
    (("annotations", 0, "instance_id"), "eight", "annotations[0]: instance_id must be int or no"),
    (("annotations", 0, "instance_id"), 10**30, "annotations[0]: instance_id 1000000000000000000"),
    (("annotations", 0, "iscrowd"), "no", "annotations[0]: iscrowd must be int or nothing"),
    (("annotations", 0, "image_id"), [11], "annotations[0]: image_id must be int | str"),
    (("annotations", 5), None, "annotations[5]: must be a JSON object"),
    (("images", 2, "video_id"), 6, "images[2]: is of video 6, which is not listed"),
    (("images", 0, "frame_id"), 0, "video 1: has frame_id 0 twice"),
    (("images", 0, "frame_id"), None, "video 1: has images with a frame_id and images without"),
    (("images", 0, "id"), 11, "images[1]: id 11 is there twice"),
    (("images", 0, "height"), "tall", "images[0]: height must be int or nothing"),
    (("images", 0, "height"), -5, "images[0]: height and width must not be negative"),
    (("images", 0), {"id": 1}, "images[0]: file_name must be str"),
    (("categories", 0, "id"), 3, "categories[1]: id 3 is there twice"),
    (("categories", 0, "name"), "ant", "categories need names, each its own, got ant, ant"),
    (("categories",), [], "its list 'categories' is empty"),
    (("images",), {}, "has no list 'images'"),
])
def test_damage_in_coco_is_named_by_file_and_entry(tmp_path, where, value, why):
    data = coco()
    *path, last = where
    entry = data
    for key in path:
        entry = entry[key]
    entry[last] = value
    with pytest.raises(BadFile, match=r"train\.json: " + re.escape(why)):
        open_dataset("coco-vid", coco_root(tmp_path, data), "train")


def test_skipped_annotations_make_their_frames_unreadable_and_no_others(tmp_path):
    data = coco()
    data["annotations"][0]["bbox"] = [1, 2, 3, 0]
    data["annotations"][1]["image_id"] = 99
    with pytest.warns(UserWarning, match="bad entries left out: 2; .*and 1 more"):
        clip = open_dataset("coco-vid", coco_root(tmp_path, data), "train", skip_bad=True)[0]
    with pytest.raises(BadFile, match=r"annotations\[0\]: bbox"):
        clip.target(0)
    assert len(clip.target(1).boxes) == 0 and clip.frame(0).shape == (3, 50, 100)


def test_images_of_no_video_as_written_for_det_are_still_images(tmp_path):
    data = coco()
    for entry in data["images"]:
        entry.update(video_id=-1, frame_id=-1)
    for entry in data["annotations"]:
        entry.update(instance_id=-1, occluded=-1, generated=-1)  # -1: not told
    dataset = open_dataset("coco-vid", coco_root(tmp_path, data), "train")
    assert [len(clip) for clip in dataset] == [1] * 4
    assert not any(clip.target(0).flags.any() for clip in dataset)


@pytest.mark.parametrize("content", ["", "{", '{"images": [1,\n 2', "[]", "3", '"images"',
                                     pytest.param("[" * 10**5, id="deep")])
def test_json_that_is_cut_or_no_object_is_named(tmp_path, content):
    root = coco_root(tmp_path, coco())
    text(root / "annotations/train.json", content)
    with pytest.raises(BadFile, match=r"train\.json"):
        open_dataset("coco-vid", root, "train")


def test_missing_images_name_the_tried_folders(tmp_path):
    root = coco_root(tmp_path, coco())
    (root / "data/a/0.jpg").unlink()
    with pytest.raises(BadFile, match=r"train\.json: images\[1\]: .*data/a/0\.jpg is not on disk"):
        open_dataset("coco-vid", root, "train")
    with pytest.warns(UserWarning, match="bad entries left out: 1; "):
        clip = open_dataset("coco-vid", root, "train", skip_bad=True)[0]
    assert clip.frame(1).shape == (3, 50, 100)
    with pytest.raises(BadFile, match=r"data/a/0\.jpg"):
        clip.frame(0)
    shutil.rmtree(root / "data")
    with pytest.raises(BadFile, match=r"none of its 4 images is there, .*data/train/a/0\.jpg"):
        open_dataset("coco-vid", root, "train")


def test_without_annotations_every_target_is_empty(tmp_path):
    data = {**coco(), "annotations": []}
    with pytest.warns(UserWarning, match=r"train\.json: has no annotation"):
        clip = open_dataset("coco-vid", coco_root(tmp_path, data), "train")[0]
    assert clip.target(0).boxes.shape == (0, 4) and clip.target(1).ignored.shape == (0, 4)


# ---- the door ------------------------------------------------------------------------------------


def test_what_cannot_be_opened_says_why(looks, tmp_path):
    with pytest.raises(MSTError, match="unknown data format 'voc'; choose one of imagenet, "):
        open_dataset("voc", tmp_path, "train")
    with pytest.raises(MSTError, match="nowhere: no such folder"):
        open_dataset("davis", tmp_path / "nowhere", "train")
    with pytest.raises(MSTError, match="not laid out as davis .JPEGImages"):
        open_dataset("davis", looks["uavdt"], "train")
    with pytest.raises(MSTError, match="no split 'val'; it has train, test"):
        open_dataset("uavdt", looks["uavdt"], "val")
    with pytest.raises(MSTError, match="nowhere: no such folder"):
        detect_format(tmp_path / "nowhere")
    with pytest.raises(MSTError) as caught:
        detect_format(tmp_path)
    assert all(name in str(caught.value) for name in FORMATS)


def test_a_split_without_clips_is_an_error(year_2016):
    text(year_2016 / "ImageSets/480p/val.txt", "\n")
    with pytest.raises(BadFile, match="val.txt: names nothing"):
        open_dataset("davis", year_2016, "val")
    with pytest.raises(MSTError, match="the val split holds no clip; .*val.txt: names nothing"):
        open_dataset("davis", year_2016, "val", skip_bad=True)


def test_every_clip_tells_where_its_frames_lie(looks):
    """What the validator builds on: a path a frame, and the annotation before clipping."""
    for name in LOOKALIKES:
        for split, dataset in opened(looks[name]).items():
            clip = dataset[0]
            assert isinstance(clip, FileClip) and clip.path(0).is_file()
            if split != "test":
                assert len(clip.annotated(0).boxes) >= len(clip.target(0).boxes)
