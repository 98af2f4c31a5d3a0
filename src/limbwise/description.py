"""What a model is: stated in its file, or known by its outputs."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .checks import LARGEST_INPUT, number, parsed, shown, whole
from .decode import DecodeOptions
from .errors import BadInput
from .geometry import FITS
from .skeleton import BODY, Skeleton

KEY = "limbwise"  # of the description in a model file's metadata

_SIDES = {"stride": 256, "multiple": 1024, "height": LARGEST_INPUT}


@dataclass(frozen=True)
class Description:
    """What a model file says of itself.

    `stride` is in input pixels, `multiple` is what both sides of an input must be whole multiples
    of, `height` the input height it is meant for; `decoding` are the `DecodeOptions` that suit it,
    where they differ from the usual. `crop` is the height and width of the crops of one person
    that it takes, with `prior` keypoints besides or without; None if it takes whole pictures.
    `offset` is the input pixel of a map's first cell; None: the middle of the pixels it covers.
    `sigma`, in input pixels, is that of the Gaussians it learnt; None: 4 in crops, 7 in pictures.
    `boxes`: it finds people as boxes; one that finds nothing else has an empty
    skeleton. `fit` is how a picture becomes an input: as high as `height`, or with its longer
    "side" as long. `shape` is the height and width within which it has to fit, of a network for
    phones that takes other inputs than squares.
    """

    name: str
    skeleton: Skeleton
    stride: int = 8
    multiple: int = 8
    height: int = 368
    decoding: dict[str, Any] = field(default_factory=dict, hash=False)
    crop: tuple[int, int] | None = None
    prior: bool | None = None  # None: a network for crops takes them, as once all did
    offset: float | None = None
    sigma: float | None = None
    boxes: bool = False
    fit: str = "height"
    shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ValueError(f"fit is {self.fit}, not one of {', '.join(FITS)}")
        if self.prior is None:
            object.__setattr__(self, "prior", self.crop is not None)
        unknown = set(self.decoding) - {each.name for each in fields(DecodeOptions)}
        if unknown:
            raise ValueError(f"decode knows no {', '.join(sorted(unknown))}")

    @property
    def decode_options(self) -> DecodeOptions:
        return DecodeOptions(**self.decoding)

    @property
    def outputs(self) -> tuple[str, ...]:
        """What a model file of limbwise's own calls its outputs, in this order."""
        keypoints = ("heatmaps",) * bool(self.skeleton.keypoints)
        limbs = ("limbs",) * bool(self.skeleton.keypoints and not self.crop)
        return keypoints + limbs + ("boxes",) * self.boxes

    def to_json(self) -> str:
        said = asdict(self) | {"skeleton": self.skeleton.to_dict()}
        if self.shape is None:  # so that earlier versions, which know no shape, read the rest
            del said["shape"]
        return json.dumps(said)

    @classmethod
    def from_json(cls, text: str) -> "Description":
        """The inverse of `to_json`; KeyError, TypeError or ValueError if it is not one."""
        data = parsed(text)
        if not isinstance(data, dict):
            raise ValueError("it is no object")
        _check(data)
        sizes = {name: tuple(data[name]) if data.get(name) else None for name in ("crop", "shape")}
        return cls(**data | sizes | {"skeleton": Skeleton.from_dict(data["skeleton"])})


def _check(data: dict[str, Any]) -> None:
    """ValueError or TypeError unless all numbers and texts are such as a network can have."""
    for name, largest in _SIDES.items():
        if name in data:
            whole(data[name], 1, largest, name)
    for name in ("offset", "sigma"):
        if data.get(name) is not None:
            number(data[name], -LARGEST_INPUT if name == "offset" else 1e-3, LARGEST_INPUT, name)
    for name, what in (("crop", "the crop's"), ("shape", "the shape's")):
        if data.get(name):
            height, width = data[name]
            whole(height, 8, LARGEST_INPUT, f"{what} height")
            whole(width, 8, LARGEST_INPUT, f"{what} width")
    for name, kinds in (("name", str), ("fit", str), ("boxes", bool), ("prior", bool | None)):
        if name in data and not isinstance(data[name], kinds):
            raise ValueError(f"{name} is {shown(data[name])}")
    usual = asdict(DecodeOptions())
    for name, value in data.get("decoding", {}).items():
        if isinstance(usual.get(name), int):
            whole(value, 1, 1000, name)
        else:
            number(value, 0, 100, shown(name))


ORIGINAL = Description("lightweight-openpose", BODY)

# How foreign models call their outputs.
_HEATMAP_NAMES: tuple[str, ...] = ("heatmaps", "_L2")
_LIMB_NAMES: tuple[str, ...] = ("pafs", "_L1")


def read_description(text: str, path: Path) -> Description:
    """What a file says of itself; BadInput if that is damaged."""
    try:
        return Description.from_json(text)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(
            f"{path} has a damaged limbwise description: {shown(str(error), 200)}"
        ) from error


def choose_outputs(
    path: Path, names: list[str], counts: list[int], description: Description | None
) -> tuple[int, ...]:
    """Where the outputs of a description are, of several stages the last; of a foreign file
    heatmaps and part affinity fields. `counts` are sizes of the second dimension, 0 where it is
    not fixed.
    """
    known = description or ORIGINAL
    channels = {
        "heatmaps": len(known.skeleton.keypoints) + (description is None),
        "limbs": 2 * len(known.skeleton.limbs),
    }
    foreign = {"heatmaps": _HEATMAP_NAMES, "limbs": _LIMB_NAMES} if description is None else {}
    chosen = []
    for output in known.outputs:
        endings, expected = foreign.get(output, (output,)), channels.get(output)
        places = [
            place
            for place, (name, count) in enumerate(zip(names, counts, strict=True))
            if name.endswith(endings) and expected in (None, count)
        ]
        chosen += places[-1:]
    if len(chosen) == len(known.outputs):
        return tuple(chosen)
    found = ", ".join(
        f"{name or 'unnamed'} ({count})" for name, count in zip(names, counts, strict=True)
    )
    needed = {
        "heatmaps": f"heatmaps ({channels['heatmaps']})",
        "limbs": f"pafs or limbs ({channels['limbs']})",
        "boxes": "boxes",
    }
    raise BadInput(
        f"{path} is not a pose model that limbwise knows: its outputs (and channels) are {found}; "
        f"needed are {' and '.join(needed[output] for output in known.outputs)}"
    )
