"""The command `mst detect`: from any video to the detections of its frames."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mstlib.config import MSTError

if TYPE_CHECKING:  # `mst --help` need not wait for torch
    from mstlib.data.video import Video
    from mstlib.detect import DetectedFrame
    from mstlib.keep import Write
    from mstlib.model.detector import MST


def detect(
    source: Annotated[str, typer.Argument(
        help="A video file, an image, a folder or pattern of images, a .npy file, camera:0 or "
             "minivid:test/3.")],
    weights: Annotated[Path | None, typer.Option(
        help="Checkpoint, .safetensors  [default: the shipped one of --variant]")] = None,
    variant: Annotated[str | None, typer.Option(
        help="Column of Table III, a to g  [default: g]")] = None,
    mode: Annotated[str | None, typer.Option(
        help="exact, cached (faster) or causal (no frame is waited for)  [default: the "
             "checkpoint's, exact]")] = None,
    out: Annotated[Path | None, typer.Option(
        help="Write the detections: a .csv, a .json, or a folder for NAME.csv.")] = None,
    draw: Annotated[Path | None, typer.Option(
        help="Write the video with its detections, .mp4.")] = None,
    threshold: Annotated[float, typer.Option(
        min=0, max=1, help="Lowest score that is drawn and printed; --out has all.")] = 0.5,
    name: Annotated[str | None, typer.Option(
        help="What --out calls the video  [default: as its file]")] = None,
    window: Annotated[int | None, typer.Option(
        min=1, help="Frames of a window  [default: the checkpoint's]")] = None,
    stride: Annotated[int | None, typer.Option(
        min=1, help="Frames from one of a window to the next  [default: the checkpoint's]")] = None,
    device: Annotated[str, typer.Option(
        help="auto (a GPU where there is one), cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(
        help="float32, or bfloat16 or float16 for speed.")] = "float32",
    skip_bad: Annotated[bool, typer.Option(
        "--skip-bad", help="Leave out frames that cannot be decoded, and count them.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first frames.")] = None,
) -> None:
    """Detect the objects of a video, frame by frame.

    Without --out and --draw the detections are printed. What was found before an error or Ctrl-C is
    kept. From Python, and what the files hold: docs/detect.md.

    \b
    Example: mst detect street.mp4 --draw found.mp4
             mst detect frames/ --out found.csv --skip-bad
             mst detect camera:0 --mode causal --limit 300
             mst detect minivid:test/3
    """
    if draw and draw.suffix != ".mp4":
        raise MSTError(f"{draw}: the drawn video is an .mp4")
    from mstlib.data.video import first, open_video
    from mstlib.detect import class_names, detect_video
    from mstlib.keep import csv_file, file_for, json_file
    from mstlib.movie import movie_file

    model, metadata = _model(weights, variant, device)
    classes = class_names(model, metadata)
    video = open_video(source, skip_bad, model.config.data)
    video = first(video, limit) if limit else video
    usual = model.config.test
    test = replace(usual, mode=mode or usual.mode, window=window or usual.window,
                   stride=stride or usual.stride)
    name = name or video.name
    out = out and file_for(out, name)
    files: dict[Path, AbstractContextManager[Write]] = {}
    if out and out.suffix == ".json":
        about = {"video": name, "source": source, "fps": video.fps, "mode": test.mode,
                 "variant": metadata["variant"], "window": test.window, "stride": test.stride}
        files[out] = json_file(out, about, classes)
    elif out:
        files[out] = csv_file(out, name, classes)
    if draw:
        files[draw] = movie_file(draw, classes, video.fps, threshold)
    tally = Tally(classes, threshold)
    found = detect_video(model, video, None, test, precision, images=bool(draw))
    with closing(found):
        take(found, video, files, tally)
    print(tally.summary(video.skipped))


def _model(weights: Path | None, variant: str | None, device: str) -> tuple["MST", dict[str, str]]:
    """The model, ready to detect, and its checkpoint's metadata."""
    from mstlib.checkpoint import load_weights
    from mstlib.distributed import choose_device
    from mstlib.training.experiment import CHECKPOINTS

    place = choose_device(device)
    shipped = CHECKPOINTS / f"mini-{variant or 'g'}.safetensors"
    model, metadata = load_weights(weights or shipped, variant)
    return model.to(place), metadata


# Through the video --------------------------------------------------------------------------------


@dataclass
class Tally:
    """What has been seen so far, since the start; `threshold` is what is printed."""

    classes: Sequence[str]
    threshold: float
    begun: float = field(default_factory=time.monotonic)
    frames: int = 0
    detections: int = 0
    strong: int = 0

    def write(self, found: "DetectedFrame") -> None:
        """Count a frame."""
        if found.detections is not None:
            self.frames += 1
            self.detections += len(found.detections.scores)
            self.strong += int((found.detections.scores >= self.threshold).sum())

    def print(self, found: "DetectedFrame") -> None:
        """Print a frame's detections, if it has any."""
        d = found.detections
        lines = [] if d is None else [
            f"{self.classes[k - 1]} {score:.2f} at {' '.join(f'{x:.0f}' for x in box)}"
            for k, score, box in zip(d.labels.tolist(), d.scores.tolist(), d.boxes.tolist(),
                                     strict=True) if score >= self.threshold]
        if lines:
            print(f"frame {found.number}: {', '.join(lines)}", flush=True)

    def summary(self, skipped: int) -> str:
        """The last line."""
        seconds = time.monotonic() - self.begun
        return (f"{self.frames} frames in {seconds:.1f} s, "
                f"{1000 * seconds / max(1, self.frames):.1f} ms a frame; {self.detections} "
                f"detections, {self.strong} of score {self.threshold:g} or more; "
                f"{skipped} frames skipped")


def take(results: Iterator["DetectedFrame"], video: "Video",
         files: dict[Path, AbstractContextManager["Write"]], tally: Tally) -> None:
    """Write, or without files print, every frame's detections as they come, with progress.

    No file is touched before the first frame is there. An error, or Ctrl-C, says what is kept.
    """
    from mstlib.fileio import Unwritten
    from mstlib.progress import progress

    try:
        found = chain([next(results)], results)
        with ExitStack() as stack:
            writers = [stack.enter_context(file) for file in files.values()] or [tally.print]
            if files or not sys.stdout.isatty():  # else the lines that are printed are progress
                found = progress(found, f"detecting {video.name}", video.length, unit="frames")
            for frame in found:
                for write in (*writers, tally.write):
                    write(frame)
    except Unwritten:
        raise
    except (MSTError, KeyboardInterrupt) as error:
        names, verb = " and ".join(map(str, files)), "holds" if len(files) == 1 else "hold"
        kept = [f"{names} {verb} {tally.frames} frames"] if files and tally.frames else []
        if isinstance(error, MSTError):
            raise MSTError("; ".join([str(error), *kept])) from error
        print("; ".join(["mst: stopped", *kept]), file=sys.stderr)
        raise
