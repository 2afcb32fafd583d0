"""Figures 1, 5 and 6 of the paper from our own data and runs: `write_figure`.

Fig. 1 (Sec. I, `figure_examples`) shows what deteriorates in videos, Fig. 5 (Sec. IV-E,
`figure_sequences`) what four variants of Table III make of it, Fig. 6 (Sec. IV-F,
`figure_failures`) where the whole method fails. Each case is chosen by a rule that the text beside
the figure states, never by hand; those of Fig. 1 and 5 ask the ground truth only, not who wins.
"""

from pathlib import Path

from mstlib.config import MSTError
from mstlib.data.dataset import Dataset
from mstlib.model.detector import MST
from mstlib.png import save_figure
from mstlib.report.figure_board import CONTOUR
from mstlib.report.figure_examples import examples
from mstlib.report.figure_failures import failures
from mstlib.report.figure_sequences import ROWS, sequences

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
    save_figure(figure, out, PRINT_DPI, [CONTOUR])
    return text


def material(checkpoints: Path, profile: str, variants: str, root: Path | None
             ) -> tuple[Dataset, list[MST]]:
    """The test clips and the models of some variants."""
    from mstlib.checkpoint import load_weights
    from mstlib.profiles import get_config
    from mstlib.training.experiment import clips_of

    models = [load_weights(checkpoints / f"{profile}-{v}.safetensors", v)[0] for v in variants]
    return clips_of(models[0].config if models else get_config(profile), SPLIT, root), models
