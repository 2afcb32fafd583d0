"""Checkpoints of the public mega.pytorch (Scalsol/mega.pytorch, on maskrcnn-benchmark) as models of
ours: the parents that the paper starts from, on ImageNet VID.

    single     single-frame Faster R-CNN      -> variant (a)
    rdn-base   RDN's two relation layers      -> variant (c)
    rdn        with RDN's advanced stage      -> method rdn
    mega       MEGA                           -> method mega

`key_map` is the whole mapping, key by key; `import_mega` follows it and reports what became of
every key. The model is that of `mstlib.model.caffe`, which computes what they compute there. Known
differences that remain are in `NOTES`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mstlib.config import Config, MSTError
from mstlib.model.backbone import build_backbone
from mstlib.model.backbone_weights import COUNTER, read_weights, unwrapped
from mstlib.model.caffe import caffe_anchors, caffe_config
from mstlib.model.detector import MST, build_model
from mstlib.profiles import get_config

BOX = "roi_heads.box.feature_extractor."
ANCHORS = "rpn.anchor_generator.cell_anchors.0"
COMMON = {  # their module -> ours, in every kind
    "rpn.head.conv": "rpn.parts.head.conv.0.0",
    "rpn.head.cls_logits": "rpn.parts.head.cls_logits",
    "rpn.head.bbox_pred": "rpn.parts.head.bbox_pred",
    "roi_heads.box.predictor.cls_score": "head.cls_score",
    "roi_heads.box.predictor.bbox_pred": "head.bbox_pred",
}
BEFORE = "proposal.before"
FC = {  # kind -> fully connected layers, the first one first: theirs -> ours
    "single": {"fc6": "fc", "fc7": "fc2"},
    "rdn-base": {"fcs.0": "fc", "fcs.1": f"{BEFORE}.1.0"},
    "rdn": {"fcs.0": "fc", "fcs.1": f"{BEFORE}.1.0", "fcs.2": f"{BEFORE}.2.0"},
    "mega": {"l_fcs.0": "fc", "l_fcs.1": f"{BEFORE}.1.0", "l_fcs.2": f"{BEFORE}.2.0"},
}
RELATION = {"Wqs": "query", "Wks": "key", "Wvs": "value", "Wgs": "geometry.weight"}
RELATIONS = {  # kind -> relation layers: their prefix and number -> ours
    "single": {},
    "rdn-base": {("", 0): "layers.0", ("", 1): "layers.1"},
    "rdn": {("", 0): "layers.0", ("", 1): "layers.1", ("", 2): "advanced.0", ("", 3): "advanced.1"},
    "mega": {("l_", 0): "layers.0", ("l_", 1): "layers.1", ("l_", 2): "layers.2",
             ("g_", 0): "global_layers.0", ("g_", 1): "global_layers.1"},
}
NOTES = (
    "frames are resized here by torchvision, there by Pillow: pixels may differ by a grey level",
)
MEGA_NOTE = "the order in which global frames are drawn is random there, the same every time here"


@dataclass(frozen=True)
class MegaReport:
    """What became of the keys of a checkpoint.

    used: their key -> ours; where two go to one of ours, their sum does. unused: their key -> why.
    missing: their keys that the kind has and the checkpoint lacks; what they would fill stays
    random.
    """

    kind: str
    used: dict[str, str]
    unused: dict[str, str]
    missing: list[str]

    @property
    def complete(self) -> bool:
        """Does the model compute what the checkpoint's own would?"""
        return not self.missing and set(self.unused) <= {ANCHORS}

    def lines(self) -> list[str]:
        """The report as text, a line for each key."""
        out = [f"kind {self.kind}: {len(self.used)} keys used, {len(self.unused)} unused, "
               f"{len(self.missing)} missing"]
        out += [f"used     {theirs} -> {ours}" for theirs, ours in self.used.items()]
        out += [f"unused   {theirs}: {why}" for theirs, why in self.unused.items()]
        out += [f"missing  {theirs}" for theirs in self.missing]
        if not self.complete:
            out.append("NOT COMPLETE: detections of this model are not those of the checkpoint's")
        notes = (*NOTES, MEGA_NOTE) if self.kind == "mega" else NOTES
        return out + [f"note     {note}" for note in notes]


