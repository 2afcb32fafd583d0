"""From a training and an evaluation to a run record: figures, and how to repeat them.

A training leaves a summary beside its weights (steps, seconds, last losses, the command lines that
led there); the record of an evaluation takes it up. Not part of the paper.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from mstlib.config import Config, config_from_dict
from mstlib.fileio import read_json, write_json
from mstlib.profiles import WARM, get_config
from mstlib.report.catalogue import STARTS, options, run_name, start_name
from mstlib.report.records import device_name, new_record


def write_summary(state: dict, path: Path, command: str, init: Path | None = None) -> None:
    """What a record keeps of a training, beside its weights: steps, wall seconds, last losses, and
    its recipe: the command lines of what it started from, as far as known, then its own."""
    losses = dict(state["log"][-1]) if state["log"] else {}
    losses.pop("step", None)
    before = summary_of(init).get("recipe", []) if init else []
    write_json(path, {"steps": state["step"], "seconds": round(state["wall_s"], 1),
                      "losses": losses, "recipe": [*before, command]})


def summary_of(weights: Path) -> dict:
    """The summary beside weights or a training state; empty without one. Shipped weights have none:
    their training stands in the committed record."""
    path = weights.with_suffix(".json")
    return read_json(path) if path.exists() else {}


def evaluation_record(
    weights: Path, split: str = "test", protocols: Sequence[str] = ("vid",), tag: str = "",
    variant: str | None = None, settings: dict[str, object] | None = None,
) -> dict:
    """The run record of exported weights, evaluated on a split of generated data; raises as
    `run_evaluation`."""
    from mstlib.evaluation.assess import run_evaluation

    run = run_evaluation(weights, split, variant, protocols, settings=settings)
    return generated_record(run, weights, protocols[0], tag, settings or {})


def linked_records(
    weights: Path, links: Sequence[str], split: str = "test", protocols: Sequence[str] = ("vid",),
    tag: str = "", variant: str | None = None, settings: dict[str, object] | None = None,
) -> list[dict]:
    """As `evaluation_record`, one for each way of linking the detections; its name ends the tag."""
    from mstlib.evaluation.linked import run_linked

    runs = run_linked(weights, links, split, variant, protocols, settings=settings)
    return [generated_record(run, weights, protocols[0], run_name(tag, link),
                             settings or {}, link) for link, run in runs.items()]


def generated_record(run: dict, weights: Path, protocol: str, tag: str,
                     settings: Mapping[str, object], link: str = "") -> dict:
    """The record of a run on generated data, with the commands that repeat it."""
    config = config_from_dict(run["config"])
    lines = recipe(config, run["variant"], run["seed"], run["split"], tag, settings, link)
    return record_of(run, protocol, tag, lines, summary_of(weights))


def record_of(run: dict, protocol: str, tag: str, lines: Sequence[str], training: dict) -> dict:
    """The run record of what `run_evaluation` or `rescore` returned.

    protocol: the one that leads. lines: the commands that repeat it. training: its `summary_of`.
    """
    config = config_from_dict(run["config"])
    seconds = {"evaluate": run["evaluate_s"]}
    if training:
        seconds["train"] = training["seconds"]
    record = new_record(
        config, run["variant"], run["seed"], metrics=run["metrics"], bootstrap=run["bootstrap"],
        split=run["split"], counts={name: run[name] for name in ("clips", "frames", "skipped")},
        steps=training.get("steps", config.train.steps), losses=training.get("losses", {}),
        seconds=seconds, device=device_name(run["device"]), protocol=protocol, tag=tag,
        recipe=list(lines))
    record["dataset"]["name"] = run["dataset"]
    return record | ({"measures": run["measures"]} if "measures" in run else {})


def recipe(config: Config, variant: str, seed: int, split: str, tag: str = "",
           settings: Mapping[str, object] = MappingProxyType({}), link: str = "") -> list[str]:
    """The command lines that repeat a run of the batch, with the settings that differ from its
    profile's; `settings` were changed for detecting alone, `link` linked its detections."""
    given = tag.removesuffix(link).removesuffix("-") if link else tag
    ours = "" if settings else given  # what was trained; a tag may stand for how it detects
    profile, begun = config.profile, ours if ours in STARTS else ""
    start = f"build/{profile}/{start_name(begun, 0)}.pt"
    weights = f"build/{profile}/weights/{run_name(variant, ours, f'seed{seed}')}"
    usual, changed = get_config(profile, variant).to_dict(), {}
    for section in ("source", "data", "model", "train", "test"):
        for field, value in config.to_dict()[section].items():
            if value != usual[section][field] and f"{section}.{field}" not in settings:
                changed[f"{section}.{field}"] = value
    warm = profile in WARM  # others train from nothing
    before = [f"mst pretrain --profile {profile} --seed 0{spaced(STARTS.get(begun, {}))} "
              f"--out {start}"] if warm else []
    return [
        *before,
        f"mst train --profile {profile} --variant {variant} --seed {seed} "
        + (f"--init {start} " if warm else "")
        + f"--out build/{profile}/{Path(weights).name}.pt --weights {weights}.safetensors"
        f"{spaced(changed)}",
        f"mst evaluate {weights}.safetensors --split {split}" + (f" --tag {given}" if given else "")
        + (f" --link {link}" if link else "") + spaced(settings),
    ]


def spaced(settings: Mapping[str, object]) -> str:
    """Settings as options of a command line, each after a blank."""
    return f" {options(settings)}" if settings else ""
