"""What a training starts from: another training, exported weights, or published weights of the
backbone (Sec. IV-C: "initialized with the pre-trained weights on ImageNet").
"""

from pathlib import Path

from torch import Tensor

from mstlib.checkpoint import load_weights
from mstlib.config import MSTError, TrainConfig
from mstlib.distributed import say, warn
from mstlib.model.backbone import freeze_batch_norms
from mstlib.model.backbone_weights import load_backbone_weights
from mstlib.model.detector import MST
from mstlib.training.state import load_state

LEVELS = ("dalign.", "frame.", "proposal.", "instance.")  # what (a) lacks
HEADS = ("head.",)  # sized by the number of classes


def start_from(model: MST, init: Path | None, recipe: TrainConfig) -> None:
    """Load `init` or else published backbone weights, then freeze the first `recipe.frozen` stages
    of the backbone and all its batch norms (Sec. IV-C); with nothing to load, nothing is frozen."""
    if init is not None:
        load_shared(model, detector_weights(init), str(init))
    elif model.model_config.backbone_weights:
        say(load_backbone_weights(model.backbone, model.model_config))
    else:
        return
    freeze_batch_norms(model.backbone)
    for stage in model.backbone.c4_modules()[: recipe.frozen]:
        stage.requires_grad_(False)


def detector_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a training state (.pt) or an exported file (.safetensors); MSTError if it
    holds none."""
    if path.suffix == ".safetensors":
        return load_weights(path)[0].state_dict()
    state = load_state(path)
    if "model" not in state:
        raise MSTError(f"{path}: not a training state of mstlib; give one that mst pretrain or "
                       "mst train wrote, or exported weights (.safetensors)")
    return state["model"]


def load_shared(model: MST, weights: dict[str, Tensor], source: str) -> None:
    """Load what a detector shares with `model`; levels that it lacks keep their start.

    So do, with one warning, heads of another number of classes: fine-tuning on one's own classes.
    MSTError if anything else differs.
    """
    own = model.state_dict()
    heads = [k for k in own if k.startswith(HEADS) and k in weights
             and own[k].shape != weights[k].shape]
    weights = {k: v for k, v in weights.items()
               if k not in heads and (k in own or not k.startswith(LEVELS))}
    wrong = [k for k in own if k not in weights and not k.startswith(LEVELS) and k not in heads]
    wrong += [k for k in weights if k not in own or own[k].shape != weights[k].shape]
    if wrong:
        raise MSTError(f"{source}: does not fit this model, first key at fault {wrong[0]}; "
                       f"was it pretrained with other settings or another profile?")
    if heads:
        warn(f"{source}: has another number of classes; {', '.join(heads)} start anew")
    model.load_state_dict(weights, strict=False)
