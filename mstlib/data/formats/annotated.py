"""An annotated video: what the file of an annotation tool says, and where its frames lie.

Not part of the paper: see docs/own-videos.md.
"""

import os
import shutil
import warnings
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mstlib.config import MSTError
from mstlib.data.images import frame_files
from mstlib.progress import progress

QUALITY = 95  # of the JPEG files, 1..95: what is lost is below the noise of a video


@dataclass(frozen=True)
class Box:
    """An object in one frame, with the frame, track and line number of its source."""

    frame: int
    track: int                                  # -1: the source has no tracks
    label: str
    corners: tuple[float, float, float, float]  # x1 y1 x2 y2, pixels
    occluded: bool = False
    ignored: bool = False                       # a region whose content is not annotated
    line: int = 0


@dataclass(frozen=True)
class Video:
    """What an annotation file says about one video; None where it says nothing."""

    source: Path
    boxes: list[Box]
    classes: tuple[str, ...]
    frames: range | None                        # numbers of the annotated frames
    size: tuple[int, int] | None                # (H, W) pixels


def files_of(images: Path, frames: range | None, folder: Path, copy: bool) -> dict[int, Path]:
    """The image file of each annotated frame number, in order.

    images: a video file, whose frames are written to the new folder `folder`, or a folder of image
    files, taken in natural order and, with `copy`, copied there. frames: the annotated frames, None
    for all; a folder may hold these only, or the whole video. MSTError if frames are missing or
    `folder` is there already.
    """
    if images.is_file():
        with new_folder(folder) as part:
            numbers = _extract(images, frames, part)
        return {number: folder / _name(number) for number in numbers}
    files = _numbered(images, frames)
    if copy:
        with new_folder(folder) as part:
            for file in progress(files.values(), f"copying {images.name}", len(files)):
                shutil.copy2(file, part / file.name)
    return {number: folder / file.name if copy else file for number, file in files.items()}


def named(folder: Path, name: str) -> Path:
    """The folder of frames or the video file of that name; MSTError unless there is exactly one."""
    fits = [p for p in sorted(folder.glob("*")) if p.suffix not in (".xml", ".txt")
            and (p.name if p.is_dir() else p.stem) == name]
    if len(fits) != 1:
        raise MSTError(f"{folder}: one video or folder of frames must be named {name}, "
                       f"{len(fits)} are")
    return fits[0]


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` when the body ends well; MSTError if that exists."""
    if folder.exists():
        raise MSTError(f"{folder}: is there already; remove it or give the video another --name")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        part.mkdir(parents=True)
        yield part
        part.rename(folder)
    except OSError as error:
        raise MSTError(f"cannot write {folder}: {error.strerror or error}; free some space or "
                       "choose a writable folder") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _numbered(folder: Path, frames: range | None) -> dict[int, Path]:
    """The image files of a folder by frame number; MSTError if frames are missing."""
    if not folder.is_dir():
        raise MSTError(f"{folder}: no such video or folder of frames")
    files = [folder / name for name in frame_files(folder)]
    if frames is None or len(files) == len(frames):
        return dict(zip(range(len(files)) if frames is None else frames, files, strict=True))
    _require(folder, frames, len(files))
    return {number: files[number] for number in frames}


def _require(source: Path, frames: range | None, count: int) -> None:
    """MSTError unless a video of `count` frames has all the annotated ones."""
    if frames and frames[-1] >= count:
        raise MSTError(f"{source}: {count} frames, but the annotation has {len(frames)}, "
                       f"{frames[0]} to {frames[-1]}")


def _extract(video: Path, frames: range | None, folder: Path) -> list[int]:
    """Write frames of a video file as JPEG; their numbers. MSTError if it cannot be decoded."""
    try:
        import av
    except ImportError:
        raise MSTError(f"{video}: reading video files needs PyAV: pip install av (or give a folder "
                       "of frames)") from None
    wanted: Container[int] | None = frames
    number, numbers = -1, []
    try:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            stream.thread_type, decoded = "AUTO", container.decode(stream)
            if stream.frames:  # some containers do not tell
                decoded = progress(decoded, f"frames of {video.name}", stream.frames)
            for number, frame in enumerate(decoded):
                if wanted is None or number in wanted:
                    upright = frame.to_image().rotate(frame.rotation, expand=True)
                    upright.save(folder / _name(number), quality=QUALITY)
                    numbers.append(number)
    except (av.error.FFmpegError, IndexError) as error:
        raise MSTError(f"{video}: frame {number + 1} cannot be decoded ({error}); get the file "
                       "anew or convert it to mp4") from None
    _require(video, frames, number + 1)
    if frames is None and number + 1 < stream.frames:
        warnings.warn(f"{video}: {number + 1} of {stream.frames} frames could be decoded; the file "
                      "may be cut", stacklevel=2)
    return numbers


def _name(number: int) -> str:
    return f"{number:06d}.jpg"
