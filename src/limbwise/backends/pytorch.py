"""PyTorch: checkpoints as they are, on a CPU or another device."""

from pathlib import Path

from ..errors import BadInput
from .base import Backend, Batch, Maps, is_checkpoint, need_torch, only_f32


def load(
    path: Path, threads: int | None = None, precision: str = "fast", device: str = "cpu"
) -> Backend:
    """Runs checkpoint files with PyTorch, in f32, on `device`."""
    only_f32("torch", precision)
    if not is_checkpoint(path) and path.suffix != ".onnx":
        raise BadInput(f"{path} is not a checkpoint: the torch runtime needs .safetensors or .pth")
    need_torch()
    import torch as th

    from ..networks.picture_model import for_backends

    try:
        th.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # of a build without CUDA
        raise BadInput(f"device {device} is not here: choose cpu") from error
    model, description = for_backends(path)
    model = model.to(device)
    if threads:
        th.set_num_threads(threads)

    def run(*inputs: Batch | Maps) -> tuple[Maps, ...]:
        with th.inference_mode():
            maps = model(*(th.from_numpy(each).to(device) for each in inputs))
        return tuple(each.cpu().numpy() for each in maps)

    return Backend(description, f"torch f32 {device}", run)
