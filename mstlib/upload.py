"""A video of yours in a notebook: watched with a progress bar, shown under sliders, handed in by
an upload button.

`mstlib.detect` does the detecting, `mstlib.show` the pictures; here they meet ipywidgets. Nothing
needs a browser: a test sets the button's value, as the browser does. Not part of the paper;
notebook 12 walks through it.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from mstlib.config import MSTError
from mstlib.data.clip import Detections, Target
from mstlib.data.frames import empty_target, resized
from mstlib.data.video import Video, first, open_video
from mstlib.detect import DetectedFrame, detect_video
from mstlib.keep import csv_file
from mstlib.model.detector import MST
from mstlib.movie import movie_file
from mstlib.show import draw_frame, film_strip, grid, legend_text, live, picture_html, untangle

if TYPE_CHECKING:  # matplotlib and ipywidgets are imported where they are used
    from ipywidgets import IntProgress, VBox
    from matplotlib.figure import Figure

LONGEST = 300  # frames that are watched of one video: what is shown has to fit into memory
SHORT = 360    # short side, pixels, of the frames that are kept to be shown


@dataclass
class Film:
    """A video that was watched, as far as it is kept: a clip without ground truth.

    frames (3, H, W) uint8, at most SHORT high or wide; found: their detections, boxes in pixels of
    them; numbers: of the frames in the video, some may have been left out. whole: was it seen to
    its end?
    """

    name: str
    frames: list[Tensor] = field(default_factory=list)
    found: list[Detections] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    whole: bool = True

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, t: int) -> Tensor:
        """Frame t of those kept, (3, H, W) uint8."""
        return self.frames[t]

    def target(self, t: int) -> Target:
        """No ground truth: an empty target."""
        return empty_target()

    def add(self, found: DetectedFrame) -> None:
        """Keep a frame, made small, with its detections; one that was left out is not kept."""
        if found.image is None or found.detections is None:
            return
        image, factor = found.image, 1.0
        if min(image.shape[1:]) > SHORT:
            image, factor = resized(image, SHORT, 0)
        d = found.detections
        self.frames.append(image)
        self.found.append(Detections(d.boxes * factor, d.scores, d.labels))
        self.numbers.append(found.number)


def watch(model: MST, video: Video, bar: "IntProgress | None" = None, mode: str | None = None,
          write: Sequence[Callable[[DetectedFrame], None]] = (), limit: int = LONGEST) -> Film:
    """Detect a video frame after frame; `bar` says how far it is, and is full at the end.

    write: takes each frame with its detections as it comes, in the video's own size (`keep`,
    `movie`). At most `limit` frames. MSTError as `detect_video`.
    """
    film, seen = Film(video.name), 0
    if bar:
        bar.value, bar.max = 0, min(limit, video.length or limit)
    with closing(detect_video(model, first(video, limit), mode, images=True)) as results:
        for found in results:
            for each in write:
                each(found)
            film.add(found)
            seen += 1
            if bar:
                bar.value = seen
    if bar:
        bar.max = bar.value = max(1, seen)  # how long a video is, is only known at its end
    film.whole = seen < limit or video.length == seen
    return film


def received(model: MST, name: str, content: bytes, folder: Path, classes: Sequence[str],
             bar: "IntProgress | None" = None, mode: str | None = None, threshold: float = 0.5
             ) -> Film:
    """A video file that was handed in as bytes, watched; what cannot be decoded is left out.

    `folder` gets NAME-found.csv and NAME-found.mp4, the detections of `threshold` or more drawn
    into it. MSTError, in one line that names the file as its owner does, if it is no video.
    """
    name = Path(name.replace("\\", "/")).name or "video"
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / name
        path.write_bytes(content)
        try:
            source = open_video(path, skip_bad=True)
            if next(iter(source), None) is None:
                raise MSTError(f"{path}: no frame of it can be decoded; get it anew")
            table, movie = (folder / f"{source.name}-found{suffix}" for suffix in (".csv", ".mp4"))
            with (csv_file(table, source.name, classes) as rows,
                  movie_file(movie, classes, source.fps, threshold) as pictures):
                return watch(model, source, bar, mode, write=(rows, pictures))
        except MSTError as error:
            raise MSTError(str(error).replace(str(path), name)) from None


def strip_picture(film: Film, classes: Sequence[str], threshold: float) -> tuple["Figure", str]:
    """Seven frames of a film, from its first to its last, with their strong detections, and in
    words how many each has."""
    steps = sorted({round(k * (len(film) - 1) / 6) for k in range(7)})
    strip = film_strip(film, steps, film.found, targets=False, classes=classes, threshold=threshold,
                       titles=[f"frame {film.numbers[t]}" for t in steps])
    counts = ", ".join(f"{int((film.found[t].scores >= threshold).sum())} in frame "
                       f"{film.numbers[t]}" for t in steps)
    return strip, f"Film strip of {film.name} with what is detected, from left to right {counts}."


def film_picture(film: Film, t: int, classes: Sequence[str], threshold: float
                 ) -> tuple["Figure", str]:
    """A frame of a film (the last one if there are fewer) with its strong detections, and both in
    words."""
    t = min(t, len(film) - 1)
    figure, axes = grid(1, 1, panel=4.4, like=film.frame(t))
    used = draw_frame(axes[0], film.frame(t), None, film.found[t], classes, threshold)
    untangle(axes[0])
    axes[0].set_title(f"{film.name}, frame {film.numbers[t]}", fontsize=9, pad=3)
    figure.text(0.5, 0.012, legend_text(used), fontsize=7, ha="center")
    d = film.found[t]
    said = [f"{classes[k - 1]} {s:.2f}" for k, s in zip(d.labels.tolist(), d.scores.tolist(),
                                                      strict=True) if s >= threshold]
    seen = film.numbers[-1] + 1
    end = "" if film.whole else f" The first {seen} frames of it were watched."
    end += f" {seen - len(film)} frames cannot be decoded." if seen > len(film) else ""
    return figure, (f"{film.name}, frame {film.numbers[t]}: "
                    f"{', '.join(said) or 'nothing'} (of score {threshold:g} or more).{end}")


def upload_box(model: MST, film: Film, classes: Sequence[str], folder: Path,
               mode: str | None = None, threshold: float = 0.5) -> "VBox":
    """An upload button over the picture of a film with sliders: a video that is handed in is
    watched, its strip appears and the picture changes to it; `folder` keeps what `received`
    writes. What is no video becomes a line under the button."""
    import ipywidgets

    films, strips = [film], [""]
    button = ipywidgets.FileUpload(accept="video/*", description="your video")
    bar = ipywidgets.IntProgress(0, 0, 1, description="detecting")
    line, strip = ipywidgets.HTML(), ipywidgets.HTML()
    videos = ipywidgets.Dropdown(options=[(label(film, 0), 0)])
    frame = ipywidgets.IntSlider(0, 0, len(film) - 1)
    score = ipywidgets.FloatSlider(threshold, min=0, max=1, step=0.05)

    def fit(change: dict) -> None:
        frame.max = len(films[change["new"]]) - 1
        strip.value = strips[change["new"]]

    def take(change: dict) -> None:
        if not change["new"]:
            return
        (file, *_), button.value, line.value = change["new"], (), ""
        try:
            films.append(received(model, file["name"], bytes(file["content"]), folder, classes,
                                  bar, mode, threshold))
        except MSTError as error:
            line.value = f"<p>{escape(str(error))}</p>"
            return
        name = films[-1].name
        line.value = escape(f"written to {folder.name}/: {name}-found.csv, {name}-found.mp4")
        strips.append(picture_html(*strip_picture(films[-1], classes, threshold)))
        videos.options = [(label(one, k), k) for k, one in enumerate(films)]
        videos.value = len(films) - 1

    videos.observe(fit, "value")  # before the picture's own: a frame that is there
    button.observe(take, "value")
    picture = live(lambda video, frame, score: film_picture(films[video], frame, classes, score),
                   video=videos, frame=frame, score=score)
    return ipywidgets.VBox([ipywidgets.HBox([button, bar]), line, strip, picture])


def label(film: Film, k: int) -> str:
    """How a film is called among others."""
    return f"{k + 1}: {film.name}"
