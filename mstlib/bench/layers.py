"""The experiments on single layers, at the paper's sizes: relation layer, K and r, alignment.

Random features and boxes; nothing else of the model is computed.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import ceil

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import conv_flop_count

from mstlib.bench.count import aten, multiply_adds
from mstlib.bench.measure import alternate, digits, peak_bytes, ratio, seconds, spread
from mstlib.bench.steps import MS, WINDOW, How
from mstlib.model.attention import Relation
from mstlib.model.backbone import stride_of
from mstlib.model.dalign import DAlign
from mstlib.model.flownet import FlowNetS, cell_flow, warp
from mstlib.model.instance import InstanceLevel
from mstlib.plain import relate, weights
from mstlib.profiles import get_config

K, R = (10, 15, 20, 25, 30), (10, 20, 30, 40, 50)  # Tables VI and VII, r in percent
K0, R0 = 20, 20                                    # what the other table keeps
WIDTHS = (512, 1024)                               # d of profile paper, and RDN's
SIZES = ((256, 256), (600, 1000))                  # of Table IV's figure; of Sec. IV-C
GEOMETRY = 48  # factors of a pair's geometry in a head: 3 quantities, 8 waves, sine and cosine
MANY = 20
PAPER = get_config("paper").model
N, M = PAPER.reference_proposals, WINDOW * PAPER.support_proposals  # 300, 2775


def by_turns(functions: Mapping[str, Callable[[], object]], how: How) -> dict[str, list[float]]:
    """Seconds of each function."""
    turns = {name: partial(seconds, f, how.device) for name, f in functions.items()}
    return alternate(turns, how.repeats, how.budget)


def random_boxes(count: int, device: torch.device | str) -> Tensor:
    """Boxes (count, 4) of 20 to 400 pixels in an image of 600 x 1000."""
    generator = torch.Generator().manual_seed(count)
    corner, size = (torch.rand(count, 2, generator=generator) for _ in range(2))
    corner, size = corner * torch.tensor([600.0, 200.0]), 20 + 380 * size
    return torch.cat([corner, corner + size], dim=1).to(device)


def proposals(count: int, width: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Features (count, d) and boxes (count, 4)."""
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, width, generator=generator).to(device), random_boxes(count, device)


# ---- the relation layer -------------------------------------------------------------------------


def relation_forms(width: int, n: int, m: int, device: torch.device | str
                   ) -> dict[str, Callable[[], Tensor]]:
    """One relation layer (Eq. 7-10) in three forms, n proposals asking m: as written, with an
    embedding for every pair and values weighted before they are projected; the fast one; and the
    fast one where supports were projected when they entered."""
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        layer = Relation(width, PAPER.heads, PAPER.geometry)
    (a, b1), (s, b2) = proposals(n, width, device), proposals(m, width, device)
    kept = layer.supports(s, b2)
    return {"plain": lambda: relate(layer, a, s, weights(layer, a, b1, s, b2).softmax(-1)),
            "fast": lambda: layer(a, b1, s, b2),
            "supports kept": lambda: layer.ask(a, b1, kept)}


@torch.no_grad()
def relation(how: How, n: int = N, m: int = M, widths: tuple[int, ...] = WIDTHS) -> dict:
    """The fast relation layer against the one written as in the equations, float32."""
    rows = []
    for width in widths:
        forms, shapes = (relation_forms(width, n, m, d) for d in (how.device, "meta"))
        timed, truth = by_turns(forms, how), forms["plain"]()
        for name, form in forms.items():
            rows.append({
                "form": name, "width": width, "N": n, "M": m, "heads": PAPER.heads,
                "multiply_adds": multiply_adds(shapes[name]), "ms": spread(timed[name], MS),
                "peak_bytes": peak_bytes(form, how.device),
                "times_faster_than_plain": ratio(timed["plain"], timed[name]),
                "difference": digits(float((form() - truth).abs().max()), 2)})
    return {"rows": rows}


# ---- K and r of the instance level --------------------------------------------------------------


