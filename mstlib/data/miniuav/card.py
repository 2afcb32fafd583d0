"""The data card of MiniUAV: what the splits hold, counted from the files, and a contact sheet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray as Array

from mstlib.config import DataConfig
from mstlib.data.card_text import fact_table, knob_rows
from mstlib.data.dataset import Dataset
from mstlib.data.formats.uavdt import UavdtClip, read_rows
from mstlib.data.miniuav.generate import NAMES, clip_seed, ensure_miniuav, extent
from mstlib.data.miniuav.scene import DAY, KINDS, LIGHTS, Knobs, Script
from mstlib.data.miniuav.script import draw_clip
from mstlib.data.miniuav.sheet import draw_sheet
from mstlib.data.readers import open_dataset
from mstlib.fileio import write_bytes, write_text

OCCLUSION = {"not occluded": 1, "little hidden": 4, "half hidden": 3, "mostly hidden": 2}
OUT = {"wholly inside": 1, "a little outside": 3, "much outside": 2}
COLUMNS = {"track": 1, "out": 6, "occlusion": 7, "class": 8}  # of UAVDT's lines

INTRO = """\
# MiniUAV ({name}): data card

Generated video detection data after UAVDT, the data set of the paper's Table II: cars, trucks and
buses from a drone that drifts, turns and climbs, in frames of {size} x {size} pixels. Images and
annotations lie on disk in UAVDT's own layout, and the same reader opens both. The generator is
`mstlib/data/miniuav`; its function `card.write_card` wrote this page.

A truck and a bus share their outline and their colours; only what is on the roof tells them apart,
and that is lost in motion blur, out of focus, under a tree or a bridge, by night and in fog. Car
parks and a strip along a border are ignored regions: vehicles are drawn there and not annotated.
The paper measures on UAVDT itself; no number measured here stands for one measured there.

![Contact sheet: frames by day, by night, in fog, shaken and out of focus, the same with boxes,
track numbers and ignored regions, then six frames of one sequence.](contact_sheet.jpg)

