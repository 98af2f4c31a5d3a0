"""Options that several verbs have in common."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .errors import BadInput


class RuntimeName(StrEnum):
    openvino = "openvino"
    onnx = "onnx"
    torch = "torch"


class Precision(StrEnum):
    fast = "fast"
    int8 = "int8"
    bf16 = "bf16"
    f32 = "f32"


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
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, help="All cores if absent.")]


def person_wanted(person_model: Path | None, refine: bool | None) -> Path | bool | None:
    """What the two options mean for `load`; BadInput if they contradict each other."""
    if person_model is not None and refine is False:
        raise BadInput("--person-model and --no-refine contradict each other: choose one")
    return refine if person_model is None else person_model
