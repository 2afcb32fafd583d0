"""Where frames come from: every source, in order; damaged ones say so after what they have."""

import gc
import struct
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from films import COUNT, SIZE, cut, film, hurt, packets, plain, shown
from PIL import Image

from mstlib.config import MSTError
from mstlib.data import decode
from mstlib.data.ahead import ahead
from mstlib.data.dataset import BadFile
from mstlib.data.video import first, open_video
from mstlib.profiles import get_config


def until_error(frames):
    """What comes before the error, and the error."""
    held = []
    with pytest.raises(MSTError) as caught:
        for frame in frames:
            held.append(frame)
    return held, str(caught.value)


def images(folder, sizes=((32, 64),) * 4):
    """A folder of PNG files named so that the order of text is wrong."""
    folder.mkdir()
    for t, size in enumerate(sizes):
        Image.fromarray(plain(t, size)).save(folder / f"f{8 + t}.png")
    return folder


# ---- video files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "codec", "options"), [
    ("a.mp4", "mpeg4", {}), ("b.mp4", "mpeg4", {"bf": "2"}), ("c.avi", "mjpeg", {}),
    ("d.mkv", "mpeg4", {"bf": "2"}), ("e.ts", "mpeg2video", {}), ("f.mov", "libx264", {}),
])
def test_the_frames_of_a_file_come_in_the_order_they_are_shown(tmp_path, name, codec, options):
    video = open_video(film(tmp_path / name, codec=codec, **options))
    frames = list(video)
    assert shown(frames) == list(range(COUNT))
    assert {(f.shape, f.dtype) for f in frames} == {((3, *SIZE), torch.uint8)}
    assert (video.name, video.fps, video.length, video.skipped) == (name[0], 10, COUNT, 0)
    assert shown(video) == list(range(COUNT))  # a second time from the beginning


def test_odd_sizes_and_a_single_frame(tmp_path):
    (frame,) = open_video(film(tmp_path / "odd.avi", [plain(3, (33, 47))], "mjpeg"))
    assert frame.shape == (3, 33, 47) and shown([frame]) == [3]


TURNS = [turn for s in (1, -1) for t in (1, -1) for turn in ((s, 0, 0, t), (0, s, t, 0))]


@pytest.mark.parametrize("matrix", TURNS)
def test_all_eight_ways_to_hold_a_camera(matrix):
    a, b, c, d = matrix
    image = torch.arange(3 * 2 * 5, dtype=torch.uint8).view(3, 2, 5)
    places = {(a * x + c * y, b * x + d * y): image[:, y, x] for y in range(2) for x in range(5)}
    left, top = (min(place[k] for place in places) for k in (0, 1))
    expected = torch.zeros(3, 5, 2, dtype=torch.uint8) if b else torch.zeros_like(image)
    for (x, y), pixel in places.items():
        expected[:, y - top, x - left] = pixel
    turned = decode.upright(image, tuple(65536 * x for x in matrix))
    assert torch.equal(turned, expected)