def import_mega(source: str | Path | Mapping, kind: str, config: Config | None = None,
                strict: bool = True) -> tuple[MST, MegaReport]:
    """The model of a checkpoint (a file, or what such a file holds), ready to detect, and what
    became of its keys.

    kind: single, rdn-base, rdn or mega. config: read off the tensors' shapes unless given.
    MSTError, with the first key at fault, if a shape or the anchors do not fit and, with `strict`,
    if a key is missing or unknown: then the kind is likely to be another one.
    """
    if kind not in FC:
        raise MSTError(f"unknown kind '{kind}'; choose {', '.join(FC)}")
    named = not isinstance(source, Mapping)
    name = str(source) if named else "checkpoint"
    tensors = read_weights(Path(source)) if named else unwrapped(dict(source), name)
    config = config or mega_config(kind, tensors, name)
    pairs = key_map(kind, config)
    used = {theirs: ours for theirs, ours in pairs.items() if theirs in tensors}
    unused = {key: f"unknown: no key of a {kind} checkpoint" for key in tensors if key not in used}
    if ANCHORS in unused:
        unused[ANCHORS] = "anchors are computed here: the same ones"
    report = MegaReport(kind, used, unused, [key for key in pairs if key not in tensors])
    if strict:
        check_keys(report, name)
    if ANCHORS in tensors:
        check_anchors(tensors[ANCHORS], config, name)
    model = build_model(config)
    load(model, {key: converted(key, tensors[key]) for key in used}, report, name)
    return model.eval(), report


# ---- the mapping -------------------------------------------------------------------------------


def key_map(kind: str, config: Config) -> dict[str, str]:
    """Their key -> ours, for everything that a model of the configuration has."""
    with torch.device("meta"):
        backbone = build_backbone(config.model)
    pairs = {backbone_key(theirs): f"backbone.{ours}" for ours, theirs in backbone.source.items()
             if not theirs.endswith(COUNTER)}
    box = FC[kind] | ({"conv": "reduce.0"} if config.model.roi_reduce else {})
    for (prefix, k), ours in RELATIONS[kind].items():
        box |= {f"{prefix}{theirs}.{k}": f"proposal.{ours}.{mine}"
                for theirs, mine in RELATION.items() if (prefix, theirs) != ("g_", "Wgs")}
    modules = COMMON | {BOX + theirs: ours for theirs, ours in box.items()}
    pairs |= {f"{theirs}.{part}": f"{ours}.{part}" for theirs, ours in modules.items()
              for part in ("weight", "bias")}
    return pairs | {f"{BOX}{prefix}us.{k}": f"proposal.{ours}.query.bias"  # DEVIATIONS.md 24
                    for (prefix, k), ours in RELATIONS[kind].items() if kind == "mega"}


def backbone_key(name: str) -> str:
    """A tensor of torchvision's ResNet under its name there: conv5 belongs to the RoI head."""
    if name.startswith("layer4."):
        return f"{BOX}head.{name}"
    return f"backbone.body.{name}" if name.startswith("layer") else f"backbone.body.stem.{name}"


def converted(key: str, tensor: Tensor) -> Tensor:
    """A tensor as our layer holds it.

    The first convolution reads blue, green, red there; ours gets red first. W_g and W_v are 1x1
    convolutions there. W_g reads, of each of the four quantities in turn, 8 sines and 8 cosines;
    ours reads all sines first. W_v is grouped by heads: its rows are those of our W_p. MEGA's u is
    a bias of the queries, head by head.
    """
    if key == "backbone.body.stem.conv1.weight":
        return tensor.flip(1)
    if re.search(r"Wgs\.\d+\.weight", key):
        return tensor.unflatten(1, (4, 2, 8)).transpose(1, 2).flatten(1)
    if re.search(r"_us\.\d+$", key):
        return tensor.flatten()
    return tensor.flatten(1) if re.search(r"Wvs\.\d+\.weight", key) else tensor


