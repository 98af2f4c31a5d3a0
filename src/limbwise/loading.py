"""From the name of a model to its backends: which files, in which precision, computed by whom."""

from dataclasses import replace
from pathlib import Path

from .backends import mobile, onnxruntime, openvino, pytorch
from .backends.base import Backend, is_checkpoint
from .backends.precision import Way, fastest, ways
from .checks import MANY_THREADS, check_options
from .errors import BadInput
from .models.catalogue import CATALOGUE, DEFAULT, ONE_STAGE, Network, named, own_height


def load_pair(
    model: str | Path | None = None,
    *,
    person: str | Path | bool | None = None,
    runtime: str = "openvino",
    precision: str = "fast",
    threads: int | None = None,
    device: str = "cpu",
    pinning: bool = False,
) -> tuple[Backend, Backend | None]:
    """The backends of the first and of the second stage; arguments and errors as for `load`.

    `pinning` keeps OpenVINO's threads on their cores.
    """
    if runtime not in ("openvino", "onnx", "torch"):
        raise BadInput(f"runtime {runtime} is unknown: choose openvino, onnx or torch")
    if runtime != "torch" and device != "cpu":
        raise BadInput(f"device {device} is for the torch runtime: {runtime} computes on the CPU")
    check_options({"threads": (threads, 1, MANY_THREADS)})

    def started(stage: Network | Path) -> Backend:
        if isinstance(stage, Path) and stage.suffix in mobile.ENDINGS:
            return mobile.load(stage, threads)
        if runtime == "openvino":
            return openvino.load(*way(stage, precision, threads), threads, pinning)
        path = _file(stage, runtime)
        if runtime == "onnx":
            return onnxruntime.load(path, threads, precision)
        return pytorch.load(path, threads, precision, device)

    first, second = stages(model, person)
    bundled = named(model)
    if precision == "int8" and bundled and not bundled.in_int8 and person is None:
        raise BadInput(f"{bundled.name} is not there in int8: limbwise export --int8 makes it")
    finder = started(first)
    if height := own_height(model):
        finder = replace(finder, description=replace(finder.description, height=height))
    return finder, started(second) if second else None


def stages(
    model: str | Path | None, person: str | Path | bool | None = None
) -> tuple[Network | Path, Network | Path | None]:
    """What `load` would take for the first and the second stage: a bundled network or a file;
    BadInput if a file is missing or of another kind."""
    bundled = named(ONE_STAGE if model is None and person is False else model)
    first = bundled.first if bundled else checked(Path(model or ""))
    if bundled and bundled.second and person is False:
        raise BadInput(
            f"the model {bundled.name} needs its second stage: --model {ONE_STAGE} does without"
        )
    if person is None:
        return first, bundled.second if bundled else None
    if isinstance(person, bool):
        return first, CATALOGUE[DEFAULT].second if person else None
    return first, checked(Path(person))


def _file(stage: Network | Path, runtime: str) -> Path:
    if isinstance(stage, Path):
        return stage
    return checked(stage.checkpoint if runtime == "torch" else stage.plain)


def way(stage: Network | Path, precision: str, threads: int | None) -> Way:
    """The file and the precision that OpenVINO computes. Of a bundled pair int8 is what there is in
    int8: a network that would lose too much by it is computed in what is quickest."""
    if isinstance(stage, Path):
        if precision == "fast":
            return (
                (stage, "f32") if is_checkpoint(stage) else fastest(ways(checked(stage)), threads)
            )
        return checked(stage), precision
    if precision == "int8" and stage.quantised.is_file():
        return stage.quantised, precision
    if precision in ("fast", "int8"):
        quantised = stage.quantised if precision == "fast" else None
        return fastest(ways(checked(stage.plain), quantised), threads)
    return checked(stage.plain), precision


def checked(path: Path) -> Path:
    if not path.is_file():
        raise BadInput(f"the model file {path} does not exist; bundled are {', '.join(CATALOGUE)}")
    if path.suffix not in (".onnx", ".xml", *mobile.ENDINGS) and not is_checkpoint(path):
        raise BadInput(
            f"{path} is not a model file: .onnx, .xml (OpenVINO), .safetensors or .pth is needed, "
            "or .tflite or .param of ours"
        )
    return path
