"""The command `mst evaluate`: from a checkpoint to its figures."""

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="Weights, .safetensors.")],
    split: Annotated[str, typer.Option(help="val (settings are chosen here) or test.")] = "test",
    protocol: Annotated[list[str] | None, typer.Option(
        help="vid, vid-devkit or coco; repeatable, the first one leads  [default: all]")] = None,
    variant: Annotated[str | None, typer.Option(
        help="Insist that the checkpoint is of this variant.")] = None,
    tag: Annotated[str, typer.Option(help="What differs from the profile's own settings.")] = "",
    record: Annotated[bool, typer.Option("--record", help="Write results/runs/ID.json.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the run record to this file.")] = None,
) -> None:
    """Measure a checkpoint on MiniVID and print its mAP.

    \b
    Example: mst evaluate results/checkpoints/mini-g.safetensors
             mst evaluate build/mini/g-seed0.safetensors --split val --protocol coco
    """
    from mstlib.batch import evaluation_record
    from mstlib.fileio import write_json

    run = evaluation_record(checkpoint, split, protocol or ["vid", "vid-devkit", "coco"], tag,
                            variant)
    for name, metrics in run["metrics"].items():
        print(f"{run['id']}, {split}, {name}: mAP {metrics['mAP']:.2f}")
    if record:
        out = out or Path("results", "runs", f"{run['id']}.json")
    if out:
        write_json(out, run)
        print(f"run record: {out}")
