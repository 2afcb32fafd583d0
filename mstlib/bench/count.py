"""Multiply-adds of a frame, stage by stage, counted from shapes: nothing is computed or allocated.

Counted are convolutions, matrix products, attention and the weighted sums of bilinear sampling
(DAlign, RoIAlign, warping); one multiply-add is two FLOPs. Not counted, as usual: normalisation,
activations, softmax, sorting, NMS. Frames have as many proposals as the configuration allows, so
that a count belongs to a configuration and not to a picture. Table IV, notebook 10.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, sdpa_flop_count

from mstlib.bench.measure import LiveTensors
from mstlib.bench.stages import watched
from mstlib.config import Config
from mstlib.data.clip import Detections
from mstlib.model.detector import MST, build_model
from mstlib.model.engine import Engine, FrameState

FLOPS = 2  # of a multiply-add
CORNERS = 4  # cells that a bilinear sample is made of
NOTHING = Detections(torch.empty(0, 4), torch.empty(0), torch.empty(0, dtype=torch.int64))
aten, vision = torch.ops.aten, torch.ops.torchvision


# ---- formulas that torch lacks: shapes in, FLOPs out --------------------------------------------


def bag_flops(table: Sequence[int], index: Sequence[int], *_, **__) -> int:
    """A weighted sum of rows of a table (cells, C): as many rows as there are indices."""
    return FLOPS * prod(index) * table[1]


def roi_align_flops(maps, boxes, scale, height, width, samples, *_, out_shape, **__) -> int:
    """samples^2 bilinear samples in each cell of (n, C, height, width)."""
    return FLOPS * CORNERS * samples**2 * prod(out_shape)


def sample_flops(*_, out_shape, **__) -> int:
    """A bilinear sample in each cell of the result."""
    return FLOPS * CORNERS * prod(out_shape)


def deform_flops(maps, weight, *_, out_shape, **__) -> int:
    """Every channel sampled at every tap of every cell, then a convolution."""
    taps = out_shape[0] * prod(out_shape[2:]) * prod(weight[2:]) * maps[1]
    return FLOPS * CORNERS * taps + conv_flop_count(maps, weight, out_shape)


def attention_flops(q, k, v, *_, **__) -> int:
    """Products with the keys, and with the values; older torch forgets its CPU kernel."""
    return sdpa_flop_count(q, k, v)


FORMULAS = {
    aten._scaled_dot_product_flash_attention_for_cpu: attention_flops,
    aten._embedding_bag: bag_flops, aten._embedding_bag_forward_only: bag_flops,
    aten.grid_sampler_2d: sample_flops, vision.roi_align: roi_align_flops,
    vision.deform_conv2d: deform_flops,
}


def multiply_adds(function: Callable[[], object], formulas: Mapping | None = None) -> int:
    """Multiply-adds of a call; `formulas`: further ones, shapes to FLOPs, by operation."""
    with FlopCounterMode(display=False, custom_mapping=FORMULAS | dict(formulas or {})) as counter:
        function()
    return counter.get_total_flops() // FLOPS


# ---- the model without numbers ------------------------------------------------------------------


def shape_model(config: Config) -> MST:
    """The model on torch's `meta` device, where tensors have shapes only. What depends on numbers
    is taken for granted: each frame has all the proposals it may have, and NMS is left out."""
    with torch.device("meta"):
        model = build_model(config).eval()

    def propose(maps: Tensor, size: tuple[int, int], keep: Sequence[int]):
        model.rpn.score(maps, size)
        return [maps.new_empty(k, 4) for k in keep], [maps.new_empty(k) for k in keep]

    def decode(a: Tensor, boxes: list[Tensor], size: tuple[int, int]) -> list[Detections]:
        model.head(a)
        return [NOTHING] * len(boxes)

    model.rpn.propose, model.decode = propose, decode
    return model


@torch.no_grad()
def count_step(config: Config, mode: str, size: tuple[int, int]) -> dict[str, list[int]]:
    """Multiply-adds of one frame of a long video of images `size` (H, W) in a mode of inference,
    or "whole window", where nothing is kept: a list by stage with a number for each call."""
    model = shape_model(config)
    window = config.test.window if model.levels.temporal else 1
    images = torch.empty(window, 3, *size, dtype=torch.uint8, device="meta")
    if mode == "whole window":
        with watched(model, multiply_adds) as counts:
            model(images[None])
        return counts
    engine = Engine(model, mode)
    detect = engine.detect_whole if engine.whole else engine.detect_settled
    with watched(model, multiply_adds) as counts:
        state = enter(engine, images, window)
        detect([[state] * (window // 2 + 1 if mode == "causal" else window)])
    return counts


def enter(engine: Engine, images: Tensor, window: int) -> FrameState:
    """The state of a frame that is new; those before it are alike."""
    state = engine.enter(images[:1])[0]
    engine.settle([[state] * (window // 2 + 1)])
    return state


@torch.no_grad()
def state_bytes(config: Config, mode: str, size: tuple[int, int]) -> int:
    """Bytes of what a mode keeps of a frame of `size` (H, W), in float32."""
    engine = Engine(shape_model(config), mode)
    image = torch.empty(1, 3, *size, dtype=torch.uint8, device="meta")
    states = [enter(engine, image, config.test.window)]  # and what is made once, such as anchors
    with LiveTensors() as live:
        states.append(enter(engine, image, config.test.window))
    return live.now


def total(counts: Mapping[str, Sequence[int]]) -> int:
    """Of all stages."""
    return sum(map(sum, counts.values()))
