"""A published RTMDet (nano, people only, ONNX) to a checkpoint that limbwise trains on.

    python scripts/detector_from_published.py rtmdet-nano-320-person.onnx detector.safetensors

The convolutions of both are taken in the order in which they are computed, and must agree in shape,
stride and groups.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbwise.cli.terminal import failing_in_one_line
from limbwise.errors import BadInput
from limbwise.networks import checkpoint as checkpoints
from limbwise.networks.checkpoint import Checkpoint
from limbwise.skeleton import Skeleton


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("published", type=Path)
    parser.add_argument("out", type=Path)
    flags = parser.parse_args()
    with failing_in_one_line():
        checkpoints.save(converted(flags.published), flags.out)
        print(f"{flags.out} is written")


def converted(published: Path) -> Checkpoint:
    """The network with the weights of an ONNX file; BadInput if they are another network's."""
    made = checkpoints.build("limbwise-detector", Skeleton((), (), ()), norm=False)
    own = [module for module in made.network.modules() if isinstance(module, nn.Conv2d)]
    theirs = convolutions(published)
    if len(own) != len(theirs):
        raise BadInput(f"{published} has {len(theirs)} convolutions, RTMDet-nano has {len(own)}")
    for number, (mine, (weight, bias, stride, groups)) in enumerate(zip(own, theirs, strict=True)):
        if (weight.shape, stride, groups) != (mine.weight.shape, mine.stride[0], mine.groups):
            raise BadInput(
                f"{published}: convolution {number} is {tuple(weight.shape)} at stride {stride}, "
                f"RTMDet-nano's is {tuple(mine.weight.shape)} at {mine.stride[0]}"
            )
        state = mine.state_dict() | {"weight": weight, "bias": bias}
        mine.load_state_dict(state)
    made.network.eval()
    return made


def convolutions(path: Path) -> list[tuple[torch.Tensor, torch.Tensor, int, int]]:
    """Weight, bias, stride and groups of each convolution of an ONNX file, in the graph's order."""
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(path).graph
    except Exception as error:  # protobuf's own kinds
        raise BadInput(f"{path} is not an ONNX file that can be read") from error
    values = {each.name: each for each in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        if len(node.input) != 3 or not set(node.input[1:]) <= set(values):
            raise BadInput(f"{path}: {node.name} has no weights and biases of its own")
        weight, bias = (_tensor(numpy_helper.to_array(values[name])) for name in node.input[1:])
        found.append((weight, bias, attributes["strides"][0], attributes.get("group", 1)))
    return found


def _tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(array.copy())


if __name__ == "__main__":
    main()
