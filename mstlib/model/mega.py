"""MEGA, memory enhanced global-local aggregation (Chen et al., CVPR 2020): the strongest rival in
Tables I and II and the base of Table V.

A proposal hears of three kinds of frames: of GLOBAL ones, drawn from the whole video, by appearance
alone; of LOCAL ones, those of the window, with geometry, in three stages; and at each local stage
of a MEMORY: what frames that have left the window were at that stage. They were enhanced with the
memory of their own time, so that it reaches far back. DAlign, frame and instance level keep their
places around it (Table V): DEVIATIONS.md 25. The computation is that of the public code.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mstlib.config import ModelConfig, MSTError, TestConfig
from mstlib.data.clip import Detections, sample_roles, window_indices
from mstlib.model.attention import Relation
from mstlib.model.detector import MST, Proposals
from mstlib.model.engine import Found
from mstlib.model.rdn import Pool, lead_count, leading

# ---- the level ---------------------------------------------------------------------------------


def ask(layer: Relation, who: Pool, whom: Pool) -> Pool:
    """`who` after a relation layer; as it is where there is nobody on either side."""
    if not len(who.boxes) or not len(whom.boxes):
        return who
    return Pool(layer(*who, *whom), who.boxes)


class MEGALevel(nn.Module):
    """Global stage, local stages with memory, global stage.

    The position-free key bias u of MEGA is the bias of `query`: DEVIATIONS.md 24. before: what
    features go through on their way to each local stage, see `ProposalLevel`.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        d, G = config.width, config.heads
        self.lead = lead_count(config)
        self.layers = nn.ModuleList(
            Relation(d, G, config.geometry) for _ in range(config.mega_stages))
        self.before = nn.ModuleList(nn.Identity() for _ in self.layers)
        self.global_layers = nn.ModuleList(Relation(d, G, "none") for _ in range(2))

    def supports(self, s: Tensor, b2: Tensor, counts: Sequence[int] = ()) -> list[Pool]:
        """Supports (M, d), (M, 4), counts of each frame's -> all of them, and the leading ones."""
        lead = leading(counts or [len(s)], self.lead).to(s.device)
        return [Pool(s, b2), Pool(s, b2).part(lead)]

    def ask(self, a: Tensor, b1: Tensor, supports: Sequence[Pool]) -> Tensor:
        """As `ProposalLevel.ask`, of local frames alone: reference (N, d), (N, 4) -> R' (N, d)."""
        return self.hear(Pool(a, b1), supports)[0]

    def weights(self, a: Tensor, b1: Tensor, supports: Sequence[Pool]) -> list[dict[str, Tensor]]:
        """Nothing: its stages hear different supports, which a trace has no place for."""
        return []

    def hear(self, key: Pool, supports: Sequence[Pool], memory: Sequence[Pool] = (),
             global_pool: Pool | None = None) -> tuple[Tensor, list[Pool]]:
        """The reference's proposals (N), `supports` of its window, the memory of each stage ->
        R' (N, d), and what each stage heard of the window: tomorrow's memory.

        The first stage hears all supports, later ones those that lead, which are refined along
        with the reference.
        """
        n, heard = len(key.boxes), []
        key, every, lead = (self.ask_globally(0, pool, global_pool) for pool in (key, *supports))
        now = Pool.join([key, lead])
        for k, (before, layer) in enumerate(zip(self.before, self.layers, strict=True)):
            now = Pool(before(now.features), now.boxes)
            heard.append(now.part(slice(n, None)) if k else every)
            if k == len(self.layers) - 1:  # nobody hears the supports again
                now = now.part(slice(n))
            now = ask(layer, now, Pool.join([heard[k], memory[k]]) if memory else heard[k])
        return self.ask_globally(1, now.part(slice(n)), global_pool).features, heard

    def ask_globally(self, k: int, pool: Pool, global_pool: Pool | None) -> Pool:
        """Global stage k, before (0) or after (1) the local ones; nothing without global frames."""
        return pool if global_pool is None else ask(self.global_layers[k], pool, global_pool)


# ---- the detector ------------------------------------------------------------------------------


@dataclass
class Roles(Proposals):
    """RoIs of a training window, the supports being those of local frames alone.

    memory: of memory frames, all and leading ones. global_pool: of global frames.
    """

    memory: Sequence[Pool] = ()
    global_pool: Pool | None = None


class Seen(NamedTuple):
    """A frame as it is kept: conv4 map (C, h, w), proposals, objectness, (H, W)."""

    map: Tensor
    pool: Pool
    objectness: Tensor
    size: tuple[int, int]


