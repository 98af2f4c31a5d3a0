"""A run in TensorBoard: its figures, and pictures with targets and predictions."""

import threading
from functools import cache
from pathlib import Path

import numpy as np
import torch

from ..atomic import failing_to_write
from ..geometry import Image
from ..networks.checkpoint import Checkpoint, normalised
from .batches.batch import Sampler
from .colours import overlaid, warm, wheel
from .loop import Report, Show

PICTURES = 4


def board(out: Path, after: int = 0) -> tuple[Report, Show]:
    """Functions that write a step's figures and the averaged network's pictures into `out`; what
    was written there of steps after `after`, where this run begins, is no longer shown."""
    from torch.utils.tensorboard import SummaryWriter

    @cache  # not before there is something to write
    def writer() -> SummaryWriter:
        _let_it_fail_quietly()
        return SummaryWriter(str(out), purge_step=after + 1 if after else 0)

    def report(step: int, figures: dict[str, float]) -> None:
        with failing_to_write(out):
            for name, value in figures.items():
                writer().add_scalar(name, value, step)
            writer().flush()

    def show(step: int, made: Checkpoint, sample: Sampler) -> None:
        pictures = target_and_prediction(made, sample)
        with failing_to_write(out):
            for n, picture in enumerate(pictures):
                rgb = np.ascontiguousarray(picture[..., ::-1])
                writer().add_image(f"target, prediction/{n}", rgb, step, dataformats="HWC")
            writer().flush()

    return report, show


def _let_it_fail_quietly() -> None:
    """TensorBoard's thread that writes raises its error again where something is written next:
    shown once, not with the thread's traceback besides."""
    before = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        if type(failed.thread).__name__ != "_AsyncWriterThread":
            before(failed)

    threading.excepthook = hook


@torch.no_grad()
def target_and_prediction(made: Checkpoint, sample: Sampler) -> list[Image]:
    """Of the first training crops: the crop, then heatmaps and part affinity fields, targets above
    predictions; none of a network that finds boxes only."""
    if not made.traits.keypoints:
        return []
    batch = sample(0, PICTURES, (0, 1))
    device = next(made.network.parameters()).device
    images, *prior = (each.to(device) for each in batch.inputs)
    outputs = made.network.eval()(normalised(images, made.traits), *prior)
    maps, fields = outputs[: -1 if made.traits.boxes else None][-2:]
    heat = maps[:, : batch.heatmaps.shape[1]].amax(dim=1).float().cpu().numpy()
    prediction = heat, fields.float().cpu().numpy().reshape(batch.limbs.shape)
    target = batch.heatmaps.amax(dim=1).cpu().numpy(), batch.limbs.cpu().numpy()
    drawn = []
    for n, image in enumerate(images.permute(0, 2, 3, 1).cpu().numpy()):
        rows = []
        for hottest, limbs in ((a[n], b[n]) for a, b in (target, prediction)):
            fields_too = [overlaid(image, wheel(limbs))] if len(limbs) else []
            rows.append(np.hstack([image, overlaid(image, warm(hottest)), *fields_too]))
        drawn.append(np.vstack(rows))
    return drawn
