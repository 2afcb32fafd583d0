"""Saved detections: written and read, resumed, damaged, foreign; scored again; the command."""

import json
import os
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_cases import BOX, found, random_split, target
from PIL import Image
from scenes import square_clips

from mstlib.checkpoint import save_weights
from mstlib.cli import main as cli
from mstlib.config import VARIANTS, MSTError, SourceConfig
from mstlib.data.dataset import BadFile, Dataset
from mstlib.evaluation import detecting
from mstlib.evaluation.assess import Ask, figures, score_clip, score_folder
from mstlib.evaluation.bootstrap import bootstrap_slices
from mstlib.evaluation.columns import flatten
from mstlib.evaluation.detecting import detections_of, save_detections
from mstlib.evaluation.detections import (
    Index,
    check_same,
    read_index,
    read_shard,
    shards,
    start_folder,
    write_shards,
)
from mstlib.evaluation.detections_csv import read_csv
from mstlib.evaluation.evaluate import metrics
from mstlib.evaluation.matching import match
from mstlib.evaluation.workers import share
from mstlib.model.detector import MST
from mstlib.profiles import TINY
from mstlib.stream import detect_clip

CLASSES = ("a", "b", "c")
RUN = {"weights": "x.safetensors", "variant": "g", "seed": "0", "config": {}}


class ListClip:
    """A clip whose frames nobody looks at; frames in `bad` have no readable annotation."""

    def __init__(self, name, targets, bad=()):
        self.name, self.targets, self.bad = name, targets, bad

    def __len__(self):
        return len(self.targets)

    def target(self, t):
        if t in self.bad:
            raise BadFile(f"{self.name}/{t}.xml: cut short")
        return self.targets[t]


def made(seed=0, clips=7, bad=()):
    """Predictions, targets and the data set of a random split."""
    predictions, targets = random_split(seed, clips)
    names = [ListClip(f"clip-{n}", t, bad if n == 0 else ()) for n, t in enumerate(targets)]
    return predictions, targets, Dataset("made", "val", CLASSES, names)


def saved(folder, predictions, dataset, numbers=None):
    """The folder, with the detections of the numbered clips (all of them)."""
    start_folder(folder, Index.of(dataset, RUN))
    write_shards(folder, ((n, flatten(predictions[n], "here", 3))
                          for n in (range(len(dataset)) if numbers is None else numbers)))
    return folder


# Writing and reading ------------------------------------------------------------------------------


def test_what_is_read_is_what_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr("mstlib.evaluation.detections.SHARD_FRAMES", 5)
    predictions, _, dataset = made()
    predictions[2][0] = None  # skipped
    index = read_index(saved(tmp_path, predictions, dataset))
    assert index == Index.of(dataset, RUN)
    held = shards(tmp_path, index)
    assert len(held) > 1 and sorted(n for ns in held.values() for n in ns) == list(range(7))
    for path in held:
        for n, clip in read_shard(path, index):
            assert clip.skipped.tolist() == [d is None for d in predictions[n]]
            for t, expected in enumerate(predictions[n]):
                got = clip.of_frame(t)
                assert len(got.scores) == 0 if expected is None else all(
                    torch.equal(x, y) for x, y in zip(
                        (got.boxes, got.scores, got.labels),
                        (expected.boxes, expected.scores, expected.labels), strict=True))
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_an_interrupted_saving_keeps_what_was_complete(tmp_path):
    predictions, _, dataset = made()

    def clips():
        yield 3, flatten(predictions[3], "here", 3)
        raise KeyboardInterrupt

    start_folder(tmp_path, Index.of(dataset, RUN))
    with pytest.raises(KeyboardInterrupt):
        write_shards(tmp_path, clips())
    assert list(shards(tmp_path, read_index(tmp_path)).values()) == [[3]]
    saved(tmp_path, predictions, dataset, [0, 1, 2, 4, 5, 6])  # goes on
    assert len(score_folder(tmp_path, dataset, Ask(["vid"]))) == 7


def test_another_run_does_not_go_on_in_the_folder(tmp_path):
    _, _, dataset = made()
    start_folder(tmp_path, Index.of(dataset, RUN))
    with pytest.raises(MSTError, match=r"another run \(run, seed is 0 there and 1 here\)"):
        start_folder(tmp_path, Index.of(dataset, RUN | {"seed": "1"}))
    with pytest.raises(MSTError, match=r"\(split is val there and test here\)"):
        start_folder(tmp_path, Index.of(replace(dataset, split="test"), RUN))
    with pytest.raises(MSTError, match=r"\(clips differs\)"):
        start_folder(tmp_path, Index.of(replace(dataset, clips=dataset.clips[:3]), RUN))


