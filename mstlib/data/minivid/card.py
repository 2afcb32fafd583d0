"""The data card of MiniVID: what the splits hold, counted from the files, and a contact sheet."""

import math
from pathlib import Path

import numpy as np
from numpy import ndarray as Array

from mstlib.config import DataConfig
from mstlib.data.card_text import fact_table, knob_rows
from mstlib.data.clip import DETERIORATIONS
from mstlib.data.minivid.benchmark import CLASSES, MiniClip, load_minivid
from mstlib.data.minivid.generate import SPLITS, extent
from mstlib.data.minivid.portrait import portrait
from mstlib.data.minivid.scene import Scene
from mstlib.fileio import write_text, write_via

SIZES = (36, 48)  # px of a 128-pixel frame, root of the box area: small | medium | large
SPEEDS = (1.5, 4.0)  # px a frame of a 128-pixel frame: slow | medium | fast
GAPS = (2, 4, 8)  # frames between reference and support
CELL = 8  # px of a feature cell
REACH = 8  # frames in which a hidden key should show

INTRO = """\
# MiniVID ({name}): data card

Generated video detection data for training every variant of the method on a small machine.
Frames of {size} x {size} pixels, 1-3 moving objects, eight classes: body (ellipsoid, box, cylinder,
cone) x key on the front (disc, cross). From behind the two classes of a body look the same, so that
only other frames of the video can tell. Every object and frame is flagged with the deteriorations
of Fig. 1 of the paper; they are far more frequent here than in ImageNet VID (the paper counts
9.15 % of its frames), on purpose: their effect is what the benchmark measures.

![Contact sheet: the classes from the front and from behind, the four deteriorations next to the
sharp view, and clips with their boxes.](contact_sheet.jpg)

Settings are chosen on val; test is reported and never tuned on. All numbers below are counted from
the files. Shares are of annotated object-frames (one object in one frame).
"""


NOTES = """
Frames a clip: {lengths}. Seed {seed}. In pixels of a 128-pixel frame: sizes are the root of the box
area, small < {sizes[0]} <= medium < {sizes[1]} <= large; speeds are slow < {speeds[0]:g} <= medium
< {speeds[1]:g} <= fast, a frame. A cell is {cell} pixels. A key can be read when `clear_key`
or more of its frontal area is turned to the camera.

## Knobs

The reason for each stands beside it in `mstlib/data/minivid/scene.py`.

| knob | value |
|---|---|
"""


def columns_of(clips: list[MiniClip]) -> dict[str, Array]:
    """All rows of a split in one table, and `track`, a number unique in the split."""
    table = {name: np.concatenate([c.rows[name] for c in clips]) for name in clips[0].rows}
    return {**table, "track": table["clip"].astype(np.int64) * 8 + table["id"]}


def neighbours(table: dict[str, Array], gap: int) -> tuple[Array, Array]:
    """Row numbers of the same object in frames t and t + gap, for all t where both exist."""
    place = table["track"] * 4096 + table["frame"]
    order = np.argsort(place)
    at = np.searchsorted(place[order], place + gap)
    found = order[np.minimum(at, len(place) - 1)]
    first = np.flatnonzero(place[found] == place + gap)
    return first, found[first]


def shown_nearby(table: dict[str, Array], scene: Scene) -> tuple[float, float]:
    """Share of object-frames whose key cannot be read; share of these where it can within REACH."""
    clear = table["key"] >= scene.clear_key
    nearby = clear.copy()
    for gap in range(1, REACH + 1):
        first, second = neighbours(table, gap)
        nearby[first[clear[second]]] = True
        nearby[second[clear[first]]] = True
    return float((~clear).mean()), float(nearby[~clear].mean()) if (~clear).any() else math.nan


def describe(clips: list[MiniClip], size: int, scene: Scene | None = None) -> dict[str, float]:
    """What a split holds: counts, and shares in percent, in the order of the card."""
    table, unit = columns_of(clips), size / 128
    facts: dict[str, float] = {"clips": len(clips), "frames": sum(map(len, clips))}
    facts |= {"objects": len(np.unique(table["track"])), "object-frames": len(table["frame"])}
    facts |= {f"class {name}": int((table["label"] == i + 1).sum())
              for i, name in enumerate(CLASSES)}
    box = table["box"]
    side = np.sqrt((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])) / unit
    speed = table["speed"] / unit
    for values, (low, high), names in ((side, SIZES, ("small", "medium", "large")),
                                       (speed, SPEEDS, ("slow", "medium speed", "fast"))):
        parts = values < low, (values >= low) & (values < high), values >= high
        facts |= {f"{n} %": _percent(p) for n, p in zip(names, parts, strict=True)}
    for gap in GAPS:
        first, second = neighbours(table, gap)
        moved = np.hypot(*(table["centre"][second] - table["centre"][first]).T) / CELL
        middle = float(np.median(moved)) if len(moved) else math.nan
        facts[f"moved in {gap} frames, cells (median)"] = middle
        facts[f"moved 2 cells or more in {gap} frames %"] = _percent(moved >= 2)
    return facts | _deteriorated(table) | _keys(table, scene or Scene())


