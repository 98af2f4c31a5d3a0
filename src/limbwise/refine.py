"""The second stage: an enlarged crop of each person, and a network that sees one person.

    boxes or poses -> a crop round each -> network -> heatmaps -> poses, each person once

The first stage (boxes.py, decode.py) finds everybody on a picture made smaller. The second costs a
little for each person, sees all the pixels there are, and says better where the keypoints are
(docs/log.md has the figures). Networks of two kinds do it: one reads a crop round a person's box;
the other is also given what the first stage found, the prior keypoints.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backends.base import Backend
from .crops import Floats, box_crops, box_of, crops
from .description import Description
from .errors import BadInput
from .geometry import Image, inverse_of
from .peaks import argmax
from .pose import BOX_AREA, Pose, converted, similarities
from .proportions import impossible
from .skeleton import BODY, COCO, Skeleton

SIGMA = 4.0  # of the Gaussians that a network learnt if it does not say, in pixels of a crop
MAX_PEOPLE = 30  # of a picture that the second stage refines
_SURE = 0.2  # confidence of a keypoint that counts in a person's score
_OUTSIDE = 0.35  # of the box's longer side: how far beyond it a keypoint may lie


def refine(
    image: Image,
    poses: Sequence[Pose],
    runtime: Backend,
    *,
    max_people: int = MAX_PEOPLE,
    min_confidence: float | None = None,
    nms_oks: float = 0.7,
    use_prior: bool = True,
) -> list[Pose]:
    """Poses of the first stage to the same people refined, best first.

    A network that takes prior keypoints puts each where it may expect most of OKS
    (`expected_oks`); scores stay, since the first stage's order people better than anything such a
    network adds (docs/log.md). For other networks the poses become boxes (`box_of`).

    Args:
        image: (H, W, 3) BGR.
        poses: in its pixels, best first.
        runtime: who computes the second stage.
        max_people: how many of the best are refined; the others stay as they are.
        min_confidence: of a keypoint that is found, 0.1 if absent; of a network with prior
            keypoints it is the OKS that the keypoint may expect, 0.3 if absent.
        nms_oks: of two poses more alike than this the better is kept.
        use_prior: without, a network that takes prior keypoints gets none: the poses say only where
            the people are.

    Raises:
        ValueError: the network takes no crops.
    """
    if runtime.description.crop is None:
        raise ValueError(f"{runtime.description.name} takes whole pictures")
    poses = [pose for pose in poses if pose.found.any()]
    poses, others = poses[:max_people], poses[max_people:]
    if not poses:
        return []
    if not runtime.description.prior:
        boxes = np.array([box_of(pose) for pose in poses], np.float32)
        low = 0.1 if min_confidence is None else min_confidence
        seen = poses_in_boxes(image, boxes, runtime, min_confidence=low)
        return distinct([*seen, *others], nms_oks)
    pictures, prior, views = crops(image, poses, runtime.description.crop)
    outputs = runtime(pictures, prior if use_prior else np.zeros_like(prior))
    heatmaps = np.stack([fields.heatmaps for fields in outputs])
    heights = heatmaps.max(axis=(2, 3))
    spread = np.sqrt([p.moved(v.forward).area for p, v in zip(poses, views, strict=True)])
    sigmas = 2 * spread[:, None] * np.asarray(runtime.description.skeleton.sigmas)
    drawn = (runtime.description.sigma or SIGMA) / outputs[0].stride
    cells, expected = argmax(expected_oks(heatmaps, sigmas / outputs[0].stride, drawn))
    seen = []
    for n, (pose, view) in enumerate(zip(poses, views, strict=True)):
        lost = expected[n] < (0.3 if min_confidence is None else min_confidence)
        confidence = np.where(lost, 0, heights[n].clip(0, 1)).astype(np.float32)
        xy = view.inverse(outputs[n].pixels(cells[n]))
        xy[confidence == 0] = np.nan
        seen.append(replace(pose, xy=xy, confidence=confidence))
    return distinct(seen + others, nms_oks)


def poses_in_boxes(
    image: Image,
    boxes: Floats,
    runtime: Backend,
    *,
    min_confidence: float = 0.1,
    nms_oks: float = 0.75,
    flip: bool = False,
) -> list[Pose]:
    """Boxes of people to their poses, best first, each person once.

    A keypoint is found at the highest place of its heatmap if that is high enough, in the image,
    not far outside the box, and no limb to it is impossibly long (proportions.py). A person's score
    is the square of the sure keypoints' mean confidence times the box's score.

    Args:
        image: (H, W, 3) BGR.
        boxes: (P, 5) left, top, right, bottom in its pixels, and a score.
        runtime: who computes the second stage, which takes no prior keypoints.
        min_confidence: height of a heatmap at a keypoint that is found.
        nms_oks: of two poses more alike than this the better is kept.
        flip: heatmaps are means with those of the mirrored crops.

    Raises:
        ValueError: the network takes no crops, or prior keypoints besides.
    """
    its = runtime.description
    if its.crop is None or its.prior:
        raise ValueError(f"{its.name} takes no boxes")
    boxes = boxes[np.isfinite(boxes).all(axis=1) & (boxes[:, :2] < boxes[:, 2:4]).all(axis=1)]
    if not len(boxes):
        return []
    pictures, views = box_crops(image, boxes, its.crop)
    outputs = runtime(pictures)
    heatmaps: Floats = np.stack([fields.heatmaps for fields in outputs])
    if flip:
        turned = runtime(np.ascontiguousarray(pictures[:, :, ::-1]))
        heatmaps = np.float32(0.5) * (heatmaps + mirrored_maps(turned, its.skeleton))
    cells, heights = argmax(heatmaps)
    xy = inverse_of(views, outputs[0].pixels(cells))
    confidence = heights.clip(0, 1)
    scores = _scores(confidence) * boxes[:, 4]
    lost = (confidence < min_confidence) | _outside(xy, boxes, image)
    xy[lost], confidence[lost] = np.nan, 0
    areas = BOX_AREA * (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    best = _distinct(xy, scores, areas, its.skeleton, nms_oks)
    return _possible(its.skeleton, xy[best], confidence[best], scores[best])


def _scores(confidence: Floats) -> Floats:
    """(P,): the square of the mean of a person's sure confidences (P, K)."""
    sure = confidence > _SURE
    scores: Floats = np.square((confidence * sure).sum(axis=1) / np.maximum(sure.sum(axis=1), 1))
    return scores


