"""Exercises: a prediction is judged, an answer stays folded, and nothing raises."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from mstlib.exercise import check, folded, verdict

NONE = "No prediction yet: write it into `guess`, and run this cell again."


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, in order: dictionaries by MIME type."""
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: outputs.append(data))
    return outputs


@pytest.mark.parametrize(("yours", "answer", "within", "said"), [
    (None, 3, 0, NONE), (None, "a", 0, NONE), (None, ["a"], 0, NONE),
    (3, 3, 0, "Right."), (2, 3, 0, "2 is too low."), (4.5, 3, 1, "4.5 is too high."),
    (4, 3, 1, "4 is near enough (within 1)."), (True, 1, 0, "Right."),
    (torch.tensor(3.0), 3, 0, "Right."),
    (torch.zeros(2), 3, 0, "The answer is a number; yours is of type Tensor."),
    ("3", 3, 0, "The answer is a number; yours is of type str."),
    (math.nan, 3, 0, "The answer is a number; yours is of type float."),
    (3, math.nan, 1, "That may be: at this scale the answer is not known."),
    ("blur", None, 0, "That may be: at this scale the answer is not known."),
    (" Motion  blur", "motion blur", 0, "Right."),
    ("defocus", "motion blur", 0, "“defocus” is not it."),
    (7, "motion blur", 0, "The answer is a word or two in quotes; yours is of type int."),
    (["b", "A"], ("a", "b"), 0, "Right."),
    ({3, 16}, ["3", "16", "18"], 0, "2 of 3 named, 0 too many."),
    (["a", "c"], ["a", "b"], 0, "1 of 2 named, 1 too many."),
    ("a", ["a"], 0, "The answer is a list, such as ['a', 'b']; yours is of type str."),
    ([None], ["a"], 0, "The answer is a list, such as ['a', 'b']; yours is of type list."),
])
def test_a_prediction_is_judged_without_the_answer(yours, answer, within, said):
    assert verdict(yours, answer, within) == said


class Hostile:
    """Raises whatever is done with it."""

    def __float__(self):
        raise RuntimeError("no")

    __eq__ = __hash__ = __str__ = __repr__ = __len__ = __iter__ = __float__


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.complex_numbers() | st.builds(Hostile) | st.just(torch.zeros(0)) | st.just(10 ** 400),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner))


@given(ANYTHING, st.none() | st.floats() | st.text() | st.lists(st.text()), st.floats(0, 10))
def test_no_prediction_raises(yours, answer, within):
    assert verdict(yours, answer, within)


def test_the_answer_is_folded_under_the_verdict(shown):
    check(2, 40, 43, ["43 of 100.", "More lines."], within=5)
    folded(3, "It depends.")
    first, second = shown
    assert first["text/markdown"] == (
        "**2.** 40 is near enough (within 5).\n\n<details><summary>Answer to 2</summary>\n\n"
        "43 of 100.  \nMore lines.\n\n</details>")
    assert first["text/plain"].endswith("43 of 100.\nMore lines.")
    assert second["text/markdown"].startswith("<details>") and "It depends." in second["text/plain"]
