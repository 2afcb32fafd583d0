"""The command line `mst`: each command checks its options and calls one function of the package.

Imports stand inside the commands, so that `mst --help` and a misspelt setting need not wait for
torch. An error that the user can mend is one line on stderr and exit code 2; Ctrl-C is exit code
130; neither shows a traceback.
"""

import errno
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from mstlib.cli import batch as cli_batch
from mstlib.cli import bench as cli_bench
from mstlib.cli import data as cli_data
from mstlib.cli import detect as cli_detect
from mstlib.cli import evaluate as cli_evaluate
from mstlib.cli import imports as cli_import
from mstlib.cli.options import (
    Data,
    Device,
    Profile,
    Seed,
    Settings,
    SkipBad,
    TensorBoard,
    Workers,
    config_of,
    how_to_train,
    named,
    this_command,
    with_data,
)
from mstlib.config import MSTError

app = typer.Typer(
    name="mst", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="MST, multi-level spatial-temporal feature aggregation for video object detection.",
)

USER_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


def main() -> None:
    """Entry point of `mst`."""
    warnings.formatwarning = _one_line
    try:
        app()
    except MSTError as error:
        code = getattr(error, "exit_code", 2)  # a training that was stopped has its own
        _fail(str(error), code)
    except OSError as error:
        if error.errno not in USER_ERRORS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror}; free some space or choose a writable folder")


def _fail(line: str, code: int = 2) -> None:
    """Say what is wrong in one line and leave."""
    what = "error: " if code == 2 else ""
    sys.stderr.write(f"mst: {what}{' '.join(line.split())}\n")  # one write, whole among processes
    sys.exit(code)


def _one_line(message: Warning | str, *_: object) -> str:
    """A warning without the place in the code that it comes from."""
    return f"mst: warning: {' '.join(str(message).split())}\n"


@app.command()
def pretrain(
    out: Annotated[Path, typer.Option(help="Training state to write, .pt.")],
    profile: Profile = "mini", seed: Seed = 0, data: Data = None, settings: Settings = None,
    workers: Workers = None, skip_bad: SkipBad = False, tensorboard: TensorBoard = None,
    device: Device = None,
) -> None:
    """Train on single frames: what every variant starts from.

    A training state that is already at --out is gone on from. Several GPUs: docs/training.md.

    \b
    Example: mst pretrain --profile tiny --seed 0 --out build/tiny/pretrained-seed0.pt
    """
    config, root = with_data(config_of(profile, "a", settings), data)
    named(out, ".pt")
    from mstlib.distributed import rank
    from mstlib.report.recording import write_summary
    from mstlib.training.experiment import run_pretraining

    how = how_to_train(config, workers, skip_bad, tensorboard, device)
    state = run_pretraining(config, seed, out, root, how)
    if rank() == 0:
        write_summary(state, out.with_suffix(".json"), this_command())
        print(f"pretrained detector: {out}")


@app.command()
def train(
    variant: Annotated[str, typer.Option(
        help="Of Table III, a to g; of Table V, h to l; or fgfa, selsa, rdn.")] = "g",
    profile: Profile = "mini", seed: Seed = 0, data: Data = None,
    init: Annotated[Path | None, typer.Option(
        help="Detector to start from, .pt or .safetensors; without it from nothing.")] = None,
    out: Annotated[Path | None, typer.Option(
        help="Training state, .pt  [default: build/PROFILE(-FORMAT)/VARIANT-seedSEED.pt]")] = None,
    weights: Annotated[Path | None, typer.Option(
        help="Weights to evaluate  [default: beside the state, .safetensors]")] = None,
    settings: Settings = None,
    workers: Workers = None, skip_bad: SkipBad = False, tensorboard: TensorBoard = None,
    device: Device = None,
) -> None:
    """Train a variant of Table III, or another detector, and export its weights.

    A training state that is already at --out is gone on from. Several GPUs: docs/training.md.

    \b
    Example: mst train --profile tiny --variant g --init build/tiny/pretrained-seed0.pt
             mst train --variant c --seed 1 --set train.lr=0.005
             mst train --variant g --data davis:DAVIS --set source.short_side=128
    """
    config, root = with_data(config_of(profile, variant, settings), data)
    from mstlib.distributed import rank
    from mstlib.report.recording import write_summary
    from mstlib.training.experiment import run_training

    folder = profile if data is None else f"{profile}-{config.source.format}"
    out = out or Path("build", folder, f"{variant}-seed{seed}.pt")
    weights = weights or out.with_suffix(".safetensors")
    named(out, ".pt")
    named(weights, ".safetensors")
    how = how_to_train(config, workers, skip_bad, tensorboard, device)
    state = run_training(config, seed, init, out, weights, root, how)
    if rank() == 0:
        write_summary(state, weights.with_suffix(".json"), this_command(), init)
        print(f"weights: {weights}")


@app.command()
def info() -> None:
    """Say what is installed and where things lie.

    \b
    Example: mst info
    """
    from mstlib.report.batch import describe

    print("\n".join(describe()))


app.add_typer(cli_data.app, name="data")
for command in (cli_evaluate.evaluate, cli_detect.detect, cli_batch.reproduce, cli_batch.table,
                cli_batch.figure, cli_batch.check, cli_batch.notebook, cli_batch.notebooks,
                cli_batch.picture, cli_batch.cost, cli_bench.bench, cli_batch.compare,
                cli_batch.index):
    app.command()(command)
app.command(name="import")(cli_import.import_weights)


if __name__ == "__main__":
    main()
