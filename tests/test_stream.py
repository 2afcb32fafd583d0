"""Streaming: exact against the method written out, cached against its own slow form, causal against
a truncated video; several videos, missing frames, memory."""

import weakref
from dataclasses import dataclass, replace

import pytest
import torch

from mstlib import plain
from mstlib.config import VARIANTS, MSTError, with_overrides
from mstlib.data.clip import Detections, window_indices
from mstlib.model import engine as engine_module
from mstlib.model.detector import build_model
from mstlib.model.engine import MODES
from mstlib.profiles import get_config
from mstlib.stream import Streamer, detect_clip, propose_clip, stream, stream_videos, trace_frame

FRAMES = 9  # of the videos here: longer than a window of 5, so that some are full


def model_of(variant, seed=0, **settings):
    """A `tiny` model whose levels have something to say: every weight moved from its start, and
    scores spread so that none are nearly equal and their order is safe from rounding."""
    settings = {name.replace("__", "."): value for name, value in settings.items()}
    model = build_model(with_overrides(get_config("tiny", variant), settings), seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator))
        model.rpn.parts.head.cls_logits.weight.mul_(5)
        model.head.cls_score.weight.mul_(5)
    return model


def images(frames=FRAMES, seed=0):
    """Noise: no two places alike, and so no two proposals."""
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randint(256, (frames, 3, 64, 64), dtype=torch.uint8, generator=generator))


@dataclass
class NoiseClip:
    name: str = "noise"

    def __len__(self):
        return FRAMES

    def frame(self, t):
        return images()[t]


def assert_same(one, two, tolerance=1e-4):
    assert [d is None for d in one] == [d is None for d in two]
    for a, b in zip(one, two, strict=True):
        if a is not None:
            assert torch.equal(a.labels, b.labels)
            torch.testing.assert_close(a.boxes, b.boxes, rtol=0, atol=tolerance * 64)
            torch.testing.assert_close(a.scores, b.scores, rtol=0, atol=tolerance)


def differ(one, two):
    return any(len(a.scores) != len(b.scores) or not torch.allclose(a.scores, b.scores, atol=1e-4)
               for a, b in zip(one, two, strict=True))


def windows_of(frames, model, pad=False):
    """The frames of each reference's window, reference first."""
    test = model.config.test
    window = test.window if model.levels.temporal else 1
    return [[frames[s] for s in window_indices(t, len(frames), window, test.stride, pad)]
            for t in range(len(frames))]


# ---- exact ---------------------------------------------------------------------------------------

