"""FlowNetS: optical flow as the alignment that DAlign replaces (Table IV, row "Ours-F").

Dosovitskiy et al., "FlowNet: Learning Optical Flow with Convolutional Networks", ICCV 2015, the
"simple" network: ten convolutions narrow two stacked images to stride 64, four steps widen the
result again, each predicting flow at its own size. Here with batch norms and without biases:
38,680,336 parameters, the paper's 38.680 M. DFF and FGFA use it to warp conv4 maps of a support
frame to the reference: `cell_flow`, then `warp`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALE = 20.0  # the network predicts flow / 20, as its published weights were trained to
ENCODER = {  # layer -> (input channels, output channels, kernel, stride)
    "conv1": (6, 64, 7, 2), "conv2": (64, 128, 5, 2), "conv3": (128, 256, 5, 2),
    "conv3_1": (256, 256, 3, 1), "conv4": (256, 512, 3, 2), "conv4_1": (512, 512, 3, 1),
    "conv5": (512, 512, 3, 2), "conv5_1": (512, 512, 3, 1), "conv6": (512, 1024, 3, 2),
    "conv6_1": (1024, 1024, 3, 1),
}
# widening step -> channels it reads, channels it adds, the encoder's map it meets
DECODER = {5: (1024, 512, "conv5_1"), 4: (1026, 256, "conv4_1"), 3: (770, 128, "conv3_1"),
           2: (386, 64, "conv2")}


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
    """Optical flow between the two images of a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({name: conv(*sizes) for name, sizes in ENCODER.items()})
        self.flow6 = predict(1024)
        self.deconv = nn.ModuleDict({str(k): double(i, o) for k, (i, o, _) in DECODER.items()})
        self.up = nn.ModuleDict({str(k): double(2, 2) for k in DECODER})
        meets = {k: ENCODER[name][1] + o + 2 for k, (_, o, name) in DECODER.items()}
        self.flow = nn.ModuleDict({str(k): predict(n) for k, n in meets.items()})

    def forward(self, pairs: Tensor) -> Tensor:
        """Image pairs (B, 6, H, W), first image first -> flow (B, 2, H/4, W/4), (x, y) in pixels of
        the pair: the point of image 1 at p lies in image 2 at p + flow(p)."""
        maps, x = {}, pairs
        for name, layer in self.encoder.items():
            maps[name] = x = layer(x)
        flow = self.flow6(x)
        for k, (_, _, name) in DECODER.items():
            beside = maps[name]
            h, w = beside.shape[-2:]                     # crops what an odd size made too large
            wider = F.leaky_relu(self.deconv[str(k)](x)[..., :h, :w], 0.1)
            x = torch.cat([beside, wider, self.up[str(k)](flow)[..., :h, :w]], dim=1)
            flow = self.flow[str(k)](x)
        return SCALE * flow


def cell_flow(net: nn.Module, reference: Tensor, support: Tensor, stride: int) -> Tensor:
    """Where the support frame shows what the reference shows, (B, 2, h, w), (x, y) in cells of maps
    of `stride`, h = H / stride rounded up.

    reference, support (B, 3, H, W), normalised. Both are halved first, as in DFF and FGFA; the flow
    is resized to the maps and its pixels become cells.
    """
    pairs = torch.cat([reference, support], dim=1)
    down, right = (-side % stride for side in pairs.shape[-2:])        # up to whole cells
    pairs = F.avg_pool2d(F.pad(pairs, (0, right, 0, down), mode="replicate"), 2)
    size = [side * 2 // stride for side in pairs.shape[-2:]]
    flow = F.interpolate(net(pairs), size, mode="bilinear", align_corners=False)
    return flow * (2 / stride)


def warp(maps: Tensor, flow: Tensor) -> Tensor:
    """Maps (B, C, h, w) read at p + flow(p), bilinear; flow (B, 2, h, w), (x, y) in cells. Places
    outside the map take its border."""
    h, w = maps.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h, device=maps.device),
                          torch.arange(w, device=maps.device), indexing="ij")
    at = torch.stack([x, y]).to(maps) + flow                           # (B, 2, h, w)
    grid = (2 * at + 1) / at.new_tensor([w, h])[:, None, None] - 1     # cell centres
    return F.grid_sample(maps, grid.permute(0, 2, 3, 1), padding_mode="border",
                         align_corners=False)
