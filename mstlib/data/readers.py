"""Opening a data set on disk by the name of its format: one door to all readers.

Sec. IV-A of the paper: ImageNet VID and DET, UAVDT. DAVIS and COCO-VID stand beside them, for real
video that anybody can get and for custom sets. docs/datasets.md shows every layout.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mstlib.config import MSTError
from mstlib.data.dataset import BadFile, Dataset
from mstlib.data.formats import coco_vid, davis, imagenet, uavdt


@dataclass(frozen=True)
class Format:
    """How a format is recognised and opened.

    splits: the splits that a root folder holds, none if it is not of this format. open: the
    data set of one of these.
    """

    layout: str
    splits: Callable[[Path], Sequence[str]]
    open: Callable[[Path, str], Dataset]


FORMATS = {
    "imagenet": Format(
        "Data/VID, Data/DET, Annotations and ImageSets, or a folder ILSVRC2015 with these",
        imagenet.splits, imagenet.open_imagenet),
    "imagenet-vid": Format("as imagenet, the videos only", imagenet.vid_splits, imagenet.open_vid),
    "imagenet-det": Format("as imagenet, the still images only", imagenet.det_splits,
                           imagenet.open_det),
    "uavdt": Format("UAV-benchmark-M and UAV-benchmark-MOTD_v1.0/GT", uavdt.splits,
                    uavdt.open_uavdt),
    "davis": Format("JPEGImages/480p, Annotations/480p and ImageSets", davis.splits,
                    davis.open_davis),
    "coco-vid": Format("annotations/train.json (or val, test; or the JSON file itself)",
                       coco_vid.splits, coco_vid.open_coco_vid),
}


def open_dataset(format: str, root: str | Path, split: str, skip_bad: bool = False) -> Dataset:
    """The clips of a split; only lists are read, frames and most annotations on demand.

    BadFile if its lists are damaged, or name what is not on disk; with skip_bad such entries are
    left out, with one warning that counts them (frames stay in their clip and fail when they are
    read). MSTError if there is no such format, folder or split, or if the split holds no clip.
    """
    dataset = read_dataset(format, root, split)
    lines = [fault.line for fault in dataset.faults]
    if lines and not skip_bad:
        raise BadFile(f"{BadFile(*lines)}; mend it, or leave out what cannot be read: --skip-bad")
    if not dataset:
        raise MSTError(f"{root} ({format}): the {split} split holds no clip"
                       + (f"; {lines[0]}" if lines else ""))
    if lines:
        warnings.warn(f"{root} ({format}, {split}): bad entries left out: {len(lines)}; "
                      f"{BadFile(*lines)}", stacklevel=2)
    if dataset.left_out:
        warnings.warn(f"{root} ({format}, {split}): videos left out: {len(dataset.left_out)} of "
                      f"{len(dataset) + len(dataset.left_out)}; {BadFile(*dataset.left_out)}",
                      stacklevel=2)
    return dataset


def read_dataset(format: str, root: str | Path, split: str) -> Dataset:
    """As `open_dataset`, but what is wrong with the lists is in `faults` of the data set, and that
    may be without a clip."""
    if format not in FORMATS:
        raise MSTError(f"unknown data format '{format}'; choose one of {', '.join(FORMATS)}")
    root, form = _existing(root), FORMATS[format]
    there = splits_of(format, root)
    if not there:
        raise MSTError(f"{root}: not laid out as {format} ({form.layout})")
    if split not in there:
        raise MSTError(f"{root} ({format}) has no split '{split}'; it has {', '.join(there)}")
    try:
        return form.open(root, split)
    except OSError as error:
        raise BadFile(f"{error.filename or root}: cannot be read ({error.strerror})") from error


def detect_format(root: str | Path) -> str:
    """The format that a folder (or JSON file) has; MSTError that lists all layouts if none fits.

    Where several fit, it is the one with the most splits, the first of these in FORMATS.
    """
    root = _existing(root)
    found = {name: len(splits_of(name, root)) for name in FORMATS}
    best = max(found, key=found.__getitem__)
    if found[best]:
        return best
    layouts = "".join(f"\n  {name}: {form.layout}" for name, form in FORMATS.items())
    raise MSTError(f"{root}: no known layout; a data set has one of{layouts}")


def splits_of(format: str, root: Path) -> tuple[str, ...]:
    """The splits that a folder holds in a format; MSTError if it cannot be looked into."""
    try:
        return tuple(FORMATS[format].splits(root))
    except OSError as error:
        raise MSTError(f"{error.filename or root}: cannot be read ({error.strerror})") from error


def _existing(root: str | Path) -> Path:
    root = Path(root).expanduser()
    if not root.exists():
        raise MSTError(f"{root}: no such folder")
    return root
