"""Lightweight OpenPose (Osokin 2018, arXiv 1811.12004, figures 2 to 4) as an `nn.Module`.

Module names follow the published checkpoints, so that `checkpoint_iter_*.pth` loads key by key.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadInput
from ..skeleton import BODY
from .base import PoseNetwork


def conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    *,
    bn: bool = True,
    dilation: int = 1,
    stride: int = 1,
    bias: bool = True,
    relu: bool = True,
) -> nn.Sequential:
    """Convolution that keeps the size (at stride 1), then batch norm if `bn`, ReLU if `relu`."""
    padding = dilation * (kernel - 1) // 2
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, bias=bias)
    ]
    if bn:
        layers.append(nn.BatchNorm2d(outputs))
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def depthwise(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """MobileNet's separable convolution: 3x3 per channel, then 1x1, each with norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, dilation, dilation, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def depthwise_elu(channels: int) -> nn.Sequential:
    """Separable convolution without norm, with ELU."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.ELU(inplace=True),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.ELU(inplace=True),
    )


class Cpm(nn.Module):
    """Backbone features to the width of the stages."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.align = conv(inputs, outputs, 1, bn=False)
        self.trunk = nn.Sequential(*(depthwise_elu(outputs) for _ in range(3)))
        self.conv = conv(outputs, outputs, bn=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.align(x)
        out: Tensor = self.conv(x + self.trunk(x))
        return out


class Stage(nn.Module):
    """A trunk with two branches: heatmaps (K + background) and part affinity fields (2 L)."""

    def __init__(self, trunk: nn.Sequential, channels: int, width: int, maps: tuple[int, int]):
        super().__init__()
        self.trunk = trunk
        self.heatmaps, self.pafs = (
            nn.Sequential(
                conv(channels, width, 1, bn=False), conv(width, count, 1, bn=False, relu=False)
            )
            for count in maps
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.trunk(x)
        return [self.heatmaps(x), self.pafs(x)]


class RefinementBlock(nn.Module):
    """1x1, then two 3x3 (the second dilated) added to it: the reach of a 7x7 for less."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.initial = conv(inputs, outputs, 1, bn=False)
        self.trunk = nn.Sequential(conv(outputs, outputs), conv(outputs, outputs, dilation=2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.initial(x)
        out: Tensor = x + self.trunk(x)
        return out


class LightweightOpenPose(PoseNetwork):
    """(N, 3, H, W) normalised BGR to [heatmaps, part affinity fields] per stage, the last stage
    last.

    heatmaps (N, keypoints + 1, H/8, W/8), the last channel is background; part affinity fields
    (N, 2 * limbs, H/8, W/8) as x, y pairs.
    """

    mean = 128.0
    scale = 1 / 256
    people = BODY  # its files do not say which, and whoever reads them takes them for these

    def __init__(
        self, refinement_stages: int = 1, channels: int = 128, keypoints: int = 18, limbs: int = 19
    ) -> None:
        super().__init__()
        self.keypoints, self.limbs = keypoints, limbs
        self.model = nn.Sequential(
            conv(3, 32, stride=2, bias=False),
            depthwise(32, 64),
            depthwise(64, 128, stride=2),
            depthwise(128, 128),
            depthwise(128, 256, stride=2),
            depthwise(256, 256),
            depthwise(256, 512),
            depthwise(512, 512, dilation=2),
            *(depthwise(512, 512) for _ in range(4)),
        )
        self.cpm = Cpm(512, channels)
        maps = (keypoints + 1, 2 * limbs)
        trunk = nn.Sequential(*(conv(channels, channels, bn=False) for _ in range(3)))
        self.initial_stage = Stage(trunk, channels, 512, maps)
        self.refinement_stages = nn.ModuleList(
            Stage(_refinement_trunk(channels + sum(maps), channels), channels, channels, maps)
            for _ in range(refinement_stages)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        features = self.cpm(self.model(x))
        outputs: list[Tensor] = self.initial_stage(features)
        for stage in self.refinement_stages:
            outputs.extend(stage(torch.cat([features, *outputs[-2:]], dim=1)))
        return outputs


def _refinement_trunk(inputs: int, channels: int) -> nn.Sequential:
    rest = (RefinementBlock(channels, channels) for _ in range(4))
    return nn.Sequential(RefinementBlock(inputs, channels), *rest)


def load_lightweight_openpose(
    path: str | Path, refinement_stages: int | None = None
) -> LightweightOpenPose:
    """A network with the weights of a checkpoint in the original's format, in eval mode.

    A `module.` prefix is taken off. `refinement_stages` None takes as many as the file has; more
    than the file has start from fresh weights. BadInput names every other mismatch.
    """
    state = _state_dict(Path(path))
    stages = _stages(state)
    count = len(stages) if refinement_stages is None else refinement_stages
    keypoints, limbs = _map_counts(state)
    network = LightweightOpenPose(count, keypoints=keypoints, limbs=limbs)
    _load_strictly(network, state, Path(path))
    return network.eval()


def load_mobilenet(network: LightweightOpenPose, path: str | Path) -> int:
    """ImageNet weights of a MobileNet v1 into the backbone, as far as names and shapes agree; how
    many tensors that are. BadInput if it is none."""
    state, own = _state_dict(Path(path)), network.state_dict()
    found = {
        key: state[key]
        for key in own
        if key.startswith("model.") and key in state and state[key].shape == own[key].shape
    }
    if not found:
        raise BadInput(f"{path} does not hold the weights of a MobileNet: nothing in it fits")
    network.load_state_dict(own | found)
    return len(found)


def _stages(keys: Iterable[str]) -> set[str]:
    """The refinement stages that the keys of a state dict speak of."""
    return {key.split(".")[1] for key in keys if key.startswith("refinement_stages.")}


def _state_dict(path: Path) -> dict[str, Tensor]:
    """The float32 weights in a checkpoint file; reads tensors only, never code."""
    if not path.is_file():
        raise BadInput(f"{path} does not exist")
    try:
        checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True)
        state = checkpoint.get("state_dict", checkpoint)
        return {
            key.removeprefix("module."): value.float() if value.is_floating_point() else value
            for key, value in state.items()
        }
    except Exception as error:  # torch raises half a dozen unrelated types on a broken file
        raise BadInput(
            f"{path} is not a checkpoint: torch.load finds no dictionary of tensors in it"
        ) from error


def _map_counts(state: dict[str, Tensor]) -> tuple[int, int]:
    """Keypoints and limbs from the shapes of the first stage's outputs; BODY's if absent."""
    heatmaps = state.get("initial_stage.heatmaps.1.0.weight")
    pafs = state.get("initial_stage.pafs.1.0.weight")
    if heatmaps is None or pafs is None:
        return 18, 19
    return len(heatmaps) - 1, len(pafs) // 2


def _load_strictly(network: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    own = network.state_dict()
    stages, known = _stages(state), _stages(own)
    missing = [key for key in own if key not in state and _stages([key]) <= stages]
    unknown = [key for key in state if key not in own and _stages([key]) <= known]
    shapes = [
        f"{key} is {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if own[key].shape != state[key].shape
    ]
    faults = [f"{key} is missing" for key in missing] + [f"{key} is unknown" for key in unknown]
    if faults := faults + sorted(shapes):
        raise BadInput(
            f"{path} is not a Lightweight OpenPose checkpoint: {len(faults)} tensors do not fit: "
            + "; ".join(faults)
        )
    network.load_state_dict({**own, **{key: state[key] for key in own.keys() & state.keys()}})
