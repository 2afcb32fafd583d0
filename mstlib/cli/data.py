"""The commands `mst data ...`: MiniVID, and data sets on disk."""

from pathlib import Path
from typing import Annotated

import typer

from mstlib.cli.options import Profile, Settings, config_of, with_data
from mstlib.config import DataConfig
from mstlib.profiles import get_config

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def data(
    context: typer.Context,
    profile: Profile = "mini",
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "all",
    card: Annotated[Path | None, typer.Option(help="Write the data card into this folder.")] = None,
    settings: Settings = None,
) -> None:
    """Generate MiniVID (or with source.format=miniuav MiniUAV) where absent, say where it lies.

    \b
    Example: mst data --profile mini --split test
             mst data --card results/minivid
             mst data --set source.format=miniuav --set data.train_clips=30 --set data.test_clips=20
    """
    if context.invoked_subcommand:
        return
    whole = config_of(profile, "a", settings)
    config = whole.data
    if whole.source.format == "miniuav":
        _miniuav(config, card)
        return
    from mstlib.data.minivid.generate import SPLITS, ensure_minivid, extent

    for name in SPLITS if split == "all" else [split]:
        clips, length = extent(config, name)
        print(f"{name}: {clips} clips of {length} frames in {ensure_minivid(config, name)}")
    if card:
        from mstlib.data.minivid.card import write_card

        write_card(config, card)
        print(f"data card: {card}")


def _miniuav(config: DataConfig, card: Path | None) -> None:
    """The second scene: one folder holds all splits."""
    from mstlib.data.miniuav.generate import ensure_miniuav

    print(f"train and test: {ensure_miniuav(config)}")
    if card:
        from mstlib.data.miniuav.card import write_card

        write_card(config, card)
        print(f"data card: {card}")


@app.command()
def check(
    data: Annotated[str, typer.Argument(metavar="[FORMAT:]PATH", help="Folder of a data set.")],
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "all",
    quick: Annotated[bool, typer.Option("--quick", help="Headers only, no image decoded.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    show: Annotated[int, typer.Option(min=0, help="Problems shown of each kind.")] = 5,
    out: Annotated[Path | None, typer.Option(help="Write all of them to this .json.")] = None,
) -> None:
    """Look for damaged files and wrong annotations in a data set; exit code 1 if there are any.

    \b
    Example: mst data check coco-vid:my-data
             mst data check DAVIS --split val --quick --out build/check.json
    """
    from mstlib.data.check.check import check_data, report_lines
    from mstlib.fileio import write_json

    config, root = with_data(get_config("mini"), data)
    report = check_data(config.source.format, root.expanduser(), split, quick, jobs)
    print("\n".join(report_lines(report, show)))
    if out:
        write_json(out, report)
        print(f"report: {out}")
    raise typer.Exit(int(bool(report["problems"])))


@app.command()
def lookalike(
    format: Annotated[str, typer.Argument(help="Layout, such as imagenet-vid or coco-vid.")],
    folder: Annotated[Path, typer.Argument(help="New folder to write it to.")],
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other pictures.")] = 0,
) -> None:
    """Write a small made-up data set of a layout, to try things without the real one.

    \b
    Example: mst data lookalike coco-vid build/lookalike
    """
    from mstlib.data.formats.lookalike import write_lookalike

    write_lookalike(format, folder, seed)
    print(f"{format}: {folder}")


@app.command()
def convert(
    format: Annotated[str, typer.Argument(help="cvat (CVAT for video 1.1) or mot (MOT 1.1).")],
    source: Annotated[Path, typer.Argument(help="Annotations: a file, or a folder of several.")],
    out: Annotated[Path, typer.Option(help="Folder of the data set, made or added to.")],
    images: Annotated[Path | None, typer.Option(
        help="Video file, folder of its frames, or folder of several of these  "
             "[default: images/ or img1/ beside the annotations]")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "train",
    classes: Annotated[str, typer.Option(
        help="mot: names of the classes, as in car,person  [default: labels.txt]")] = "",
    name: Annotated[str, typer.Option(help="Of the video  [default: as its file]")] = "",
    copy: Annotated[bool, typer.Option("--copy", help="Copy the frames there.")] = False,
) -> None:
    """Add videos annotated with CVAT, or in the MOT format, to a data set of layout coco-vid.

    \b
    Example: mst data convert cvat annotations.xml --images street.mp4 --out my-data
             mst data convert mot MOT17-02 --classes pedestrian --out my-data --split val
    """
    from mstlib.data.formats.convert import convert as run

    names = [part.strip() for part in classes.split(",") if part.strip()]
    print("\n".join(run(format, source, images, out, split, classes=names, name=name, copy=copy)))
    print(f"annotations: {out / 'annotations' / split}.json")
