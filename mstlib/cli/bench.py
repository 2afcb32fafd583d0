"""The command `mst bench`: what inference costs."""

from pathlib import Path
from typing import Annotated

import typer

from mstlib.cli.options import Profile


def bench(
    profile: Profile = "mini",
    only: Annotated[list[str] | None, typer.Option(
        help="parts, variants, modes, windows, sizes, proposals; with profile paper also "
             "instance, relation, alignment; repeatable  [default: all]")] = None,
    device: Annotated[str, typer.Option(
        help="auto (a GPU where there is one), cpu or cuda.")] = "auto",
    precision: Annotated[str | None, typer.Option(
        help="float32, bfloat16 or float16  [default: bfloat16 on a GPU, else float32]")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds of each experiment, at most.")] = 15,
    budget: Annotated[float, typer.Option(
        help="Seconds of an experiment after which no further round begins; three at least.")] = 60,
    most: Annotated[float | None, typer.Option(
        help="Multiply-adds of a frame; what takes more is left out  [default: 1.2e12 on a CPU, "
             "about a minute of one core]")] = None,
    compiled: Annotated[bool, typer.Option(
        "--compile", help="Compile the stages of the backbone; takes minutes.")] = False,
    out: Annotated[Path | None, typer.Option(
        help="Record, .json  [default: results/bench/PROFILE-DEVICE.json]")] = None,
) -> None:
    """Measure what inference costs: parameters, multiply-adds, time and memory.

    Prints tables and puts them into a record, which notebook 10 reads. Weights are random: time
    does not depend on them.

    \b
    Example: mst bench --profile mini
             mst bench --profile paper --device cuda
             mst bench --profile tiny --only modes --repeats 3 --out build/tiny-cpu.json
    """
    from mstlib.bench.record import begin_record, record_path, run, update_record
    from mstlib.bench.steps import how_to_measure
    from mstlib.bench.tables import text_of

    how = how_to_measure(device, precision, compiled, repeats, budget, most)
    path = out or record_path(profile, how.device.type)
    record = begin_record(path, profile, how.device.type, anew=not only)
    for name, entry in run(profile, only or [], how):
        update_record(path, record, name, entry)
        print(f"{text_of(name, entry)}\n", flush=True)
    print(f"record: {path}")
