"""MEGA, memory enhanced global-local aggregation (Chen et al., CVPR 2020): the strongest rival in
Tables I and II and the base of Table V.

A proposal hears of three kinds of frames: of GLOBAL ones, drawn from the whole video, by appearance
alone; of LOCAL ones, those of the window, with geometry, in three stages; and at each local stage
of a MEMORY: what frames that have left the window were at that stage. They were enhanced with the
memory of their own time, so that it reaches far back. DAlign, frame and instance level keep their
places around it (Table V): DEVIATIONS.md 25. The computation is that of the public code;
`mstlib.model.mega_walk` goes through a clip with it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mstlib.config import Config, ModelConfig, MSTError, TestConfig
from mstlib.data.clip import sample_roles
from mstlib.model.attention import Relation
from mstlib.model.detector import MST
from mstlib.model.engine import Found
from mstlib.model.mega_walk import Read, Walk
from mstlib.model.rdn import Pool, lead_count, leading
from mstlib.model.rois import Proposals

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


class MEGA(MST):
    """The shared base with MEGA's proposal level."""

    proposal_level = MEGALevel

    def __init__(self, config: Config):
        super().__init__(config)
        if self.carries:  # frames are looked at one by one, without what flow needs of them
            raise MSTError("MEGA is aligned by DAlign only; leave model.align as it is")

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

    def walk(self, read: Read, length: int, test: TestConfig) -> Iterator[Found | None]:
        """What is found in each frame of a clip of `length` frames, in their order: see `Walk`."""
        return iter(Walk(self, read, length, test))
