"""The dice that decide how far training changes its pictures, within `Augment` (config.py).

Every random number comes from the caller's generator, on its device: with a CPU generator a GPU
makes the batches that the CPU makes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import Augment

__all__ = ["Augment", "Dice"]


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
