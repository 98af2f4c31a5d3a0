"""People as boxes: RTMDet, a one-stage detector without anchors, in its smallest size.

    picture -> CSPNeXt -+- stride  8 -+- top-down, then bottom-up -+- stride  8 -> head -+
                        +- stride 16 -+  (CSPNeXt-PAFPN)           +- stride 16 -> head -+-> boxes
                        +- stride 32 -+                            +- stride 32 -> head -+

Every cell of every level says how sure it is of a person round it, and how far away that person's
left, top, right and bottom edges are. From Lyu et al. 2022 (RTMDet, arXiv 2212.07784): blocks of a
3x3 and a large-kernel 5x5 convolution per channel, with channel attention in the backbone. The
convolutions stand in the order in which they are computed, which is how published weights come in
(scripts/detector_from_published.py); there each level has a head of its own, since batch norms that
differ between levels were folded into what they shared.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import PoseNetwork
from .margin import Part, mean, within

STRIDES = (8, 16, 32)
# Channels and blocks of the stages at strides 4, 8, 16 and 32, at width and depth 1.
_STAGES = ((128, 3), (256, 6), (512, 6), (1024, 3))


class Layers(nn.Sequential):
    """One after another; those that look beyond a cell are told which `part` is picture."""

    def forward(self, x: Tensor, part: Part | None = None) -> Tensor:
        for each in self:
            x = each(x, part) if part and isinstance(each, _LOOKING) else each(x)
        return x


class Convolution(nn.Conv2d):
    """With zeros beyond the `part` that is picture, as beyond the edges."""

    def forward(self, x: Tensor, part: Part | None = None) -> Tensor:
        if part and self.kernel_size[0] > 1:
            x = within(x, part)
        return super().forward(x)


def layer(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, norm: bool = True
) -> nn.Sequential:
    """Convolution that keeps the size (at stride 1), batch norm if `norm`, and SiLU."""
    convolution = Convolution(
        inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=not norm
    )
    between = [nn.BatchNorm2d(outputs, eps=1e-3)] if norm else []
    return Layers(convolution, *between, nn.SiLU(inplace=True))


def separable(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, norm: bool = True
) -> nn.Sequential:
    """A convolution per channel, then 1x1."""
    return Layers(
        layer(inputs, inputs, kernel, stride, groups=inputs, norm=norm),
        layer(inputs, outputs, norm=norm),
    )


class Block(nn.Module):
    """3x3 and 5x5, both separable, added to the input if `residual`."""

    def __init__(self, channels: int, residual: bool, norm: bool) -> None:
        super().__init__()
        self.layers = Layers(
            separable(channels, channels, 3, norm=norm), separable(channels, channels, 5, norm=norm)
        )
        self.residual = residual

    def forward(self, x: Tensor, part: Part | None = None) -> Tensor:
        out: Tensor = self.layers(x, part)
        return x + out if self.residual else out


class CrossStage(nn.Module):
    """Half of the channels go through the blocks, half past them (CSP); with `attention` each
    channel is weighed by what the whole picture says."""

    def __init__(
        self, inputs: int, outputs: int, blocks: int, residual: bool, attention: bool, norm: bool
    ) -> None:
        super().__init__()
        half = outputs // 2
        self.past = layer(inputs, half, norm=norm)
        self.into = layer(inputs, half, norm=norm)
        self.blocks = Layers(*(Block(half, residual, norm) for _ in range(blocks)))
        self.attention = nn.Conv2d(outputs, outputs, 1) if attention else None
        self.last = layer(outputs, outputs, norm=norm)

    def forward(self, x: Tensor, part: Part | None = None) -> Tensor:
        past = self.past(x)
        x = torch.cat([self.blocks(self.into(x), part), past], dim=1)
        if self.attention is not None:
            x = x * F.hardsigmoid(self.attention(mean(x, part)))
        out: Tensor = self.last(x)
        return out


class Pooled(nn.Module):
    """1x1, the largest of 5, 9 and 13 cells round each beside it, 1x1 (SPP).

    The larger windows are made of the smaller, which is the same and quicker.
    """

    def __init__(self, channels: int, norm: bool) -> None:
        super().__init__()
        self.first = layer(channels, channels // 2, norm=norm)
        self.last = layer(channels * 2, channels, norm=norm)

    def forward(self, x: Tensor, part: Part | None = None) -> Tensor:
        x = self.first(x)
        several = [x if part is None else within(x, part, beyond=-1.0)]  # SiLU stays above
        for _ in range(3):
            several.append(F.max_pool2d(several[-1], 5, stride=1, padding=2))
        out: Tensor = self.last(torch.cat(several, dim=1))
        return out


class Backbone(nn.Module):
    """(N, 3, H, W) to features at strides 8, 16 and 32; `widths` are their channels."""

    def __init__(
        self, width: float, depth: float, norm: bool, attention: Sequence[bool] = (True,) * 4
    ) -> None:
        super().__init__()
        outputs = [round(channels * width) for channels, _ in _STAGES]
        first = outputs[0] // 2
        self.widths = outputs[1:]
        self.stem = Layers(
            layer(3, first // 2, 3, 2, norm=norm),
            layer(first // 2, first // 2, 3, norm=norm),
            layer(first // 2, first, 3, norm=norm),
        )
        self.stages = nn.ModuleList()
        for number, inputs in enumerate([first, *outputs[:-1]]):
            last, channels = number == len(outputs) - 1, outputs[number]
            blocks = max(round(_STAGES[number][1] * depth), 1)
            self.stages.append(
                Layers(
                    separable(inputs, channels, 3, 2, norm=norm),
                    *([Pooled(channels, norm)] if last else []),
                    CrossStage(channels, channels, blocks, not last, attention[number], norm),
                )
            )

    def forward(self, x: Tensor, part: Part | None = None) -> list[Tensor]:
        x = self.stem(x, part)
        features = []
        for stage in self.stages:
            x = stage(x, part)
            features.append(x)
        return features[1:]


class TopDown(nn.Module):
    """Coarse features, made narrower, beside the finer ones."""

    def __init__(self, coarse: int, fine: int, blocks: int, norm: bool) -> None:
        super().__init__()
        self.narrow = layer(coarse, fine, norm=norm)
        self.merge = CrossStage(2 * fine, fine, blocks, False, False, norm)

    def forward(self, coarse: Tensor, fine: Tensor, part: Part | None) -> tuple[Tensor, Tensor]:
        narrow = self.narrow(coarse)
        both = torch.cat([F.interpolate(narrow, scale_factor=2.0), fine], dim=1)
        return narrow, self.merge(both, part)


class BottomUp(nn.Module):
    """Fine features, at half the size, beside the coarser ones."""

    def __init__(self, fine: int, coarse: int, blocks: int, norm: bool) -> None:
        super().__init__()
        self.shrink = separable(fine, fine, 3, 2, norm=norm)
        self.merge = CrossStage(2 * fine, coarse, blocks, False, False, norm)

    def forward(self, fine: Tensor, coarse: Tensor, part: Part | None) -> Tensor:
        out: Tensor = self.merge(torch.cat([self.shrink(fine, part), coarse], dim=1), part)
        return out


class Neck(nn.Module):
    """Features of three strides, each told of the others, all with `outputs` channels."""

    def __init__(self, widths: Sequence[int], outputs: int, blocks: int, norm: bool) -> None:
        super().__init__()
        fine, mid, coarse = widths
        self.far = TopDown(coarse, mid, blocks, norm)
        self.near = TopDown(mid, fine, blocks, norm)
        self.back = BottomUp(fine, mid, blocks, norm)
        self.beyond = BottomUp(mid, coarse, blocks, norm)
        self.last = nn.ModuleList(separable(width, outputs, norm=norm) for width in widths)

    def forward(self, features: Sequence[Tensor], part: Part | None = None) -> list[Tensor]:
        fine, mid, coarse = features
        coarse, mid = self.far(coarse, mid, part)
        mid, fine = self.near(mid, fine, part)
        mid = self.back(fine, mid, part)
        coarse = self.beyond(mid, coarse, part)
        return [last(x, part) for last, x in zip(self.last, (fine, mid, coarse), strict=True)]


class Head(nn.Module):
    """Features of one stride to maps (N, 5, h, w): the score before its sigmoid, and the way to the
    left, top, right and bottom edge in pixels."""

    def __init__(self, channels: int, stride: int, norm: bool = True, layers: int = 2) -> None:
        super().__init__()
        self.stride = stride
        self.for_score = Layers(*(separable(channels, channels, norm=norm) for _ in range(layers)))
        self.score = nn.Conv2d(channels, 1, 1)
        self.for_edges = Layers(*(separable(channels, channels, norm=norm) for _ in range(layers)))
        self.edges = nn.Conv2d(channels, 4, 1)
        for convolution, bias in ((self.score, -4.6), (self.edges, 1.0)):  # few cells have a person
            nn.init.normal_(convolution.weight, std=0.01)
            nn.init.constant_(convolution.bias, bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, part: Part | None = None) -> Tensor:
        score = self.score(self.for_score(x, part))
        return torch.cat([score, self.edges(self.for_edges(x, part)) * self.stride], dim=1)


_LOOKING = (Layers, Convolution, Block, CrossStage, Pooled)


class DetectorNetwork(PoseNetwork):
    """(N, 3, H, W) normalised BGR, sides whole multiples of 32, to [boxes].

    boxes (N, A, 5), a row for each of the A cells of all levels: left, top, right, bottom in pixels
    of the input, edges as limbwise counts them (the input's own are at -0.5), and a score in 0..1.
    While training, the maps (N, 5, h, w) of each level instead (`Head`).

    `width` and `depth` multiply channels and blocks: 1/4 and 1/3 are RTMDet-nano. Without `norm`
    the convolutions have biases and no batch norm, as published weights have it folded in.
    `attention`: in which of the backbone's four stages channels are weighed. Of an input with a
    margin `part` says which part is picture: what is found there is as if the input ended there.
    """

    multiple = 32
    height = 320
    mean = (103.53, 116.28, 123.675)
    scale = (1 / 57.375, 1 / 57.12, 1 / 58.395)
    finds = ()
    boxes = STRIDES
    fit = "side"

    def __init__(
        self, width: float = 0.25, depth: float = 1 / 3, channels: int = 64, norm: bool = True,
        attention: Sequence[bool] = (True, True, True, True),
    ) -> None:  # fmt: skip
        super().__init__()
        self.trunk = Backbone(width, depth, norm, attention)
        self.neck = Neck(self.trunk.widths, channels, max(round(3 * depth), 1), norm)
        self.heads = nn.ModuleList(Head(channels, stride, norm) for stride in STRIDES)

    def forward(self, x: Tensor, part: Part | None = None) -> list[Tensor]:
        features = self.neck(self.trunk(x, part), part)
        maps = [head(each, part) for head, each in zip(self.heads, features, strict=True)]
        return maps if self.training else [decoded(maps, STRIDES, part)]


def decoded(maps: Sequence[Tensor], strides: Sequence[int], part: Part | None = None) -> Tensor:
    """Maps (N, 5, h, w) of several strides to boxes (N, A, 5) as `DetectorNetwork` says them; a
    cell that is not in the `part` that is picture scores 0."""
    levels = []
    for each, stride in zip(maps, strides, strict=True):
        x, y = points(each, stride)
        score, left, top, right, bottom = each.unbind(1)
        sure = score.sigmoid() if part is None else score.sigmoid() * part[int(each.shape[2])][:, 0]
        sides = [x - left, y - top, x + right, y + bottom, sure]
        levels.append(torch.stack(sides, dim=1).flatten(2))
    return torch.cat(levels, dim=2).transpose(1, 2)


def points(maps: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """x (1, w) and y (h, 1) from which the cells of maps (..., h, w) measure.

    RTMDet has cell m at m * stride in coordinates that begin at the first pixel's corner, which is
    at -0.5 here. (The middle of the cell would lie half a stride farther on.)
    """
    height, width = maps.shape[-2:]
    x = torch.arange(width, device=maps.device, dtype=torch.float32) * stride - 0.5
    y = torch.arange(height, device=maps.device, dtype=torch.float32) * stride - 0.5
    return x[None], y[:, None]
