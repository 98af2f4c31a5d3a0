"""The settings of a training, the same in Python and on the command line.

Each field of `TrainConfig` says here, and nowhere else, what it means, its default and its limits:
the options of `limbwise train`, their help and the errors are made of it. It needs no PyTorch.
"""

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, dataclass, field, fields, replace
from functools import wraps
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar, get_args

from ..errors import BadInput, nearest

T = TypeVar("T")

# The learning rate where none is given. What is finished is unlearnt by the rate that a new
# network needs; which one does no harm was measured (benchmarks/finetune.py; that of the detector
# is what it was trained with).
NEW_RATE = 2e-3
FINISHED_RATE = 1e-4
FINISHED_RATES = {"lite-hrnet": 1e-5, "limbwise-detector": 2e-5}
WARM_SHARE = 0.1  # of all steps, that the rate rises for at most


def knowing_its_names(kind: type[T]) -> type[T]:
    """A dataclass that names the nearest field where it is given one that it does not have."""
    make = kind.__init__
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]

    @wraps(make)
    def init(self: T, *args: Any, **given: Any) -> None:
        for name in given:
            if name not in known:
                raise BadInput(f"{kind.__name__} has no {name}: {nearest(name, known)}")
        make(self, *args, **given)

    kind.__init__ = init  # type: ignore[assignment]
    return kind


@knowing_its_names
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


def option(default: Any, about: str, low: float | None = None, high: float | None = None) -> Any:
    """A field that is an option of the command as well."""
    return field(default=default, metadata={"about": about, "min": low, "max": high})


