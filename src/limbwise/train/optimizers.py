"""How weights are changed: AdamW for all of them, or Muon for those that are matrices."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import BadInput

Group = dict[str, Any]


class Settings(Protocol):
    """The part of a `Recipe` that optimizers read."""

    @property
    def optimizer(self) -> str: ...
    @property
    def lr(self) -> float: ...
    @property
    def trunk_lr(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


def optimizers(network: nn.Module, settings: Settings) -> list[torch.optim.Optimizer]:
    """Those that together change every weight that learns; `share` of a group multiplies the rate.

    "adamw", or "muon": that for 1x1 convolutions, nine tenths of limbwise's own weights, and AdamW
    for the others. BadInput if the name is another.
    """
    if settings.optimizer not in ("adamw", "muon"):
        raise BadInput(f"optimizer {settings.optimizer} is not known: adamw or muon")
    groups: dict[tuple[bool, bool, bool], list[nn.Parameter]] = {}
    for name, value in network.named_parameters():
        if value.requires_grad:
            pointwise = settings.optimizer == "muon" and _is_pointwise(name, value)
            kind = pointwise, name.startswith("trunk."), value.ndim > 1
            groups.setdefault(kind, []).append(value)
    matrices = [_group(kind, values, settings) for kind, values in groups.items() if kind[0]]
    others = [_group(kind, values, settings) for kind, values in groups.items() if not kind[0]]
    made: list[torch.optim.Optimizer] = []
    if matrices:
        made.append(PointwiseMuon(matrices, settings.lr))
    if others:
        made.append(torch.optim.AdamW(others, lr=settings.lr))
    return made


def _group(kind: tuple[bool, bool, bool], values: list[nn.Parameter], settings: Settings) -> Group:
    """Norms and biases without decay; the pretrained trunk at its share of the learning rate."""
    _, trunk, decays = kind
    return {
        "params": values,
        "share": settings.trunk_lr if trunk else 1.0,
        "weight_decay": settings.weight_decay if decays else 0.0,
    }


def _is_pointwise(name: str, value: Tensor) -> bool:
    """A 1x1 convolution between features; the last ones, to maps, are better left to AdamW."""
    head = name.startswith(("early.", "last."))
    return value.ndim == 4 and value.shape[2:] == (1, 1) and min(value.shape[:2]) > 1 and not head


class PointwiseMuon(torch.optim.Muon):
    """Muon (Jordan 2024, kellerjordan.github.io/posts/muon) for weights (O, I, 1, 1), seen as the
    matrices they are; steps as long as AdamW's (Liu et al. 2025, arXiv 2502.16982, equation 4)."""

    def __init__(self, groups: list[Group], lr: float) -> None:
        self._pairs: list[tuple[Tensor, nn.Parameter]] = []
        seen = [{**group, "params": [self._matrix(w) for w in group["params"]]} for group in groups]
        super().__init__(seen, lr=lr, adjust_lr_fn="match_rms_adamw")

    def _matrix(self, weight: Tensor) -> nn.Parameter:
        """The same memory in two dimensions."""
        matrix = nn.Parameter(weight.detach().view(weight.shape[:2]))
        self._pairs.append((weight, matrix))
        return matrix

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for weight, matrix in self._pairs:
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        return super().step(closure)  # type: ignore[no-untyped-call]

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        for weight, _ in self._pairs:
            weight.grad = None
