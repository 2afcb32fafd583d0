"""Commands of `mst` around the batch: from run records to tables, notebooks and pages.

`mstlib.cli.main` registers them beside those that train and evaluate.
"""

from pathlib import Path
from typing import Annotated

import typer

from mstlib.cli.options import Profile, Results, literal, pairs


def reproduce(
    train: Annotated[bool, typer.Option("--train", help="Train everything (hours) instead of "
                                        "evaluating what is shipped (minutes).")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Jobs at once, one thread each.")] = 2,
    profile: Profile = "mini",
    on: Annotated[str, typer.Option(
        help="Where, a folder of workflow/: local, slurm or kubernetes.")] = "local",
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="List the jobs only.")] = False,
    settings: Annotated[list[str] | None, typer.Option(
        "--set", metavar="NAME=VALUE",
        help="Part of the batch: tables=III,V or runs=a,rdn or seeds=0,1; repeatable.")] = None,
) -> None:
    """Run the batch: what is out of date, and nothing else.

    \b
    Example: mst reproduce
             mst reproduce --train --set tables=V
             mst reproduce --train --profile tiny --set runs=a,g --set seeds=0
    """
    from mstlib.report.batch import reproduce as run

    options = ["--dry-run"] if dry_run else []
    raise typer.Exit(run(profile, train, jobs, on, pairs(settings), options))


def table(
    name: Annotated[str, typer.Argument(help="Table of the paper, I to IX, or claims, or "
                                        "controls.")],
    profile: Profile = "mini", results: Results = Path("results"),
    bench: Annotated[Path | None, typer.Option(
        help="Folder of the bench's records  [default: bench/ in --results]")] = None,
    out: Annotated[Path | None, typer.Option(help="Write .csv and .md into this folder.")] = None,
) -> None:
    """Make a table of the paper from the run records.

    \b
    Example: mst table III
             mst table claims --out results/tables
    """
    from mstlib.report.catalogue import table_name
    from mstlib.report.results import make_table, write_table

    title = table_name(name)
    frame = make_table(title, results, profile, bench)
    print(f"{frame.attrs['caption']}\n\n{frame.to_string(index=False)}\n")
    if out:
        write_table(title, frame, out)


def figure(
    name: Annotated[str, typer.Argument(help="Figure of the paper: 1, 5 or 6.")],
    out: Annotated[Path | None, typer.Option(
        help="Picture to write, .png  [default: figures/figNAME.png in --results]")] = None,
    profile: Profile = "mini", results: Results = Path("results"),
) -> None:
    """Make a figure of the paper from the shipped checkpoints and the test split.

    \b
    Example: mst figure 5
    """
    from mstlib.report.figures import write_figure

    out = out or results / "figures" / f"fig{name}.png"
    print(f"{out}: {write_figure(name, out, results / 'checkpoints', profile)}")


def check(results: Results = Path("results"), notebooks: Path = Path("notebooks")) -> None:
    """Check tables against records, notebooks against code.

    \b
    Example: mst check
    """
    from mstlib.notebook import is_fresh
    from mstlib.report.results import check_tables

    wrong = check_tables(results)
    stale = [path for path in sorted(notebooks.glob("*.ipynb")) if not is_fresh(path)]
    wrong += [f"{path}: outputs are not of this code; run `mst notebook {path}`" for path in stale]
    print("\n".join(wrong) or "tables and notebooks agree with the records and the code")
    raise typer.Exit(int(bool(wrong)))


def notebook(
    source: Annotated[Path, typer.Argument(help="Notebook to run, .ipynb or percent .py.")],
    output: Annotated[Path | None, typer.Argument(help="Where to  [default: in place]")] = None,
    parameters: Annotated[list[str] | None, typer.Option(
        "--parameter", "-p", metavar="NAME=VALUE", help="Value of the parameters cell.")] = None,
) -> None:
    """Run a notebook without a browser.

    The same inputs give the same bytes; an unknown parameter is an error.

    \b
    Example: mst notebook notebooks/09_tables.ipynb build/table_III.ipynb -p table=III
    """
    from mstlib.notebook import run_notebook

    values = {name: literal(value) for name, value in pairs(parameters).items()}
    run_notebook(source, output or source.with_suffix(".ipynb"), values)


def notebooks(
    folder: Annotated[Path, typer.Argument(help="Folder of percent sources, .py.")] = Path(
        "notebooks"),
    every: Annotated[bool, typer.Option("--all", help="Those that are up to date too.")] = False,
    covers: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path(
        "results/figures/notebooks"),
) -> None:
    """Make each .ipynb whose source changed: convert it, run it, write it beside; then the README's
    pictures of them.

    \b
    Example: mst notebooks
    """
    from mstlib.covers import write_covers
    from mstlib.notebook import build_notebooks

    made = build_notebooks(folder, every)
    write_covers(folder, covers)
    print("\n".join(map(str, made)) or "every notebook is up to date")


def picture(
    out: Annotated[Path, typer.Option(help="Picture to write, .png.")] = Path(
        "results/figures/rescued.png"),
    profile: Profile = "mini", results: Results = Path("results"),
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    rank: Annotated[int, typer.Option(min=0, help="0: the widest gap between the scores.")] = 0,
) -> None:
    """Draw an object that (a) misses in one frame and (g) finds with the frames around it.

    \b
    Example: mst picture --out results/figures/rescued.png
    """
    from mstlib.report.picture import write_rescued

    case = write_rescued(out, results / "checkpoints", profile, split, rank)
    print(f"{out}: clip {case.clip}, frame {case.t}, object {case.track}: "
          f"score {case.plain:.2f} with (a), {case.full:.2f} with (g)")


def compare(
    records: Annotated[list[Path], typer.Argument(help="Run records just made, .json.")],
    runs: Annotated[Path, typer.Option(
        help="Folder of the records to compare with.")] = Path("results/runs"),
    out: Annotated[Path | None, typer.Option(help="Write the comparison as JSON.")] = None,
) -> None:
    """Compare new run records with the committed ones.

    \b
    Example: mst compare build/mini/reproduced/g.json
    """
    from mstlib.fileio import write_json
    from mstlib.report.batch import compare_records, report_lines

    rows = compare_records(records, runs)
    if out:
        write_json(out, rows)
    else:
        print("\n".join(report_lines(rows)))


def index(
    work: Annotated[Path, typer.Option(help="Folder of the batch: its times and logs.")],
    files: Annotated[list[Path] | None, typer.Argument(
        help="What the batch was to make: tables .csv, comparisons .json, figures, notebooks.")
    ] = None,
) -> None:
    """Write index.html and index.md of a batch: tables, figures, times, and what failed.

    \b
    Example: mst index results/tables/table_III.csv --work build/mini
    """
    from mstlib.report.pages import write_index

    for path in write_index(files or [], work):
        print(path)


def cost(
    profile: Profile = "mini",
    repeats: Annotated[int | None, typer.Option(
        min=0, help="Steps timed of each variant  [default: 9; at paper scale 0]")] = None,
) -> None:
    """Parameters of each variant and the time of its training step, as a ratio to (a)'s.

    \b
    Example: mst cost --profile tiny --repeats 3
    """
    from mstlib.cost import cost_lines

    print("\n".join(cost_lines(profile, repeats)))
