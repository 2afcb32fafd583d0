"""What a full-size backbone starts from (Sec. IV-C: "initialized with the pre-trained weights on
ImageNet"): weights that torchvision or timm publish, or a local file.

Every tensor of the backbone must be found in the weights and every tensor of the weights must
belong to the library's whole network; only the classifier that the backbone leaves out is ignored.
"""

from pathlib import Path

from torch import Tensor

from mstlib.config import ModelConfig, MSTError
from mstlib.fileio import load_tensors
from mstlib.model.stages import Backbone

COUNTER = "num_batches_tracked"  # of a batch norm: unused here, absent from older files
PLAIN = {  # weights of timm on ImageNet alone, as the paper has them; its own choice differs
    "resnet18": "tv_in1k", "resnet34": "tv_in1k", "resnet50": "tv_in1k", "resnet101": "tv_in1k",
    "resnext101_32x4d": "gluon_in1k",
}


def load_backbone_weights(backbone: Backbone, config: ModelConfig) -> list[str]:
    """Load `config.backbone_weights` into the backbone; returns lines that say what was done.

    "" does nothing; "torchvision" and "timm" fetch what these libraries publish for
    `config.backbone`; anything else is a file, .safetensors or a PyTorch state dict, with the names
    of torchvision or timm. Call it where training starts, never where a checkpoint is loaded.
    MSTError if the weights cannot be had or do not fit, with the first tensor at fault.
    """
    source = config.backbone_weights
    if not source:
        return []
    if not backbone.library:
        raise MSTError(f"no weights are published for the backbone '{config.backbone}'; "
                       f"set model.backbone_weights='' or model.backbone=resnet101")
    fetch = {"torchvision": torchvision_weights, "timm": timm_weights}.get(source)
    tensors = fetch(config.backbone) if fetch else read_weights(Path(source))
    tensors = {k: v for k, v in tensors.items() if not k.endswith(COUNTER)}
    by_name = not set(backbone.library).isdisjoint(tensors)
    names = {k: k for k in tensors} if by_name else names_by_order(tensors, backbone, source)
    found = pick(names, backbone, source)
    check_shapes(tensors, found, backbone, source)
    backbone.load_state_dict({k: tensors[name] for k, name in found.items()}, strict=False)
    left_out = ", ".join(sorted(set(tensors) - set(found.values()))) or "nothing"
    how = "by name" if by_name else "by order (no name agrees; their last parts and shapes do)"
    return [f"backbone {config.backbone}: {len(found)} tensors from {source} {how}, left out: "
            f"{left_out}", *pixel_lines(config)]


def names_by_order(tensors: dict[str, Tensor], backbone: Backbone, source: str) -> dict[str, str]:
    """Library's name -> name in `tensors`, where no name agrees but all else does.

    The last parts of the names ("weight", "running_mean") and the shapes of the WHOLE network, its
    classifier included, must follow one another exactly as in the library.
    """
    library = {k: v for k, v in backbone.library.items() if not k.endswith(COUNTER)}
    if trail(library) != trail({k: v.shape for k, v in tensors.items()}):
        raise MSTError(f"{source}: neither the names (first '{next(iter(tensors), '')}') nor the "
                       f"order of shapes are those of the backbone's network (first "
                       f"'{next(iter(library))}'); give weights of that network")
    return dict(zip(library, tensors, strict=True))


def pick(names: dict[str, str], backbone: Backbone, source: str) -> dict[str, str]:
    """Our key -> name in the file, for every tensor of the backbone; names: library's -> file's."""
    wanted = {k: v for k, v in backbone.source.items() if not k.endswith(COUNTER)}
    missing = [name for name in wanted.values() if name not in names]
    unknown = [name for name in names if name not in backbone.library]
    if missing or unknown:
        what = f"lacks '{missing[0]}'" if missing else f"has the unknown tensor '{unknown[0]}'"
        raise MSTError(f"{source}: {what} ({len(missing)} missing, {len(unknown)} unknown); give "
                       f"weights of the backbone's own network")
    return {key: names[name] for key, name in wanted.items()}


