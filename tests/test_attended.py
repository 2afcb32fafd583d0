"""Attention by what the cells show (notebook 04), on maps small enough to count by hand."""

import pytest
import torch

from mstlib.config import ModelConfig, MSTError
from mstlib.evaluation.attended import SHOWN, attended, cell_ids
from mstlib.model.frame import FrameLevel

# Two frames of 2 x 2 cells: object 7 in two cells of the first and one of the second, object 3 in
# one of the second.
IDS = torch.tensor([[[7, 7], [-1, -1]], [[-1, 7], [3, -1]]])


def test_weights_are_added_up_by_what_the_cells_show():
    A = torch.zeros(4, 2, 2, 2)
    A[0, 0] = torch.tensor([[0.1, 0.2], [0.05, 0.05]])  # the first cell asks
    A[0, 1] = torch.tensor([[0.1, 0.3], [0.15, 0.05]])
    A[1, 1, 1, 0] = 1.0  # the second hears object 3 alone
    heard, alike, who = attended(A, IDS)
    assert len(SHOWN) == 4 and SHOWN[0] == "same object, own frame" and SHOWN[3] == "ground"
    torch.testing.assert_close(heard, torch.tensor([[0.3, 0.3, 0.15, 0.25], [0.0, 0, 1, 0]]))
    torch.testing.assert_close(alike, torch.tensor([[2.0, 1, 1, 4]] * 2) / 8)
    assert who.tolist() == [7, 7]  # ground cells are left out


def test_another_frame_may_ask():
    A = torch.full((4, 2, 2, 2), 1 / 8)
    heard, alike, who = attended(A, IDS, asking=1)
    assert who.tolist() == [7, 3]
    torch.testing.assert_close(heard, alike)  # hears all cells alike
    torch.testing.assert_close(heard, torch.tensor([[1.0, 2, 1, 4], [1, 0, 3, 4]]) / 8)


def test_a_frame_without_objects_has_no_rows():
    heard, alike, who = attended(torch.full((4, 2, 2, 2), 1 / 8), torch.full((2, 2, 2), -1))
    assert heard.shape == alike.shape == (0, 4) and who.shape == (0,)


def test_the_frame_levels_own_attention_adds_up_to_one():
    level = FrameLevel(8, ModelConfig(frame_width=8, frame_heads=2)).double()
    x = torch.randn(1, 2, 8, 2, 2, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    heard, *_ = attended(level.attention(x, asking=1)[0].detach(), IDS, asking=1)
    torch.testing.assert_close(heard.sum(1), torch.ones(2, dtype=torch.double))


def test_weights_of_other_cells_are_an_error():
    with pytest.raises(MSTError, match=r"\(h\*w, L, h, w\) of ids \(2, 2, 2\), got \(4, 3"):
        attended(torch.zeros(4, 3, 2, 2), IDS)


def test_cells_show_the_object_of_each_frame():
    class Moving:
        """Object 5 is in column t of frame t."""

        def true_motion(self, t, s, stride):
            assert t == s and stride == 8
            mask = torch.full((2, 3), -1)
            mask[:, t] = 5
            return torch.zeros(2, 3, 2), mask

    ids = cell_ids(Moving(), [2, 0], 8)
    assert ids.shape == (2, 2, 3)
    assert (ids[0] >= 0).any(0).tolist() == [False, False, True]
    assert (ids[1] >= 0).any(0).tolist() == [True, False, False]
