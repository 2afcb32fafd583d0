"""From a training and an evaluation to a run record: figures, and how to repeat them.

A training leaves a summary beside its weights (steps, seconds, last losses, the command lines that
led there); the record of an evaluation takes it up. Not part of the paper.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from mstlib.config import Config, config_from_dict
from mstlib.fileio import read_json, write_json
from mstlib.profiles import get_config
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
    """The run record of exported weights, evaluated on a split of MiniVID; raises as
    `run_evaluation`."""
    from mstlib.evaluation.assess import run_evaluation

    run = run_evaluation(weights, split, variant, protocols, settings=settings)
    lines = recipe(config_from_dict(run["config"]), run["variant"], run["seed"], split, tag,
                   settings or {})
    return record_of(run, protocols[0], tag, lines, summary_of(weights))


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
           settings: Mapping[str, object] = MappingProxyType({})) -> list[str]:
    """The command lines that repeat a run of the batch, with the settings that differ from its
    profile's; `settings` were changed for detecting alone."""
    trained = tag if tag and not settings else ""  # a tag may stand for what was changed then
    name = "-".join([variant, *([trained] if trained else []), f"seed{seed}"])
    profile = config.profile
    start = f"build/{profile}/pretrained-seed0.pt"
    weights = f"build/{profile}/weights/{name}.safetensors"
    usual, options = get_config(profile, variant).to_dict(), ""
    for section in ("model", "train", "test"):
        for field, value in config.to_dict()[section].items():
            if value != usual[section][field] and f"{section}.{field}" not in settings:
                options += f" --set {section}.{field}={value}"
    return [
        f"mst pretrain --profile {profile} --seed 0 --out {start}",
        f"mst train --profile {profile} --variant {variant} --seed {seed} --init {start} "
        f"--out build/{profile}/{name}.pt --weights {weights}{options}",
        f"mst evaluate {weights} --split {split}" + (f" --tag {tag}" if tag else "")
        + "".join(f" --set {setting}={value}" for setting, value in settings.items()),
    ]
