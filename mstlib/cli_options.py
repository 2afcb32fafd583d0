"""Options and small parsers that several commands of `mst` share."""

import ast
from pathlib import Path
from typing import Annotated

import typer

from mstlib.config import Config, MSTError, with_overrides
from mstlib.profiles import get_config

Seed = Annotated[int, typer.Option(min=0, help="Seed of the whole run.")]
Settings = Annotated[list[str] | None, typer.Option(
    "--set", metavar="NAME=VALUE", help="Change a setting, such as train.lr=0.01; repeatable.")]
Profile = Annotated[str, typer.Option(help="Scale: tiny (seconds) or mini (the benchmark).")]
Results = Annotated[Path, typer.Option(help="Folder that holds runs/, tables/ and checkpoints/.")]


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
    """The configuration of a profile and variant with the settings of the command line."""
    config = get_config(profile, variant)
    values = {name: typed(config, name, text) for name, text in pairs(settings).items()}
    return with_overrides(config, values)


def typed(config: Config, name: str, text: str) -> object:
    """`text` as a value of the kind that the setting has now; MSTError if it is of another kind."""
    section, _, field = name.partition(".")
    now, value = getattr(getattr(config, section, None), field, None), literal(text)
    if isinstance(now, float) and type(value) is int:
        return float(value)
    if now is not None and type(value) is not type(now):
        raise MSTError(f"{name} is of type {type(now).__name__} (now {now}), got '{text}'")
    return value
