"""The original's way to OpenVINO: its ONNX file to an IR that takes pixel values 0 to 255."""

from pathlib import Path

from ..atomic import failing_to_write, replacing
from ..errors import BadInput

OUTPUTS = ("stage_1_output_0_pafs", "stage_1_output_1_heatmaps")


def to_openvino(
    source: str | Path,
    out: str | Path,
    outputs: tuple[str, ...] = OUTPUTS,
    mean: float = 128.0,
    scale: float = 256.0,
) -> None:
    """Writes `out` (.xml) and its .bin in FP32: (data - mean) / scale inside, only `outputs` kept.

    BadInput if the file is missing, not ONNX, or lacks one of the outputs.
    """
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    source, out = Path(source), Path(out)
    if not source.is_file():
        raise BadInput(f"{source} does not exist: make it with scripts/convert_to_onnx.py")
    if out.suffix != ".xml":
        raise BadInput(f"{out} should end in .xml")
    try:
        model = ov.Core().read_model(source)
        kept = [model.output(name) for name in outputs]
    except RuntimeError as error:
        raise BadInput(f"{source} is not an ONNX file with outputs {', '.join(outputs)}") from error
    steps = PrePostProcessor(ov.Model(kept, model.get_parameters(), "human-pose-estimation"))
    steps.input().preprocess().mean(mean).scale(scale)
    built = steps.build()
    with failing_to_write(out), replacing(out) as path, replacing(out.with_suffix(".bin")):
        ov.save_model(built, path, compress_to_fp16=False)
