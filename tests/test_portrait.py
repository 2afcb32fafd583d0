"""Portraits of MiniVID's bodies: classes that differ in the key alone, harms that are flagged."""

from dataclasses import replace

import numpy as np
import pytest

from mstlib.config import MSTError
from mstlib.data.clip import DETERIORATIONS
from mstlib.data.minivid.benchmark import CLASSES
from mstlib.data.minivid.film import direct_clip, film_clip, film_script
from mstlib.data.minivid.portrait import (
    harms,
    portrait,
    portrait_and_truth,
    ray_picture,
    sitter,
)
from mstlib.data.minivid.scene import Scene

SCENE = Scene()


@pytest.mark.parametrize("label", range(1, 1 + len(CLASSES)))
def test_each_harm_is_flagged_and_no_other(label):
    for i, (name, fate) in enumerate(harms(64).items()):
        flags = portrait_and_truth(label, 64, SCENE, **fate)[1]["flags"]
        assert name == DETERIORATIONS[i] and [bool(f) for f in flags] == [k == i for k in range(4)]
    picture, row = portrait_and_truth(label, 64, SCENE)
    assert row["label"] == label and not any(row["flags"])
    assert picture.shape == (64, 64, 3) and picture.min() >= 0 and picture.max() <= 1


def test_no_share_of_a_harm_is_no_harm():
    sharp = portrait(3, 64, SCENE)
    for fate in harms(64, 0.0).values():
        assert np.array_equal(portrait(3, 64, SCENE, **fate), sharp)


def test_twins_share_everything_but_the_key():
    (disc, _), (cross, _) = sitter(3, 64, SCENE), sitter(4, 64, SCENE)
    assert (disc.key, cross.key) == (0, 1) and disc.half == cross.half
    assert np.array_equal(disc.table, cross.table) and np.array_equal(disc.colours, cross.colours)


def test_the_box_lies_around_the_body():
    _, row = portrait_and_truth(1, 64, SCENE, yaw=1.0)
    bare = portrait(1, 64, SCENE, yaw=1.0)
    other = portrait(2, 64, SCENE, yaw=1.0)
    y, x = np.nonzero(np.abs(bare - other).max(axis=2) > 0)  # the key
    x1, y1, x2, y2 = row["box"]
    assert len(x) and x1 <= x.min() and x.max() < x2 and y1 <= y.min() and y.max() < y2


def test_wrong_sitters_are_named():
    with pytest.raises(MSTError, match="classes 1 to 8, got 9"):
        sitter(9, 64, SCENE)
    with pytest.raises(MSTError, match="no fate 'colour'; choose from yaw, tilt"):
        sitter(1, 64, SCENE, colour=1)


def test_what_is_changed_in_a_script_is_all_that_changes():
    """A clip filmed again without blur: elsewhere the same bytes, noise included."""
    seed = next((7, 0, c) for c in range(50) if any(
        body.streak[3] != (0.0, 0.0) for body in direct_clip((7, 0, c), 8, 64, SCENE)[0].bodies))
    frames, table = film_clip(seed, 8, 64, SCENE)
    assert (table["clip"] == seed[2]).all()
    script, scenery, rng = direct_clip(seed, 8, 64, SCENE)
    still = replace(script, bodies=[replace(b, streak=[(0.0, 0.0)] * 8) for b in script.bodies])
    again, without = film_script(still, scenery, rng, 64, SCENE)
    blurred = [any(b.streak[t] != (0.0, 0.0) for b in script.bodies) for t in range(8)]
    changed = [not np.array_equal(frames[t], again[t]) for t in range(8)]
    assert changed == blurred and blurred[3]
    assert not without["flags"][:, 0].any() and table["flags"][:, 0].any()
    for name in ("box", "label", "id", "key", "centre"):
        assert np.array_equal(table[name], without[name])


def test_rays_that_hit_have_their_values_and_the_rest_is_white():
    hit = np.array([[True, False], [False, True]])
    grey = ray_picture(hit, np.array([0.0, 2.0]))
    assert grey.shape == (3, 2, 2) and grey[:, 0, 0].tolist() == [0] * 3
    assert grey[:, 1, 1].tolist() == grey[:, 0, 1].tolist() == [255] * 3
    coloured = ray_picture(hit, *(np.array([v, v]) for v in (0.2, 0.4, 0.6)))
    assert coloured[:, 0, 0].tolist() == [51, 102, 153]
    with pytest.raises(MSTError, match="1 or 3 channels, got 2"):
        ray_picture(hit, np.zeros(2), np.zeros(2))
