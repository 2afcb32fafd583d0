"""Headless notebooks: same inputs give same bytes, and every mistake is one line."""

import json
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from mstlib.config import MSTError
from mstlib.notebook import (
    WIDGET_STATE,
    WIDGET_VIEW,
    canonical,
    is_fresh,
    notebook_parameters,
    read_notebook,
    run_notebook,
    source_hash,
    to_text,
)


def small_notebook(*code: str):
    """A notebook with text, a parameters cell and the given code cells."""
    tags = {"tags": ["parameters"]}
    parameters = new_code_cell("n = 2  # how many\nname: str = 'x'", metadata=tags)
    return new_notebook(cells=[new_markdown_cell("# Why?"), parameters, *map(new_code_cell, code)])


@pytest.fixture
def write(tmp_path):
    """Write a notebook of code cells to a file of that name."""

    def to_file(*code: str, name: str = "source.ipynb"):
        path = tmp_path / name
        nbformat.write(small_notebook(*code), path)
        return path

    return to_file


NOISY = """import sys, time, ipywidgets
for word in "abc":
    print(word, flush=True); time.sleep(.05)
    print("noise", file=sys.stderr, flush=True)
print(n * 2, sys.executable)
out = ipywidgets.Output()
with out: print("inside")
ipywidgets.HBox([ipywidgets.IntSlider(), out])"""


@pytest.mark.slow
def test_two_runs_give_the_same_bytes(write, tmp_path):
    source, first, second = write(NOISY, "n"), tmp_path / "1.ipynb", tmp_path / "2.ipynb"
    run_notebook(source, first, {"n": 21})
    run_notebook(first, second, {"n": 21})  # an executed notebook is as good a source

    assert first.read_bytes() == second.read_bytes()
    assert is_fresh(first) and not is_fresh(source)
    notebook = nbformat.read(first, as_version=4)
    nbformat.validate(notebook)
    outputs = notebook.cells[3].outputs
    assert [o.output_type for o in outputs] == ["stream", "execute_result"]
    assert outputs[0].text == f"a\nb\nc\n42 {sys.executable}\n"
    assert notebook.cells[4].outputs[0].data["text/plain"] == "21"
    assert [c.get("execution_count") for c in notebook.cells] == [None, 1, 2, 3, 4]
    state = notebook.metadata.widgets[WIDGET_STATE]["state"]
    assert outputs[1].data[WIDGET_VIEW]["model_id"] == "widget-000" == min(state)
    assert state["widget-000"]["state"]["children"][0] == "IPY_MODEL_widget-001"
    assert state["widget-001"]["model_name"] == "IntSliderModel"


@pytest.mark.slow
def test_a_raising_cell_is_named_and_nothing_is_written(write, tmp_path):
    source = write("1 + 1", "raise ValueError('boxes must be (N, 4)\\nsecond line')")
    with pytest.raises(MSTError) as caught:
        run_notebook(source, tmp_path / "out.ipynb")
    assert str(caught.value) == f"{source}: cell 4 (In [3]) raised ValueError: boxes must be (N, 4)"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source.ipynb"]


@pytest.mark.slow
def test_a_dying_kernel_is_one_line(write, tmp_path):
    source = write("import os; os._exit(3)")
    with pytest.raises(MSTError, match=r"source\.ipynb: Kernel died"):
        run_notebook(source, tmp_path / "out.ipynb")


def test_an_unknown_parameter_is_an_error_before_anything_runs(write, tmp_path):
    source = write(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(MSTError, match=r"source\.ipynb: no parameter 'm'; it has n, name"):
        run_notebook(source, tmp_path / "out.ipynb", {"n": 1, "m": 2})
    assert not (tmp_path / "ran").exists()


def test_a_notebook_without_parameters_takes_none(tmp_path):
    path = tmp_path / "bare.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1")]), path)
    with pytest.raises(MSTError, match="it has none: no cell is tagged 'parameters'"):
        run_notebook(path, path, {"n": 1})


def test_parameters_of_both_formats(tmp_path, write):
    percent = tmp_path / "source.py"
    percent.write_text('# %% tags=["parameters"]\nn = 2\nname: str = "x"\n\n# %%\nother = 3\n')
    assert notebook_parameters(read_notebook(percent)) == ["n", "name"]
    assert notebook_parameters(read_notebook(write("other = 3"))) == ["n", "name"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cells": 3}', '{"nbformat": 4, "cells": 3}'])
def test_a_damaged_notebook_is_one_line(tmp_path, content):
    path = tmp_path / "broken.ipynb"
    path.write_text(content)
    with pytest.raises(MSTError, match=r"broken\.ipynb: not a readable notebook") as caught:
        is_fresh(path)
    assert "\n" not in str(caught.value)


def test_a_missing_notebook_is_one_line(tmp_path):
    with pytest.raises(MSTError, match=r"absent\.ipynb: no such notebook"):
        is_fresh(tmp_path / "absent.ipynb")


def test_freshness_follows_the_code_and_not_the_text(tmp_path):
    path, notebook = tmp_path / "n.ipynb", small_notebook("n")
    plain = canonical(notebook, source_hash(notebook))
    path.write_text(to_text(plain))
    assert is_fresh(path)
    plain["cells"][0]["source"] = "# Why not?"
    path.write_text(to_text(plain))
    assert is_fresh(path)
    plain["cells"][2]["source"] = "n + 1"
    path.write_text(to_text(plain))
    assert not is_fresh(path)


def with_widget(name: str):
    """A notebook that shows one widget, whose layout refers to a second one."""
    view = {"data": {WIDGET_VIEW: {"model_id": f"{name}1"}}}
    cell = new_code_cell("w", outputs=[new_output("display_data", **view)])
    cell.metadata = {"tags": ["hide"], "execution": {"iopub.execute_input": name}}
    state = {
        f"{name}2": {"model_name": "LayoutModel", "state": {}},
        f"{name}1": {"model_name": "OutputModel",
                     "state": {"layout": f"IPY_MODEL_{name}2", "msg_id": name}},
    }
    notebook = new_notebook(cells=[cell], metadata={"papermill": {"duration": name}})
    notebook.metadata["widgets"] = {WIDGET_STATE: {"state": state, "version_major": 2}}
    return notebook


def test_canonical_form_forgets_what_is_random():
    one, two = (canonical(with_widget(name * 16), "hash") for name in ("ab", "cd"))
    assert json.dumps(one) == json.dumps(two)
    assert one["cells"][0]["metadata"] == {"tags": ["hide"]}
    assert sorted(one["metadata"]) == ["kernelspec", "language_info", "mst", "widgets"]
    state = one["metadata"]["widgets"][WIDGET_STATE]["state"]
    assert state["widget-000"]["state"] == {"layout": "IPY_MODEL_widget-001"}


def test_a_progress_line_keeps_its_last_state():
    pieces = ("10 %\r20", " %\r30 %\n", "x\r\n")
    lines = [new_output("stream", name="stdout", text=piece) for piece in pieces]
    cell = canonical(new_notebook(cells=[new_code_cell("1", outputs=lines)]), "")["cells"][0]
    assert [output["text"] for output in cell["outputs"]] == ["30 %\nx\r\n"]
