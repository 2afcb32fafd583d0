"""The command line `mst`: each command checks its options and calls one function of the package.

Imports stand inside the commands, so that `mst --help` and a misspelt setting need not wait for
torch. An error that the user can mend is one line on stderr and exit code 2; Ctrl-C is exit code
130; neither shows a traceback.
"""

import errno
import sys
from pathlib import Path
from typing import Annotated

import typer

from mstlib import cli_batch
from mstlib.cli_batch import Profile, literal, pairs
from mstlib.config import Config, MSTError, get_config, with_overrides

app = typer.Typer(
    name="mst", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="MST, multi-level spatial-temporal feature aggregation for video object detection.",
)

Seed = Annotated[int, typer.Option(min=0, help="Seed of the whole run.")]
Settings = Annotated[list[str] | None, typer.Option(
    "--set", metavar="NAME=VALUE", help="Change a setting, such as train.lr=0.01; repeatable.")]
USER_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


def main() -> None:
    """Entry point of `mst`."""
    try:
        app()
    except MSTError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in USER_ERRORS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror}; free some space or choose a writable folder")


def _fail(line: str) -> None:
    """Say what is wrong in one line and leave."""
    print(f"mst: error: {' '.join(line.split())}", file=sys.stderr)
    sys.exit(2)


def _config(profile: str, variant: str, settings: list[str] | None) -> Config:
    """The configuration of a profile and variant with the settings of the command line."""
    config = get_config(profile, variant)
    values = {name: _typed(config, name, text) for name, text in pairs(settings).items()}
    return with_overrides(config, values)


def _typed(config: Config, name: str, text: str) -> object:
    """`text` as a value of the kind that the setting has now; MSTError if it is of another kind."""
    section, _, field = name.partition(".")
    now, value = getattr(getattr(config, section, None), field, None), literal(text)
    if isinstance(now, float) and type(value) is int:
        return float(value)
    if now is not None and type(value) is not type(now):
        raise MSTError(f"{name} is of type {type(now).__name__} (now {now}), got '{text}'")
    return value


@app.command()
def data(
    profile: Profile = "mini",
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "all",
    card: Annotated[Path | None, typer.Option(help="Write the data card into this folder.")] = None,
) -> None:
    """Generate MiniVID where absent, say where it lies.

    \b
    Example: mst data --profile mini --split test
             mst data --card results/minivid
    """
    from mstlib.data.generate import SPLITS, ensure_minivid, extent

    config = get_config(profile).data
    for name in SPLITS if split == "all" else [split]:
        clips, length = extent(config, name)
        print(f"{name}: {clips} clips of {length} frames in {ensure_minivid(config, name)}")
    if card:
        from mstlib.data.card import write_card

        write_card(config, card)
        print(f"data card: {card}")


@app.command()
def pretrain(
    out: Annotated[Path, typer.Option(help="Training state to write, .pt.")],
    profile: Profile = "mini", seed: Seed = 0, settings: Settings = None,
) -> None:
    """Train on single frames: what every variant starts from.

    A training state that is already at --out is gone on from.

    \b
    Example: mst pretrain --profile tiny --seed 0 --out build/tiny/pretrained-seed0.pt
    """
    config = _config(profile, "a", settings)
    from mstlib.experiment import run_pretraining

    run_pretraining(config, seed, out)
    print(f"pretrained detector: {out}")


@app.command()
def train(
    variant: Annotated[str, typer.Option(help="Column of Table III, a to g.")] = "g",
    profile: Profile = "mini", seed: Seed = 0,
    init: Annotated[Path | None, typer.Option(
        help="Pretrained detector; without it training starts from nothing.")] = None,
    out: Annotated[Path | None, typer.Option(
        help="Training state, .pt  [default: build/PROFILE/VARIANT-seedSEED.pt]")] = None,
    weights: Annotated[Path | None, typer.Option(
        help="Weights to evaluate  [default: beside the state, .safetensors]")] = None,
    settings: Settings = None,
) -> None:
    """Train a variant of Table III and export its weights.

    A training state that is already at --out is gone on from.

    \b
    Example: mst train --profile tiny --variant g --init build/tiny/pretrained-seed0.pt
             mst train --variant c --seed 1 --set train.lr=0.005
    """
    config = _config(profile, variant, settings)
    from mstlib.batch import write_summary
    from mstlib.experiment import run_training

    out = out or Path("build", profile, f"{variant}-seed{seed}.pt")
    weights = weights or out.with_suffix(".safetensors")
    state = run_training(config, seed, init, out, weights)
    write_summary(state, config.train.steps, weights.with_suffix(".json"))
    print(f"weights: {weights}")


@app.command()
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


@app.command()
def info() -> None:
    """Say what is installed and where things lie.

    \b
    Example: mst info
    """
    from mstlib.batch import describe

    print("\n".join(describe()))


for command in (cli_batch.reproduce, cli_batch.table, cli_batch.check, cli_batch.notebook,
                cli_batch.notebooks, cli_batch.picture, cli_batch.cost, cli_batch.compare,
                cli_batch.index):
    app.command()(command)


if __name__ == "__main__":
    main()
