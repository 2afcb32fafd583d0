"""What Tables IV, VI and VII say of cost: parameters and multiply-adds, which are counted from
shapes, and times, which stand in the records of the bench (`mst bench`).
"""

from functools import lru_cache
from pathlib import Path

import torch

from mstlib.bench.count import count_step, multiply_adds, total
from mstlib.bench.record import read_bench
from mstlib.config import Config, with_overrides
from mstlib.model.backbone import stride_of
from mstlib.model.detector import ALIGNMENTS, build_model
from mstlib.model.flow import FlowAlign, carry
from mstlib.profiles import get_config

# Images (H, W) whose alignment is counted. The paper's numbers are those of 256 x 256 pixels as
# either module sees them, and flow sees halved images.
FULL, MINI = {"flow": (512, 512), "dalign": (256, 256)}, (128, 128)
UNTIMED = "not measured: mst bench --profile paper --only instance"


@lru_cache
def alignment_costs() -> dict[str, dict]:
    """Cells of Table IV by module: parameters and multiply-adds at the paper's width and at ours.

    Modules align one support frame; the detectors' multiply-adds are those of a frame of a long
    video in mode exact.
    """
    out = {}
    for module, align in (("FlowNetS", "flow"), ("DAlign", "dalign")):
        full, mini = (module_cost(with_overrides(get_config(p, "g"), {"model.align": align}), size)
                      for p, size in (("paper", FULL[align]), ("mini", MINI)))
        out[module] = cells(full, mini)
    for module, align in (("Ours-F", "flow"), ("Ours-D", "dalign")):
        full, mini = (with_overrides(get_config(p, "g"), {"model.align": align})
                      for p in ("paper", "mini"))
        out[module] = cells((count_parameters(full), None),
                            (count_parameters(mini), total(count_step(mini, "exact", MINI))))
    return out


def cells(full: tuple[int, int | None], mini: tuple[int, int]) -> dict:
    """The cells of a row: numbers of parameters and multiply-adds at two widths."""
    return {"our M parameters, paper's width": f"{full[0] / 1e6:.3f}",
            "our G multiply-adds, paper's width": "" if full[1] is None else f"{full[1] / 1e9:.2f}",
            "our M parameters, mini": f"{mini[0] / 1e6:.3f}",
            "our M multiply-adds, mini": f"{mini[1] / 1e6:.1f}"}


def count_parameters(config: Config) -> int:
    """Parameters of the whole detector; nothing is allocated."""
    with torch.device("meta"):
        return sum(p.numel() for p in build_model(config).parameters())


@torch.no_grad()
def module_cost(config: Config, size: tuple[int, int]) -> tuple[int, int]:
    """Parameters of an alignment module, and multiply-adds of aligning one support frame of images
    `size` (H, W), the reference's part done before."""
    stride = stride_of(config.model)
    h, w = (side // stride for side in size)
    with torch.device("meta"):
        channels = build_model(config).backbone.channels
        module = ALIGNMENTS[config.model.align](channels, config.model).eval()
        maps = torch.empty(1, channels, h, w)
        if isinstance(module, FlowAlign):
            maps = carry(maps, torch.empty(1, 3, *size), stride)
        reference = module.halves(maps).as_reference

    def align() -> torch.Tensor:
        halves = module.halves(maps)
        return module.align(reference, type(halves)(*(of[None] for of in vars(halves).values())))

    return sum(p.numel() for p in module.parameters()), multiply_adds(align)


def instance_ms(bench: Path, table: str, value: int) -> float | str:
    """Milliseconds of the instance level alone at the paper's size (N = 300, M = 2775, d = 1024),
    for a value of K (Table VI) or of r in percent (Table VII): the median that the bench's record
    has, or what would measure it."""
    path = bench / "paper-cpu.json"
    if not path.exists():
        return UNTIMED
    column = {"VI": "K", "VII": "r_percent"}[table]
    rows = read_bench(path)["experiments"].get("instance", {"rows": []})["rows"]
    widest = max((row["width"] for row in rows), default=0)  # RDN's and MEGA's width
    times = [row["ms"]["median"] for row in rows
             if row["table"] == table and row[column] == value and row["width"] == widest]
    return times[0] if times else UNTIMED
