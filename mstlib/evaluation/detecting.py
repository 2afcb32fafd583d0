"""Running a model over the clips of a split: alone, or shared among processes through a folder."""

import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import chain
from pathlib import Path

from mstlib.config import MSTError
from mstlib.data.clip import Detections
from mstlib.data.dataset import BadFile, Dataset
from mstlib.data.frames import Sized
from mstlib.evaluation.columns import ClipDetections, flatten
from mstlib.evaluation.detections import Index, shards, start_folder, write_shards
from mstlib.model.detector import MST
from mstlib.model.engine import Found
from mstlib.progress import progress
from mstlib.stream import find_clip


def detections_of(model: MST, dataset: Dataset, numbers: Sequence[int], skip_bad: bool, text: str
                  ) -> Iterator[tuple[int, ClipDetections, list[Found | None]]]:
    """(number, detections in pixels of the frame as it is on disk, all that was found in each frame
    in pixels of the model's) of clips, one after the other.

    MSTError at a frame that cannot be read, unless skip_bad.
    """
    source = model.config.source
    for n in numbers if this_process()[0] else progress(numbers, text):
        clip = Sized(dataset[n], source.short_side, source.long_side)
        try:
            found = list(find_clip(model, clip, model.config.test, skip_bad))
        except BadFile as error:
            raise MSTError(f"{error}; or leave out what cannot be read: --skip-bad") from error
        frames = [f and Detections(f.detections.boxes / clip.scale(t), f.detections.scores,
                                   f.detections.labels) for t, f in enumerate(found)]
        where = f"detections, clip {clip.name}"
        yield n, flatten(frames, where, len(dataset.classes)), found


def save_detections(model: MST, dataset: Dataset, folder: Path, run: dict, skip_bad: bool,
                    text: str) -> None:
    """Detect what `folder` does not hold yet; of several processes each takes every W-th clip.

    Returns when all of them are done. The longest clips come first: the processes end together.
    """
    index, (rank, world) = Index.of(dataset, run), this_process()
    start_folder(folder, index)
    done = set(chain(*shards(folder, index).values()))
    by_length = sorted(range(len(dataset)), key=lambda n: -index.clips[n][1])
    mine = [n for n in by_length[rank::world] if n not in done]
    found = detections_of(model, dataset, mine, skip_bad, text)
    write_shards(folder, ((number, columns) for number, columns, _ in found))
    if world > 1:
        wait_for_all()


def wait_for_all() -> None:
    """Return when every process that torchrun started has come here; days may pass."""
    import torch.distributed as dist

    dist.init_process_group("gloo", timeout=timedelta(days=7))
    dist.barrier()
    dist.destroy_process_group()


def this_process() -> tuple[int, int]:
    """(rank, world): the number of this process among those that torchrun started, and theirs."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
