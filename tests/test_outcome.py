"""What became of an object: hand-made detections with a known outcome each."""

import math
from dataclasses import replace

import pytest
import torch
from scenes import SquareClip

from mstlib.data.clip import Detections, Target
from mstlib.data.minivid.benchmark import CLASSES
from mstlib.evaluation.outcome import OUTCOMES, body_of, halves, known_elsewhere, outcomes
from mstlib.report.lookup import mean_of

BOX = [10.0, 10.0, 30.0, 30.0]
AWAY = [40.0, 40.0, 60.0, 60.0]


def found(*rows) -> Detections:
    """Rows of (box, score, label)."""
    boxes = torch.tensor([row[0] for row in rows]).reshape(-1, 4)
    return Detections(boxes, torch.tensor([row[1] for row in rows]),
                      torch.tensor([row[2] for row in rows], dtype=torch.int64))


def one(label: int) -> Target:
    """A frame with one object at BOX."""
    return Target.of(torch.tensor([BOX]), torch.tensor([label]))


def test_bodies_are_those_of_the_class_names():
    bodies = body_of(torch.arange(1, 1 + len(CLASSES))).tolist()
    names = [name.split("-")[0] for name in CLASSES]
    assert [names.index(name) // 2 for name in names] == bodies


@pytest.mark.parametrize(("detections", "proposals", "outcome"), [
    ([(BOX, 0.4, 3), (BOX, 0.3, 4)], [BOX], "right"),
    ([(BOX, 0.3, 3), (BOX, 0.4, 4)], [BOX], "other key"),
    ([(BOX, 0.3, 3), (BOX, 0.4, 5)], [BOX], "other body"),
    ([(BOX, 0.4, 2)], [BOX], "other body"),  # one label less, another body
    ([(AWAY, 0.9, 5), (BOX, 0.1, 3)], [AWAY, BOX], "right"),  # what lies elsewhere does not count
    ([(AWAY, 0.9, 3)], [BOX], "lost"),
    ([], [BOX], "lost"),
    ([(AWAY, 0.9, 3)], [AWAY], "not proposed"),
    ([(BOX, 0.9, 3)], [AWAY], "not proposed"),  # its box came to it from too far away
    ([], [], "not proposed"),
])
def test_outcome_of_one_object(detections, proposals, outcome):
    kinds = outcomes(found(*detections), torch.tensor(proposals).reshape(-1, 4), one(3))
    assert [OUTCOMES[k] for k in kinds] == [outcome]


def test_a_frame_without_objects_has_no_outcomes():
    nothing = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    assert outcomes(found((BOX, 0.9, 3)), torch.tensor([BOX]), nothing).shape == (0,)


def test_known_elsewhere_asks_the_window_and_no_farther():
    """The red square is named right in frame 0 alone; the green one never."""
    clip = SquareClip("squares")
    says = [found((clip.target(t).boxes[0].tolist(), 0.9, 1 if t == 0 else 2)) for t in range(6)]
    kinds = [[outcomes(s, clip.target(t).boxes, clip.target(t)) for t, s in enumerate(says)]]
    assert [k.tolist() for k in kinds[0]] == [[0, 3]] + [[1, 3]] * 5
    share = known_elsewhere([clip], [says], kinds, window=5, stride=1)
    assert share["other key"] == pytest.approx(100 * 2 / 5)  # frames 1 and 2 of 1..5
    assert share["lost"] == 0 and math.isnan(share["other body"])
    assert "right" not in share
    weak = [replace(s, scores=s.scores / 2) for s in says]
    assert known_elsewhere([clip], [weak], kinds, window=5, stride=1)["other key"] == 0


def test_halves_of_a_name():
    """A cone-disc (7): .1 background, .5 and .25 its body's keys, .15 another body."""
    shares = torch.tensor([0.1, 0, 0, 0.15, 0, 0, 0, 0.5, 0.25])
    assert halves(shares, 7) == pytest.approx((0.75, 2 / 3))
    assert halves(shares, 8) == pytest.approx((0.75, 1 / 3))
    assert halves(shares, 1) == (0.0, 0.0)


def test_means_of_records_keep_what_is_unknown():
    """A split of few frames has no recall on a deterioration that none of them shows."""
    records = [{"recall": {"all": 0.5, "defocus": None}}, {"recall": {"all": 0.7, "defocus": None}}]
    assert mean_of(records) == {"recall": {"all": pytest.approx(0.6), "defocus": None}}
