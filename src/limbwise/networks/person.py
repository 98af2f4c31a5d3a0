"""The network of the second stage: one person in a crop, with a prior pose.

    crop - EfficientNet-Lite0 -+- stride 32 -> 96 --------------------+
                               +- stride 16 -> 96 -> (+) -> block ----+ up
                               +- stride  8 -> 96 -> (+) -> 3 blocks -+ up, 48
                               +- stride  4 -> 48 -> (+) -> block -> heatmaps
    keypoints found, drawn at strides 8 and 4 -> (+) before the blocks there

The same backbone and blocks as limbwise.py, whose weights fit, and one step more of the
top-down path. A network that gets a first guess has less to find out (Moon et al. 2019, PoseFix,
arXiv 1812.03595), and knows which of several people in a crop is meant (Zhou et al. 2023, BUCTD,
arXiv 2306.07879).
"""

import torch
from torch import Tensor, nn

from .base import PoseNetwork
from .limbwise import Backbone, Block, normed, up


class PersonNetwork(PoseNetwork):
    """Crops (N, 3, H, W) of normalised BGR, sides whole multiples of 8, and keypoints that were
    found (N, K, 3), x, y in pixels of the crop and 1 or, if not found, 0, to [heatmaps, none].

    heatmaps (N, K, H/4, W/4); none (N, 0, H/4, W/4), since one person needs no limbs. While
    training, the same two after the first block come before them, for deep supervision.
    """

    stride = 4
    sigma = 4.0
    prior = True
    offset = 1.5
    height = 160
    finds = ("keypoints",)
    crops = True

    def __init__(
        self, keypoints: int, channels: int = 96, blocks: int = 3, width: float = 1.0
    ) -> None:
        super().__init__()
        self.keypoints = keypoints
        few = channels // 2
        self.trunk = Backbone(width)
        finest, *coarser = self.trunk.widths
        self.lateral = nn.ModuleList(normed(wide, channels, relu=False) for wide in coarser)
        self.middle = Block(channels)
        self.told = nn.Conv2d(keypoints, channels, 1, bias=False)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(blocks))
        self.early = nn.Conv2d(channels, keypoints, 1)
        self.narrow = normed(channels, few, relu=False)
        self.finest = normed(finest, few, relu=False)
        self.told_finely = nn.Conv2d(keypoints, few, 1, bias=False)
        self.fine = Block(few)
        self.last = nn.Conv2d(few, keypoints, 1)
        for head in (self.early, self.last):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.constant_(head.bias, 0)  # type: ignore[arg-type]
        for hint in (self.told, self.told_finely):
            nn.init.normal_(hint.weight, std=0.01)

    def forward(self, x: Tensor, found: Tensor) -> list[Tensor]:
        finest, *features = self.trunk(x)
        near, mid, far = (lateral(tap) for lateral, tap in zip(self.lateral, features, strict=True))
        mid = self.middle(mid + up(far, mid))
        x = near + up(mid, near) + self.told(drawn(found, near, 8))
        outputs: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number == 0 and self.training:
                outputs += self._maps(up(self.early(x), finest))
        hint = self.told_finely(drawn(found, finest, 4))
        x = self.fine(self.finest(finest) + up(self.narrow(x), finest) + hint)
        return outputs + self._maps(self.last(x))

    def _maps(self, maps: Tensor) -> list[Tensor]:
        return [maps, maps[:, :0]]


def drawn(found: Tensor, like: Tensor, stride: int) -> Tensor:
    """found (N, K, 3) as heatmaps (N, K, h, w) of the height and width of `like`: Gaussians of a
    sigma of one cell, as high as the third number."""
    height, width = like.shape[2:]

    def away(place: Tensor, cells: Tensor) -> Tensor:
        return (cells - (place - (stride - 1) / 2) / stride) ** 2

    columns = torch.arange(width, device=found.device, dtype=torch.float32)
    rows = torch.arange(height, device=found.device, dtype=torch.float32)
    across = torch.exp(-away(found[:, :, 0, None], columns) / 2)
    down = torch.exp(-away(found[:, :, 1, None], rows) / 2)
    return (found[:, :, 2, None, None] * down[..., None]) * across[:, :, None]
