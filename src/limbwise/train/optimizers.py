"""How weights are changed: AdamW for all of them, or Muon for those that are matrices."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import BadInput

Group = dict[str, Any]


class Settings(Protocol):
    """The part of a `TrainConfig` that optimizers read."""

    @property
    def optimizer(self) -> str: ...
    @property
    def rate(self) -> float: ...
    @property
    def backbone_lr(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


def optimizers(network: nn.Module, settings: Settings) -> list[torch.optim.Optimizer]:
    """Those that together change every weight that learns; `share` of a group multiplies the rate.

    "adamw", or "muon": that for 1x1 convolutions, nine tenths of limbwise's own weights, and AdamW
    for the others. BadInput if the name is another.
    """
    if settings.optimizer not in ("adamw", "muon"):
        raise BadInput(f"optimizer {settings.optimizer} is not known: adamw or muon")
    pretrained = getattr(network, "pretrained", ("trunk.",))
    groups: dict[tuple[bool, bool, bool], list[nn.Parameter]] = {}
    for name, value in network.named_parameters():
        if value.requires_grad:
            pointwise = settings.optimizer == "muon" and _is_pointwise(name, value)
            kind = pointwise, name.startswith(pretrained), value.ndim > 1
            groups.setdefault(kind, []).append(value)
    matrices = [_group(kind, values, settings) for kind, values in groups.items() if kind[0]]
    others = [_group(kind, values, settings) for kind, values in groups.items() if not kind[0]]
    made: list[torch.optim.Optimizer] = []
    if matrices:
        made.append(PointwiseMuon(matrices, settings.rate))
    if others:
        made.append(torch.optim.AdamW(others, lr=settings.rate, fused=True))
    return made


def _group(kind: tuple[bool, bool, bool], values: list[nn.Parameter], settings: Settings) -> Group:
    """Norms and biases without decay; the pretrained backbone at its share of the learning rate."""
    _, backbone, decays = kind
    return {
        "params": values,
        "share": settings.backbone_lr if backbone else 1.0,
        "weight_decay": settings.weight_decay if decays else 0.0,
    }


def _is_pointwise(name: str, value: Tensor) -> bool:
    """A 1x1 convolution between features; the last ones, to maps, are better left to AdamW."""
    head = name.startswith(("early.", "last."))
    return value.ndim == 4 and value.shape[2:] == (1, 1) and min(value.shape[:2]) > 1 and not head


class PointwiseMuon(torch.optim.Optimizer):
    """Muon (Jordan 2024, kellerjordan.github.io/posts/muon) for weights (O, I, 1, 1), seen as the
    matrices they are; steps as long as AdamW's (Liu et al. 2025, arXiv 2502.16982, equation 4).

    torch.optim.Muon computes in bf16 everywhere, 20 times slower than this on CPUs that have none.
    """

    def __init__(self, groups: list[Group], lr: float, momentum: float = 0.95) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._change(weight, group)

    def _change(self, weight: Tensor, group: Group) -> None:
        gradient, momentum = weight.grad.flatten(1), group["momentum"]  # type: ignore[union-attr]
        state = self.state[weight]
        if "mean" not in state:
            state["mean"] = torch.zeros_like(gradient)
        mean = state["mean"]
        mean.lerp_(gradient, 1 - momentum)
        way = orthogonal(gradient.lerp(mean, momentum))
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        length = 0.2 * max(way.shape) ** 0.5 * group["lr"]
        weight.add_(way[:, :, None, None], alpha=-length)


def orthogonal(matrix: Tensor) -> Tensor:
    """(O, I) to about U V', U S V' being its singular value decomposition: five steps of a quintic
    Newton-Schulz iteration with Jordan's coefficients, that leave singular values in 0.68..1.13."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x.bfloat16() if computes_bf16(matrix.device) else x.float()
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(
            x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445
        )
    return (x.T if tall else x).to(matrix.dtype)


def computes_bf16(device: torch.device) -> bool:
    """False for CPUs that only imitate it, several times slower than float32."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
