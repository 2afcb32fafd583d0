"""MEGA at test time: through a clip in its order, with a memory of what has left the window.

Global frames come from the whole video, so that a clip is read by number, not streamed. A frame is
read and looked at (conv4, proposals, their features) once while it is near, and once while it is
one of the global ones.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mstlib.config import MSTError, TestConfig
from mstlib.data.clip import window_indices
from mstlib.model.engine import Found
from mstlib.model.rdn import Pool

if TYPE_CHECKING:
    from mstlib.model.mega import MEGA

Read = Callable[[int], Tensor | None]


class Seen(NamedTuple):
    """A frame as it is held: conv4 map (C, h, w), proposals, objectness (n,), (H, W)."""

    map: Tensor
    pool: Pool
    objectness: Tensor
    size: tuple[int, int]


class Walk:
    """One clip of `length` frames; iterate for what is found in each, None where it is missing.

    read: the image (3, H, W) uint8 of a frame by its number, None if it cannot be read; such a
    frame is passed over. MSTError in a mode other than exact, or if images differ in size.
    """

    def __init__(self, model: "MEGA", read: Read, length: int, test: TestConfig):
        if test.mode != "exact":
            raise MSTError(f"MEGA knows no mode '{test.mode}', only exact; set test.mode=exact")
        self.model, self.read, self.length, self.test = model.eval(), read, length, test
        seed = torch.Generator().manual_seed(0)
        self.order = torch.randperm(length, generator=seed).tolist()   # DEVIATIONS.md 26
        self.memory: deque[list[Pool]] = deque(maxlen=test.memory_frames)
        self.held: dict[int, Seen] = {}

    @torch.no_grad()
    def __iter__(self) -> Iterator[Found | None]:
        for t in range(self.length):
            near = window_indices(t, self.length, self.test.window, self.test.stride, self.test.pad)
            far = [self.order[(t + k) % self.length] for k in range(self.test.global_frames)]
            self.hold([*near, *far])
            yield self.find(near, far) if t in self.held else None

    def hold(self, frames: list[int]) -> None:
        """Hold these frames and no others; what is not held yet is read and looked at."""
        images = {s: self.read(s) for s in dict.fromkeys(frames) if s not in self.held}
        images = {s: image for s, image in images.items() if image is not None}
        sizes = {seen.size for seen in self.held.values()}
        sizes |= {tuple(image.shape[-2:]) for image in images.values()}
        if len(sizes) > 1:
            raise MSTError(f"frames of different sizes, (H, W) {sorted(sizes)}; a video has frames "
                           "of one size: resize them first")
        if images:
            maps = self.model.c4(torch.stack(list(images.values())).to(self.model.mean.device))
            self.held |= zip(images, self.look(maps, *sizes), strict=True)
        self.held = {s: self.held[s] for s in frames if s in self.held}

    def look(self, maps: Tensor, size: tuple[int, int]) -> list[Seen]:
        """conv4 maps (n, C, h, w) of images of `size` with their proposals."""
        model, m = self.model, self.model.model_config
        keep = max(m.reference_proposals, m.support_proposals)
        boxes, scores = model.rpn.propose(maps, size, [keep] * len(maps))
        features = model.roi_features(model.reduce(model.backbone.c5(maps)), boxes)
        return [Seen(*of, size) for of in zip(maps, map(Pool, features, boxes), scores,
                                              strict=True)]

    def local(self, frames: list[int]) -> list[Seen]:
        """The frames of a window, reference first; where DAlign or the frame level changes them
        for each reference they are looked at anew."""
        seen = [self.held[s] for s in frames]
        if not (self.model.dalign or self.model.frame):
            return seen
        maps = self.model.aggregate(torch.stack([s.map for s in seen])[None])[0][0]
        return self.look(maps, seen[0].size)

    def find(self, near: list[int], far: list[int]) -> Found:
        """What is found in the reference near[0]; its oldest frame goes to memory if it leaves."""
        t, model, m = near[0], self.model, self.model.model_config
        near, far = ([s for s in frames if s in self.held] for frames in (near, far))
        seen, top = self.local(near), slice(m.support_proposals)
        by_time = sorted(range(len(near)), key=near.__getitem__)       # the oldest comes first
        frames = [model.proposal.supports(*seen[i].pool.part(top)) for i in by_time]
        supports = [Pool.join(pools) for pools in zip(*frames, strict=True)]
        memory = [Pool.join(stage) for stage in zip(*self.memory, strict=True)]
        world = Pool.join([self.held[s].pool.part(top) for s in far]) if far else None
        key = seen[0].pool.part(slice(m.reference_proposals))
        a, heard = model.proposal.hear(key, supports, memory, world)
        if self.test.pad or min(near) == t - self.test.window // 2 * self.test.stride:
            every, lead = (slice(len(pool.boxes)) for pool in frames[0])
            self.memory.append([pool.part(lead if k else every) for k, pool in enumerate(heard)])
        if model.instance and len(a):
            a = model.instance(a, key.boxes, seen[0].objectness[: len(a)], *supports[0])[0]
        (found,) = model.decode(a, [key.boxes], seen[0].size)
        return Found(found, key.boxes, key.features).cpu()
