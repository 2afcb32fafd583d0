"""The backbone: conv1-conv4 at one stride, and a dilated conv5 that keeps it (Sec. IV-B).

`c4` gives the maps on which DAlign, the frame level and the RPN work; `c5` turns an (aligned,
aggregated) C4 map into the one that RoIAlign reads. `build_backbone` chooses between the small
network here and the full-size ones of `mstlib.model.resnet`; what they start from is the business
of `mstlib.model.backbone_weights`. Notebook 01 walks through it.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from mstlib.config import ModelConfig, MSTError
from mstlib.model.resnet import resnet_backbone, timm_backbone
from mstlib.model.stages import Backbone, dilate

GROUPS = 4  # of a 3x3 convolution of `minix`; 32 in ResNeXt-101 (Sec. IV-B)


def stride_of(config: ModelConfig) -> int:
    """Pixels between the cells of the conv4 and conv5 maps: 16 (Sec. IV-B), at `mini` 8."""
    return MiniBackbone.stride if config.backbone in MINI else Backbone.stride


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """uint8 images (n, 3, H, W) by mean and standard deviation (3, 1, 1) of pixels in 0..1."""
    return (images.float() / 255 - mean) / std


def freeze_batch_norms(module: nn.Module) -> None:
    """Batch norms use their stored statistics and learn nothing (Sec. IV-B, method: all frozen)."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
            layer.requires_grad_(False)


def grouped_stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """As `residual_stage`, of ResNeXt's bottlenecks (1x1, 3x3 in groups, 1x1), three for each basic
    block: four fifths of its parameters (DEVIATIONS.md 31). MSTError unless the groups share
    `outputs` evenly."""
    if outputs % GROUPS:
        raise MSTError(f"backbone minix: model.widths after the first must be multiples of {GROUPS}"
                       f", got {outputs}")
    planes = outputs // Bottleneck.expansion
    shape = {"groups": GROUPS, "base_width": 64}  # 64: the 3x3 has as many channels as the output
    shortcut = nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
    )
    first = Bottleneck(inputs, planes, stride, shortcut, **shape)
    rest = (Bottleneck(outputs, planes, **shape) for _ in range(3 * blocks - 1))
    return nn.Sequential(first, *rest)


def residual_stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """`blocks` basic residual blocks, the first of which changes width and stride."""
    shortcut = nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
    )
    first = BasicBlock(inputs, outputs, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(blocks - 1)))


class MiniBackbone(Backbone):
    """A small residual network of stride 8 for MiniVID, trained from nothing.

    `widths` are the channels of stem, conv2, conv3, conv4, conv5; conv5 is dilated as in the paper.
    stage: of basic blocks, or of ResNeXt's.
    """

    stride = 8

    def __init__(self, widths: tuple[int, ...],
                 stage: Callable[..., nn.Sequential] = residual_stage):
        w1, w2, w3, w4, w5 = widths
        stem = nn.Sequential(
            nn.Conv2d(3, w1, 3, 2, 1, bias=False), nn.BatchNorm2d(w1), nn.ReLU(inplace=True)
        )
        stages = [stem, stage(w1, w2, 1, stride=2), stage(w2, w3, 1, stride=2),
                  stage(w3, w4, 2, stride=1), dilate(stage(w4, w5, 1, stride=1))]
        super().__init__(stages, w4, w5)


MINI = {"mini": residual_stage, "minix": grouped_stage}  # ResNet and ResNeXt in small


def build_backbone(config: ModelConfig) -> Backbone:
    """The backbone named in the configuration, its weights at random; MSTError if unknown.

    mini, minix; resnet18, resnet34, resnet50, resnet101, resnext101_32x4d; or timm:NAME.
    """
    if config.backbone in MINI:
        return MiniBackbone(config.widths, MINI[config.backbone])
    if config.backbone.startswith("timm:"):
        return timm_backbone(config.backbone.removeprefix("timm:"))
    return resnet_backbone(config.backbone, config.caffe_layout)
