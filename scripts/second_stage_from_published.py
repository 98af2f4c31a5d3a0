"""PP-TinyPose's published weights as a checkpoint of the second stage, to train on from.

    python scripts/second_stage_from_published.py PP-TINYPOSE.xml OUT.safetensors [--size 256]

The OpenVINO file of PaddleDetection's PP-TinyPose (Apache-2.0) is read layer by layer in the order
in which its network was built, and written into `LiteHRNet`, which gives the same heatmaps
(tests/test_lite_hrnet.py). What is added: a heatmap for the neck, the middle of the shoulders, all
zeros until it is trained. A file that this script wrote is not to be passed on: train first.
"""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from limbwise.errors import BadInput
from limbwise.networks import checkpoint as checkpoints
from limbwise.networks.checkpoint import Checkpoint, build
from limbwise.networks.lite_hrnet import LiteHRNet, Module, UnitPair
from limbwise.skeleton import COCO
from limbwise.train.start import TRAINED


@dataclass(frozen=True)
class Folded:
    """A convolution with its batch norm folded in: weight (O, I, k, k), bias (O,)."""

    weight: Tensor
    bias: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("published", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=256, help="height of the crops")
    flags = parser.parse_args()
    checkpoints.save(converted(flags.published, flags.size), flags.out)


def converted(published: Path, size: int = 256) -> Checkpoint:
    """The checkpoint; BadInput if the file is another network's."""
    made = build("lite-hrnet", TRAINED, size, norm=False)
    network = made.network
    assert isinstance(network, LiteHRNet)
    layers, last = read(published)
    if len(layers) != 268:
        raise BadInput(f"{published} is not PP-TinyPose: it has {len(layers)} layers, not 268")
    Filler(layers).fill(network, last)
    return made


def read(path: Path) -> tuple[list[Folded], Folded]:
    """All convolutions in the order of construction, which the numbers of their batch norms tell,
    and the last one, which has none."""
    import openvino as ov

    numbered: dict[int, Folded] = {}
    last = None
    for op in ov.Core().read_model(path).get_ordered_ops():
        if op.get_type_name() != "Add":
            continue
        conv = op.input_value(0).get_node()
        if conv.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        weight, bias = _constant(conv.input_value(1)), _constant(op.input_value(1))
        if weight is None or bias is None:
            continue
        if weight.ndim == 5:
            weight = weight.reshape(-1, 1, *weight.shape[-2:])
        folded = Folded(torch.from_numpy(weight), torch.from_numpy(bias.reshape(-1)))
        named = re.match(r"batch_norm2d_(\d+)\.", op.get_friendly_name())
        if named:
            numbered[int(named[1])] = folded
        else:
            last = folded
    if last is None:
        raise BadInput(f"{path} is not PP-TinyPose: it has no last layer")
    return [numbered[number] for number in sorted(numbered)], last


def _constant(value: Any) -> np.ndarray | None:
    node = value.get_node()
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node.data.astype(np.float32) if node.get_type_name() == "Constant" else None


