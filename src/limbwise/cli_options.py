"""Options that several verbs have in common."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
    Path | None, typer.Option("--model", help="An .onnx, .xml (OpenVINO) or .pth file.")
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
