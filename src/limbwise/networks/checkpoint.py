"""Files of weights that rebuild their own network.

limbwise's own are safetensors with a header: which network, what it was made with, the model's
description, how it was trained. The original's `.pth` files hold a state dict and nothing else.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..atomic import replacing
from ..checks import number, parsed, shown, whole
from ..description import KEY, Description
from ..errors import BadInput
from ..skeleton import BODY, Skeleton
from .base import PoseNetwork
from .detector import DetectorNetwork
from .lightweight_openpose import LightweightOpenPose, load_lightweight_openpose
from .limbwise import LimbwiseNetwork
from .lite_hrnet import LiteHRNet
from .person import PersonNetwork

OPTIONS = "limbwise-options"  # of a network's constructor, in an exported file's metadata
_REPEATED = ("blocks", "modules", "refinement_stages")  # options that say how often a part comes
_WIDEST, _LONGEST = 4096, 64  # channels, and how many numbers an option may be


NETWORKS: dict[str, type[nn.Module]] = {
    "limbwise": LimbwiseNetwork,
    "limbwise-person": PersonNetwork,
    "lite-hrnet": LiteHRNet,
    "limbwise-detector": DetectorNetwork,
    "lightweight-openpose": LightweightOpenPose,
}


@dataclass(frozen=True)
class Checkpoint:
    """A network and what its file says of it; `options` are its constructor's keywords."""

    network: nn.Module
    description: Description
    options: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def traits(self) -> PoseNetwork:
        """The network's own constants."""
        return cast(PoseNetwork, self.network)


def build(name: str, skeleton: Skeleton, height: int | None = None, **options: Any) -> Checkpoint:
    """A fresh network.

    Args:
        name: one of `NETWORKS`.
        skeleton: what it finds; nothing of it where the network finds only boxes.
        height: of its inputs in pixels; the usual if None.
        options: more keywords of its constructor.

    Raises:
        BadInput: the name is unknown.
    """
    kind = kind_of(name)
    options = {part: len(getattr(skeleton, part)) for part in kind.finds} | options
    if not kind.finds:
        skeleton = Skeleton((), (), ())
    network = NETWORKS[name](**options)
    its = cast(PoseNetwork, network)
    height = height or its.height
    crop = person_crop(height) if its.crops else None
    description = Description(
        name, skeleton, its.stride, its.multiple, height, crop=crop, prior=its.prior,
        offset=its.offset, sigma=its.sigma, boxes=bool(its.boxes), fit=its.fit,
    )  # fmt: skip
    return Checkpoint(network, description, options)


def kind_of(name: str) -> PoseNetwork:
    """What all networks of a name have in common; BadInput for an unknown one."""
    if name not in NETWORKS:
        raise BadInput(f"network {name} is unknown: choose one of {', '.join(NETWORKS)}")
    return cast(PoseNetwork, NETWORKS[name])


def per_colour(value: float | tuple[float, float, float]) -> Tensor:
    """A mean or scale, (1,) or (3,)."""
    return torch.tensor(value).reshape(-1)


def normalised(images: Tensor, its: PoseNetwork) -> Tensor:
    """Images (N, 3, H, W) BGR in 0..255 as a network takes them."""
    mean, scale = (
        per_colour(value).to(images.device)[:, None, None] for value in (its.mean, its.scale)
    )
    return (images.float() - mean) * scale


