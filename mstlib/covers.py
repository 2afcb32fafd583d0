"""The picture of each notebook that the README's map shows: an output of its cell tagged `cover`.

Taken from the executed notebook, never made by hand, so that it is what the reader will meet. Not
part of the paper.
"""

import io
from base64 import b64decode
from pathlib import Path

from mstlib.config import MSTError
from mstlib.fileio import write_bytes
from mstlib.notebook import read_notebook

SIZE = (480, 320)  # pixels at most: twice as large as shown, for screens of high density
KINDS = ("image/jpeg", "image/png")


def cover_of(path: Path) -> bytes:
    """The picture of an executed notebook (.ipynb) as JPEG; MSTError if no cell is tagged `cover`
    or the tagged one shows no picture."""
    from PIL import Image

    cells = [c for c in read_notebook(path).cells if "cover" in c.metadata.get("tags", [])]
    pictures = [output.data[kind] for cell in cells for output in cell.get("outputs", [])
                for kind in KINDS if kind in output.get("data", {})]
    if not pictures:
        raise MSTError(f"{path}: no picture for the map of notebooks; tag a cell that shows one: "
                       '# %% tags=["cover"]')
    image, file = Image.open(io.BytesIO(b64decode(pictures[0]))).convert("RGB"), io.BytesIO()
    image.thumbnail(SIZE, Image.Resampling.LANCZOS)
    image.save(file, "jpeg", quality=80)
    return file.getvalue()


def write_covers(folder: Path, out: Path) -> list[Path]:
    """Write NN.jpg into `out` for every executed notebook NN_name.ipynb of `folder`; those paths.
    MSTError as `cover_of`."""
    return [write_bytes(out / f"{path.stem[:2]}.jpg", cover_of(path))
            for path in sorted(folder.glob("*.ipynb"))]