def needed(k: int, r: float, width: int, m: int = M, heads: int = PAPER.heads) -> int:
    """Multiply-adds that the instance level (Eq. 12) asks for, its supports projected before: k
    queries, k x m logits of appearance and geometry, k sums over ceil(r m) values.

    The code computes a few more: it masks the other values instead of leaving them out.
    """
    return k * width**2 + k * m * (width + GEOMETRY * heads) + k * ceil(r * m) * width


@torch.no_grad()
def instance(how: How, n: int = N, m: int = M, widths: tuple[int, ...] = WIDTHS) -> dict:
    """The instance level alone, over K (Table VI) and over r (Table VII); it takes milliseconds and
    the steps between are small, so there are `MANY` times as many rounds as elsewhere."""
    rows, how = [], replace(how, repeats=MANY * how.repeats)
    settings = {("VI", k, R0) for k in K} | {("VII", K0, r) for r in R}
    for width in widths:
        steps = {key: instance_step(width, n, m, *key[1:], how) for key in sorted(settings)}
        timed = by_turns(steps, how)
        for (table, k, r), step in steps.items():
            rows.append({
                "table": table, "width": width, "N": n, "M": m, "K": k, "r_percent": r,
                "multiply_adds": needed(k, r / 100, width, m),
                "ms": spread(timed[table, k, r], MS), "peak_bytes": peak_bytes(step, how.device)})
    return {"rows": rows}


def instance_step(width: int, n: int, m: int, k: int, r: int, how: How) -> Callable[[], Tensor]:
    """One call of the instance level, its supports projected before."""
    level = InstanceLevel(replace(PAPER, width=width, instance_k=k, instance_r=r / 100))
    level = level.to(how.device).eval()
    (a, b1), (s, b2) = proposals(n, width, how.device), proposals(m, width, how.device)
    objectness, kept = a[:, 0].sigmoid(), level.relation.supports(s, b2)
    return lambda: level.ask(a, b1, objectness, kept)[0]


# ---- DAlign against optical flow (Table IV) -----------------------------------------------------


def at_output_size(image, weight, *_, out_shape, **__) -> int:
    """A convolution counted where its results stand, which is wrong for a transposed one: it has
    four times as many places as it computes at. This is how the paper's 8.90 comes about."""
    return conv_flop_count(image, weight, out_shape)


def alignments(size: tuple[int, int], device: torch.device | str
               ) -> dict[str, tuple[nn.Module, Callable[[], Tensor]]]:
    """Ways to align one support frame's conv4 map (1, 1024, h, w) to the reference's, images of
    `size`: the module and a call of it."""
    stride, channels = stride_of(PAPER), 1024
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        flow, dalign = FlowNetS().eval(), DAlign(channels, PAPER).eval()
        images = torch.randn(2, 3, *size)
        maps = torch.randn(2, channels, *(-(-side // stride) for side in size))
    pair, reference = images.flatten(0, 1)[None], dalign.halves(maps[:1]).as_reference

    def aligned() -> Tensor:
        halves = dalign.halves(maps[1:])
        window = type(halves)(*(of[None] for of in vars(halves).values()))
        return dalign.align(reference, window)[0]

    return {"FlowNetS": (flow, lambda: flow(pair)),
            "FlowNetS, half size, and warp": (flow, lambda: warp(
                maps[1:], cell_flow(flow, images[:1], images[1:], stride))),
            "DAlign": (dalign, aligned)}


@torch.no_grad()
def alignment(how: How, sizes: tuple[tuple[int, int], ...] = SIZES) -> dict:
    """DAlign against FlowNetS, for one support frame, float32."""
    rows = []
    for size in sizes:
        ways, shapes = (alignments(size, d) for d in (how.device, "meta"))
        timed = by_turns({name: call for name, (_, call) in ways.items()}, how)
        for name, (module, call) in ways.items():
            shape = shapes[name][1]
            rows.append({
                "module": name, "size": list(size),
                "parameters": sum(p.numel() for p in module.parameters()),
                "multiply_adds": multiply_adds(shape),
                "at_output_size": multiply_adds(shape, {aten.convolution: at_output_size}),
                "ms": spread(timed[name], MS), "peak_bytes": peak_bytes(call, how.device),
                "times_faster_than_flow": ratio(timed["FlowNetS"], timed[name])})
    return {"rows": rows}
