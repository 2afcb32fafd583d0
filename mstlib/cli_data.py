"""The commands `mst data ...`: MiniVID, and data sets on disk."""

from pathlib import Path
from typing import Annotated

import typer

from mstlib.cli_options import Profile
from mstlib.profiles import get_config

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def data(
    context: typer.Context,
    profile: Profile = "mini",
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "all",
    card: Annotated[Path | None, typer.Option(help="Write the data card into this folder.")] = None,
) -> None:
    """Generate MiniVID where absent, say where it lies.

    \b
    Example: mst data --profile mini --split test
             mst data --card results/minivid
    """
    if context.invoked_subcommand:
        return
    from mstlib.data.generate import SPLITS, ensure_minivid, extent

    config = get_config(profile).data
    for name in SPLITS if split == "all" else [split]:
        clips, length = extent(config, name)
        print(f"{name}: {clips} clips of {length} frames in {ensure_minivid(config, name)}")
    if card:
        from mstlib.data.card import write_card

        write_card(config, card)
        print(f"data card: {card}")
