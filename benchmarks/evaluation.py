"""How long scoring takes, and how much memory, at the size of ImageNet VID's validation split.

Makes saved detections of 555 videos, 176,126 frames, about 273,500 objects of 30 classes and 300
detections a frame (--scale 0.1: a tenth of the videos), then scores them as
`mst evaluate --detections FOLDER` does and prints seconds and the largest memory of all processes
together (proportional set size: pages that forked processes share count once). Everything is drawn
from a seed. Other work on the machine lengthens wall time, hardly CPU time; its load is printed.

    python benchmarks/evaluation.py --scale 0.1 --jobs 2
    python benchmarks/evaluation.py --scale 1 --jobs 2 --folder build/benchmark
    python benchmarks/evaluation.py --scale 0.1 --protocol coco

The detections take 7 KB a frame on disk: 1.2 GB at full scale. They are kept in --folder and used
again. The ground truth is computed; reading it from files comes on top, see docs/evaluation.md.
"""

import argparse
import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from mstlib.data.clip import Target
from mstlib.data.dataset import Dataset
from mstlib.evaluation.assess import Ask, figures, score_folder
from mstlib.evaluation.columns import ClipDetections
from mstlib.evaluation.detections import Index, shards, start_folder, write_shards

VIDEOS, FRAMES, OBJECTS, CLASSES, DETECTIONS = 555, 176_126, 273_505, 30, 300
WIDTH, HEIGHT = 1280, 720
NEAR = 24       # detections around an object: duplicates of its class and of two others


@dataclass(frozen=True)
class MadeClip:
    """A video whose objects move steadily; see `tracks`."""

    name: str
    seed: int
    length: int

    def __len__(self) -> int:
        return self.length

    def target(self, t: int) -> Target:
        """Ground truth of frame t."""
        boxes, labels = tracks(self.seed, self.length)
        return Target.of(torch.from_numpy(boxes[t]), torch.from_numpy(labels),
                         torch.arange(len(labels)))