def test_folders_that_do_not_fit_are_one_line(tmp_path):
    predictions, _, dataset = made()
    with pytest.raises(MSTError, match=r"index.json: not readable \(No such file"):
        read_index(tmp_path)
    saved(tmp_path, predictions, dataset, [0, 1, 2, 3, 5])
    with pytest.raises(MSTError, match=r"no detections of clip clip-4 \(2 of 7 clips missing\)"):
        score_folder(tmp_path, dataset, Ask(["vid"]))
    index = read_index(tmp_path)
    cases = [
        (replace(dataset, classes=("a", "b", "d")), "other classes .*c against d"),
        (replace(dataset, classes=("a", "b")), "3 against 2 .*c against None"),
        (replace(dataset, clips=dataset.clips[::-1]), "first difference: .*clip-0.* against"),
        (replace(dataset, clips=dataset.clips[:-1]), "first difference: .*clip-6.* against None"),
        (replace(dataset, clips=[ListClip("clip-0", [target()] * 9), *dataset.clips[1:]]),
         r"against \('clip-0', 9\)"),
    ]
    for other, says in cases:
        with pytest.raises(MSTError, match=says):
            check_same(index, other, tmp_path)


def test_damaged_shards_are_named(tmp_path):
    predictions, _, dataset = made()
    index = read_index(saved(tmp_path, predictions, dataset))
    (path,) = shards(tmp_path, index)
    good = dict(np.load(path))
    whole = path.read_bytes()

    def says(message, **changes):
        np.savez(path, **good | changes)
        with pytest.raises(MSTError, match=f"{path.name}.*{message}"):
            for shard in shards(tmp_path, index):
                list(read_shard(shard, index))

    boxes, labels = good["boxes"].copy(), good["labels"].copy()
    boxes[0, 2], labels[-1] = np.nan, 9
    first = next(n for n, clip in enumerate(predictions) if sum(len(d.scores) for d in clip))
    says(f"clip clip-{first}, frame .*nan.* is not finite", boxes=boxes)
    says(r"clip clip-6, frame .*labels must be 1..3 .* got 2\.\.9", labels=labels)
    says(r"boxes is float32 \(\d+, 5\), expected \(\d+, 4\)", boxes=np.pad(boxes, ((0, 0), (0, 1))))
    says("scores is float32", scores=good["scores"][:-1])
    says("labels is float64", labels=labels.astype(float))
    says("counts is", counts=good["counts"][:-1])
    says("counts is <U1", counts=np.array(["x"] * len(good["counts"])))
    says("counts is", counts=good["counts"] - 100)
    says("no clip of the index", clips=good["clips"] + 1)
    says("not a readable shard", boxes=np.array([{}], object))  # would need unpickling
    for damaged in (whole[:-30], whole[:200], b"", whole[:400] + b"\xff" * 9 + whole[409:]):
        path.write_bytes(damaged)
        with pytest.raises(MSTError, match=f"{path.name}: not a readable shard"):
            for shard in shards(tmp_path, index):
                list(read_shard(shard, index))
    path.write_bytes(whole)
    path.with_name("shard-000001.npz").write_bytes(whole)
    with pytest.raises(MSTError, match="shard-000001.npz: holds clip 0, shard-000000.npz too"):
        shards(tmp_path, index)


@pytest.mark.parametrize(("text", "says"), [
    ("{", "not an index of detections"), ("[]", "not an index"), ('{"format": "x"}', "format 'x'"),
    ('{"format": "mstlib-detections-1"}', "KeyError: 'clips'"),
])
def test_a_foreign_index_is_one_line(tmp_path, text, says):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(MSTError, match=says):
        read_index(tmp_path)


# A CSV file ---------------------------------------------------------------------------------------


