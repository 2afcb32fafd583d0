"""The contact sheet of MiniUAV: one frame for each condition, its annotation, and a sequence."""

import io
from typing import TYPE_CHECKING

from mstlib.data.dataset import Dataset
from mstlib.data.formats.uavdt import UavdtClip
from mstlib.data.miniuav.scene import DAY, FOG, KINDS, NIGHT, Script

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes

COLUMNS = 6
PANEL = 1.85  # inches of a frame
STEP = 6  # frames from one picture of the sequence to the next
QUALITY = 62  # of the JPEG file: it lies in the repository
LEGEND = "box: first letter of the class and track number; hatched: ignored region, not annotated"


def draw_sheet(dataset: Dataset, scripts: list[Script]) -> bytes:
    """Conditions plain, the same annotated, and frames of the most crowded sequence; JPEG."""
    from mstlib.show import grid

    figure, axes = grid(3, COLUMNS, PANEL)
    for i, (title, c, t) in enumerate(examples(scripts)):
        show_annotated(axes[i], dataset[c], t, title, boxes=False)
        show_annotated(axes[COLUMNS + i], dataset[c], t, f"{dataset[c].name} frame {t}")
    clip = max(dataset, key=lambda clip: len(clip.target(len(clip) // 2).boxes))
    for i in range(COLUMNS):
        t = min(STEP * i, len(clip) - 1)
        show_annotated(axes[2 * COLUMNS + i], clip, t, f"{clip.name} frame {t}")
    figure.text(0.5, 0.012, LEGEND, fontsize=8, ha="center")
    file = io.BytesIO()
    figure.savefig(file, format="jpg", pil_kwargs={"quality": QUALITY})
    return file.getvalue()


def examples(scripts: list[Script]) -> list[tuple[str, int, int]]:
    """(what, clip, frame) of a frame for each condition that is found."""
    found: dict[str, tuple[int, int]] = {}
    for c, script in enumerate(scripts):
        place = "town" if script.roads.kerb else "open road"
        for t, (streak, sigma) in enumerate(zip(script.camera.streak, script.camera.sigma,
                                                strict=True)):
            shaken, soft = streak != (0.0, 0.0), sigma > 0
            name = {NIGHT: "night", FOG: "fog"}.get(script.light, place)
            name = "motion blur" if shaken else "defocus" if soft else name
            if script.light == DAY or not (shaken or soft):
                found.setdefault(name, (c, t))
    order = ("town", "open road", "night", "fog", "motion blur", "defocus")
    return [(name, *found[name]) for name in order if name in found]


def show_annotated(axis: "Axes", clip: UavdtClip, t: int, title: str, boxes: bool = True) -> None:
    """A frame with thin boxes, their track numbers and hatched ignored regions."""
    from matplotlib.patches import Rectangle

    from mstlib.show import colour_of, show_image

    show_image(axis, clip.frame(t))
    axis.set_title(title, fontsize=7, pad=2)
    if not boxes:
        return
    target = clip.target(t)
    for x1, y1, x2, y2 in target.ignored.tolist():
        axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec="white", lw=0.6,
                                 hatch="////", hatch_linewidth=0.3))
    for (x1, y1, x2, y2), label, track in zip(
            target.boxes.tolist(), target.labels.tolist(), target.ids.tolist(), strict=True):
        axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec="white", lw=1.4))
        axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=colour_of(label),
                                 lw=0.7))
        axis.text(x1, y1 - 0.5, f"{KINDS[label - 1][0]}{track}", fontsize=4, color="white",
                  va="bottom", clip_on=True,
                  bbox={"facecolor": colour_of(label), "lw": 0, "pad": 0.3})
