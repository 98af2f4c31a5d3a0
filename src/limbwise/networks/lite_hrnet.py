"""The network of the second stage: Lite-HRNet, which keeps a fine map all the way.

    crop - stem - stride 4 -+- stride 4,  40 ---- fuse -+- fuse -+- fuse ----------------+- heatmaps
                            +- stride 8,  80 ----/      |        |                   up, (+)
                                      stride 16, 160 ---+-- fuse +- fuse ------ up, (+)
                                                  stride 32, 320 +-- fuse --- up

Yu et al. 2021 (arXiv 2104.06403), the naive variant: two shuffle units (Ma et al. 2018, ShuffleNet
V2, arXiv 1807.11164) on each branch and a fusion of all branches make a module. The channels are
those of PaddleDetection's PP-TinyPose, wider than the paper's; its published weights are read by
scripts/second_stage_from_published.py.

A shuffle unit splits its channels, changes one half and shuffles both. On a CPU that takes as long
as the arithmetic, so here a pair of units is written without: the order of channels is in the
weights, and a 1x1 convolution picks the quarter of them that passes a pair unchanged.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import PoseNetwork
from .limbwise import up

CHANNELS = (40, 80, 160, 320)  # of the branches at strides 4, 8, 16, 32
MODULES = (2, 4, 2)  # with two, three and four branches


def layer(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, relu: bool = True,
    norm: bool = True,
) -> nn.Sequential:  # fmt: skip
    """1x1 convolution, or one of `kernel` per channel if that is larger; batch norm or a bias, and
    ReLU if `relu`. Without batch norm a convolution per channel needs no bias: a 1x1 follows."""
    per_channel = kernel > 1
    layers: list[nn.Module] = [
        nn.Conv2d(
            inputs, outputs, kernel, stride, kernel // 2,
            groups=inputs if per_channel else 1, bias=not norm and not per_channel,
        )
    ]  # fmt: skip
    if norm:
        layers.append(nn.BatchNorm2d(outputs))
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def separable(
    inputs: int, outputs: int, stride: int = 1, *, relu: bool = True, norm: bool = True
) -> nn.Sequential:
    """3x3 per channel, then 1x1."""
    return nn.Sequential(
        layer(inputs, inputs, 3, stride, relu=False, norm=norm),
        layer(inputs, outputs, relu=relu, norm=norm),
    )


class UnitPair(nn.Module):
    """Two shuffle units on (N, C, h, w), channels in an order of their own.

    `keep` passes a quarter of the channels, `first` makes half as many as there are from all, and
    `second` half as many from these and all.
    """

    def __init__(self, channels: int, norm: bool = True) -> None:
        super().__init__()
        half, self.quarter = channels // 2, channels // 4
        self.keep = nn.Conv2d(channels, self.quarter, 1, bias=False)
        self.first = layer(channels, half, norm=norm)
        self.first_rest = separable(half, half, norm=norm)
        self.second = layer(channels, half, relu=False, norm=norm)
        self.second_from_first = nn.Conv2d(half, half, 1, bias=False)
        self.second_rest = separable(half, half, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first_rest(self.first(x))
        z = self.second_rest(F.relu(self.second(x) + self.second_from_first(y)))
        return torch.cat([self.keep(x), y[:, : self.quarter], z], dim=1)


class Module(nn.Module):
    """A pair of units on each branch, then every branch gets something of all the others.

    What goes down from the finest branch starts from that branch's sum before its ReLU, as in the
    published network; `down` and `up` are named after where they lead and where they come from.
    """

    def __init__(self, channels: Sequence[int], norm: bool = True) -> None:
        super().__init__()
        self.units = nn.ModuleList(UnitPair(count, norm) for count in channels)
        count = range(len(channels))
        self.up = nn.ModuleDict(
            {f"{i}{j}": layer(channels[j], channels[i], relu=False, norm=norm)
             for i in count for j in count if j > i}
        )  # fmt: skip
        self.down = nn.ModuleDict(
            {f"{i}{j}": _down(channels, i, j, norm) for i in count for j in count if j < i}
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        branches = [units(x) for units, x in zip(self.units, branches, strict=True)]
        sums: list[Tensor] = []
        for i, x in enumerate(branches):
            for j, other in enumerate(branches):
                if j > i:
                    x = x + up(self.up[f"{i}{j}"](other), x)
                elif j < i:
                    x = x + self.down[f"{i}{j}"](other if j else sums[0])
            sums.append(x)
        return [F.relu(x) for x in sums]


def _down(channels: Sequence[int], to: int, start: int, norm: bool) -> nn.Sequential:
    """Half the size at each step; the last brings the branch's channels, and no ReLU."""
    count = to - start
    return nn.Sequential(
        *(separable(channels[start], channels[start], 2, norm=norm) for _ in range(count - 1)),
        separable(channels[start], channels[to], 2, relu=False, norm=norm),
    )