@knowing_its_names
@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. BadInput for a value out of its limits, or a name that is no field."""

    network: str = option(
        "limbwise",
        "limbwise, limbwise-detector (boxes of people), lite-hrnet (a second stage), "
        "limbwise-person (one that takes prior keypoints) or lightweight-openpose.",
    )
    stages: int | None = option(None, "Refinement stages of lightweight-openpose.", 0, 20)
    boxes: bool = option(False, "limbwise finds people as boxes too.")
    init: str | None = option(
        None, "imagenet, bundled, mobilenet:FILE, or a checkpoint to go on from."
    )
    resume: bool = option(False, "Take up the run in --out.")
    epochs: float = option(30.0, "How often each picture is seen.", 0.001, 1e6)
    steps: int | None = option(None, "Instead of --epochs.", 1, 10**9)
    batch_size: int = option(64, "Pictures, or people, of a batch.", 1, 2**16)
    accumulate: int = option(1, "Batches to a step.", 1, 4096)
    optimizer: str = option("adamw", "adamw or muon.")
    lr: float | None = option(
        None,
        f"The highest learning rate; if absent {NEW_RATE:g}, and where --init is a finished "
        f"network of the same keypoints {FINISHED_RATE:g} ("
        + ", ".join(f"{name} {rate:g}" for name, rate in FINISHED_RATES.items())
        + ").",
        0,
        100,
    )
    backbone_lr: float = option(0.5, "What pretrained layers learn at, times --lr.", 0, 100)
    decay: float = option(1.0, "Share of the steps in which the rate falls.", 0, 1)
    warmup: int = option(
        500, f"Steps to the full learning rate, of all at most {WARM_SHARE:.0%}.", 0, 10**9
    )
    weight_decay: float = option(0.02, "Of weights that are not biases or norms.", 0, 1)
    clip: float = option(5.0, "The longest gradient.", 1e-6, 1e6)
    ema: float = option(0.9995, "Decay of the average.", 0, 1)
    size: int | None = option(
        None, "Height of the crops; as usual for the network if absent.", 32, 4096
    )
    long_side: int = option(640, "Pixels of a picture's longer side that are kept.", 32, 2**14)
    device: str | None = option(None, "cpu or cuda; the best if absent.")
    amp: bool = option(False, "Compute in bf16, where the device can.")
    compile: bool = option(False, "torch.compile.")
    native: bool = option(False, "On CPUs: compile a faster backward pass (needs a C++ compiler).")
    freeze: int = option(0, "Stages of the pretrained backbone that stay as they are.", 0, 6)
    teacher: Path | str | None = option(  # noqa: RUF009 - a field
        None, "A model file whose heatmaps are learnt too."
    )
    found: Path | str | None = option(  # noqa: RUF009 - a field
        None, "For limbwise-person: what `limbwise eval --detections` found."
    )
    workers: int | None = option(None, "Threads that decode; all cores if absent.", 1, 256)
    room: float | None = option(
        None, "GB for decoded pictures, if they fit; half of the memory if absent.", 0, 1e6
    )
    seed: int = option(0, "Of all that is drawn.", -(2**31), 2**31 - 1)
    log_every: int = option(20, "Steps.", 1, 10**9)
    save_every: int = option(500, "Steps.", 1, 10**9)
    validate_every: int = option(0, "Steps; 0: at the end.", 0, 10**9)
    augment: Augment = Augment()
    options: Mapping[str, Any] = field(default_factory=dict)  # more of the network's constructor

    def __post_init__(self) -> None:
        for each in fields(self):
            _check(each, getattr(self, each.name))

    @property
    def rate(self) -> float:
        """The highest learning rate; where neither it nor a start is given, that of a new
        network."""
        return NEW_RATE if self.lr is None else self.lr

    def settled(self, pictures: int, finished: str | None) -> "TrainConfig":
        """With the steps of so many pictures, and the rate for a start from nothing, or from the
        `finished` network of that name."""
        steps = max(round(self.epochs * pictures / (self.batch_size * self.accumulate)), 1)
        lr = self.rate
        if finished and self.lr is None:
            lr = FINISHED_RATES.get(finished, FINISHED_RATE)
        return replace(self, steps=self.steps or steps, lr=lr)

    def schedule(self) -> "Schedule":
        """Of a run whose number of steps is known."""
        if self.steps is None:
            raise BadInput("without the number of pictures, epochs are no number of steps")
        warmup = min(self.warmup, int(self.steps * WARM_SHARE))
        return Schedule(self.steps, self.rate, warmup, self.decay)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Schedule:
    """The learning rate of each of the steps; `lr` is the highest."""

    steps: int
    lr: float
    warmup: int = 0
    decay: float = 1.0

    def rate(self, step: int) -> float:
        """Linear warm-up, the full rate if `decay` leaves room, then half a cosine to nothing
        (Loshchilov 2016, arXiv 1608.03983)."""
        warm = min((step + 1) / max(self.warmup, 1), 1.0)
        falls = max(self.warmup, round(self.steps * (1 - self.decay)))
        done = max(step - falls, 0) / max(self.steps - falls, 1)
        return self.lr * warm * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def kinds(each: "Field[Any]") -> tuple[Any, ...]:
    """The types that a field takes."""
    return get_args(each.type) if isinstance(each.type, types.UnionType) else (each.type,)


def _check(each: "Field[Any]", value: Any) -> None:
    several = kinds(each)
    if value is None and types.NoneType in several:
        return
    expected: tuple[str, Callable[[Any], bool]] | None = None
    if int in several:
        expected = "a whole number", lambda value: isinstance(value, Integral)
    elif float in several:
        expected = "a number", lambda value: isinstance(value, Real) and math.isfinite(value)
    if expected and (isinstance(value, bool) or not expected[1](value)):
        raise BadInput(f"{each.name} is {expected[0]}, not {value!r}")
    low, high = each.metadata.get("min"), each.metadata.get("max")
    if low is not None and not low <= value <= high:
        raise BadInput(f"{each.name} is between {low:g} and {high:g}, not {value}")


TrainConfig.__doc__ = f"{TrainConfig.__doc__}\n\n    Args:\n" + "\n".join(
    f"        {each.name}: {each.metadata['about']} (default: {each.default})"
    for each in fields(TrainConfig)
    if "about" in each.metadata
)
