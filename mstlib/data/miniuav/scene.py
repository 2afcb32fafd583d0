"""What can happen in MiniUAV: the knobs of the benchmark, and a clip's script once it is drawn.

MiniUAV is the second scene type of the embedded benchmark: many small vehicles from a drone, as in
UAVDT (Sec. IV-A, Table II). Lengths are metres of a sort: one is a pixel of a 128-pixel frame at
scale 1; times are frames, angles degrees, shares 0..1. `script.py` draws a script from these knobs.
"""

from dataclasses import dataclass

from numpy import ndarray as Array

KINDS = ("car", "truck", "bus")  # UAVDT's classes 1, 2, 3
LIGHTS = ("daylight", "night", "fog")  # as UAVDT's attribute files name them
ALTITUDES = ("low-alt", "medium-alt", "high-alt")
DAY, NIGHT, FOG = range(3)
Range = tuple[float, float]
Point = tuple[float, float]


@dataclass(frozen=True)
class Knobs:
    """All knobs of the generator; a change of any makes another cache folder."""

    # Vehicles: 9-26 px long at every scale; a narrower car would be lost at stride 8.
    kinds: tuple[float, ...] = (0.70, 0.15, 0.15)  # car, truck, bus
    car_length: Range = (11.5, 14.5)
    car_width: Range = (5.6, 6.6)
    long_length: Range = (18.0, 22.5)  # trucks and buses: one outline, the roof tells them apart
    long_width: Range = (7.2, 8.2)
    crowd: Range = (6, 19)  # vehicles that a frame is meant to show

    # Camera. With the traffic's own speed: 0.5-4 px a frame on the screen.
    scale: Range = (0.85, 1.18)  # px per length, by altitude
    zoom: float = 0.06  # slow relative change of it
    swing: Range = (4, 14)  # of the view's direction, either way
    period: Range = (90, 200)  # of zoom, swing and sway
    drift: Range = (0.25, 1.3)  # along the main road, a frame
    sway: float = 14.0  # across it

    # Roads and traffic.
    town: float = 0.55  # clips in a town: side streets with queues, cars parked at the kerb
    speed: Range = (0.7, 2.6)  # of a lane
    surge: float = 5.0  # how far a whole lane runs ahead of that and falls back
    parked: Range = (0.15, 0.55)  # kerb slots taken
    queue: tuple[int, int] = (0, 4)  # vehicles at a red light
    turners: float = 0.6  # chance of each of three who might turn into a side street, each side
    block: Range = (42, 70)  # from one house or field to the next
    street_every: float = 170.0

    # What is not annotated, though vehicles are drawn there: regions of the _gt_ignore file.
    strips: float = 0.60  # clips with an ignored strip along a border
    parks: float = 0.65  # clips with car parks; all that have no strip
    park: float = 0.40  # of their blocks beside the road, a quarter of that further off
    strip_width: Range = (9, 15)  # px of a 128-pixel frame
    ignored: float = 0.5  # an object with more of its box in a region is not annotated

    # Deteriorations (Fig. 1 of the paper). Events come at a rate a frame, so that their share is
    # the same for every clip length; light is dealt out evenly over the clips.
    light: tuple[float, ...] = (0.6, 0.2, 0.2)  # day, night, fog
    event: tuple[int, int] = (3, 8)  # frames: shorter than a test window, longer than its stride
    blur_share: float = 0.15
    defocus_share: float = 0.12
    streak: Range = (4, 9)  # px: up to the width of a truck
    shake: float = 1.3  # px that the camera jumps meanwhile
    sigma: Range = (1.2, 2.0)  # px: a truck's cab and a bus's hatches become one blot
    trees: Range = (14, 44)  # from one tree beside the road to the next
    bridge: float = 0.5  # clips outside towns with bridges over the road
    bridge_every: float = 190.0
    bridge_width: Range = (9, 15)
    parallax: float = 1.05  # trees and bridges are nearer to the camera
    fog: Range = (0.38, 0.62)
    night: Range = (0.32, 0.46)  # light that is left
    noise: float = 0.02  # peak of the sensor noise by day
    night_noise: float = 0.06

    # UAVDT's bounds of its columns.
    occlusion: tuple[float, float, float] = (0.02, 0.30, 0.70)  # hidden: small, medium, large from
    out: tuple[float, float] = (0.02, 0.30)  # outside the image: small, medium from
    min_inside: float = 0.35  # not annotated: less inside the image than this
    min_visible: float = 0.12  # not annotated: less to be seen than this


@dataclass(frozen=True)
class Roads:
    """A main road along x with a bend, and side streets along y at `streets`."""

    lanes: int               # on each side
    kerb: float              # width of the parking strip on each side, 0: none
    bend: tuple[float, float, float]  # height, radians a length, phase
    streets: tuple[float, ...]
    bridges: tuple[tuple[float, float], ...]  # x and width of each


@dataclass(frozen=True)
class Vehicle:
    """One vehicle: its looks and its path. Texture: see `vehicle.py`."""

    kind: int                # index into KINDS
    length: float
    width: float
    texture: Array           # (n, m, 7) float32
    place: Array             # (T, 2) of its middle
    along: Array             # (T, 2) unit vector to its front


@dataclass(frozen=True)
class Camera:
    """Where the drone is and looks: the screen's middle, its x direction, px per length."""

    centre: Array            # (T, 2)
    axis: list[Point]        # (cos, sin)
    scale: list[float]
    streak: list[Point]      # motion blur of the whole frame in px, (0, 0) when steady
    sigma: list[float]       # defocus in px, 0 when sharp


@dataclass(frozen=True)
class Script:
    """One clip before any pixel."""

    light: int               # index into LIGHTS
    altitude: int            # index into ALTITUDES
    roads: Roads
    camera: Camera
    vehicles: list[Vehicle]
    sun: Point               # direction of shadows, and their length per height
    strip: tuple[int, float]  # side (0 top, 1 right, 2 bottom, 3 left) and width in px, 0: none
    trees: float             # from one roadside tree to the next
    lots: bool               # are there car parks?
