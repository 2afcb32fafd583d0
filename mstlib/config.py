"""What can be set: every field with its meaning and the reason of its default.

The defaults are those of profile `mini`, the paper's values stand in brackets; `mstlib.profiles`
puts them together. A variant (a)-(g) of Table III is a value, `Levels`: which of the four parts of
the method are switched on; the paper's rivals are values too. Nothing in the code asks for a name.
"""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import NamedTuple


class MSTError(Exception):
    """An error the user can mend: one line that names the file, line or shape and the way out."""


@dataclass(frozen=True)
class Levels:
    """Which parts of the method are on: one column of Table III."""

    dalign: bool = False
    frame: bool = False
    proposal: bool = False
    instance: bool = False

    @property
    def temporal(self) -> bool:
        """Does the model look at support frames at all?"""
        return self.dalign or self.frame or self.proposal or self.instance


VARIANTS = {  # Table III, in the paper's order
    "a": Levels(),
    "b": Levels(frame=True),
    "c": Levels(proposal=True),
    "d": Levels(dalign=True, frame=True),
    "e": Levels(dalign=True, proposal=True),
    "f": Levels(dalign=True, frame=True, proposal=True),
    "g": Levels(dalign=True, frame=True, proposal=True, instance=True),
}
MEGA_VARIANTS = {  # Table V: parts added to MEGA, which has its own proposal level
    "h": Levels(proposal=True),
    "i": Levels(dalign=True, proposal=True),
    "j": Levels(frame=True, proposal=True),
    "k": Levels(proposal=True, instance=True),
    "l": Levels(dalign=True, frame=True, proposal=True, instance=True),
}


class Detector(NamedTuple):
    """What can be trained by name: which parts are on, and the settings of the model that make it
    what it is."""

    levels: Levels
    model: dict[str, str]


DETECTORS = {
    **{name: Detector(levels, {"method": "mst"}) for name, levels in VARIANTS.items()},
    **{name: Detector(levels, {"method": "mega"}) for name, levels in MEGA_VARIANTS.items()},
    "fgfa": Detector(Levels(dalign=True, frame=True), {"method": "fgfa", "align": "flow"}),
    "selsa": Detector(Levels(proposal=True), {"method": "selsa"}),
    "rdn": Detector(Levels(proposal=True), {"method": "rdn"}),
}


@dataclass(frozen=True)
class DataConfig:
    """MiniVID (see `mstlib.data.minivid.benchmark`); the reasons stand in its data card."""

    name: str = "minivid-v1"
    seed: int = 2022            # the paper's year; any change of it is another benchmark
    size: int = 128             # pixels; 16 x 16 cells at stride 8
    train_clips: int = 640
    train_length: int = 16      # frames a clip
    val_clips: int = 64         # settings are chosen here
    test_clips: int = 96        # reported, never tuned on
    test_length: int = 24       # frames a clip, val and test


GENERATED = ("minivid", "miniuav")


@dataclass(frozen=True)
class SourceConfig:
    """Where clips come from and how large the model sees them."""

    format: str = "minivid"     # or miniuav, or a layout of `mstlib.data.readers`, such as davis
    short_side: int = 0         # pixels, frames are resized to fit; 0: as they are [600]
    long_side: int = 0          # at most; 0: no limit [1000]


@dataclass(frozen=True)
class ModelConfig:
    """The detector and its levels; `mini` values, the paper's in brackets."""

    classes: int = 8                          # without background [30]
    method: str = "mst"                       # whose levels: mst, fgfa, selsa, rdn or mega
    backbone: str = "mini"                    # [resnet101], see `mstlib.model.backbone`
    backbone_weights: str = ""                # what training starts from: torchvision, timm, a file
    caffe_layout: bool = False                # as MEGA's public weights: `mstlib.model.caffe`
    widths: tuple[int, ...] = (24, 32, 48, 64, 96)  # stem, conv2..conv5
    pixel_mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    pixel_std: tuple[float, ...] = (0.25, 0.25, 0.25)
    # RPN, Sec. IV-B
    anchor_sizes: tuple[int, ...] = (16, 28, 44, 64)   # [64, 128, 256, 512]
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    rpn_channels: int = 0                     # of the RPN's 3x3; 0: as many as conv4
    rpn_nms: float = 0.7
    rpn_pre_nms: int = 256                    # [6000]
    reference_proposals: int = 8              # [300] N at test, by image area; DEVIATIONS.md 18
    support_proposals: int = 8                # [75] a frame, RDN's value; M = L times this
    rpn_batch: int = 64                       # anchors sampled for the loss [256]
    # RoI head, Sec. IV-B
    roi_reduce: int = 64                      # 1x1 after conv5 [256]
    roi_size: int = 5                         # RoIAlign cells [7]
    width: int = 256                          # d of Eq. 7-12 [512]
    score_threshold: float = 0.001
    nms: float = 0.5
    detections: int = 100                     # a frame [300]
    # Alignment: DAlign, Eq. 1-3
    align: str = "dalign"                     # or "flow": FlowNetS in its place, Table IV
    flow_width: float = 0.1875                # of FlowNetS; DEVIATIONS.md 28 [1]
    dalign_layout: int = 1                    # 1 or 2, DEVIATIONS.md 5 [2]
    dalign_mid: int = 32                      # bottleneck [64]
    dalign_residual: bool = True              # added to F_tau, not in its place: DEVIATIONS.md 6
    dalign_bound: float = 4.0                 # offsets are bound * tanh(o / bound), cells; 0: free
    # Attention, Fig. 4
    frame_width: int = 64                     # Q, K, V of the frame level [512]
    frame_heads: int = 2                      # [16]
    frame_query: str = "all"                  # "all" or "ref", Table IX
    frame_place: float = 0.0                  # sharpness of place at first, per cell^2; 0: Eq. 5
    frame_init: str = "identity"              # or "zero": DEVIATIONS.md 9
    heads: int = 4                            # G at the proposal and instance level [16]
    relation_layers: int = 2                  # proposal level
    geometry: str = "size"                    # "size" (Eq. 9) or "full" (RDN, with centres)
    lead_share: float = 0.2                   # RDN, MEGA: best of a frame's supports, refined too
    mega_stages: int = 3                      # MEGA: local relation layers
    # Instance level, Eq. 12
    instance_rule: str = "topk"               # "topk" (leak-free) or "label" (literal)
    instance_k: int = 6                       # K, candidate foreground [20]
    instance_r: float = 0.2                   # r, share of supports each listens to