SETTINGS = [
    *({"variant": v} for v in VARIANTS),
    {"variant": "g", "model__dalign_layout": 2, "model__dalign_residual": False},
    {"variant": "g", "model__frame_query": "ref"},
    {"variant": "f", "model__frame_place": 0.5},
    {"variant": "b", "model__frame_place": 0.5},
    {"variant": "c", "model__geometry": "full"},
    {"variant": "g", "test__stride": 2},
    {"variant": "g", "test__window": 1},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_exact_equals_the_method_written_out(settings):
    model = model_of(**settings)
    frames = images()
    slow = [plain.plain_detect(model, torch.stack(w)) for w in windows_of(frames, model)]
    assert sum(len(d.scores) for d in slow) > FRAMES
    assert_same(list(stream(model, frames)), slow)


def test_exact_equals_the_whole_window_forward_that_traces_come_from():
    model, clip = model_of("g"), NoiseClip()
    whole = [trace_frame(model, clip, t, model.config.test)[0] for t in range(FRAMES)]
    assert_same(detect_clip(model, clip, model.config.test), whole)


def test_padding_fills_the_window_with_copies_of_the_ends():
    model = model_of("g", test__pad=True)
    frames = images()
    windows = windows_of(frames, model, pad=True)
    assert {len(w) for w in windows} == {5} and windows[0][1] is frames[0]
    padded = list(stream(model, frames))
    assert_same(padded, [plain.plain_detect(model, torch.stack(w)) for w in windows])
    short = list(stream(model, frames, test=replace(model.config.test, pad=False)))
    assert differ(padded, short)
    assert_same(padded[2:-2], short[2:-2])


# ---- cached --------------------------------------------------------------------------------------


def slow_cached(model, frames):
    """What mode cached says it does, everything anew for every reference and frame by frame."""
    test, out = model.config.test, []

    def own(t):  # aligned to itself
        f = model.c4(frames[t][None])
        return plain.align(model.dalign, f, f) if model.dalign else f

    def window(t, length):
        return window_indices(t, length, test.window, test.stride)

    def rois(t, over, first):
        x = own(t)
        if model.frame:
            x = plain.frame_level(model.frame, x, torch.cat([own(s) for s in over]))
        return plain.propose(model, x, frames[t].shape[-2:], first)

    for t in range(len(frames)):
        around = window(t, len(frames))
        supports = [rois(s, window(s, s + 1), False) for s in around[1:]]
        out.append(plain.plain_relate(model, [rois(t, around, True), *supports],
                                      frames[t].shape[-2:]))
    return out


@pytest.mark.parametrize("variant", ["c", "d", "e", "f", "g"])
@torch.no_grad()
def test_cached_equals_its_own_slow_form(variant):
    model, frames = model_of(variant), images()
    assert_same(list(stream(model, frames, "cached")), slow_cached(model, frames))


def test_cached_is_exact_where_nothing_depends_on_the_reference():
    for variant in "abc":
        model, frames = model_of(variant), images()
        assert_same(list(stream(model, frames, "cached")), list(stream(model, frames)), 1e-6)
    model = model_of("g")
    assert differ(list(stream(model, images(), "cached")), list(stream(model, images())))


def test_cached_computes_each_stage_of_a_frame_once(monkeypatch):
    """conv4, alignment and keys once a frame; proposals once as a support, once as reference."""
    model, calls = model_of("g"), {"c4": 0, "halves": 0, "align": 0, "propose": 0}

    def count(owner, name, size):
        before = getattr(type(owner), name)

        def counted(self, *args):
            calls[name] += size(*args)
            return before(self, *args)

        monkeypatch.setattr(type(owner), name, counted)

    count(model, "c4", len)
    count(model.dalign, "halves", len)
    count(model.dalign, "align", lambda reference, window: len(reference))
    count(model.rpn, "propose", lambda maps, size, keep: len(maps))
    list(stream(model, images(), "cached"))
    assert calls == {"c4": FRAMES, "halves": FRAMES, "align": FRAMES, "propose": 2 * FRAMES}
    calls.update(dict.fromkeys(calls, 0))
    list(stream(model, images()))
    lengths = [len(w) for w in windows_of(images(), model)]
    assert calls == {"c4": FRAMES, "halves": FRAMES, "align": FRAMES, "propose": sum(lengths)}


# ---- causal --------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["b", "c", "g"])
def test_causal_sees_nothing_of_the_future(variant):
    model, frames = model_of(variant), images()
    causal = list(stream(model, frames, "causal"))
    for t in (0, 3, FRAMES - 1):  # as if the video ended at the reference
        truncated = list(stream(model, frames[: t + 1], "causal"))
        assert_same(causal[: t + 1], truncated, 1e-6)
        assert_same(causal[t : t + 1], list(stream(model, frames[: t + 1], "cached"))[-1:])
    assert differ(causal, list(stream(model, frames, "cached")))


def test_the_delay_is_what_is_said():
    for mode, delay in (("exact", 2), ("cached", 2), ("causal", 0)):
        streamer = Streamer(model_of("g"), mode)
        assert streamer.delay == delay
        assert [len(streamer.push(f)) for f in images(4)] == [int(t >= delay) for t in range(4)]
        assert len(streamer.flush()) == delay
    assert Streamer(model_of("a")).delay == 0  # a detector that looks at one frame
    assert Streamer(model_of("g", test__stride=3)).delay == 6


# ---- any mode ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_how_frames_are_pushed_does_not_matter(mode):
    model, frames = model_of("g"), images()
    one_by_one, streamer = list(stream(model, frames, mode)), Streamer(model, mode)
    some = streamer.push(*frames[:4]) + streamer.push() + streamer.push(*frames[4:])
    assert_same(some + streamer.flush(), one_by_one)
    assert streamer.flush() == []


@pytest.mark.parametrize("mode", MODES)
def test_videos_side_by_side_are_videos_one_by_one(mode):
    """Of different lengths, one of them empty; passes are shared."""
    model = model_of("g")
    videos = [images(length, seed) for length, seed in ((7, 0), (0, 0), (3, 1), (1, 2))]
    found = {number: [] for number in range(4)}
    for number, detections in stream_videos(model, videos, mode):
        found[number].append(detections)
    for number, frames in enumerate(videos):
        assert_same(found[number], list(stream(model, frames, mode)))


def test_videos_share_passes(monkeypatch):
    model, sizes = model_of("g"), []
    c4 = type(model).c4
    monkeypatch.setattr(type(model), "c4", lambda self, x: sizes.append(len(x)) or c4(self, x))
    list(stream_videos(model, [images(3), images(3, 1), images(2, 2)]))
    assert sizes == [3, 3, 2]


@pytest.mark.parametrize("mode", MODES)
def test_a_missing_frame_is_in_no_window(mode):
    model, frames = model_of("g"), images()
    frames[3] = None
    found = list(stream(model, frames, mode))
    assert [d is None for d in found] == [t == 3 for t in range(FRAMES)]
    if mode == "exact":
        windows = [[f for f in w if f is not None] for w in windows_of(frames, model)]
        slow = [plain.plain_detect(model, torch.stack(w)) if t != 3 else None
                for t, w in enumerate(windows)]
        assert_same(found, slow)


@pytest.mark.parametrize("mode", MODES)
def test_what_was_decoded_before_an_error_is_delivered(mode):
    def broken():
        yield from images(4)
        raise MSTError("frame 4 cannot be decoded")

    model, found = model_of("g"), []
    with pytest.raises(MSTError, match="frame 4"):
        for detections in stream(model, broken(), mode):
            found.append(detections)
    assert_same(found, list(stream(model, images(4), mode)))


@pytest.mark.parametrize("mode", MODES)
def test_memory_is_flat(mode, monkeypatch):
    """However long the video, no more frames are held than a window needs."""
    model, alive, most = model_of("g"), weakref.WeakSet(), 0
    monkeypatch.setattr(engine_module.FrameState, "__hash__", object.__hash__, raising=False)
    enter = engine_module.Engine.enter

    def entered(self, batch):
        states = enter(self, batch)
        for state in states:
            alive.add(state)
        return states

    monkeypatch.setattr(engine_module.Engine, "enter", entered)
    streamer, frames = Streamer(model, mode), images()
    for t in range(100):
        streamer.push(frames[t % FRAMES])
        most = max(most, len(alive))
    assert most <= model.config.test.window + 1


def test_mistakes_are_one_line():
    model = model_of("g")
    with pytest.raises(MSTError, match="unknown mode 'fast'; choose one of exact, cached, causal"):
        Streamer(model, "fast")
    streamer = Streamer(model)
    with pytest.raises(MSTError, match="the method written out is MST, not rdn"):
        plain.plain_detect(model_of("c", model__method="rdn"), torch.stack(images(2)))
    with pytest.raises(MSTError, match=r"a frame must be \(3, H, W\) uint8, got \(64, 64, 3\)"):
        streamer.push(images(1)[0].permute(1, 2, 0))
    streamer.push(images(1)[0])
    with pytest.raises(MSTError, match=r"different sizes, \(H, W\) \(64, 64\) and \(48, 64\)"):
        streamer.push(images(1)[0][:, :48])


def test_recall_is_measured_on_the_proposals_that_detections_come_from():
    model, clip = model_of("g"), NoiseClip()
    whole = [trace_frame(model, clip, t, model.config.test)[1].proposals[0]
             for t in range(FRAMES)]
    for ours, theirs in zip(propose_clip(model, clip, model.config.test), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)


def test_half_precision_stays_close():
    """Autocast is for GPUs; what it changes is measured there, that it runs is tested here."""
    model, frames = model_of("g"), images(5)
    for mode in MODES:
        found = list(Streamer(model, mode, precision="bfloat16").push(*frames))
        assert all(isinstance(d, Detections) and d.scores.dtype == torch.float32 for d in found)
