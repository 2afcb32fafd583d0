"""MiniUAV: the same bytes everywhere, UAVDT's layout as its reader wants it, boxes that fit."""

import hashlib
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
import torch

from mstlib.config import DataConfig, MSTError
from mstlib.data.check.check import check_data
from mstlib.data.formats.uavdt import CLASSES, TEST, TRAIN
from mstlib.data.miniuav import generate
from mstlib.data.miniuav.annotate import annotated, object_lines, share_in
from mstlib.data.miniuav.card import describe, motion, rows_of, scripts_of, write_card
from mstlib.data.miniuav.film import film_clip
from mstlib.data.miniuav.generate import ensure_miniuav, home
from mstlib.data.miniuav.scene import KINDS, Knobs
from mstlib.data.miniuav.traffic import meet
from mstlib.data.readers import open_dataset

KNOBS = Knobs()
SMALL = DataConfig(name="miniuav-test", size=64, train_clips=10, train_length=10, test_clips=10,
                   test_length=8)
TINY = replace(SMALL, train_clips=2, train_length=3, test_clips=2, test_length=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return ensure_miniuav(SMALL, tmp_path_factory.mktemp("miniuav"), workers=1)


@pytest.fixture(scope="module")
def frames():
    """Frames of 128 x 128 pixels of four clips."""
    return [frame for c in range(4) for frame in film_clip((2022, 0, c), 5, 128, KNOBS)[1]]


def bytes_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


# The same bytes everywhere

def test_bytes_depend_on_neither_workers_nor_run(tmp_path):
    one, two, again = (bytes_of(ensure_miniuav(TINY, tmp_path / str(i), workers=workers))
                       for i, workers in enumerate((1, 2, 1)))
    assert len(one) == 4 * 3 + 2 * 3 + 2 * 2  # of each clip two texts and an attribute file
    assert one == two == again


def test_pixels_are_those_the_records_were_measured_on():
    """If this fails on purpose, raise `generate.VERSION` and measure everything anew."""
    _, frames = film_clip((2022, 1, 0), 2, 128, KNOBS)
    digest = hashlib.sha256()
    for t, frame in enumerate(frames, 1):
        digest.update(frame.pixels.tobytes() + "".join(object_lines(t, frame, KNOBS)).encode())
    assert digest.hexdigest()[:16] == "eb2094d60979f6f5"


def test_a_clip_does_not_depend_on_how_many_there_are(tmp_path, folder):
    few = ensure_miniuav(replace(SMALL, train_clips=2, test_clips=1), tmp_path, workers=1)
    name = f"{generate.IMAGES}/{TRAIN[1]}/img000003.jpg"
    assert (few / name).read_bytes() == (folder / name).read_bytes()


def test_another_setting_or_knob_is_another_folder(tmp_path):
    folders = {home(SMALL, tmp_path, knobs) for knobs in (None, KNOBS, replace(KNOBS, noise=0.0))}
    folders.add(home(replace(SMALL, seed=1), tmp_path))
    folders.add(home(replace(SMALL, val_clips=1), tmp_path))  # UAVDT has no val split
    assert len(folders) == 3


def test_several_processes_at_once_leave_one_whole_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    callers = [context.Process(target=ensure_miniuav, args=(TINY, tmp_path, 1)) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert [caller.exitcode for caller in callers] == [0, 0]
    assert list(tmp_path.iterdir()) == [home(TINY, tmp_path)]


# Read back

def test_the_reader_opens_both_splits(folder):
    for split, names, length in (("train", TRAIN, 10), ("test", TEST, 8)):
        dataset = open_dataset("uavdt", folder, split)
        assert dataset.classes == CLASSES == KINDS
        assert [clip.name for clip in dataset] == list(names[:10])
        assert {len(clip) for clip in dataset} == {length}
        assert dataset[0].frame(length - 1).shape == (3, 64, 64)
        assert dataset[0].frame(0).dtype == torch.uint8
    assert any(clip.target(0).flags[:, 2].any() for clip in dataset)  # occluded


def test_the_check_of_data_sets_finds_nothing_wrong(folder):
    report = check_data("uavdt", folder)
    assert report["problems"] == {}
    assert report["splits"]["train"]["boxes"] > 500


def test_attributes_are_true(folder):
    for split in ("train", "test"):
        for script, clip in zip(scripts_of(SMALL, split), open_dataset("uavdt", folder, split),
                                strict=True):
            text = (folder / generate.ATTRIBUTES / split / f"{clip.name}_attr.txt").read_text()
            flags = [int(word) for word in text.split(",")]
            assert len(flags) == 10 and flags[script.light] == sum(flags[:3]) == 1
            assert sum(flags[3:6]) == sum(flags[6:9]) == 1


# Boxes, tracks, regions

def silhouette(view, size):
    """The pixels (S, S) that a vehicle covers by half or more."""
    whole = np.zeros((3 * size, 3 * size), dtype=bool)  # the image in the middle
    (left, top), (h, w) = view.corner, view.alpha.shape
    whole[top + size : top + size + h, left + size : left + size + w] = view.alpha >= 0.5
    return whole[size : 2 * size, size : 2 * size]


def test_boxes_are_tight_around_what_is_drawn(frames):
    errors = []
    for frame in frames:
        for view in annotated(frame, KNOBS):
            if view.inside < 1:  # a box is clipped to the image, not drawn anew around the rest
                continue
            y, x = np.nonzero(silhouette(view, 128))
            errors.append(np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) - view.box)
    errors = np.array(errors)
    assert len(errors) > 100
    assert np.abs(errors).max() <= 1 and np.abs(errors).mean() < 0.4
    assert np.abs(errors.mean(axis=0)).max() < 0.35  # towards no side


def test_a_vehicle_is_drawn_where_its_box_is():
    """Another paint changes the frame inside the box only (blur and shadows aside)."""
    plain = replace(KNOBS, blur_share=1e-9, defocus_share=1e-9, noise=0.0, light=(1.0, 0.0, 0.0))
    script, frames = film_clip((2022, 0, 2), 1, 128, plain)
    before = next(frames)
    view = max(annotated(before, plain), key=lambda view: view.visible * view.inside)
    script, frames = film_clip((2022, 0, 2), 1, 128, plain)
    script.vehicles[view.track - 1].texture[..., :3] *= 0.2
    changed = (before.pixels != next(frames).pixels).any(axis=2)
    y, x = np.nonzero(changed)
    assert np.abs(np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) - view.box).max() <= 1


