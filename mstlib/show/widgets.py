"""A picture that follows its controls: what every notebook's widget is made of.

`live` draws once, when it is made, and again whenever a control changes. What takes time, a pass of
the model, belongs before it: a drawing function reads a trace that is already there, so that the
answer comes while the hand is still on the slider. Not part of the paper.
"""

import atexit
import gc
from base64 import b64encode
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING

from mstlib.config import MSTError
from mstlib.show.output import figure_bytes

if TYPE_CHECKING:  # matplotlib and ipywidgets are imported where they are used
    from ipywidgets import VBox, Widget
    from matplotlib.figure import Figure

Draw = Callable[..., tuple["Figure", str]]  # values of the controls -> (figure, words)
Click = Callable[[int, float, float], dict[str, object]]  # (axis, x, y) -> values of controls


def live(draw: Draw, click: Click | None = None, **controls: "Widget") -> "VBox":
    """Controls, named as the arguments are, with the picture that they draw under them.

    draw: called with the value of every control by its name; gives a figure and what there is to
    see in words, which stand under it and are its alt text. Of an MSTError the line is shown.
    click: called with where the picture was clicked, the number of the axis and the place on it in
    its own coordinates; the controls it names are set to the values that it gives.
    """
    import ipywidgets

    picture = ipywidgets.HTML()
    row = ipywidgets.HBox(list(controls.values()), layout={"flex_flow": "row wrap"})
    shown: list[Figure] = []

    def update(*_: object) -> None:
        try:
            figure, words = draw(**{name: control.value for name, control in controls.items()})
            shown[:] = [figure]
            picture.value = picture_html(figure, words)
        except MSTError as error:
            shown.clear()
            picture.value = f"<p>{escape(str(error))}</p>"

    def clicked(event: dict) -> None:
        place = place_of(shown[0], event) if shown else None
        values = click(*place) if place else {}
        for control in controls.values():  # one picture for several changes
            control.unobserve(update, "value")
        for name, value in values.items():
            controls[name].value = value
        for control in controls.values():
            control.observe(update, "value")
        if values:
            update()

    for name, control in controls.items():
        control.description = control.description or name.replace("_", " ")
        if hasattr(control, "continuous_update"):
            control.continuous_update = False  # a picture when the slider is let go, not a queue
        control.observe(update, "value")
    update()
    spare_imports()
    box = ipywidgets.VBox([row, picture])
    if click:
        from ipyevents import Event

        box.clicks = Event(source=picture, watched_events=["click"])
        box.clicks.on_dom_event(clicked)
    return box


def spare_imports() -> None:
    """Leave what is there by now out of the garbage collector's rounds: going through all that
    torch and matplotlib have brought takes 0.4 s, for which every dozenth picture would wait."""
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
        atexit.register(gc.unfreeze)  # libraries look for their leaks then


def picture_html(figure: "Figure", words: str) -> str:
    """A figure as HTML, as large as it was drawn, with the words under it and as its alt text."""
    text = escape(" ".join(words.split()))
    width = round(figure.get_figwidth() * figure.dpi)
    data = b64encode(figure_bytes(figure, photo=True)).decode()
    return (f'<figure style="margin:0;max-width:{width}px"><img alt="{text}" '
            f'style="width:100%" draggable="false" src="data:image/jpeg;base64,{data}">'
            f'<figcaption style="line-height:1.4">{text}</figcaption></figure>')


def place_of(figure: "Figure", event: dict) -> tuple[int, float, float] | None:
    """Where a mouse event on the HTML of a figure lies: (number of its axis, x, y in the axis's
    coordinates); None beside all axes."""
    width = event["boundingRectWidth"]
    height = width * figure.get_figheight() / figure.get_figwidth()  # the words are under it
    share = event["relativeX"] / width, 1 - event["relativeY"] / height
    pixel = figure.transFigure.transform(share)
    for number, axis in enumerate(figure.axes):
        if axis.get_window_extent().contains(*pixel):
            return number, *map(float, axis.transData.inverted().transform(pixel))
    return None
