"""How long post-processing takes: a clip of 300 frames, 30 classes, 100 boxes a frame.

"100 boxes a frame" is read both ways: 100 of all classes together (`all`: 30,000 boxes in the clip)
and 100 of each class (`each`: 900,000). Half of them flicker around objects that move steadily, two
in a clip or two of each class; half are false alarms anywhere that last some frames. Everything is
drawn from a seed. Prints the median and range of the CPU seconds of one core; other work on the
machine lengthens them a little.

    python benchmarks/link.py
    python benchmarks/link.py --reading each --methods seqnms --runs 3
"""

import argparse
import os
import statistics
import time

import numpy as np

from mstlib.evaluation.columns import ClipDetections
from mstlib.link import LINKS, link

FRAMES, CLASSES, BOXES = 300, 30, 100
WIDTH, HEIGHT = 1280, 720
NEAR = 25         # boxes around an object: as many as fit into half of BOXES for two objects
JITTER = 0.2      # their spread, as a share of the object's size
LIFE = 6          # frames that a false alarm lasts, on average


def made_clip(reading: str, seed: int = 2022) -> ClipDetections:
    """A clip of 30 classes; reading: "all" or "each", see above."""
    g = np.random.default_rng(seed)
    if reading == "each":
        parts = [boxes_of(g, 2, BOXES // 2) for _ in range(CLASSES)]
        labels = np.repeat(np.arange(1, CLASSES + 1), BOXES)
    else:
        parts = [boxes_of(g, 2, BOXES // 2)]
        own = g.choice(np.arange(1, CLASSES + 1), (2, 3), replace=False)   # taken for three classes
        labels = np.concatenate([own[:, [0, 0, 1, 2] * NEAR][:, :NEAR].ravel(),
                                 g.integers(1, CLASSES + 1, BOXES // 2)])
    boxes, scores = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
    count = boxes.shape[1]
    return ClipDetections(np.full(FRAMES, count, np.int32), np.zeros(FRAMES, bool),
                          boxes.reshape(-1, 4).astype(np.float32),
                          scores.ravel().astype(np.float32),
                          np.tile(labels, FRAMES).astype(np.int16))


def boxes_of(g: np.random.Generator, objects: int, alarms: int) -> tuple[np.ndarray, np.ndarray]:
    """(T, objects x NEAR + alarms, 4) boxes and (T, ...) scores."""
    size = np.exp(g.uniform(np.log(30), np.log(400), (objects, 1, 2)))
    low = g.uniform(0, [WIDTH, HEIGHT], (objects, 1, 2))
    low = low + np.arange(FRAMES)[:, None, None, None] * g.normal(0, 2, (objects, 1, 2))
    around = np.concatenate([low, low + size], axis=3)                     # (T, objects, 1, 4)
    around = around + g.normal(0, JITTER, (FRAMES, objects, NEAR, 4)) * np.tile(size, 2)
    new = g.random((FRAMES, alarms)) < 1 / LIFE
    since = np.maximum.accumulate(np.where(new, np.arange(FRAMES)[:, None], 0))    # (T, alarms)
    start = g.uniform(0, [WIDTH, HEIGHT], (FRAMES, alarms, 2))
    far = np.concatenate([start, start + g.uniform(10, 200, start.shape)], axis=2)
    far = far[since, np.arange(alarms)] + g.normal(0, 3, (FRAMES, alarms, 4))
    boxes = np.concatenate([around.reshape(FRAMES, -1, 4), far], axis=1)
    boxes[..., 2:] = np.maximum(boxes[..., 2:], boxes[..., :2])
    scores = g.beta(2, 4, (FRAMES, objects, NEAR)) * np.linspace(1, 0.1, NEAR)
    return boxes, np.concatenate([scores.reshape(FRAMES, -1), g.beta(1, 30, new.shape)], axis=1)


def made_relations(found: ClipDetections) -> list[np.ndarray]:
    """Relation weights of all detections of neighbouring frames."""
    g = np.random.default_rng(1)
    return [g.random((a, b), np.float32)
            for a, b in zip(found.counts, found.counts[1:], strict=False)]


def main() -> None:
    """Time each method on each reading, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reading", nargs="+", choices=["all", "each"], default=["all", "each"])
    parser.add_argument("--methods", nargs="+", choices=LINKS, default=["seqnms", "tubelet", "blr"])
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    for reading in asked.reading:
        found = made_clip(reading)
        for name in asked.methods:
            if name == "blr" and reading == "each":
                continue  # 3000 x 3000 weights a frame: no detector keeps so many boxes a frame
            relations = made_relations(found) if name == "blr" else None
            seconds = []
            for _ in range(asked.runs):
                begun = time.process_time()
                result = link(name, found, relations)
                seconds.append(time.process_time() - begun)
            print(f"{reading:5} {name:8} {len(found.scores):7} boxes, {len(result.scores):7} kept: "
                  f"median {statistics.median(seconds):6.2f} s CPU of {asked.runs} "
                  f"({min(seconds):.2f}..{max(seconds):.2f}; load {os.getloadavg()[0]:.1f})",
                  flush=True)


if __name__ == "__main__":
    main()
