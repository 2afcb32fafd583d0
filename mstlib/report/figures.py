"""Figures 1, 5 and 6 of the paper from our own data and runs: `write_figure`.

Fig. 1 (Sec. I, `figure_examples`) shows what deteriorates in videos, Fig. 5 (Sec. IV-E,
`figure_sequences`) what four variants of Table III make of it, Fig. 6 (Sec. IV-F,
`figure_failures`) where the whole method fails. Each case is chosen by a rule that the text beside
the figure states, never by hand; those of Fig. 1 and 5 ask the ground truth only, not who wins.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mstlib.config import MSTError
from mstlib.data.dataset import Dataset
from mstlib.fileio import write_bytes
from mstlib.model.detector import MST
from mstlib.report.figure_board import CONTOUR
from mstlib.report.figure_examples import examples
from mstlib.report.figure_failures import failures
from mstlib.report.figure_sequences import ROWS, sequences
from mstlib.show import PALETTE

if TYPE_CHECKING:  # matplotlib is imported where it is used
    from matplotlib.figure import Figure

DRAW = {"1": (examples, ""), "5": (sequences, "".join(ROWS)), "6": (failures, "g")}  # of variants
FIGURES = tuple(DRAW)
SPLIT = "test"
PRINT_DPI = 126  # letters of 7 points stay sharp, a file stays below 600 KB


def write_figure(name: str, out: Path, checkpoints: Path, profile: str = "mini",
                 root: Path | None = None) -> str:
    """Draw a figure of the paper, one of FIGURES, to `out`, a PNG; a line that says what is shown.

    checkpoints: folder with <profile>-<variant>.safetensors; Fig. 1 needs none, Fig. 5 those of
    ROWS, Fig. 6 that of (g). root: the data set's folder, None for the usual one. The same inputs
    give the same bytes. MSTError if there is no such figure, a checkpoint is missing, or the data
    has no case to show.
    """
    if name not in DRAW:
        raise MSTError(f"no figure '{name}' is made from runs; choose one of {', '.join(FIGURES)}")
    draw, variants = DRAW[name]
    figure, text = draw(*material(checkpoints, profile, variants, root))
    write_bytes(out, png_bytes(figure))
    return text


def material(checkpoints: Path, profile: str, variants: str, root: Path | None
             ) -> tuple[Dataset, list[MST]]:
    """The test clips and the models of some variants."""
    from mstlib.checkpoint import load_weights
    from mstlib.profiles import get_config
    from mstlib.training.experiment import clips_of

    models = [load_weights(checkpoints / f"{profile}-{v}.safetensors", v)[0] for v in variants]
    return clips_of(models[0].config if models else get_config(profile), SPLIT, root), models


def png_bytes(figure: "Figure") -> bytes:
    """A figure as PNG with a palette of 256 colours; same figure, same bytes.

    The colours of boxes are among them, exactly: choosing by area alone would give a class that is
    rare in a figure another class's colour.
    """
    from PIL import Image, ImageColor

    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=PRINT_DPI)
    image = Image.open(drawn).convert("RGB")
    fixed = [ImageColor.getrgb(c) for c in (*PALETTE, CONTOUR, "black", "white")]
    some = image.quantize(256 - len(fixed))
    palette = some.getpalette()
    places, levels = np.array(some), np.array(image)
    for number, colour in enumerate(fixed, len(palette) // 3):
        places[(levels == colour).all(-1)] = number
    reduced = Image.fromarray(places)
    reduced.putpalette([*palette, *(level for colour in fixed for level in colour)])
    reduced.save(small, "png", optimize=True)
    return small.getvalue()
