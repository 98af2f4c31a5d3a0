"""Options that several verbs have in common."""

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import BadInput
from ..models.catalogue import MODELS
from ..places import with_weights


class RuntimeName(StrEnum):
    openvino = "openvino"
    onnx = "onnx"
    torch = "torch"


class Precision(StrEnum):
    fast = "fast"
    int8 = "int8"
    bf16 = "bf16"
    f32 = "f32"


class Format(StrEnum):
    jsonl = "jsonl"
    openpose = "openpose"
    coco = "coco"
    csv = "csv"
    label_studio = "label-studio"


def place(text: str) -> Path:
    """Where to write; an empty name, as of a variable that was not set, is told."""
    if not text:
        raise typer.BadParameter("the name is empty: name a file or folder")
    return Path(text)


def not_empty(text: str | None) -> str | None:
    """As `place`, of what may also be "-" or end in a slash."""
    if text is not None:
        place(text)
    return text


PLACE: dict[str, Any] = {"parser": place, "metavar": "PATH"}


def finite(number: float | None) -> float | None:
    """Neither nan nor infinity, which every comparison lets pass."""
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a number that can be used")
    return number


ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model", help="accurate, fast, one-stage, or an .onnx, .xml (OpenVINO) or .pth file."
    ),
]
PersonOption = Annotated[
    Path | None,
    typer.Option("--person-model", help="The second stage: a model of crops of one person."),
]
RefineOption = Annotated[
    bool | None,
    typer.Option("--refine/--no-refine", help="With a second stage; without: the model one-stage."),
]
RuntimeOption = Annotated[RuntimeName, typer.Option("--runtime", help="Who computes.")]
SizeOption = Annotated[
    int | None,
    typer.Option("--size", min=32, max=4096, help="Input height in pixels; more sees smaller."),
]
PrecisionOption = Annotated[
    Precision, typer.Option("--precision", help="fast is what this CPU does best.")
]
FormatOption = Annotated[
    Format | None,
    typer.Option("--format", help="How --json is written; as its ending says, else jsonl."),
]
MinScoreOption = Annotated[
    float,
    typer.Option(
        "--min-score", min=0, max=1, callback=finite, help="Leave out people below it (0 to 1)."
    ),
]
CategoryOption = Annotated[
    str | None,
    typer.Option(
        "--category",
        metavar="NAME_OR_ID",
        help="What is labelled, of several categories; the one with keypoints, or person.",
    ),
]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, help="All cores if absent.")]


def person_wanted(person_model: Path | None, refine: bool | None) -> Path | bool | None:
    """What the two options mean for `load`; BadInput if they contradict each other."""
    if person_model is not None and refine is False:
        raise BadInput("--person-model and --no-refine contradict each other: choose one")
    return refine if person_model is None else person_model


def model_files(*models: Path | None) -> list[Path]:
    """The files of the models that were named, and of those that limbwise brings."""
    return [file for model in models for file in with_weights(model)] + sorted(MODELS.iterdir())
