"""A checkpoint to a file for phones: LiteRT (.tflite), NCNN (.param), Core ML (.mlpackage).

The converters are their makers' own: litert-torch, pnnx and coremltools, `limbwise[mobile]`. What
they say goes nowhere, but for the last line of a failure. What is written was run first and says
what PyTorch says; Core ML runs on Apple's systems only, and is checked by its own reader.
"""

import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..atomic import failing_to_write, replacing
from ..backends.base import Backend, Batch, Maps, has
from ..backends.mobile import MISSING, input_size, with_description
from ..backends.mobile import load as load_mobile
from ..description import KEY, Description
from ..errors import BadInput
from ..geometry import GREY
from ..networks import limbwise as limbwise_network
from ..networks import lite_hrnet
from ..networks.detector import DetectorNetwork
from ..networks.margin import Part, picture_part
from ..networks.picture_model import PictureModel, for_backends
from .onnx import TOLERANCE, difference

ENDINGS = (".tflite", ".param", ".mlpackage")


class _Pictures(nn.Module):
    """(1, H, W, 3) uint8 BGR to the outputs. `margin`: where a detector's picture ends, and grey
    begins, is found in it, and what it says is as if the input ended there."""

    def __init__(self, model: PictureModel, margin: bool) -> None:
        super().__init__()
        self.model, self.margin = model, margin

    def forward(self, image: Tensor) -> Tensor:
        part = _part(self.model.network, image.float().permute(0, 3, 1, 2)) if self.margin else ()
        said: Tensor = self.model(image, *part)[0]
        return said


class _Planes(nn.Module):
    """(1, 3, H, W) BGR, 0 to 255 in floats, to the outputs. Mean and scale are a convolution: what
    NCNN makes of a subtraction of constants is wrong."""

    def __init__(self, model: PictureModel, margin: bool) -> None:
        super().__init__()
        mean, scale = (torch.as_tensor(v).reshape(-1).expand(3) for v in (model.mean, model.scale))
        self.normalise = nn.Conv2d(3, 3, 1, groups=3)
        self.normalise.weight.data = scale.reshape(3, 1, 1, 1).clone()
        self.normalise.bias.data = -mean * scale  # type: ignore[union-attr]
        self.network, self.margin = model.network, margin

    def forward(self, image: Tensor) -> Tensor:
        part = _part(self.network, image) if self.margin else ()
        said: Tensor = self.network(self.normalise(image), *part)[0]
        return said


def _part(network: nn.Module, image: Tensor) -> tuple[Part, ...]:
    """Which part of a detector's input is picture; nothing for crops."""
    if not isinstance(network, DetectorNetwork):
        return ()
    return (picture_part(image - GREY[0], network.multiple),)


