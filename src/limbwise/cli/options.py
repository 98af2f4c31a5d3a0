"""Options that several verbs have in common."""

import inspect
import math
from collections.abc import Callable
from dataclasses import Field, fields
from enum import StrEnum
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ..checks import LARGEST_INPUT, MANY_THREADS
from ..errors import BadInput
from ..models.catalogue import MODELS
from ..places import with_weights

Command = TypeVar("Command", bound=Callable[..., Any])
MANY = 10**9  # of whatever is only counted


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
    json = "json"
    openpose = "openpose"
    coco = "coco"
    csv = "csv"
    parquet = "parquet"
    label_studio = "label-studio"


class BatchFormat(StrEnum):
    parquet = "parquet"
    jsonl = "jsonl"


def place(text: str) -> Path:
    """Where to write; an empty name, as of a variable that was not set, is refused."""
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


MODEL_PANEL, OUTPUT_PANEL, FILM_PANEL = "Model", "Output", "Films and cameras"

ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help="accurate, fast, one-stage, or an .onnx, .xml (OpenVINO) or .pth file.",
        rich_help_panel=MODEL_PANEL,
    ),
]
PersonOption = Annotated[
    Path | None,
    typer.Option(
        "--person-model",
        help="The second stage: a model of crops of one person.",
        rich_help_panel=MODEL_PANEL,
    ),
]
RefineOption = Annotated[
    bool | None,
    typer.Option(
        "--refine/--no-refine",
        help="With a second stage; without: the model one-stage.",
        rich_help_panel=MODEL_PANEL,
    ),
]
RuntimeOption = Annotated[
    RuntimeName,
    typer.Option("--runtime", help="What runs the networks.", rich_help_panel=MODEL_PANEL),
]
SizeOption = Annotated[
    int | None,
    typer.Option(
        "--size",
        min=32,
        max=LARGEST_INPUT,
        help="Input height in pixels; more sees smaller.",
        rich_help_panel=MODEL_PANEL,
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision", help="fast is what this CPU does best.", rich_help_panel=MODEL_PANEL
    ),
]
FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="How --json is written; as its ending says, else jsonl.",
        rich_help_panel=OUTPUT_PANEL,
    ),
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
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=MANY_THREADS,
        help="All cores if absent.",
        rich_help_panel=MODEL_PANEL,
    ),
]


def person_choice(person_model: Path | None, refine: bool | None) -> Path | bool | None:
    """What the two options mean for `load`; BadInput if they contradict each other."""
    if person_model is not None and refine is False:
        raise BadInput("--person-model and --no-refine contradict each other: choose one")
    return refine if person_model is None else person_model


def check_order(annotations: Path, images: Path) -> None:
    """BadInput if the label file and the folder of pictures were swapped."""
    if (annotations.is_dir() or annotations.suffix.lower() == ".tar") and images.is_file():
        raise BadInput(
            f"{annotations} and {images} are swapped: the label file comes first, then the pictures"
        )


def model_files(*models: Path | None) -> list[Path]:
    """The files of the models that were named, and of those that limbwise brings."""
    return [file for model in models for file in with_weights(model)] + sorted(MODELS.iterdir())


def with_fields_of(
    kind: Any, types_of: Callable[..., tuple[Any, ...]]
) -> Callable[[Command], Command]:
    """A command's `**settings` become an option for each field of a dataclass that says what it is
    `about`: with its name, default, limits and help."""

    def decorate(command: Command) -> Command:
        its = inspect.signature(command)
        own = [each for each in its.parameters.values() if each.kind != Parameter.VAR_KEYWORD]
        made = [_option(each, types_of(each)) for each in fields(kind) if "about" in each.metadata]
        command.__signature__ = its.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
        command.__annotations__ = {each.name: each.annotation for each in [*own, *made]}
        return command

    return decorate


def _option(each: "Field[Any]", several: tuple[Any, ...]) -> Parameter:
    kind: Any = Path if Path in several else several[0]
    limits = {"min": each.metadata["min"], "max": each.metadata["max"]}
    option = typer.Option(
        f"--{each.name.replace('_', '-')}",
        help=each.metadata["about"],
        callback=finite if kind is float else None,
        **{} if limits["min"] is None else limits,
    )
    optional: Any = kind if each.default is not None else kind | None
    annotation: Any = Annotated[optional, option]
    return Parameter(each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=annotation)
