"""Small video files made on the fly: frame t of a film is of a colour that tells t."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

COUNT, SIZE, RATE = 12, (32, 64), 10  # frames, (H, W), frames a second


def colour(t: int) -> tuple[int, int, int]:
    """The colour of frame t; neighbours differ by 20 of 255."""
    return 20 * (t % 12), 255 - 20 * (t % 12), 100


def plain(t: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Frame t, (H, W, 3) uint8."""
    return np.full((*size, 3), colour(t), dtype=np.uint8)


def film(path: Path, frames: Iterable[np.ndarray] | None = None, codec: str = "mpeg4",
         times: Iterable[int] | None = None, **options: str) -> Path:
    """A video file of these frames, shown at these times (one after the other).

    An .mp4 has its index in front, as on the web: one that is cut can still be opened.
    """
    av = pytest.importorskip("av", reason="PyAV is not installed")
    frames = [plain(t) for t in range(COUNT)] if frames is None else list(frames)
    front = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=front) as container:
        stream = container.add_stream(codec, RATE, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for t, pixels in zip(times or range(len(frames)), frames, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = t, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shown(frames: Iterable[Tensor]) -> list[int]:
    """Which frame of a film each of these looks most like."""
    known = torch.tensor([colour(t) for t in range(12)]).float()
    return [int((known - frame.float().mean((1, 2))).norm(dim=1).argmin()) for frame in frames]


def packets(path: Path) -> list[tuple[int, int, float]]:
    """(position in the file, bytes, second at which it is shown) of each packet, as stored."""
    import av

    with av.open(str(path)) as container:
        return [(p.pos, p.size, float(p.pts * p.time_base))
                for p in container.demux(video=0) if p.size]


def hurt(path: Path, number: int) -> Path:
    """The film with the number-th packet of its file overwritten by zeros."""
    start, size, _ = packets(path)[number]
    data = bytearray(path.read_bytes())
    data[start : start + size] = bytes(size)
    path.write_bytes(data)
    return path


def cut(path: Path, number: int, kept: float = 0.5) -> Path:
    """The film up to its number-th packet, of which this share is kept."""
    start, size, _ = packets(path)[number]
    path.write_bytes(path.read_bytes()[: start + round(kept * size)])
    return path
