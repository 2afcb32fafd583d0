"""The command `mst import`: a public checkpoint of the paper's parents as one of ours."""

from pathlib import Path
from typing import Annotated

import typer


def import_weights(
    path: Annotated[Path, typer.Argument(help="Checkpoint of mega.pytorch, .pth.")],
    kind: Annotated[str, typer.Option(help="single, rdn-base, rdn or mega.")],
    out: Annotated[Path, typer.Option(help="Weights to write, .safetensors.")],
) -> None:
    """Import a checkpoint of mega.pytorch and say what became of each of its keys.

    single becomes variant (a), rdn-base variant (c), rdn and mega the detectors of those names.

    \b
    Example: mst import R_101.pth --kind single --out build/public-a.safetensors
             mst import MEGA_R_101.pth --kind mega --out build/public-mega.safetensors
    """
    from mstlib.checkpoint import save_weights
    from mstlib.data.formats.imagenet import CLASSES
    from mstlib.model.mega_weights import import_mega

    model, report = import_mega(path, kind)
    print("\n".join(report.lines()))
    classes = CLASSES if model.model_config.classes == len(CLASSES) else ()
    save_weights(model, out, seed=0, half=False, classes=classes)
    print(f"weights: {out}")
