"""What is wrong with one clip: its images, its boxes, its tracks; `check.py` puts clips together.

Not part of the paper.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mstlib.config import MSTError
from mstlib.data.clip import Target
from mstlib.data.frames import FileClip, image_size

BORDER = 1.0  # pixels that a box may pass the border: some tools count from 1, some from 0


@dataclass
class Findings:
    """Problems and notes, kind -> lines `file: what`; counts; boxes and tracks by label."""

    problems: dict[str, list[str]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)
    boxes: Counter = field(default_factory=Counter)
    tracks: Counter = field(default_factory=Counter)

    def problem(self, kind: str, line: str) -> None:
        """One line more, on one line."""
        self.problems.setdefault(kind, []).append(" ".join(line.split()))

    def note(self, kind: str, line: str) -> None:
        """As `problem`, of what need not be wrong."""
        self.notes.setdefault(kind, []).append(" ".join(line.split()))

    def add(self, other: "Findings") -> None:
        """Take over what was found elsewhere."""
        for mine, theirs in ((self.problems, other.problems), (self.notes, other.notes)):
            for kind, lines in theirs.items():
                mine.setdefault(kind, []).extend(lines)
        for name in ("counts", "boxes", "tracks"):
            getattr(self, name).update(getattr(other, name))


def check_clip(clip: FileClip, classes: Sequence[str], quick: bool = False,
               annotated: bool = True, tick: Callable[[], object] = lambda: None) -> Findings:
    """Every frame and annotation of a clip. quick: image headers only; annotated: are there any
    annotations? tick: called before each frame.

    Raises nothing that a damaged file may cause: what a reader raises becomes a line.
    """
    found, sizes, kinds, silent = Findings(), {}, {}, not annotated
    found.counts.update(clips=1, frames=len(clip))
    for t in range(len(clip)):
        tick()
        size = _check_image(clip, t, quick, found)
        if size:
            sizes.setdefault(size, t)
        if not silent:
            try:
                _check_target(clip, t, clip.annotated(t), size, classes, kinds, found)
            except Exception as error:
                silent = _damage("annotation that cannot be read", _where(clip, t), error, found)
    if len(sizes) > 1:
        (first, _), (other, t), *_ = sizes.items()
        found.problem("frames of several sizes", f"{clip.path(t)}: {_pixels(other)}, but the clip "
                      f"begins with {_pixels(first)}")
    found.tracks.update(label for label, _ in kinds.values())
    if found.counts["empty"] == len(clip) > 1:  # one line in place of one for each frame
        found.notes.pop("frame without an object")
        found.note("video without an object", f"{_where(clip, 0)}: nor in any other frame")
    return found


def _damage(kind: str, where: str, error: Exception, found: Findings) -> bool:
    """Note what a reader raised; True if it is the same as last time (a file of the whole clip)."""
    line = line_of(error, where)
    if line in found.problems.get(kind, [])[-1:]:
        return True
    found.problem(kind, line)
    return False


def line_of(error: Exception, where: object) -> str:
    """What a reader raised, as a line; its own errors begin with the file already."""
    line = str(error) if isinstance(error, MSTError) else f"{where}: {error!r}"
    return " ".join(line.split())


def _check_image(clip: FileClip, t: int, quick: bool, found: Findings) -> tuple[int, int] | None:
    """(H, W) of the image of frame t, None if it cannot be read."""
    path = clip.path(t)
    if not path.is_file():
        found.problem("missing frame", f"{path}: frame {t} of {clip.name} is not there")
        return None
    try:
        size = image_size(path)
        if not quick:
            clip.frame(t)
    except Exception as error:
        _damage("image that cannot be read", str(path), error, found)
        return None
    return size


def _check_target(clip: FileClip, t: int, target: Target, size: tuple[int, int] | None,
                  classes: Sequence[str], kinds: dict[int, tuple[int, int]], found: Findings
                  ) -> None:
    """The objects of frame t. kinds: track -> its label and the frame where that was seen first."""
    where, seen = _where(clip, t), set()
    boxes, labels, ids = (column.tolist() for column in (target.boxes, target.labels, target.ids))
    for k, (box, label, track) in enumerate(zip(boxes, labels, ids, strict=True)):
        about = f"{_class(label, classes)}{f', track {track}' if track >= 0 else ''}"
        what = f"{where}: object {k} ({about})"
        if not 1 <= label <= len(classes):
            found.problem("unknown class", f"{what}: there are classes 1 to {len(classes)}")
        if wrong := wrong_box(box, size):
            found.problem(wrong, f"{what}: x1 y1 x2 y2 are {[round(v, 2) for v in box]}"
                          + (f" in {_pixels(size)}" if size else ""))
        if track >= 0:
            if track in seen:
                found.problem("track twice in a frame", f"{what}: so is another object")
            seen.add(track)
            _check_track(what, t, label, track, classes, kinds, found)
    found.boxes.update(labels)
    found.counts.update(boxes=len(boxes), ignored=len(target.ignored),
                        untracked=sum(track < 0 for track in ids))
    if not boxes:
        found.counts.update(empty=1)
        found.note("frame without an object", f"{where}: frame {t} of {clip.name}")
    if size:
        stated = image_size(clip.mask(t)) if hasattr(clip, "mask") else tuple(clip.size(t))
        if stated != size:
            found.problem("frame of another size than annotated", f"{clip.path(t)}: "
                          f"{_pixels(size)}, but the annotation is about {_pixels(stated)}")


def _check_track(what: str, t: int, label: int, track: int, classes: Sequence[str],
                 kinds: dict[int, tuple[int, int]], found: Findings) -> None:
    """Has the track the class that it had before?"""
    before, since = kinds.setdefault(track, (label, t))
    if before != label:
        found.problem("track that changes its class",
                      f"{what}: was {_class(before, classes)} in frame {since}")
        kinds[track] = label, t  # one line for each change


def wrong_box(box: Sequence[float], size: tuple[int, int] | None) -> str:
    """What is wrong with a box x1 y1 x2 y2 in an image (H, W); nothing: an empty text."""
    x1, y1, x2, y2 = box
    height, width = size or (math.inf, math.inf)
    if not all(map(math.isfinite, box)):
        return "box that is no number"
    if x1 > x2 or y1 > y2:
        return "box with swapped corners"
    if x1 == x2 or y1 == y2:
        return "box without area"
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        return "box outside of the image"
    if min(x1, y1) < -BORDER or x2 > width + BORDER or y2 > height + BORDER:
        return "box across the border of the image"
    return ""


def _where(clip: FileClip, t: int) -> str:
    """The annotation file of frame t, the image where one file annotates many frames."""
    source = getattr(clip, "annotation", None) or getattr(clip, "mask", None) or clip.path
    return str(source(t))


def _class(label: int, classes: Sequence[str]) -> str:
    return classes[label - 1] if 1 <= label <= len(classes) else f"class {label}"


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]} pixels"