def check_shapes(tensors: dict[str, Tensor], found: dict[str, str], backbone: Backbone, source: str
                 ) -> None:
    """MSTError that names the first tensor of another shape than the backbone's."""
    for key, own in backbone.state_dict().items():
        if key in found and tensors[found[key]].shape != own.shape:
            raise MSTError(f"{source}: '{found[key]}' is {tuple(tensors[found[key]].shape)}, the "
                           f"backbone needs {tuple(own.shape)}; give weights of its own network")


def trail(shapes: dict[str, tuple[int, ...]]) -> list[tuple[str, tuple[int, ...]]]:
    """The last part of each name and its shape, in order."""
    return [(name.rsplit(".", 1)[-1], tuple(shape)) for name, shape in shapes.items()]


def pixel_lines(config: ModelConfig) -> list[str]:
    """A line if a network of timm was trained on images normalised otherwise than the
    configuration says."""
    if not config.backbone.startswith("timm:"):
        return []
    import timm

    its = timm.get_pretrained_cfg(config.backbone.removeprefix("timm:"))
    if its is None or (its.mean, its.std) == (config.pixel_mean, config.pixel_std):
        return []
    return [f"timm trained {config.backbone} with model.pixel_mean={its.mean} and "
            f"model.pixel_std={its.std}, the configuration has {config.pixel_mean} and "
            f"{config.pixel_std}"]


# ---- where weights come from -------------------------------------------------------------------


def torchvision_weights(name: str) -> dict[str, Tensor]:
    """The first weights on ImageNet that torchvision published for a network of its own.

    The first, not the later "V2": they are what the paper and its parents could start from.
    """
    import torchvision

    try:
        weights = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    except ValueError as error:
        raise MSTError(f"torchvision has no weights of '{name}'; set model.backbone_weights=timm "
                       f"or to a local file") from error
    try:
        return weights.get_state_dict(progress=True)
    except (OSError, RuntimeError) as error:  # no network; a damaged download
        raise not_fetched("torchvision", name, error, weights.url) from error


def timm_weights(name: str) -> dict[str, Tensor]:
    """The weights that timm publishes for a network; its ResNets have torchvision's names.

    Those of the paper's networks learnt from ImageNet alone (for ResNeXt-101-32x4d timm itself
    would take some that saw 90 million further images); of timm:NAME.TAG any, else timm's choice.
    """
    name = f"{name}.{PLAIN[name]}" if name in PLAIN else name.removeprefix("timm:")
    try:
        import timm

        return timm.create_model(name, pretrained=True).state_dict()
    except ImportError as error:
        raise MSTError("model.backbone_weights=timm needs timm: pip install timm") from error
    except Exception as error:  # its hub has many: no network, no such weights
        place = getattr(timm.get_pretrained_cfg(name), "hf_hub_id", None)
        raise not_fetched("timm", name, error, place and f"{place} on Hugging Face") from error


def not_fetched(library: str, name: str, error: Exception, address: str | None) -> MSTError:
    """The one-line error for weights that could not be downloaded."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    where = f" ({address})" if address else ""
    return MSTError(f"the weights of '{name}' could not be fetched from {library}: {reason}; "
                    f"download them elsewhere{where} and set model.backbone_weights to the file")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, read without executing code; MSTError if it has none."""
    if not path.is_file():
        raise MSTError(f"{path}: no such file of weights; model.backbone_weights is '', "
                       f"torchvision, timm or a file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file
            loaded = load_file(path)
        else:
            loaded = load_tensors(path)
    except Exception as error:
        raise MSTError(f"{path}: not readable as weights ({type(error).__name__}); "
                       f"fetch it again") from error
    return unwrapped(loaded, str(path))


def unwrapped(loaded: object, name: str) -> dict[str, Tensor]:
    """The state dict in what was loaded: it may stand under "state_dict" or "model" and behind
    "module.", as training scripts write it. MSTError if there is none; `name` is for the error."""
    for wrapper in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise MSTError(f"{name}: holds no state dict (names to tensors); export one")
    return {k.removeprefix("module."): v for k, v in loaded.items()}
