"""Images on disk: reading, damage, clips of files, clipping and resizing."""

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from scenes import SquareClip
from torch import Tensor
from torch.nn import functional

from mstlib.data.clip import Target
from mstlib.data.dataset import BadFile
from mstlib.data.frames import Sized, clip_target, fit, folder_clip, scaled, wrong_box
from mstlib.data.images import image_size, last_number, read_image


def picture(mode: str = "RGB", size: tuple[int, int] = (61, 47)) -> Image.Image:
    """A noisy picture, `size` is (W, H): noise keeps the files from being nearly empty."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def as_rgb(data: bytes) -> Tensor:
    """What PIL reads, (3, H, W)."""
    return torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB"))).permute(2, 0, 1)


# ---- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, mode", [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"),
                                        ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "LA"),
                                        ("PNG", "P"), ("PNG", "L"), ("PNG", "1")])
def test_every_kind_of_image_becomes_rgb(tmp_path, kind, mode):
    data = encoded(picture(mode), kind)
    (tmp_path / "a.jpg").write_bytes(data)
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (3, 47, 61) and image.dtype == torch.uint8
    assert (image.int() - as_rgb(data).int()).abs().max() <= 1  # decoders may round differently
    assert image_size(tmp_path / "a.jpg") == (47, 61)


def test_orientation_tags_are_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    (tmp_path / "a.jpg").write_bytes(encoded(picture(), exif=exif))
    assert read_image(tmp_path / "a.jpg").shape == (3, 47, 61)
    assert image_size(tmp_path / "a.jpg") == (47, 61)


@pytest.mark.parametrize("kind, options", [("JPEG", {}), ("JPEG", {"progressive": True}),
                                           ("JPEG", {"quality": 30}), ("PNG", {})])
@pytest.mark.parametrize("filled", [False, True])
def test_a_file_cut_anywhere_is_an_error(tmp_path, kind, options, filled):
    """In the middle, in the last 5 per cent, before the end mark; also with zeros in its place."""
    data, path = encoded(picture(), kind, **options), tmp_path / "cut.jpg"
    n = len(data)
    for cut in [*range(1, n, max(1, n // 40)), *range(int(0.95 * n), n, max(1, n // 400)), n - 1]:
        path.write_bytes(data[:cut] + bytes(n - cut) * filled)
        with pytest.raises(BadFile, match="cut.jpg"):
            read_image(path)
    path.write_bytes(data)
    assert torch.equal(read_image(path), as_rgb(data))


def test_zeros_after_a_whole_image_do_no_harm(tmp_path):
    data = encoded(picture())
    (tmp_path / "a.jpg").write_bytes(data + bytes(1000))
    assert torch.equal(read_image(tmp_path / "a.jpg"), as_rgb(data))


def test_a_thumbnail_does_not_pass_for_the_image(tmp_path):
    """A thumbnail in the header has an end mark of its own."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x927C] = encoded(picture(size=(16, 16)))
    data = encoded(picture(), exif=exif)
    assert data.count(b"\xff\xd9") == 2
    (tmp_path / "a.jpg").write_bytes(data[: int(0.9 * len(data))])
    with pytest.raises(BadFile, match="a.jpg"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("data", [b"", b"these are words\n" * 20, b"\xff\xd8", b"\x89PNG\r\n",
                                  bytes(99)])
def test_what_is_no_image_is_an_error_that_names_the_file(tmp_path, data):
    path = tmp_path / "words.jpg"
    path.write_bytes(data)
    for read in (read_image, image_size):
        with pytest.raises(BadFile, match="words.jpg"):
            read(path)


@pytest.mark.parametrize("read", [read_image, image_size])
def test_missing_files_and_folders_are_errors(tmp_path, read):
    with pytest.raises(BadFile, match="none.jpg"):
        read(tmp_path / "none.jpg")
    with pytest.raises(BadFile, match=tmp_path.name):
        read(tmp_path)


def test_the_size_comes_from_the_header_alone(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(picture())[:700])
    assert image_size(tmp_path / "a.jpg") == (47, 61)


# ---- folders -------------------------------------------------------------------------------------


def test_a_folder_is_a_clip_in_the_order_of_its_numbers(tmp_path):
    for k in (2, 10, 1):
        picture(size=(20 + k, 9)).save(tmp_path / f"shot{k}.jpg")
    (tmp_path / "notes.txt").write_text("no frame")
    clip = pickle.loads(pickle.dumps(folder_clip(tmp_path, "mine")))
    assert (clip.name, len(clip), clip.references) == ("mine", 3, None)
    assert [clip.size(t) for t in range(3)] == [(9, 21), (9, 22), (9, 30)]
    assert clip.frame(2).shape == (3, 9, 30)
    assert clip.target(0).boxes.shape == (0, 4) and clip.target(0).labels.dtype == torch.int64


def test_a_folder_without_images_is_an_error(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(BadFile, match=folder.name):
            folder_clip(folder)


def test_the_last_number_counts_past_a_gap(tmp_path):
    for name in ("img000001.jpg", "img000004.jpg", "cover.jpg", "img000009.txt"):
        (tmp_path / name).touch()
    assert last_number(tmp_path, "img{:06d}.jpg") == 4
    with pytest.raises(BadFile, match="frame000001.jpg"):
        last_number(tmp_path, "frame{:06d}.jpg")


# ---- targets -------------------------------------------------------------------------------------


def test_boxes_are_clipped_and_those_outside_go():
    boxes = torch.tensor([[-5.0, 2, 10, 20], [90, 40, 120, 70], [100, 10, 110, 20], [3, 4, 5, 6]])
    target = Target.of(boxes, torch.tensor([1, 2, 3, 4]), torch.tensor([7, 8, 9, 10]),
                       torch.tensor([True, False, False, True]),
                       torch.tensor([[-9.0, -9, 200, 200], [0, 50, 9, 60]]))
    clipped = clip_target(target, (50, 100))
    assert clipped.boxes.tolist() == [[0, 2, 10, 20], [90, 40, 100, 50], [3, 4, 5, 6]]
    assert clipped.labels.tolist() == [1, 2, 4] and clipped.ids.tolist() == [7, 8, 10]
    assert clipped.flags[:, 2].tolist() == [True, False, True]
    assert clipped.centres.tolist() == [[5, 11], [95, 45], [4, 5]]
    assert clipped.ignored.tolist() == [[0, 0, 100, 50]]


@pytest.mark.parametrize(("box", "says"), [
    ((0, 0, 10, 8), ""), ((-1, -1, 11, 9), ""), ((-1.5, 0, 5, 5), "box across the border of the "
     "image"), ((0, 0, 5, 9.5), "box across the border of the image"),
    ((10, 0, 12, 5), "box outside of the image"), ((-5, 0, 0, 5), "box outside of the image"),
    ((0, 8, 5, 9), "box outside of the image"), ((3, 1, 3, 5), "box without area"),
    ((4, 1, 3, 5), "box with swapped corners"), ((0, 1, float("inf"), 5), "box that is no number"),
])
def test_a_box_in_an_image_of_10_by_8_pixels(box, says):
    assert wrong_box(box, (8, 10)) == says


# ---- resizing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size, sides, scale, after", [
    ((600, 800), (600, 1000), 1.0, (600, 800)),
    ((300, 400), (600, 1000), 2.0, (600, 800)),
    ((480, 854), (600, 1000), 1000 / 854, (562, 1000)),     # the long side is the limit
    ((1280, 720), (600, 1000), 1000 / 1280, (1000, 562)),
    ((480, 854), (240, 0), 0.5, (240, 427)),
    ((480, 854), (0, 427), 0.5, (240, 427)),
    ((480, 854), (0, 0), 1.0, (480, 854)),
    ((2, 900), (0, 100), 1 / 9, (1, 100)),                  # never less than a pixel
])
def test_scale_and_size_by_hand(size, sides, scale, after):
    assert fit(size, *sides) == pytest.approx(scale)
    assert scaled(size, fit(size, *sides)) == after


