"""What can happen in MiniVID: the knobs of the benchmark, and a clip's script once it is drawn.

Lengths are pixels of a 128-pixel frame and scale with the frame's size; times are frames, angles
degrees, shares 0..1. `script.py` draws a script from these knobs.
"""

from dataclasses import dataclass

from numpy import ndarray as Array

BODIES = ("ellipsoid", "box", "cylinder", "cone")
KEYS = ("disc", "cross")
Range = tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """All knobs of the generator; a change of any makes another cache folder."""

    objects: tuple[float, ...] = (0.30, 0.45, 0.25)  # clips with 1, 2, 3 objects: room to move
    twins: float = 0.35  # of clips with 2+: same body, other key; only identity tells them apart
    diameters: tuple[Range, ...] = ((28, 38), (38, 50), (50, 62))  # a third each
    zoom: float = 0.15  # slow relative change of size

    # Motion. Frames 4-8 apart differ by 2-5 feature cells of 8 px: alignment has work to do.
    speeds: tuple[Range, ...] = ((0.3, 1.5), (1.8, 4.0), (4.2, 6.5))  # px a frame
    speed_shares: tuple[float, ...] = (0.15, 0.45, 0.40)
    margin: float = 0.42  # of the diameter: how near the border a centre comes; little is cut off
    pan: float = 3.0  # fastest pan of the camera, px a frame: slower than fast objects

    # Turning. The key is hidden half of the time and nearly always shown within 8 frames: the
    # reference frame alone cannot know the class, its support frames do.
    turner: float = 0.50  # objects that turn all the way round
    averted: float = 0.25  # objects that face away and show the key at times; the rest face us
    turn_period: Range = (16, 28)
    swing_period: Range = (13, 20)
    dwell: float = 0.45  # turners slow down in front; 0 would show the key 36 % of the time
    tilt: float = 18.0  # everyday pitch and roll

    # Looks.
    key_width: float = 0.55  # of the frontal width; keys below 10 px cannot be read even in front
    key_contrast: Range = (0.95, 0.75)  # to black or white: ordinary and camouflaged objects
    camouflage: float = 0.25  # objects in the colours of the ground behind them
    ambient: float = 0.5  # light from everywhere; the rest comes from one side
    still_shapes: tuple[int, int] = (4, 9)  # clutter, some like keys: else proposals saturate
    moving_shapes: tuple[int, int] = (0, 2)
    noise: float = 0.025  # peak of the sensor noise: averaging over frames should pay

    # Deteriorations (Fig. 1 of the paper): events at a rate a frame, so that their share is the
    # same for every clip length.
    event: tuple[int, int] = (3, 8)  # shorter than a test window, longer than its stride
    blur_share: float = 0.14
    defocus_share: float = 0.14
    occluder_share: float = 0.15  # objects that cross add about 0.01
    pose_share: float = 0.05  # end-on views; turning away makes it about 0.30
    streak: Range = (9, 18)  # px: about the width of a key
    sigma: Range = (2.6, 3.2)  # px: smears a disc and a cross into the same blot
    cover: Range = (0.57, 0.86)  # of the object's extent: 50-85 % of its box
    occluder_tone: float = 0.15  # lighter or darker than the ground it is cut from, at most
    rare_key: float = 0.06  # rare pose: less of the key to be seen than this (frontal view = 1)
    clear_key: float = 0.35  # the key can be read: more than this, up to about 65 degrees
    occluded: float = 0.50  # occlusion: less of the silhouette to be seen than this
    min_inside: float = 0.35  # not annotated: less of the box in the image than this


@dataclass(frozen=True)
class Body:
    """One object: shape, paint, and its fate in each of T frames. Angles in radians."""

    track: int
    body: int  # index into BODIES
    key: int  # index into KEYS
    half: tuple[float, float, float]  # half extents x, y, z in half diameters
    diameter: float  # px
    colours: Array  # (2, 3) float32 in 0..1
    camouflaged: bool
    pattern: tuple[float, ...]  # frequency of noise and of stripes, direction x, y, z of stripes
    table: Array  # (8, 8, 8) float32 lattice of the noise
    depth: float  # larger is nearer
    centre: Array  # (T, 2) px
    scale: Array  # (T,) factor on the diameter
    yaw: list[float]  # azimuth of the key, 0 towards the camera
    tilt: list[float]
    roll: float
    streak: list[tuple[float, float]]  # motion blur in px (x, y), (0, 0) when sharp
    sigma: list[float]  # defocus in px, 0 when sharp
    cover: list[tuple[float, float, float]]  # occluder: covered share (0: none), side x, y
    patch: tuple[float, float, float]  # where the occluder is cut from the ground (0..1), its tone


@dataclass(frozen=True)
class Script:
    """One clip: its objects, the ground's place on the screen pan (T, 2) px, and the light."""

    bodies: list[Body]
    pan: Array
    light: tuple[float, float, float]
