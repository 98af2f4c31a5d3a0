"""The whole way of a picture: fit, run, decode, back to the picture's own pixels, look again."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .backends import onnxruntime, openvino, pytorch
from .backends.base import Runtime, is_checkpoint
from .backends.precision import Way, fastest, ways
from .boxes import Floats as Boxes
from .boxes import find_boxes, in_image
from .decode import DecodeOptions, decode
from .errors import BadInput, named_options
from .geometry import Image, View, fit
from .models.catalogue import CATALOGUE, DEFAULT, ONE_STAGE, SAMPLE, Network, named
from .network_output import Fields
from .pose import Pose
from .refine import MAX_PEOPLE, check_pair, poses_in_boxes, refine
from .tta import averaged

__all__ = ["MIN_BOX", "MIN_SCORE", "SAMPLE", "Estimator", "load", "load_pair", "stages"]

MIN_BOX = 0.3  # score of a box that is looked into
MIN_SCORE = 0.15  # of people who are shown: by Python, the commands, the server and its page


class Estimator:
    """`estimate(image)` gives the poses in it, best first.

    `height` is the input height in pixels, or the longer side's for a model that says so (the
    model's own if None): more finds smaller people and takes longer. With `person`, a second stage
    for crops of one person, everybody's pose is refined (refine.py). `min_score` and `max_people`
    cut the list; `decoding` are options of the decoder (the model's own if None), `min_box` is the
    score of a box that is looked into. With `flip` a network also sees the mirror image, of the
    crops where there are boxes; `scales` are heights, as parts of `height`, whose maps are averaged
    (networks of one stage). BadInput if the two networks do not fit together.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        person: Runtime | None = None,
        height: int | None = None,
        min_score: float = MIN_SCORE,
        max_people: int | None = None,
        min_box: float = MIN_BOX,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        decoding: DecodeOptions | None = None,
    ) -> None:
        self.runtime, self.person = runtime, person
        self.height = height or runtime.description.height
        self.min_score, self.max_people = min_score, max_people
        self.decoding = decoding or runtime.description.decode_options
        if self.height < runtime.description.multiple:
            raise BadInput(f"an input height of {self.height} pixels is too small")
        if runtime.description.crop:
            raise BadInput(f"{runtime.description.name} looks at one person, not at pictures")
        self.min_box, self.flip, self.scales = min_box, flip, tuple(scales)
        self.made_by: dict[str, Any] | None = None  # the arguments of `load`
        if person is None and not runtime.description.skeleton.keypoints:
            raise BadInput(
                f"{runtime.description.name} finds boxes of people, not keypoints: it needs a "
                "second stage"
            )
        if runtime.description.boxes and self.scales != (1.0,):
            raise BadInput(f"{runtime.description.name} finds boxes: it has no use for scales")
        if person is not None:
            check_pair(runtime.description, person.description)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by the arguments of `load`, so that other processes load it anew."""
        if self.made_by is None:
            raise TypeError("only an estimator that limbwise.load made can be pickled")
        return _load_again, (self.made_by,)

    def __call__(self, image: Image) -> list[Pose]:
        """(H, W, 3) uint8 BGR to poses in its pixels; ValueError for any other kind of array."""
        return self.many([image])[0]

    def many(self, images: Sequence[Image]) -> list[list[Pose]]:
        """The poses of each image; those that fit to one size share one pass of the network."""
        for image in images:
            _check(image)
        if self._augmented:
            return [self.read(*self.look(image), image) for image in images]
        fitted = [self.fit(image) for image in images]
        inputs, views = [picture for picture, _ in fitted], [view for _, view in fitted]
        if len({picture.shape for picture in inputs}) == 1:
            fields = self.runtime(np.stack(inputs))
        else:
            fields = [self.runtime(picture[None])[0] for picture in inputs]
        return list(map(self.read, fields, views, images))

    @property
    def _augmented(self) -> bool:
        """Whether the first stage sees an image more than once."""
        return not self.runtime.description.boxes and (self.flip or self.scales != (1.0,))

    def fit(self, image: Image) -> tuple[Image, View]:
        """The network's input for an image, and where that is in it."""
        its = self.runtime.description
        return fit(image, self.height, its.multiple, to=its.fit)

    def look(self, image: Image) -> tuple[Fields, View]:
        """The first half of the way: what the network says of an image, and where that is in it."""
        _check(image)
        if self._augmented:
            return averaged(self.runtime, image, self.height, self.flip, self.scales)
        picture, view = self.fit(image)
        return self.runtime(picture[None])[0], view

    def read(self, said: Fields, view: View, image: Image) -> list[Pose]:
        """The second half: the poses in it, best first, in the image's pixels."""
        model = self.runtime.description
        if said.boxes is not None and self.person is not None and not self.person.description.prior:
            boxes = self.boxes(said, view, image)
            found = poses_in_boxes(image, boxes[: self.max_people], self.person, flip=self.flip)
            return [pose for pose in found if pose.score >= self.min_score]
        people = decode(said, model.skeleton, self.decoding)
        found = [pose.moved(view.back) for pose in people if pose.score >= self.min_score]
        if self.person is not None:
            found = refine(image, found, self.person)
        return found[: self.max_people]

    def at(self, height: int) -> "Estimator":
        """The same networks at another input height."""
        other = copy.copy(self)
        other.height = height
        return other

    def boxes(self, said: Fields, view: View, image: Image) -> Boxes:
        """People's boxes (P, 5) in the image, within it, best first; of a model that finds some."""
        assert said.boxes is not None
        found = find_boxes(said.boxes, min_score=self.min_box, max_boxes=MAX_PEOPLE)
        return in_image(found, view, image)


