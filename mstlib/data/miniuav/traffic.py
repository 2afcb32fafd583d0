"""The vehicles of a MiniUAV clip: who drives, waits, turns or is parked where, frame by frame."""

import math
from collections.abc import Iterator

import numpy as np
from numpy import ndarray as Array
from numpy.random import Generator

from mstlib.data.miniuav import roads as ways
from mstlib.data.miniuav.scene import Camera, Knobs, Range, Roads, Vehicle
from mstlib.data.miniuav.vehicle import draw_texture
from mstlib.data.minivid.scenery import draw_count
from mstlib.data.minivid.script import TURN, uniform

GOLDEN = 0.6180339887  # of a circle: steps that leave no gaps
GAP = 4.5  # least distance between bumpers
VIEW = 92  # px of a 128-pixel frame: its corners are not further from its middle


def draw_traffic(
    rng: Generator, roads: Roads, camera: Camera, crowd: float, knobs: Knobs
) -> list[Vehicle]:
    """All vehicles that the camera may see, about `crowd` in a frame; none runs into another."""
    span = reach_of(camera)
    lanes = 2 * roads.lanes
    driving = crowd * (0.6 if roads.kerb else 1.0)
    gap = max(3.0, lanes * 128 / camera.scale[0] / driving - 16 - GAP)
    found, kinds = [], deal_kinds(rng, knobs)
    for side in (1, -1):
        for i in range(roads.lanes):
            path = ways.main_lane(roads, side, ways.MEDIAN + ways.LANE * (i + 0.5), span)
            found += _lane(rng, path, gap, len(camera.scale), kinds, knobs)
    if roads.kerb:
        found += _kerb(rng, roads, span, len(camera.scale), kinds, knobs)
    found = [v for v in found if seen(v, camera)]
    for street in roads.streets:
        _street(rng, roads, street, camera, found, kinds, knobs)
    return found


def deal_kinds(rng: Generator, knobs: Knobs) -> Iterator[int]:
    """Kinds of vehicle without end, in nearly the wanted shares wherever one looks: drawn at random
    the few buses of a split would be a matter of luck."""
    at = float(rng.random())
    while True:
        at = (at + GOLDEN) % 1
        yield part_of(at, knobs.kinds)


def part_of(at: float, shares: tuple[float, ...]) -> int:
    """In which of the shares a number in 0..1 falls."""
    ends = [sum(shares[: k + 1]) for k in range(len(shares) - 1)]
    return sum(at >= end for end in ends)


def reach_of(camera: Camera) -> Range:
    """From where to where along x anything can be seen."""
    reach = VIEW / min(camera.scale) + 30
    x = camera.centre[:, 0]
    return float(x.min()) - reach, float(x.max()) + reach


def seen(vehicle: Vehicle, camera: Camera) -> bool:
    """Does the vehicle ever come near the image?"""
    away = vehicle.place - camera.centre
    reach = VIEW / np.array(camera.scale) + vehicle.length
    return bool((away[:, 0] * away[:, 0] + away[:, 1] * away[:, 1] < reach * reach).any())


def _vehicle(rng: Generator, path: Array, s: Array, kind: int, knobs: Knobs) -> Vehicle:
    """A vehicle of a kind; s (T,) is how far along the path its middle is."""
    length, width, texture = draw_texture(rng, kind, knobs)
    return Vehicle(kind, length, width, texture, *ways.drive(path, s, length))


def _lane(rng: Generator, path: Array, gap: float, frames: int, kinds: Iterator[int],
          knobs: Knobs) -> list[Vehicle]:
    """A lane's traffic: one speed with a surge, each vehicle swaying a little about it."""
    speed, rate, phase = uniform(rng, *knobs.speed), uniform(rng, 0.03, 0.07), uniform(rng, 0, TURN)
    run = np.array([speed * t + knobs.surge * math.sin(rate * t + phase) for t in range(frames)])
    s, found = -speed * frames - 20 - uniform(rng, 0, gap + 20), []
    kind = next(kinds)
    while s < len(path) + 20:
        beat, shift = uniform(rng, 0.03, 0.1), uniform(rng, 0, TURN)
        sway = np.array([math.sin(beat * t + shift) for t in range(frames)])
        found.append(_vehicle(rng, path, s + run + sway, kind, knobs))
        before, kind = kind, next(kinds)
        s += _half(before, knobs) + _half(kind, knobs) + GAP
        s -= gap * math.log(1 - float(rng.random()))
    return found


def _half(kind: int, knobs: Knobs) -> float:
    """The most that a vehicle of a kind reaches from its middle."""
    return (knobs.long_length if kind else knobs.car_length)[1] / 2


def _kerb(rng: Generator, roads: Roads, span: Range, frames: int, kinds: Iterator[int],
          knobs: Knobs) -> list[Vehicle]:
    """Cars, and a few long vehicles, parked along both sides away from the crossings."""
    taken, found = uniform(rng, *knobs.parked), []
    for side in (1, -1):
        path = ways.main_lane(roads, side, ways.driven(roads) + roads.kerb / 2, span)
        s, kind = uniform(rng, 0, 20), next(kinds)
        while s < len(path):
            x = float(path[int(s), 0])
            if rng.random() < taken and all(abs(x - street) > 32 for street in roads.streets):
                found.append(_vehicle(rng, path, np.full(frames, s), kind, knobs))
            before, kind = kind, next(kinds)
            s += _half(before, knobs) + _half(kind, knobs) + uniform(rng, 2.5, 5)
    return found


def _street(
    rng: Generator, roads: Roads, street: float, camera: Camera, found: list[Vehicle],
    kinds: Iterator[int], knobs: Knobs,
) -> None:
    """Adds a street's queues at the red light, and who turns into it where there is room."""
    frames, reach = len(camera.scale), VIEW / min(camera.scale) + 40
    for side in (1, -1):
        path = ways.inbound(roads, street, side, reach)
        s = reach - 10
        for _ in range(draw_count(rng, knobs.queue)):
            vehicle = _vehicle(rng, path, np.full(frames, s), next(kinds), knobs)
            s -= vehicle.length + GAP + uniform(rng, 0, 5) + 4
            if seen(vehicle, camera):
                found.append(vehicle)
        path = ways.turning(roads, street, side, 2 * reach, reach)
        for _ in range(3):
            if rng.random() < knobs.turners:
                _turn(rng, path, camera, found, next(kinds), knobs)


def _turn(
    rng: Generator, path: Array, camera: Camera, found: list[Vehicle], kind: int, knobs: Knobs
) -> None:
    """Adds a vehicle that turns, at the first of six moments when it meets no other."""
    frames, speed = len(camera.scale), uniform(rng, 0.7, 1.4)
    length, width, texture = draw_texture(rng, kind, knobs)
    for _ in range(6):
        s = uniform(rng, -speed * frames, len(path)) + speed * np.arange(frames)
        vehicle = Vehicle(kind, length, width, texture, *ways.drive(path, s, length))
        if not seen(vehicle, camera):
            continue
        if not any(meet(vehicle, other) for other in found):
            found.append(vehicle)
            return


def meet(one: Vehicle, other: Vehicle) -> bool:
    """Do two vehicles ever come too near? Each counts as five discs along its length."""
    near = (one.width + other.width) / 2 + 1
    for a in (-0.4, -0.2, 0, 0.2, 0.4):
        for b in (-0.4, -0.2, 0, 0.2, 0.4):
            gap = (one.place + one.along * (a * one.length)
                   - other.place - other.along * (b * other.length))
            if (gap[:, 0] * gap[:, 0] + gap[:, 1] * gap[:, 1] < near * near).any():
                return True
    return False
