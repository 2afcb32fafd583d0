"""Notebooks without a browser: run by papermill, written so that same inputs give same bytes.

A notebook that ran twice differs in timestamps, durations, cell ids and widget ids, and in how
standard output was cut into pieces. `canonical` takes all of that out, so that a difference in git
is a difference in results. A hash of the code is stored with the outputs: `is_fresh` tells whether
they still belong to the code above them. Not part of the paper; the batch (`Snakefile`) calls it.
"""

import ast
import hashlib
import json
import logging
import re
import sys
from pathlib import Path

from mstlib.config import MSTError
from mstlib.fileio import write_text

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
INJECTED = "injected-parameters"  # papermill's tag of the cell that it adds


def run_notebook(source: Path, output: Path, parameters: dict[str, object] | None = None) -> None:
    """Run `source` with `parameters` in the running interpreter, write the canonical `output`.

    The notebook's own folder is the working directory, as in JupyterLab. Nothing is written unless
    every cell ran. MSTError if the notebook cannot be read, lacks a parameter, or a cell raises.
    """
    notebook = read_notebook(source)
    check_parameters(source, notebook, parameters or {})
    code = source_hash(notebook)
    executed = _execute(source, notebook, parameters or {})
    write_text(output, to_text(canonical(executed, code)))


def read_notebook(path: Path):
    """The notebook at `path` (.ipynb, or .py in percent format) as an nbformat node; MSTError."""
    import jupytext
    import nbformat

    try:
        if Path(path).suffix == ".py":
            return jupytext.read(path)
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise MSTError(f"{path}: no such notebook") from None
    except Exception as error:  # nbformat and jupytext raise a dozen kinds on damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MSTError(f"{path}: not a readable notebook ({reason}); restore it with git") from None


def is_fresh(path: Path) -> bool:
    """Do the outputs stored at `path` belong to its code? False for one that was never run."""
    notebook = read_notebook(path)
    return notebook.metadata.get("mst", {}).get("source_hash") == source_hash(notebook)


def is_paired(source: Path) -> bool:
    """Is the .ipynb beside a percent `source` executed, and are its cells the same?"""
    made = source.with_suffix(".ipynb")
    if not made.exists() or not is_fresh(made):
        return False
    one, two = ([(c.cell_type, c.source) for c in read_notebook(path).cells]
                for path in (source, made))
    return one == two


def build_notebooks(folder: Path, every: bool = False) -> list[Path]:
    """Execute the percent sources in `folder` whose .ipynb is out of date (or all); those made.

    MSTError as `run_notebook`, or if the folder has no source.
    """
    sources = sorted(Path(folder).glob("*.py"))
    if not sources:
        raise MSTError(f"{folder}: no notebook sources (.py) here; run this in the repository")
    stale = [source for source in sources if every or not is_paired(source)]
    for source in stale:
        run_notebook(source, source.with_suffix(".ipynb"))
    return [source.with_suffix(".ipynb") for source in stale]