@lru_cache(maxsize=4)
def tracks(seed: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (T, N, 4) and labels (N,) of a video: one to four objects, mostly of one class."""
    g = np.random.default_rng([2022, seed])
    n = int(g.choice([1, 2, 3, 4], p=[0.62, 0.22, 0.1, 0.06]))  # about 1.5 a frame, as in VID
    labels = np.where(g.random(n) < 0.8, g.integers(1, CLASSES + 1), g.integers(1, CLASSES + 1, n))
    size = np.exp(g.uniform(np.log(10), np.log(500), (n, 2)))
    start = g.uniform(0, [WIDTH - 500, HEIGHT - 300], (n, 2))
    speed = g.normal(0, 1, (n, 2)) * g.choice([0.3, 2, 6], (n, 1))
    low = start + np.sin(np.arange(length)[:, None, None] / 25) * 25 * speed
    return np.concatenate([low, low + size], axis=2).astype(np.float32), labels


def detections(clip: MadeClip) -> ClipDetections:
    """300 detections a frame: clusters around the objects, the rest anywhere with low scores."""
    g, (boxes, labels) = np.random.default_rng([7, clip.seed]), tracks(clip.seed, len(clip))
    frames, n = len(clip), len(labels)
    size = np.tile(boxes[..., 2:] - boxes[..., :2], 2)[:, :, None]              # (T, N, 1, 4)
    near = boxes[:, :, None] + g.normal(0, 0.12, (frames, n, NEAR, 4)) * size
    kind = g.integers(1, CLASSES + 1, (n, 2))                                   # confused with
    classes = np.where(np.arange(NEAR) < 12, labels[:, None],
                       kind[:, [0, 1] * (NEAR // 2)][:, :NEAR])                 # (N, 24)
    score = g.beta(2, 4, (frames, n, NEAR)) * np.linspace(1, 0.1, NEAR)
    more = DETECTIONS - n * NEAR
    corner = g.uniform(0, [WIDTH - 200, HEIGHT - 200], (frames, more, 2))
    far = np.concatenate([corner, corner + g.uniform(10, 200, (frames, more, 2))], axis=2)
    some = g.choice(np.arange(1, CLASSES + 1), 10, replace=False)               # classes a video
    boxes = np.concatenate([near.reshape(frames, -1, 4), far], axis=1)
    boxes[..., 2:] = np.maximum(boxes[..., 2:], boxes[..., :2])
    labels = np.concatenate([np.broadcast_to(classes.ravel(), (frames, n * NEAR)),
                             g.choice(some, (frames, more))], axis=1)
    scores = np.concatenate([score.reshape(frames, -1), g.beta(1, 30, (frames, more))], axis=1)
    return ClipDetections(np.full(frames, DETECTIONS, np.int32), np.zeros(frames, bool),
                          boxes.reshape(-1, 4).astype(np.float32),
                          scores.ravel().astype(np.float32), labels.ravel().astype(np.int16))


def made_dataset(scale: float) -> Dataset:
    """The videos, of uneven lengths that add up to the share of FRAMES."""
    count, g = max(1, round(VIDEOS * scale)), np.random.default_rng(2022)
    share = g.lognormal(0, 0.7, count)
    lengths = np.maximum(10, share / share.sum() * FRAMES * count / VIDEOS).round().astype(int)
    lengths[0] += max(0, round(FRAMES * count / VIDEOS) - lengths.sum())
    clips = [MadeClip(f"video-{n:04d}", n, int(length)) for n, length in enumerate(lengths)]
    return Dataset("made", "val", tuple(f"class-{k}" for k in range(1, CLASSES + 1)), clips)


@contextlib.contextmanager
def measured(what: str) -> Iterator[None]:
    """Print wall and CPU seconds, and the largest memory of this process and its children."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.3):
            peak[0] = max(peak[0], memory(os.getpid()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    begun, used = time.monotonic(), sum(os.times()[:4])
    yield
    done.set()
    watcher.join()
    print(f"{what:26} {time.monotonic() - begun:8.1f} s wall {sum(os.times()[:4]) - used:8.1f} s "
          f"CPU   at most {peak[0]:5.2f} GB   (load {os.getloadavg()[0]:.1f} on "
          f"{os.cpu_count()} cores)", flush=True)


def memory(process: int) -> float:
    """GB (10^9 bytes) of a process and its children by proportional set size; Linux only."""
    total = 0.0
    with contextlib.suppress(OSError):  # a child that has just ended
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            total += int(line.split()[1]) * 1024e-9 if line.startswith("Pss:") else 0.0
        for task in Path(f"/proc/{process}/task").iterdir():
            total += sum(memory(int(c)) for c in (task / "children").read_text().split())
    return total


def main() -> None:
    """Make what is missing, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", type=float, default=0.1, help="share of the videos")
    parser.add_argument("--jobs", type=int, default=2, help="processes that score")
    parser.add_argument("--protocol", nargs="+", default=["vid", "vid-devkit"])
    parser.add_argument("--folder", type=Path, default=Path("build/benchmark"))
    parser.add_argument("--no-bootstrap", action="store_true", help="leave the bootstrap out")
    asked = parser.parse_args()
    dataset = made_dataset(asked.scale)
    folder = asked.folder / f"scale-{asked.scale:g}"
    index = Index.of(dataset, {"made by": "benchmarks/evaluation.py"})
    start_folder(folder, index)
    done = {n for numbers in shards(folder, index).values() for n in numbers}
    with measured("making detections"):
        write_shards(folder, ((n, detections(clip)) for n, clip in enumerate(dataset)
                              if n not in done))
    ask = Ask(asked.protocol, not asked.no_bootstrap, jobs=asked.jobs)
    with measured("all of the scoring"):
        with measured("reading and matching"):
            scores = score_folder(folder, dataset, ask)
        with measured("figures, bootstrap, coco"):
            result = figures(scores, dataset, ask)
    print(f"{result['clips']} clips, {result['frames']} frames, "
          f"{sum(result['metrics'][asked.protocol[0]]['objects']['classes'].values())} objects")
    for name, metrics in result["metrics"].items():
        print(name, metrics["mAP"], metrics["slices"])


if __name__ == "__main__":
    main()
