"""The notebooks: one skeleton, every claim runs at `tiny`, and what is committed is up to date."""

import ast
import importlib
import re
import tempfile
from pathlib import Path

import nbformat
import pytest

from mstlib.config import VARIANTS, MSTError
from mstlib.fileio import ROOT
from mstlib.notebook import (
    KERNELSPEC,
    build_notebooks,
    is_paired,
    notebook_parameters,
    read_notebook,
    run_notebook,
)
from mstlib.profiles import get_config
from mstlib.report.recording import evaluation_record
from mstlib.report.records import write_record
from mstlib.training.experiment import run_pretraining, run_training, trained

FOLDER = ROOT / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))
COMMITTED = sorted(FOLDER.glob("*.ipynb"))
LIMIT = 700_000  # bytes

by_name = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
committed = pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)


def texts(notebook) -> list[str]:
    """Sources of the text cells."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def codes(notebook) -> list[str]:
    """Sources of the code cells."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


# ---- the sources ------------------------------------------------------------------------------


@by_name
def test_the_title_asks_and_the_fact_line_answers(source):
    cells = texts(read_notebook(source))
    titles = re.findall(r"^# .*$", "\n".join(cells), flags=re.MULTILINE)
    assert len(titles) == 1 and titles[0].endswith("?") and cells[0].startswith(titles[0])
    for fact in ("Paper", "Equations", "CPU", "Needs", "Module", "Previous", "Next"):
        assert f"**{fact}**" in cells[0], fact


@by_name
def test_a_notebook_leads_to_its_neighbours(source):
    facts = " ".join(texts(read_notebook(source))[0].split())
    place = SOURCES.index(source)
    for word, step in (("Previous", -1), ("Next", 1)):
        said = facts.partition(f"**{word}** ")[2]
        if 0 <= place + step < len(SOURCES):
            stem = SOURCES[place + step].stem
            assert said.startswith(f"[{stem[:2]}]({stem}.ipynb), "), said
        else:
            assert said.startswith("none, this is the "), said


@by_name
def test_the_parameters_are_few_typed_literals_with_a_comment(source):
    notebook = read_notebook(source)
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    lines = ast.parse(tagged[0].source).body
    assert 1 <= len(lines) <= 6
    for line, text in zip(lines, tagged[0].source.splitlines(), strict=True):
        assert isinstance(line, ast.AnnAssign) and isinstance(line.value, ast.Constant)
        assert "  # " in text


@by_name
def test_cells_are_as_many_and_as_long_as_one_can_read(source):
    notebook = read_notebook(source)
    assert 20 <= len(notebook.cells) <= 30
    for code in codes(notebook):
        assert len(code.splitlines()) <= 15 or code.startswith("import "), code


@by_name
def test_exercises_are_rated_and_checked_and_the_summary_leads_into_the_package(source):
    cells = texts(read_notebook(source))
    exercises = next(cell for cell in cells if cell.startswith("## Exercises"))
    assert 2 <= len(re.findall(r"^\d\. [★☆]{3}, \d+ minutes", exercises, re.MULTILINE)) <= 3
    assert any("check(" in code and "guess" in code for code in codes(read_notebook(source)))
    summary = cells[-1]
    assert summary.startswith("## Summary") and "| here | in mstlib |" in summary
    names = re.findall(r"`([\w.]+)\.(\w+)`", summary)
    assert names
    for module, name in names:
        assert hasattr(importlib.import_module(f"mstlib.{module}"), name), f"{module}.{name}"


@by_name
def test_links_lead_to_files(source):
    for target in re.findall(r"\]\(([^)#]+)\)", "\n".join(texts(read_notebook(source)))):
        path = FOLDER / target
        assert "://" in target or path.exists() or path.with_suffix(".py").exists(), target


# ---- run at tiny ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tiny_results(tmp_path_factory):
    """A results folder with the records of all variants, (a) and (g) with two seeds."""
    home = tmp_path_factory.mktemp("notebooks")
    results, work = home / "results", home / "work"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MST_DATA", str(home / "data"))
        patch.setenv("PYTHONPATH", str(ROOT))  # for the kernels, where nothing is installed
        run_pretraining(get_config("tiny"), 0, work / "pretrained.pt")
        for variant, seed in [*((v, 0) for v in VARIANTS), ("a", 1), ("g", 1)]:
            weights = work / f"{variant}{seed}.safetensors"
            state = weights.with_suffix(".pt")
            run_training(get_config("tiny", variant), seed, work / "pretrained.pt", state, weights)
            write_record(evaluation_record(weights), results / "runs")
        for variant in "ag":
            trained("tiny", variant)  # now, for two kernels would train it at once
        yield results