def _check(image: Image) -> None:
    fine = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3
    if not fine or image.shape[2] != 3 or image.size == 0:
        what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image)
        raise ValueError(f"an image is a (height, width, 3) uint8 BGR array, not {what}")


@named_options
def load(
    model: str | Path | None = None,
    *,
    runtime: str = "openvino",
    precision: str = "fast",
    threads: int | None = None,
    device: str = "cpu",
    person: str | Path | bool | None = None,
    height: int | None = None,
    min_score: float = MIN_SCORE,
    max_people: int | None = None,
    min_box: float = MIN_BOX,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    decoding: DecodeOptions | None = None,
) -> Estimator:
    """An estimator from a bundled model or a file; what is not told here is as for `Estimator`.

    Args:
        model: the name of a bundled model (catalogue.py; None: "accurate"), or a file: .onnx,
            OpenVINO's .xml, or a checkpoint (.safetensors, .pth).
        runtime: "openvino", "onnx" or "torch".
        precision: "fast" (what is quickest here, measured once), "int8", "bf16" or "f32".
        threads: None takes all cores.
        device: PyTorch's.
        person: the second stage: a file, True the bundled one, False none, None the bundled one
            of a bundled pair. Without a second stage and a model, "one-stage" is taken.

    Raises:
        BadInput: one line, if a file is missing or of another kind.
        TypeError: for an option that there is not; it names the nearest.
    """
    how: dict[str, Any] = {
        "runtime": runtime, "precision": precision, "threads": threads, "device": device
    }  # fmt: skip
    options: dict[str, Any] = {
        "height": height, "min_score": min_score, "max_people": max_people, "min_box": min_box,
        "flip": flip, "scales": scales, "decoding": decoding,
    }  # fmt: skip
    first, second = load_pair(model, person=person, **how)
    estimate = Estimator(first, person=second, **options)
    estimate.made_by = {"model": model, "person": person, **how, **options}
    return estimate


def _load_again(arguments: dict[str, Any]) -> Estimator:
    return load(**arguments)


def load_pair(
    model: str | Path | None = None,
    *,
    person: str | Path | bool | None = None,
    runtime: str = "openvino",
    precision: str = "fast",
    threads: int | None = None,
    device: str = "cpu",
    pinning: bool = False,
) -> tuple[Runtime, Runtime | None]:
    """The runtimes of the first and of the second stage; arguments and errors as for `load`.

    `pinning` keeps OpenVINO's threads on their cores.
    """
    if runtime not in ("openvino", "onnx", "torch"):
        raise BadInput(f"runtime {runtime} is unknown: choose openvino, onnx or torch")

    def started(stage: Network | Path) -> Runtime:
        if runtime == "openvino":
            return openvino.load(*_way(stage, precision, threads), threads, pinning)
        path = _file(stage, runtime)
        if runtime == "onnx":
            return onnxruntime.load(path, threads, precision)
        return pytorch.load(path, threads, precision, device)

    first, second = stages(model, person)
    return started(first), started(second) if second else None


def stages(
    model: str | Path | None, person: str | Path | bool | None = None
) -> tuple[Network | Path, Network | Path | None]:
    """What `load` would take for the first and the second stage: a bundled network or a file;
    BadInput if a file is missing or of another kind."""
    bundled = named(ONE_STAGE if model is None and person is False else model)
    first = bundled.first if bundled else _checked(Path(model or ""))
    if bundled and bundled.second and person is False:
        raise BadInput(
            f"the model {bundled.name} needs its second stage: --model {ONE_STAGE} does without"
        )
    if person is None:
        return first, bundled.second if bundled else None
    if isinstance(person, bool):
        return first, CATALOGUE[DEFAULT].second if person else None
    return first, _checked(Path(person))


def _file(stage: Network | Path, runtime: str) -> Path:
    if isinstance(stage, Path):
        return stage
    return _checked(stage.checkpoint if runtime == "torch" else stage.plain)


def _way(stage: Network | Path, precision: str, threads: int | None) -> Way:
    """The file and the precision that OpenVINO computes."""
    plain, quantised = (stage, None) if isinstance(stage, Path) else (stage.plain, stage.quantised)
    if precision == "fast":
        if quantised is None and is_checkpoint(plain):
            return plain, "f32"
        return fastest(ways(_checked(plain), quantised), threads)
    if precision == "int8" and quantised is not None:
        return _checked(quantised), precision
    return _checked(plain), precision


def _checked(path: Path) -> Path:
    if not path.is_file():
        raise BadInput(f"the model file {path} does not exist; bundled are {', '.join(CATALOGUE)}")
    if path.suffix not in (".onnx", ".xml") and not is_checkpoint(path):
        raise BadInput(
            f"{path} is not a model file: .onnx, .xml (OpenVINO), .safetensors or .pth is needed"
        )
    return path