def test_csv_equals_the_same_detections_in_memory(tmp_path):
    predictions, targets, dataset = made(3)
    rows = [f"clip-{n},{t},{CLASSES[k - 1]},{s!r},{','.join(map(repr, box))}\n"
            for n, clip in enumerate(predictions) for t, d in enumerate(clip)
            for k, s, box in zip(d.labels.tolist(), d.scores.tolist(), d.boxes.tolist(),
                                 strict=True)]
    np.random.default_rng(0).shuffle(rows)
    path = tmp_path / "found.csv"
    for head in ("", "clip,frame,label,score,x1,y1,x2,y2\n"):
        path.write_text(head + "".join(rows))
        scores = [score_clip(dataset, Ask(["vid"]), *item) for item in read_csv(path, dataset)]
        got = figures(scores, dataset, Ask(["vid"]))
        assert got["metrics"]["vid"] == metrics(predictions, targets, CLASSES)
    path.write_text(head)
    assert all(clip.counts.sum() == 0 for _, clip in read_csv(path, dataset))


@pytest.mark.parametrize(("row", "says"), [
    ("clip-0,0,a,.5,0,0,9", "7 columns, expected 8, clip,frame,label,score,x1,y1,x2,y2"),
    ("clip-9,0,a,.5,0,0,9,9", "unknown clip 'clip-9'; clips are named like 'clip-0'"),
    ("clip-0,0,d,.5,0,0,9,9", "unknown class 'd'; classes are a, b, c"),
    ("clip-0,99,a,.5,0,0,9,9", "frame 99 is outside of clip-0"),
    ("clip-0,-1,a,.5,0,0,9,9", "frame -1 is outside"),
    ("clip-0,one,a,.5,0,0,9,9", "frame must be a whole number"),
    ("clip-0,0,a,high,0,0,9,9", "could not convert"),
    ("clip-0,0,a,.5,0,0,nan,9", "not finite, or x2 < x1"),
    ("clip-0,0,a,.5,9,0,0,9", "not finite, or x2 < x1"),
])
def test_a_damaged_csv_names_file_and_line(tmp_path, row, says):
    _, _, dataset = made()
    path = tmp_path / "found.csv"
    path.write_text(f"clip-0,0,a,.5,0,0,9,9\n{row}\n")
    with pytest.raises(MSTError, match=f"found.csv, line 2: .*{says}"):
        list(read_csv(path, dataset))


def test_what_is_no_csv_is_one_line(tmp_path):
    _, _, dataset = made()
    (tmp_path / "found.csv").write_bytes(b"\xff\xfe\x00\x01")
    for name in ("found.csv", "nowhere.csv"):
        with pytest.raises(MSTError, match=f"{name}: not readable as CSV"):
            list(read_csv(tmp_path / name, dataset))


# Scoring ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", [1, 2])
def test_scoring_a_folder_equals_scoring_in_memory(tmp_path, jobs, monkeypatch):
    monkeypatch.setattr("mstlib.evaluation.detections.SHARD_FRAMES", 4)
    predictions, targets, dataset = made(5)
    numbers = [4, 1, 0, 6, 2, 5, 3]  # clips come in any order
    ask = Ask(["vid-devkit", "vid", "coco", "uavdt"], jobs=jobs)
    scores = score_folder(saved(tmp_path, predictions, dataset, numbers), dataset, ask)
    got = figures(scores, dataset, ask)
    assert list(got["metrics"]) == ["vid-devkit", "vid", "coco", "uavdt"]
    for protocol, values in got["metrics"].items():
        assert values == metrics(predictions, targets, CLASSES, protocol)
    assert got["bootstrap"] == bootstrap_slices(match(predictions, targets, CLASSES))
    assert (got["clips"], got["frames"], got["skipped"]) == (7, sum(map(len, targets)), 0)
    json.dumps(got, allow_nan=False)


def test_a_skipped_frame_counts_on_neither_side(tmp_path):
    predictions, targets, dataset = made(2, bad=(0,))
    targets[3] = [target((1, BOX)), target((1, BOX))]
    predictions[3] = [found((1, .99, BOX)), None]  # the frame could not be read
    dataset = replace(dataset, clips=[*dataset.clips[:3], ListClip("clip-3", targets[3]),
                                      *dataset.clips[4:]])
    saved(tmp_path, predictions, dataset)
    with pytest.raises(MSTError, match="clip-0/0.xml: cut short; or .* --skip-bad"):
        score_folder(tmp_path, dataset, Ask(["vid"]))
    ask = Ask(["vid", "coco"], skip_bad=True)
    got = figures(score_folder(tmp_path, dataset, ask), dataset, ask)
    kept = [[side[0][1:], *side[1:3], side[3][:1], *side[4:]] for side in (predictions, targets)]
    kept = [[clip for clip in side if clip] for side in kept]
    assert got["skipped"] == 2 and got["frames"] == sum(map(len, targets)) - 2
    for protocol in ("vid", "coco"):
        assert got["metrics"][protocol]["mAP"] == metrics(*kept, CLASSES, protocol)["mAP"]


