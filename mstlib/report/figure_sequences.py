"""Figure 5 of the paper from our own runs: four variants on two challenging sequences (Sec. IV-E).

"One suffers from significant pose variations, and the other has serious motion blur." `challenge`
chooses them from the ground truth. `mstlib.report.figures` writes the figure.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mstlib.config import MSTError
from mstlib.data.clip import DETERIORATIONS, Clip
from mstlib.data.dataset import Dataset
from mstlib.evaluation.story import track_flags, track_ids, track_scores
from mstlib.model.detector import MST
from mstlib.report.figure_board import SHOWN, beside, board, class_of, legend, runs, short
from mstlib.show import draw_frame, frame_title, untangle

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROWS = {  # "baseline, baseline + DAlign + frame-level, [...] and the whole framework"
    "a": "baseline", "d": "+ DAlign\n+ frame level", "f": "+ proposal level",
    "g": "+ instance level:\nthe whole method",
}
SEQUENCES = ("rare pose", "motion blur")


def sequences(data: Dataset, models: Sequence[MST], count: int = 5) -> tuple["Figure", str]:
    """Two challenging sequences, below each other; rows: the variants of ROWS, columns: frames.

    The rule is that of `challenge`. MSTError if the data has neither deterioration.
    """
    places = {kind: challenge(data, kind, count) for kind in SEQUENCES}
    places = {kind: place for kind, place in places.items() if place}
    if not places:
        raise MSTError(f"{data.name} {data.split}: no object in {' or in '.join(SEQUENCES)}")
    labels = [(f"({v})", text) for v, text in ROWS.items()]
    n = len(labels)
    figure, axes = board(labels * len(places), count, 1.35, range(0, n * len(places), n))
    parts = [axes[i:i + n] for i in range(0, len(axes), n)]
    used, told = set(), []
    for rows, (kind, (c, track, times)) in zip(parts, places.items(), strict=True):
        beside(rows[0][0], kind, short(data[c]), y=1.11)
        told.append(sequence(rows, data, models, c, track, times, used))
        told[-1] = f"{kind}, {short(data[c])}, frames {times[0]} to {times[-1]}, {told[-1]}"
    legend(figure, used)
    return figure, (f"Detections of score {SHOWN} and more on {data.name} {data.split}: "
                    f"{'; '.join(told)}. Rows: {', '.join(f'({v})' for v in ROWS)} of Table III. "
                    "Rule: the object, if possible alone in its clip, with most frames so "
                    "deteriorated by the ground truth, the middle of its longest stretch.")


def challenge(clips: Sequence[Clip], kind: str, count: int) -> tuple[int, int, list[int]] | None:
    """(clip, track, frames): the object with most frames of one deterioration, if possible alone
    in its clip, and `count` consecutive frames from the middle of the longest stretch of them;
    None if there is no such object.

    Chosen from the ground truth, no detector is asked; of equal ones the first.
    """
    k = DETERIORATIONS.index(kind)
    tracks = [track_ids(clip) for clip in clips]
    marks = {(c, track): track_flags(clips[c], track)[:, k].tolist()
             for c, part in enumerate(tracks) for track in part}
    places = [place for place, on in marks.items() if any(on)]
    if not places:
        return None
    c, track = max(places, key=lambda place: (len(tracks[place[0]]) == 1, sum(marks[place])))
    first, last = max(runs(marks[c, track]), key=lambda run: run[1] - run[0])
    start = max(0, min((first + last + 1 - count) // 2, len(clips[c]) - count))
    return c, track, list(range(start, min(start + count, len(clips[c]))))


def sequence(rows: Sequence[Sequence["Axes"]], data: Dataset, models: Sequence[MST], c: int,
             track: int, times: Sequence[int], used: set[str]) -> str:
    """Draw a sequence, a row for each model; in how many frames each finds the object, in words.

    used: the styles of box it used are added.
    """
    from mstlib.stream import detect_clip

    clip, counts = data[c], []
    for row, model in zip(rows, models, strict=True):
        found = detect_clip(model, clip, model.config.test)
        for axis, t in zip(row, times, strict=False):
            used |= draw_frame(axis, clip.frame(t), clip.target(t), found[t], data.classes, SHOWN)
            untangle(axis)
        counts.append(sum(track_scores(found, clip, track)[t] >= SHOWN for t in times))
    for axis, t in zip(rows[0], times, strict=False):
        axis.set_title(frame_title(t, clip.target(t), track), fontsize=7, pad=2)
    words = ", ".join(f"{n} with ({v})" for v, n in zip(ROWS, counts, strict=True))
    return f"where the {class_of(data, c, track)} is found in {words} of {len(times)} frames"