@dataclass(frozen=True)
class TrainConfig:
    """The recipe (Sec. IV-C, scaled down): one for the pretraining, one for the variants."""

    steps: int
    batch: int                  # clips an update, of all processes, each 1 + `supports` frames [4]
    lr: float
    forward: int = 0            # clips of one forward pass, the rest is accumulated; 0: all [1]
    precision: str = "float32"  # or bfloat16, float16: autocast
    supports: int = 2           # random supports of a reference (Sec. IV-C)
    span: int = 8               # supports within +- span frames [18]
    memory_frames: int = 2      # MEGA: further supports, of the window before this one [3]
    global_frames: int = 2      # MEGA: further supports, of the whole video [2]
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup: int = 100           # steps of linear warm-up [500]
    decay_at: tuple[float, ...] = (0.67, 0.9)  # lr x 0.1 at these shares of the steps
    clip_norm: float = 10.0     # gradient clipping: keeps DAlign from exploding
    rois: int = 64              # sampled of the reference for the head's loss [128]
    proposals: int = 0          # kept by the RPN on the reference in training; 0: `rois` [300]
    frozen: int = 4             # stages that stay as they are: 4 = stem to conv4, 2 = to conv2 [2]
    lr_scale: dict[str, float] = field(default_factory=dict)  # module name -> multiplier
    motion_loss: float = 0.0    # weight of DAlign's offset loss from track boxes
    identity_loss: float = 0.0  # weight of the instance level's identity loss
    log_every: int = 20
    save_every: int = 200


@dataclass(frozen=True)
class TestConfig:
    """The sliding window at test time (Sec. IV-C, DEVIATIONS.md 16)."""

    window: int = 9             # frames, the reference in the middle [37]
    stride: int = 2             # between the frames of the window [1]
    batch: int = 8              # references a forward pass; changes speed, not results
    mode: str = "exact"         # or cached, causal: `mstlib.model.engine`, DEVIATIONS.md 21
    pad: bool = False           # fill windows at the ends of a video with copies, as RDN does
    memory_frames: int = 9      # MEGA: how many frames it remembers [25]
    global_frames: int = 4      # MEGA: random frames of the whole video that it knows [10]


@dataclass(frozen=True)
class Config:
    """One profile: everything that decides a run besides the variant and the seed."""

    profile: str
    data: DataConfig
    model: ModelConfig
    pretrain: TrainConfig
    train: TrainConfig
    source: SourceConfig = SourceConfig()
    test: TestConfig = TestConfig()
    levels: Levels = Levels()

    @property
    def generated(self) -> bool:
        """Is the data made from a seed when it is asked for? Then no folder is needed."""
        return self.source.format in GENERATED

    def to_dict(self) -> dict:
        """Plain JSON-ready dict of every field."""
        return asdict(self)


def with_overrides(config: Config, overrides: dict[str, object]) -> Config:
    """`config` with dotted fields replaced, e.g. {"train.lr": 0.01}; MSTError on an unknown
    name."""
    for dotted, value in overrides.items():
        section, _, name = dotted.rpartition(".")
        part = getattr(config, section, None) if section else config
        if part is None or name not in {f.name for f in fields(part)}:
            raise MSTError(f"unknown setting '{dotted}'; settings look like train.lr")
        part = replace(part, **{name: value})
        config = replace(config, **{section: part}) if section else part
    return config


def config_from_dict(plain: dict) -> Config:
    """The inverse of `Config.to_dict`, also after a trip through JSON; MSTError if it does not
    fit."""
    sections = {"data": DataConfig, "model": ModelConfig, "pretrain": TrainConfig,
                "train": TrainConfig, "source": SourceConfig, "test": TestConfig, "levels": Levels}
    try:
        parts = {name: kind(**{k: tuple(v) if isinstance(v, list) else v
                               for k, v in plain[name].items()})
                 for name, kind in sections.items()}
        return Config(profile=plain["profile"], **parts)
    except (KeyError, TypeError) as error:
        raise MSTError(f"configuration does not fit this version of mstlib: {error}") from error