def test_boxes_lie_in_the_image_and_are_whole_pixels(folder):
    for split in ("train", "test"):
        for clip in open_dataset("uavdt", folder, split):
            for part in rows_of(clip).values():
                x, y, w, h = part[:, 2:6].T
                assert (part % 1 == 0).all() and min(x.min(), y.min()) >= 0
                assert max((x + w).max(), (y + h).max()) <= 64 and min(w.min(), h.min()) >= 2


def test_columns_follow_what_is_hidden_and_outside(frames):
    hidden = {1: (0, 0.02), 4: (0.02, 0.3), 3: (0.3, 0.7), 2: (0.7, 0.881)}
    outside = {1: (0, 0.02), 3: (0.02, 0.3), 2: (0.3, 0.651)}
    seen = set()
    for frame in frames:
        for view, line in zip(annotated(frame, KNOBS), object_lines(1, frame, KNOBS), strict=True):
            _, track, *_, out, occlusion, kind = map(int, line.split(","))
            assert (track, kind) == (view.track, view.kind + 1)
            for (low, high), value in ((hidden[occlusion], 1 - view.visible),
                                       (outside[out], 1 - view.inside)):
                assert low <= value < high
            seen.add(occlusion)
    assert seen == {1, 2, 3, 4}


def test_tracks_last_and_move_smoothly(folder):
    rows = [rows_of(clip) for clip in open_dataset("uavdt", folder, "train")]
    moves = motion(rows) * 128 / 64
    assert len(moves) > 400
    assert np.median(moves) > 0.4 and np.percentile(moves, 99) < 8
    for clip in rows:
        kinds = {}
        for part in clip.values():
            assert len(set(part[:, 1])) == len(part)
            for track, kind in part[:, [1, 8]].astype(int):
                assert kinds.setdefault(track, kind) == kind


