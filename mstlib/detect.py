"""From any video to the detections of its frames, one after the other: what `mst detect` runs.

Frames are decoded and resized ahead of the model in a thread (`mstlib.data`), detected by a
`mstlib.stream.Streamer` (Sec. IV-C), and come out with their number and boxes in the video's
pixels. docs/detect.md shows it from the command line and in Python.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

from mstlib.config import Config, TestConfig
from mstlib.data.ahead import ahead
from mstlib.data.clip import Detections
from mstlib.data.frames import resized
from mstlib.data.video import Video
from mstlib.model.detector import MST
from mstlib.stream import Streamer, put_aside

STRIP = 4  # long side to short side of the longest frame that MiniVID's models are shown


@dataclass(frozen=True)
class DetectedFrame:
    """A frame of a video and what was found in it.

    number: from 0. detections: boxes in pixels of the video; None for a frame that was left out
    because it cannot be decoded. image: (3, H, W) uint8, if it was asked for.
    """

    number: int
    detections: Detections | None
    image: Tensor | None = None


@dataclass(frozen=True)
class Shot:
    """A frame on its way through the model; size: (H, W) in the video, scale: new pixels per pixel
    of it."""

    number: int
    size: tuple[int, int]
    scale: float
    image: Tensor | None

    def back(self, boxes: Tensor) -> Tensor:
        """Boxes (D, 4) in pixels of the video; by rounding, a resized frame may end beyond it."""
        height, width = self.size
        return (boxes / self.scale).minimum(boxes.new_tensor([width, height, width, height]))


def detect_video(model: MST, video: Video, mode: str | None = None, test: TestConfig | None = None,
                 precision: str = "float32", images: bool = False) -> Iterator[DetectedFrame]:
    """Detections of every frame of a video, in order.

    mode, test, precision: as `Streamer`. images: hand the frames out too; as many as wait for their
    windows are held then. `test.batch` frames go through the model together; of a live video, a
    camera or an iterator, each one alone, as soon as it is there.

    An error of the video is raised after the detections of all frames before it, which get the
    shorter windows of a video that ends there. MSTError as `Video.numbered` and `Streamer`.
    """
    test = test or model.config.test
    streamer, waiting = Streamer(model, mode, test, precision), deque()
    together = 1 if video.live else test.batch
    errors: list[Exception] = []
    with closing(ahead(_shots(video, *sides(model.config), images), together + 1)) as shots:
        ready = put_aside(shots, errors)
        while part := list(islice(ready, together)):
            waiting.extend(shot for shot, _ in part)
            yield from _matched(streamer.push(*(frame for _, frame in part)), waiting)
    yield from _matched(streamer.flush(), waiting)
    if errors:
        raise errors[0]


def sides(config: Config) -> tuple[int, int]:
    """(short_side, long_side) that a model of this configuration wants frames resized to.

    One that was trained on generated data knows objects as large as they are there, so that it
    wants any video that small; its costs, too, grow with the square of the area.
    """
    source, size = config.source, config.data.size
    if config.generated and not (source.short_side or source.long_side):
        return size, STRIP * size
    return source.short_side, source.long_side


def _shots(video: Video, short_side: int, long_side: int, images: bool
           ) -> Iterator[tuple[Shot, Tensor | None]]:
    """The frames of a video, and each at the model's size: as `mst evaluate` sees them."""
    for number, image in video.numbered():
        if image is None:
            yield Shot(number, (0, 0), 1.0, None), None
        else:
            frame, scale = resized(image, short_side, long_side)
            yield Shot(number, image.shape[1:], scale, image if images else None), frame


def _matched(results: Iterable[Detections | None], waiting: deque[Shot]
             ) -> Iterator[DetectedFrame]:
    """Detections with the frames that wait for them, boxes in the pixels of these."""
    for d in results:
        shot = waiting.popleft()
        found = d and Detections(shot.back(d.boxes), d.scores, d.labels)
        yield DetectedFrame(shot.number, found, shot.image)


def class_names(model: MST, metadata: dict[str, str]) -> tuple[str, ...]:
    """The names of labels 1, 2, ... that a checkpoint knows; of an old one MiniVID's or numbers."""
    named = tuple(json.loads(metadata.get("classes", "[]")))
    if not named and model.config.source.format == "minivid":
        from mstlib.data.minivid.benchmark import CLASSES

        named = CLASSES
    count = model.config.model.classes
    return named if len(named) == count else tuple(f"class {k}" for k in range(1, count + 1))
