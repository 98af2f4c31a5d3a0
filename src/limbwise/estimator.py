"""The whole way of a picture: fit, run, decode, back to the picture's own pixels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import runtime as runtimes
from .decode import decode
from .errors import BadInput
from .fields import Fields
from .pose import Pose
from .runtime import Runtime
from .view import Image, View, fit

MODELS = Path(__file__).parent / "models"
BUNDLED = MODELS / "limbwise.onnx"
BUNDLED_INT8 = MODELS / "limbwise-int8.xml"
BUNDLED_CHECKPOINT = MODELS / "limbwise.safetensors"
SAMPLE = MODELS / "sample.jpg"  # two people side by side


class Estimator:
    """`estimate(image)` gives the poses in it, best first.

    `height` is the input height in pixels (the model's own if None): more finds smaller people and
    takes longer. `min_score` and `max_people` cut the list; `options` go to `decode`.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        height: int | None = None,
        min_score: float = 0.0,
        max_people: int | None = None,
        **options: Any,
    ) -> None:
        self.runtime = runtime
        self.height = height or runtime.description.height
        self.min_score, self.max_people, self.options = min_score, max_people, options
        if self.height < runtime.description.multiple:
            raise BadInput(f"an input height of {self.height} pixels is too small")

    def __call__(self, image: Image) -> list[Pose]:
        """(H, W, 3) uint8 BGR to poses in its pixels; ValueError for any other kind of array."""
        return self.many([image])[0]

    def many(self, images: Sequence[Image]) -> list[list[Pose]]:
        """The poses of each image; those that fit to one size share one pass of the network."""
        for image in images:
            _check(image)
        fitted = [fit(image, self.height, self.runtime.description.multiple) for image in images]
        inputs, views = [picture for picture, _ in fitted], [view for _, view in fitted]
        if len({picture.shape for picture in inputs}) == 1:
            fields = self.runtime(np.stack(inputs))
        else:
            fields = [self.runtime(picture[None])[0] for picture in inputs]
        return list(map(self.read, fields, views))

    def look(self, image: Image) -> tuple[Fields, View]:
        """The first half of the way: what the network says of an image, and where that is in it."""
        _check(image)
        picture, view = fit(image, self.height, self.runtime.description.multiple)
        return self.runtime(picture[None])[0], view

    def read(self, said: Fields, view: View) -> list[Pose]:
        """The second half: the poses in it, best first, in the image's pixels."""
        model = self.runtime.description
        people = decode(said, model.skeleton, **{**model.decoding, **self.options})
        return [pose.moved(view.back) for pose in self._best(people)]

    def _best(self, poses: list[Pose]) -> list[Pose]:
        return [pose for pose in poses if pose.score >= self.min_score][: self.max_people]


def _check(image: Image) -> None:
    fine = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    if not fine or image.shape[2] != 3 or image.size == 0:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image)
        raise ValueError(f"an image is a (height, width, 3) uint8 BGR array, not {what}")


def load(
    model: str | Path | None = None,
    *,
    runtime: str = "openvino",
    precision: str = "fast",
    threads: int | None = None,
    device: str = "cpu",
    **options: Any,
) -> Estimator:
    """An estimator from a model file: .onnx, OpenVINO's .xml, or a checkpoint (.safetensors, .pth).

    None takes the bundled model. `runtime` is openvino, onnx or torch; `precision` fast (what the
    CPU does best), int8, bf16 or f32; `threads` None takes all cores; `device` is PyTorch's.
    `options` are those of `Estimator`. BadInput, one line, if the file is missing or of another
    kind.
    """
    path = model_file(model, runtime, precision)
    match runtime:
        case "openvino":
            runs = runtimes.openvino(path, threads, precision)
        case "onnx":
            runs = runtimes.onnx(path, threads, precision)
        case "torch":
            runs = runtimes.torch(path, threads, precision, device)
        case _:
            raise BadInput(f"runtime {runtime} is unknown: choose openvino, onnx or torch")
    return Estimator(runs, **options)


def model_file(
    model: str | Path | None, runtime: str = "openvino", precision: str = "fast"
) -> Path:
    """The file that `load` would take; BadInput if it is missing or of another kind."""
    if model is None and not BUNDLED.is_file():
        raise BadInput("this version brings no model of its own yet: name a model file")
    path = Path(model or _bundled(runtime, precision))
    if not path.is_file():
        raise BadInput(f"the model file {path} does not exist")
    if path.suffix not in (".onnx", ".xml") and not runtimes.is_checkpoint(path):
        raise BadInput(
            f"{path} is not a model file: .onnx, .xml (OpenVINO), .safetensors or .pth is needed"
        )
    return path


def _bundled(runtime: str, precision: str) -> Path:
    """Which of the bundled model's files."""
    if runtime == "torch":
        return BUNDLED_CHECKPOINT
    if precision == "fast" and runtime == "openvino":
        precision = runtimes.best_precision(runtimes.capabilities(), BUNDLED_INT8.is_file())
    return BUNDLED_INT8 if precision == "int8" else BUNDLED
