"""Frames out of a video file or a camera, decoded by FFmpeg through PyAV. Not part of the paper.

`mstlib.data.video` is the door to it. Here is what only coded video has: packets that cannot be
decoded, frames that come out later than they went in, files that were cut, rotation.
"""

import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mstlib.config import MSTError
from mstlib.data.dataset import BadFile

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.reformatter import VideoReformatter

HELD = 32  # more frames than any decoder holds back to bring them in order (H.264: 16)
DAMAGED = "cannot be decoded ({})"


class Cut(MSTError):
    """A video that ends before its end; lost: the number of frames missing, as far as known."""

    def __init__(self, text: str, lost: int):
        super().__init__(text)
        self.lost = lost


def opened(path: str | Path, form: str | None = None) -> "InputContainer":
    """The file (or device, with the name of its format) open for reading.

    MSTError if PyAV is not installed, or if the file cannot be opened or holds no video.
    """
    try:
        import av
    except ImportError:
        raise MSTError(f"{path}: reading video needs PyAV: pip install av (or give a folder of "
                       "frames)") from None
    if Path(path).is_file() and not Path(path).stat().st_size:
        raise MSTError(f"{path}: an empty file (0 bytes); get it anew")
    try:
        container = av.open(str(path), format=form)
    except (av.FFmpegError, OSError) as error:
        raise MSTError(f"{path}: not a video that can be opened, or cut so that its index is "
                       f"missing ({error.strerror}); get it anew or convert it to mp4") from None
    if not container.streams.video or container.format.name == "tty":  # FFmpeg films text files
        container.close()
        raise MSTError(f"{path}: holds no video")
    return container


def probe(path: str | Path) -> tuple[float | None, int | None]:
    """(frames a second, number of frames), as far as the file's header says; as `opened`."""
    with opened(path) as container:
        stream = container.streams.video[0]
        rate, seconds = stream.average_rate, _stated_seconds(container, stream)
        about = round(seconds * rate) if rate and seconds else None
        return (float(rate) if rate else None), stream.frames or about


def decoded(path: str | Path, form: str | None = None) -> Iterator[Tensor | BadFile]:
    """The frames in the order they are shown, (3, H, W) uint8 RGB, upright; (H, W) may change.

    In place of a frame that cannot be decoded, or only in part, stands a BadFile. By one thread:
    more would report errors late, and the model wants the cores. Raises Cut where the file ends
    early, after all that can be decoded; MSTError as `opened`.
    """
    with opened(path, form) as container:  # says what to install, if need be
        from av.video.reformatter import VideoReformatter

        stream, to_rgb = container.streams.video[0], VideoReformatter()
        stream.codec_context.thread_count = 1
        failed: list[tuple[float, str]] = []  # (presentation time, why): in place of a frame
        broken: list[Exception] = []
        count, end = 0, 0.0
        for packet in _packets(container, stream, broken):
            if packet is not None and packet.size:
                count, end = count + 1, max(end, _end(packet, stream))
            for frame in _decode(stream, packet, failed):
                now = math.inf if frame.pts is None else frame.pts
                yield from map(BadFile, _before(now, failed))
                yield _image(frame, to_rgb, _before(math.nextafter(now, math.inf), failed))
            if len(failed) > HELD:  # no frame comes before the first of these any more
                yield BadFile(failed.pop(0)[1])
        yield from map(BadFile, _before(math.inf, failed))
        _check_end(path, container, count, end, broken)


def _packets(container: "InputContainer", stream: "av.VideoStream", broken: list[Exception]
             ) -> Iterator["av.Packet | None"]:
    """The packets, then what makes the decoder give out what it holds; also after an error, which
    is put into `broken`."""
    import av

    try:
        for packet in container.demux(stream):
            if packet.size or packet.pts is None:
                yield packet
            # An AVI repeats a frame by an empty packet; the decoder would take it for the end.
    except (av.FFmpegError, OSError) as error:
        broken.append(error)
        yield None