# ---- the configuration, and what may be wrong --------------------------------------------------


def mega_config(kind: str, tensors: Mapping[str, Tensor], name: str = "checkpoint") -> Config:
    """Profile `paper` with the sizes that the tensors have and the parent's own windows, filled
    with copies at the ends of a video; MSTError if the kind is another."""
    fc, score = f"{BOX}{next(iter(FC[kind]))}.weight", "roi_heads.box.predictor.cls_score.weight"
    for key in (fc, score):
        if key not in tensors:
            raise MSTError(f"{name}: lacks '{key}', so it is no {kind} checkpoint of mega.pytorch; "
                           f"choose among {', '.join(FC)}")
    blocks = len({k.split(".")[3] for k in tensors if k.startswith("backbone.body.layer3.")})
    reduce = len(tensors[f"{BOX}conv.weight"]) if f"{BOX}conv.weight" in tensors else 0
    groups = tensors.get(f"{BOX}Wgs.0.weight", tensors.get(f"{BOX}l_Wgs.0.weight"))
    paper = get_config("paper", "a" if kind == "single" else "c")
    model = caffe_config(
        paper.model, backbone={6: "resnet50"}.get(blocks, "resnet101"),
        classes=len(tensors[score]) - 1, width=len(tensors[fc]), roi_reduce=reduce,
        roi_size=math.isqrt(tensors[fc].shape[1] // (reduce or 2048)), geometry="full",
        heads=paper.model.heads if groups is None else len(groups),
        method=kind if kind in ("rdn", "mega") else "mst")
    window, span = (25, 12) if kind == "mega" else (37, 18)
    return replace(paper, model=model, train=replace(paper.train, span=span),
                   test=replace(paper.test, window=window, pad=True))


def check_keys(report: MegaReport, name: str) -> None:
    """MSTError if a key is missing or unknown."""
    unknown = [key for key, why in report.unused.items() if why.startswith("unknown")]
    for what, keys in (("lacks", report.missing), ("has the unknown", unknown)):
        if keys:
            raise MSTError(f"{name}: {what} '{keys[0]}' ({len(keys)} in all); is it really of kind "
                           f"{report.kind}? Others are {', '.join(set(FC) - {report.kind})}")


def check_anchors(theirs: Tensor, config: Config, name: str) -> None:
    """MSTError unless the checkpoint's anchors, which end on their last pixel, are ours."""
    m = config.model
    ours = caffe_anchors(m.anchor_sizes, m.anchor_ratios, 16) - torch.tensor([0.0, 0, 1, 1])
    if theirs.shape != ours.shape or not torch.allclose(theirs.float(), ours):
        raise MSTError(f"{name}: has other anchors, the first {theirs[0].tolist()} and not "
                       f"{ours[0].tolist()}; give a configuration with its model.anchor_sizes")


def load(model: MST, tensors: dict[str, Tensor], report: MegaReport, name: str) -> None:
    """Copy their tensors into the model; MSTError that names the first of another shape."""
    own, filled = model.state_dict(), {}
    for theirs, ours in report.used.items():
        if tensors[theirs].shape != own[ours].shape:
            raise MSTError(f"{name}: '{theirs}' is {tuple(tensors[theirs].shape)} here, the model "
                           f"needs {tuple(own[ours].shape)}; give the configuration it belongs to")
        filled[ours] = filled[ours] + tensors[theirs] if ours in filled else tensors[theirs]
    model.load_state_dict(filled, strict=False)
