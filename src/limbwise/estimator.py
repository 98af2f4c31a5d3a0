"""The whole way of a picture: letterbox, infer, decode, back to its own pixels, refine."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from .backends.base import Backend
from .boxes import Floats as Boxes
from .boxes import find_boxes, in_image
from .checks import (
    LARGEST_INPUT,
    LARGEST_SCALE,
    MANY_PEOPLE,
    MANY_SCALES,
    SMALLEST_SCALE,
    check_options,
)
from .decode import DecodeOptions, decode
from .errors import BadInput, named_options
from .geometry import Image, View, letterbox
from .loading import load_pair, stages
from .models.catalogue import SAMPLE
from .network_output import NetworkOutput
from .pose import Pose
from .poses import Poses, found_in
from .refine import MAX_PEOPLE, check_pair, poses_in_boxes, refine
from .sources.given import as_image, check_bgr
from .tta import averaged

Given = Any  # what `as_image` makes a picture of

__all__ = ["MIN_BOX", "MIN_SCORE", "SAMPLE", "Estimator", "load", "load_pair", "stages"]

MIN_BOX = 0.3  # score of a box that is refined
MIN_SCORE = 0.15  # of people who are shown: by Python, the commands, the server and its page


class Estimator:
    """`estimate(image)` gives the poses in it, best first.

    Args:
        runtime: the first stage, which sees whole pictures.
        person: the second stage, for crops of one person: everybody's pose is refined (refine.py).
        height: pixels of the input's height, or of its longer side for a model that says so (the
            model's own if None): more finds smaller people and takes longer.
        min_score: of the poses that are given.
        max_people: how many at most.
        min_box: score of a box that is refined.
        flip: a network also sees the mirror image, of the crops where there are boxes.
        scales: heights, as parts of `height`, whose maps are averaged (networks of one stage).
        decoding: options of the decoder (the model's own if None).

    Raises:
        BadInput: the two networks do not fit together, or the options to the first.
    """

    def __init__(
        self,
        runtime: Backend,
        *,
        person: Backend | None = None,
        height: int | None = None,
        min_score: float = MIN_SCORE,
        max_people: int | None = None,
        min_box: float = MIN_BOX,
        flip: bool = False,
        scales: Sequence[float] = (1.0,),
        decoding: DecodeOptions | None = None,
    ) -> None:
        scales = tuple(scales)
        check_options({
            "height": (height, 1, LARGEST_INPUT), "max_people": (max_people, 1, MANY_PEOPLE),
            "min_score": (min_score, 0.0, 1.0), "min_box": (min_box, 0.0, 1.0),
            "the number of scales": (len(scales), 1, MANY_SCALES),
            **{f"scale {n}": (s, SMALLEST_SCALE, LARGEST_SCALE) for n, s in enumerate(scales, 1)},
        })  # fmt: skip
        self.runtime, self.person = runtime, person
        self.height = height or runtime.description.height
        self.min_score, self.max_people = min_score, max_people
        self.decoding = decoding or runtime.description.decode_options
        if self.height < runtime.description.multiple:
            raise BadInput(f"an input height of {self.height} pixels is too small")
        if runtime.description.crop:
            raise BadInput(f"{runtime.description.name} takes crops of one person, not pictures")
        self.min_box, self.flip, self.scales = min_box, flip, scales
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

    @property
    def label(self) -> str:
        """Who computes the networks, and in which precision."""
        labels = [each.label for each in (self.runtime, self.person) if each]
        return " + ".join(dict.fromkeys(labels))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by the arguments of `load`, so that other processes load it anew."""
        if self.made_by is None:
            raise TypeError("only an estimator that limbwise.load made can be pickled")
        return _load_again, (self.made_by,)

    def __call__(self, image: Given, *, rgb: bool = False) -> Poses:
        """The people of a picture, best first, in its pixels.

        Args:
            image: a path, the bytes of a picture file, a PIL image, a uint8 array (H, W, 3) BGR,
                (H, W) grey or (H, W, 4) BGRA, or a tensor of PyTorch, also (3, H, W).
            rgb: whether an array or a tensor is in RGB; files and PIL images say so themselves.

        Returns:
            The people, which also know the picture's size and source.

        Raises:
            BadInput: a file that is missing or no picture.
            ValueError: an array of another kind; it says what to do.
        """
        return self.many([image], rgb=rgb)[0]

    def batch(
        self, images: Iterable[Given], *, rgb: bool = False, together: int = 1
    ) -> Iterator[Poses]:
        """The people of each of any number of pictures, one after another: a picture is taken when
        its people are asked for, and nothing is kept.

        Args:
            images: what `estimate(image)` takes, of any iterable.
            rgb: as for `estimate(image)`.
            together: how many pictures are taken at a time; of one size they share a pass of the
                network, which helps small networks on many cores.

        Returns:
            An iterator with one `Poses` for each image.

        Raises:
            ValueError: `images` is one picture, or `together` is below 1.
        """
        if isinstance(images, str | bytes | Path):
            raise ValueError("batch takes several pictures: estimate(image) takes one")
        if together < 1:
            raise ValueError(f"together is a number of pictures, not {together}")
        several = iter(images)
        return chain.from_iterable(
            self.many(some, rgb=rgb) for some in iter(lambda: list(islice(several, together)), [])
        )

    def many(self, images: Iterable[Given], *, rgb: bool = False) -> list[Poses]:
        """The people of each image; those that fit to one size share one pass of the network.

        Args:
            images: each what `estimate(image)` takes.
            rgb: as for `estimate(image)`.

        Returns:
            One `Poses` for each image, in their order.
        """
        images = list(images)
        pictures = [as_image(image, rgb) for image in images]
        found = self._poses(pictures)
        return [
            found_in(poses, picture, given, rgb)
            for poses, picture, given in zip(found, pictures, images, strict=True)
        ]

    def _poses(self, images: Sequence[Image]) -> list[list[Pose]]:
        if self._augmented:
            return [self.decode(*self.infer(image), image) for image in images]
        fitted = [self.letterbox(image) for image in images]
        inputs, views = [picture for picture, _ in fitted], [view for _, view in fitted]
        if len({picture.shape for picture in inputs}) == 1:
            fields = self.runtime(np.stack(inputs))
        else:
            fields = [self.runtime(picture[None])[0] for picture in inputs]
        return list(map(self.decode, fields, views, images))

    @property
    def _augmented(self) -> bool:
        """Whether the first stage sees an image more than once."""
        return not self.runtime.description.boxes and (self.flip or self.scales != (1.0,))

    def letterbox(self, image: Image) -> tuple[Image, View]:
        """The first stage's input for an image (H, W, 3), and the view: where it is in it."""
        its = self.runtime.description
        return letterbox(image, self.height, its.multiple, to=its.fit, within=its.shape)

    def infer(self, image: Image) -> tuple[NetworkOutput, View]:
        """The first half of the way: a network's output for an image.

        Args:
            image: (H, W, 3) uint8 BGR.

        Returns:
            The output, and the view: where the network's input is in the image.
        """
        check_bgr(image)
        if self._augmented:
            return averaged(self.runtime, image, self.height, self.flip, self.scales)
        picture, view = self.letterbox(image)
        return self.runtime(picture[None])[0], view

    def decode(self, output: NetworkOutput, view: View, image: Image) -> list[Pose]:
        """The second half: the poses in an output.

        Args:
            output: of `infer`.
            view: of `infer`.
            image: the same image.

        Returns:
            Poses in the image's pixels, best first.
        """
        model = self.runtime.description
        if (
            output.boxes is not None
            and self.person is not None
            and not self.person.description.prior
        ):
            boxes = self.boxes(output, view, image)
            found = poses_in_boxes(image, boxes[: self.max_people], self.person, flip=self.flip)
            return [pose for pose in found if pose.score >= self.min_score]
        people = decode(output, model.skeleton, self.decoding)
        found = [pose.moved(view.inverse) for pose in people if pose.score >= self.min_score]
        if self.person is not None:
            found = refine(image, found, self.person)
        return found[: self.max_people]

    def at(self, height: int) -> "Estimator":
        """The same networks at another input height."""
        other = copy.copy(self)
        other.height = height
        return other

    def boxes(self, output: NetworkOutput, view: View, image: Image) -> Boxes:
        """The boxes of people in an output of a model that finds boxes.

        Args:
            output: of `infer`.
            view: of `infer`.
            image: the same image.

        Returns:
            (P, 5) left, top, right, bottom in the image's pixels, within it, and score; best first.
        """
        assert output.boxes is not None
        found = find_boxes(output.boxes, min_score=self.min_box, max_boxes=MAX_PEOPLE)
        return in_image(found, view, image)


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
    """An estimator from a bundled model or a file; what is not named here is as for `Estimator`.

    Args:
        model: the name of a bundled model (catalogue.py; None: "accurate"), or a file: .onnx,
            OpenVINO's .xml, a checkpoint (.safetensors, .pth), or what was exported for LiteRT or
            NCNN (.tflite, .param), which `runtime` and `precision` do not concern.
        runtime: "openvino", "onnx" or "torch".
        precision: "fast" (what is quickest here, measured once), "int8", "bf16" or "f32".
        threads: None takes all cores.
        device: PyTorch's.
        person: the second stage: a file, True the bundled one, False none, None the bundled one
            of a bundled pair. Without a second stage and a model, "one-stage" is taken.
        height: as for `Estimator`, like all that follow.
        min_score: of the poses that are given.
        max_people: how many at most.
        min_box: score of a box that is refined.
        flip: the mirror image, too.
        scales: heights whose maps are averaged.
        decoding: options of the decoder.

    Returns:
        The estimator, which can be pickled.

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