class Filler:
    """Writes layers, in the order of construction, into the parts of a network.

    `orders[b]`: which channel of the published branch b each of our channels is.
    """

    def __init__(self, layers: list[Folded]) -> None:
        self.layers = iter(layers)
        self.orders: list[Tensor] = []

    @torch.no_grad()
    def fill(self, network: LiteHRNet, last: Folded) -> None:
        stem = self.take()
        for way, part in ((network.stem_short, slice(0, 16)), (network.stem_long, slice(16, 32))):
            _set(way[0][0], stem.weight[part].flip(1), stem.bias[part])  # RGB to BGR
        self.separable(network.stem_short[1])
        self.pointwise(network.stem_long[1])
        self.separable(network.stem_long[2])
        shuffled = torch.arange(32).view(2, 16).T.flatten()  # ours is not shuffled
        for number, modules in enumerate(network.stages):
            if number == 0:
                for branch in network.branches[:2]:
                    self.separable(branch, columns=shuffled.argsort())
                    self.orders.append(torch.arange(branch[1][0].out_channels))
            else:
                branch = network.branches[number + 1]
                self.separable(branch, columns=self.orders[-1])
                self.orders.append(torch.arange(branch[1][0].out_channels))
            for module in modules:
                self.module(module)
        for number, block in enumerate(network.head):
            # Its inputs are a branch and the block before, whose outputs follow the branch's order.
            rows = self.orders[-2 - number] if number < 3 else None
            self.separable(block, rows=rows, columns=self.orders[-1 - number])
        if next(self.layers, None) is not None:
            raise BadInput("the published file has more layers than the network")
        _last(network, last)

    def take(self) -> Folded:
        return next(self.layers)

    def pointwise(
        self, part: nn.Module, rows: Tensor | None = None, columns: Tensor | None = None,
        times: float = 1.0,
    ) -> None:  # fmt: skip
        folded = self.take()
        weight, bias = folded.weight * times, folded.bias * times
        weight = weight if columns is None else weight[:, columns]
        rows = torch.arange(len(weight)) if rows is None else rows
        _set(part[0], weight[rows], bias[rows])

    def separable(
        self, part: nn.Module, rows: Tensor | None = None, columns: Tensor | None = None,
        times: float = 1.0,
    ) -> None:  # fmt: skip
        """Its inputs are in the order `columns`, its outputs in `rows`; the bias between the two
        convolutions becomes the second's."""
        per_channel, folded = self.take(), self.take()
        order = torch.arange(len(per_channel.weight)) if columns is None else columns
        _set(part[0][0], per_channel.weight[order], None)
        bias = folded.bias + folded.weight[:, :, 0, 0] @ per_channel.bias
        rows = torch.arange(len(bias)) if rows is None else rows
        _set(part[1][0], folded.weight[:, order][rows] * times, bias[rows] * times)

    def module(self, module: Module) -> None:
        """The published sums count their first term twice: here its weights are twice as large."""
        for number, units in enumerate(module.units):
            self.orders[number] = self.units(units, self.orders[number], 2.0 if not number else 1.0)
        count = range(len(module.units))
        for i in count:
            for j in count:
                twice = 2.0 if i and not j else 1.0
                if j > i:
                    self.pointwise(module.up[f"{i}{j}"], self.orders[i], self.orders[j])
                elif j < i:
                    steps = list(module.down[f"{i}{j}"])
                    for step in steps[:-1]:
                        self.separable(step, self.orders[j], self.orders[j])
                    self.separable(steps[-1], self.orders[i], self.orders[j], twice)

    def units(self, pair: UnitPair, order: Tensor, times: float) -> Tensor:
        """The pair's weights, what it gives `times` as large; returns the order of its outputs."""
        channels = len(order)
        half, quarter = channels // 2, channels // 4
        place = order.argsort()  # where ours keeps each published channel
        pair.keep.weight.zero_()
        pair.keep.weight[torch.arange(quarter), place[:quarter], 0, 0] = times
        self._from(pair.first[0], place[half:], channels)
        self._rest(pair.first_rest, times)
        folded = self.take()
        # The second unit is given x and y in turn, and changes what comes after the middle of that.
        from_x, from_y = folded.weight[:, 0::2], folded.weight[:, 1::2]
        columns = torch.zeros(half, channels, 1, 1)
        columns[:, place[quarter:half]] = from_x
        _set(pair.second[0], columns, folded.bias)
        columns = torch.zeros(half, half, 1, 1)
        columns[:, quarter:] = from_y / times
        _set(pair.second_from_first, columns, None)
        self._rest(pair.second_rest, times)
        each = torch.arange(channels)
        published = torch.empty_like(each)  # ours, in the published order
        published[0::4], published[2::4] = each[:quarter], each[quarter:half]
        published[1::2] = each[half:]
        return published.argsort()

    def _from(self, conv: nn.Module, places: Tensor, channels: int) -> None:
        folded = self.take()
        columns = torch.zeros(len(folded.weight), channels, 1, 1)
        columns[:, places] = folded.weight
        _set(conv, columns, folded.bias)

    def _rest(self, part: nn.Module, times: float) -> None:
        self.separable(part, times=times)


def _last(network: LiteHRNet, last: Folded) -> None:
    network.last.weight.zero_()
    network.last.bias.zero_()
    for row, name in enumerate(COCO.keypoints):
        place = TRAINED.keypoints.index(name)
        network.last.weight[place], network.last.bias[place] = last.weight[row], last.bias[row]


def _set(conv: nn.Module, weight: Tensor, bias: Tensor | None) -> None:
    if conv.weight.shape != weight.shape or (conv.bias is None) != (bias is None):
        raise BadInput(f"a layer is {tuple(weight.shape)}, not {tuple(conv.weight.shape)}")
    conv.weight.copy_(weight)
    if bias is not None:
        conv.bias.copy_(bias)


if __name__ == "__main__":
    main()
