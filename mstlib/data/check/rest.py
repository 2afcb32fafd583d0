"""A COCO-VID file with wrong annotations: name every one of them and open the rest.

Not part of the paper. The reader refuses such a file at its first wrong annotation, as it should; a
check wants to see them all, and what else there is.
"""

import json
import tempfile
from pathlib import Path

from mstlib.config import MSTError
from mstlib.data.check.clips import Findings, wrong_box
from mstlib.data.dataset import Dataset
from mstlib.data.formats.coco_vid import FIELDS, IMAGES, json_files, open_coco_vid


def open_rest(root: Path, split: str, found: Findings) -> Dataset | None:
    """The data set without its wrong annotations, each of which becomes a problem.

    None if the file is not made as COCO-VID is; MSTError if something else is wrong with it.
    """
    path = json_files(root, split)[0]
    try:
        data = json.loads(path.read_bytes())
        images, categories = ({entry["id"] for entry in data[kind]}
                              for kind in ("images", "categories"))
        data["annotations"] = [
            entry for k, entry in enumerate(data["annotations"])
            if _keep(f"{path}: annotations[{k}]", entry, images, categories, found)]
        folder = _image_folder(path, root, split, [image["file_name"] for image in data["images"]])
        for image in data["images"]:
            image["file_name"] = str(folder / image["file_name"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with tempfile.TemporaryDirectory() as temporary:
        rest = Path(temporary, path.name)
        rest.write_text(json.dumps(data))
        try:
            return open_coco_vid(rest, split)
        except MSTError as error:
            raise MSTError(str(error).replace(str(rest), str(path))) from error


def _keep(where: str, entry: dict, images: set, categories: set, found: Findings) -> bool:
    """Is the annotation one that the reader takes? If not, it becomes a problem."""
    if not isinstance(entry, dict):
        kind, what = "annotation that is incomplete", "not a JSON object"
    elif absent := [name for name, types in FIELDS["annotations"].items()
                    if not isinstance(entry.get(name), types)]:
        kind, what = "annotation that is incomplete", f"{absent[0]} is {entry.get(absent[0])!r}"
    elif entry["image_id"] not in images:
        kind, what = "annotation of a missing image", f"image {entry['image_id']} is not listed"
    elif entry["category_id"] not in categories:
        kind, what = "unknown class", f"category {entry['category_id']} is not listed"
    else:
        kind, what = _box_problem(entry["bbox"]), f"bbox x, y, width, height is {entry['bbox']}"
    if kind:
        name = f" (id {entry['id']})" if isinstance(entry, dict) and "id" in entry else ""
        found.problem(kind, f"{where}{name}: {what}")
    return not kind


def _box_problem(bbox: list) -> str:
    """What is wrong with x, y, width, height; nothing: an empty text."""
    if len(bbox) != 4 or not all(isinstance(value, int | float) for value in bbox):
        return "annotation that is incomplete"
    x, y, w, h = bbox
    return wrong_box((x, y, x + w, y + h), None)


def _image_folder(path: Path, root: Path, split: str, names: list[str]) -> Path:
    """The folder that file_name is relative to, of those that the reader tries; MSTError if none
    of them holds an image."""
    base = root if root.is_dir() else path.parent
    base = base.parent if root.is_file() and base.name == "annotations" else base
    tried = [(base / where.format(split=split)).absolute() for where in IMAGES]
    for folder in tried:
        if any((folder / name).is_file() for name in names):
            return folder
    raise MSTError(f"{path}: none of its {len(names)} images is there, in none of "
                   f"{', '.join(map(str, tried))}")