def export_mobile(
    checkpoint: Path, out: Path, size: int | tuple[int, int] | None = None, fp16: bool = False
) -> float | None:
    """Writes a detector or a second stage for phones.

    Args:
        checkpoint, out: what is read, and the file to write.
        size: of a detector's input: the side of a square (the model's own if None), or the height
            and width of a camera's pictures; made whole multiples of what the network wants.
        fp16: weights in half the space.

    Returns:
        The largest difference from PyTorch, None of Core ML.

    Raises:
        BadInput: and nothing is written, for other networks, a converter that is not there or
            cannot do it, and too large a difference.
    """
    model, its = for_backends(checkpoint)
    if its.prior or (its.fit != "side" and not its.crop):
        raise BadInput(
            f"{out} was not written: phones take inputs of one size, which detectors and second "
            f"stages for boxes have, not {its.name}"
        )
    if not its.crop:
        rows, columns = size if isinstance(size, tuple) else (size or its.height,) * 2
        shape = -(-rows // its.multiple) * its.multiple, -(-columns // its.multiple) * its.multiple
        # A picture of the camera's shape is made as large as was asked for, before it is padded.
        longer = max(rows, columns) if isinstance(size, tuple) else max(shape)
        its = replace(its, height=longer, shape=shape if isinstance(size, tuple) else None)
    return _WRITERS[out.suffix](checkpoint, model, its, out, fp16)


def _litert(
    checkpoint: Path, model: PictureModel, its: Description, out: Path, fp16: bool
) -> float:
    _need("litert_torch", "litert-torch")
    if fp16:
        raise BadInput("--fp16 is not for .tflite: its weights stay as they are")
    with _quiet(out), _enlarging_exactly(), tempfile.TemporaryDirectory() as folder:
        import litert_torch

        image = torch.zeros(1, *input_size(its), 3, dtype=torch.uint8)
        converted = litert_torch.convert(_Pictures(model, its.shape is None).eval(), (image,))
        converted.export(str(Path(folder) / "model.tflite"))
        data = with_description((Path(folder) / "model.tflite").read_bytes(), its)
    with failing_to_write(out), replacing(out) as path:
        path.write_bytes(data)
        with _quiet(out):  # LiteRT tells what it computes with
            return _checked(checkpoint, load_mobile(path), out)


@contextmanager
def _enlarging_exactly() -> Iterator[None]:
    """Maps enlarged by a factor that is no whole number, as 10 x 8 cells to 20 x 15, are wrong when
    litert-torch has converted them; each cell taken by its place is right."""
    kept: Callable[[Tensor, Tensor], Tensor] = limbwise_network.up

    def up(x: Tensor, like: Tensor) -> Tensor:
        sides = list(zip(x.shape[2:], like.shape[2:], strict=True))
        if not any(large % small for small, large in sides):
            return kept(x, like)
        rows, columns = (torch.arange(large) * small // large for small, large in sides)
        return x.index_select(2, rows).index_select(3, columns)

    setattr(lite_hrnet, "up", up)  # noqa: B010 - not as an attribute: mypy knows of no such export
    try:
        yield
    finally:
        setattr(lite_hrnet, "up", kept)  # noqa: B010


def _ncnn(checkpoint: Path, model: PictureModel, its: Description, out: Path, fp16: bool) -> float:
    _need("pnnx", "pnnx")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with _quiet(out):
            import pnnx

            image = torch.rand(1, 3, *input_size(its)) * 255
            pnnx.export(
                _Planes(model, its.shape is None).eval(), str(folder / "model.pt"), image, fp16=fp16
            )
            (folder / "model.ncnn.json").write_text(its.to_json())
        made = [folder / f"model.ncnn{ending}" for ending in (".param", ".bin", ".json")]
        if not all(path.is_file() for path in made):
            raise BadInput(f"{out} was not written: pnnx could not convert {checkpoint}")
        apart = _checked(checkpoint, load_mobile(made[0]), out, fp16)
        stack.enter_context(failing_to_write(out))
        places = [out.with_suffix(path.suffix) for path in made]
        for path, place in zip(made, [stack.enter_context(replacing(p)) for p in places]):  # noqa: B905
            shutil.copyfile(path, place)
    return apart


def _coreml(checkpoint: Path, model: PictureModel, its: Description, out: Path, fp16: bool) -> None:
    _need("coremltools", "coremltools")
    if out.exists():
        raise BadInput(f"{out} is there already: remove it, or give another name")
    if not out.absolute().parent.is_dir():
        raise BadInput(f"the folder {out.parent} does not exist: make it, or choose another")
    with ExitStack() as stack:
        stack.enter_context(failing_to_write(out))
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.stem}.")
        )
        made = Path(folder) / "model.mlpackage"
        with _quiet(out):
            import coremltools as ct

            shape = (1, 3, *input_size(its))
            planes = _Planes(model, its.shape is None).eval()
            graph = torch.jit.trace(planes, torch.zeros(shape))  # type: ignore[no-untyped-call]
            converted = ct.convert(
                graph,
                inputs=[ct.ImageType("image", shape, color_layout=ct.colorlayout.BGR)],
                outputs=[ct.TensorType(name) for name in its.outputs],
                convert_to="mlprogram",
                compute_precision=ct.precision.FLOAT16 if fp16 else ct.precision.FLOAT32,
            )
            converted.user_defined_metadata[KEY] = its.to_json()
            converted.save(str(made))
            said = ct.utils.load_spec(str(made)).description
            assert [each.name for each in said.output] == list(its.outputs)
            assert Description.from_json(said.metadata.userDefined[KEY]) == its
        made.replace(out)


_WRITERS: dict[str, Callable[[Path, PictureModel, Description, Path, bool], float | None]] = {
    ".tflite": _litert,
    ".param": _ncnn,
    ".mlpackage": _coreml,
}


def in_pytorch(checkpoint: Path, its: Description) -> Backend:
    """What a file for phones should say: the same graph, computed by PyTorch."""
    graph = _Pictures(for_backends(checkpoint)[0], its.shape is None).eval()

    def run(images: Batch) -> tuple[Maps, ...]:
        with torch.inference_mode():
            said = [graph(torch.from_numpy(image[None])).numpy() for image in images]
        return (np.concatenate(said),)

    return Backend(its, "pytorch f32", run)


def _checked(checkpoint: Path, made: Backend, out: Path, fp16: bool = False) -> float:
    its = made.description
    apart = difference(in_pytorch(checkpoint, its), [made], input_size(its))
    if not apart <= TOLERANCE[fp16]:
        raise BadInput(f"{out} was not written: it differs from PyTorch by {apart:.2g}")
    return apart


def _need(module: str, package: str) -> None:
    if not has(module):
        raise BadInput(MISSING.format(package))


@contextmanager
def _quiet(out: Path) -> Iterator[None]:
    """What is printed in here, by other languages and processes too, is kept back; what fails is a
    BadInput with its last line."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as log, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for number in (1, 2):
                os.dup2(log.fileno(), number)
            text = open(log.fileno(), "w", closefd=False)  # noqa: SIM115
            with redirect_stdout(text), redirect_stderr(text):  # where they are not 1 and 2
                yield
        except BadInput:
            raise
        except Exception as error:  # converters raise whatever their parts do
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise BadInput(f"{out} was not written: {lines[-1]}") from error
        finally:
            for number, old in zip((1, 2), kept, strict=True):
                os.dup2(old, number)
                os.close(old)
