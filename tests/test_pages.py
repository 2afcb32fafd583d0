"""The index page of a batch: what was made, what was not and why, how long it took."""

import pytest

from mstlib.report.pages import write_index


def page(files, work):
    """Both files of the page: html and markdown."""
    paths = write_index(files, work)
    assert [path.name for path in paths] == ["index.html", "index.md"]
    return [path.read_text(encoding="utf-8") for path in paths]


@pytest.fixture
def work(tmp_path):
    """The folder of a batch, beside its results."""
    (tmp_path / "work" / "logs").mkdir(parents=True)
    (tmp_path / "work" / "times").mkdir()
    return tmp_path / "work"


def test_tables_are_shown_with_their_captions(work):
    table = work / "table_V.csv"
    table.write_text('name,value\n"a < b & c","1,5"\nx|y,2\n')
    table.with_suffix(".md").write_text("Table V: <all> of it.\n\n| name | value |\n")
    html, text = page([table], work)
    assert "<h2>table V</h2>" in html and "<p>Table V: &lt;all&gt; of it.</p>" in html
    assert "<th>name</th><th>value</th>" in html and html.count("<table>") == 1
    assert "<td>a &lt; b &amp; c</td><td>1,5</td>" in html
    assert "## table V\n\nTable V: " in text
    assert "| name | value |\n| --- | --- |\n" in text and "| x\\|y | 2 |" in text


def test_a_table_without_caption(work):
    (work / "t.csv").write_text("name\na\n")
    html, _ = page([work / "t.csv"], work)
    assert "<h2>t</h2>\n<div" in html


def test_comparisons_are_tables_too(work):
    (work / "reproduced.json").write_text('[{"run": "tiny-a-seed0", "here": 1.5}]')
    (work / "none.json").write_text("[]")
    html, text = page([work / "reproduced.json", work / "none.json"], work)
    assert "<th>run</th><th>here</th>" in html and "<td>tiny-a-seed0</td><td>1.5</td>" in html
    assert html.count("<table>") == 1 and "| tiny-a-seed0 | 1.5 |" in text


def test_pictures_are_shown_and_other_files_linked_from_where_the_page_lies(work):
    figures = work.parent / "results" / "figures"
    figures.mkdir(parents=True)
    (figures / "fig1.png").touch()
    (work / "a&b.ipynb").write_text("{}")
    html, text = page([figures / "fig1.png", work / "a&b.ipynb"], work)
    assert '<img src="../results/figures/fig1.png" alt="fig1">' in html
    assert '<a href="a&amp;b.ipynb">a&amp;b.ipynb</a>' in html
    assert "![fig1](../results/figures/fig1.png)" in text and "[a&b.ipynb](a&b.ipynb)" in text


def test_files_come_in_the_order_in_which_they_are_given(work):
    for name in ("z.csv", "a.csv"):
        (work / name).write_text("name\n1\n")
    html, text = page([work / "z.csv", work / "a.csv"], work)
    assert text.index("## Failures") < text.index("## z") < text.index("## a")
    assert html.index("<h2>Failures") < html.index("<h2>z") < html.index("<h2>a")


def test_what_was_not_made_comes_first_with_the_last_error_of_each_log(work):
    (work / "logs" / "train-g-seed0.log").write_text(
        "step 1\rstep 2\nValueError: first\nmst: error: <weights> are gone; train again\n")
    (work / "logs" / "train-a-seed0.log").write_text("all went well\n")
    (work / "logs" / "table_V.log").write_bytes(b"\xff\nKeyError: 'tag'\nand then the end\n")
    (work / "there.csv").write_text("name\n1\n")
    html, text = page([work / "there.csv", work / "weights" / "g.pt"], work)
    assert '<section class="failed"><h2>Failures</h2>' in html
    assert html.index("Failures") < html.index("there")
    assert "train-g-seed0: mst: error: &lt;weights&gt; are gone; train again" in html
    assert "table_V: KeyError: &#x27;tag&#x27;" in html
    assert "ValueError: first" not in html and "train-a" not in html
    assert "<td>weights/g.pt</td>" in html and "| weights/g.pt |" in text
    assert "train-g-seed0: mst: error: &lt;weights> are gone" in text


def test_a_failure_without_a_log_says_so(work):
    html, text = page([work / "gone.csv"], work)
    for whole in (html, text):
        assert "1 files were not made" in whole and "no log says why" in whole


def test_no_failure_is_said_too(work):
    (work / "t.csv").write_text("name\na\n")
    (work / "logs" / "old.log").write_text("mst: error: of a job that was repeated\n")
    html, text = page([work / "t.csv"], work)
    for whole in (html, text):
        assert "None: everything that was asked for is here." in whole and "repeated" not in whole
    assert 'class="failed"' not in html


def test_times_of_the_jobs_longest_first(work):
    head = "s\th:m:s\tmax_rss\n"
    (work / "times" / "train-a-seed0.tsv").write_text(head + "60.5\t0:01:00\t700.1\n")
    (work / "times" / "evaluate-a-seed0.tsv").write_text(head + "119.5\t0:02:00\t\n")
    (work / "times" / "killed.tsv").write_text("")
    html, text = page([], work)
    rows = ["| evaluate-a-seed0 | 119.5 |  |", "| train-a-seed0 | 60.5 | 700.1 |",
            "| killed |  |  |"]
    assert "\n".join(rows) in text
    assert "3 jobs, 3.0 minutes of one core in all" in text
    assert "<td>train-a-seed0</td><td>60.5</td><td>700.1</td>" in html


def test_a_page_without_times_has_no_such_section(work):
    assert all("Times" not in whole for whole in page([], work))
