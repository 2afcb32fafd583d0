"""The loader: what a step holds belongs to (seed, step) alone; bad files end or are counted."""

import multiprocessing
import os
import signal
from dataclasses import dataclass, fields, replace
from functools import partial

import pytest
import torch
from scenes import SquareClip, square_clips

from mstlib.config import MSTError
from mstlib.data.clip import Target
from mstlib.data.dataset import BadFile
from mstlib.distributed import explained
from mstlib.profiles import get_config
from mstlib.training.batches import draw, image_window, locate, reference_ends, step_seed
from mstlib.training.loader import TRIES, Feed, pack, steps, unpack

RECIPE = replace(get_config("tiny").train, batch=4, forward=1)


def feed_of(clips, recipe=RECIPE, supports=2, **more):
    return Feed(clips, recipe, supports, 7, partial(image_window, clips), **more)


def same_step(a, b):
    assert len(a.batches) == len(b.batches) and (a.frames, a.bad) == (b.frames, b.bad)
    for x, y in zip(a.batches, b.batches, strict=True):
        assert torch.equal(x.windows, y.windows) and x.windows.dtype == y.windows.dtype
        assert (x.size, x.picks, x.first) == (y.size, y.picks, y.first)
        for t, u in zip(sum(x.targets, []), sum(y.targets, []), strict=True):
            for f in fields(Target):
                mine, yours = getattr(t, f.name), getattr(u, f.name)
                assert torch.equal(mine, yours) and mine.dtype == yours.dtype, f.name


@dataclass(frozen=True)
class Broken(SquareClip):
    """A clip of which one frame cannot be read."""

    bad: int = 2

    def frame(self, t):
        if t == self.bad:
            raise BadFile(f"{self.name}/{t}.jpg: cut short")
        return super().frame(t)


# ---- the lot -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sparse(SquareClip):
    """A clip that allows some of its frames as references only."""

    references: tuple[int, ...] = (1, 4)


def test_references_are_those_a_clip_allows_and_supports_come_from_all_its_frames():
    recipe = replace(RECIPE, batch=200, span=2)
    picks = draw([Sparse("s")], recipe, 2, torch.Generator().manual_seed(0))
    assert {frames[0] for _, frames, _ in picks} == {1, 4}
    assert {s for _, frames, _ in picks for s in frames[1:]} == {0, 2, 3, 5}
    assert all(abs(s - frames[0]) <= 2 for _, frames, _ in picks for s in frames)


def test_videos_and_still_images_are_concatenated_by_their_references():
    clips = [SquareClip("image", 1), Sparse("video", 6), SquareClip("long", 5), SquareClip("i", 1)]
    ends = reference_ends(clips)
    assert ends.tolist() == [1, 3, 8, 9]
    slow = [(n, k) for n, count in enumerate((1, 2, 5, 1)) for k in range(count)]
    assert [locate(ends, number) for number in range(9)] == slow
    picks = draw(clips, replace(RECIPE, batch=900), 2, torch.Generator().manual_seed(0), ends)
    drawn = [(n, frames[0]) for n, frames, _ in picks]
    wanted = {(0, 0), (1, 1), (1, 4), *((2, t) for t in range(5)), (3, 0)}
    assert set(drawn) == wanted and all(60 < drawn.count(one) < 140 for one in wanted)
    assert all(frames == [0, 0, 0] for n, frames, _ in picks if n in (0, 3))  # its own support


def test_data_without_frames_is_refused():
    with pytest.raises(MSTError, match="no frames to train on"):
        reference_ends([])


def test_seeds_of_a_steps_windows_differ_in_the_bits_that_torch_reads():
    seeds = [step_seed(s, n, w) % 2**32 for s in range(3) for n in range(50) for w in range(16)]
    assert len(set(seeds)) == len(seeds)
    assert step_seed(2, 5) == 2_000_011  # what the committed results were trained with


# ---- steps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers):
    feed = feed_of(square_clips())
    here, there = (list(steps(feed, range(3, 8), n)) for n in (0, workers))
    assert len(here) == 5
    for a, b in zip(here, there, strict=True):
        same_step(a, b)


def test_a_resumed_training_asks_for_the_step_it_is_at():
    feed = feed_of(square_clips())
    whole, rest = list(steps(feed, range(6))), list(steps(feed, range(4, 6)))
    for a, b in zip(whole[4:], rest, strict=True):
        same_step(a, b)


def test_processes_share_the_windows_of_one_draw():
    feed = feed_of(square_clips())
    whole = feed[3]
    assert [b.first for b in whole.batches] == [0, 1, 2, 3]
    parts = [feed.share(rank, 2)[3] for rank in (0, 1)]
    assert [[b.first for b in part.batches] for part in parts] == [[0, 2], [1, 3]]
    for part in parts:
        for batch in part.batches:
            same_step(replace(whole, batches=[whole.batches[batch.first]]),
                      replace(whole, batches=[batch]))
    together = feed_of(square_clips(), replace(RECIPE, forward=2)).share(1, 2)[3].batches
    assert [b.picks for b in together] == [whole.batches[1].picks + whole.batches[3].picks]