def test_protocols_are_checked_before_anything_is_done():
    with pytest.raises(MSTError, match="unknown protocol 'voc'"):
        Ask(["vid", "voc"])


def test_a_worker_that_dies_is_one_line():
    with pytest.raises(MSTError, match="one of 2 processes ended early"):
        list(share(os._exit, [1, 1, 1], jobs=2))


# Detecting ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    """A tiny detector of two classes with all levels, as it starts."""
    torch.manual_seed(0)
    config = replace(TINY, model=replace(TINY.model, classes=2, score_threshold=0.0),
                     levels=VARIANTS["g"])
    return MST(config).eval()


def squares(**more):
    return Dataset("squares", "val", ("red", "green"), square_clips(**more))


class BadFrame:
    """A clip of which one frame cannot be read."""

    def __init__(self, clip, bad):
        self.clip, self.bad, self.name = clip, bad, clip.name

    def __len__(self):
        return len(self.clip)

    def frame(self, t):
        if t == self.bad:
            raise BadFile(f"{self.name}/{t}.jpg: cut short")
        return self.clip.frame(t)

    def target(self, t):
        return self.clip.target(t)


def test_a_bad_frame_is_left_out_of_windows_and_detections(model):
    clip = square_clips(1, frames=6)[0]
    with pytest.raises(BadFile, match="2.jpg"):
        detect_clip(model, BadFrame(clip, 2), model.config.test)
    found = detect_clip(model, BadFrame(clip, 2), model.config.test, skip_bad=True)
    assert [d is None for d in found] == [t == 2 for t in range(6)]
    assert all(len(d.scores) for d in found if d is not None)


def test_frames_of_two_sizes_are_one_line(model):
    clip = square_clips(1)[0]
    odd = BadFrame(clip, -1)
    odd.frame = lambda t: clip.frame(t)[:, : 64 - 16 * (t == 3)]
    with pytest.raises(MSTError, match=r"square-0: frames of different sizes, \(H, W\) \(64, 64\)"):
        detect_clip(model, odd, model.config.test)


def test_boxes_come_back_to_the_pixels_of_the_file(model):
    """Detecting on frames of twice the size gives the boxes of such frames, halved."""
    dataset, twice = squares(count=1), replace(model.config, source=SourceConfig(short_side=128))
    small = type(model)(twice).eval()
    small.load_state_dict(model.state_dict())
    (_, got, _), = detections_of(small, dataset, [0], False, "test")
    from mstlib.data.frames import Sized
    large = detect_clip(small, Sized(dataset[0], 128), twice.test)
    assert got.of_frame(3).boxes == pytest.approx(large[3].boxes / 2)
    assert got.boxes.max() <= 64 < large[3].boxes.max()


