"""One visual language for pictures: frames with boxes, arrows and heat maps, on your data too.

`boxes` on an axis, frames as `strips`, `maps` over an image, pictures that follow `widgets`, and
the `output` of a notebook. Figures are made without pyplot: no global state, and nothing appears
that is not asked for. Not part of the paper.
"""

from mstlib.show.boxes import (
    PALETTE,
    STYLES,
    box_text,
    box_under,
    colour_of,
    draw_box,
    draw_boxes,
    draw_tag,
    draw_tagged,
    grey_of,
    ink_on,
    legend_text,
    track_colours,
    untangle,
)
from mstlib.show.charts import chart, panels, share_bars, stacked_bars
from mstlib.show.maps import (
    arrows,
    cell_at,
    cell_centres,
    dots,
    heat_map,
    mark_cell,
    show_image,
)
from mstlib.show.output import DPI, cell_text, figure_bytes, figure_output, table_output, table_text
from mstlib.show.strips import PANEL, draw_frame, even_grid, film_strip, frame_title, grid
from mstlib.show.widgets import live, picture_html

__all__ = [
    "DPI", "PALETTE", "PANEL", "STYLES", "arrows", "box_text", "box_under", "cell_at",
    "cell_centres", "cell_text", "chart", "colour_of", "dots", "draw_box", "draw_boxes",
    "draw_frame", "draw_tag", "draw_tagged", "even_grid", "figure_bytes", "figure_output",
    "film_strip", "frame_title", "grey_of", "grid", "heat_map", "ink_on", "legend_text",
    "live", "mark_cell", "panels", "picture_html", "share_bars", "show_image", "stacked_bars",
    "table_output", "table_text", "track_colours", "untangle",
]
