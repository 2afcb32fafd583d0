"""FlowNetS: optical flow as the alignment that DAlign replaces (Table IV, row "Ours-F").

Dosovitskiy et al., "FlowNet: Learning Optical Flow with Convolutional Networks", ICCV 2015, the
"simple" network: ten convolutions narrow two stacked images to stride 64, four steps widen the
result again, each predicting flow at its own size. Here with batch norms and without biases:
38,680,336 parameters, the paper's 38.680 M. DFF and FGFA use it to warp conv4 maps of a support
frame to the reference: `cell_flow`, then `warp`; `mstlib.model.flow` puts it in DAlign's place.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALE = 20.0  # the network predicts flow / 20, as its published weights were trained to
ENCODER = {  # layer -> (input channels, output channels, kernel, stride) at full width
    "conv1": (6, 64, 7, 2), "conv2": (64, 128, 5, 2), "conv3": (128, 256, 5, 2),
    "conv3_1": (256, 256, 3, 1), "conv4": (256, 512, 3, 2), "conv4_1": (512, 512, 3, 1),
    "conv5": (512, 512, 3, 2), "conv5_1": (512, 512, 3, 1), "conv6": (512, 1024, 3, 2),
    "conv6_1": (1024, 1024, 3, 1),
}
# widening step -> channels it adds, the encoder's map it meets
DECODER = {5: (512, "conv5_1"), 4: (256, "conv4_1"), 3: (128, "conv3_1"), 2: (64, "conv2")}
RGB, FLOW = 3, 2  # channels of an image, and of a flow: (x, y)


def conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Convolution, batch norm, leaky ReLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1, inplace=True))


def predict(inputs: int) -> nn.Conv2d:
    """Flow from a map, two channels (x, y)."""
    return nn.Conv2d(inputs, 2, 3, padding=1, bias=False)


def double(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """A map of twice the size."""
    return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)


class FlowNetS(nn.Module):
    """Optical flow between the two images of a pair.

    width: of all layers, as a share of the published network's.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()

        def wide(channels: int) -> int:
            return channels if channels == 2 * RGB else max(1, round(channels * width))

        self.encoder = nn.ModuleDict({name: conv(wide(i), wide(o), *how)
                                      for name, (i, o, *how) in ENCODER.items()})
        reads = wide(ENCODER["conv6_1"][1])              # channels of the map to be widened
        self.flow6 = predict(reads)
        self.deconv, self.up, self.flow = (nn.ModuleDict() for _ in range(3))
        for k, (adds, name) in DECODER.items():
            self.deconv[str(k)], self.up[str(k)] = double(reads, wide(adds)), double(FLOW, FLOW)
            reads = wide(ENCODER[name][1]) + wide(adds) + FLOW
            self.flow[str(k)] = predict(reads)

    def forward(self, pairs: Tensor) -> Tensor:
        """Image pairs (B, 6, H, W), first image first -> flow (B, 2, H/4, W/4), (x, y) in pixels of
        the pair: the point of image 1 at p lies in image 2 at p + flow(p)."""
        maps, x = {}, pairs
        for name, layer in self.encoder.items():
            maps[name] = x = layer(x)
        flow = self.flow6(x)
        for k, (_, name) in DECODER.items():
            beside = maps[name]
            h, w = beside.shape[-2:]                     # crops what an odd size made too large
            wider = F.leaky_relu(self.deconv[str(k)](x)[..., :h, :w], 0.1)
            x = torch.cat([beside, wider, self.up[str(k)](flow)[..., :h, :w]], dim=1)
            flow = self.flow[str(k)](x)
        return SCALE * flow


def halved(images: Tensor, stride: int) -> Tensor:
    """Images (B, 3, H, W) filled up to whole cells of `stride` and halved, as DFF and FGFA do:
    what the flow is computed of."""
    down, right = (-side % stride for side in images.shape[-2:])
    return F.avg_pool2d(F.pad(images, (0, right, 0, down), mode="replicate"), 2)


def cell_flow(net: nn.Module, reference: Tensor, support: Tensor, stride: int) -> Tensor:
    """Where the support frame shows what the reference shows, (B, 2, h, w), (x, y) in cells of maps
    of `stride`, h = H / stride rounded up. reference, support (B, 3, H, W), normalised."""
    return flow_of_halves(net, halved(reference, stride), halved(support, stride), stride)


def flow_of_halves(net: nn.Module, reference: Tensor, support: Tensor, stride: int) -> Tensor:
    """As `cell_flow`, of images that are `halved`: the flow is resized to the maps and its pixels
    become cells."""
    pairs = torch.cat([reference, support], dim=1)
    size = [side * 2 // stride for side in pairs.shape[-2:]]
    flow = F.interpolate(net(pairs), size, mode="bilinear", align_corners=False)
    return flow * (2 / stride)


def warp(maps: Tensor, flow: Tensor) -> Tensor:
    """Maps (B, C, h, w) read at p + flow(p), bilinear; flow (B, 2, h, w), (x, y) in cells. Places
    outside the map take its border. In float32 at least: bfloat16 has no room for the fractions of
    a place."""
    h, w = maps.shape[-2:]
    flow = flow.to(torch.promote_types(maps.dtype, torch.float32))
    y, x = torch.meshgrid(torch.arange(h, device=maps.device),
                          torch.arange(w, device=maps.device), indexing="ij")
    at = torch.stack([x, y]).to(flow) + flow                           # (B, 2, h, w)
    grid = (2 * at + 1) / at.new_tensor([w, h])[:, None, None] - 1     # cell centres
    return F.grid_sample(maps.to(grid.dtype), grid.permute(0, 2, 3, 1), padding_mode="border",
                         align_corners=False).to(maps.dtype)
