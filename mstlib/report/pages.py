"""The index page of a batch: tables shown, everything else linked, in one file for any browser.

No JavaScript and no style sheet from elsewhere: the file can be mailed. Not part of the paper.
"""

import csv
import html
import os
from collections.abc import Sequence
from pathlib import Path

from mstlib.config import MSTError
from mstlib.fileio import read_json, write_text

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>MST: what the batch produced</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
table {{ border-collapse: collapse }} td, th {{ padding: .2em .7em; border-bottom: 1px solid #999 }}
td {{ text-align: right }} td:first-child, th {{ text-align: left }}
</style>
</head>
<body>
<h1>MST: what the batch produced</h1>
{sections}
</body>
</html>
"""


def write_index(files: Sequence[Path], out: Path) -> None:
    """A page with each table (.csv) and comparison (.json) shown and every other file linked.

    MSTError if one of the files is missing or unreadable.
    """
    sections = [_section(Path(path), Path(out)) for path in files]
    write_text(out, PAGE.format(sections="\n".join(sections)))


def _section(path: Path, out: Path) -> str:
    """Heading, link and, where the file is a table, the table."""
    if not path.exists():
        raise MSTError(f"{path}: no such file; `mst reproduce` makes it")
    link = html.escape(os.path.relpath(path, out.parent))
    rows: list[list[str]] = []
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    elif path.suffix == ".json":
        records = read_json(path)
        rows = [list(records[0]), *(list(map(str, r.values())) for r in records)] if records else []
    title = html.escape(path.stem.replace("_", " "))
    return f'<h2>{title}</h2>\n<p><a href="{link}">{link}</a></p>\n{_html_table(rows)}'


def _html_table(rows: list[list[str]]) -> str:
    """Rows as an HTML table, the first as its head; nothing for no rows."""
    lines = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        lines.append("<tr>" + "".join(f"<{tag}>{html.escape(c)}</{tag}>" for c in row) + "</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>" if lines else ""
