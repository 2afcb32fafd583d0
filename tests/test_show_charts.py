"""Shares as bars: the right name is marked in words, parts follow each other and add up."""

import pytest
from matplotlib.figure import Figure

from mstlib.show.boxes import grey_of
from mstlib.show.charts import PARTS, share_bars, stacked_bars


def test_the_right_name_is_marked_by_more_than_a_colour():
    axis = Figure().subplots()
    share_bars(axis, {"background": 0.1, "box-disc": 0.65, "box-cross": 0.25}, "box-cross")
    assert [bar.get_width() for bar in axis.patches] == [0.1, 0.65, 0.25]
    labels = [t.get_text() for t in axis.get_yticklabels()]
    assert labels == ["background", "box-disc", "✓ box-cross"]
    assert [t.get_text() for t in axis.texts] == [".10", ".65", ".25"]


def test_parts_follow_each_other_and_narrow_ones_have_no_number():
    figure = stacked_bars({"all": {"right": 60.0, "wrong": 38.0, "lost": 2.0},
                           "clean": {"right": 97.0, "wrong": 3.0, "lost": 0.0}}, "percent")
    axis = figure.axes[0]
    first = [part[0] for part in axis.containers]  # of the first row
    assert [bar.get_x() for bar in first] == [0.0, 60.0, pytest.approx(98.0)]
    assert [t.get_text() for t in axis.texts] == ["60", "97", "38", "", "", ""]
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["right", "wrong", "lost"]


def test_neighbouring_parts_differ_without_colour():
    for (one, hatch), (two, other) in zip(PARTS, PARTS[1:], strict=False):
        assert hatch != other or abs(grey_of(one) - grey_of(two)) > 0.2
