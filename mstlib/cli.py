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

from mstlib import cli_batch, cli_data, cli_evaluate
from mstlib.cli_options import Profile, Seed, Settings, config_of
from mstlib.config import MSTError

app = typer.Typer(
    name="mst", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="MST, multi-level spatial-temporal feature aggregation for video object detection.",
)

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
    config = config_of(profile, "a", settings)
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
    config = config_of(profile, variant, settings)
    from mstlib.batch import write_summary
    from mstlib.experiment import run_training

    out = out or Path("build", profile, f"{variant}-seed{seed}.pt")
    weights = weights or out.with_suffix(".safetensors")
    state = run_training(config, seed, init, out, weights)
    write_summary(state, config.train.steps, weights.with_suffix(".json"))
    print(f"weights: {weights}")


@app.command()
def info() -> None:
    """Say what is installed and where things lie.

    \b
    Example: mst info
    """
    from mstlib.batch import describe

    print("\n".join(describe()))


app.add_typer(cli_data.app, name="data")
for command in (cli_evaluate.evaluate, cli_batch.reproduce, cli_batch.table, cli_batch.check,
                cli_batch.notebook, cli_batch.notebooks, cli_batch.picture, cli_batch.cost,
                cli_batch.compare, cli_batch.index):
    app.command()(command)


if __name__ == "__main__":
    main()
