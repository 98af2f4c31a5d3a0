"""How far training changes its pictures, and the dice that decide.

Every random number comes from the caller's generator, on its device: with a CPU generator a GPU
makes the batches that the CPU makes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Augment:
    """How far the pictures are changed; shares are probabilities, 0 turns a change off."""

    person: tuple[float, float] = (0.1, 1.2)  # long side of a person over the height of the crop
    on_person: float = 0.9  # share of the crops that are made round a person
    shift: float = 0.3  # of the crop, the person's way from its centre at most
    enlarge: float = 2.0  # output pixels per pixel of the picture at most
    cover: float = 0.8  # of the crop's side, what the picture covers at least
    stretch: float = 0.15  # x and y, each for itself, up to this much longer or shorter
    squares: float = 1.0  # square pictures are widened up to so much: 1.5 where sets are squeezed
    turn: float = 20.0  # degrees, standard deviation
    turn_most: float = 45.0
    turn_any: float = 0.05  # share turned by any angle
    flip: float = 0.5
    mosaic: float = 0.25  # share of samples made of four pictures
    brightness: float = 0.1  # of white
    contrast: float = 0.25
    saturation: float = 0.4
    tint: float = 0.1  # each colour for itself
    gamma: float = 0.3  # at 1, middle tones would be a quarter of white lighter or darker
    grey: float = 0.05
    soften: float = 0.15
    noise: float = 0.2
    noise_most: float = 12.0  # standard deviation, of 255
    cut_out: float = 0.1
    cut_out_most: float = 0.4  # of the crop's side


@dataclass(frozen=True)
class Dice:
    generator: torch.Generator
    device: torch.device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        drawn = torch.rand(shape, generator=self.generator, device=self.generator.device)
        return low + (high - low) * drawn.to(self.device)

    def normal(self, *shape: int) -> Tensor:
        drawn = torch.randn(shape, generator=self.generator, device=self.generator.device)
        return drawn.to(self.device)

    def chance(self, share: float, *shape: int) -> Tensor:
        return self.uniform(0, 1, *shape) < share
