"""From any video to the detections of its frames, one after the other: what `mst detect` runs.

Frames are decoded and resized ahead of the model in a thread (`mstlib.data`), detected by a
`mstlib.stream.Streamer` (Sec. IV-C), and come out with their number and boxes in the video's
pixels. docs/detect.md shows it from the command line and in Python.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from mstlib.config import Config, MSTError, TestConfig
from mstlib.data.ahead import ahead
from mstlib.data.clip import Detections
from mstlib.data.frames import resized
from mstlib.data.video import Video
from mstlib.model.detector import MST
from mstlib.stream import MODES, Streamer
from mstlib.training.update import PRECISIONS

T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """A frame of a video and what was found in it.

    number: from 0. detections: boxes in pixels of the video; None for a frame that was left out
    because it cannot be decoded. image: (3, H, W) uint8, if it was asked for.
    """

    number: int
    detections: Detections | None
    image: Tensor | None = None


@dataclass(frozen=True)
class Shot:
    """A frame that waits for its detections; scale: the model's pixels per pixel of the video, None
    for a frame that was left out."""

    number: int
    scale: float | None = None
    image: Tensor | None = None


def detect_video(model: MST, video: Video, mode: str = "exact", test: TestConfig | None = None,
                 images: bool = False) -> Iterator[Found]:
    """Detections of every frame of a video, in order, each as soon as its window is complete.

    mode, test: as `Streamer`. images: hand the frames out too; as many as the delay are held then.
    An error of the video is raised after the detections of all frames before it, which get the
    shorter windows of a video that ends there. MSTError as `Video.numbered`, or if the mode is
    unknown.
    """
    if mode not in MODES:
        raise MSTError(f"unknown mode '{mode}'; choose one of {', '.join(MODES)}")
    streamer, waiting = Streamer(model, mode, test), deque()
    errors: list[Exception] = []
    with closing(ahead(_shots(video, *sides(model.config), images))) as shots:
        for shot, frame in _put_aside(shots, errors):
            waiting.append(shot)
            if frame is not None:
                yield from _matched(streamer.push(frame), waiting)
    yield from _matched(streamer.flush(), waiting)
    yield from _left_out(waiting)
    if errors:
        raise errors[0]


def sides(config: Config) -> tuple[int, int]:
    """(short_side, long_side) that a model of this configuration wants frames resized to.

    One that was trained on MiniVID knows objects as large as they are there, so that it wants any
    video that small; its costs, too, grow with the square of the area.
    """
    source = config.source
    mini = source.format == "minivid" and not (source.short_side or source.long_side)
    return config.data.size if mini else source.short_side, source.long_side


def _shots(video: Video, short_side: int, long_side: int, images: bool
           ) -> Iterator[tuple[Shot, Tensor | None]]:
    """The frames of a video, and each at the model's size: as `mst evaluate` sees them."""
    for number, image in video.numbered():
        if image is None:
            yield Shot(number), None
        else:
            frame, scale = resized(image, short_side, long_side)
            yield Shot(number, scale, image if images else None), frame


def _put_aside(items: Iterable[T], errors: list[Exception]) -> Iterator[T]:
    """The items; an error of theirs ends them and is put into the list."""
    try:
        yield from items
    except Exception as error:
        errors.append(error)


def _matched(results: Iterable[Detections], waiting: deque[Shot]) -> Iterator[Found]:
    """Detections with the frames that wait for them; those left out come where they stood."""
    for d in results:
        yield from _left_out(waiting)
        shot = waiting.popleft()
        found = Detections(d.boxes.cpu() / shot.scale, d.scores.cpu(), d.labels.cpu())
        yield Found(shot.number, found, shot.image)


def _left_out(waiting: deque[Shot]) -> Iterator[Found]:
    while waiting and waiting[0].scale is None:
        yield Found(waiting.popleft().number, None)


# The model ----------------------------------------------------------------------------------------


def class_names(model: MST, metadata: dict[str, str]) -> tuple[str, ...]:
    """The names of labels 1, 2, ... that a checkpoint knows; of an old one MiniVID's or numbers."""
    named = tuple(json.loads(metadata.get("classes", "[]")))
    if not named and model.config.source.format == "minivid":
        from mstlib.data.minivid.benchmark import CLASSES

        named = CLASSES
    count = model.config.model.classes
    return named if len(named) == count else tuple(f"class {k}" for k in range(1, count + 1))


def with_precision(model: MST, precision: str) -> MST:
    """The model, its backbone's convolutions in `precision`, all else in float32 as in training.

    MSTError if the precision is unknown, or the device that the model is on cannot do it.
    """
    device = next(model.parameters()).device.type
    if precision not in PRECISIONS:
        raise MSTError(f"unknown precision '{precision}'; choose {', '.join(PRECISIONS)}")
    if precision == "float16" and device != "cuda":
        raise MSTError("precision float16 needs a GPU; use bfloat16 or float32 on the CPU")

    def half(part: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def run(x: Tensor) -> Tensor:
            with torch.autocast(device, PRECISIONS[precision]):
                return part(x).float()
        return run

    if precision != "float32":
        model.backbone.c4, model.backbone.c5 = half(model.backbone.c4), half(model.backbone.c5)
    return model
