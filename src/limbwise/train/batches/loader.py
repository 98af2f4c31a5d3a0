"""Batches for the loop, by their number: from memory where the pictures fit, else from their files.

The next batch is made while the network learns from this one.
"""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from threading import Barrier
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...backends.base import Backend
from ...data.annotations import LABELLED, Labels
from ...errors import BadInput
from ...networks.checkpoint import Checkpoint
from .augmentation import Augment
from .batch import Batch, Sampler, TargetOptions, augmented
from .persons import box_crops, person_crops
from .pictures import load_pictures, memory
from .samples import Samples, Size, resized, samples
from .teacher import check_teacher, detail_size, taught

# Numbers of pictures (N,) to samples that hold them, and their places among these
Pick = Callable[[Tensor], tuple[Samples, Tensor]]


def feed(
    labels: Labels,
    made: Checkpoint,
    size: int,
    device: torch.device,
    *,
    seed: int = 0,
    settings: Augment = Augment(),  # noqa: B008 - frozen
    long_side: int = 640,
    workers: int | None = None,
    room: int | None = None,
    teacher: Backend | None = None,
    found: NDArray[np.float32] | None = None,
) -> Sampler:
    """Batches of labelled pictures; every picture, or person, comes once an epoch.

    Args:
        labels: of the pictures.
        made: the network; one of crops of a person gets a person in each.
        size: pixels of a crop's side, unless the network says so itself.
        device: where batches are made.
        seed: of all that is drawn.
        settings: how far crops are changed.
        long_side: pixels of a picture's longer side that are kept.
        workers: threads that decode; all cores if None.
        room: bytes of decoded pictures that may be kept (None: half of the device's memory); if
            they need more, each batch's own are decoded.
        teacher: a network whose heatmaps of the same crops are learnt, too; one of crops of a
            person sees them at its own size.
        found: (P, K, 2) what a first stage found of each person (prior_poses.py).

    Raises:
        BadInput: there is nothing to train on, or the teacher knows nothing of it.
    """
    if teacher:
        check_teacher(teacher, made)
    if memory(labels, long_side=long_side) <= (_room(device) if room is None else room):
        pick = _from_memory(labels, device, long_side, workers)
    else:
        pick = _from_files(labels, device, long_side, workers)
    if made.description.crop:
        detail = detail_size(teacher, made)
        sample = _person_sampler(pick, labels, made, found, seed, settings, detail)
    else:
        sample = _sampler(pick, labels, made, size, seed, settings)
    ahead = max(1, torch.get_num_threads() // 4) if device.type == "cpu" else 1
    return _ahead(taught(sample, teacher, made) if teacher else sample, ahead)


def _room(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    if not hasattr(os, "sysconf"):  # Windows does not say
        return 4 * 2**30
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _from_memory(labels: Labels, device: torch.device, long_side: int, workers: int | None) -> Pick:
    everything = samples(
        labels, load_pictures(labels, long_side=long_side, workers=workers), device
    )
    if not len(everything):
        raise BadInput(f"none of the {len(labels)} pictures can be read: check-data says why")
    return lambda indices: (everything, indices % len(everything))


def _from_files(labels: Labels, device: torch.device, long_side: int, workers: int | None) -> Pick:
    """Only a batch's own pictures: the others of a mosaic are of the same batch."""

    def pick(indices: Tensor) -> tuple[Samples, Tensor]:
        chosen = labels.subset(indices.tolist())
        some = samples(chosen, load_pictures(chosen, long_side=long_side, workers=workers), device)
        if not len(some):
            raise BadInput(f"none of {len(indices)} pictures can be read: {chosen.files[0].name}")
        return some, torch.arange(len(indices)) % len(some)

    return pick


def _sampler(
    pick: Pick, labels: Labels, made: Checkpoint, size: int, seed: int, settings: Augment
) -> Sampler:
    side = -(-size // made.traits.multiple) * made.traits.multiple

    def sample(number: int, count: int, share: tuple[int, int]) -> Batch:
        mine = _mine(number, count, share)
        indices = torch.tensor([_in_epoch(place, len(labels), seed) for place in mine])
        everything, places = pick(indices)
        device = everything.keypoints.device
        generator = _dice(device, seed, number, share[0])
        return augmented(
            everything, places.to(device), (side, side), generator, settings, options_of(made)
        )

    return sample


def _person_sampler(
    pick: Pick, labels: Labels, made: Checkpoint, found: NDArray[np.float32] | None, seed: int,
    settings: Augment, detail: Size | None,
) -> Sampler:  # fmt: skip
    """Batches of people, every one with three sure keypoints once an epoch."""
    size = cast(Size, made.description.crop)
    picture = np.repeat(np.arange(len(labels)), np.diff(labels.people_from))
    number = np.arange(len(picture)) - labels.people_from[picture]
    chosen = well_labelled(labels)
    if not len(chosen):
        raise BadInput("nobody in these pictures has three keypoints: there is nobody to train on")

    def sample(step: int, count: int, share: tuple[int, int]) -> Batch:
        rows = chosen[[_in_epoch(place, len(chosen), seed) for place in _mine(step, count, share)]]
        everything, places = pick(torch.from_numpy(picture[rows]))
        device = everything.keypoints.device
        places, first = places.to(device), everything.people_from
        people = first[places] + torch.from_numpy(number[rows]).to(device)
        people = people.minimum(first[places + 1] - 1)
        dice, options = _dice(device, seed, step, share[0]), options_of(made)
        if not made.traits.prior:
            return box_crops(
                everything, places, people, size, dice, settings, options, detail=detail
            )
        prior = None
        if found is not None:
            scales = everything.pictures.scales[places]
            prior = resized(torch.from_numpy(found[rows]).to(device), scales[:, None])
        return person_crops(
            everything, places, people, size, dice, settings, options, prior=prior, detail=detail
        )

    return sample


def well_labelled(labels: Labels) -> NDArray[np.intp]:
    """The rows of the people of whom three keypoints are sure."""
    return np.flatnonzero((labels.state == LABELLED).sum(axis=1) >= min(3, labels.state.shape[1]))


def _mine(step: int, count: int, share: tuple[int, int]) -> range:
    """The places of this process's part of a batch in the endless row of epochs."""
    rank, processes = share
    first = step * count
    return range(first + rank * count // processes, first + (rank + 1) * count // processes)


def _dice(device: torch.device, seed: int, step: int, rank: int) -> torch.Generator:
    generator = torch.Generator(device)  # 97: beyond so many processes some would draw alike
    generator.manual_seed((seed * 1_000_003 + step) * 97 + rank)
    return generator


def _ahead(sample: Sampler, count: int) -> Sampler:
    """The same batches; the next `count` are begun before this one is given."""
    pool = _single_threads(count)
    begun: dict[int, Future[Batch]] = {}

    def get(number: int, size: int, share: tuple[int, int]) -> Batch:
        numbers = range(number, number + count + 1)
        for stale in begun.keys() - set(numbers):
            begun.pop(stale).cancel()
        for later in numbers:
            if later not in begun:
                begun[later] = pool.submit(sample, later, size, share)
        return begun.pop(number).result()

    return get


def _single_threads(count: int) -> ThreadPoolExecutor:
    """Threads in which PyTorch starts no more threads: with more of its threads than cores OpenMP
    sends all of them to sleep after every operation, the network's too."""
    threads = torch.get_num_threads()
    ready = Barrier(count + 1)

    def alone() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # what a thread reads first it keeps
        ready.wait()

    pool = ThreadPoolExecutor(count, initializer=alone)
    for _ in range(count):
        pool.submit(int)
    ready.wait()
    torch.set_num_threads(threads)
    return pool


def _in_epoch(place: int, count: int, seed: int) -> int:
    """The picture at a place of the endless row of epochs."""
    epoch, within = divmod(place, count)
    return int(_order(epoch, count, seed)[within])


@lru_cache(maxsize=2)
def _order(epoch: int, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed * 7919 + epoch)
    return torch.randperm(count, generator=generator)


def options_of(made: Checkpoint) -> TargetOptions:
    """What a network learns; limbs are no part of it in crops of one person."""
    its, skeleton = made.traits, made.description.skeleton
    if its.crops:
        skeleton = replace(skeleton, limbs=())
    return TargetOptions(skeleton, its.stride, its.offset, its.sigma, boxes=its.boxes)
