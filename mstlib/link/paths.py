"""Best paths through linked boxes, one after the other: the part that Seq-NMS and BLR share.

Of all paths the best is taken, found by dynamic programming; its boxes get new scores, boxes that
overlap them go, and again, until no link is left. The best path into a box changes only if a box
on it goes, so only what lies downstream of boxes that went is computed again, frame after frame.
This loop looks at single boxes, so it runs over lists, where arrays would be slow.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray as Array

from mstlib.link.overlap import Pairs, Table, overlapping
from mstlib.link.parts import Part

NONE = -1  # instead of a box: there is none

Rescore = Callable[[list[float]], list[float]]  # the scores of a path -> its new scores


class Chains:
    """The best path that ends in each box, kept up to date while boxes go.

    A path is worth what its first box and its links bring, none of it negative. Of two equal paths
    into a box it is the one through the box that stands first in the clip.
    """

    def __init__(self, links: Pairs, start: Array, gain: Array):
        """start (N,): worth of a path of one box; gain (K,): what each link adds."""
        back = np.argsort(links.right, kind="stable")                      # by right, then left
        right = links.right[back]
        self.after = Table(links.left, links.right, links.size)
        self.before = Table(right, links.left[back], links.size)
        self.gains = Table(right, gain[back], links.size)
        self.start, self.worth = start.tolist(), start.tolist()
        self.previous, self.there = [NONE] * links.size, [True] * links.size
        self.onward = np.bincount(links.left, minlength=links.size).tolist()  # links that lead on
        for box in np.unique(right).tolist():                              # frame after frame
            self.renew(box)

    def ends(self) -> list[int]:
        """Where a best path may end: no link leads on, for a longer path is never worth less."""
        return [box for box, links in enumerate(self.onward) if not links]

    def renew(self, box: int) -> bool:
        """Find the best path into a box again; has its worth changed?"""
        best, previous, there, worth = -1.0, NONE, self.there, self.worth
        for other, gain in zip(self.before[box], self.gains[box], strict=True):
            if there[other] and worth[other] + gain > best:
                best, previous = worth[other] + gain, other
        old, self.previous[box] = worth[box], previous
        worth[box] = self.start[box] if previous == NONE else best
        return worth[box] != old

    def path(self, box: int) -> list[int]:
        """The best path that ends in a box, first box first."""
        found = [box]
        while self.previous[found[-1]] != NONE:
            found.append(self.previous[found[-1]])
        return found[::-1]

    def remove(self, groups: list[list[int]]) -> set[int]:
        """Remove boxes, a list for each of some consecutive frames.

        Returns where a path may end that could not before, or not with this worth.
        """
        ends = set()
        for box in (box for group in groups for box in group):
            self.there[box] = False
            for other in self.before[box]:
                self.onward[other] -= 1
                if not self.onward[other]:
                    ends.add(other)
        changed = self._renew_below(groups)
        return ends.union(box for box in changed if not self.onward[box])

    def _renew_below(self, groups: list[list[int]]) -> list[int]:
        """Renew what paths through removed boxes led to; the boxes whose worth has changed."""
        changed, all_changed, frame = [], [], 0
        while changed or frame < len(groups):
            gone = groups[frame] if frame < len(groups) else []
            below = {later for box in (*gone, *changed) for later in self.after[box]
                     if self.previous[later] == box and self.there[later]}
            changed = [box for box in below if self.renew(box)]
            all_changed += changed
            frame += 1
        return all_changed


def best_paths(chains: Chains, near: Table) -> Iterator[tuple[list[int], list[int]]]:
    """Paths of two or more boxes, the best first, each with the boxes that it suppresses.

    near: the boxes of its frame that each box suppresses. Of equal paths the one whose last box
    stands last in the clip comes first, so that a box of score 0 is not left behind.
    """
    heap, ends = [], chains.ends()
    while (end := _best_end(heap, chains, ends)) != NONE:
        path = chains.path(end)
        groups = [[box, *(other for other in near[box] if other != box and chains.there[other])]
                  for box in path]
        ends = chains.remove(groups)
        yield path, [box for group in groups for box in group[1:]]


def _best_end(heap: list, chains: Chains, ends: Iterable[int]) -> int:
    """The last box of the best path; `ends` join the heap of (-worth, -box) first.

    A worth that has changed is in the heap twice, and the old entry is passed over.
    """
    for box in ends:
        if chains.there[box] and chains.previous[box] != NONE:
            heapq.heappush(heap, (-chains.worth[box], -box))
    while heap:
        worth, box = heapq.heappop(heap)
        if (chains.there[-box] and chains.worth[-box] == -worth
                and chains.previous[-box] != NONE):
            return -box
    return NONE


def link_part(part: Part, links: Pairs, start: Array, gain: Array, rescore: Rescore,
              suppress: float) -> tuple[Array, Array]:
    """(N,) kept and (N,) new scores of a class: its best paths rescored, what overlaps them gone.

    start (N,) and gain (K,): see `Chains`. Boxes on no path that nothing suppresses stay as is.
    """
    pairs = overlapping(part.boxes, part.bounds, 0, suppress)
    near = Table(pairs.left, pairs.right, pairs.size)
    kept, scores = np.ones(pairs.size, bool), part.scores.tolist()
    for path, gone in best_paths(Chains(links, start, gain), near):
        for box, score in zip(path, rescore([scores[box] for box in path]), strict=True):
            scores[box] = score
        kept[gone] = False
    return kept, np.array(scores)
