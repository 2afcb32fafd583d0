"""What MiniUAV's files say of a frame: which vehicles get a box, and UAVDT's columns.

Columns: frame, id, x, y, w, h, out-of-view, occlusion, class; see `mstlib.data.formats.uavdt`.
"""

from mstlib.data.miniuav.film import Frame, View
from mstlib.data.miniuav.scene import ALTITUDES, LIGHTS, Knobs, Script
from mstlib.data.miniuav.stand import Box


def annotated(frame: Frame, knobs: Knobs) -> list[View]:
    """The vehicles of a frame that get a box."""
    return [view for view in frame.views
            if view.inside >= knobs.min_inside and view.visible >= knobs.min_visible
            and min(view.box[2] - view.box[0], view.box[3] - view.box[1]) >= 2
            and not any(share_in(view.box, region) >= knobs.ignored for region in frame.ignored)]


def share_in(box: Box, region: Box) -> float:
    """The share of a box that lies in a region."""
    w, h = (min(box[i + 2], region[i + 2]) - max(box[i], region[i]) for i in (0, 1))
    return max(0, w) * max(0, h) / ((box[2] - box[0]) * (box[3] - box[1]))


def object_lines(t: int, frame: Frame, knobs: Knobs) -> list[str]:
    """The lines of frame t (from 1) in the file of objects."""
    small, medium, large = knobs.occlusion
    lines = []
    for view in annotated(frame, knobs):
        hidden, outside = 1 - view.visible, 1 - view.inside
        occlusion = 2 if hidden >= large else 3 if hidden >= medium else 4 if hidden >= small else 1
        out = 2 if outside >= knobs.out[1] else 3 if outside >= knobs.out[0] else 1
        lines.append(f"{t},{view.track},{_xywh(view.box)},{out},{occlusion},{view.kind + 1}\n")
    return lines


def region_lines(t: int, frame: Frame) -> list[str]:
    """The lines of frame t (from 1) in the file of ignored regions."""
    return [f"{t},{k},{_xywh(box)},1,-1,-1\n" for k, box in enumerate(frame.ignored, 1)]


def attribute_line(script: Script) -> str:
    """UAVDT's ten: three kinds of light, three altitudes, front, side or bird view, long-term."""
    flags = [int(script.light == k) for k in range(len(LIGHTS))]
    flags += [int(script.altitude == k) for k in range(len(ALTITUDES))]
    return ",".join(map(str, [*flags, 0, 0, 1, 0])) + "\n"


def _xywh(box: tuple[int, int, int, int]) -> str:
    return f"{box[0]},{box[1]},{box[2] - box[0]},{box[3] - box[1]}"