@pytest.mark.parametrize(("a", "b", "c", "d", "corner"), [
    (0, 1, -1, 0, "top right"), (-1, 0, 0, -1, "bottom right"), (0, -1, 1, 0, "bottom left"),
    (-1, 0, 0, 1, "top right"),
])
def test_a_file_that_says_how_it_was_filmed_is_put_upright(tmp_path, a, b, c, d, corner):
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[:16, :32] = 255  # white at the top left
    path = film(tmp_path / "phone.mp4", [pixels] * 2)
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44  # the matrix of the track header
    data[place : place + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0,
                                           1 << 30)
    path.write_bytes(data)
    for frame in open_video(path):
        assert frame.shape == ((3, 64, 32) if b else (3, 32, 64))
        height, width = (n // 2 for n in frame.shape[1:])
        part = frame[:, height:] if "bottom" in corner else frame[:, :height]
        part = part[:, :, width:] if "right" in corner else part[:, :, :width]
        assert part.float().mean() > 230 and frame.float().mean() < 80


def test_a_cut_file_gives_what_it_holds_then_the_error(tmp_path):
    path = cut(film(tmp_path / "cut.mp4"), 7)
    frames, said = until_error(open_video(path))
    assert shown(frames) == list(range(7))
    assert "cut.mp4, frame 7: is cut short" in said and "--skip-bad" in said
    video = open_video(path, skip_bad=True)
    assert shown(video) == list(range(7)) and video.skipped == COUNT - 7
    assert shown(first(open_video(path), 3)) == [0, 1, 2]  # what comes later is no matter


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.avi"])
def test_a_file_cut_between_two_frames_ends_too_early_all_the_same(tmp_path, name):
    path = cut(film(tmp_path / name), 7, kept=0)
    frames, said = until_error(open_video(path))
    assert shown(frames) == list(range(7))
    assert f"{name}: ends after 7 frames, 5 more should follow" in said
    video = open_video(path, skip_bad=True)
    assert len(list(video)) == 7 and video.skipped == 5


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg"])
def test_one_damaged_frame_is_an_error_or_a_counted_skip(tmp_path, codec):
    path = hurt(film(tmp_path / "bad.avi", codec=codec, g="1"), 5)
    frames, said = until_error(open_video(path))
    assert shown(frames) == [0, 1, 2, 3, 4]
    assert "bad.avi, frame 5: cannot be decoded" in said and "\n" not in said
    video = open_video(path, skip_bad=True)
    numbered = dict(video.numbered())
    assert [t for t, frame in numbered.items() if frame is None] == [5] and video.skipped == 1
    assert shown(f for f in numbered.values() if f is not None) == [0, 1, 2, 3, 4, *range(6, COUNT)]


def test_frames_that_are_stored_in_another_order_are_counted_as_shown(tmp_path):
    path = film(tmp_path / "b.mp4", codec="libx264", bf="2", sc_threshold="0")
    begun, *_ = times = [time for *_, time in packets(path)]
    stored = [round(10 * (time - begun)) for time in times]
    early = next(n for n, t in enumerate(stored) if t > n)  # what is stored after it is shown first
    frames, said = until_error(open_video(hurt(path, early)))
    assert len(frames) == stored[early]
    assert f"b.mp4, frame {stored[early]}: cannot be decoded" in said
    video = open_video(path, skip_bad=True)
    assert [t for t, frame in video.numbered() if frame is None] == [stored[early]]


def test_a_source_that_breaks_off_still_gives_what_the_decoder_holds(tmp_path, monkeypatch):
    import av

    path = film(tmp_path / "net.mkv", (plain(t) for t in range(200)), codec="libx264", bf="2",
                sc_threshold="0")

    class Line:
        def __init__(self):
            self.file, self.left = path.open("rb"), path.stat().st_size

        def read(self, size):
            self.left -= size
            if self.left < 0:
                raise OSError(5, "line lost")
            return self.file.read(size)

    def opened(*_):
        line = Line()
        container = av.open(line, buffer_size=100, options={"probesize": "1000"})
        line.left = 500
        return container

    monkeypatch.setattr(decode, "opened", opened)
    frames = []
    with pytest.raises(decode.Cut, match=r"ends after \d+ frames \(line lost\), ") as caught:
        for frame in decode.decoded("net.mkv"):
            frames.append(frame)
    assert 3 < len(frames) < 190 and f"after {len(frames)} frames" in str(caught.value)
    order = shown(frames)[:-2]  # what the last ones lean on may not have come
    assert order == [t % 12 for t in range(len(order))]


def test_frames_missing_in_between_are_not_silent(tmp_path):
    times = [*range(6), *range(15, 21)]  # what Matroska gives behind damage that it jumps over
    video = open_video(film(tmp_path / "gap.mkv", times=times))
    with pytest.warns(UserWarning, match="12 frames where its length and rate make 21"):
        assert len(list(video)) == 12


def test_frames_of_another_size(tmp_path):
    parts = [film(tmp_path / f"{n}.mjpeg", [plain(t, size) for t in range(3)], "mjpeg")
             for n, size in enumerate([(32, 64), (48, 32)])]
    path = tmp_path / "both.mjpeg"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, said = until_error(open_video(path))
    assert shown(frames) == [0, 1, 2]
    assert "both.mjpeg, frame 3: 32 x 48 pixels, the first one has 64 x 32" in said
    video = open_video(path, skip_bad=True)
    assert len(list(video)) == 3 and video.skipped == 3


@pytest.mark.parametrize(("name", "content", "says"), [
    ("text.mp4", b"not a video\n" * 50, "not a video that can be opened"),
    ("zeros.mp4", bytes(5000), "not a video that can be opened"),
    ("empty.mp4", b"", "an empty file"),
    ("letter.txt", b"hello\n" * 100, "holds no video"),  # FFmpeg would film the text
    ("text.npy", b"not an array", "not a readable .npy file"),
])
def test_what_is_no_video_is_one_line(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    for skip_bad in (False, True):
        with pytest.raises(MSTError, match=says) as caught:
            list(open_video(path, skip_bad))
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_a_video_cut_before_its_index_says_so(tmp_path):
    path = cut(film(tmp_path / "late.mov"), COUNT - 1)  # the index would follow
    with pytest.raises(MSTError, match="late.mov: not a video .* cut so that its index is missing"):
        open_video(path)


def test_sources_that_are_not_there(tmp_path):
    for source, says in ((tmp_path / "none.mp4", "no such file; give a video file"),
                         (tmp_path, r"holds no image \(.jpg"),
                         (f"{tmp_path}/*.png", "no frame in it"),
                         ("camera:99", "no camera at /dev/video99"), ([], "no frame in it"),
                         (iter([]), "no frame in it"),
                         (np.zeros((0, 4, 4, 3), np.uint8), "no frame in it")):
        with pytest.raises(MSTError, match=says):
            list(open_video(source))


def test_a_camera_needs_linux(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(MSTError, match="only on Linux .* an iterator over your camera's frames"):
        open_video("camera:0")


def test_a_video_without_frames(tmp_path):
    import av

    path = tmp_path / "none.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", 10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuvj420p"
        container.start_encoding()
    with pytest.raises(MSTError, match="none.avi: (no frame in it|holds no video|not a video)"):
        list(open_video(path, skip_bad=True))


def test_without_pyav_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(MSTError, match="pip install av"):
        open_video(tmp_path / "a.mp4")


# ---- images, arrays, iterators, MiniVID ----------------------------------------------------------


def test_a_folder_a_pattern_a_list_and_a_single_image(tmp_path, monkeypatch):
    folder = images(tmp_path / "my.frames")
    files = [folder / f"f{n}.png" for n in (8, 9, 10, 11)]
    for source in (folder, f"{folder}/*.png", str(folder / "f*"), files, list(map(str, files))):
        video = open_video(source)
        assert shown(video) == [0, 1, 2, 3] and video.length == 4 and video.fps is None
    assert open_video(folder).name == "my.frames" and open_video(f"{folder}/*").name == "my.frames"
    assert shown(open_video(files[2])) == [2] and open_video(files[2]).name == "f10"
    monkeypatch.chdir(folder)
    assert open_video("*.png").name == open_video(".").name == "my.frames"


def test_grey_rgba_and_palette_images_become_rgb(tmp_path):
    for n, mode in enumerate(("L", "RGBA", "P", "RGB")):
        Image.new("RGB", (5, 3), (102, 102, 102)).convert(mode).save(tmp_path / f"{n}.png")
    for frame in open_video(tmp_path):
        assert frame.shape == (3, 3, 5) and (frame == 102).all()


def test_a_damaged_image_and_one_of_another_size(tmp_path):
    folder = images(tmp_path / "frames", ((32, 64), (32, 64), (64, 32), (32, 64)))
    (folder / "f9.png").write_bytes((folder / "f9.png").read_bytes()[:60])
    frames, said = until_error(open_video(folder))
    assert shown(frames) == [0] and "frame 1: " in said and "f9.png: not an image" in said
    video = open_video(folder, skip_bad=True)
    assert [t for t, frame in video.numbered() if frame is None] == [1, 2] and video.skipped == 2


def test_arrays_and_array_files(tmp_path):
    frames = np.stack([plain(t) for t in range(5)])
    np.save(tmp_path / "clip.npy", frames)
    for source in (frames, list(frames), tmp_path / "clip.npy", iter(frames),
                   torch.from_numpy(frames).permute(0, 3, 1, 2)):
        got = list(open_video(source))
        assert torch.equal(torch.stack(got).permute(0, 2, 3, 1), torch.from_numpy(frames))
    assert open_video(tmp_path / "clip.npy").name == "clip"


def test_arrays_of_another_kind_are_refused(tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros((4, 4), np.uint8))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    for source, says in ((np.zeros((2, 4, 4, 3)), r"got \(3, 4, 4\) torch.float64"),
                         (np.zeros((2, 4, 4, 4), np.uint8), r"got \(4, 4, 4\) torch.uint8"),
                         (np.zeros((2, 4, 4), np.uint8), r"got \(4, 4\) uint8"),
                         ([None], "a frame must be an array .* got None"),
                         (tmp_path / "flat.npy", r"an array \(T, H, W, 3\), got \(4, 4\)"),
                         (tmp_path / "objects.npy", "objects.npy: not a readable .npy file")):
        with pytest.raises(MSTError, match=says):
            list(open_video(source))


def test_a_clip_of_minivid(tmp_path, monkeypatch):
    from mstlib.data.minivid.benchmark import load_minivid

    monkeypatch.setenv("MST_DATA", str(tmp_path))
    config = get_config("tiny").data
    clip = load_minivid(config, "test")[2]
    video = open_video("minivid:test/2", minivid=config)
    assert (video.name, video.length) == (clip.name, len(clip))
    assert all(torch.equal(f, clip.frame(t)) for t, f in enumerate(video))
    for place in ("test/4", "test/x", "test/-1"):
        with pytest.raises(MSTError, match="clips of test are numbered 0 to 3"):
            open_video(f"minivid:{place}", minivid=config)
    with pytest.raises(MSTError, match="no split 'dev'"):
        open_video("minivid:dev/0", minivid=config)


# ---- ahead of the model --------------------------------------------------------------------------


def threads():
    return [t for t in threading.enumerate() if t.name == "mst-ahead"]


def test_items_come_in_order_then_the_error_of_their_source():
    def source():
        yield from range(20)
        raise ValueError("lens cap")

    seen = []
    with pytest.raises(ValueError, match="lens cap"):
        for item in ahead(source(), depth=3):
            seen.append(item)
    assert seen == list(range(20)) and not threads()
    assert list(ahead([])) == []
    with pytest.raises(TypeError, match="not iterable"):
        next(ahead(7))


@pytest.mark.parametrize("how", ["closes", "raises", "forgets"])
def test_a_consumer_that_stops_early_ends_the_thread_and_closes_the_source(how):
    closed = threading.Event()

    def source():
        try:
            while True:
                yield torch.zeros(3, 4, 4)
        finally:
            closed.set()

    def consume():
        items = ahead(source(), depth=2)
        next(items)
        if how == "raises":
            raise ZeroDivisionError
        if how == "closes":
            items.close()

    if how == "raises":
        with pytest.raises(ZeroDivisionError):
            consume()
    else:
        consume()
    gc.collect()
    assert closed.is_set() and not threads()


def test_the_source_works_while_the_consumer_does_but_not_far_ahead():
    made, fourth = [], threading.Event()

    def source():
        for n in range(100):
            made.append(n)
            if n == 3:
                fourth.set()
            yield n

    items = ahead(source(), depth=3)
    assert next(items) == 0
    assert fourth.wait(10)  # without this thread asking for any of them
    for n in range(1, 50):
        assert next(items) == n
        assert len(made) <= n + 1 + 3 + 1  # this one, three that wait, one in hand
    items.close()


def test_ten_thousand_frames_are_never_in_memory_together():
    alive, most = weakref.WeakSet(), 0

    def source():
        for _ in range(10_000):
            frame = torch.zeros(3, 8, 8, dtype=torch.uint8)
            alive.add(frame)
            yield frame

    count = 0
    for _, frame in ahead(open_video(source()).numbered(), depth=4):
        count, most = count + 1, max(most, len(alive))
        del frame
    assert count == 10_000 and most <= 4 + 4


def test_ten_thousand_frames_of_a_file(tmp_path):
    path = film(tmp_path / "long.mjpeg", (plain(t, (16, 16)) for t in range(100)), "mjpeg")
    path.write_bytes(path.read_bytes() * 100)
    alive, most, count = weakref.WeakSet(), 0, 0
    for frame in open_video(path):
        alive.add(frame)
        count, most = count + 1, max(most, len(alive))
    assert count == 10_000 and most <= 3


def test_bad_files_are_a_kind_of_mst_error():
    with pytest.raises(BadFile):
        list(open_video(["nowhere.png"]))
