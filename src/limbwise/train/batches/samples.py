"""Labels and pictures together on one device, in one system of pixels."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...data.annotations import Labels
from ...skeleton import Skeleton
from .pictures import Pictures

Size = tuple[int, int]  # height, width


@dataclass(frozen=True, eq=False)
class Samples:
    """N pictures and their labels on one device, places in pixels of the pictures as stored.

    keypoints (P, K, 2), state (P, K); boxes (P, 4) left top right bottom; scale (P,) is the root
    of the area, for OKS; regions (R, 4); people_from and regions_from (N + 1,) as in `Labels`.
    """

    skeleton: Skeleton
    pictures: Pictures
    keypoints: Tensor
    state: Tensor
    boxes: Tensor
    scale: Tensor
    people_from: Tensor
    regions: Tensor
    regions_from: Tensor

    def __len__(self) -> int:
        return len(self.pictures)


def samples(labels: Labels, pictures: Pictures, device: str | torch.device = "cpu") -> Samples:
    """The labels and their pictures; those without a picture that could be read are left out."""
    good = (pictures.sizes[:, 0, 0] > 0).nonzero()[:, 0]
    labels, pictures = labels.subset(good.tolist()), pictures.subset(good).to(device)
    scales = pictures.scales
    count = len(labels)

    def on_device(values: object) -> Tensor:
        return torch.as_tensor(values, device=device)

    people_from, regions_from = on_device(labels.people_from), on_device(labels.regions_from)
    of = torch.arange(count, device=device)
    person, region = (of.repeat_interleave(begin.diff()) for begin in (people_from, regions_from))
    return Samples(
        labels.skeleton,
        pictures,
        resized(on_device(labels.keypoints), scales[person, None]),
        on_device(labels.state),
        resized(on_device(labels.boxes), scales[person].repeat(1, 2)),
        on_device(labels.areas).sqrt() * scales[person].prod(dim=1).sqrt(),
        people_from,
        resized(on_device(labels.regions), scales[region].repeat(1, 2)),
        regions_from,
    )


def resized(xy: Tensor, scale: Tensor) -> Tensor:
    """Places of a picture in pixels of the same picture resized."""
    return (xy + 0.5) * scale - 0.5