class LiteHRNet(PoseNetwork):
    """Crops of one person (N, 3, H, W) of normalised BGR to [heatmaps, none].

    heatmaps (N, K, H/4, W/4), cell m at input pixel 4 m + `offset`; none (N, 0, H/4, W/4), since
    one person needs no limbs. Sides are whole multiples of 8. Without `norm` there is no batch
    norm: so come weights in which it was folded, and a step on a CPU takes a fifth less.
    """

    stride = 4
    height = 256  # of its inputs, as a rule
    sigma = 8.0
    crops = True
    offset = -0.5  # found by measuring the published network; its weights need it
    mean = (103.53, 116.28, 123.675)  # of ImageNet, B, G, R
    scale = (1 / 57.375, 1 / 57.12, 1 / 58.395)
    pretrained = ("stem", "branches", "stages", "head")  # learn at `backbone_lr` times the rate
    finds = ("keypoints",)
    float_parts = ("stem_short", "stem_long", "branches", "head")  # int8 of these costs most AP

    def __init__(
        self,
        keypoints: int,
        channels: Sequence[int] = CHANNELS,
        modules: Sequence[int] = MODULES,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.keypoints = keypoints
        self.stem_short = nn.Sequential(_stem(norm), separable(16, 16, 2, norm=norm))
        self.stem_long = nn.Sequential(
            _stem(norm), layer(16, 32, norm=norm), separable(32, 16, 2, norm=norm)
        )
        self.branches = nn.ModuleList(
            [separable(32, channels[0], norm=norm), separable(32, channels[1], 2, norm=norm)]
            + [separable(fine, coarse, 2, norm=norm) for fine, coarse in pairwise(channels[1:])]
        )
        self.stages = nn.ModuleList(
            nn.ModuleList(Module(channels[: number + 2], norm) for _ in range(count))
            for number, count in enumerate(modules)
        )
        coarse_to_fine = list(channels)[::-1]
        self.head = nn.ModuleList(
            separable(count, outputs, norm=norm)
            for count, outputs in zip(
                coarse_to_fine, [*coarse_to_fine[1:], channels[0]], strict=True
            )
        )
        self.last = nn.Conv2d(channels[0], keypoints, 1)
        nn.init.normal_(self.last.weight, std=0.01)
        nn.init.constant_(self.last.bias, 0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> list[Tensor]:
        x = torch.cat([self.stem_short(x), self.stem_long(x)], dim=1)
        branches = [self.branches[0](x), self.branches[1](x)]
        for number, modules in enumerate(self.stages):
            if number:
                branches = [*branches, self.branches[number + 1](branches[-1])]
            for module in modules:  # type: ignore[attr-defined]
                branches = module(branches)
        x = self.head[0](branches[-1])
        for block, branch in zip(list(self.head)[1:], branches[-2::-1], strict=True):
            x = block(branch + _between(x, branch))
        maps = self.last(x)
        return [maps, maps[:, :0]]


def _stem(norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 2, 1, bias=not norm)]
    return nn.Sequential(*layers, *([nn.BatchNorm2d(16)] if norm else []), nn.ReLU(inplace=True))


def _between(x: Tensor, like: Tensor) -> Tensor:
    """As large as `like`, by the weights of the four cells round a place; corners stay corners."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)