def _decode(stream: "av.VideoStream", packet: "av.Packet | None",
            failed: list[tuple[float, str]]) -> list["av.VideoFrame"]:
    """The frames that come out as a packet goes in; what is wrong with the packet, to `failed`."""
    import av

    time = -math.inf if packet is None or packet.pts is None else packet.pts
    cut = packet is not None and packet.is_corrupt and packet.pts is not None
    try:
        frames, why = stream.decode(packet), "is cut short" if cut else ""
    except av.FFmpegError as error:
        frames, why = [], "is cut short" if cut else DAMAGED.format(error.strerror)
    if why:
        failed.append((time, why))
        failed.sort()
    return frames


def _before(now: float, failed: list[tuple[float, str]]) -> list[str]:
    """Why those failed that would have been shown before now; they are taken off the list."""
    due = [why for time, why in failed if time < now]
    del failed[: len(due)]  # it is sorted
    return due


def _image(frame: "av.VideoFrame", to_rgb: "VideoReformatter", why: list[str]
           ) -> Tensor | BadFile:
    """A decoded frame as it is to be looked at, or what is wrong with it.

    to_rgb: kept from frame to frame; making one takes longer than decoding.
    """
    import av

    if why or frame.is_corrupt:
        return BadFile(why[0] if why else DAMAGED.format("only parts of it are there"))
    try:
        pixels = torch.from_numpy(to_rgb.reformat(frame, format="rgb24").to_ndarray())
    except (av.FFmpegError, ValueError) as error:
        return BadFile(DAMAGED.format(error))
    return upright(pixels.permute(2, 0, 1), _display_matrix(frame)).contiguous()


def _display_matrix(frame: "av.VideoFrame") -> tuple[int, int, int, int] | None:
    """(a, b, c, d) of the display matrix, None without one: its other numbers do not turn."""
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            matrix = memoryview(bytes(data)).cast("i")
            return matrix[0], matrix[1], matrix[3], matrix[4]
    return None


def upright(image: Tensor, matrix: tuple[int, int, int, int] | None) -> Tensor:
    """An image (3, H, W) turned and mirrored as its display matrix says: a phone held otherwise.

    A pixel (x, y) is shown at (ax + cy, bx + dy); angles between quarter turns are rounded to one.
    """
    if matrix is None:
        return image
    a, b, c, d = matrix
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 2), c, b
    return image.flip([axis for axis, sign in ((2, a), (1, d)) if sign < 0])


# How long a video should be -----------------------------------------------------------------------


def _check_end(path: str | Path, container: "InputContainer", count: int, end: float,
               broken: list[Exception]) -> None:
    """Raise Cut if the header promises more than `count` packets that end at second `end`.

    Where the format does not say (MPEG-TS, raw streams), a file that was cut is just shorter.
    Matroska goes on silently behind damage: what tells is a number of frames too small, a warning
    since it may be right.
    """
    stream = container.streams.video[0]
    rate, seconds = stream.average_rate or 0, _stated_seconds(container, stream) or 0.0
    lost = stream.frames - count if stream.frames else round((seconds - end) * rate)
    if broken or lost > (0 if stream.frames else 1):  # seconds are rounded
        why = f" ({broken[0].strerror or broken[0]})" if broken else ""
        raise Cut(f"{path}: ends after {count} frames{why}, {lost if lost > 0 else 'some'} more "
                  "should follow; the file is cut or damaged, get it anew", max(1, lost))
    if not stream.frames and count < round(seconds * rate) - 1:
        warnings.warn(f"{path}: {count} frames where its length and rate make "
                      f"{round(seconds * rate)}; some were lost to damage, or its frame rate "
                      "varies", stacklevel=2)


def _stated_seconds(container: "InputContainer", stream: "av.VideoStream") -> float | None:
    """How long the video stream is by the header; None if it says nothing, or of the sound only."""
    tag = re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))
    if tag:  # Matroska and WebM: "00:00:04.000000000"
        return 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3])
    if stream.duration:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1 and container.duration
    return container.duration / 1e6 if alone else None


def _end(packet: "av.Packet", stream: "av.VideoStream") -> float:
    """The second at which a packet's frame gives way to the next."""
    if packet.pts is None:
        return 0.0
    seconds = float((packet.pts + (packet.duration or 0)) * packet.time_base)
    return seconds if packet.duration or not stream.average_rate else (
        seconds + float(1 / stream.average_rate))
