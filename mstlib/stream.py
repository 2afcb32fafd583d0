"""From videos to detections: a sliding window over frames as they come (Sec. IV-C).

A `Streamer` takes the frames of one video one by one or a few at a time and gives the detections of
each as soon as its window is complete. It holds the frames of one window, however long the video;
`mstlib.model.engine` knows what to compute of them, once or for every reference. Notebook 10 walks
through it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice, zip_longest
from typing import TypeVar

import torch
from torch import Tensor

from mstlib.config import MSTError, TestConfig
from mstlib.data.clip import Clip, Detections, window_indices
from mstlib.data.dataset import BadFile
from mstlib.model.detector import MST
from mstlib.model.engine import Engine, Found, FrameState
from mstlib.model.trace import Trace

T = TypeVar("T")


class Track:
    """One video in progress: which frames are here, and which references wait for more."""

    def __init__(self, test: TestConfig, mode: str, temporal: bool):
        self.test, self.causal = test, mode == "causal"
        self.window = test.window if temporal else 1
        self.reach = self.window // 2 * test.stride         # frames before, and unless causal after
        self.delay = 0 if self.causal else self.reach
        self.states: dict[int, FrameState | None] = {}      # None: a frame that could not be read
        self.count, self.next = 0, 0                        # frames here; the next reference
        self.size: tuple[int, int] | None = None

    def add(self, states: Iterable[FrameState | None]) -> None:
        """The next frames of the video."""
        for state in states:
            self.states[self.count] = state
            self.count += 1

    def around(self, t: int, length: int) -> list[FrameState]:
        """The window of frame t in a video of `length` frames, without those that are missing;
        empty if frame t is."""
        if self.states[t] is None:
            return []
        frames = window_indices(t, length, self.window, self.test.stride, self.test.pad)
        return [self.states[s] for s in frames if self.states[s] is not None]

    def before(self, t: int) -> list[FrameState]:
        """The window of frame t when it is the newest."""
        return self.around(t, t + 1)

    def ready(self, over: bool) -> list[list[FrameState]]:
        """The windows of the references whose turn has come: all that are left if the video is
        over. What no later window needs is forgotten."""
        end = self.count if over else self.count - self.delay
        turn = range(self.next, max(self.next, end))
        windows = [self.around(t, t + 1 if self.causal else self.count) for t in turn]
        self.next = turn.stop
        for t in [t for t in self.states if t < self.next - self.reach]:
            del self.states[t]
        return windows


def advance(engine: Engine, tracks: Sequence[Track], frames: Sequence[Sequence[Tensor | None]],
            over: Sequence[bool]) -> list[list[Found | None]]:
    """Give each video its next frames (3, H, W), None where one is missing; what is found in the
    references whose turn has come, video by video. Videos of one frame size share each pass.

    over: whether a video has ended. MSTError if the frames of a video differ in size.
    """
    for track, new in zip(tracks, frames, strict=True):
        for frame in new:
            check_frame(track, frame)
    flat = list(chain(*frames))
    states = iter(enter(engine, flat))
    fresh = []
    for track, new in zip(tracks, frames, strict=True):
        track.add(islice(states, len(new)))
        fresh += [track.before(t) for t in range(track.count - len(new), track.count)]
    engine.settle([window for window in fresh if window])
    windows = [track.ready(done) for track, done in zip(tracks, over, strict=True)]
    found = iter(engine.detect([w for w in chain(*windows) if w]))
    return [[next(found) if w else None for w in part] for part in windows]


def check_frame(track: Track, frame: Tensor | None) -> None:
    """MSTError unless a frame is (3, H, W) uint8 and as large as those before it."""
    if frame is None:
        return
    if frame.ndim != 3 or frame.shape[0] != 3 or frame.dtype != torch.uint8:
        raise MSTError(f"a frame must be (3, H, W) uint8, got {tuple(frame.shape)} {frame.dtype}")
    size = tuple(frame.shape[-2:])
    track.size = track.size or size
    if size != track.size:
        raise MSTError(f"frames of different sizes, (H, W) {track.size} and {size}; a video has "
                       "frames of one size: resize them first")


def enter(engine: Engine, frames: Sequence[Tensor | None]) -> list[FrameState | None]:
    """The states of frames of any videos; those of one size are computed together."""
    states: list[FrameState | None] = [None] * len(frames)
    sizes = dict.fromkeys(frame.shape for frame in frames if frame is not None)
    for shape in sizes:
        alike = [i for i, f in enumerate(frames) if f is not None and f.shape == shape]
        for i, state in zip(alike, engine.enter(torch.stack([frames[i] for i in alike])),
                            strict=True):
            states[i] = state
    return states


class Streamer:
    """Detections of one video, frame by frame.

    mode: see `mstlib.model.engine`; that of `test` unless given. delay: how many frames have to
    follow before a frame's detections come out; 0 in mode causal.
    """

    def __init__(self, model: MST, mode: str | None = None, test: TestConfig | None = None,
                 precision: str = "float32"):
        test = test or model.config.test
        mode = mode or test.mode
        self.engine = Engine(model, mode, test.batch, precision)
        self.track = Track(test, mode, model.levels.temporal)
        self.delay = self.track.delay

    def push(self, *frames: Tensor | None) -> list[Detections | None]:
        """The next frames (3, H, W) uint8 RGB, None for one that could not be read -> detections of
        the next finished frames, in order. Several frames at once are computed together.

        MSTError if a frame is of another shape.
        """
        return [f and f.detections for f in self.find(frames)]

    def flush(self) -> list[Detections | None]:
        """The video is over: detections of the frames that still waited."""
        return [f and f.detections for f in self.find([], over=True)]

    def find(self, frames: Sequence[Tensor | None], over: bool = False) -> list[Found | None]:
        """As `push` and `flush`, with the references' proposals."""
        return advance(self.engine, [self.track], [frames], [over])[0]


