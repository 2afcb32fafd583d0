"""Images, and what lies over them: arrows, heat maps, marked cells. Not part of the paper.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.axes import Axes

BRIGHT = "#F0E442"  # of marks on frames


def show_image(axis: "Axes", image: Tensor, grey: bool = False) -> None:
    """An image (3, H, W) uint8, its upper left corner at (0, 0): boxes need no half-pixel shift."""
    height, width = image.shape[-2:]
    pixels = image.permute(1, 2, 0).cpu().numpy()
    pixels = pixels.mean(-1) if grey else pixels
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0),
                interpolation="nearest")
    axis.set_axis_off()


def cell_centres(size: tuple[int, int], stride: int) -> Tensor:
    """Where the cells of a feature map (h, w) lie in its image: (h, w, 2) pixels (x, y)."""
    rows, columns = ((torch.arange(n) + 0.5) * stride for n in size)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)


def cell_at(x: float, y: float, size: tuple[int, int], stride: int) -> tuple[int, int]:
    """The cell (row, column) of a feature map (h, w) at a place of its image; the nearest one."""
    row, column = (min(max(int(v // stride), 0), n - 1) for v, n in zip((y, x), size, strict=True))
    return row, column


def mark_cell(axis: "Axes", cell: tuple[int, int], stride: int) -> None:
    """Outline a cell (row, column) of a feature map on its image."""
    from matplotlib.patches import Rectangle

    corner = cell[1] * stride, cell[0] * stride
    for colour, width in (("white", 3.0), ("black", 1.4)):
        axis.add_patch(Rectangle(corner, stride, stride, fill=False, ec=colour, lw=width))


def dots(axis: "Axes", places: Tensor, colour: str = BRIGHT, size: float = 14) -> None:
    """Dots at (n, 2) pixels (x, y), with a dark edge that shows them on any ground."""
    x, y = places.double().numpy().T
    axis.scatter(x, y, s=size, color=colour, edgecolors="black", linewidths=0.5, zorder=3)


def arrows(axis: "Axes", starts: Tensor, ends: Tensor, colour: str = BRIGHT) -> None:
    """Arrows from (n, 2) to (n, 2) pixels (x, y): where something went; dots where nothing did."""
    x, y = starts.double().numpy().T
    u, v = (ends - starts).double().numpy().T
    axis.quiver(x, y, u, v, angles="xy", scale_units="xy", scale=1, color=colour, width=0.011,
                headwidth=3.2, headlength=3.6, headaxislength=3.4, minshaft=1.6, minlength=0.6,
                edgecolor="black", linewidth=0.4)


def heat_map(axis: "Axes", image: Tensor, values: Tensor, label: str = "", top: float | None = None
             ) -> None:
    """A map (h, w) >= 0 over a greyed image (3, H, W); `top` ends the colour scale, which is drawn
    into its corner if it has a label."""
    from matplotlib.patheffects import withStroke

    show_image(axis, image, grey=True)
    height, width = image.shape[-2:]
    values = values.detach().cpu().double().numpy()
    drawn = axis.imshow(values, cmap="magma", vmin=0, vmax=top or values.max() or 1, alpha=0.6,
                        extent=(0, width, height, 0), interpolation="nearest")
    if label:
        place = axis.inset_axes((0.5, 0.035, 0.45, 0.035))
        bar = axis.figure.colorbar(drawn, cax=place, orientation="horizontal", ticks=[])
        bar.outline.set_edgecolor("white")
        text = {"color": "white", "fontsize": 7, "va": "bottom", "transform": place.transAxes,
                "path_effects": [withStroke(linewidth=1.8, foreground="black")]}
        axis.text(0, 1.2, "0", **text)
        axis.text(0.5, 1.2, label, ha="center", **text)
        axis.text(1, 1.2, f"{drawn.norm.vmax:.2g}", ha="right", **text)
