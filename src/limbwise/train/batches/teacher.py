"""A teacher's heatmaps of the crops that a network learns from.

A teacher of crops of one person sees each at its own size, which may be larger than the network's:
it is shown the same part of the picture in more pixels, and its heatmaps come back in the network's
cells.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...backends.base import Backend
from ...description import Description
from ...errors import BadInput
from ...network_output import first_cell
from ...networks.checkpoint import Checkpoint
from ...refine import SIGMA
from .batch import Batch, Sampler
from .samples import Size


def check_teacher(teacher: Backend, made: Checkpoint) -> None:
    """BadInput if its heatmaps say nothing of what this network learns."""
    theirs, ours = teacher.description, made.description
    if not ours.skeleton.keypoints:
        raise BadInput(f"{ours.name} learns boxes, a teacher knows heatmaps: leave out --teacher")
    if theirs.prior and theirs.crop:
        raise BadInput(f"the teacher ({theirs.name}) needs prior keypoints")
    if bool(theirs.crop) != bool(ours.crop):
        sees = "crops of one person" if theirs.crop else "whole pictures"
        raise BadInput(f"the teacher ({theirs.name}) sees {sees}, {ours.name} does not")
    known = set(ours.skeleton.keypoints) & set(theirs.skeleton.keypoints)
    if not known or (theirs.stride != ours.stride and not ours.crop):
        raise BadInput(f"the teacher ({theirs.name}) has other keypoints or another stride")


def detail_size(teacher: Backend | None, made: Checkpoint) -> Size | None:
    """Height and width of the crops that the teacher is shown, if it is not shown the network's."""
    theirs = teacher.description.crop if teacher else None
    return theirs if theirs and theirs != made.description.crop else None


def taught(sample: Sampler, teacher: Backend, made: Checkpoint) -> Sampler:
    """The same batches with the heatmaps of a teacher that was checked (`Batch.teacher_maps`)."""
    theirs, ours = teacher.description, made.description
    places = [
        theirs.skeleton.keypoints.index(name) if name in theirs.skeleton.keypoints else -1
        for name in ours.skeleton.keypoints
    ]
    alike = _drawing(ours) == _drawing(theirs) or not ours.crop
    back = None if alike else in_cells_of(ours, theirs)

    def ask(number: int, count: int, share: tuple[int, int]) -> Batch:
        batch = sample(number, count, share)
        shown = batch.images if batch.detail is None else batch.detail
        said = teacher.run(shown.permute(0, 2, 3, 1).contiguous().cpu().numpy())[0]
        maps = said if back is None else (back[0] @ said @ back[1].T).clip(0, 1)
        teacher_maps = _in_order(np.asarray(maps, np.float32), places)
        return replace(batch, detail=None, teacher_maps=teacher_maps.to(batch.images.device))

    return ask


def _drawing(its: Description) -> tuple[object, ...]:
    """What a Gaussian looks like in its maps, and where."""
    return its.crop, its.stride, first_cell(its.stride, its.offset), its.sigma or SIGMA


def _in_order(maps: NDArray[np.float32], places: Sequence[int]) -> Tensor:
    """(N, K, h, w) of the keypoints at `places`, nan for those at -1, which nobody knows."""
    ordered = torch.from_numpy(maps[:, list(places)])
    ordered[:, [n for n, place in enumerate(places) if place < 0]] = torch.nan
    return ordered


def in_cells_of(ours: Description, theirs: Description) -> tuple[Any, Any]:
    """Matrices (h, their h) and (w, their w) that bring maps of a crop into another's cells.

    Both networks see the same crop, in `ours.crop` and `theirs.crop` pixels. A Gaussian of their
    `sigma` and height 1 becomes one of our `sigma` and height 1: blurred by what theirs lacks
    (variances of Gaussians add up), and raised by what the blur takes from its height.
    """
    assert ours.crop
    assert theirs.crop
    return (
        _along(ours.crop[0], theirs.crop[0], ours, theirs),
        _along(ours.crop[1], theirs.crop[1], ours, theirs),
    )


def _along(our: int, their: int, ours: Description, theirs: Description) -> NDArray[np.float32]:
    """One side, of `our` and `their` pixels; cells of either lie as its description says."""
    larger = their / our
    here, there = (
        first_cell(its.stride, its.offset) + its.stride * np.arange(side // its.stride)
        for its, side in ((ours, our), (theirs, their))
    )
    wide, drawn = larger * (ours.sigma or SIGMA), theirs.sigma or SIGMA
    variance = max(wide**2 - drawn**2, (theirs.stride / 2) ** 2)
    away = (here[:, None] + 0.5) * larger - 0.5 - there
    weights = np.exp(-np.square(away) / (2 * variance))
    gain = np.sqrt(1 + variance / drawn**2)
    weights *= gain / weights.sum(axis=1, keepdims=True)
    return np.asarray(weights, np.float32)
