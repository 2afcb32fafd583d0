"""Profile `paper` on a CPU: it builds, detects and trains; its parameters against Table IV."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from mstlib.config import VARIANTS, SourceConfig, with_overrides
from mstlib.cost import NoiseClip, cost_lines, parameter_table, parameters, reader, stepper
from mstlib.data.clip import Target
from mstlib.model.detector import build_model
from mstlib.model.flownet import FlowNetS, cell_flow, warp
from mstlib.model.losses import losses_of
from mstlib.paper import TABLES
from mstlib.profiles import get_config

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "parameters.md").read_text(encoding="utf-8")
PRINTED = {row["module"]: row["params_M"] for row in TABLES["IV"]}

SIZE = (96, 160)


def small(variant="g", **more):
    """The model of profile `paper` with a small backbone in place of ResNet-101."""
    changes = {"model.backbone": "resnet18", "model.rpn_pre_nms": 200} | more
    return build_model(with_overrides(get_config("paper", variant), changes))


def window():
    """Three random frames (1, 3, 3, H, W) and two objects that all of them show."""
    images = torch.randint(256, (1, 3, 3, *SIZE), generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[8.0, 8, 72, 72], [70, 20, 150, 90]])
    target = Target.of(boxes, torch.tensor([1, 30]), torch.tensor([4, 7]))
    return images.to(torch.uint8), [[target] * 3]


@pytest.mark.parametrize("variant", ["a", "g"])
def test_it_detects(variant):
    images, _ = window()
    found, _ = small(variant).eval()(images[:, : 3 if variant == "g" else 1])
    assert 0 < len(found[0].boxes) <= 300
    assert found[0].labels.max() <= 30 and found[0].scores.min() > 0.001
    assert found[0].boxes.min() >= 0 and found[0].boxes[:, 2].max() <= SIZE[1]


def test_a_training_step_reaches_every_part():
    model = small(**{"model.frame_init": "zero"}).train()
    images, targets = window()
    maps = model.c4(images.flatten(0, 1)).unflatten(0, images.shape[:2])
    assert maps.shape == (1, 3, 256, 6, 10)
    torch.manual_seed(0)
    losses = losses_of(model, maps, SIZE, targets)
    sum(losses[k] for k in ("rpn_class", "rpn_box", "class", "box")).backward()
    assert all(torch.isfinite(v) for v in losses.values())
    reached = {n.split(".")[0] for n, p in model.named_parameters()
               if p.grad is not None and p.grad.abs().sum() > 0}
    assert reached >= {"backbone", "rpn", "reduce", "fc", "head", "dalign", "frame", "proposal"}
    assert model.backbone.stem[0].weight.grad.abs().sum() > 0


def test_anchors_stand_a_stride_apart_where_the_image_is_not_whole_cells():
    """600 x 1000 pixels are 37.5 x 62.5 cells: dividing image by map would give a stride of 15."""
    rpn = small("a").rpn
    anchors = rpn.score(torch.zeros(1, 256, 38, 63), (600, 1000))[2].view(38, 63, 12, 4)
    assert torch.equal(anchors[37, 62] - anchors[0, 0],
                       torch.tensor([62.0, 37, 62, 37]).mul(16).expand(12, 4))


def test_the_rpn_can_be_narrower_than_conv4():
    wide, narrow = small("a"), small("a", **{"model.rpn_channels": 64})
    count = [sum(p.numel() for p in m.rpn.parameters()) for m in (wide, narrow)]
    assert count == [9 * 256 * 256 + 256 + 60 * 257, 9 * 256 * 64 + 64 + 60 * 65]
    assert len(narrow.eval()(window()[0][:, :1])[0][0].boxes) > 0


# ---- parameters --------------------------------------------------------------------------------


def page_rows(first):
    """The rows of the page's table whose header starts with `first`, as lists of cells."""
    table = PAGE.split(f"| {first} |")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def number(text):
    return int(text.replace(",", ""))


def total(changes):
    config = with_overrides(get_config("paper", "g"), {f"model.{k}": v for k, v in changes.items()})
    return parameter_table(config)[-1]["parameters"]


def test_the_table_counts_the_model_that_is_built():
    config = get_config("paper", "g")
    rows = parameter_table(config)
    model = build_model(config)  # ResNet-101
    assert rows[-1] == {"part": "all", "parameters": sum(p.numel() for p in model.parameters())}
    assert sum(row["parameters"] for row in rows[:-1]) == rows[-1]["parameters"]
    assert parameters(model)["all"] == rows[-1]["parameters"]
    assert abs(rows[-1]["parameters"] / 1e6 / PRINTED["Ours-D"] - 1) < 0.01


