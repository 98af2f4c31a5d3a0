"""The whole way of a picture: fit, run, decode, back to the picture's own pixels, look again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import runtime as runtimes
from .decode import decode
from .errors import BadInput
from .fields import Fields
from .pose import Pose
from .refine import check_pair, refine
from .runtime import Runtime
from .view import Image, View, fit

MODELS = Path(__file__).parent / "models"
BUNDLED = MODELS / "limbwise.onnx"
BUNDLED_INT8 = MODELS / "limbwise-int8.xml"
BUNDLED_CHECKPOINT = MODELS / "limbwise.safetensors"
BUNDLED_PERSON = MODELS / "limbwise-person.onnx"
BUNDLED_PERSON_INT8 = MODELS / "limbwise-person-int8.xml"
BUNDLED_PERSON_CHECKPOINT = MODELS / "limbwise-person.safetensors"
SAMPLE = MODELS / "sample.jpg"  # two people side by side
MIN_SCORE = 0.15  # of people who are shown: by the commands, the server and its page


class Estimator:
    """`estimate(image)` gives the poses in it, best first.

    `height` is the input height in pixels (the model's own if None): more finds smaller people and
    takes longer. With `person`, a network for crops of one person, everybody found is looked at
    again (refine.py). `min_score` and `max_people` cut the list; `options` go to `decode`.
    BadInput if the two networks know other keypoints.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        person: Runtime | None = None,
        height: int | None = None,
        min_score: float = 0.0,
        max_people: int | None = None,
        **options: Any,
    ) -> None:
        self.runtime, self.person = runtime, person
        self.height = height or runtime.description.height
        self.min_score, self.max_people, self.options = min_score, max_people, options
        if self.height < runtime.description.multiple:
            raise BadInput(f"an input height of {self.height} pixels is too small")
        if runtime.description.crop:
            raise BadInput(f"{runtime.description.name} looks at one person, not at pictures")
        if person is not None:
            check_pair(runtime.description, person.description)

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
        return list(map(self.read, fields, views, images))

    def look(self, image: Image) -> tuple[Fields, View]:
        """The first half of the way: what the network says of an image, and where that is in it."""
        _check(image)
        picture, view = fit(image, self.height, self.runtime.description.multiple)
        return self.runtime(picture[None])[0], view

    def read(self, said: Fields, view: View, image: Image) -> list[Pose]:
        """The second half: the poses in it, best first, in the image's pixels."""
        model = self.runtime.description
        people = decode(said, model.skeleton, **{**model.decoding, **self.options})
        found = [pose.moved(view.back) for pose in people if pose.score >= self.min_score]
        if self.person is not None:
            found = refine(image, found, self.person)
        return found[: self.max_people]


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
    person: str | Path | bool | None = None,
    **options: Any,
) -> Estimator:
    """An estimator from a model file: .onnx, OpenVINO's .xml, or a checkpoint (.safetensors, .pth).

    None takes the bundled model. `person` is the model of the second look at each person: a file,
    True the bundled one, False none, None the bundled one with the bundled model. `runtime` is
    openvino, onnx or torch; `precision` fast (what the CPU does best), int8, bf16 or f32; `threads`
    None takes all cores; `device` is PyTorch's. `options` are those of `Estimator`. BadInput, one
    line, if a file is missing or of another kind.
    """
    first, again = load_pair(
        model, person=person, runtime=runtime, precision=precision, threads=threads, device=device
    )
    return Estimator(first, person=again, **options)


def load_pair(
    model: str | Path | None = None,
    *,
    person: str | Path | bool | None = None,
    runtime: str = "openvino",
    precision: str = "fast",
    threads: int | None = None,
    device: str = "cpu",
) -> tuple[Runtime, Runtime | None]:
    """The runtimes of the first and of the second look; arguments and errors as for `load`."""

    def started(path: Path) -> Runtime:
        match runtime:
            case "openvino":
                return runtimes.openvino(path, threads, precision)
            case "onnx":
                return runtimes.onnx(path, threads, precision)
            case "torch":
                return runtimes.torch(path, threads, precision, device)
        raise BadInput(f"runtime {runtime} is unknown: choose openvino, onnx or torch")

    first = started(model_file(model, runtime, precision))
    again = person_file(person, model, runtime, precision)
    return first, started(again) if again else None


def model_file(
    model: str | Path | None, runtime: str = "openvino", precision: str = "fast"
) -> Path:
    """The file that `load` would take; BadInput if it is missing or of another kind."""
    if model is None and not BUNDLED.is_file():
        raise BadInput("this version brings no model of its own yet: name a model file")
    files = BUNDLED, BUNDLED_INT8, BUNDLED_CHECKPOINT
    return _checked(Path(model or _bundled(files, runtime, precision)))


def person_file(
    person: str | Path | bool | None,
    model: str | Path | None = None,
    runtime: str = "openvino",
    precision: str = "fast",
) -> Path | None:
    """The file of the second look that `load` would take, if any; BadInput as in `model_file`."""
    if person is None:
        person = model is None and BUNDLED_PERSON.is_file()
    if isinstance(person, bool):
        files = BUNDLED_PERSON, BUNDLED_PERSON_INT8, BUNDLED_PERSON_CHECKPOINT
        return _checked(_bundled(files, runtime, precision)) if person else None
    return _checked(Path(person))


def _checked(path: Path) -> Path:
    if not path.is_file():
        raise BadInput(f"the model file {path} does not exist")
    if path.suffix not in (".onnx", ".xml") and not runtimes.is_checkpoint(path):
        raise BadInput(
            f"{path} is not a model file: .onnx, .xml (OpenVINO), .safetensors or .pth is needed"
        )
    return path


def _bundled(files: tuple[Path, Path, Path], runtime: str, precision: str) -> Path:
    """Which of a bundled model's files: ONNX, int8 or the checkpoint."""
    plain, quantised, checkpoint = files
    if runtime == "torch":
        return checkpoint
    if precision == "fast" and runtime == "openvino":
        precision = runtimes.best_precision(runtimes.capabilities(), quantised.is_file())
    return quantised if precision == "int8" else plain