def test_no_vehicle_runs_into_another():
    for script in scripts_of(replace(SMALL, train_clips=4, train_length=40), "train"):
        thin = [replace(v, width=v.width * 0.8 - 0.8) for v in script.vehicles]
        assert not any(meet(one, other) for k, one in enumerate(thin) for other in thin[:k])


def test_nothing_is_annotated_in_ignored_regions(frames, folder):
    assert sum(bool(frame.ignored) for frame in frames) > len(frames) / 2
    left_out = 0
    for frame in frames:
        kept = annotated(frame, KNOBS)
        left_out += len(frame.views) - len(kept)
        assert all(share_in(view.box, region) < 0.5 for view in kept for region in frame.ignored)
    assert left_out > 0
    for split in ("train", "test"):
        clips = open_dataset("uavdt", folder, split)
        there = [len(clip.target(t).ignored) > 0 for clip in clips for t in range(len(clip))]
        assert np.mean(there) > 0.7


# Statistics

def test_both_splits_are_alike():
    """At the sizes that are trained on; the scripts cost little."""
    full = DataConfig(train_clips=30, train_length=160, test_clips=20, test_length=48)
    shares = {}
    for split in ("train", "test"):
        scripts = scripts_of(full, split)
        cameras = [script.camera for script in scripts]
        kinds = np.bincount([v.kind for script in scripts for v in script.vehicles])
        lights = np.bincount([script.light for script in scripts])
        shares[split] = np.array([
            np.mean([[streak != (0, 0) for streak in camera.streak] for camera in cameras]),
            np.mean([[sigma > 0 for sigma in camera.sigma] for camera in cameras]),
            *kinds / kinds.sum(), *lights / len(scripts), np.mean([c.scale for c in cameras])])
    wanted = [KNOBS.blur_share, KNOBS.defocus_share, *KNOBS.kinds, *KNOBS.light,
              sum(KNOBS.scale) / 2]
    assert np.abs(shares["train"] - shares["test"]).max() < 0.05
    assert np.abs(np.stack(list(shares.values())) - wanted).max() < 0.05


def test_the_card_counts_from_the_files(folder):
    facts = describe(open_dataset("uavdt", folder, "test"), SMALL)
    assert facts["sequences"] == "10" and facts["frames"] == "80"
    shares = [float(facts[f"{kind}, % of boxes"]) for kind in KINDS]
    assert abs(sum(shares) - 100) < 0.2
    assert 4 < float(facts["boxes a frame, mean"]) < 20


def test_card_is_written(tmp_path):
    path = write_card(TINY, tmp_path, tmp_path, workers=1)
    text = path.read_text()
    assert "| sequences | 2 | 2 |" in text and "| blur_share | 0.15 |" in text
    assert (tmp_path / "contact_sheet.jpg").read_bytes()[:2] == b"\xff\xd8"


# Errors

@pytest.mark.parametrize("change, word", [
    ({"train_clips": 31}, "1 to 30 train clips, got 31"), ({"test_clips": 21}, "1 to 20 test"),
    ({"test_clips": 0}, "got 0"), ({"train_length": 0}, "at least one frame"),
    ({"size": 16}, "32 pixels or more, got 16"),
])
def test_settings_that_do_not_fit_are_told(tmp_path, change, word):
    with pytest.raises(MSTError, match=word):
        ensure_miniuav(replace(SMALL, **change), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MSTError, match="cannot write MiniUAV to .*MST_DATA"):
        ensure_miniuav(TINY, tmp_path / "file")


def test_an_interrupted_generation_leaves_nothing(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(generate, "write_clip", stop)
    with pytest.raises(KeyboardInterrupt):
        ensure_miniuav(TINY, tmp_path, workers=1)
    assert not list(tmp_path.iterdir())