def _percent(mask: Array) -> float:
    return 100 * float(np.mean(mask)) if len(mask) else math.nan


def _deteriorated(table: dict[str, Array]) -> dict[str, float]:
    """Shares of the four flags, of any, and of each pair together, in percent."""
    flags = table["flags"]
    facts = {f"{name} %": _percent(flags[:, i]) for i, name in enumerate(DETERIORATIONS)}
    facts["any deterioration %"] = _percent(flags.any(axis=1))
    facts["two or more %"] = _percent(flags.sum(axis=1) >= 2)
    for i, first in enumerate(DETERIORATIONS):
        for j in range(i + 1, len(DETERIORATIONS)):
            name = f"{first} and {DETERIORATIONS[j]} %"
            facts[name] = _percent(flags[:, i] & flags[:, j])
    return facts


def _keys(table: dict[str, Array], scene: Scene) -> dict[str, float]:
    hidden, nearby = shown_nearby(table, scene)
    return {
        "key cannot be read %": 100 * hidden,
        f"of these, it can within {REACH} frames %": 100 * nearby,
        "less than a tenth of the silhouette visible %": _percent(table["visible"] < 0.1),
    }


def write_card(
    config: DataConfig, folder: Path, root: Path | None = None, workers: int | None = None,
    scene: Scene | None = None,
) -> Path:
    """Write README.md and contact_sheet.jpg into `folder`, generating what is missing.

    Returns the README's path. Needs matplotlib. MSTError as `load_minivid`, or if the folder
    cannot be written.
    """
    splits = {split: load_minivid(config, split, root, workers, scene) for split in SPLITS}
    scene = scene or Scene()
    facts = {split: describe(clips, config.size, scene) for split, clips in splits.items()}
    text = INTRO.format(name=config.name, size=config.size) + fact_table(
        {split: _texts(of) for split, of in facts.items()})
    text += NOTES.format(
        lengths=", ".join(f"{split} {extent(config, split)[1]}" for split in SPLITS),
        seed=config.seed, sizes=SIZES, speeds=SPEEDS, cell=CELL,
    )
    text += knob_rows(scene)
    _write_sheet(Path(folder) / "contact_sheet.jpg", splits["val"], config, scene)
    return write_text(Path(folder) / "README.md", text)


def _texts(facts: dict[str, float]) -> dict[str, str]:
    """The facts of `describe` as they are written."""
    return {name.removesuffix(" %") + ", %" * name.endswith(" %"): _number(value)
            for name, value in facts.items()}


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.1f}"


def _write_sheet(path: Path, clips: list[MiniClip], config: DataConfig, scene: Scene) -> None:
    """Portraits, deteriorations and clips with boxes, eight pictures a row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.8, 8.6), dpi=100)
    axes = figure.subplots(5, 8)
    for axis in axes.flat:
        axis.set_axis_off()
    size, unit = config.size, config.size / 128
    for i, name in enumerate(CLASSES):
        _show(axes[0, i], portrait(i + 1, size, scene), f"{name}, front")
        _show(axes[1, i], portrait(i + 1, size, scene, yaw=math.pi + 0.3), f"{name}, rear")
    harm = ({"streak": (16 * unit, 9 * unit)}, {"sigma": 3.2 * unit}, {"cover": (0.7, 0.8, 0.6)},
            {"tilt": 1.5})
    for i, (name, fate) in enumerate(zip(DETERIORATIONS, harm, strict=True)):
        _show(axes[2, 2 * i], portrait(2 * i + 1, size, scene), "sharp")
        _show(axes[2, 2 * i + 1], portrait(2 * i + 1, size, scene, **fate), name)
    many = sorted(clips, key=lambda clip: -len(clip.rows["frame"]))[:2]
    for row, clip in zip(axes[3:], many, strict=False):
        for axis, t in zip(row, range(0, len(clip), max(1, len(clip) // 8)), strict=False):
            _show_annotated(axis, clip, t)
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.97, wspace=0.03, hspace=0.16)
    with write_via(path) as temporary:
        figure.savefig(temporary, format="jpg", pil_kwargs={"quality": 82})


def _show(axis, picture: Array, title: str) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.set_title(title, fontsize=7, pad=2)


def _show_annotated(axis, clip: MiniClip, t: int) -> None:
    """A frame with its boxes and, as initials, the deteriorations of each object."""
    from matplotlib.patches import Rectangle

    now, initials = clip.at(t), ("motion", "defocus", "occluded", "pose")
    _show(axis, clip.frame(t).permute(1, 2, 0).numpy(), f"{clip.name.split('/', 1)[1]} frame {t}")
    for (x1, y1, x2, y2), label, flags in zip(now["box"], now["label"], now["flags"], strict=True):
        corner = x1 - 0.5, y1 - 0.5  # pixel centres lie at whole numbers in a picture
        axis.add_patch(Rectangle(corner, x2 - x1, y2 - y1, fill=False, ec="yellow", lw=0.8))
        harm = " ".join(n for n, flag in zip(initials, flags, strict=True) if flag)
        axis.text(*corner, f"{CLASSES[label - 1]} {harm}", fontsize=5, color="yellow",
                  va="bottom", clip_on=True)
