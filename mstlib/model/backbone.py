"""The backbone: conv1-conv4 at one stride, and a dilated conv5 that keeps it (Sec. IV-B).

`c4` gives the maps on which DAlign, the frame level and the RPN work; `c5` turns an (aligned,
aggregated) C4 map into the one that RoIAlign reads. Notebook 01 walks through it.
"""

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from mstlib.config import ModelConfig, MSTError


def dilate(stage: nn.Module) -> nn.Module:
    """Stride 1 and dilation 2 in ALL 3x3 convolutions of a residual stage, its first block
    included.

    ResNet builders' own switch leaves the first block at dilation 1; the paper says all (Sec.
    IV-B).
    """
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (2, 2)
    return stage


def freeze_batch_norms(module: nn.Module) -> None:
    """Batch norms use their stored statistics and learn nothing (Sec. IV-B, method: all frozen)."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
            layer.requires_grad_(False)


def residual_stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """`blocks` basic residual blocks, the first of which changes width and stride."""
    shortcut = nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
    )
    first = BasicBlock(inputs, outputs, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(blocks - 1)))


class MiniBackbone(nn.Module):
    """A small residual network of stride 8 for MiniVID, trained from nothing.

    `widths` are the channels of stem, conv2, conv3, conv4, conv5; conv5 is dilated as in the paper.
    """

    stride = 8

    def __init__(self, widths: tuple[int, ...]):
        super().__init__()
        stem, w2, w3, w4, w5 = widths
        self.channels, self.c5_channels = w4, w5
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True)
        )
        self.conv2 = residual_stage(stem, w2, 1, stride=2)
        self.conv3 = residual_stage(w2, w3, 1, stride=2)
        self.conv4 = residual_stage(w3, w4, 2, stride=1)
        self.conv5 = dilate(residual_stage(w4, w5, 1, stride=1))

    def c4(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> conv4 maps (B, C, H/8, W/8)."""
        return self.conv4(self.conv3(self.conv2(self.stem(images))))

    def c5(self, c4: Tensor) -> Tensor:
        """conv4 maps (B, C, h, w) -> conv5 maps (B, C5, h, w), same resolution."""
        return self.conv5(c4)

    def c4_modules(self) -> list[nn.Module]:
        """What produces conv4: the part that is frozen while the levels are trained."""
        return [self.stem, self.conv2, self.conv3, self.conv4]


def build_backbone(config: ModelConfig) -> MiniBackbone:
    """The backbone named in the configuration; MSTError if unknown."""
    if config.backbone == "mini":
        return MiniBackbone(config.widths)
    raise MSTError(f"unknown backbone '{config.backbone}'; the one built so far is 'mini'")
