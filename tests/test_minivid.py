"""MiniVID: the same bytes everywhere, ground truth that fits the pixels, an honest cache."""

import errno
import hashlib
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from mstlib.config import DataConfig, MSTError
from mstlib.data import generated
from mstlib.data.clip import DETERIORATIONS
from mstlib.data.minivid import film, generate, script
from mstlib.data.minivid.benchmark import CLASSES, ensure_minivid, load_minivid
from mstlib.data.minivid.card import columns_of, describe, portrait, write_card
from mstlib.data.minivid.scene import Scene
from mstlib.data.minivid.sprite import Sprite, lay_over
from mstlib.profiles import TINY

SCENE = Scene()
SMALL = DataConfig(size=64, train_clips=24, train_length=16, val_clips=3, test_clips=2,
                   test_length=6)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("minivid")


@pytest.fixture(scope="module")
def clips(root):
    return load_minivid(SMALL, "train", root, workers=1)


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# The same bytes everywhere

def test_bytes_depend_on_neither_workers_nor_run(tmp_path):
    one, two, again = (
        bytes_of(ensure_minivid(TINY.data, "train", tmp_path / str(i), workers=workers))
        for i, workers in enumerate((1, 2, 1))
    )
    assert set(one) == {"frames.npy", "targets.npz"}
    assert one == two == again


def test_bytes_are_those_the_records_were_measured_on():
    """If this fails on purpose, raise `generate.VERSION` and measure everything anew."""
    frames, _ = film.film_clip((2022, 2, 0), 4, 128, Scene())
    assert hashlib.sha256(frames.tobytes()).hexdigest()[:16] == "73357314196b50c2"


def test_a_clip_does_not_depend_on_how_many_there_are(tmp_path, clips):
    few = load_minivid(replace(SMALL, train_clips=2), "train", tmp_path, workers=1)
    assert np.array_equal(few[1].frames, clips[1].frames)


def test_splits_and_seeds_differ(root, clips):
    val = load_minivid(SMALL, "val", root, workers=1)
    other, _ = film.film_clip((7, 0, 0), 1, 64, SCENE)
    assert not np.array_equal(val[0].frames[0], clips[0].frames[0])
    assert not np.array_equal(other[0], clips[0].frames[0])


def test_another_knob_is_another_folder(tmp_path):
    folders = {generate.home(SMALL, tmp_path, scene)
               for scene in (None, SCENE, replace(SCENE, noise=0.0))}
    folders.add(generate.home(replace(SMALL, seed=1), tmp_path))
    assert len(folders) == 3


# The cache

def test_second_call_reads_the_cache(root, clips, monkeypatch):
    monkeypatch.setattr(generate, "film_clip", None)  # filming again would fail
    again = load_minivid(SMALL, "train", root)
    assert len(again) == len(clips) == 24


def test_interrupted_generation_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(seed, *rest):
        if seed[2] == 2:
            raise KeyboardInterrupt
        return film.film_clip(seed, *rest)

    monkeypatch.setattr(generate, "film_clip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ensure_minivid(SMALL, "val", tmp_path, workers=1)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    monkeypatch.undo()
    assert len(load_minivid(SMALL, "val", tmp_path, workers=1)) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="kills a process group")
def test_killed_generation_leaves_nothing_that_load_accepts(tmp_path):
    code = ("from pathlib import Path; from mstlib.profiles import MINI;"
            "from mstlib.data.minivid.generate import ensure_minivid;"
            f"ensure_minivid(MINI.data, 'train', Path({str(tmp_path)!r}), workers=2)")
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL,
                               start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*/.train-*/frames.npy")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(tmp_path.glob("*/.train-*")) and not list(tmp_path.glob("*/train"))
    while time.monotonic() < deadline:  # the workers notice and end
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail("generating processes outlive their parent")


