"""Pictures that follow their controls, without a browser."""

import re

import pytest
import torch
from ipywidgets import Checkbox, IntSlider

from mstlib import show
from mstlib.config import MSTError
from mstlib.show.widgets import place_of


def picture(box) -> str:
    """The HTML of a live picture."""
    return box.children[1].value


def two_panels(n: int, on: bool):
    """Two black frames side by side, and words."""
    if n == 3:
        raise MSTError("nothing at <3>")
    figure, axes = show.grid(1, 2)
    for axis in axes:
        show.show_image(axis, torch.full((3, 40, 40), 10 * n + 5 * on, dtype=torch.uint8))
    return figure, f'n is "{n}", on is {on}'


def test_a_picture_follows_its_controls_and_is_described():
    slider = IntSlider(1, 0, 5)
    box = show.live(two_panels, n=slider, on=Checkbox(False))
    assert 'alt="n is &quot;1&quot;, on is False"' in picture(box)
    assert box.children[0].children[0].description == "n" and not slider.continuous_update
    before = picture(box)
    slider.value = 2
    assert picture(box) != before and "n is &quot;2&quot;" in picture(box)
    assert re.search(r"data:image/jpeg;base64,/9j/", picture(box))


def test_an_error_is_a_line_in_place_of_the_picture():
    slider = IntSlider(1, 0, 5)
    box = show.live(two_panels, n=slider, on=Checkbox(True))
    slider.value = 3
    assert picture(box) == "<p>nothing at &lt;3&gt;</p>"
    slider.value = 4
    assert "n is &quot;4&quot;" in picture(box)


def test_a_click_sets_controls_and_draws_once():
    drawn, clicks = [], []

    def draw(n, on):
        drawn.append((n, on))
        return two_panels(n, on)

    def click(axis, x, y):
        clicks.append((axis, round(x, 1), round(y, 1)))
        return {"n": 5, "on": True}

    box = show.live(draw, click, n=IntSlider(1, 0, 5), on=Checkbox(False))
    figure, _ = two_panels(1, False)
    width, height = 100 * figure.get_size_inches()
    middle = figure.axes[1].get_window_extent()
    event = {"relativeX": middle.x0 + middle.width / 4, "boundingRectWidth": width,
             "relativeY": height - middle.y1 + middle.height / 2}
    box.clicks._dom_handlers(event)
    assert clicks == [(1, 10.0, 20.0)] and drawn == [(1, False), (5, True)]
    box.clicks._dom_handlers(event | {"relativeY": height - 1})  # the legend's strip: nothing
    assert len(clicks) == 1 and len(drawn) == 2


def test_places_do_not_depend_on_how_large_the_picture_is_shown():
    figure, _ = two_panels(1, False)
    width = figure.get_figwidth() * figure.dpi
    one = place_of(figure, {"relativeX": 50, "relativeY": 80, "boundingRectWidth": width})
    half = place_of(figure, {"relativeX": 25, "relativeY": 40, "boundingRectWidth": width / 2})
    assert one == pytest.approx(half) and one[0] == 0
