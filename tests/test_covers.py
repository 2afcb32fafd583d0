"""The README's pictures of the notebooks are what the notebooks show."""

import io
from base64 import b64encode

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image, ImageChops, ImageStat

from mstlib.config import MSTError
from mstlib.covers import SIZE, cover_of, write_covers
from mstlib.fileio import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def notebook_with(path, *tags):
    """A notebook whose only cell shows a picture of 2000 x 500."""
    file = io.BytesIO()
    Image.new("RGB", (2000, 500), "red").save(file, "png")
    picture = new_output("display_data", {"image/png": b64encode(file.getvalue()).decode()})
    cell = new_code_cell("1", outputs=[picture], metadata={"tags": list(tags)})
    nbformat.write(new_notebook(cells=[cell]), path)
    return path


def test_a_cover_is_small(tmp_path):
    notebook_with(tmp_path / "07_seven.ipynb", "cover")
    assert write_covers(tmp_path, tmp_path / "out") == [tmp_path / "out" / "07.jpg"]
    assert Image.open(tmp_path / "out" / "07.jpg").size == (480, 120)


def test_a_notebook_without_a_cover_says_how_to_give_it_one(tmp_path):
    with pytest.raises(MSTError, match='07_seven.ipynb: no picture .* tags=."cover"'):
        cover_of(notebook_with(tmp_path / "07_seven.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_readme_shows_every_notebook_as_it_is(path):
    name = f"results/figures/notebooks/{path.stem[:2]}.jpg"
    shown, now = Image.open(ROOT / name), Image.open(io.BytesIO(cover_of(path)))
    assert shown.size == now.size, "run mst notebooks"
    apart = ImageStat.Stat(ImageChops.difference(shown, now)).mean  # of another JPEG library: some
    assert max(apart) < 2, "run mst notebooks"
    assert shown.width <= SIZE[0] and shown.height <= SIZE[1]
    readme = (ROOT / "README.md").read_text()
    assert f"notebooks/{path.name}" in readme and name in readme
