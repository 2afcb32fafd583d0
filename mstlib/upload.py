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
from mstlib.model.detector import MST
from mstlib.show import draw_frame, grid, legend_text, live, untangle

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


def received(model: MST, name: str, content: bytes, bar: "IntProgress | None" = None,
             mode: str | None = None) -> Film:
    """A video file that was handed in as bytes, watched; what cannot be decoded is left out.

    MSTError, in one line that names the file as its owner does, if it is no video.
    """
    name = Path(name.replace("\\", "/")).name or "video"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            film = watch(model, open_video(path, skip_bad=True), bar, mode)
            if not len(film):
                raise MSTError(f"{path}: no frame of it can be decoded; get it anew")
            return film
        except MSTError as error:
            raise MSTError(str(error).replace(str(path), name)) from None


def film_picture(film: Film, t: int, classes: Sequence[str], threshold: float
                 ) -> tuple["Figure", str]:
    """A frame of a film (the last one if there are fewer) with its strong detections, and both in
    words."""
    t = min(t, len(film) - 1)
    figure, axes = grid(1, 1, panel=4.4)
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


def upload_box(model: MST, film: Film, classes: Sequence[str], mode: str | None = None,
               threshold: float = 0.5) -> "VBox":
    """An upload button over the picture of a film with sliders: a video that is handed in is
    watched, and the picture changes to it. What is no video becomes a line under the button."""
    import ipywidgets

    films = [film]
    button = ipywidgets.FileUpload(accept="video/*", description="your video")
    bar = ipywidgets.IntProgress(0, 0, 1, description="detecting")
    line = ipywidgets.HTML()
    videos = ipywidgets.Dropdown(options=[(label(film, 0), 0)])
    frame = ipywidgets.IntSlider(0, 0, len(film) - 1)
    score = ipywidgets.FloatSlider(threshold, min=0, max=1, step=0.05)

    def fit(change: dict) -> None:
        frame.max = len(films[change["new"]]) - 1

    def take(change: dict) -> None:
        if not change["new"]:
            return
        (file, *_), button.value, line.value = change["new"], (), ""
        try:
            films.append(received(model, file["name"], bytes(file["content"]), bar, mode))
        except MSTError as error:
            line.value = f"<p>{escape(str(error))}</p>"
            return
        last = len(films) - 1
        videos.options = [(label(one, k), k) for k, one in enumerate(films)]
        videos.value = last

    videos.observe(fit, "value")  # before the picture's own: a frame that is there
    button.observe(take, "value")
    picture = live(lambda video, frame, score: film_picture(films[video], frame, classes, score),
                   video=videos, frame=frame, score=score)
    return ipywidgets.VBox([ipywidgets.HBox([button, bar]), line, picture])


def label(film: Film, k: int) -> str:
    """How a film is called among others."""
    return f"{k + 1}: {film.name}"