def test_frames_and_targets_are_resized_together():
    """A square that lies on whole pixels before and after stays inside its box, and fills it."""
    clip = Sized(SquareClip("s", ids=(3, 5)), short_side=128)  # 64 -> 128
    assert clip.scale(0) == 2.0 and clip.size(0) == (128, 128) and len(clip) == 6
    target, frame = clip.target(0), clip.frame(0)
    assert target.boxes.tolist() == [[18, 22, 54, 58], [70, 72, 98, 112]]
    assert target.centres.tolist() == [[36, 40], [84, 92]]
    assert target.ids.tolist() == [3, 5] and target.labels.tolist() == [1, 2]
    bright = (frame[0] > 130).nonzero()
    assert (bright.amin(0).tolist(), (bright.amax(0) + 1).tolist()) == ([22, 18], [58, 54])
    back = target.boxes / clip.scale(0)
    assert torch.equal(back, clip.clip.target(0).boxes)


def test_shrinking_averages_like_the_float_form():
    clip = Sized(SquareClip("s"), short_side=24)
    want = functional.interpolate(clip.clip.frame(1)[None].float(), (24, 24), mode="bilinear",
                                  antialias=True)[0]
    assert (clip.frame(1).float() - want).abs().max() <= 1


def test_ignored_regions_scale_and_the_rest_is_passed_on():
    class Marked(SquareClip):
        references = (1, 4)

        def target(self, t):
            target = super().target(t)
            return Target.of(target.boxes, target.labels, ignored=torch.tensor([[0.0, 2, 4, 6]]))

    clip = Sized(Marked("m"), 0, 32)
    assert clip.target(0).ignored.tolist() == [[0, 1, 2, 3]]
    assert clip.references == (1, 4) and clip.name == "m"
    assert Sized(SquareClip("s"), 32).references is None


def test_without_sides_nothing_changes():
    clip = SquareClip("s")
    same = pickle.loads(pickle.dumps(Sized(clip)))
    assert torch.equal(same.frame(2), clip.frame(2)) and same.scale(2) == 1.0
    assert torch.equal(same.target(2).boxes, clip.target(2).boxes)


def test_frames_of_different_sizes_have_their_own_scale(tmp_path):
    picture(size=(80, 40)).save(tmp_path / "1.png")
    picture(size=(40, 20)).save(tmp_path / "2.png")
    clip = Sized(folder_clip(tmp_path), 10)
    assert [clip.scale(t) for t in range(2)] == [0.25, 0.5]
    assert [tuple(clip.frame(t).shape) for t in range(2)] == [(3, 10, 20)] * 2