All numbers below are counted from the files (blur and defocus from the generator's script). Shares
of boxes are of all annotated vehicles in all frames.
"""

NOTES = """
Frames a clip: {lengths}. Seed {seed}.
Sizes and motion are in pixels of the frames; motion is that of a box's middle from one frame to the
next, the camera's included, of boxes wholly inside.
Hidden of what is in the image: little from {little}, half from {half}, mostly from {most}; the
reader counts the last two as occluded. Outside: a little from {edge}, much from {much}.
A vehicle with less than {inside} in the image, less than {visible} to be seen, or {ignored} of its
box in an ignored region has no box.

## Knobs

The reason for each stands beside it in `mstlib/data/miniuav/scene.py`.

| knob | value |
|---|---|
"""


def rows_of(clip: UavdtClip, kind: str = "whole") -> dict[int, Array]:
    """The lines of a clip's file of objects ("whole") or regions ("ignore") by frame, (N, 10)."""
    rows = read_rows(clip.truth / f"{clip.name}_gt_{kind}.txt", len(clip), kind == "whole")
    return {t: found.numpy() for t, found in rows.items()}


def describe(dataset: Dataset, config: DataConfig, knobs: Knobs | None = None) -> dict[str, str]:
    """What a split holds, as text, in the order of the card."""
    rows = [rows_of(clip) for clip in dataset]
    table = np.concatenate([part for clip in rows for part in clip.values()])
    counts = [len(clip.get(t, ())) for clip, film in zip(rows, dataset, strict=True)
              for t in range(len(film))]
    facts = {"sequences": str(len(dataset)), "frames": str(len(counts)),
             "vehicles": str(sum(len(_tracks(clip)) for clip in rows)), "boxes": str(len(table)),
             "boxes a frame, mean": f"{np.mean(counts):.1f}",
             "boxes a frame, 5 % and 95 %": _ends(counts)}
    for names, column in ((dict(zip(KINDS, (1, 2, 3), strict=True)), "class"),
                          (OCCLUSION, "occlusion"), (OUT, "out")):
        facts |= {f"{name}, % of boxes": _percent(table[:, COLUMNS[column]] == code)
                  for name, code in names.items()}
    return facts | _sizes(table, rows) | _regions(dataset, config) | _harm(dataset, config, knobs)


def _tracks(rows: dict[int, Array]) -> set[int]:
    return {int(track) for part in rows.values() for track in part[:, COLUMNS["track"]]}


def _sizes(table: Array, rows: list[dict[int, Array]]) -> dict[str, str]:
    """Sides of the boxes and motion, in pixels."""
    sides, moves = np.sort(table[:, 4:6], axis=1), motion(rows)
    facts = {}
    for name, values in (("longer side", sides[:, 1]), ("shorter side", sides[:, 0]),
                         ("motion a frame", moves)):
        facts[f"{name}, px, median"] = f"{np.median(values):.1f}"
        facts[f"{name}, px, 5 % and 95 %"] = _ends(values)
    return facts


def motion(rows: list[dict[int, Array]]) -> Array:
    """How far boxes wholly inside the image move from a frame to the next, in pixels."""
    moves = []
    for clip in rows:
        for t, now in clip.items():
            then = {int(row[1]): row for row in clip.get(t + 1, ()) if row[COLUMNS["out"]] == 1}
            for row in now[now[:, COLUMNS["out"]] == 1]:
                if (other := then.get(int(row[1]))) is not None:
                    step = (other[2:4] + other[4:6] / 2) - (row[2:4] + row[4:6] / 2)
                    moves.append(float(np.hypot(*step)))
    return np.array(moves)


def _regions(dataset: Dataset, config: DataConfig) -> dict[str, str]:
    """Frames with ignored regions, and how much of all pixels these cover."""
    covered = []
    for clip in dataset:
        regions = rows_of(clip, "ignore")
        for t in range(len(clip)):
            mask = np.zeros((config.size, config.size), dtype=bool)
            for x, y, w, h in regions.get(t, np.zeros((0, 10)))[:, 2:6].astype(int):
                mask[y : y + h, x : x + w] = True
            covered.append(mask.mean())
    return {"with an ignored region, % of frames": _percent(np.array(covered) > 0),
            "ignored, % of pixels": f"{100 * np.mean(covered):.1f}"}


def scripts_of(config: DataConfig, split: str, knobs: Knobs | None = None) -> list[Script]:
    """The scripts that a split was filmed from."""
    clips, length = extent(config, split)
    seeds = [clip_seed(config, split, c) for c in range(clips)]
    return [draw_clip(np.random.default_rng(np.random.SeedSequence(seed)), seed, length,
                      knobs or Knobs()) for seed in seeds]


def _harm(dataset: Dataset, config: DataConfig, knobs: Knobs | None) -> dict[str, str]:
    """Shares of frames by light, and of those shaken, out of focus, or either."""
    scripts = scripts_of(config, dataset.split, knobs)
    shaken = np.array([streak != (0, 0) for s in scripts for streak in s.camera.streak])
    soft = np.array([sigma > 0 for s in scripts for sigma in s.camera.sigma])
    light = np.array([s.light for s in scripts for _ in s.camera.sigma])
    facts = {f"{name}, % of frames": _percent(light == k) for k, name in enumerate(LIGHTS)}
    return facts | {"motion blur, % of frames": _percent(shaken),
                    "defocus, % of frames": _percent(soft),
                    "blur, defocus, night or fog, % of frames": _percent(
                        shaken | soft | (light != DAY))}


def _percent(mask: Array) -> str:
    return f"{100 * np.mean(mask):.1f}"


def _ends(values: Sequence[float]) -> str:
    return " to ".join(f"{end:.1f}" for end in np.percentile(values, (5, 95)))


# ---- writing -------------------------------------------------------------------------------------


def write_card(
    config: DataConfig, folder: Path, root: Path | None = None, workers: int | None = None,
    knobs: Knobs | None = None,
) -> Path:
    """Write README.md and contact_sheet.jpg into `folder`, generating what is missing.

    Returns the README's path. Needs matplotlib. MSTError as `ensure_miniuav`, or if the folder
    cannot be written.
    """
    home, knobs = ensure_miniuav(config, root, workers, knobs), knobs or Knobs()
    splits = {split: open_dataset("uavdt", home, split) for split in NAMES}
    facts = {split: describe(data, config, knobs) for split, data in splits.items()}
    text = INTRO.format(name=config.name, size=config.size) + fact_table(facts)
    lengths = ", ".join(f"{split} {extent(config, split)[1]}" for split in NAMES)
    text += NOTES.format(lengths=lengths, seed=config.seed, **_bounds(knobs))
    text += knob_rows(knobs)
    write_bytes(Path(folder) / "contact_sheet.jpg",
                draw_sheet(splits["test"], scripts_of(config, "test", knobs)))
    return write_text(Path(folder) / "README.md", text)


def _bounds(knobs: Knobs) -> dict[str, str]:
    """The bounds of the columns in percent, by their names in NOTES."""
    bounds = (*knobs.occlusion, *knobs.out, knobs.min_inside, knobs.min_visible, knobs.ignored)
    names = ("little", "half", "most", "edge", "much", "inside", "visible", "ignored")
    return {name: f"{100 * bound:g} %" for name, bound in zip(names, bounds, strict=True)}
