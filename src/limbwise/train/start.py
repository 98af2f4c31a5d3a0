"""Where training starts: a fresh network, with pretrained layers, or from a checkpoint."""

from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import BadInput, nearest
from ..models.catalogue import CATALOGUE
from ..networks.checkpoint import NETWORKS, Checkpoint, build, kind_of, load
from ..networks.lightweight_openpose import LightweightOpenPose, load_mobilenet
from ..networks.limbwise import LimbwiseNetwork, load_imagenet
from ..networks.lite_hrnet import LiteHRNet
from ..networks.person import PersonNetwork
from ..skeleton import BODY, Skeleton

# BODY with limbs that hold together who falls apart under the 19: a neck is only there where both
# shoulders are labelled (docs/log.md).
TRAINED = Skeleton(
    BODY.keypoints,
    (
        *BODY.limbs,
        ("right_shoulder", "left_shoulder"),
        ("right_hip", "left_hip"),
        ("right_shoulder", "right_hip"),
        ("left_shoulder", "left_hip"),
        ("nose", "right_shoulder"),
        ("nose", "left_shoulder"),
    ),
    BODY.sigmas,
)


def begin(
    network: str, init: str | None, skeleton: Skeleton, size: int | None, options: dict[str, Any]
) -> Checkpoint:
    """A network to train; `init` is None (fresh), "imagenet" or "mobilenet:FILE" (limbwise's or the
    original's backbone), "bundled" or a checkpoint.

    A checkpoint that finds other keypoints or limbs gives all weights but those of its last layers;
    `training["finished"]` says whether it gave all.
    """
    _check_options(network, options)
    if init and init != "imagenet" and not init.startswith("mobilenet:"):
        path = _bundled(network) if init == "bundled" else Path(init)
        return _from_checkpoint(load(path), network, skeleton, size, options)
    people = kind_of(network).people if skeleton == TRAINED else None
    made = build(network, people or skeleton, size, **options)
    if init == "imagenet":
        if not isinstance(made.network, LimbwiseNetwork | PersonNetwork):
            raise BadInput("only limbwise's own networks start from these ImageNet weights")
        load_imagenet(made.network.trunk)
    elif init:
        if not isinstance(made.network, LightweightOpenPose):
            raise BadInput("only lightweight-openpose starts from MobileNet")
        load_mobilenet(made.network, init.removeprefix("mobilenet:"))
    return made


def _check_options(network: str, options: dict[str, Any]) -> None:
    """BadInput for a keyword that no constructor of this kind of network has."""
    kind_of(network)
    known = list(signature(NETWORKS[network]).parameters)
    for name in options:
        if name not in known:
            raise BadInput(f"the network {network} has no {name}: {nearest(name, known)}")


def _bundled(network: str) -> Path:
    """The bundled checkpoint of a network of this name, else that of "limbwise", whose backbone
    fits to all of limbwise's own."""
    stages = [stage for each in CATALOGUE.values() for stage in (each.first, each.second) if stage]
    for stage in stages:
        if stage.checkpoint.is_file() and load(stage.checkpoint).description.name == network:
            return stage.checkpoint
    return CATALOGUE["one-stage"].first.checkpoint


def _from_checkpoint(
    old: Checkpoint, network: str, skeleton: Skeleton, size: int | None, options: dict[str, Any]
) -> Checkpoint:
    """The same kind of network, or one for people's crops or boxes, with all weights that fit; it
    keeps its skeleton if the labels have its keypoints and limbs."""
    its = old.description.skeleton
    if its.keypoints == skeleton.keypoints and set(its.limbs) <= set(skeleton.limbs):
        skeleton = its
    kept = {key: value for key, value in old.options.items() if key not in ("keypoints", "limbs")}
    name = old.description.name if "limbs" in kind_of(network).finds else network
    made = build(name, skeleton, size, **(kept if name == old.description.name else {}) | options)
    own, weights = made.network.state_dict(), old.network.state_dict()
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    made.network.load_state_dict(own | fitting)
    finished = len(fitting) == len(own)
    if isinstance(made.network, LiteHRNet) and isinstance(old.network, LiteHRNet):
        _copy_keypoints(old.network.last, made.network.last, its.keypoints, skeleton.keypoints)
        known = set(its.keypoints) & set(skeleton.keypoints)  # all but the neck, say
        finished = 2 * len(known) > len(skeleton.keypoints)
    return replace(made, training={"finished": finished})


@torch.no_grad()
def _copy_keypoints(
    old: nn.Conv2d, new: nn.Conv2d, old_names: tuple[str, ...], new_names: tuple[str, ...]
) -> None:
    """The last layer's rows of those keypoints that both know; the others' begin at nothing."""
    if not set(old_names) & set(new_names) or old.weight.shape[1:] != new.weight.shape[1:]:
        return
    for value, its in ((new.weight, old.weight), (new.bias, old.bias)):
        assert value is not None
        assert its is not None
        value.zero_()
        for row, name in enumerate(new_names):
            if name in old_names:
                value[row] = its[old_names.index(name)]