def person_crop(height: int) -> tuple[int, int]:
    """Height, in whole 8 pixels, and width, three quarters of it, of the crop of a person."""
    whole = -(-height // 8) * 8
    return whole, max(round(whole * 0.75 / 8), 1) * 8


def save(checkpoint: Checkpoint, path: str | Path, half: bool = False) -> None:
    """Writes .safetensors; `half` stores float weights, but for biases and norms, as float16."""
    from safetensors.torch import save as to_bytes

    header = {
        "description": json.loads(checkpoint.description.to_json()),
        "options": checkpoint.options,
        "training": checkpoint.training,
    }
    state = checkpoint.network.state_dict()
    tensors = {key: _stored(value, half) for key, value in state.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(to_bytes(tensors, metadata={KEY: json.dumps(header)}))


def _stored(value: Tensor, half: bool) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if half and value.is_floating_point() and value.ndim > 1 else value


def load(path: str | Path) -> Checkpoint:
    """The network of a .safetensors file of ours, of an ONNX file of ours whose network has no
    batch norm (it holds all weights), or of an original's checkpoint, in eval mode.

    BadInput, one line, if the file is missing, damaged or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path} does not exist")
    if path.suffix == ".safetensors":
        return _load_own(path)
    if path.suffix == ".onnx":
        return _load_exported(path)
    network = load_lightweight_openpose(path)
    found = network.keypoints, network.limbs
    if found != (len(BODY.keypoints), len(BODY.limbs)):
        raise BadInput(
            f"{path} has {found[0]} keypoints and {found[1]} limbs, and does not say which: "
            f"only files with {len(BODY.keypoints)} and {len(BODY.limbs)} are known"
        )
    description = Description("lightweight-openpose", BODY, network.stride, network.multiple)
    return Checkpoint(network, description, {"refinement_stages": len(network.refinement_stages)})


def _load_exported(path: Path) -> Checkpoint:
    import onnx
    from onnx import numpy_helper

    try:
        model = onnx.load(path)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        description = Description.from_json(metadata[KEY])
        found = {
            each.name.removeprefix("network.").removesuffix("_fp16"): each
            for each in model.graph.initializer
        }
        options = parsed(metadata[OPTIONS])
        shapes = {name: tuple(each.dims) for name, each in found.items()}
        made = _built_like(description, options, shapes)
        weights = {
            name: torch.tensor(numpy_helper.to_array(found[name]), dtype=value.dtype)
            for name, value in made.network.state_dict().items()
        }
        made.network.load_state_dict(weights)
    except KeyError as error:
        raise BadInput(
            f"{path} cannot be trained on: it lacks {shown(error.args[0])}; only networks without "
            "batch norm that limbwise exported can"
        ) from error
    except Exception as error:  # protobuf's own, ValueError, TypeError, RuntimeError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{path} is not a model that limbwise exported: {reason}") from error
    made.network.eval()
    return replace(made, description=description, options=options)


def _built_like(
    description: Description, options: Any, shapes: Mapping[str, tuple[int, ...]]
) -> Checkpoint:
    """A fresh network for the tensors that a file holds. ValueError, TypeError or KeyError, before
    any memory is taken, if its description and options belong to another network than these."""
    if not isinstance(options, dict):
        raise ValueError("the network's options are no object")
    for name, value in options.items():
        _check_option(name, value, len(shapes))
    with torch.device("meta"):
        its = build(description.name, description.skeleton, **options)
    for key, value in its.network.state_dict().items():
        if tuple(value.shape) != shapes[key]:
            raise ValueError(f"{key} is {shapes[key]} instead of {tuple(value.shape)}")
    for part in ("stride", "boxes", "skeleton"):
        if getattr(description, part) != getattr(its.description, part):
            raise ValueError(f"the network has another {part} than the file says")
    for part in its.traits.finds:
        if (count := getattr(its.traits, part)) != len(getattr(description.skeleton, part)):
            raise ValueError(f"the network finds {count} {part}, its skeleton has others")
    if (description.crop is None) != (its.description.crop is None):
        raise ValueError("the network is not for the pictures that the file says")
    return build(description.name, description.skeleton, **options)


def _check_option(name: str, value: Any, tensors: int) -> None:
    """ValueError unless it is a number, a truth value, or a few of them; a file of so many
    `tensors` has at least one for each part that is repeated."""
    several = value if isinstance(value, list) else [value]
    if len(several) > _LONGEST:
        raise ValueError(f"{shown(name)} are {len(several)} numbers")
    for each in several:
        if isinstance(each, float):
            number(each, 0, 16, shown(name))
        elif not isinstance(each, bool):
            whole(each, 0, tensors if name in _REPEATED else _WIDEST, shown(name))


def _load_own(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            header = parsed((file.metadata() or {})[KEY])
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        description = Description.from_json(json.dumps(header["description"]))
        shapes = {key: tuple(value.shape) for key, value in state.items()}
        made = _built_like(description, header["options"], shapes)
        made.network.load_state_dict(
            {key: v.float() if v.is_floating_point() else v for key, v in state.items()}
        )
        if not isinstance(header["training"], dict):
            raise ValueError("its training is no object")
    except (SafetensorError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError,
            RuntimeError) as error:  # fmt: skip
        reason = shown((str(error).splitlines() or [type(error).__name__])[0], 200)
        raise BadInput(f"{path} is not a checkpoint that limbwise wrote: {reason}") from error
    made.network.eval()
    description = replace(description, multiple=made.traits.multiple)  # once it was 32
    return replace(
        made, description=description, options=header["options"], training=header["training"]
    )