def test_abandoned_folders_are_swept_and_fresh_ones_kept(tmp_path):
    parent = generate.home(SMALL, tmp_path)
    for name, age in ((".val-old", 2 * generated.STALE), (".val-new", 0)):
        (parent / name).mkdir(parents=True)
        (parent / name / "frames.npy").write_bytes(b"half")
        for path in (parent / name / "frames.npy", parent / name):
            os.utime(path, (time.time() - age,) * 2)
    ensure_minivid(SMALL, "val", tmp_path, workers=1)
    assert sorted(path.name for path in parent.iterdir()) == [".val-new", "val"]


def test_two_at_once_both_succeed(tmp_path, monkeypatch):
    def with_rival(seed, *rest):
        monkeypatch.undo()  # the rival starts later and finishes first
        ensure_minivid(SMALL, "val", tmp_path, workers=1)
        return film.film_clip(seed, *rest)

    monkeypatch.setattr(generate, "film_clip", with_rival)
    folder = ensure_minivid(SMALL, "val", tmp_path, workers=1)
    assert len(load_minivid(SMALL, "val", tmp_path)) == 3
    assert list(folder.parent.glob(".*")) == []


@pytest.mark.parametrize("name", ["frames.npy", "targets.npz"])
@pytest.mark.parametrize("harm", ["missing", "truncated", "empty", "text"])
def test_damaged_cache_is_named(tmp_path, name, harm):
    path = ensure_minivid(TINY.data, "val", tmp_path, workers=1) / name
    if harm == "missing":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes({"truncated": data[: len(data) // 2], "empty": b"", "text": b"x"}[harm])
    with pytest.raises(MSTError, match="damaged MiniVID cache in .*val") as caught:
        load_minivid(TINY.data, "val", tmp_path)
    assert "\n" not in str(caught.value)


def test_frames_of_another_shape_are_damage(tmp_path):
    folder = ensure_minivid(TINY.data, "val", tmp_path, workers=1)
    np.save(folder / "frames.npy", np.zeros((4, 6, 3, 32, 32), dtype=np.uint8))
    with pytest.raises(MSTError, match=r"\(4, 6, 3, 32, 32\)"):
        load_minivid(TINY.data, "val", tmp_path)


def test_unwritable_root_names_the_way_out(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(MSTError, match="MST_DATA"):
        ensure_minivid(TINY.data, "val", tmp_path / "file", workers=1)


def test_full_disk_names_the_way_out(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(generate.np, "savez", full)
    with pytest.raises(MSTError, match="No space left.*MST_DATA"):
        ensure_minivid(TINY.data, "val", tmp_path, workers=1)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_root_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MST_DATA", str(tmp_path / "elsewhere"))
    assert generate.home(SMALL).parent == tmp_path / "elsewhere"


def test_unknown_split():
    with pytest.raises(MSTError, match="train, val, test"):
        load_minivid(SMALL, "holdout")


# Ground truth

def test_types_and_shapes(clips):
    clip = clips[0]
    frame, target = clip.frame(3), clip.target(3)
    n = len(target.ids)
    assert len(clip) == 16 and frame.shape == (3, 64, 64) and frame.dtype == torch.uint8
    assert target.boxes.shape == (n, 4) and target.boxes.dtype == torch.float32
    assert target.labels.dtype == target.ids.dtype == torch.int64
    assert target.flags.shape == (n, 4) and target.flags.dtype == torch.bool
    assert target.centres.shape == (n, 2) and target.centres.dtype == torch.float32


def test_ids_are_unique_in_a_frame_and_keep_their_class(clips):
    for clip in clips:
        labels = {}
        for t in range(len(clip)):
            target = clip.target(t)
            assert len(target.ids.unique()) == len(target.ids)
            for track, label in zip(target.ids.tolist(), target.labels.tolist(), strict=True):
                assert labels.setdefault(track, label) == label
                assert 1 <= label <= len(CLASSES)


def test_boxes_are_tight_around_the_silhouette(root):
    for clip in range(4):
        seed, size = (SMALL.seed, 0, clip), SMALL.size
        plot, scenery, _ = film.direct_clip(seed, 16, size, SCENE)
        for t in range(0, 16, 5):
            _, views, silhouettes = film.film_frame(plot, scenery, t, size, SCENE)
            for view, mask in zip(views, silhouettes, strict=True):
                y, x = np.nonzero(mask)
                around = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) - size // 2
                assert np.abs(view.box - around).max() <= 0.5  # two rays a pixel


def test_boxes_lie_in_the_image(clips):
    boxes = columns_of(clips)["box"]
    assert boxes.min() >= 0 and boxes.max() <= 64
    assert (boxes[:, 2:] - boxes[:, :2]).min() > 3


def test_hardly_visible_at_the_border_is_not_annotated():
    plot, _, _ = film.direct_clip((1, 0, 0), 1, 64, SCENE)
    inside, outside = (
        film.View(plot.bodies[0], np.array([x, 10.0, x + 20, 30.0]), 1.0, 1.0) for x in (-12, -14)
    )
    assert film.annotate(inside, 0, 64, SCENE)["box"].tolist() == [0, 10, 8, 30]
    assert film.annotate(outside, 0, 64, SCENE) is None


def test_shares_of_the_deteriorations_for_any_clip_length():
    rng = np.random.default_rng(0)
    for length in (6, 24):
        for share in (0.05, 0.14):
            covered = np.zeros((3000, length))
            for row in covered:
                for start, end in script.draw_events(rng, share, length, SCENE):
                    row[start:end] = 1
            assert abs(covered.mean() - share) < 0.012


def test_the_sample_has_the_promised_shares(clips):
    facts = describe(clips, 64)
    for name, share in zip(DETERIORATIONS, (14, 14, 16, 30), strict=True):
        assert abs(facts[f"{name} %"] - share) < 8, name
    assert 42 < facts["any deterioration %"] < 68
    assert 35 < facts["key cannot be read %"] < 60
    assert facts["of these, it can within 8 frames %"] > 85


def test_flags_say_what_was_rendered(clips):
    table = columns_of(clips)
    assert np.array_equal(table["flags"][:, 2], table["visible"] < SCENE.occluded)
    assert np.array_equal(table["flags"][:, 3], table["key"] < SCENE.rare_key)
    facing = np.abs(table["azimuth"]) < math.radians(30)
    assert table["key"][facing].mean() > 3 * table["key"][~facing].mean()


# Pixels

def edges(picture):
    """Gradient energy in the middle of a picture (S, S, 3)."""
    inner = picture[16:48, 16:48]
    return float(np.square(np.diff(inner, axis=0)).sum() + np.square(np.diff(inner, axis=1)).sum())


@pytest.mark.parametrize("label", range(1, 9))
def test_blur_smooths_the_object(label):
    sharp = edges(portrait(label, 64, SCENE))
    assert edges(portrait(label, 64, SCENE, streak=(8.0, 3.0))) < 0.8 * sharp
    assert edges(portrait(label, 64, SCENE, sigma=1.6)) < 0.7 * sharp


def test_occluder_hides_what_it_should():
    """With the occluder and without: about the covered share of the box has other pixels."""
    shares, size = [], 64
    for clip in range(12):
        plot, scenery, _ = film.direct_clip((SMALL.seed, 0, clip), 16, size, SCENE)
        plot = replace(plot, bodies=plot.bodies[:1])
        body = plot.bodies[0]
        bare = replace(plot, bodies=[replace(body, cover=[(0.0, 1.0, 0.0)] * 16)])
        for t in (t for t in range(16) if body.cover[t][0] > 0.5):
            frame, (view,), _ = film.film_frame(plot, scenery, t, size, SCENE)
            clear, (open_view,), _ = film.film_frame(bare, scenery, t, size, SCENE)
            x1, y1, x2, y2 = np.rint(view.box.clip(0, size)).astype(int)
            changed = np.abs(frame - clear).max(axis=0)[y1:y2, x1:x2] > 0.01
            shares.append((changed.mean(), view.visible))
            assert open_view.visible == 1
    assert len(shares) > 10
    changed, visible = np.array(shares).T
    assert changed.min() > 0.35 and visible.max() < 0.65
    assert abs(changed.mean() - (1 - visible).mean()) < 0.15


@pytest.mark.parametrize("body", range(4))
def test_only_the_front_tells_the_class(body):
    front = [portrait(1 + 2 * body + key, 64, SCENE, yaw=0.2) for key in (0, 1)]
    rear = [portrait(1 + 2 * body + key, 64, SCENE, yaw=math.pi + 0.2) for key in (0, 1)]
    assert np.array_equal(*rear)
    assert (np.abs(front[0] - front[1]).max(axis=2) > 0.2).sum() > 20  # pixels


def test_end_on_view_hides_the_key():
    for body in (1, 2, 3):  # on an ellipsoid its rim stays in view
        same = [portrait(1 + 2 * body + key, 64, SCENE, tilt=1.57) for key in (0, 1)]
        assert (np.abs(same[0] - same[1]).max(axis=2) > 0.02).sum() < 12  # pixels


def test_lay_over_clips_at_every_border():
    rgba = np.ones((4, 4, 4), dtype=np.float32)
    places = (-2, -2, 4), (6, 6, 4), (2, 2, 16), (-9, 0, 0), (0, 20, 0), (-4, 0, 0)
    for left, top, pixels in places:
        frame = np.zeros((3, 8, 8), dtype=np.float32)
        lay_over(frame, Sprite(rgba, left, top))
        assert frame[0].sum() == pixels


# Motion

def test_true_motion_of_an_unscaled_object_is_its_centre_shift(tmp_path):
    scene = replace(SCENE, zoom=0.0, objects=(1.0,))
    clip = load_minivid(replace(SMALL, train_clips=1), "train", tmp_path, 1, scene)[0]
    motion, mask = clip.true_motion(2, 9, 8)
    shift = (clip.target(9).centres[0] - clip.target(2).centres[0]) / 8
    assert motion.shape == (8, 8, 2) and (mask == 0).any() and (mask == -1).any()
    torch.testing.assert_close(motion[mask == 0], shift.expand(int((mask == 0).sum()), 2))
    pan = torch.from_numpy(clip.pan[9] - clip.pan[2]) / 8
    torch.testing.assert_close(motion[mask == -1], pan.expand(int((mask == -1).sum()), 2))


def test_true_motion_to_the_same_frame_is_zero(clips):
    for clip in clips[:4]:
        motion, mask = clip.true_motion(5, 5, 8)
        assert motion.abs().max() < 1e-5
        assert set(mask.unique().tolist()) - {-1} <= set(clip.target(5).ids.tolist())


def test_nearest_object_owns_the_cell(clips):
    for clip in clips:
        now = clip.at(8)
        _, mask = clip.true_motion(8, 9, 4)
        front = now["depth"].argmax()
        x1, y1, x2, y2 = now["box"][front]
        inside = mask[math.ceil(y1 / 4) : int(y2 // 4), math.ceil(x1 / 4) : int(x2 // 4)]
        assert (inside == now["id"][front]).all()


def test_background_follows_the_pan():
    """The ground of frame 6 moved back by the pan is the ground of frame 0."""
    plot, scenery, _ = film.direct_clip((3, 0, 5), 8, 64, SCENE)
    whole = np.rint(plot.pan)  # whole pixels: no interpolation between the two
    first, later = (film.background(scenery, whole[t], 64) for t in (0, 6))
    x, y = (whole[6] - whole[0]).astype(int)
    moved = later[:, max(0, y) : 64 + min(0, y), max(0, x) : 64 + min(0, x)]
    still = first[:, max(0, -y) : 64 + min(0, -y), max(0, -x) : 64 + min(0, -x)]
    assert (x, y) != (0, 0)
    np.testing.assert_allclose(moved, still, atol=1e-6)


# Card

def test_card_counts_and_pictures(tmp_path):
    readme = write_card(TINY.data, tmp_path / "card", tmp_path / "data", workers=1)
    text = readme.read_text()
    assert all(name in text for name in (*CLASSES, *DETERIORATIONS))
    assert (readme.parent / "contact_sheet.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert (readme.parent / "contact_sheet.jpg").stat().st_size < 400_000