def source_hash(notebook) -> str:
    """SHA-256 of the notebook's own code cells in order, without text and injected parameters."""
    own = (cell for cell in notebook.cells if INJECTED not in cell.metadata.get("tags", []))
    code = [cell.source for cell in own if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()


def notebook_parameters(notebook) -> list[str]:
    """Names that the cell tagged `parameters` assigns, in order; empty without such a cell."""
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    body = ast.parse(tagged[0].source).body if tagged else []
    targets = [getattr(line, "targets", None) or [getattr(line, "target", None)] for line in body]
    return [name.id for names in targets for name in names if isinstance(name, ast.Name)]


def check_parameters(source: Path, notebook, parameters: dict[str, object]) -> None:
    """MSTError if `parameters` names one that the notebook lacks (papermill itself only warns)."""
    known = notebook_parameters(notebook)
    unknown = [name for name in parameters if name not in known]
    if unknown:
        choice = ", ".join(known) or "none: no cell is tagged 'parameters'"
        raise MSTError(f"{source}: no parameter '{unknown[0]}'; it has {choice}")


def _execute(source: Path, notebook, parameters: dict[str, object]):
    """The executed notebook; a raising cell or a dying kernel becomes one line that names it."""
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    logging.getLogger("papermill").setLevel(logging.ERROR)
    notebook.metadata["kernelspec"] = KERNELSPEC  # a .py source carries none, papermill wants one
    notebook.metadata.pop("widgets", None)  # of an earlier run
    try:
        return papermill.execute_notebook(
            notebook, None, parameters=parameters, kernel_name=KERNELSPEC["name"],
            progress_bar=False, cwd=str(source.parent), kernel_manager_class=_this_interpreter(),
        )
    except papermill.PapermillExecutionError as error:
        line = str(error.evalue).splitlines() or [""]
        place = f"cell {error.cell_index + 1} (In [{error.exec_count}])"
        raise MSTError(f"{source}: {place} raised {error.ename}: {line[0]}") from None
    except (DeadKernelError, CellTimeoutError) as error:
        reason = str(error).splitlines()[0]
        raise MSTError(f"{source}: {reason} (often too little memory)") from None


def _this_interpreter() -> type:
    """A kernel manager that starts kernels in the running interpreter.

    A `python3` kernel that the user once registered for another environment would be found first.
    """
    from jupyter_client.manager import AsyncKernelManager

    class ThisInterpreter(AsyncKernelManager):
        def format_kernel_cmd(self, extra_arguments=None):
            command = super().format_kernel_cmd(extra_arguments)
            return [sys.executable, *command[1:], "--log-level=ERROR"]

    return ThisInterpreter


def canonical(notebook, code_hash: str) -> dict:
    """`notebook` without anything that differs between two runs of the same code, as a plain dict.

    Kept: sources, outputs but for standard error, tags, widget state, kernel and language name.
    """
    cells = [_canonical_cell(i, cell) for i, cell in enumerate(notebook.cells)]
    for count, cell in enumerate((c for c in cells if c["cell_type"] == "code"), start=1):
        cell["execution_count"] = count
        for output in cell["outputs"]:
            if "execution_count" in output:
                output["execution_count"] = count
    metadata = {
        "kernelspec": KERNELSPEC,
        "language_info": {"name": "python"},
        "mst": {"source_hash": code_hash},
    }
    if "widgets" in notebook.metadata:
        metadata["widgets"] = _plain(notebook.metadata.widgets)
    plain = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return _rename_widgets(plain)


def to_text(notebook: dict) -> str:
    """The text of a notebook file, laid out as Jupyter saves it, keys sorted."""
    import nbformat

    return nbformat.writes(nbformat.from_dict(notebook)) + "\n"


def _canonical_cell(index: int, cell) -> dict:
    """One cell with its id by place, and of its metadata the tags only."""
    tags = cell.metadata.get("tags")
    plain = {
        "cell_type": cell.cell_type,
        "id": f"cell-{index:02d}",
        "metadata": {"tags": list(tags)} if tags else {},
        "source": cell.source,
    }
    if cell.cell_type == "code":
        plain["outputs"] = _canonical_outputs(cell.outputs)
    return plain


def _canonical_outputs(outputs) -> list[dict]:
    """Outputs without standard error; neighbouring pieces of standard output joined.

    Where a stream is cut depends on timing. Of a line with carriage returns the last state stays,
    as in a terminal.
    """
    kept: list[dict] = []
    for output in (_plain(o) for o in outputs if o.get("name") != "stderr"):
        if output["output_type"] == "stream" and kept and kept[-1]["output_type"] == "stream":
            kept[-1]["text"] += output["text"]
        else:
            kept.append(output)
    for output in kept:
        output.pop("transient", None)
        if output["output_type"] == "stream":
            output["text"] = re.sub(r"[^\n]*\r(?!\n)", "", output["text"])
    return kept


def _rename_widgets(notebook: dict) -> dict:
    """Widget ids numbered in reading order: those shown and what they refer to, then the rest."""
    states = notebook["metadata"].get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    order: list[str] = []
    outputs = [o for cell in notebook["cells"] for o in cell.get("outputs", [])]
    views = [o["data"][WIDGET_VIEW] for o in outputs if WIDGET_VIEW in o.get("data", {})]
    pending = [*(view["model_id"] for view in views), *states]
    while pending:
        name = pending.pop(0)
        if name in order:
            continue
        order.append(name)
        refers = re.findall(r"IPY_MODEL_(\w+)", json.dumps(states.get(name, {}), sort_keys=True))
        pending = refers + pending
    for state in states.values():
        state.get("state", {}).pop("msg_id", None)  # of the kernel message that wrote last
    text = json.dumps(notebook)
    for number, name in enumerate(order):
        text = text.replace(name, f"widget-{number:03d}")
    return json.loads(text)


def _plain(node):
    """An nbformat node as plain dicts and lists."""
    return json.loads(json.dumps(node))