def _outside(xy: Floats, boxes: Floats, image: Image) -> NDArray[np.bool_]:
    """(P, K): which keypoints (P, K, 2) lie far outside their person's box or the image."""
    corner, far = boxes[:, None, :2], boxes[:, None, 2:4]
    reach = _OUTSIDE * (far - corner).max(axis=2, keepdims=True)
    edges = np.array(image.shape[1::-1], np.float32) - 0.5
    low, high = np.maximum(corner - reach, -0.5), np.minimum(far + reach, edges)
    outside: NDArray[np.bool_] = ((xy < low) | (xy > high)).any(axis=2)
    return outside


def _possible(skeleton: Skeleton, xy: Floats, confidence: Floats, scores: Floats) -> list[Pose]:
    """Poses without limbs that cannot be; COCO's keypoints with the neck, the middle of the
    shoulders, any others as they are."""
    if skeleton.keypoints == COCO.keypoints:
        xy, confidence = converted(xy, confidence, skeleton, BODY)
        skeleton = BODY
    lost = impossible(skeleton, xy, confidence)
    xy[lost], confidence[lost] = np.nan, 0
    people = zip(xy, confidence, scores.tolist(), strict=True)
    return [Pose(skeleton, *person) for person in people]


def mirrored_maps(outputs: Sequence[Any], skeleton: Skeleton) -> Floats:
    """What the heatmaps of mirrored crops say of the crops themselves, (N, K, h, w).

    Cell m of a mirrored map lies (stride - 1 - 2 first) / stride cells beside its mirror image,
    where `first` is the pixel of the first cell: none if cells lie in the middle of their pixels.
    """
    heatmaps = np.stack([fields.heatmaps for fields in outputs])
    turned: Floats = heatmaps[:, list(skeleton.mirror), :, ::-1]
    beside = round((outputs[0].stride - 1 - 2 * outputs[0].first) / outputs[0].stride)
    if beside:
        turned = np.concatenate([turned[..., :beside], turned[..., :-beside]], axis=3)
    return turned


