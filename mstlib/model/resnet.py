"""Full-size backbones (Sec. IV-B): ResNets from torchvision, any other that can be split from timm.

A network is built as its library has it and cut into stem, conv2, conv3, conv4 (stride 16) and
conv5, which is dilated in place of its stride. The classifier is left out; `library` and `source`
of the result say which tensor of the whole network each of ours is, so that published weights can
be loaded (`mstlib.model.backbone_weights`).
"""

from collections.abc import Iterator

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from mstlib.config import MSTError
from mstlib.model.stages import Backbone, dilate

RESNETS = {  # block, blocks of conv2-conv5, further arguments of torchvision's ResNet
    "resnet18": (BasicBlock, (2, 2, 2, 2), {}),
    "resnet34": (BasicBlock, (3, 4, 6, 3), {}),
    "resnet50": (Bottleneck, (3, 4, 6, 3), {}),
    "resnet101": (Bottleneck, (3, 4, 23, 3), {}),
    "resnext101_32x4d": (Bottleneck, (3, 4, 23, 3), {"groups": 32, "width_per_group": 4}),
}
STRIDE = Backbone.stride


def resnet_backbone(name: str, caffe_layout: bool = False) -> Backbone:
    """A ResNet or ResNeXt of `RESNETS`; MSTError if unknown.

    caffe_layout: the stride of a bottleneck sits in its first 1x1 convolution, as in the original
    (Caffe) networks, and not in its 3x3; their weights need it.
    """
    if name not in RESNETS:
        raise MSTError(f"unknown backbone '{name}'; choose mini, minix, {', '.join(RESNETS)} "
                       f"or timm:NAME")
    block, blocks, more = RESNETS[name]
    net = ResNet(block, list(blocks), **more)
    if caffe_layout:
        move_strides(net)
    stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
    stages = [stem, net.layer1, net.layer2, net.layer3, dilate(net.layer4)]
    inputs = net.layer4[0].conv1.in_channels
    backbone = Backbone(stages, inputs, net.fc.in_features)
    return with_sources(backbone, net.state_dict(keep_vars=True))


def move_strides(net: ResNet) -> None:
    """Move the stride of each bottleneck from its 3x3 to its first 1x1; MSTError without any."""
    blocks = [m for m in net.modules() if isinstance(m, Bottleneck)]
    if not blocks:
        raise MSTError("caffe_layout needs bottleneck blocks: choose resnet50 or a deeper one")
    for block in blocks:
        block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)


def with_sources(backbone: Backbone, whole: dict[str, torch.Tensor]) -> Backbone:
    """`backbone` with `library` and `source` filled in; whole: the state dict, with the tensors
    themselves (keep_vars), of the network that its stages were taken from."""
    backbone.library = {name: tuple(tensor.shape) for name, tensor in whole.items()}
    name_of = {id(tensor): name for name, tensor in whole.items()}
    backbone.source = {key: name_of[id(tensor)]
                       for key, tensor in backbone.state_dict(keep_vars=True).items()}
    return backbone


# ---- timm --------------------------------------------------------------------------------------


def timm_backbone(name: str) -> Backbone:
    """The network `name` of timm, split at stride 16; MSTError if timm lacks it or it cannot be.

    timm's own `output_stride` takes the stride out of the last stage; all of that stage's spatial
    convolutions are then dilated, its first block's too, as the paper says.
    """
    net = timm_features(name)
    stages = split(net)
    if stages is None:
        raise MSTError(f"backbone timm:{name} has no stage of stride 16 followed by another one "
                       f"that could be cut apart; choose another network")
    dilate(stages[-1])
    channels = net.feature_info.channels()
    first = net.feature_info.reduction().index(STRIDE)
    backbone = Backbone(stages, channels[first], channels[-1])
    check_maps(name, backbone)
    return name_sources(name, backbone)


def timm_features(name: str) -> nn.Module:
    """timm's feature network that stays at stride 16, weights at random; MSTError without one."""
    try:
        import timm
    except ImportError as error:
        raise MSTError(f"backbone timm:{name} needs timm: pip install timm") from error
    if not timm.is_model(name):
        raise MSTError(f"timm has no network '{name}'; timm.list_models('*resnet*') lists some")
    try:
        return timm.create_model(name, features_only=True, output_stride=STRIDE)
    except (TypeError, AssertionError, RuntimeError, NotImplementedError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MSTError(f"backbone timm:{name} cannot be kept at stride 16: timm does not build it "
                       f"with output_stride ({reason}); choose another network") from error


def in_order(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The named modules that a feature network runs one after the other."""
    for name, module in net.named_children():
        if name == "blocks":
            yield from ((f"blocks_{k}", block) for k, block in module.named_children())
        else:
            yield name, module


def split(net: nn.Module) -> list[nn.Sequential] | None:
    """stem, conv2, conv3, conv4, conv5 of a feature network that never passes stride 16: cut after
    its last map of stride 2, 4, 8, its first of stride 16, its last. None if it cannot be."""
    info, ends = net.feature_info, {}
    for name, stride in zip(info.module_name(), info.reduction(), strict=True):
        stage = {2: 0, 4: 1, 8: 2, 16: 4 if 3 in ends else 3}.get(stride, 0)
        ends[stage] = name.replace(".", "_")
    stages, left = [nn.Sequential() for _ in range(5)], sorted(ends.items())
    if not {3, 4} <= set(ends):
        return None
    for name, module in in_order(net):
        if left:
            stages[left[0][0]].add_module(name, module)
            left = left[1:] if name == left[0][1] else left
    return None if left else stages


@torch.no_grad()
def check_maps(name: str, backbone: Backbone) -> None:
    """MSTError unless conv4 and conv5 of a small image have stride 16 and the announced widths."""
    x = backbone.eval().c4(torch.zeros(1, 3, 64, 64))
    shapes = (*x.shape[1:], *backbone.c5(x).shape[1:])
    backbone.train()
    side = 64 // STRIDE
    if shapes != (backbone.channels, side, side, backbone.c5_channels, side, side):
        raise MSTError(f"backbone timm:{name} cannot be split: the maps of conv4 and conv5 are "
                       f"{shapes[:3]} and {shapes[3:]} on 64 pixels; choose another network")


def name_sources(name: str, backbone: Backbone) -> Backbone:
    """`library` and `source` of a network of timm, which writes "layer1.0" as "layer1_0"."""
    import timm

    with torch.device("meta"):
        whole = timm.create_model(name).state_dict()
    backbone.library = {key: tuple(tensor.shape) for key, tensor in whole.items()}
    flat = {key.replace(".", "_"): key for key in whole}
    for key in backbone.state_dict():
        theirs = key.split(".", 1)[1].replace(".", "_")  # without our stage
        if theirs not in flat:
            raise MSTError(f"backbone timm:{name} names its parts in its own way (first {key}); "
                           f"choose another network")
        backbone.source[key] = flat[theirs]
    return backbone
