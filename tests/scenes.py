"""Tiny hand-made clips for tests: bright squares on a dark ground, one class a colour."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mstlib.data.clip import Target


@dataclass(frozen=True)
class SquareClip:
    """A red (class 1) and a green (class 2) square moving steadily over a 64-pixel ground."""

    name: str
    frames: int = 6
    start: tuple[float, float] = (18.0, 20.0)
    speed: float = 3.0
    ids: tuple[int, int] = (0, 1)

    def __len__(self) -> int:
        return self.frames

    def centres(self, t: int) -> Tensor:
        x, y = self.start
        return torch.tensor([[x + self.speed * t, y], [x + 24 - self.speed * t, y + 26]])

    def target(self, t: int) -> Target:
        c = self.centres(t)
        half = torch.tensor([[9.0, 9.0], [7.0, 10.0]])
        return Target(torch.cat([c - half, c + half], 1).clamp(0, 64), torch.tensor([1, 2]),
                      torch.tensor(self.ids), torch.zeros(2, 4, dtype=torch.bool), c)

    def frame(self, t: int) -> Tensor:
        image = torch.full((3, 64, 64), 40, dtype=torch.uint8)
        for k, box in enumerate(self.target(t).boxes.round().int().tolist()):
            image[k, box[1]:box[3], box[0]:box[2]] = 220
        return image


def square_clips(count: int = 3, frames: int = 6) -> list[SquareClip]:
    """Clips that differ in where they start and how fast they move."""
    return [SquareClip(f"square-{i}", frames, (16.0 + 3 * i, 18.0 + 2 * i), 2.0 + 0.5 * i)
            for i in range(count)]