def test_the_page_has_the_numbers_of_the_code():
    table = [(f"`{row['part']}`", row["parameters"])
             for row in parameter_table(get_config("paper", "g"))]
    assert [(part, number(n)) for part, n, _ in page_rows("part")] == table
    for changes, count, off, _ in page_rows("changes"):
        settings = {k: int(v) for k, v in re.findall(r"`(\w+)=(\d+)`", changes)}
        assert total(settings) == number(count)
        assert f"{100 * (number(count) / 1e6 / PRINTED['Ours-D'] - 1):+.2f} %" == off


def test_table_iv_row_by_row():
    rows = {name: (float(printed), number(ours)) for name, printed, ours, _ in
            page_rows("row of Table IV")}
    assert {name: printed for name, (printed, _) in rows.items()} == PRINTED
    flow = sum(p.numel() for p in FlowNetS().parameters())
    align = {layout: parameters(small("d", **{
        "model.backbone": "resnet50", "model.dalign_layout": layout}))["dalign"]
        for layout in (1, 2)}
    assert align == {1: 1_955_986, 2: 1_956_048} and flow == 38_680_336
    assert round(flow / 1e6, 3) == PRINTED["FlowNetS"]
    assert {round(n / 1e6, 3) for n in align.values()} == {PRINTED["DAlign"]}
    ours = {"FlowNetS": flow, "DAlign": align[2], "Ours-D": total({}),
            "Ours-F": total({}) - align[2] + flow}
    assert {name: count for name, (_, count) in rows.items()} == ours


def test_no_step_is_timed_at_paper_scale_unless_asked(monkeypatch):
    def never(*_):
        raise AssertionError("a step was timed")

    monkeypatch.setattr("mstlib.cost.step_seconds", never)
    lines = cost_lines("paper")
    assert len(lines) == len(VARIANTS) + 1 and "65.447 M" in lines[6]
    with pytest.raises(AssertionError, match="timed"):
        cost_lines("paper", 1)


def test_a_step_at_paper_scale_runs_on_frames_of_noise():
    config = with_overrides(get_config("paper", "c"), {
        "model.backbone": "resnet18", "train.batch": 2, "model.rpn_pre_nms": 100})
    config = replace(config, source=SourceConfig("imagenet", *SIZE))
    clips = [NoiseClip("noise", SIZE)]
    step = stepper(config, clips, reader(clips, config))
    step(0)
    step(1)


# ---- FlowNetS ----------------------------------------------------------------------------------


def test_flow_comes_at_a_quarter_of_any_size():
    net = FlowNetS().eval()
    for size in ((64, 128), (70, 90)):
        flow = net(torch.rand(1, 6, *size))
        assert flow.shape == (1, 2, -(-size[0] // 4), -(-size[1] // 4))


def test_flow_becomes_cells_of_the_map():
    """4 pixels right and 2 down on halved images are 8 and 4 pixels, half and a quarter of a cell
    of stride 16."""
    def steady(pairs):
        assert pairs.shape == (1, 6, 48, 80)
        return torch.tensor([4.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 12, 20)

    images = torch.rand(2, 1, 3, 90, 158)  # 5.6 x 9.9 cells
    flow = cell_flow(steady, images[0], images[1], 16)
    assert flow.shape == (1, 2, 6, 10)
    torch.testing.assert_close(flow[0, :, 2, 3], torch.tensor([0.5, 0.25]))


def test_warping_reads_where_the_flow_points():
    maps = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(warp(maps, torch.zeros(2, 2, 5, 7)), maps)
    flow = torch.zeros(2, 2, 5, 7)
    flow[0, 0], flow[1, 1] = 2.0, -0.5  # two cells to the right; half a cell up
    out = warp(maps, flow)
    torch.testing.assert_close(out[0, :, :, :5], maps[0, :, :, 2:])
    torch.testing.assert_close(out[0, :, :, 5:], maps[0, :, :, 6:].expand(3, 5, 2))  # border
    torch.testing.assert_close(out[1, :, 1:], (maps[1, :, 1:] + maps[1, :, :-1]) / 2)
    assert F.mse_loss(out[1, :, 0], maps[1, :, 0]) < 1e-9
