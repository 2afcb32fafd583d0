"""The index page of a batch: its tables and figures, how long each job took, what failed; as one
HTML file for any browser and as markdown.

No JavaScript and no style sheet from elsewhere; pictures are linked. Not part of the paper.
"""

import csv
import html
import os
from collections.abc import Sequence
from pathlib import Path

from mstlib.fileio import read_json, write_text

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>MST: what the batch produced</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 80em; margin: 2em auto; padding: 0 1em }}
table {{ border-collapse: collapse; font-size: 14px }}
td, th {{ padding: .2em .7em; border-bottom: 1px solid #999; vertical-align: top }}
td, th {{ text-align: left }} img {{ max-width: 100% }} .failed {{ border-left: 5px solid #a00;
padding-left: 1em }} div.wide {{ overflow-x: auto }}
</style>
</head>
<body>
<h1>MST: what the batch produced</h1>
{sections}
</body>
</html>
"""
Section = tuple[str, str, list[list[str]], str]  # heading, text, table, picture


def write_index(files: Sequence[Path], work: Path) -> list[Path]:
    """Write `work`/index.html and index.md; the two paths.

    files: what the batch was to make. Each that is there is shown or linked, each that is not is a
    failure, with the last line of its log. Times are those of `work`/times (Snakemake's).
    """
    work, files = Path(work), [Path(path) for path in files]
    there = [path for path in files if path.exists()]
    sections = [_failures([path for path in files if not path.exists()], work),
                *(_section(path, work) for path in there), _times(work)]
    sections = [section for section in sections if section]
    return [write_text(work / "index.html", PAGE.format(
                sections="\n".join(map(_html_section, sections)))),
            write_text(work / "index.md", "# MST: what the batch produced\n\n" + "\n\n".join(
                map(_markdown_section, sections)) + "\n")]


# ---- what there is to say ----------------------------------------------------------------------


def _failures(missing: Sequence[Path], work: Path) -> Section:
    """What was not made, first of all; logs of jobs that failed."""
    if not missing:
        return ("Failures", "None: everything that was asked for is here.", [], "")
    rows = [["not made"], *([os.path.relpath(path, work)] for path in missing)]
    lines = [f"{path.stem}: {last}" for path in sorted((work / "logs").glob("*.log"))
             if (last := _error_of(path))]
    said = "; ".join(lines) or "no log says why: see the messages of the batch"
    return ("Failures", f"{len(missing)} files were not made. {said}.", rows, "")


def _error_of(log: Path) -> str:
    """The last error in a log, "" if it has none."""
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").splitlines()
    errors = [line for line in lines if line.startswith("mst: error") or "Error:" in line]
    return errors[-1].strip() if errors else ""


def _section(path: Path, work: Path) -> Section:
    """A file that is there: a table with its caption, a picture, or a link."""
    link, title = os.path.relpath(path, work), path.stem.replace("_", " ")
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        beside = path.with_suffix(".md")
        text = beside.read_text(encoding="utf-8").split("\n\n")[0] if beside.exists() else ""
        return title, text, rows, ""
    if path.suffix == ".json":
        records = read_json(path)
        rows = [list(records[0]), *(list(map(str, r.values())) for r in records)] if records else []
        return title, "The shipped checkpoints against the committed records.", rows, ""
    if path.suffix == ".png":
        return title, "", [], link
    return title, f"[{link}]", [], ""


def _times(work: Path) -> Section | None:
    """Wall seconds and memory of the jobs, the longest first."""
    rows = []
    for path in sorted((work / "times").glob("*.tsv")):
        head, *lines = [line.split("\t") for line in path.read_text().splitlines()] or [[]]
        values = dict(zip(head, lines[-1], strict=False)) if lines else {}
        rows.append([path.stem, values.get("s", ""), values.get("max_rss", "")])
    rows.sort(key=lambda row: -float(row[1] or 0))
    total = sum(float(row[1] or 0) for row in rows)
    text = f"{len(rows)} jobs, {total / 60:.1f} minutes of one core in all, as far as recorded."
    return ("Times", text, [["job", "wall s", "largest memory, MB"], *rows], "") if rows else None


# ---- two languages -----------------------------------------------------------------------------


def _html_section(section: Section) -> str:
    title, text, rows, picture = section
    text = html.escape(text)
    if text.startswith("["):
        text = f'<a href="{text[1:-1]}">{text[1:-1]}</a>'
    failed = ' class="failed"' if title == "Failures" and rows else ""
    parts = [f"<section{failed}><h2>{html.escape(title)}</h2>", f"<p>{text}</p>" if text else "",
             f'<div class="wide">{_html_table(rows)}</div>' if rows else "",
             f'<img src="{html.escape(picture)}" alt="{html.escape(title)}">' if picture else ""]
    return "\n".join(filter(None, parts)) + "</section>"


def _html_table(rows: list[list[str]]) -> str:
    """Rows as an HTML table, the first as its head."""
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        lines.append("<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in row) + "</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _markdown_section(section: Section) -> str:
    title, text, rows, picture = section
    text = f"{text}({text[1:-1]})" if text.startswith("[") else text.replace("<", "&lt;")
    table = []
    if rows:
        cells = [[c.replace("|", "\\|").replace("<", "&lt;") for c in row] for row in rows]
        rule = ["---"] * len(rows[0])
        table = ["\n".join("| " + " | ".join(row) + " |" for row in [cells[0], rule, *cells[1:]])]
    shown = [f"![{title}]({picture})"] if picture else []
    return "\n\n".join(filter(None, [f"## {title}", text, *table, *shown]))
