"""Files for phones, run here: LiteRT (.tflite) and NCNN (.param, with .bin and .json).

Such a file takes inputs of one size; smaller ones are padded right and below with grey, which no
coordinate notices. What it is travels as in other model files: in a LiteRT file as metadata called
`limbwise`, of NCNN in a .json beside it, since its graph is text that has no place for more.
"""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from ..description import KEY, Description, read_description
from ..errors import BadInput
from ..geometry import GREY
from .base import Backend, Batch, Maps

ENDINGS = (".tflite", ".param")
MISSING = "{} is missing: pip install 'limbwise[mobile]'"


def load(path: Path, threads: int | None = None) -> Backend:
    """Runs a file that `limbwise export` wrote for LiteRT or NCNN, in f32; BadInput for others."""
    return (litert if path.suffix == ".tflite" else ncnn)(path, threads)


def input_size(its: Description) -> tuple[int, int]:
    """Height and width of the inputs of a network for phones."""
    return its.crop or its.shape or (its.height, its.height)


def litert(path: Path, threads: int | None = None) -> Backend:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise BadInput(MISSING.format("LiteRT")) from error
    description = read_description(_metadata(path), path)
    try:
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:  # as of an operator that it lacks
        raise BadInput(f"{path} cannot be run by LiteRT: {str(error).splitlines()[0]}") from error
    source = interpreter.get_input_details()[0]["index"]
    outputs = [each["index"] for each in interpreter.get_output_details()]

    def infer(image: Batch) -> list[Maps]:
        interpreter.set_tensor(source, image[None])
        interpreter.invoke()
        return [interpreter.get_tensor(output) for output in outputs]

    return _runtime(path, description, "litert f32", infer)


def _metadata(path: Path) -> str:
    """The description in a LiteRT file."""
    from ai_edge_litert import schema_py_generated as schema

    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise BadInput(f"{path} is not a LiteRT model")
    try:
        model = schema.Model.GetRootAs(data, 0)
        entries = [model.Metadata(place) for place in range(model.MetadataLength())]
        said = {entry.Name(): entry.Buffer() for entry in entries}
        if KEY.encode() in said:
            buffer = model.Buffers(said[KEY.encode()])
            return bytes(buffer.DataAsNumpy()).decode()
    except Exception as error:  # of a damaged file any: offsets lead anywhere
        raise BadInput(f"{path} is a damaged LiteRT model") from error
    raise BadInput(f"{path} was not exported by limbwise: it does not say what it is")


def ncnn(path: Path, threads: int | None = None) -> Backend:
    try:
        import ncnn as library
    except ImportError as error:
        raise BadInput(MISSING.format("NCNN")) from error
    beside = path.with_suffix(".json")
    if not beside.is_file() or not path.with_suffix(".bin").is_file():
        raise BadInput(
            f"{path} was not exported by limbwise: its weights (.bin) and what it is (.json) "
            "should lie beside it"
        )
    description = read_description(beside.read_text(), path)
    net = library.Net()
    net.opt.num_threads = threads or library.get_cpu_count()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(path)) or net.load_model(str(path.with_suffix(".bin"))):
        raise BadInput(f"{path} cannot be run by NCNN: it is damaged, or has an unknown operator")

    def infer(image: Batch) -> list[Maps]:
        planes = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
        with net.create_extractor() as extractor:
            extractor.input("in0", library.Mat(planes).clone())
            names = [f"out{place}" for place in range(len(description.outputs))]
            return [np.array(extractor.extract(name)[1])[None] for name in names]

    return _runtime(path, description, "ncnn f32", infer)


def _runtime(
    path: Path, description: Description, label: str, infer: Callable[[Batch], list[Maps]]
) -> Backend:
    """A runtime of one that takes images (H, W, 3) of one size, one by one, from one thread."""
    size = input_size(description)
    lock = Lock()

    def run(images: Batch, *found: Maps) -> tuple[Maps, ...]:
        rows, columns = images.shape[1:3]
        if rows > size[0] or columns > size[1]:
            raise BadInput(
                f"{path} takes inputs of {size[1]}x{size[0]} pixels, not {columns}x{rows}"
            )
        with lock:
            said = [infer(image) for image in padded(images, size)]
        return tuple(np.concatenate(maps) for maps in zip(*said, strict=True))

    return Backend(description, label, run)


def padded(images: Batch, size: tuple[int, int]) -> Batch:
    """Images (N, H, W, 3) with grey right and below, up to `size` (height, width)."""
    whole: Batch = np.full((len(images), *size, 3), GREY[0], np.uint8)
    whole[:, : images.shape[1], : images.shape[2]] = images
    return whole


def with_description(data: bytes, description: Description) -> bytes:
    """A LiteRT file that says what it is."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model: Any = schema.ModelT.InitFromPackedBuf(data, 0)
    entry, buffer = schema.MetadataT(), schema.BufferT()
    entry.name, entry.buffer = KEY, len(model.buffers)
    buffer.data = np.frombuffer(description.to_json().encode(), np.uint8)
    model.buffers = [*model.buffers, buffer]
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(len(data) + 4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
