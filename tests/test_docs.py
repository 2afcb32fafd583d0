"""The documents say what is there: tables, links, numbered deviations."""

import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_shows_the_committed_table():
    written = (ROOT / "results" / "tables" / "table_III.md").read_text(encoding="utf-8")
    rows = [line for line in written.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 7  # header, rule, variants (a) to (g)
    assert "\n".join(rows) in README


def test_the_readme_tells_the_verdicts_of_the_claims_table():
    with (ROOT / "results" / "tables" / "table_III_claims.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["frames"] == "all"]
    for verdict in ("holds", "within noise", "does not hold"):
        names = ", ".join(row["claim"] for row in rows if row["verdict"] == verdict)
        assert (f"\n- {verdict}: {names}\n" in README) == bool(names)
        assert (f"\n- {verdict}: " in README) == bool(names)


@pytest.mark.parametrize("page", ["README.md", "DEVIATIONS.md", "results/minivid/README.md",
                                  *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    assert missing == []


def test_every_deviation_named_in_the_code_exists_and_is_named_where_it_happens():
    entries = re.findall(r"^(\d+)\. \*\*", (ROOT / "DEVIATIONS.md").read_text(), re.MULTILINE)
    assert [int(n) for n in entries] == list(range(1, len(entries) + 1))
    code = "".join(p.read_text() for p in (ROOT / "mstlib").rglob("*.py"))
    named = set(re.findall(r"DEVIATIONS\.md (\d+)", code))
    assert named == set(entries)


def test_every_picture_has_words():
    for alt in re.findall(r"!\[([^\]]*)\]", README):
        assert len(alt.split()) >= 8