class MEGA(MST):
    """The shared base with MEGA's proposal level."""

    proposal_level = MEGALevel

    # ---- training -------------------------------------------------------------------------------

    @property
    def sample(self) -> Callable[..., list[int]]:
        """Draws the supports of a training window: local, memory and global frames."""
        recipe = self.config.train
        return partial(sample_roles, memory_frames=recipe.memory_frames,
                       global_frames=recipe.global_frames)

    def roles(self, frames: Sequence[int]) -> tuple[Sequence[int], ...]:
        """The frames of a training window (or their counts) by role: local, the reference being
        one, memory, global; MSTError if they are too few."""
        memory, far = self.config.train.memory_frames, self.config.train.global_frames
        local = len(frames) - memory - far
        if local < 1:
            raise MSTError(f"MEGA trains on {memory} memory and {far} global frames beside the "
                           f"reference, got a window of {len(frames)}; draw it with model.sample")
        return frames[:local], frames[local : local + memory], frames[local + memory :]

    def aggregate(self, maps: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """As `MST.aggregate`, of the local frames; maps of others stay as they are."""
        local = len(self.roles(range(maps.shape[1]))[0]) if self.training else maps.shape[1]
        x, trace = super().aggregate(maps[:, :local])
        return torch.cat([x, maps[:, local:]], dim=1), trace

    def assign_roles(self, p: Proposals) -> Roles:
        """As `MST.assign_roles`."""
        counts, past, _ = self.roles(p.counts)
        sizes = [sum(part) for part in self.roles(p.counts)]
        near, memory, far = map(Pool, p.s.split(sizes), p.support_boxes.split(sizes))
        ids = None if p.support_ids is None else p.support_ids[: sizes[0]]
        return Roles(p.a, p.boxes, p.objectness, p.ids, *near, ids, counts,
                     self.proposal.supports(*memory, past) if past else (), far)

    def propose_level(self, p: Roles) -> Tensor:
        """As `MST.propose_level`. The memory is what the memory frames are when they hear each
        other and the global ones, without gradient."""
        memory: list[Pool] = []
        if p.memory:
            with torch.no_grad():
                memory = self.proposal.hear(Pool(p.a[:0], p.boxes[:0]), p.memory, (),
                                            p.global_pool)[1]
        supports = self.proposal.supports(p.s, p.support_boxes, p.counts)
        return self.proposal.hear(Pool(p.a, p.boxes), supports, memory, p.global_pool)[0]

    # ---- a clip in its order --------------------------------------------------------------------

    @torch.no_grad()
    def walk(self, read: Callable[[int], Tensor | None], length: int, test: TestConfig
             ) -> Iterator[Found | None]:
        """What is found in each frame of a clip of `length` frames, in their order.

        read: the image (3, H, W) uint8 of a frame by its number, None if it cannot be read: then
        it is passed over. MSTError if images differ in size, or in a mode other than exact.
        """
        if test.mode != "exact":
            raise MSTError(f"MEGA knows no mode '{test.mode}', only exact; set test.mode=exact")
        self.eval()
        seed = torch.Generator().manual_seed(0)  # DEVIATIONS.md 26
        order = torch.randperm(length, generator=seed).tolist()
        memory: deque[list[Pool]] = deque(maxlen=test.memory_frames)
        held: dict[int, Seen] = {}
        for t in range(length):
            near = window_indices(t, length, test.window, test.stride, test.pad)
            far = [order[(t + k) % length] for k in range(test.global_frames)]
            held = self.hold(held, [*near, *far], read)
            if t not in held:
                yield None
                continue
            near, far = ([s for s in frames if s in held] for frames in (near, far))
            found, heard = self.find(near, far, held, memory)
            if test.pad or min(near) == t - test.window // 2 * test.stride:
                memory.append(heard)  # of the frame that leaves the window next
            yield found

    def hold(self, held: dict[int, Seen], frames: list[int],
             read: Callable[[int], Tensor | None]) -> dict[int, Seen]:
        """What is held of `frames`: as before where it was, read and looked at where it was not."""
        images = {s: read(s) for s in dict.fromkeys(frames) if s not in held}
        images = {s: image for s, image in images.items() if image is not None}
        sizes = {s.size for s in held.values()} | {(*i.shape[-2:],) for i in images.values()}
        if len(sizes) > 1:
            raise MSTError(f"frames of different sizes, (H, W) {sorted(sizes)}; a video has frames "
                           "of one size: resize them first")
        if images:
            maps = self.c4(torch.stack(list(images.values())).to(self.mean.device))
            held = held | dict(zip(images, self.look(maps, *sizes), strict=True))
        return {s: held[s] for s in frames if s in held}

    def look(self, maps: Tensor, size: tuple[int, int]) -> list[Seen]:
        """conv4 maps (n, C, h, w) of images of `size` with their proposals."""
        m = self.model_config
        keep = max(m.reference_proposals, m.support_proposals)
        boxes, scores = self.rpn.propose(maps, size, [keep] * len(maps))
        features = self.roi_features(self.reduce(self.backbone.c5(maps)), boxes)
        return [Seen(*of, size) for of in zip(maps, map(Pool, features, boxes), scores,
                                              strict=True)]

    def local(self, frames: list[int], held: dict[int, Seen]) -> list[Seen]:
        """The frames of a window, reference first; where DAlign or the frame level changes them
        for each reference they are looked at anew."""
        seen = [held[s] for s in frames]
        if not (self.dalign or self.frame):
            return seen
        maps = self.aggregate(torch.stack([s.map for s in seen])[None])[0][0]
        return self.look(maps, seen[0].size)

    def find(self, near: list[int], far: list[int], held: dict[int, Seen],
             memory: Sequence[list[Pool]]) -> tuple[Found, list[Pool]]:
        """What is found in the reference near[0], and what each stage heard of its oldest frame."""
        m, seen = self.model_config, self.local(near, held)
        key, top = seen[0].pool.part(slice(m.reference_proposals)), slice(m.support_proposals)
        by_time = sorted(range(len(near)), key=near.__getitem__)  # the oldest comes first
        frames = [self.proposal.supports(*seen[i].pool.part(top)) for i in by_time]
        supports = [Pool.join(pools) for pools in zip(*frames, strict=True)]
        remembered = [Pool.join(stage) for stage in zip(*memory, strict=True)]
        world = Pool.join([held[s].pool.part(top) for s in far]) if far else None
        a, heard = self.proposal.hear(key, supports, remembered, world)
        if self.instance and len(a):
            objectness = seen[0].objectness[: len(a)]
            a = self.instance(a, key.boxes, objectness, *supports[0])[0]
        (found,) = self.decode(a, [key.boxes], seen[0].size)
        every, lead = (slice(len(pool.boxes)) for pool in frames[0])
        return (Found(Detections(*(of.cpu() for of in vars(found).values())), key.boxes.cpu()),
                [pool.part(lead if k else every) for k, pool in enumerate(heard)])
