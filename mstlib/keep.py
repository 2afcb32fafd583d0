"""Detections of a video in files that grow frame by frame, so that a run that ends early, by an
error or by Ctrl-C, keeps what it has found. Not part of the paper.
"""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mstlib.config import MSTError
from mstlib.detect import DetectedFrame
from mstlib.evaluation.detections_csv import CSV_COLUMNS, csv_rows, exact
from mstlib.fileio import keep_via

Write = Callable[[DetectedFrame], None]


def file_for(out: Path, name: str) -> Path:
    """The file that `--out` means: itself, or NAME.csv in a folder. MSTError on other suffixes."""
    if out.suffix in (".csv", ".json") and not out.is_dir():
        return out
    if out.suffix and not out.is_dir():
        raise MSTError(f"{out}: detections go to a .csv, a .json or a folder, not to "
                       f"'{out.suffix}'")
    return out / f"{name.replace('/', '-')}.csv"


@contextmanager
def csv_file(path: Path, clip: str, classes: Sequence[str]) -> Iterator[Write]:
    """A file that `mst evaluate --detections` reads: a row for each detection of video `clip`."""
    with keep_via(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)

        def write(found: DetectedFrame) -> None:
            if found.detections is not None:
                writer.writerows(csv_rows(clip, found.number, found.detections, classes))
            file.flush()  # a run that is killed leaves whole frames

        yield write


@contextmanager
def json_file(path: Path, about: dict, classes: Sequence[str]) -> Iterator[Write]:
    """A JSON object: what `about` says, the classes, then a line for each frame.

    "complete" at its end is false if the video was not seen to its end; the file is whole all the
    same.
    """
    with keep_via(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        head = json.dumps(about | {"classes": list(classes)}, ensure_ascii=False)
        file.write(head.removesuffix("}") + ', "frames": [')
        between, complete = "\n", False

        def write(found: DetectedFrame) -> None:
            nonlocal between
            file.write(between + json.dumps(_entry(found, classes), ensure_ascii=False))
            file.flush()
            between = ",\n"

        try:
            yield write
            complete = True
        finally:
            file.write(f'\n], "complete": {json.dumps(complete)}}}\n')


def _entry(found: DetectedFrame, classes: Sequence[str]) -> dict:
    """A frame as plain values."""
    d = found.detections
    if d is None:
        return {"frame": found.number, "skipped": True}
    rows = zip(d.labels.tolist(), exact(d.scores), exact(d.boxes), strict=True)
    return {"frame": found.number, "detections": [
        {"label": classes[k - 1], "score": score, "box": box} for k, score, box in rows]}
