"""Detections as a CSV file, a row each: written by `mst detect` or elsewhere, read without the
model that made them.
"""

import csv
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray as Array
from torch import Tensor

from mstlib.config import MSTError
from mstlib.data.clip import Detections
from mstlib.data.dataset import Dataset
from mstlib.data.frames import FARTHEST
from mstlib.evaluation.columns import ClipDetections

CSV_COLUMNS = ("clip", "frame", "label", "score", "x1", "y1", "x2", "y2")


def csv_rows(clip: str, frame: int, found: Detections, classes: Sequence[str]) -> Iterator[list]:
    """The rows of a frame's detections, in the order of `CSV_COLUMNS`."""
    rows = zip(found.labels.tolist(), exact(found.scores), exact(found.boxes), strict=True)
    return ([clip, frame, classes[label - 1], score, *box] for label, score, box in rows)


def exact(values: Tensor) -> list:
    """Float32 values as numbers that are written shortest and read back as the same float32."""
    if values.ndim > 1:
        return [exact(row) for row in values]
    return [float(str(value)) for value in values.float().cpu().numpy()]


def first_clip(path: Path) -> str:
    """The clip of the first row; nothing if the file has none or cannot be read."""
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            return next((row[0] for row in csv.reader(file)
                         if row and tuple(row) != CSV_COLUMNS), "")
    except (OSError, UnicodeDecodeError, csv.Error):
        return ""


def read_csv(path: Path, dataset: Dataset) -> Iterator[tuple[int, ClipDetections]]:
    """Detections of every clip from rows `clip,frame,label,score,x1,y1,x2,y2`, in any order.

    Clip and label by name, frames from 0, boxes in pixels of the frame as it is on disk. A first
    line of these names is skipped. What has no row has no detection. MSTError with file and line.
    """
    lengths = [len(clip) for clip in dataset]
    rows = _csv_columns(path, {clip.name: n for n, clip in enumerate(dataset)}, lengths,
                        {name: k for k, name in enumerate(dataset.classes, start=1)})
    order = np.lexsort((rows["frame"], rows["clip"]))  # stable: rows of a frame keep their order
    starts = np.searchsorted(rows["clip"], np.arange(len(lengths) + 1), sorter=order)
    for n, length in enumerate(lengths):
        mine = order[starts[n] : starts[n + 1]]
        counts = np.bincount(rows["frame"][mine], minlength=length).astype(np.int32)
        yield n, ClipDetections(counts, np.zeros(length, bool), rows["boxes"][mine],
                                rows["score"][mine], rows["label"][mine])


def _csv_columns(path: Path, clips: dict[str, int], lengths: list[int], labels: dict[str, int]
                 ) -> dict[str, Array]:
    """The rows as compact columns; half a gigabyte for twenty million."""
    where, numbers = (array("i"), array("i"), array("h")), array("f")
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader, begun = csv.reader(file), False
            for row in filter(None, reader):
                begun, first = True, not begun
                if first and tuple(row) == CSV_COLUMNS:
                    continue
                try:
                    place, values = _csv_row(row, clips, lengths, labels)
                except ValueError as error:
                    raise MSTError(f"{path}, line {reader.line_num}: {error}") from None
                for column, value in zip(where, place, strict=True):
                    column.append(value)
                numbers.extend(values)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MSTError(f"{path}: not readable as CSV ({error}); give rows of "
                       f"{','.join(CSV_COLUMNS)}") from None
    if not begun:
        raise MSTError(f"{path}: empty, without even the line of the names {','.join(CSV_COLUMNS)}")
    clip, frame, label = (np.frombuffer(c, c.typecode) if c else np.zeros(0, c.typecode)
                          for c in where)
    table = np.frombuffer(numbers, np.float32).reshape(-1, 5) if numbers else np.zeros((0, 5))
    return {"clip": clip, "frame": frame, "label": label, "score": table[:, 0],
            "boxes": table[:, 1:]}


def _csv_row(row: list[str], clips: dict[str, int], lengths: list[int], labels: dict[str, int]
             ) -> tuple[tuple[int, int, int], list[float]]:
    """(clip, frame, label) and (score, x1, y1, x2, y2) of a row; ValueError with what is wrong."""
    if len(row) != len(CSV_COLUMNS):
        raise ValueError(f"{len(row)} columns, expected {len(CSV_COLUMNS)}, "
                         f"{','.join(CSV_COLUMNS)}")
    if row[0] not in clips:
        raise ValueError(f"unknown clip '{row[0]}'; clips are named like '{next(iter(clips))}'")
    if row[2] not in labels:
        raise ValueError(f"unknown class '{row[2]}'; classes are {', '.join(labels)}")
    if not row[1].strip().lstrip("-").isdecimal():
        raise ValueError(f"frame must be a whole number, got '{row[1]}'")
    clip, frame, values = clips[row[0]], int(row[1]), [float(value) for value in row[3:]]
    if not 0 <= frame < lengths[clip]:
        raise ValueError(f"frame {frame} is outside of {row[0]} ({lengths[clip]} frames, from 0)")
    finite = all(abs(value) < FARTHEST for value in values)  # NaN is not
    if not finite or values[3] < values[1] or values[4] < values[2]:
        raise ValueError(f"score and box {', '.join(row[3:])}: not finite, or x2 < x1 or y2 < y1")
    return (clip, frame, labels[row[2]]), values
