"""The command `mst evaluate`: from a checkpoint, or from saved detections, to figures."""

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from mstlib.cli.options import Data, pairs, this_command, typed, with_data
from mstlib.config import MSTError
from mstlib.profiles import get_config

USUAL = {  # protocols by format unless told; the first one leads
    "imagenet": ["vid", "vid-devkit"], "imagenet-vid": ["vid", "vid-devkit"],
    "imagenet-det": ["vid", "vid-devkit"], "uavdt": ["vid", "uavdt"], "miniuav": ["vid", "uavdt"],
}
ALL = ["vid", "vid-devkit", "coco"]


def evaluate(
    checkpoint: Annotated[Path | None, typer.Argument(help="Weights, .safetensors.")] = None,
    data: Data = None,
    split: Annotated[str | None, typer.Option(
        help="val (settings are chosen here) or test  [default: test]")] = None,
    protocol: Annotated[list[str] | None, typer.Option(
        help="vid, vid-devkit, coco or uavdt; repeatable, the first one leads  [default: vid, "
             "vid-devkit, coco; UAVDT: vid, uavdt; ImageNet: vid, vid-devkit]")] = None,
    variant: Annotated[str | None, typer.Option(
        help="Insist that the checkpoint is of this variant.")] = None,
    save: Annotated[Path | None, typer.Option(
        help="Write the detections to this folder, or go on there.")] = None,
    detections: Annotated[Path | None, typer.Option(
        help="Score these: a folder written by --save, or a .csv.")] = None,
    skip_bad: Annotated[bool, typer.Option(
        "--skip-bad", help="Leave out frames that cannot be read, and count them.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that score.")] = 1,
    device: Annotated[str | None, typer.Option(
        help="auto (a GPU where there is one), cpu or cuda  [default: cpu for MiniVID, else auto]"
    )] = None,
    settings: Annotated[list[str] | None, typer.Option(
        "--set", metavar="NAME=VALUE", help="Change how it detects: test.mode=cached, "
        "test.window=5, model.instance_k=10 ...; repeatable.")] = None,
    link: Annotated[list[str] | None, typer.Option(
        help="Link detections across frames: seqnms, tubelet or blr; repeatable, a record each."
    )] = None,
    tag: Annotated[str, typer.Option(
        help="What differs from the profile's own settings  [default: the data set]")] = "",
    record: Annotated[bool, typer.Option("--record", help="Write results/runs/ID.json.")] = False,
    out: Annotated[Path | None, typer.Option(
        help="Write the run record to this file; with --link, records to this folder.")] = None,
) -> None:
    """Measure a checkpoint on MiniVID or on a data set of yours and print its figures.

    Protocols, slices, saving and several GPUs: docs/evaluation.md.

    \b
    Example: mst evaluate results/checkpoints/mini-g.safetensors
             mst evaluate build/mini/g-seed0.safetensors --split val --protocol coco
             mst evaluate results/checkpoints/mini-g.safetensors --set test.mode=cached
             mst evaluate my.safetensors --data davis:DAVIS --split val --save build/found
             mst evaluate --detections build/found --data davis:DAVIS --jobs 2
             mst evaluate results/checkpoints/mini-g.safetensors --link seqnms --link blr
    """
    if (checkpoint is None) == (detections is None) or (save and detections):
        raise MSTError("give weights to evaluate, with or without --save FOLDER, or --detections "
                       "to score again")
    if settings and detections:
        raise MSTError("--set changes how a model detects; saved detections are as they are")
    if link and save:
        raise MSTError("detections are saved as they are found; link them when you score them: "
                       "mst evaluate --detections FOLDER --link seqnms")
    config, root = with_data(get_config("mini"), data)
    changes = {name: typed(config, name, text) for name, text in pairs(settings).items()}
    wanted = protocol or USUAL.get(config.source.format if data else _format(checkpoint), ALL)
    how = {"variant": variant, "protocols": wanted, "settings": changes}
    if checkpoint and not (data or save or skip_bad or jobs > 1 or device):
        from mstlib.report.recording import evaluation_record, linked_records

        split = split or "test"
        runs = linked_records(checkpoint, link, split, tag=tag, **how) if link else [
            evaluation_record(checkpoint, split, tag=tag, **how)]
    else:
        from mstlib.evaluation.assess import run_evaluation
        from mstlib.evaluation.linked import run_linked

        place, asked = data and (config.source.format, root), {"skip_bad": skip_bad, "jobs": jobs}
        how |= asked | {"split": split or "test", "data": place,
                        "device": device or ("auto" if data else "cpu")}
        figures = (_rescored(detections, place, split, wanted, link, asked) if detections else
                   run_linked(checkpoint, link, **how) if link else
                   {"": run_evaluation(checkpoint, save=save, **how)})
        runs = [_record(run, wanted[0], tag, name, checkpoint,
                        detections and _saving(run, data, detections))
                for name, run in figures.items() if run]  # none: one of several processes
    for run in runs:
        print("\n".join(report(run)))
        path = out if out and not link else out and out / f"{_id(run)}.json"
        path = path or (Path("results", "runs", f"{_id(run)}.json") if record else None)
        if path:
            from mstlib.fileio import write_json

            write_json(path, run)
            print(f"run record: {path}")