def stream(model: MST, frames: Iterable[Tensor | None], mode: str | None = None,
           test: TestConfig | None = None) -> Iterator[Detections | None]:
    """Detections of every frame (3, H, W) uint8 RGB of one video, in order, `Streamer.delay` frames
    later; None for a frame that is None.

    An error of `frames` is raised after the detections of all frames before it.
    """
    streamer, errors = Streamer(model, mode, test), []
    for frame in put_aside(frames, errors):
        yield from streamer.push(frame)
    yield from streamer.flush()
    if errors:
        raise errors[0]


def put_aside(items: Iterable[T], errors: list[Exception]) -> Iterator[T]:
    """The items; an error of theirs ends them and is put into the list."""
    try:
        yield from items
    except Exception as error:
        errors.append(error)


def stream_videos(model: MST, videos: Sequence[Iterable[Tensor | None]], mode: str | None = None,
                  test: TestConfig | None = None) -> Iterator[tuple[int, Detections | None]]:
    """(video, detections) of several videos, a frame of each at a time: their frames and windows
    share the passes of the model. In order within a video."""
    test = test or model.config.test
    mode = mode or test.mode
    engine = Engine(model, mode, max(test.batch, len(videos)))
    tracks = [Track(test, mode, model.levels.temporal) for _ in videos]
    for row in chain(zip_longest(*videos, fillvalue=engine), [[engine] * len(videos)]):
        over = [frame is engine for frame in row]  # stands for: no frame any more
        new = [[] if done else [frame] for frame, done in zip(row, over, strict=True)]
        for number, part in enumerate(advance(engine, tracks, new, over)):
            yield from ((number, f and f.detections) for f in part)


# ---- clips of a data set -----------------------------------------------------------------------


def find_clip(model: MST, clip: Clip, test: TestConfig, skip_bad: bool = False
              ) -> Iterator[Found | None]:
    """What is found in every frame of a clip, in order; see `detect_clip`."""
    read = partial(read_frame, clip, skip_bad=skip_bad)
    try:
        yield from (model.walk or partial(walk, model))(read, len(clip), test)
    except BadFile:
        raise
    except MSTError as error:
        raise MSTError(f"{clip.name}: {error}") from error


def walk(model: MST, read: Callable[[int], Tensor | None], length: int, test: TestConfig
         ) -> Iterator[Found | None]:
    """What is found in every frame of a clip of `length` frames that `read` gives by number."""
    streamer, numbers = Streamer(model, test=test), iter(range(length))
    while part := list(islice(numbers, test.batch)):
        yield from streamer.find([read(t) for t in part])
    yield from streamer.find([], over=True)


def read_frame(clip: Clip, t: int, skip_bad: bool) -> Tensor | None:
    """Frame t; BadFile if it cannot be read, with skip_bad None."""
    try:
        return clip.frame(t)
    except BadFile:
        if skip_bad:
            return None
        raise


def detect_clip(model: MST, clip: Clip, test: TestConfig, skip_bad: bool = False
                ) -> list[Detections | None]:
    """Detections of every frame of a clip in mode `test.mode`, on the CPU.

    BadFile if a frame cannot be read; with skip_bad it is left out of all windows and is None.
    MSTError if frames differ in size.
    """
    return [f and f.detections for f in find_clip(model, clip, test, skip_bad)]


def detect_clips(model: MST, clips: Sequence[Clip], test: TestConfig, text: str = "detecting"
                 ) -> list[list[Detections]]:
    """Detections of every frame of every clip, with a progress bar."""
    from mstlib.progress import progress

    return [detect_clip(model, clip, test) for clip in progress(clips, text)]


def propose_clip(model: MST, clip: Clip, test: TestConfig) -> list[Tensor]:
    """The reference's proposals of every frame, (n, 4) each: what RPN recall is measured on."""
    return [f.proposals for f in find_clip(model, clip, test)]


@torch.no_grad()
def clip_maps(model: MST, clip: Clip, batch: int = 24) -> Tensor:
    """conv4 maps of all frames of a clip, (T, C, h, w)."""
    frames = torch.stack([clip.frame(t) for t in range(len(clip))])
    device = next(model.parameters()).device
    return torch.cat([model.c4(f.to(device)) for f in frames.split(batch)])


@torch.no_grad()
def trace_frame(model: MST, clip: Clip, t: int, test: TestConfig
                ) -> tuple[Detections, Trace, list[int]]:
    """One reference frame with its trace and the frames of its window (reference first)."""
    model.eval()
    window = test.window if model.levels.temporal else 1
    frames = window_indices(t, len(clip), window, test.stride, test.pad)
    images = torch.stack([clip.frame(s) for s in frames])[None]
    detections, traces = model(images.to(next(model.parameters()).device), trace=True)
    return detections[0], traces[0], frames
