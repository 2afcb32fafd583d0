"""The documents say what is there: tables, links, numbered deviations."""

import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


SHOWN = ["variant", "dalign", "frame", "proposal", "instance", "paper mAP (ImageNet VID)",
         "our mAP (minivid-v1 test)", "sd over seeds", "seeds", "our mAP clean frames",
         "our mAP deteriorated frames"]  # of Table III, in the README
VERDICTS = ["holds", "within noise", "does not hold", "not measured", "not testable here"]


def rows_of(name: str) -> list[dict]:
    with (ROOT / "results" / "tables" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def line(cells) -> str:
    return "| " + " | ".join(cells) + " |"


def test_the_readme_shows_the_committed_table():
    rows = rows_of("table_III")
    head = [line(SHOWN), line(["---"] * len(SHOWN))]
    assert len(rows) == 7  # variants (a) to (g)
    assert "\n".join([*head, *(line(row[c] for c in SHOWN) for row in rows)]) in README


def test_the_readme_counts_the_verdicts_of_the_claims_page():
    claims = rows_of("claims")
    tables = dict.fromkeys(row["table"] for row in claims)
    block = [line(["claims about", *VERDICTS]), line(["---"] * 6)]
    for table in sorted(tables, key=["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX",
                                     "Fig. 5", "Fig. 6"].index):
        found = [row["verdict"] for row in claims if row["table"] == table]
        name = table if table.startswith("Fig") else f"Table {table}"
        block.append(line([name, *(str(found.count(v) or "") for v in VERDICTS)]))
    assert "\n".join(block) in README, "\n".join(block)


@pytest.mark.parametrize("page", ["README.md", "DEVIATIONS.md", "results/minivid/README.md",
                                  "results/miniuav/README.md",
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
    for picture in re.findall(r"<img [^>]*>", README):
        assert len(re.search(r'alt="([^"]*)"', picture)[1].split()) >= 4