@pytest.mark.parametrize(("batch", "forward", "world"), [(4, 0, 3), (4, 3, 1), (6, 2, 2)])
def test_uneven_shares_are_one_line_errors(batch, forward, world):
    feed = feed_of(square_clips(), replace(RECIPE, batch=batch, forward=forward))
    with pytest.raises(MSTError, match="cannot be divided evenly") as error:
        feed.share(0, world)
    assert "\n" not in str(error.value)


@dataclass(frozen=True)
class Wide(SquareClip):
    """A clip of wider frames."""

    def frame(self, t):
        return torch.zeros(3, 64, 96, dtype=torch.uint8)


def test_images_of_two_sizes_do_not_share_a_forward_pass():
    clips = [SquareClip("a"), Wide("b")]
    one = list(steps(feed_of(clips), range(4)))
    assert {b.size for step in one for b in step.batches} == {(64, 64), (64, 96)}
    *_, error = steps(feed_of(clips, replace(RECIPE, forward=0)), range(4))
    assert isinstance(error, MSTError) and "--set train.forward=1" in str(error)


def test_packing_for_the_way_between_processes_loses_nothing():
    step = feed_of(square_clips())[0]
    region = torch.tensor([[1.0, 2, 3, 4]])
    empty = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), ignored=region)
    step.batches[1].targets[0][1] = empty
    same_step(unpack(pack(step)), step)


# ---- bad files -----------------------------------------------------------------------------------


def bad_feed(**more):
    clips = [Broken("broken"), *square_clips(2)]
    return feed_of(clips, replace(RECIPE, batch=8), **more)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_file_ends_the_steps_with_its_line(workers):
    *good, error = steps(bad_feed(), range(9), workers)
    assert isinstance(error, BadFile)
    assert str(error) == "broken/2.jpg: cut short; or leave out what cannot be read: --skip-bad"
    assert len(good) < 8 and not any(isinstance(step, MSTError) for step in good)


def test_skipped_bad_files_are_counted_and_only_their_windows_change():
    plain = feed_of([SquareClip("broken"), *square_clips(2)], replace(RECIPE, batch=8))
    seen = 0
    for n in range(4):
        step, want = bad_feed(skip_bad=True)[n], plain[n]
        same_step(step, list(steps(bad_feed(skip_bad=True), range(n, n + 1), 1))[0])
        seen += len(step.bad)
        assert set(step.bad) <= {"broken/2.jpg: cut short"}
        for got, wanted in zip(step.batches, want.batches, strict=True):
            name, frames, _ = wanted.picks[0]
            if name != "broken" or 2 not in frames:
                same_step(replace(want, batches=[got]), replace(want, batches=[wanted]))
            else:
                assert got.picks != wanted.picks
    assert seen > 3


def test_the_replacement_of_a_window_does_not_depend_on_the_number_of_processes():
    whole = bad_feed(skip_bad=True)
    n = next(n for n in range(9) if whole[n].bad)
    parts = [whole.share(rank, 2)[n] for rank in (0, 1)]
    assert sum(len(part.bad) for part in parts) == len(whole[n].bad)
    by_first = {b.first: b.picks for part in parts for b in part.batches}
    assert by_first == {b.first: b.picks for b in whole[n].batches}


def test_data_that_is_all_bad_is_given_up():
    clips = [Broken("broken", frames=1, bad=0)]
    [error] = steps(feed_of(clips, skip_bad=True), range(3))
    assert f"{TRIES} windows in a row" in str(error) and "broken/0.jpg" in str(error)


# ---- workers in trouble --------------------------------------------------------------------------


@dataclass(frozen=True)
class Signals(SquareClip):
    """A clip whose reader gets a signal."""

    signal: int = signal.SIGKILL

    def frame(self, t):
        os.kill(os.getpid(), self.signal)
        return super().frame(t)


def test_a_killed_worker_is_a_one_line_error():
    with pytest.raises(MSTError, match="a worker of the loader was killed") as error, explained():
        list(steps(feed_of([Signals("s")]), range(2), 1))
    assert "\n" not in str(error.value)


def test_workers_outlive_the_sigterm_that_a_cluster_sends_to_all():
    found = list(steps(feed_of([Signals("s", signal=signal.SIGTERM)]), range(2), 1))
    assert [step.frames for step in found] == [12, 12]


@pytest.mark.parametrize("how", ["closed", "error in a worker"])
def test_no_worker_is_left_behind(how):
    """They ignore SIGTERM: one that is alive when Python ends keeps it from ending."""
    clips = square_clips()
    bug = partial(divide, 0 if how == "error in a worker" else 1, image_window, clips)
    data = steps(Feed(clips, RECIPE, 2, 7, bug), range(5), workers=2)
    if how == "error in a worker":
        with pytest.raises(ZeroDivisionError):
            next(data)
    else:
        next(data)
        assert len(multiprocessing.active_children()) == 2
        data.close()
    assert multiprocessing.active_children() == []


def divide(number, function, *arguments):
    """What `function` makes of the arguments, unless number is 0."""
    return 1 // number and function(*arguments)
