"""Which objects of DAVIS are of a class of ImageNet VID.

Not part of the paper: see `davis.py`.
"""

import json
from pathlib import Path

from mstlib.data.dataset import BadFile
from mstlib.data.formats.imagenet_xml import CLASSES

# Objects of each sequence of 2016 and of 2017 train and val that are of a VID class, by their index
# in the masks of 2017; after davis_semantics.json of the release. Riders, poles, ... are no object.
OBJECTS: dict[str, dict[int, str]] = {
    "bear": {1: "bear"}, "bike-packing": {1: "bicycle"}, "blackswan": {1: "bird"},
    "bmx-bumps": {1: "bicycle"}, "bmx-trees": {1: "bicycle"}, "boat": {1: "watercraft"},
    "bus": {1: "bus"}, "car-roundabout": {1: "car"}, "car-shadow": {1: "car"},
    "car-turn": {1: "car"}, "cat-girl": {2: "domestic_cat"}, "classic-car": {3: "car"},
    "cows": {1: "cattle"}, "dog": {1: "dog"}, "dog-agility": {1: "dog"},
    "dog-gooses": {1: "dog", 2: "bird", 3: "bird", 4: "bird", 5: "bird"},
    "dogs-jump": {1: "dog", 2: "dog"}, "dogs-scale": {1: "dog", 2: "dog"},
    "drift-chicane": {1: "car"}, "drift-straight": {1: "car"}, "drift-turn": {1: "car"},
    "elephant": {1: "elephant"}, "flamingo": {1: "bird"}, "horsejump-high": {1: "horse"},
    "horsejump-low": {1: "horse"}, "libby": {1: "dog"}, "longboard": {2: "bicycle"},
    "mallard-fly": {1: "bird"}, "mallard-water": {1: "bird"}, "mbike-trick": {2: "motorcycle"},
    "motocross-bumps": {2: "motorcycle"}, "motocross-jump": {2: "motorcycle"},
    "motorbike": {1: "motorcycle"}, "night-race": {1: "car", 2: "car"},
    "planes-water": {1: "airplane", 2: "airplane"}, "rallye": {1: "car"},
    "scooter-black": {2: "motorcycle"}, "scooter-gray": {1: "motorcycle"},
    "sheep": {1: "sheep", 2: "sheep", 3: "sheep", 4: "sheep", 5: "sheep"},
    "train": {4: "train"}, "varanus-cage": {1: "lizard"},
}
SAME = {  # categories of davis_semantics.json that VID names otherwise
    "boat": "watercraft", "cat": "domestic_cat", "cow": "cattle", "varanus": "lizard",
}


def objects_of(root: Path) -> dict[str, dict[int, str]]:
    """The objects of a VID class by sequence: from davis_semantics.json if it is in the root."""
    path = root / "davis_semantics.json"
    if not path.is_file():
        return OBJECTS
    try:
        plain = json.loads(path.read_text(encoding="utf-8-sig"))
        named = {name: {int(k): SAME.get(c, c) for k, c in objects.items()}
                 for name, objects in plain.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BadFile(f"{path}: must map a sequence to its objects, such as "
                      f'{{"horsejump-high": {{"1": "horse"}}}} ({error})') from error
    return {name: {k: c for k, c in objects.items() if c in CLASSES}
            for name, objects in named.items()}
