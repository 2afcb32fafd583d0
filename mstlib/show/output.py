"""What a notebook shows: figures with alt text, tables as Markdown. Not part of the paper.
"""

import io
from typing import TYPE_CHECKING

from mstlib.config import MSTError

if TYPE_CHECKING:  # matplotlib and pandas are imported where they are used
    import pandas
    from matplotlib.figure import Figure

DPI = 100


def figure_bytes(figure: "Figure", photo: bool = False) -> bytes:
    """The figure as JPEG if it shows photographic frames, else as PNG; same figure, same bytes."""
    file, kind = io.BytesIO(), "jpg" if photo else "png"
    extra = {"pil_kwargs": {"quality": 72}} if photo else {"metadata": {"Software": None}}
    figure.savefig(file, format=kind, dpi=DPI, **extra)
    return file.getvalue()


def figure_output(figure: "Figure", alt: str, photo: bool = False) -> None:
    """Show a figure in a notebook with its alt text, which says in words what there is to see.

    The alt text is in the output's metadata (pages made from notebooks take it from there) and its
    plain text. MSTError if it is empty.
    """
    from IPython.display import display

    kind = "image/jpeg" if photo else "image/png"
    text = " ".join(alt.split())
    if not text:
        raise MSTError("a figure needs alt text: say in a sentence what there is to see")
    display({kind: figure_bytes(figure, photo), "text/plain": text}, raw=True,
            metadata={kind: {"alt": text}})


def table_output(table: "pandas.DataFrame", digits: int = 1) -> None:
    """Show a DataFrame as a Markdown table: a tick for True, a dash for what is not known.

    Differences and the ends of their intervals carry their sign; the paper's numbers keep its one
    digit. A caption in `table.attrs` stands above it; columns in which no row was run are a line
    under it, so that the others have room.
    """
    from IPython.display import display

    idle = idle_columns(table)
    parts = [table.attrs.get("caption"), table_text(table.drop(columns=list(idle)), digits),
             "; ".join(f"{name}: {why}" for name, why in idle.items())]
    text = "\n\n".join(part for part in parts if part)
    display({"text/markdown": text, "text/plain": text}, raw=True)


def idle_columns(table: "pandas.DataFrame") -> dict[str, str]:
    """Columns in which all rows say the same "not run: ...", and what they say."""
    said = {name: set(map(str, table[name])) for name in table.columns}
    return {name: min(texts) for name, texts in said.items()
            if len(texts) == 1 and min(texts).startswith("not run")}


def table_text(table: "pandas.DataFrame", digits: int = 1) -> str:
    """The Markdown of `table_output`."""
    rows = [list(map(str, table.columns)), ["---"] * len(table.columns)]
    rows += [[cell_text(value, name, digits) for name, value in zip(rows[0], row, strict=True)]
             for row in table.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def cell_text(value: object, column: str = "", digits: int = 1) -> str:
    """A value of a table as text."""
    if value is None or value != value:  # NaN differs from itself
        return "–"
    if isinstance(value, bool):
        return "✓" if value else ""
    if not isinstance(value, float):
        return str(value)
    sign = "+" if "difference" in column or column.startswith("95 %") else ""
    digits = 1 if column.startswith("paper") else digits
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"  # + 0.0: no "-0.0"
