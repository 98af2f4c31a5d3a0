"""Training from files: labels and pictures in, checkpoints out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from ..atomic import write_json
from ..backends.base import Backend, has, is_checkpoint
from ..data.annotations import Labels
from ..data.coco import read
from ..data.coco_file import CocoFile, Labelled, read_coco
from ..errors import BadInput
from ..evaluation.boxes import evaluate_boxes
from ..evaluation.evaluate import evaluate, layout_of
from ..loading import load_pair
from ..networks.checkpoint import NETWORKS, Checkpoint, kind_of
from ..networks.picture_model import PictureModel
from ..skeleton import COCO, Skeleton
from .batch_memory import check_batch
from .batches.batch import Sampler
from .batches.loader import feed, well_labelled
from .batches.prior_poses import read_found
from .config import TrainConfig
from .loop import Report, Run, Show, Validate, join_processes
from .start import TRAINED, begin

Paths = Sequence[str | Path]


@dataclass(frozen=True)
class Data:
    """What is trained on, and what AP is measured on (None: nothing is measured)."""

    annotations: Sequence[Labelled]
    images: Paths
    val_annotations: Labelled | None = None
    val_images: str | Path | None = None
    sigmas: str | Path | None = None  # JSON: a name of a keypoint to its OKS sigma
    category: str | int | None = None  # of all the files (coco_file.py)

    @property
    def files(self) -> list[CocoFile]:
        """What is trained on, parsed."""
        return [read_coco(each, self.category) for each in self.annotations]

    def parsed(self) -> "Data":
        """The same with every file read, so that nobody reads one again."""
        val = self.val_annotations
        held = None if val is None else read_coco(val, self.category)
        return replace(self, annotations=self.files, val_annotations=held)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A run with all that it needs; `run.step` is 0, or where it was taken up."""

    run: Run
    batches: Sampler
    validate: Validate | None

    def train(self, report: Report, show: Show | None = None) -> Checkpoint:
        """Trains to the end; the averaged network. All settings come to lie in config.json."""
        if self.run.rank == 0:
            config = replace(self.run.config, lr=self.run.schedule.lr)
            write_json(self.run.out / "config.json", config.plain())
        self.run.train(self.batches, self.validate, report, show)
        return self.run.averaged()


def train(
    data: Data,
    out: str | Path,
    report: Report,
    config: TrainConfig = TrainConfig(),  # noqa: B008 - frozen
    *,
    show: Show | None = None,
) -> Checkpoint:
    """Trains, and returns the averaged network; checkpoints come to lie in `out`.

    Args:
        data: what is trained on and measured on.
        out: a folder.
        report: hears of every step.
        config: all settings, of which each says in config.py what it does.
        show: gets the averaged network whenever it is saved.

    Raises:
        BadInput: files are missing or do not fit together.
    """
    return prepare(data, out, config).train(report, show)


def prepare(data: Data, out: str | Path, config: TrainConfig) -> Prepared:
    """Reads the labels, makes the network, and takes the run up if it is to; `train` in two parts.

    Args:
        data: what is trained on and measured on.
        out: a folder.
        config: all settings.

    Raises:
        BadInput: as `train`.
    """
    here = join_processes(config.device)
    torch.manual_seed(config.seed)
    data = data.parsed()
    labels = _without(read_all(data, config.network), data)
    names = [file.having([], []) for file in data.files]  # the rest of them is in the labels
    data = replace(data, annotations=names)
    if not len(labels):
        raise BadInput("every picture is one to validate on: nothing is left to train on")
    made = begin(config.network, config.init, labels.skeleton, config.size, _options(config))
    validate = _validate(data, made, here)
    prior = _prior(labels, made, data, config.found) if config.found else None
    epoch = len(well_labelled(labels)) if made.description.crop else len(labels)
    finished = made.description.name if made.training.get("finished") else None
    run = Run(made, config.settled(epoch, finished), Path(out), here)
    check_batch(made, config, here)
    if config.resume:  # at the rate that where it once began asked for
        run.resume(its_rate=config.lr is None)
    Path(out).mkdir(parents=True, exist_ok=True)
    batches = feed(
        labels, made, made.description.height, here, seed=config.seed, settings=config.augment,
        long_side=config.long_side, workers=config.workers,
        room=None if config.room is None else round(config.room * 1e9),
        teacher=_teacher(config.teacher, here), found=prior,
    )  # fmt: skip
    return Prepared(run, batches, validate)


