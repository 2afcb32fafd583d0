"""DAlign and deformable sampling (Sec. III-B)."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import deform_conv2d

from mstlib.config import ModelConfig
from mstlib.model.dalign import DAlign
from mstlib.model.deform import chain, deform_conv, displacement


def bilinear(x, y, column):
    """One bilinear sample of a (C, H, W) map at (y, column), zero outside: the definition."""
    C, H, W = x.shape
    total = torch.zeros(C, dtype=x.dtype)
    for cy in (int(torch.floor(y)), int(torch.floor(y)) + 1):
        for cx in (int(torch.floor(column)), int(torch.floor(column)) + 1):
            if 0 <= cy < H and 0 <= cx < W:
                total += (1 - abs(y - cy)) * (1 - abs(column - cx)) * x[:, cy, cx]
    return total


def deform_loop(x, offsets, weight):
    """Eq. 2 as written: loops over positions and taps."""
    B, C, H, W = x.shape
    out = torch.zeros(B, len(weight), H, W, dtype=x.dtype)
    for b in range(B):
        for i in range(H):
            for j in range(W):
                for n in range(9):
                    dy, dx = offsets[b, 2 * n, i, j], offsets[b, 2 * n + 1, i, j]
                    value = bilinear(x[b], i + n // 3 - 1 + dy, j + n % 3 - 1 + dx)
                    out[b, :, i, j] += weight[:, :, n // 3, n % 3] @ value
    return out


@pytest.fixture
def case():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 5, 6, generator=g, dtype=torch.double)
    offsets = 2.5 * torch.randn(2, 18, 5, 6, generator=g, dtype=torch.double)
    return x, offsets, torch.randn(3, 4, 3, 3, generator=g, dtype=torch.double)


def test_deformable_convolution_is_the_loop_of_equation_2(case):
    torch.testing.assert_close(deform_conv(*case), deform_loop(*case))


def test_zero_offsets_are_a_plain_convolution(case):
    x, offsets, weight = case
    torch.testing.assert_close(deform_conv(x, offsets * 0, weight), F.conv2d(x, weight, padding=1))


@pytest.mark.parametrize("groups", [1, 2])
def test_outputs_and_gradients_equal_torchvision(groups):
    g = torch.Generator().manual_seed(1)
    ours = [torch.randn(2, 4, 7, 6, generator=g, dtype=torch.double),
            torch.randn(2, 18 * groups, 7, 6, generator=g, dtype=torch.double) * 2,
            torch.randn(5, 4, 3, 3, generator=g, dtype=torch.double)]
    theirs = [t.clone().requires_grad_() for t in ours]
    ours = [t.requires_grad_() for t in ours]
    a = deform_conv(*ours)
    b = deform_conv2d(theirs[0], theirs[1], theirs[2], padding=1)
    torch.testing.assert_close(a, b)
    seed = torch.randn(a.shape, generator=g, dtype=torch.double)
    a.backward(seed)
    b.backward(seed)
    for mine, yours in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, yours.grad)


@pytest.mark.parametrize(("layout", "count"), [(1, 1_955_986), (2, 1_956_048)])
def test_both_layouts_have_the_printed_parameters_at_full_width(layout, count):
    module = DAlign(1024, ModelConfig(dalign_mid=64, dalign_layout=layout))
    assert sum(p.numel() for p in module.parameters()) == count  # Table IV prints 1.956 M


@pytest.mark.parametrize("layout", [1, 2])
def test_a_new_dalign_samples_the_regular_grid_and_changes_nothing(layout):
    torch.manual_seed(0)
    module = DAlign(16, ModelConfig(dalign_mid=8, dalign_layout=layout))
    x = torch.randn(2, 3, 16, 6, 7)
    aligned, trace = module(x)
    assert torch.equal(aligned, x)  # residual with a zero output layer
    assert trace["displacement"].abs().max() == 0


@pytest.mark.parametrize("layout", [1, 2])
def test_replacing_dalign_uses_the_support_frame_only_through_its_samples(layout):
    torch.manual_seed(0)
    module = DAlign(16, ModelConfig(dalign_mid=8, dalign_layout=layout, dalign_residual=False))
    x = torch.randn(1, 3, 16, 6, 7)
    before, _ = module(x)
    x2 = x.clone()
    x2[:, 2] += 1
    after, _ = module(x2)
    assert torch.equal(before[:, :2], after[:, :2])  # frames are aligned one by one
    assert not torch.allclose(before[:, 2], after[:, 2])


def test_the_first_convolution_sees_the_concatenation():
    torch.manual_seed(0)
    module = DAlign(8, ModelConfig(dalign_mid=8, dalign_layout=2))
    x = torch.randn(2, 3, 8, 5, 5)
    pair = torch.cat([x[:, :1].expand_as(x), x], dim=2).flatten(0, 1)
    plain = F.relu(F.group_norm(module.concat(pair), 1))
    torch.testing.assert_close(module.joint(x), plain)


def test_offsets_stay_within_their_bound():
    module = DAlign(8, ModelConfig(dalign_mid=8, dalign_bound=4.0))
    assert module.bounded(torch.tensor([-1e6, 0.0, 1e-3, 1e6])).tolist() == pytest.approx(
        [-4, 0, 1e-3, 4])


def test_displacement_of_a_constant_shift_chains_to_its_double():
    offsets = torch.zeros(1, 18, 9, 9)
    offsets[:, 0::2], offsets[:, 1::2] = -1.0, 0.5  # every tap: one up, half right
    one = displacement(offsets)
    assert torch.allclose(one, torch.tensor([0.5, -1.0]).expand_as(one))
    both = chain(one, one)
    assert torch.allclose(both, torch.tensor([1.0, -2.0]).expand_as(both))


def test_chain_reads_the_first_layer_where_the_second_one_points():
    first, second = torch.zeros(1, 5, 5, 2), torch.zeros(1, 5, 5, 2)
    second[..., 0] = 2.0                # every cell looks two to the right ...
    first[:, :, 3, 1] = 1.0             # ... where column 3 had looked one down
    both = chain(first, second)
    assert both[0, 2, 1].tolist() == pytest.approx([2.0, 1.0])
    assert both[0, 2, 2].tolist() == pytest.approx([2.0, 0.0])


def test_two_shifting_layers_read_what_the_displacement_says():
    """An image shifted by two deformable layers equals the image read at the chained
    displacement."""
    g = torch.Generator().manual_seed(2)
    x = torch.randn(1, 1, 12, 12, generator=g)
    identity = torch.zeros(1, 1, 3, 3)
    identity[0, 0, 1, 1] = 1
    offsets = torch.zeros(1, 18, 12, 12)
    offsets[:, 0::2], offsets[:, 1::2] = 1.0, -1.0
    moved = deform_conv(deform_conv(x, offsets, identity), offsets, identity)
    dx, dy = chain(displacement(offsets), displacement(offsets))[0, 6, 6].tolist()
    assert moved[0, 0, 6, 6] == x[0, 0, 6 + round(dy), 6 + round(dx)]
