"""What values the settings may have: a wrong one is one line at once, instead of a traceback hours
later or a run that silently does something else. Not part of the paper.
"""

from collections.abc import Iterator

from mstlib.config import Config, MSTError, with_overrides

ABOVE_0 = {
    "model": "classes rpn_pre_nms reference_proposals support_proposals rpn_batch roi_reduce "
             "roi_size width detections dalign_mid frame_width frame_heads heads relation_layers "
             "mega_stages flow_width widths anchor_sizes anchor_ratios pixel_std",
    "train": "steps batch lr clip_norm rois log_every save_every",
    "test": "window stride batch",
}
NOT_BELOW_0 = {
    "source": "short_side long_side",
    "model": "rpn_channels frame_place dalign_bound instance_k",
    "train": "forward supports span memory_frames global_frames weight_decay warmup decay_at "
             "proposals motion_loss identity_loss",
    "test": "memory_frames global_frames",
}
SHARES = {"model": "rpn_nms score_threshold nms lead_share instance_r", "train": "momentum"}
CHOICES = {
    "model": {"align": ("dalign", "flow"), "dalign_layout": (1, 2), "frame_query": ("all", "ref"),
              "frame_init": ("identity", "zero"), "geometry": ("size", "full"),
              "instance_rule": ("topk", "label")},
    "train": {"optimizer": ("sgd", "adamw"), "precision": ("float32", "bfloat16", "float16"),
              "frozen": (0, 1, 2, 3, 4)},
    "test": {"mode": ("exact", "cached", "causal")},
}
AT_TEST = ("test", "model.reference_proposals", "model.support_proposals", "model.rpn_nms",
           "model.rpn_pre_nms", "model.score_threshold", "model.nms", "model.detections",
           "model.frame_query", "model.instance_k", "model.instance_r")  # need no other weights
COUNTS = {"pixel_mean": 3, "pixel_std": 3, "widths": 5}  # RGB; stem, conv2..conv5


def at_test(config: Config, settings: dict[str, object]) -> Config:
    """`config` with settings that a trained model may be run with; MSTError for another one."""
    for name in settings:
        if name not in AT_TEST and name.split(".")[0] not in AT_TEST:
            raise MSTError(f"'{name}' cannot be changed in a trained model; what can is test.* and "
                           f"{', '.join(AT_TEST[1:])}")
    return check_settings(with_overrides(config, settings))


def check_settings(config: Config) -> Config:
    """`config` itself; MSTError naming the first setting whose value cannot be."""
    numbers = ((ABOVE_0, lambda v: v > 0, "above 0"), (NOT_BELOW_0, lambda v: v >= 0, "0 or more"),
               (SHARES, lambda v: 0 <= v <= 1, "between 0 and 1"))
    for names, fits, what in numbers:
        for name, value in values_of(config, names):
            items = value if isinstance(value, tuple) else (value,)
            if not all(map(fits, items)) or not items and names is ABOVE_0:
                raise MSTError(f"{name} must be {what}, got {value}")
    for name, value in values_of(config, CHOICES):
        known = CHOICES[name.split(".")[0].removeprefix("pre")][name.split(".")[1]]
        if value not in known:
            raise MSTError(f"{name} cannot be '{value}'; choose {', '.join(map(str, known))}")
    check_widths(config)
    return config


def values_of(config: Config, names: dict) -> Iterator[tuple[str, object]]:
    """(section.name, value) of the settings `names`; those of train stand for pretrain too."""
    for section in names:
        for part in ("train", "pretrain") if section == "train" else (section,):
            listed = names[section]
            for name in listed.split() if isinstance(listed, str) else listed:
                yield f"{part}.{name}", getattr(getattr(config, part), name)


def check_widths(config: Config) -> None:
    """MSTError unless heads share widths evenly and tuples are as long as they must be."""
    model = config.model
    for width, heads in (("width", "heads"), ("frame_width", "frame_heads")):
        d, count = getattr(model, width), getattr(model, heads)
        if d % count:
            raise MSTError(f"model.{width} must be a multiple of model.{heads}, got {d}, {count}")
    for name, count in COUNTS.items():
        if len(getattr(model, name)) != count:
            raise MSTError(f"model.{name} must be {count} numbers, got {getattr(model, name)}")