def _options(config: TrainConfig) -> dict[str, Any]:
    """Keywords of the network's constructor."""
    options = dict(config.options)
    if config.stages is not None:
        options["refinement_stages"] = config.stages
    if config.boxes:
        kind_of(config.network)
        able = [name for name, its in NETWORKS.items() if "boxes" in signature(its).parameters]
        if config.network not in able:
            raise BadInput(f"--boxes goes with --network {able[0]}, not with {config.network}")
        options["boxes"] = True
    return options


def _prior(labels: Labels, made: Checkpoint, data: Data, found: str | Path) -> Any:
    """What a first stage found; results name pictures by id, so there may be one label file
    only."""
    if not made.traits.prior:
        able = ", ".join(name for name in NETWORKS if kind_of(name).prior)
        raise BadInput(f"{made.description.name} takes no prior keypoints: --found is for {able}")
    if len(data.annotations) > 1:
        raise BadInput("--found goes with one label file: its ids may mean others in a second one")
    return read_found(labels, data.files[0], found)


def read_all(data: Data, network: str = "limbwise") -> Labels:
    """The labels; of people as `TRAINED`, of anything else with the file's own skeleton; boxes only
    of a file without keypoints, for a network that finds no others."""
    skeleton = None
    files = data.files
    if not kind_of(network).finds and not all(file.category.keypoints for file in files):
        skeleton = Skeleton((), (), ())
    elif set(COCO.keypoints) <= set(files[0].keypoints):
        skeleton = TRAINED
    return read(files, list(data.images), skeleton, sigmas=data.sigmas)


def in_memory(made: Checkpoint, device: torch.device) -> Backend:
    """A runtime of a network that is being trained."""
    model = PictureModel(made).to(device).eval()

    def run(*inputs: Any) -> Any:
        with torch.inference_mode():
            maps = model(*(torch.from_numpy(each).to(device) for each in inputs))
        return tuple(each.float().cpu().numpy() for each in maps)

    return Backend(made.description, f"torch {device}", run)


def _teacher(path: str | Path | None, device: torch.device) -> Backend | None:
    """On the GPU if it is a checkpoint, else on the CPU."""
    if path is None:
        return None
    on_gpu = device.type == "cuda" and is_checkpoint(Path(path))
    if not on_gpu:
        return load_pair(path, threads=torch.get_num_threads())[0]
    return load_pair(path, runtime="torch", device=str(device))[0]


def _validate(data: Data, made: Checkpoint, device: torch.device) -> Validate | None:
    """Measures AP; BadInput now, not after hours, if the labels cannot be used for it."""
    if data.val_annotations is None or data.val_images is None or not has("pycocotools"):
        return None
    labels, images = read_coco(data.val_annotations, data.category), data.val_images
    boxes = not made.description.skeleton.keypoints
    if boxes:
        labels = labels.boxes_only
    else:
        layout_of(labels, made.description.skeleton)
    _ = labels.people

    def validate(made: Checkpoint) -> dict[str, float]:
        measure = evaluate_boxes if boxes else evaluate
        return measure(in_memory(made, device), labels, images)[0]

    return validate


def _without(labels: Labels, data: Data) -> Labels:
    """The labels less the pictures that are validated on."""
    if data.val_annotations is None or data.val_images is None:
        return labels
    entries = read_coco(data.val_annotations, data.category).pictures
    held = {(Path(data.val_images) / entry["file_name"]).resolve() for entry in entries}
    kept = [n for n, file in enumerate(labels.files) if file.path.resolve() not in held]
    return (
        labels if len(kept) == len(labels) else replace(labels.subset(kept), faults=labels.faults)
    )