def _format(checkpoint: Path | None) -> str:
    """The data that a checkpoint was trained on; "" without one."""
    from mstlib.checkpoint import read_metadata

    return json.loads(read_metadata(checkpoint)["config"])["source"]["format"] if checkpoint else ""


def _rescored(detections: Path, place: tuple | None, split: str | None, protocols: list[str],
              links: list[str] | None, asked: dict) -> dict[str, dict]:
    """The figures of saved detections, by the name of what links them."""
    from mstlib.evaluation.assess import Ask, rescore

    if "blr" in (links or ()):
        raise MSTError(f"{detections}: BLR links by relations that a model learned, which saved "
                       "detections do not hold; give the weights in place of --detections")
    return {name: rescore(detections, place, split, Ask(protocols, link=name, **asked))
            for name in links or [""]}


def _saving(run: dict, data: str | None, detections: Path) -> str:
    """The command that saved detections."""
    return shlex.join(["mst", "evaluate", run.get("weights", ""),
                       *(["--data", data] if data else []), "--split", run["split"],
                       "--save", str(detections)])


def _record(run: dict, protocol: str, tag: str, link: str, checkpoint: Path | None,
            made: str | None) -> dict:
    """A run record where it is known whose figures they are, else the figures as they are.

    link: what linked the detections, ends the tag. made: the command that made the detections, if
    it was another one.
    """
    if "config" not in run:
        return run
    from mstlib.report.catalogue import run_name
    from mstlib.report.recording import record_of, summary_of

    training = summary_of(checkpoint) if checkpoint else {}
    minivid = run["config"]["data"]["name"] == run["dataset"]
    lines = [*training.get("recipe", []), *([made] if made else []), this_command()]
    tag = tag or ("" if minivid else run["dataset"])
    return record_of(run, protocol, run_name(tag, link), lines, training)


def _id(run: dict) -> str:
    if "id" not in run:
        raise MSTError("these detections do not say who made them: give --out FILE in place of "
                       "--record")
    return run["id"]


# What is printed ----------------------------------------------------------------------------------


def report(run: dict) -> list[str]:
    """The figures of a record as lines: mAP of every slice, then AP of every class, in percent."""
    where = run["dataset"] if isinstance(run["dataset"], dict) else {
        "name": run["dataset"], "split": run["split"], "counts": run}
    counts, metrics = where["counts"], run["metrics"]
    skipped = f", {counts['skipped']} more skipped" if counts.get("skipped") else ""
    lines = [f"{run.get('id', 'detections')} on {where['name']} {where['split']}: "
             f"{counts['clips']} clips, {counts['frames']} frames{skipped}"]
    lines += _table("mAP %", "slices", {p: m["slices"] for p, m in metrics.items()}, metrics)
    lines += _table("AP %", "classes", {p: m["per_class"] for p, m in metrics.items()}, metrics)
    return lines + [f"{p}: " + ", ".join(f"{name} {_number(value)}"
                                         for name, value in m["extra"].items())
                    for p, m in metrics.items() if m["extra"]]


def _table(title: str, kind: str, columns: dict[str, dict], metrics: dict[str, dict]) -> list[str]:
    """A column for each protocol and the number of objects; rows without any object are left
    out."""
    objects = {name: count for m in metrics.values() for name, count in m["objects"][kind].items()}
    rows = [name for name, count in objects.items() if count]
    wide = max(map(len, [title, *rows]))
    lines = ["", f"{title:{wide}}" + "".join(f"{p:>12}" for p in columns) + f"{'objects':>10}"]
    for name in rows:
        cells = "".join(f"{_number(column.get(name, '')):>12}" for column in columns.values())
        lines.append(f"{name:{wide}}{cells}{objects[name]:>10}")
    return lines


def _number(value: float | str | None) -> str:
    """Two decimals, nothing for what a protocol does not report."""
    return value if isinstance(value, str) else "-" if value is None else f"{value:.2f}"
