"""Figures as PNG files with a palette, a third of the space of full colour. Not part of the paper.

The colours of boxes stay exactly what they are: a palette chosen by area alone would give a class
that is rare in a figure another class's colour.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mstlib.fileio import write_bytes
from mstlib.show import DPI, PALETTE

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.figure import Figure


def save_figure(figure: "Figure", path: str | Path, dpi: float = DPI, keep: Sequence[str] = ()
                ) -> Path:
    """Write a figure as PNG; the path. keep: further colours that stay exact. MSTError if the
    folder is not writable."""
    return write_bytes(path, png_bytes(figure, dpi, keep))


def png_bytes(figure: "Figure", dpi: float = DPI, keep: Sequence[str] = ()) -> bytes:
    """As `save_figure`, the content of the file; same figure, same bytes."""
    from PIL import Image, ImageColor

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi)
    image = Image.open(drawn).convert("RGB")
    fixed = [ImageColor.getrgb(colour) for colour in (*PALETTE, *keep, "black", "white")]
    some = image.quantize(256 - len(fixed))
    palette = some.getpalette()
    places, levels = np.array(some), np.array(image)
    for number, colour in enumerate(fixed, len(palette) // 3):
        places[(levels == colour).all(-1)] = number
    reduced = Image.fromarray(places)
    reduced.putpalette([*palette, *(level for colour in fixed for level in colour)])
    reduced.save(small, "png", optimize=True)
    return small.getvalue()
