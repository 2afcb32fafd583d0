"""What is wrong with a data set: every damaged file and every doubtful annotation, a line each.

Works on any layout that `mstlib.data.readers` opens and goes on where a reader gives up. Not part
of the paper; docs/own-videos.md shows it at work.
"""

import multiprocessing
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from mstlib.data.check.clips import Findings, check_clip, lines_of
from mstlib.data.dataset import Dataset
from mstlib.data.formats.lists import NO_FRAME
from mstlib.data.readers import FORMATS, read_dataset, splits_of
from mstlib.progress import progress


def check_data(format: str, root: Path, split: str = "all", quick: bool = False, jobs: int = 1
               ) -> dict:
    """Look at every frame and annotation of a split, or of all; a plain dict, ready for JSON.

    quick: of images the headers only, nothing is decoded; jobs: processes. Returns format, root;
    splits: what each holds; problems and notes: kind -> lines `file[:line or entry]: what`.
    MSTError if there is no such format, folder or split; whatever else is wrong is in the report.
    """
    whole, opened = Findings(), {}
    for name in _splits(format, root, split):
        if dataset := _opened(format, root, name, whole):
            opened[name] = dataset
    splits = {}
    for name, dataset in opened.items():
        found = Findings()
        for part in _parts(dataset, quick, jobs):
            found.add(part)
        found.forget(fault.line for fault in dataset.faults)  # told already
        splits[name] = _summary(dataset, found)
        whole.add(found)
    _compare(root, opened, whole)
    return {"format": format, "root": str(root), "quick": quick, "splits": splits,
            "problems": whole.problems, "notes": whole.notes}


def report_lines(report: dict, show: int = 5) -> list[str]:
    """The report for a terminal, at most `show` lines of each kind."""
    lines = [f"{report['format']}: {report['root']}"]
    for name, split in report["splits"].items():
        lines.append(f"{name}: {split['clips']} clips, {split['frames']} frames, "
                     f"{split['boxes']} boxes, {split['tracks']} tracks, "
                     f"{split['ignored']} ignored regions")
        lines += [f"  {kind}: {count['boxes']} boxes, {count['tracks']} tracks"
                  for kind, count in split["classes"].items() if count["boxes"]]
    for title in ("notes", "problems"):
        for kind, found in report[title].items():
            more = len(found) - show
            lines += ["", f"{title[:-1]}: {kind}: {len(found)}",
                      *(f"  {line}" for line in found[:show]),
                      *([f"  ... and {more} more"] if more > 0 else [])]
    count = sum(map(len, report["problems"].values()))
    looked = "headers only" if report["quick"] else "every image decoded"
    return [*lines, "", f"{count or 'no'} problem{'s' if count != 1 else ''} ({looked})"]


def _splits(format: str, root: Path, split: str) -> Sequence[str]:
    """The splits to look at; MSTError as `read_dataset` if there are none."""
    there = splits_of(format, root) if format in FORMATS and root.exists() else ()
    if split == "all" and there:
        return there[:1] if root.is_file() else there  # a file stands for every split
    if split not in there:
        read_dataset(format, root, split)  # says what there is
    return (split,)


def _opened(format: str, root: Path, split: str, found: Findings) -> Dataset | None:
    """The data set with what its lists hold that is wrong, None if it cannot be opened; what the
    reader warns of becomes a note, what it refuses a problem."""
    dataset = None
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            dataset = read_dataset(format, root, split)
        except Exception as error:
            for line in lines_of(error, root):
                found.problem("split that cannot be opened", line)
    for warning in said:
        if issubclass(warning.category, UserWarning):
            found.note("said by the reader", str(warning.message))
    if dataset is None:
        return None
    for kind, line in dataset.faults:
        if kind != NO_FRAME:  # looking at the clip will find it
            found.problem(kind, line)
    for line in dataset.left_out:
        found.note("video that is left out", line)
    if not dataset:
        found.problem("split without a clip", f"{root}: {split}")
    return dataset or None


def _parts(dataset: Dataset, quick: bool, jobs: int) -> Iterator[Findings]:
    """What each clip holds, in order, with a progress bar."""
    text, annotated = f"checking {dataset.split}", _annotated(dataset)
    jobs = min(jobs, len(dataset))
    if jobs == 1:
        bar = progress(range(sum(map(len, dataset))), text)
        for clip in dataset:
            yield check_clip(clip, dataset.classes, quick, annotated, lambda: next(bar, None))
        next(bar, None)
        return
    work = partial(check_clip, classes=dataset.classes, quick=quick, annotated=annotated)
    size = max(1, len(dataset) // (jobs * 32))
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        yield from progress(pool.map(work, dataset.clips, chunksize=size), text, len(dataset))


def _annotated(dataset: Dataset) -> bool:
    """Is there anything to check? Of the test videos of ImageNet VID no annotation is published."""
    annotation = getattr(dataset[0], "annotation", None)
    return dataset.split != "test" or annotation is None or annotation(0).is_file()


def _summary(dataset: Dataset, found: Findings) -> dict:
    """What a split holds, with notes on what it lacks."""
    classes = {name: {"boxes": found.boxes[k], "tracks": found.tracks[k]}
               for k, name in enumerate(dataset.classes, 1)}
    counts = {name: found.counts[name] for name in (
        "clips", "frames", "empty", "boxes", "generated", "untracked", "ignored")}
    if not _annotated(dataset):
        found.note("split without annotations", f"{dataset.split}: its frames were looked at only")
    elif absent := [name for name, count in classes.items() if not count["boxes"]]:
        found.note("class without an object", f"{dataset.split}: {', '.join(absent)}")
    if generated := counts["generated"]:
        found.note("box that was not drawn but interpolated", f"{dataset.split}: {generated} of "
                   f"{counts['boxes']} boxes; the official evaluation leaves their frames out")
    if counts["untracked"]:
        found.note("object without a track", f"{dataset.split}: {counts['untracked']} of "
                   f"{counts['boxes']} boxes; losses that compare frames do without them")
    return {**counts, "tracks": sum(found.tracks.values()), "classes": classes}


def _compare(root: Path, opened: dict[str, Dataset], found: Findings) -> None:
    """Do the splits have the same classes, and no video in common?"""
    classes = {dataset.classes: split for split, dataset in opened.items()}
    if len(classes) > 1:
        for names, split in classes.items():
            found.problem("classes differ between splits", f"{root}: {split}: {', '.join(names)}")
    seen: dict[Path, str] = {}
    for split, dataset in opened.items():
        for clip in filter(len, dataset):
            first = clip.path(0).resolve()
            if seen.setdefault(first, split) != split:
                found.problem("video in two splits", f"{clip.path(0)}: {clip.name} is in "
                              f"{seen[first]} and {split}")
