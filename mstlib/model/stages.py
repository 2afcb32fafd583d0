"""What all backbones share: five stages, of which conv5 is dilated and keeps the stride of conv4
(Sec. IV-B).
"""

from collections.abc import Sequence

from torch import Tensor, nn


def dilate(stage: nn.Module) -> nn.Module:
    """Stride 1 in every convolution of a stage and dilation 2 in ALL its spatial ones, the first
    block's included.

    ResNet builders' own switch leaves the first block at dilation 1; the paper says all (Sec.
    IV-B). Kernels of odd size keep the map's size; those that pad by themselves ("same") too.
    """
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if max(module.kernel_size) > 1:
                module.dilation = (2, 2)
                module.padding = tuple(k - 1 for k in module.kernel_size)
    return stage


class Backbone(nn.Module):
    """Five stages: stem, conv2, conv3, conv4 (together of stride `stride`) and conv5, which keeps
    it.

    channels, c5_channels: of the conv4 and conv5 maps. For a network that a library publishes
    weights of, `library` has the name and shape of each tensor of the library's whole network, in
    order, and `source` which of them each of ours is; both are empty otherwise.
    """

    stride = 16

    def __init__(self, stages: Sequence[nn.Module], channels: int, c5_channels: int):
        super().__init__()
        self.stem, self.conv2, self.conv3, self.conv4, self.conv5 = stages
        self.channels, self.c5_channels = channels, c5_channels
        self.library: dict[str, tuple[int, ...]] = {}
        self.source: dict[str, str] = {}

    def c4(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> conv4 maps (B, channels, H/stride, W/stride)."""
        return self.conv4(self.conv3(self.conv2(self.stem(images))))

    def c5(self, c4: Tensor) -> Tensor:
        """conv4 maps (B, channels, h, w) -> conv5 maps (B, c5_channels, h, w), same resolution."""
        return self.conv5(c4)

    def c4_modules(self) -> list[nn.Module]:
        """What produces conv4, stage by stage: what training may leave as it is (frozen)."""
        return [self.stem, self.conv2, self.conv3, self.conv4]
