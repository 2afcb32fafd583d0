"""MiniUAV, a small UAVDT: generated once from a seed, kept on disk in UAVDT's own layout.

Many small vehicles from a drone, with what Fig. 1 of the paper calls deteriorations, occlusion
columns and ignored regions. It stands in for the data set of Table II, as MiniVID does for ImageNet
VID (DEVIATIONS.md 1), and `mstlib.data.formats.uavdt` reads it as it would read the release.
`scene.py` has the knobs, `script.py` draws what happens in a clip, `film.py` films it.
"""

import io
from dataclasses import asdict
from functools import partial
from pathlib import Path

from numpy import ndarray as Array
from PIL import Image

from mstlib.config import DataConfig, MSTError
from mstlib.data.formats.uavdt import IMAGE, TEST, TRAIN
from mstlib.data.generated import cache_folder, default_workers, in_processes, made_once
from mstlib.data.miniuav.annotate import attribute_line, object_lines, region_lines
from mstlib.data.miniuav.film import film_clip
from mstlib.data.miniuav.scene import Knobs
from mstlib.progress import progress

VERSION = 1  # of the generator: raise it whenever the bytes change, so that no old cache is read
NAMES = {"train": TRAIN, "test": TEST}  # of sequences: the first of the official lists
QUALITY = 92  # of the JPEG files
LEAST = 32  # px: in smaller frames a car is no more than two pixels wide
IMAGES, TRUTH, ATTRIBUTES = "UAV-benchmark-M", "UAV-benchmark-MOTD_v1.0/GT", "M_attr"
FIELDS = ("name", "seed", "size", "train_clips", "train_length", "test_clips", "test_length")


def ensure_miniuav(
    config: DataConfig, root: Path | None = None, workers: int | None = None,
    knobs: Knobs | None = None,
) -> Path:
    """Folder of both splits, generated first if absent (root: MST_DATA, else ~/.cache/mstlib).

    The same settings give the same bytes for any number of workers. Several processes may call
    this at once: each makes its own copy and the first to finish is kept. MSTError if the settings
    do not fit UAVDT's layout or the folder cannot be written.
    """
    knobs, workers = knobs or Knobs(), workers or default_workers()
    check_config(config)
    write = partial(_write, config=config, knobs=knobs, workers=workers)
    return made_once(home(config, root, knobs), "MiniUAV", write)


def check_config(config: DataConfig) -> None:
    """MSTError unless the splits have names in UAVDT's lists and frames can show a vehicle."""
    for split, names in NAMES.items():
        clips, length = extent(config, split)
        if not 1 <= clips <= len(names):
            raise MSTError(f"MiniUAV has 1 to {len(names)} {split} clips, got {clips}; set "
                           f"data.{split}_clips")
        if length < 1:
            raise MSTError(f"a clip needs at least one frame, got {length}; set "
                           f"data.{split}_length")
    if config.size < LEAST:
        raise MSTError(f"MiniUAV needs frames of {LEAST} pixels or more, got {config.size}; set "
                       "data.size")


def extent(config: DataConfig, split: str) -> tuple[int, int]:
    """Clips of a split and frames of a clip."""
    return getattr(config, f"{split}_clips"), getattr(config, f"{split}_length")


def home(config: DataConfig, root: Path | None = None, knobs: Knobs | None = None) -> Path:
    """Folder of the data set; its name changes with settings, knobs and generator."""
    facts = {"config": {name: getattr(config, name) for name in FIELDS},
             "knobs": asdict(knobs or Knobs()), "version": VERSION}
    return cache_folder(config.name, facts, root)


def clip_seed(config: DataConfig, split: str, clip: int) -> tuple[int, int, int]:
    """What the bytes of a clip depend on, besides length, size and knobs."""
    return config.seed, list(NAMES).index(split), clip


# ---- writing -------------------------------------------------------------------------------------


def _write(folder: Path, config: DataConfig, knobs: Knobs, workers: int) -> None:
    """Film both splits into a folder."""
    jobs = [(folder, split, clip_seed(config, split, c), extent(config, split)[1], config.size,
             knobs) for split in NAMES for c in range(extent(config, split)[0])]
    done = in_processes(write_clip, jobs, workers, "MiniUAV")
    for _ in progress(done, "MiniUAV, clips", len(jobs)):
        pass


def write_clip(folder: Path, split: str, seed: tuple[int, int, int], length: int, size: int,
               knobs: Knobs) -> str:
    """The images, annotations and attributes of a sequence in UAVDT's layout; its name."""
    name = NAMES[split][seed[2]]
    images, truth = folder / IMAGES / name, folder / TRUTH
    for place in (images, truth, folder / ATTRIBUTES / split):
        place.mkdir(parents=True, exist_ok=True)
    script, frames = film_clip(seed, length, size, knobs)
    whole, ignored = [], []
    for t, frame in enumerate(frames, 1):
        (images / IMAGE.format(t)).write_bytes(_jpeg(frame.pixels))
        whole += object_lines(t, frame, knobs)
        ignored += region_lines(t, frame)
    (truth / f"{name}_gt_whole.txt").write_text("".join(whole))
    (truth / f"{name}_gt_ignore.txt").write_text("".join(ignored))
    (folder / ATTRIBUTES / split / f"{name}_attr.txt").write_text(attribute_line(script))
    return name


def _jpeg(pixels: Array) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
