"""Options and small parsers that several commands of `mst` share."""

import ast
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from mstlib.config import Config, MSTError, with_overrides
from mstlib.limits import check_settings
from mstlib.profiles import WARM, get_config

Seed = Annotated[int, typer.Option(min=0, help="Seed of the whole run.")]
Settings = Annotated[list[str] | None, typer.Option(
    "--set", metavar="NAME=VALUE", help="Change a setting, such as train.lr=0.01; repeatable.")]
Profile = Annotated[str, typer.Option(
    help="Scale: tiny (seconds), mini (the benchmark), midi (on a GPU) or paper.")]
Results = Annotated[Path, typer.Option(help="Folder that holds runs/, tables/ and checkpoints/.")]
Data = Annotated[str | None, typer.Option(
    metavar="[FORMAT:]PATH", help="Folder of a data set, such as davis:DAVIS  [default: MiniVID]")]

# How a training runs; none of these decides what it learns.
Workers = Annotated[int | None, typer.Option(
    min=0, help="Processes that read data ahead  [default: 0 for MiniVID, else 8 at most]")]
SkipBad = Annotated[bool, typer.Option(
    "--skip-bad", help="Count unreadable files and go on with other windows.")]
TensorBoard = Annotated[Path | None, typer.Option(help="Folder for TensorBoard's events.")]
Device = Annotated[str | None, typer.Option(
    help="auto (a GPU where there is one), cpu or cuda  [default: cpu for MiniVID, else auto]")]


def with_data(config: Config, data: str | None) -> tuple[Config, Path | None]:
    """The configuration for `[FORMAT:]PATH`, and PATH; as it is, and None, without data.

    A format that is not named is found out; MSTError if there is no such format or layout.
    """
    if data is None:
        return config, None
    from mstlib.data.readers import FORMATS, detect_format

    form, colon, path = data.partition(":")
    if not (colon and form in FORMATS):  # a folder may be called as a format
        if colon and "/" not in form and not Path(data).exists():
            raise MSTError(f"unknown data format '{form}'; choose one of {', '.join(FORMATS)}")
        form, path = detect_format(data), data
    return replace(config, source=replace(config.source, format=form)), Path(path)


def how_to_train(config: Config, workers: int | None, skip_bad: bool, tensorboard: Path | None,
                 device: str | None):
    """The options of how a training runs as a `mstlib.training.train.How`.

    What is committed was trained on a CPU: see `default_device`.
    """
    from mstlib.training.train import How

    if workers is None:
        workers = 0 if config.generated else worker_count()  # small frames, read at once
    return How(workers, skip_bad, tensorboard, device or default_device(config))


def default_device(config: Config) -> str:
    """A GPU where there is one, except at the scales whose committed results are a CPU's."""
    return "cpu" if config.generated and config.profile in WARM else "auto"


def named(path: Path, suffix: str) -> None:
    """MSTError unless a file to be written is named as what it will be."""
    if path.suffix != suffix:
        raise MSTError(f"{path}: this file has to be called NAME{suffix}")


def this_command() -> str:
    """The command line as it was given, for a record of how to repeat it."""
    return shlex.join(["mst", *sys.argv[1:]])


def worker_count() -> int:
    """Loader processes for each training process of this node: a core each, less one, 8 at most."""
    allowed = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    cores = len(allowed) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(8, max(1, cores - 1))


def pairs(items: list[str] | None) -> dict[str, str]:
    """["name=value"] as a dict; MSTError where the = is missing."""
    for item in items or []:
        if "=" not in item:
            raise MSTError(f"'{item}': settings are given as NAME=VALUE, such as train.lr=0.01")
    return dict(item.split("=", 1) for item in items or [])


def literal(text: str) -> object:
    """A Python literal (0.01, True, (1, 2)) as its value, anything else as the text it is."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def config_of(profile: str, variant: str, settings: list[str] | None) -> Config:
    """The configuration of a profile and variant with the settings of the command line; MSTError if
    one is unknown, of another type or impossible."""
    config = get_config(profile, variant)
    values = {name: typed(config, name, text) for name, text in pairs(settings).items()}
    return check_settings(with_overrides(config, values))


def typed(config: Config, name: str, text: str) -> object:
    """`text` as a value of the kind that the setting has now; MSTError if it is of another kind."""
    section, _, field = name.partition(".")
    now, value = getattr(getattr(config, section, None), field, None), literal(text)
    if isinstance(now, float) and type(value) is int:
        return float(value)
    if now is not None and type(value) is not type(now):
        raise MSTError(f"{name} is of type {type(now).__name__} (now {now}), got '{text}'")
    return value
