"""Training from files: labels and pictures in, checkpoints out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import BadInput
from ..runtime import Runtime, has
from ..skeleton import BODY, COCO, Skeleton
from . import targets
from .augment import Batch, augmented
from .checkpoint import Checkpoint, build, load
from .coco import keypoint_names, read
from .dice import Augment
from .evaluate import evaluate, read_labels
from .export import PictureModel
from .labels import Labels
from .limbwise_network import LimbwiseNetwork, load_imagenet
from .loop import Recipe, Report, Run, Sampler, Validate, join_processes
from .loss import Targets
from .pictures import load_pictures
from .samples import Samples, samples

Paths = Sequence[str | Path]

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


@dataclass(frozen=True)
class Data:
    """What is trained on, and what AP is measured on (None: nothing is measured)."""

    annotations: Paths
    images: Paths
    val_annotations: str | Path | None = None
    val_images: str | Path | None = None


def train(
    data: Data,
    out: str | Path,
    report: Report,
    *,
    network: str = "limbwise",
    init: str | None = None,
    resume: bool = False,
    epochs: float = 30.0,
    size: int = 368,
    long_side: int = 640,
    device: str | None = None,
    settings: Augment = Augment(),  # noqa: B008 - frozen
    options: dict[str, Any] | None = None,
    **recipe: Any,
) -> Checkpoint:
    """Trains, and returns the averaged network; checkpoints come to lie in `out`.

    `init` is None (random), "imagenet" (limbwise's trunk) or a checkpoint; crops are `size` pixels
    square; `options` go to the network's constructor, `recipe` to `Recipe`. BadInput if files are
    missing or do not fit together.
    """
    here = torch.device(device) if device else join_processes()
    torch.manual_seed(recipe.get("seed", 0))
    labels = _without(read_all(data), data.val_annotations, data.val_images)
    made = begin(network, init, labels.skeleton, size, options or {})
    batch_size = recipe.setdefault("batch_size", Recipe.batch_size)
    steps = recipe.pop("steps", None) or max(round(epochs * len(labels) / batch_size), 1)
    warmup = min(recipe.pop("warmup", Recipe.warmup), steps // 10)
    everything = samples(labels, load_pictures(labels, long_side=long_side), here)
    run = Run(made, Recipe(steps, warmup=warmup, **recipe), Path(out), here)
    if resume:
        run.resume()
    Path(out).mkdir(parents=True, exist_ok=True)
    run.train(
        sampler(everything, made, size, run.recipe.seed, settings), _validate(data, here), report
    )
    return run.averaged()


def read_all(data: Data) -> Labels:
    """The labels; of people as `TRAINED`, of anything else with the file's own skeleton."""
    human = set(COCO.keypoints) <= set(keypoint_names(data.annotations[0]))
    return read(list(data.annotations), list(data.images), TRAINED if human else None)


def begin(
    network: str, init: str | None, skeleton: Skeleton, size: int, options: dict[str, Any]
) -> Checkpoint:
    """A network to train: fresh, on an ImageNet trunk, or a checkpoint's (which keeps its kind)."""
    if init and init != "imagenet":
        made = load(init)
        if made.description.skeleton != skeleton:
            raise BadInput(f"{init} finds other keypoints or limbs than the labels have")
        return made
    if network == "lightweight-openpose":
        skeleton = BODY if skeleton == TRAINED else skeleton
    made = build(network, skeleton, size, **options)
    if init == "imagenet":
        if not isinstance(made.network, LimbwiseNetwork):
            raise BadInput("only limbwise's own network starts from ImageNet")
        load_imagenet(made.network.trunk)
    return made


def sampler(
    everything: Samples, made: Checkpoint, size: int, seed: int, settings: Augment
) -> Sampler:
    """Batches by their number: every picture once an epoch, in an order of the epoch's own."""
    device = everything.keypoints.device
    side = -(-size // made.traits.multiple) * made.traits.multiple
    limbs = [everything.skeleton.limbs.index(limb) for limb in made.description.skeleton.limbs]

    def sample(number: int, count: int, share: tuple[int, int]) -> tuple[Tensor, Targets]:
        rank, processes = share
        mine = range(number * count + rank * count // processes,
                     number * count + (rank + 1) * count // processes)  # fmt: skip
        indices = torch.tensor([_in_epoch(place, len(everything), seed) for place in mine])
        generator = torch.Generator(device)
        generator.manual_seed((seed * 1_000_003 + number) * 97 + rank)
        batch = augmented(everything, indices.to(device), (side, side), generator, settings,
                          stride=made.traits.stride)  # fmt: skip
        return batch.images, _targets(batch, made, everything.skeleton, limbs)

    return sample


def _in_epoch(place: int, count: int, seed: int) -> int:
    """The picture at a place of the endless row of epochs."""
    epoch, within = divmod(place, count)
    return int(_order(epoch, count, seed)[within])


@lru_cache(maxsize=2)
def _order(epoch: int, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed * 7919 + epoch)
    return torch.randperm(count, generator=generator)


def _targets(batch: Batch, made: Checkpoint, skeleton: Skeleton, limbs: list[int]) -> Targets:
    size = batch.weights.shape[-2], batch.weights.shape[-1]
    stride = made.traits.stride
    wanted = made.description.skeleton
    return Targets(
        targets.heatmaps(batch.keypoints, batch.visible, size, stride),
        targets.limb_fields(batch.keypoints, batch.visible, size, wanted, stride),
        batch.keypoint_weights.float(),
        batch.limb_weights[:, limbs].float(),
    )


def in_memory(made: Checkpoint, device: torch.device) -> Runtime:
    """A runtime of a network that is being trained."""
    model = PictureModel(made).to(device).eval()

    def run(images: Any) -> Any:
        with torch.inference_mode():
            return tuple(
                maps.float().cpu().numpy() for maps in model(torch.from_numpy(images).to(device))
            )

    return Runtime(made.description, f"torch {device}", run)


def _validate(data: Data, device: torch.device) -> Validate | None:
    if data.val_annotations is None or data.val_images is None or not has("pycocotools"):
        return None
    annotations, images = data.val_annotations, data.val_images
    return lambda made: evaluate(in_memory(made, device), annotations, images)[0]


def _without(labels: Labels, annotations: str | Path | None, images: str | Path | None) -> Labels:
    """The labels less the pictures that are validated on."""
    if annotations is None or images is None:
        return labels
    entries = read_labels(annotations)["images"]
    held = {(Path(images) / entry["file_name"]).resolve() for entry in entries}
    kept = [n for n, file in enumerate(labels.files) if file.path.resolve() not in held]
    return (
        labels if len(kept) == len(labels) else replace(labels.subset(kept), faults=labels.faults)
    )
