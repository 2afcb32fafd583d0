"""Videos that the lists of a data set name and that are not on disk.

Not part of the paper. The readers leave such videos out and say how many; here each has its line.
"""

from itertools import product
from pathlib import Path

from mstlib.data.formats.uavdt import TEST, TRAIN


def missing_videos(format: str, root: Path, split: str) -> list[str]:
    """A line `list:line: what` for each listed video of a split that has no folder.

    Of a list that cannot be read nothing is said: opening the data set says it.
    """
    if format == "uavdt":
        attributes = sorted((root / "M_attr" / split).glob("M*_attr.txt"))
        names = [path.name.removesuffix("_attr.txt") for path in attributes] or {
            "train": TRAIN, "test": TEST}.get(split, ())
        base = root / "UAV-benchmark-M"
        return [f"{base}: {name} of the {split} split is not on disk" for name in names
                if not (base / name).is_dir()]
    if format == "davis":
        newer = root / "ImageSets" / "2017"
        folder = newer if newer.is_dir() else root / "ImageSets" / "480p"
        return _missing(folder / f"{split}.txt", root / "JPEGImages" / "480p")
    if format in ("imagenet", "imagenet-vid"):
        name = {"train": "VID_train_15frames.txt", "val": "VID_val_videos.txt"}.get(split, "")
        for home, lists in product(("ILSVRC2015", "ILSVRC", "."),
                                   ("ImageSets", "ImageSets/VID", "Lists")):
            if name and (root / home / lists / name).is_file():
                return _missing(root / home / lists / name, root / home / "Data" / "VID")
    return []


def _missing(path: Path, base: Path) -> list[str]:
    """The first line of each video in a list whose folder is not below `base`.

    A line begins with the video's name, or, in DAVIS 2016, with /JPEGImages/480p/NAME/FRAME.jpg.
    """
    lines, seen = [], set()
    try:
        listed = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    for number, words in enumerate(map(str.split, listed), 1):
        name = words[0] if words else ""
        name = Path(name).parent.name if name.startswith("/") else name
        if name not in seen and name and not (base / name).is_dir():
            lines.append(f"{path}:{number}: {base / name} is not on disk")
        seen.add(name)
    return lines if seen - {""} else [f"{path}: names no video"]
