"""A video with its detections drawn into it, in the visual language of `mstlib.show`: what a
detection looks like on a picture and on a moving one is the same. Not part of the paper.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mstlib.data.clip import Detections
from mstlib.detect import DetectedFrame
from mstlib.fileio import keep_via
from mstlib.keep import Write
from mstlib.show import box_text, colour_of, ink_on

RATE = 10.0   # frames a second where the source has none of its own, such as a folder of images
TALL = 480    # short side, pixels, that small frames are enlarged to: text needs room
CODECS = ("libx264", "mpeg4")  # the first that is there; every player knows both


@contextmanager
def movie_file(path: Path, classes: Sequence[str], fps: float | None, threshold: float = 0.5
               ) -> Iterator[Write]:
    """An .mp4 of the frames written to it; those that were left out are missing in it too.

    Playable also where the run ends early. MSTError if it cannot be written.
    """
    import av

    with keep_via(path) as temporary:
        container = av.open(str(temporary), "w", format="mp4")
        stream = None

        def write(found: DetectedFrame) -> None:
            nonlocal stream
            if found.image is None or found.detections is None:
                return
            picture = draw(found.image, found.detections, classes, threshold)
            stream = stream or _stream(container, picture.size, fps or RATE)
            _mux(container, stream, av.VideoFrame.from_image(picture))

        try:
            yield write
        finally:
            if stream:
                _mux(container, stream, None)
            container.close()


def write_frames(path: Path, frames: Iterable[Tensor], fps: float | None = None) -> Path:
    """An .mp4 of frames (3, H, W) uint8 as they are, small ones enlarged: what a camera would have
    made of a clip. MSTError if it cannot be written."""
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    with movie_file(path, (), fps) as write:
        for t, image in enumerate(frames):
            write(DetectedFrame(t, nothing, image))
    return path


def _stream(container, size: tuple[int, int], fps: float):
    """A video stream for pictures of `size` (W, H)."""
    import av

    codec = next(name for name in CODECS if name in av.codecs_available)
    stream = container.add_stream(codec, Fraction(fps).limit_denominator(1001))
    stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
    stream.codec_context.thread_count = 1  # the model wants the cores
    if codec == "libx264":
        stream.options = {"preset": "veryfast", "crf": "20"}
    return stream


def _mux(container, stream, frame) -> None:
    """Encode a frame, or at the end None; a full disk is an OSError like any other."""
    import av

    try:
        for packet in stream.encode(frame):
            container.mux(packet)
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error


def draw(image: Tensor, found: Detections, classes: Sequence[str] | None, threshold: float = 0.5
         ) -> Image.Image:
    """A frame (3, H, W) uint8 with the detections of at least `threshold`, the best on top.

    Small frames are enlarged by a whole factor, and sides are even, as encoders want them.
    """
    height, width = image.shape[-2:]
    factor = max(1, round(TALL / min(height, width)))
    picture = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    picture = picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(12, picture.height // 40))
    for i in found.scores.argsort().tolist():
        label, score = int(found.labels[i]), float(found.scores[i])
        if score >= threshold:
            box = [round(factor * x) for x in found.boxes[i].tolist()]
            _draw_box(pen, box, colour_of(label), max(2, picture.height // 240))
            text = box_text(label, score, None, "found", classes)
            _draw_tag(pen, box, picture.size, text, colour_of(label), font)
    return picture.crop((0, 0, picture.width + picture.width % 2,
                         picture.height + picture.height % 2))


def _draw_box(pen: ImageDraw.ImageDraw, box: Sequence[int], colour: str, line: int) -> None:
    """A box outlined in its colour; a white edge keeps it visible on any ground."""
    x1, y1, x2, y2 = box
    pen.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline="white", width=line + 2)
    pen.rectangle((x1, y1, x2, y2), outline=colour, width=line)


def _draw_tag(pen: ImageDraw.ImageDraw, box: Sequence[int], size: tuple[int, int], text: str,
              ground: str, font: ImageFont.FreeTypeFont) -> None:
    """The text of a box above it, on its colour, never off the picture."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font)
    wide, tall = round(right - left) + 6, round(bottom - top) + 6
    on_right = box[0] + box[2] > size[0]
    x = max(0, min(box[2] - wide if on_right else box[0], size[0] - wide))
    y = max(0, min(box[1] - tall, size[1] - tall))
    pen.rectangle((x, y, x + wide, y + tall), ground, "white")
    pen.text((x + 3 - left, y + 3 - top), text, ink_on(ground), font)
