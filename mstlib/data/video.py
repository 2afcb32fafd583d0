"""Where frames come from: one door to video files, images, a camera, arrays and MiniVID.

Not part of the paper. Whatever the source, frames are (3, H, W) uint8 RGB tensors of one size, in
order, and a frame that cannot be had is an error (after all frames before it) or a counted skip.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from glob import glob, has_magic
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mstlib.config import DataConfig, MSTError
from mstlib.data.dataset import BadFile
from mstlib.data.decode import Cut, decoded, probe
from mstlib.data.images import SUFFIXES, by_number, frame_files, read_image

KINDS = ("a video file, an image, a folder or pattern of images ('frames/*.png'), a .npy file, "
         "camera:0 or minivid:test/3")
Frames = Iterator[Tensor | BadFile]  # (3, H, W) uint8, or why there is none


@dataclass
class Video:
    """Frames to go through, from the beginning each time (a camera or iterator: what comes next).

    `for frame in video` gives tensors (3, H, W) uint8 RGB of one size. where: what errors call it.
    fps, length: as the source says, None if it does not. live: frames may take their time to come.
    skipped: frames left out so far.
    """

    name: str
    where: str
    read: Callable[[], Frames]
    fps: float | None = None
    length: int | None = None
    live: bool = False
    skip_bad: bool = False
    skipped: int = 0

    def __iter__(self) -> Iterator[Tensor]:
        """The frames that there are; raises as `numbered`."""
        return (frame for _, frame in self.numbered() if frame is not None)

    def numbered(self) -> Iterator[tuple[int, Tensor | None]]:
        """(number from 0, frame), or (number, None) for a frame that skip_bad leaves out.

        Without skip_bad the first one that cannot be decoded, or is of another size than the first,
        raises BadFile. MSTError if there is no frame at all, or the source cannot be read.
        """
        self.skipped, number, size = 0, -1, None
        try:
            for number, item in enumerate(self.read()):
                size = size or getattr(item, "shape", None)
                fault = self._fault(number, item, size)
                if fault and not self.skip_bad:
                    raise fault
                self.skipped += bool(fault)
                yield number, None if fault else item
        except Cut as end:
            if not self.skip_bad:
                raise MSTError(f"{end}; or keep what is there: --skip-bad") from end
            self.skipped += end.lost
        if number < 0:
            raise MSTError(f"{self.where}: no frame in it")

    def _fault(self, number: int, item: Tensor | BadFile, size: torch.Size | None
               ) -> BadFile | None:
        """What is wrong with a frame, None if nothing is."""
        if isinstance(item, Tensor) and item.shape == size:
            return None
        if isinstance(item, Tensor):
            item = (f"{item.shape[2]} x {item.shape[1]} pixels, the first one has {size[2]} x "
                    f"{size[1]}; a video has frames of one size")
        return BadFile(f"{self.where}, frame {number}: {item}; or leave such frames out: "
                       "--skip-bad")


def open_video(source: str | Path | np.ndarray | Iterable, skip_bad: bool = False,
               minivid: DataConfig | None = None) -> Video:
    """The frames of `source`: one of `KINDS`, an array (T, H, W, 3) uint8, or an iterable of image
    files, arrays (H, W, 3) and tensors (3, H, W), all uint8 RGB.

    skip_bad: leave out and count what cannot be decoded. minivid: the benchmark that `minivid:`
    means (that of profile mini). Frames are read on demand; MSTError now if there is no such source
    or nothing in it.
    """
    if isinstance(source, str | Path):
        video = _named(str(source), minivid or DataConfig())
    else:
        length = len(source) if hasattr(source, "__len__") else None
        video = Video("frames", "frames", lambda: map(_frame, source), length=length,
                      live=length is None)
    if video.length == 0:
        raise MSTError(f"{video.where}: no frame in it")
    return replace(video, skip_bad=skip_bad)


def first(video: Video, count: int) -> Video:
    """The first `count` frames of a video; what comes after them is not read."""
    length = count if video.length is None else min(count, video.length)
    return replace(video, read=lambda: islice(video.read(), count), length=length)


def _named(source: str, minivid: DataConfig) -> Video:
    """A source by its name on the command line."""
    kind, _, rest = source.partition(":")
    path = Path(source).expanduser()
    if kind == "minivid":
        return _minivid(rest, minivid)
    if kind == "camera":
        return _camera(rest)
    if "://" in source:  # a stream on the network, as FFmpeg understands it
        return Video(Path(source).stem, source, lambda: decoded(source), live=True)
    if has_magic(source) and not path.exists():
        files = sorted(glob(str(path)), key=by_number)  # noqa: PTH207 (Path takes no absolute one)
        return _images(files, path.absolute().parent.name, source)
    if not path.exists():
        raise MSTError(f"{source}: no such file; give {KINDS}")
    if path.is_dir():
        files = [path / name for name in frame_files(path)]
        return _images(files, path.absolute().name, source)
    if path.suffix.lower() in SUFFIXES:
        return _images([path], path.stem, source)
    if path.suffix == ".npy":
        return _array_file(path)
    return Video(path.stem, source, lambda: decoded(path), *probe(path))


def _images(files: list[str | Path], name: str, where: str) -> Video:
    return Video(name, where, lambda: map(_frame, files), length=len(files))


def _frame(item: str | Path | np.ndarray | Tensor) -> Tensor | BadFile:
    """One frame of an iterable; MSTError if it is nothing that `open_video` takes."""
    if isinstance(item, str | Path):
        try:
            return read_image(item)
        except BadFile as error:
            return error
    if isinstance(item, np.ndarray) and item.ndim == 3:
        item = torch.from_numpy(item.transpose(2, 0, 1).copy())
    if not (isinstance(item, Tensor) and item.dtype == torch.uint8 and item.ndim == 3
            and item.shape[0] == 3 and item.numel()):
        what = f"{tuple(item.shape)} {item.dtype}" if hasattr(item, "shape") else repr(item)[:50]
        raise MSTError("a frame must be an array (H, W, 3) or a tensor (3, H, W) of uint8, RGB, or "
                       f"an image file; got {what}")
    return item


def _array_file(path: Path) -> Video:
    """A .npy file, mapped so that only the frames in use are in memory."""
    try:
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MSTError(f"{path}: not a readable .npy file ({error}); write it anew") from None
    if frames.ndim != 4:
        raise MSTError(f"{path}: frames must be an array (T, H, W, 3), got {frames.shape}")
    return Video(path.stem, str(path), lambda: map(_frame, frames), length=len(frames))


def _camera(device: str) -> Video:
    """A camera by its number or device file; it is opened when frames are asked for."""
    path = Path(f"/dev/video{device or 0}" if device.isdecimal() or not device else device)
    if not sys.platform.startswith("linux"):
        raise MSTError("camera: only on Linux (Video4Linux); elsewhere give open_video an iterator "
                       "over your camera's frames")
    if not path.exists():
        there = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
        raise MSTError(f"camera:{device}: no camera at {path}; cameras here: {there}")
    return Video(path.name, str(path), lambda: decoded(path, "v4l2"), live=True)


def _minivid(place: str, config: DataConfig) -> Video:
    """A clip of MiniVID as SPLIT/NUMBER; generated first if absent."""
    from mstlib.data.minivid.benchmark import load_minivid
    from mstlib.data.minivid.generate import extent

    split, _, number = place.partition("/")
    clips, length = extent(config, split)
    if not (number or "0").isdecimal() or int(number or 0) >= clips:
        raise MSTError(f"minivid:{place}: clips of {split} are numbered 0 to {clips - 1}")
    clip = load_minivid(config, split)[int(number or 0)]
    return Video(clip.name, clip.name, lambda: map(clip.frame, range(length)), length=length)
