"""What a model is: told by its file, or known by its outputs."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .decode import decode
from .errors import BadInput
from .skeleton import BODY, Skeleton

KEY = "limbwise"  # of the description in a model file's metadata


@dataclass(frozen=True)
class Description:
    """What a model file says of itself.

    `stride` is in input pixels, `multiple` is what both sides of an input must be whole multiples
    of, `height` the input height it is meant for; `decoding` are the keywords of `decode` that suit
    it, where they differ from the usual. `crop` is the height and width of the crops of one person
    that it takes, with `prior` keypoints besides or without; None if it takes whole pictures.
    `offset` is the input pixel of a map's first cell; None: the middle of the pixels it covers.
    `sigma`, in input pixels, is that of the Gaussians it learnt; None: 4 in crops, 7 in pictures.
    """

    name: str
    skeleton: Skeleton
    stride: int = 8
    multiple: int = 8
    height: int = 368
    decoding: dict[str, Any] = field(default_factory=dict, hash=False)
    crop: tuple[int, int] | None = None
    prior: bool = False
    offset: float | None = None
    sigma: float | None = None

    def __post_init__(self) -> None:
        unknown = set(self.decoding) - set(decode.__kwdefaults__ or {})
        if unknown:
            raise ValueError(f"decode knows no {', '.join(sorted(unknown))}")

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"skeleton": self.skeleton.to_dict()})

    @classmethod
    def from_json(cls, text: str) -> "Description":
        """The inverse of `to_json`; KeyError, TypeError or ValueError if it is not one."""
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("it is no object")
        crop = tuple(data["crop"]) if data.get("crop") else None
        prior = data.get("prior", crop is not None)  # once every network of crops was told them
        return cls(
            **data
            | {"skeleton": Skeleton.from_dict(data["skeleton"]), "crop": crop, "prior": prior}
        )


ANCESTOR = Description("lightweight-openpose", BODY)

# How foreign models call their outputs.
_HEATMAP_NAMES: tuple[str, ...] = ("heatmaps", "_L2")
_LIMB_NAMES: tuple[str, ...] = ("pafs", "_L1")


def read_description(text: str, path: Path) -> Description:
    """What a file says of itself; BadInput if that is damaged."""
    try:
        return Description.from_json(text)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path} has a damaged limbwise description: {error}") from error


def choose_outputs(
    path: Path, names: list[str], counts: list[int], description: Description | None
) -> tuple[int, ...]:
    """Which outputs are heatmaps and limb fields, of several stages the last; heatmaps only of a
    network for crops of one person."""
    keypoints, pairs = len(BODY.keypoints) + 1, 2 * len(BODY.limbs)
    heatmap_names, limb_names = _HEATMAP_NAMES, _LIMB_NAMES
    if description is not None:
        keypoints = len(description.skeleton.keypoints)
        pairs = 2 * len(description.skeleton.limbs)
        heatmap_names, limb_names = ("heatmaps",), ("limbs",)
    outputs = list(enumerate(zip(names, counts, strict=True)))
    heatmaps = [i for i, (n, c) in outputs if c == keypoints and n.endswith(heatmap_names)]
    limbs = [i for i, (n, c) in outputs if c == pairs and n.endswith(limb_names)]
    if heatmaps and description is not None and description.crop:
        return (heatmaps[-1],)
    if heatmaps and limbs:
        return heatmaps[-1], limbs[-1]
    found = ", ".join(f"{name or 'unnamed'} ({count})" for _, (name, count) in outputs)
    raise BadInput(
        f"{path} is not a pose model that limbwise knows: its outputs (and channels) are {found}; "
        f"needed are heatmaps ({keypoints}) and pafs or limbs ({pairs})"
    )
