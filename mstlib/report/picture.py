"""The README's opening picture: an object that one frame does not show and its neighbours do.

Not part of the paper (its Fig. 1 shows the problem, this shows the answer). `mst picture` draws it
from the shipped checkpoints; the case is the one with the widest gap between the two scores.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mstlib.config import MSTError, TestConfig
from mstlib.data.clip import Clip, Detections, window_indices
from mstlib.evaluation.story import Rescue, about, find_rescued, judge, of_track
from mstlib.png import save_figure
from mstlib.show import DPI, draw_frame, frame_title, legend_text

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.figure import Figure, SubFigure

SIZE = 9.6, 3.1  # inches: as wide as a page, so that its letters are not made smaller


def write_rescued(
    out: Path, checkpoints: Path, profile: str = "mini", split: str = "test", rank: int = 0,
    root: Path | None = None,
) -> Rescue:
    """Compare variants (a) and (g) on a split and draw the case of that `rank` to `out`, a PNG.

    checkpoints: folder with <profile>-a.safetensors and <profile>-g.safetensors. MSTError if one
    is missing, or if there are not so many cases.
    """
    from mstlib.checkpoint import load_weights
    from mstlib.data.minivid.benchmark import CLASSES
    from mstlib.stream import detect_clips
    from mstlib.training.experiment import clips_of

    models = [load_weights(checkpoints / f"{profile}-{v}.safetensors", v)[0] for v in "ag"]
    clips, test = clips_of(models[0].config, split, root), models[1].config.test
    plain, full = (detect_clips(model, clips, test, f"({v}) on {split}")
                   for v, model in zip("ag", models, strict=True))
    cases = find_rescued(clips, plain, full)
    cases.sort(key=lambda case: not is_plain_to_see(case, clips[case.clip], plain, full, test))
    if rank >= len(cases):
        raise MSTError(f"{checkpoints}: (g) rescues {len(cases)} objects on {split}, "
                       f"there is no number {rank}; choose a smaller --rank or train longer")
    case = cases[rank]
    frames = window_indices(case.t, len(clips[case.clip]), test.window, test.stride)
    figure = rescued_picture(clips[case.clip], case, plain[case.clip][case.t],
                             full[case.clip][case.t], frames, CLASSES)
    save_figure(figure, out, dpi=1.5 * DPI)
    return case


def is_plain_to_see(
    case: Rescue, clip: Clip, plain: Sequence[Sequence[Detections]],
    full: Sequence[Sequence[Detections]], test: TestConfig,
) -> bool:
    """Does a picture of the case need no explaining?

    The window is complete, one detector does not even name the class near the object, and the
    other says nothing wrong about it.
    """
    target = of_track(clip.target(case.t), case.track)
    one, two = (about(p[case.clip][case.t], target) for p in (plain, full))
    window = window_indices(case.t, len(clip), test.window, test.stride)
    named = (one.labels == target.labels) & (one.scores >= 0.5)
    said = set(judge(two, target)[0]) - {"weak"}
    return len(window) == test.window and not named.any() and said == {"found"}


def rescued_picture(
    clip: Clip, case: Rescue, plain: Detections, full: Detections, frames: Sequence[int],
    classes: Sequence[str], threshold: float = 0.5,
) -> "Figure":
    """A rescued object, time from left to right.

    frames: of the window, the reference first (`window_indices`). Left the supports before the
    reference, right those after it, in the middle the reference as the two detectors see it.
    """
    from matplotlib.figure import Figure

    before, after = [sorted(s for s in frames if (s - case.t) * way > 0) for way in (-1, 1)]
    figure = Figure(SIZE, DPI)
    parts = figure.subfigures(1, 4)
    _supports(parts[0], clip, before[-4:], case.track, classes, "Support frames before")
    used = {"truth"}
    used |= _reference(parts[1], clip, case, plain, classes, threshold, "(a) one frame alone")
    used |= _reference(parts[2], clip, case, full, classes, threshold, "(g) with support frames")
    _supports(parts[3], clip, after[:4], case.track, classes, "Support frames after")
    figure.text(0.5, 0.012, legend_text(used), fontsize=7, ha="center")
    return figure


def _supports(part: "SubFigure", clip: Clip, times: Sequence[int], track: int,
              classes: Sequence[str], title: str) -> None:
    """Up to four support frames with the object's ground truth."""
    _head(part, title)
    axes = part.subplots(2, 2)
    part.subplots_adjust(0.01, 0.065, 0.99, 0.82, wspace=0.03, hspace=0.3)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, t in zip(axes.flat, times, strict=False):
        draw_frame(axis, clip.frame(t), of_track(clip.target(t), track), classes=classes)
        axis.set_title(frame_title(t, clip.target(t), track), fontsize=6, pad=2)


def _reference(part: "SubFigure", clip: Clip, case: Rescue, found: Detections,
               classes: Sequence[str], threshold: float, title: str) -> set[str]:
    """The reference frame with what a detector says of the object: others have their own story.

    Returns the styles of box that it used.
    """
    _head(part, title)
    axis = part.subplots()
    part.subplots_adjust(0.01, 0.065, 0.99, 0.82)
    seen = of_track(clip.target(case.t), case.track)
    axis.set_title(frame_title(case.t, clip.target(case.t), case.track), fontsize=7, pad=2)
    return draw_frame(axis, clip.frame(case.t), seen, about(found, seen), classes, threshold)


def _head(part: "SubFigure", title: str) -> None:
    """The heading of a quarter of the picture."""
    part.text(0.5, 0.93, title, fontsize=9.5, fontweight="bold", ha="center")