def expected_oks(heatmaps: Floats, sigmas: NDArray[np.floating], drawn: float) -> Floats:
    """Heatmaps (N, K, h, w) to what OKS a keypoint put at each cell may expect.

    A network that learnt Gaussians of a sigma of `drawn` cells says how likely the keypoint is
    where, blurred by these; OKS is a Gaussian too, of `sigmas` (N, K) cells, and what it comes to
    at a place, on average over where the keypoint may be, is that blurred by the rest. So the
    highest place is not the likeliest but the one that is right or nearly right most often. Within
    two cells of the edge, which cuts the heatmap off, it lies up to 0.3 cells too far inside.
    """
    wide = np.maximum(sigmas, drawn)
    rest = np.sqrt(np.maximum(wide**2 - drawn**2, 1e-4))[..., None].astype(np.float32)
    across, down = (_blur(rest, count) for count in (heatmaps.shape[3], heatmaps.shape[2]))
    gain = np.square(wide / drawn)[..., None, None].astype(np.float32)
    blurred: Floats = down @ heatmaps @ across * gain
    return blurred


def _blur(sigma: Floats, count: int) -> Floats:
    """(N, K, count, count), symmetric: a row of `count` cells blurred by `sigma` (N, K, 1)."""
    away = np.arange(count, dtype=np.float32)
    height = np.exp(-np.square(away / sigma) / 2)
    height /= 2 * height.sum(axis=2, keepdims=True) - 1
    steps = np.abs(away[:, None] - away).astype(np.intp)
    blur: Floats = height[..., steps]
    return blur


def check_pair(first: Description, person: Description) -> None:
    """BadInput if a network for crops of one person does not fit to the one that finds people."""
    if not person.crop:
        raise BadInput(f"{person.name} takes whole pictures, not crops of one person")
    if person.prior and not first.skeleton.keypoints:
        raise BadInput(f"{person.name} needs prior keypoints, and {first.name} finds boxes only")
    known = _known(first.skeleton.keypoints)
    if known and known != _known(person.skeleton.keypoints):
        raise BadInput(f"{person.name} and {first.name} know other keypoints")


def _known(keypoints: tuple[str, ...]) -> tuple[str, ...]:
    """People are the same with a neck and without."""
    return BODY.keypoints if keypoints == COCO.keypoints else keypoints


def distinct(
    poses: Sequence[Pose], nms_oks: float, areas: Sequence[float] | Floats | None = None
) -> list[Pose]:
    """Best first, without those who are more than `nms_oks` like somebody better; `areas` of the
    people, in square pixels, are `Pose.area` if they are not given."""
    if not poses:
        return []
    sizes = np.array([pose.area for pose in poses] if areas is None else areas)
    scores = np.array([pose.score for pose in poses])
    xy = np.stack([pose.xy for pose in poses])
    return [poses[n] for n in _distinct(xy, scores, sizes, poses[0].skeleton, nms_oks)]


def _distinct(
    xy: Floats, scores: NDArray[np.floating], areas: NDArray[np.floating], skeleton: Skeleton,
    nms_oks: float,
) -> list[int]:  # fmt: skip
    """`distinct` for keypoints (P, K, 2): the places of those who stay, best first."""
    alike = similarities(xy, xy, areas, skeleton.sigmas)
    kept: list[int] = []
    order = np.argsort(-scores, kind="stable")
    for n in order[np.isfinite(xy[order, :, 0]).any(axis=1)].tolist():
        if alike[n, kept].max(initial=0) <= nms_oks:
            kept.append(n)
    return kept
