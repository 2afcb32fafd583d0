"""What is wrong with one clip: its images, its boxes, its tracks; `check.py` puts clips together.

Not part of the paper.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mstlib.config import MSTError
from mstlib.data.clip import Target
from mstlib.data.frames import FileClip, pixels, wrong_box
from mstlib.data.images import image_size, read_image


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

    def forget(self, lines: Iterable[str]) -> None:
        """Take lines out of the problems."""
        gone = {" ".join(line.split()) for line in lines}
        kept = {kind: [line for line in mine if line not in gone]
                for kind, mine in self.problems.items()}
        self.problems = {kind: mine for kind, mine in kept.items() if mine}

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
                silent = _damage("annotation that cannot be read", clip.where(t), error, found)
    if len(sizes) > 1:
        (first, _), (other, t), *_ = sizes.items()
        found.problem("frames of several sizes", f"{clip.path(t)}: {pixels(other)}, but the clip "
                      f"begins with {pixels(first)}")
    found.tracks.update(label for label, _ in kinds.values())
    if found.counts["empty"] == len(clip) > 1:  # one line in place of one for each frame
        found.notes.pop("frame without an object")
        found.note("video without an object", f"{clip.where(0)}: nor in any other frame")
    return found


def _damage(kind: str, where: str, error: Exception, found: Findings) -> bool:
    """Note what a reader raised; True if it is the same as last time (a file of the whole clip)."""
    lines = lines_of(error, where)
    if lines == found.problems.get(kind, [])[-len(lines):]:
        return True
    for line in lines:
        found.problem(kind, line)
    return False


def lines_of(error: Exception, where: object) -> list[str]:
    """What a reader raised, as lines; its own errors begin with the file already."""
    lines = error.args if isinstance(error, MSTError) else [f"{where}: {error!r}"]
    return [" ".join(line.split()) for line in lines]


def _check_image(clip: FileClip, t: int, quick: bool, found: Findings) -> tuple[int, int] | None:
    """(H, W) of the image of frame t, None if it cannot be read."""
    path = clip.path(t)
    if not path.is_file():
        found.problem("missing frame", f"{path}: frame {t} of {clip.name} is not there")
        return None
    try:
        return image_size(path) if quick else tuple(read_image(path).shape[-2:])
    except Exception as error:
        _damage("image that cannot be read", str(path), error, found)
        return None


def _check_target(clip: FileClip, t: int, target: Target, size: tuple[int, int] | None,
                  classes: Sequence[str], kinds: dict[int, tuple[int, int]], found: Findings
                  ) -> None:
    """The objects of frame t. kinds: track -> its label and the frame where that was seen first."""
    boxes, labels, ids = (column.tolist() for column in (target.boxes, target.labels, target.ids))
    for k, (box, label, track) in enumerate(zip(boxes, labels, ids, strict=True)):
        about = f"{_class(label, classes)}{f', track {track}' if track >= 0 else ''}"
        for kind, what in _about_object(box, label, track, size, classes, ids[:k], kinds):
            found.problem(kind, f"{clip.where(t, k)}: object {k} ({about}): {what}")
        if track >= 0:
            _, since = kinds.get(track, (label, t))
            kinds[track] = label, since if kinds.get(track, (label,))[0] == label else t
    found.boxes.update(labels)
    found.counts.update(boxes=len(boxes), ignored=len(target.ignored),
                        generated=clip.generated(t), untracked=sum(track < 0 for track in ids))
    if not boxes:
        found.counts.update(empty=1)
        found.note("frame without an object", f"{clip.where(t)}: frame {t} of {clip.name}")
    stated = clip.stated(t)
    if size and stated and stated != size:
        found.problem("frame of another size than annotated", f"{clip.path(t)}: {pixels(size)}, "
                      f"but the annotation is about {pixels(stated)}")


def _about_object(box: list[float], label: int, track: int, size: tuple[int, int] | None,
                  classes: Sequence[str], others: list[int], kinds: dict[int, tuple[int, int]]
                  ) -> Iterator[tuple[str, str]]:
    """(kind, what) of each thing that is wrong with an object. others: tracks of those before it in
    the frame."""
    if not 1 <= label <= len(classes):
        yield "unknown class", f"there are classes 1 to {len(classes)}"
    if wrong := wrong_box(box, size):
        yield wrong, (f"x1 y1 x2 y2 are {[round(value, 2) for value in box]}"
                      + (f" in {pixels(size)}" if size else ""))
    if track >= 0 and track in others:
        yield "track twice in a frame", "so is another object"
    before, since = kinds.get(track, (label, 0))
    if track >= 0 and before != label:
        yield "track that changes its class", f"was {_class(before, classes)} in frame {since}"


def _class(label: int, classes: Sequence[str]) -> str:
    return classes[label - 1] if 1 <= label <= len(classes) else f"class {label}"
