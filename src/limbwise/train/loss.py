"""How wrong: squared differences of maps where somebody labelled, all stages alike, and boxes
(boxes.py)."""

import torch
from torch import Tensor

from .batches.batch import Batch
from .boxes import box_loss


def loss(outputs: list[Tensor], batch: Batch) -> dict[str, Tensor]:
    """`total` and its parts, for the log: of outputs (`map_loss`), and of the maps of boxes at the
    end of them (`box_loss`)."""
    if batch.boxes is None:
        return map_loss(outputs, batch)
    count = len(batch.boxes.strides)
    of_boxes = box_loss(outputs[-count:], batch.boxes)
    if len(outputs) == count:
        return {"total": of_boxes["boxes"], **of_boxes}
    of_maps = map_loss(outputs[:-count], batch)
    return {**of_maps, **of_boxes, "total": of_maps["total"] + of_boxes["boxes"]}


def map_loss(
    outputs: list[Tensor], batch: Batch, emphasis: float = 4.0, keypoints: float = 5.0
) -> dict[str, Tensor]:
    """Mean squared differences of maps, all stages alike.

    In `total` heatmaps count `keypoints` times: they are what people are lost by (docs/log.md).
    With a teacher half of that is the difference from the teacher's maps (where these are nan
    the label counts half, and nothing beside it).

    Args:
        outputs: heatmaps (N, K or K + 1, h, w) and part affinity fields (N, 2 L, h, w) per stage; a
            channel more than K is background, 1 where no keypoint is.
        batch: with the targets.
        emphasis: cells count 1 + this as much where something is drawn, since most of a map is
            empty.
        keypoints: what heatmaps count beside part affinity fields.

    Returns:
        `total`, and `heatmaps` and `limbs` of the last stage, per cent.
    """
    heatmaps, weight = batch.heatmaps, batch.heatmap_weight
    if outputs[0].shape[1] == heatmaps.shape[1] + 1:
        background = 1 - heatmaps.amax(dim=1, keepdim=True)
        heatmaps = torch.cat([heatmaps, background], dim=1)
        weight = torch.cat([weight, weight.amin(dim=1, keepdim=True)], dim=1)
    limbs = batch.limbs.flatten(1, 2)
    limb_weight = batch.limb_weight.repeat_interleave(2, dim=1)
    drawn = batch.limbs.abs().amax(dim=2).repeat_interleave(2, dim=1)
    heatmap_weight = weight * (1 + emphasis * heatmaps.clamp(0, 1))
    limb_weight = limb_weight * (1 + emphasis * drawn)
    each = [
        (_mean(maps, heatmaps, heatmap_weight), _mean(fields, limbs, limb_weight))
        for maps, fields in zip(outputs[::2], outputs[1::2], strict=True)
    ]
    total = torch.stack([keypoints * a + b for a, b in each]).mean()
    figures = {"total": total, "heatmaps": each[-1][0], "limbs": each[-1][1]}
    if batch.teacher_maps is None:
        return figures
    teacher_maps, count = batch.teacher_maps.nan_to_num(), batch.teacher_maps.shape[1]
    weight = (1 + emphasis * teacher_maps.clamp(0, 1)) * ~batch.teacher_maps.isnan()
    from_teacher = [_mean(maps[:, :count], teacher_maps, weight) for maps in outputs[::2]]
    # 5 a + b becomes 5 (a + t) / 2 + b of heatmaps a, limbs b and the teacher's t: half a leaves.
    labelled = torch.stack([a for a, _ in each]).mean()
    total = total + keypoints / 2 * (torch.stack(from_teacher).mean() - labelled)
    return {**figures, "total": total, "teacher_maps": from_teacher[-1]}


def _mean(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    square = (prediction.float() - target) ** 2 * weight
    return square.sum() / max(square.numel(), 1) * 100  # per cent: figures one can read