def values_for(source: Path, results: Path) -> dict[str, str]:
    """What a notebook gets told of the tiny run."""
    known = notebook_parameters(read_notebook(source))
    values = {"profile": "tiny", "results": str(results)}
    return {name: value for name, value in values.items() if name in known}


@pytest.fixture(scope="session")
def twice(tiny_results, tmp_path_factory):
    """Each notebook executed twice at tiny: stem -> the two files."""
    folder = tmp_path_factory.mktemp("executed")
    made = {s.stem: [folder / f"{s.stem}-{n}.ipynb" for n in (1, 2)] for s in SOURCES}
    for source in SOURCES:  # in turn: two kernels that start at once may pick the same port
        for out in made[source.stem]:
            run_notebook(source, out, values_for(source, tiny_results))
    return made


def check_outputs(path: Path) -> None:
    """What holds of every executed notebook, whatever its numbers."""
    assert path.stat().st_size <= LIMIT
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec == KERNELSPEC
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    shown = widget_outputs(notebook)
    for output in [*outputs, *shown]:
        assert output.output_type != "error" and output.get("name") != "stderr"
        for kind in (k for k in output.get("data", {}) if k.startswith("image/")):
            assert len(output.metadata[kind]["alt"]) > 10
    told = [output["data"]["text/markdown"] for output in outputs
            if "text/markdown" in output.get("data", {})]
    assert any("<details><summary>Answer to" in text for text in told)
    for picture in live_pictures(notebook):
        assert len(re.search(r'<img alt="([^"]*)"', picture).group(1)) > 10
    for place in {str(ROOT), str(Path.home()), tempfile.gettempdir()} - {"/"}:
        own = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
        assert place not in str(own), place


def widget_states(notebook) -> list[dict]:
    """The state of every widget of a notebook."""
    kinds = notebook.metadata.get("widgets", {}).values()
    return [widget["state"] for kind in kinds for widget in kind["state"].values()]


def widget_outputs(notebook) -> list:
    """What the Output widgets of a notebook show."""
    return [nbformat.from_dict(o) for state in widget_states(notebook)
            for o in state.get("outputs", [])]


def live_pictures(notebook) -> list[str]:
    """The HTML of the pictures that follow controls."""
    values = [state.get("value") for state in widget_states(notebook)]
    return [value for value in values if isinstance(value, str) and "<img" in value]


@pytest.mark.slow
@by_name
def test_runs_at_tiny_and_says_the_same_twice(source, twice):
    first, second = twice[source.stem]
    assert first.read_bytes() == second.read_bytes()
    check_outputs(first)


@pytest.mark.slow
def test_the_slider_shows_a_frame(twice):
    notebook = nbformat.read(twice["00_what_breaks_a_detector"][0], as_version=4)
    (picture,) = live_pictures(notebook)
    assert "<figcaption" in picture and 'alt="Frame 0 with boxes: ' in picture


@pytest.mark.slow
def test_a_table_that_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    message = "09_tables.py: cell .* raised MSTError: there is no table .X.; choose one of I, II"
    with pytest.raises(MSTError, match=message):
        run_notebook(FOLDER / "09_tables.py", tmp_path / "out.ipynb", {"table": "X"})
    assert not list(tmp_path.iterdir())


# ---- what is committed ------------------------------------------------------------------------


@committed
def test_the_committed_notebook_is_sound(path):
    check_outputs(path)


@committed
def test_the_committed_notebook_belongs_to_its_source(path):
    source = path.with_suffix(".py")
    assert source.exists(), f"{path.name} has no source {source.name}"
    assert is_paired(source), f"run `mst notebooks`: {path.name} is older than {source.name}"


@pytest.mark.slow
def test_only_what_changed_is_made_again(tmp_path):
    source = tmp_path / "one.py"
    source.write_text("# %% [markdown]\n# # Why?\n\n# %%\n1 + 1\n")
    assert build_notebooks(tmp_path) == [tmp_path / "one.ipynb"]
    assert is_paired(source) and build_notebooks(tmp_path) == []
    source.write_text(source.read_text().replace("Why?", "Why not?"))  # text alone counts too
    assert not is_paired(source)
    assert build_notebooks(tmp_path) == [tmp_path / "one.ipynb"] and is_paired(source)


def test_a_folder_without_sources_is_an_error(tmp_path):
    with pytest.raises(MSTError, match=r"no notebook sources \(.py\)"):
        build_notebooks(tmp_path)
