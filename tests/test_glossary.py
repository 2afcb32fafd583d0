"""The glossary speaks of what is there."""

import inspect
import json

import pytest

from mstlib import glossary
from mstlib.fileio import ROOT

PLACES = [*glossary.SYMBOLS, *glossary.EQUATIONS]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[0])
def test_every_place_is_there_and_says_what_it_is(place):
    assert inspect.getdoc(glossary.look_up(place.code))
    assert list((ROOT / "notebooks").glob(f"{place.notebook}_*.py")), place.notebook


@pytest.mark.parametrize("equation", glossary.EQUATIONS, ids=lambda equation: equation.number)
def test_the_module_of_an_equation_names_it(equation):
    module = glossary.look_up(".".join(equation.code.split(".")[:2]))
    numbers = set()
    for part in inspect.getsource(module).split("Eq. ")[1:]:
        first, _, last = part.split(maxsplit=1)[0].strip(").,:;]'\"").partition("-")
        if first.isdigit():
            numbers |= set(range(int(first), int(last if last.isdigit() else first) + 1))
    assert int(equation.number) in numbers


def test_all_twelve_equations_and_no_word_twice():
    assert [e.number for e in glossary.EQUATIONS] == [str(n) for n in range(1, 13)]
    assert list(glossary.WORDS) == sorted(glossary.WORDS, key=str.lower)
    for _, notebook in glossary.WORDS.values():
        assert list((ROOT / "notebooks").glob(f"{notebook}_*.py")), notebook


def test_rooms_hold_every_module_once():
    rooms = glossary.rooms()
    modules = [module for room in rooms.values() for module in room]
    assert len(modules) == len(set(modules)) > 80 and "model" in rooms and "" in rooms
    assert all(glossary.first_sentence(module) for module in modules)


def test_the_committed_map_is_of_the_package_as_it_is():
    text = (ROOT / "notebooks" / "99_glossary.ipynb").read_text()
    rooms, again = glossary.rooms(), "run mst notebook notebooks/99_glossary.py"
    assert f"Bars, {sum(map(len, rooms.values()))} modules" in text, again
    for module in rooms["model"]:
        assert json.dumps(glossary.first_sentence(module))[1:-1] in text, again


def test_what_is_not_there_is_an_error():
    with pytest.raises(AttributeError):
        glossary.look_up("model.dalign.NoSuchThing")


def test_departures_are_numbered_without_a_gap():
    found = glossary.departures((ROOT / "DEVIATIONS.md").read_text())
    assert [number for number, *_ in found] == list(range(1, len(found) + 1)) and len(found) >= 35
    assert found[6][1:] == ("DAlign (Sec. III-B)", "Bounded offsets, standardised features")