def test_saving_goes_on_where_it_stopped(model, tmp_path):
    dataset = squares(count=4)
    bad = replace(dataset, clips=[*dataset.clips[:2], BadFrame(dataset[2], 1), dataset[3]])
    with pytest.raises(MSTError, match="square-2/1.jpg: cut short; or leave out .* --skip-bad"):
        save_detections(model, bad, tmp_path, RUN, False, "test")
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.npz")}
    assert before
    save_detections(model, dataset, tmp_path, RUN, False, "test")
    assert before.items() <= {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.npz")}.items()
    ask = Ask(["vid"])
    direct = [score_clip(dataset, ask, number, found)
              for number, found, _ in detections_of(model, dataset, range(4), False, "test")]
    assert figures(score_folder(tmp_path, dataset, ask), dataset, ask) == figures(
        direct, dataset, ask)


def test_processes_share_the_clips_longest_first(model, tmp_path, monkeypatch):
    clips = [clip for n in (2, 5, 3, 4) for clip in square_clips(1, frames=n)]
    clips = [replace(clip, name=f"square-{n}") for n, clip in enumerate(clips)]
    dataset = Dataset("squares", "val", ("red", "green"), clips)
    monkeypatch.setattr(detecting, "wait_for_all", lambda: None)
    for rank in (1, 0):
        monkeypatch.setattr(detecting, "this_process", lambda rank=rank: (rank, 2))
        save_detections(model, dataset, tmp_path, RUN, False, "test")
    held = shards(tmp_path, read_index(tmp_path))
    assert sorted(held.values()) == [[1, 2], [3, 0]]  # 5 and 3 frames, 4 and 2
    assert len(score_folder(tmp_path, dataset, Ask(["vid"]))) == 4


# The command --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_disk(model, tmp_path_factory):
    """A folder with a COCO-VID data set of two clips and weights for it."""
    folder = tmp_path_factory.mktemp("squares")
    images, annotations, clips = [], [], square_clips(2, frames=4)
    for v, clip in enumerate(clips):
        for t in range(len(clip)):
            name, now = f"{v}-{t}.png", clip.target(t)
            Image.fromarray(clip.frame(t).permute(1, 2, 0).numpy()).save(folder / name)
            images.append({"id": len(images), "video_id": v, "frame_id": t, "file_name": name,
                           "height": 64, "width": 64})
            for (x1, y1, x2, y2), k, i in zip(now.boxes.tolist(), now.labels.tolist(),
                                              now.ids.tolist(), strict=True):
                annotations.append({
                    "id": len(annotations), "image_id": images[-1]["id"], "category_id": k,
                    "instance_id": i, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    (folder / "annotations").mkdir()
    (folder / "annotations" / "val.json").write_text(json.dumps({
        "videos": [{"id": v, "name": clip.name} for v, clip in enumerate(clips)],
        "images": images, "annotations": annotations,
        "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "green"}]}))
    save_weights(model, folder / "tiny.safetensors", seed=0)
    save_weights(model, folder / "other.safetensors", seed=0, classes=("green", "red"))
    return folder


def mst(monkeypatch, *words):
    """The exit code of `mst evaluate words`."""
    monkeypatch.setattr(sys, "argv", ["mst", "evaluate", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0


def test_save_and_score_again_from_the_command_line(on_disk, tmp_path, monkeypatch, capsys):
    data = ["--data", f"coco-vid:{on_disk}", "--split", "val"]
    weights, folder = on_disk / "tiny.safetensors", tmp_path / "found"
    files = [tmp_path / f"{name}.json" for name in ("plain", "saved", "again")]
    assert mst(monkeypatch, weights, *data, "--out", files[0], "--device", "cpu") == 0
    printed = capsys.readouterr().out
    assert "tiny-g-coco-vid-seed0 on coco-vid val: 2 clips, 8 frames" in printed
    for line in ("mAP %", "fast motion", "small objects", "red", "coco: AP "):
        assert line in printed
    assert mst(monkeypatch, weights, *data, "--out", files[1], "--save", folder,
               "--device", "cpu") == 0
    assert mst(monkeypatch, "--detections", folder, *data, "--out", files[2], "--jobs", 2) == 0
    plain, kept, again = (json.loads(path.read_text()) for path in files)
    assert plain["metrics"] == kept["metrics"] == again["metrics"]
    assert plain["bootstrap"] == again["bootstrap"] and plain["id"] == again["id"]
    assert plain["dataset"] == {"name": "coco-vid", "split": "val",
                                "counts": {"clips": 2, "frames": 8, "skipped": 0}}


def test_settings_of_detecting_from_the_command_line(on_disk, tmp_path, monkeypatch, capsys):
    """--set changes how a trained model detects, and the record says so."""
    weights, data = on_disk / "tiny.safetensors", ["--data", on_disk, "--split", "val"]
    out = tmp_path / "run.json"
    words = (weights, *data, "--protocol", "vid", "--out", out)
    assert mst(monkeypatch, *words, "--set", "test.mode=causal", "--set", "test.window=3") == 0
    run = json.loads(out.read_text())
    assert run["config"]["test"]["mode"] == "causal" and run["config"]["test"]["window"] == 3
    assert "--set test.mode=causal" in run["recipe"][-1]
    for wrong, says in (("train.lr=1", "cannot be changed in a trained model"),
                        ("model.width=8", "cannot be changed in a trained model"),
                        ("test.mode=fast", "test.mode cannot be 'fast'")):
        assert mst(monkeypatch, *words, "--set", wrong) == 2
        assert says in capsys.readouterr().err


def test_a_csv_from_the_command_line(on_disk, tmp_path, monkeypatch, capsys):
    path, data = tmp_path / "found.csv", ["--data", on_disk, "--split", "val"]
    truth = square_clips(1)[0].target(0).boxes[0].tolist()
    path.write_text(f"square-0,0,red,0.9,{','.join(map(str, truth))}\n")
    assert mst(monkeypatch, "--detections", path, *data, "--protocol", "vid",
               "--out", tmp_path / "out.json") == 0
    # One of eight red objects found: AP 1/8; no green one: 0.
    assert json.loads((tmp_path / "out.json").read_text())["metrics"]["vid"]["mAP"] == 6.25
    assert "detections on coco-vid val" in capsys.readouterr().out
    assert mst(monkeypatch, "--detections", path, "--protocol", "vid") == 2
    assert "give the data set that these detections are of" in capsys.readouterr().err
    assert mst(monkeypatch, "--detections", path, *data, "--protocol", "vid", "--record") == 2
    assert "give --out FILE in place of --record" in capsys.readouterr().err


def test_a_missing_frame_from_the_command_line(on_disk, tmp_path, monkeypatch, capsys):
    lost = on_disk / "1-2.png"
    hidden = lost.rename(tmp_path / "hidden.png")
    words = [on_disk / "tiny.safetensors", "--data", on_disk, "--split", "val", "--protocol", "vid",
             "--save", tmp_path / "found", "--device", "cpu", "--out", tmp_path / "out.json"]
    try:
        assert mst(monkeypatch, *words) == 2
        assert "1-2.png" in (err := capsys.readouterr().err) and "--skip-bad" in err
        assert mst(monkeypatch, *words, "--skip-bad") == 0
        assert "2 clips, 7 frames, 1 more skipped" in capsys.readouterr().out
    finally:
        hidden.rename(lost)
    counts = json.loads((tmp_path / "out.json").read_text())["dataset"]["counts"]
    assert counts == {"clips": 2, "frames": 7, "skipped": 1}


def test_minivid_is_saved_and_found_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MST_DATA", str(tmp_path / "cache"))
    torch.manual_seed(0)
    save_weights(MST(replace(TINY, levels=VARIANTS["c"])), tmp_path / "c.safetensors", seed=4)
    folder, files = tmp_path / "found", [tmp_path / f"{name}.json" for name in ("plain", "again")]
    words = ["--split", "val", "--protocol", "vid", "--out"]
    assert mst(monkeypatch, tmp_path / "c.safetensors", *words, files[0]) == 0
    assert mst(monkeypatch, tmp_path / "c.safetensors", *words, tmp_path / "saved.json", "--save",
               folder) == 0
    assert mst(monkeypatch, "--detections", folder, "--protocol", "vid", "--out", files[1]) == 0
    plain, again = (json.loads(path.read_text()) for path in files)
    assert plain["id"] == again["id"] == "tiny-c-seed4"
    for name in ("metrics", "bootstrap", "config"):
        assert plain[name] == again[name]
    monkeypatch.setenv("WORLD_SIZE", "2")
    capsys.readouterr()
    assert mst(monkeypatch, tmp_path / "c.safetensors", *words, files[0], "--jobs", "2") == 2
    assert "give --save FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "says"), [
    ("", "give weights to evaluate"),
    ("{0}/tiny.safetensors --detections x", "give weights to evaluate"),
    ("--detections nowhere --data {0}", "nowhere/index.json: not readable"),
    ("{0}/tiny.safetensors --data {0} --split val --protocol voc", "unknown protocol 'voc'"),
    ("{0}/tiny.safetensors --split val --jobs 2", "a model of 2 classes, minivid-v1 has 8"),
    ("{0}/tiny.safetensors --data {0}", "has no split 'test'; it has val"),
    ("{0}/other.safetensors --data {0} --split val", "a model of 2 classes (green, red ...), coco"),
])
def test_mistakes_are_one_line(on_disk, tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MST_DATA", str(on_disk.parent / "cache"))
    assert mst(monkeypatch, *words.format(on_disk).split()) == 2
    err = capsys.readouterr().err.splitlines()
    assert says in err[-1] and err[-1].startswith("mst: error: ")
