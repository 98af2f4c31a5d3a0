"""A second look at each person: an enlarged crop, and a network that sees one person.

    poses -> a crop round each -> network, told what was found -> heatmaps -> poses, each once

The first look (decode.py) finds everybody at a cost that does not grow with their number, but on
cells of 8 pixels of a picture made smaller. The second costs a little for each person, sees all the
pixels there are, and says better where the keypoints are (docs/log.md has the figures).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .decode import tops
from .description import Description
from .errors import BadInput
from .pose import Pose, oks
from .runtime import Runtime
from .view import Image, View, cut

Floats = NDArray[np.float32]

LEAST = 0.05  # pixels of the picture per pixel of a crop: what is smaller is not enlarged further
BOX_MARGIN = 1.25  # times a person's box is a crop, as in the published second stages
SIGMA = 4.0  # of the Gaussians that a network of the second look learns, in pixels of a crop
_AREA = 0.6  # of the box of its keypoints, what OKS takes a person's area to be


def refine(
    image: Image,
    poses: Sequence[Pose],
    runtime: Runtime,
    *,
    most: int = 30,
    least: float = 0.3,
    same: float = 0.7,
    tell: bool = True,
) -> list[Pose]:
    """Poses in an image (H, W, 3) to the same people seen again, in its pixels, best first.

    The `most` best are looked at, the others stay as they are. A keypoint is put where it may
    expect most of OKS, and not found if that is less than `least`; its confidence is the heatmap's
    height. Of two poses more alike than `same` (OKS) the better is kept. Scores stay: the first
    look's order people better than anything the second adds (docs/log.md). Without `tell` the
    network learns from the poses only where the people are. ValueError if it takes no crops.
    """
    if runtime.description.crop is None:
        raise ValueError(f"{runtime.description.name} looks at whole pictures")
    poses = [pose for pose in poses if pose.found.any()]
    poses, others = poses[:most], poses[most:]
    if not poses:
        return []
    pictures, told, views = crops(image, poses, runtime.description.crop)
    said = runtime(pictures, told if tell else np.zeros_like(told))
    heatmaps = np.stack([fields.heatmaps for fields in said])
    heights = heatmaps.max(axis=(2, 3))
    spread = np.array([_spread(p.moved(v.there)) for p, v in zip(poses, views, strict=True)])
    sigmas = 2 * spread[:, None] * np.asarray(runtime.description.skeleton.sigmas)
    cells, hopes = tops(expected_oks(heatmaps, sigmas / said[0].stride, SIGMA / said[0].stride))
    seen = []
    for n, (pose, view) in enumerate(zip(poses, views, strict=True)):
        confidence = np.where(hopes[n] < least, 0, heights[n].clip(0, 1)).astype(np.float32)
        xy = view.back(said[n].pixels(cells[n]))
        xy[confidence == 0] = np.nan
        seen.append(replace(pose, xy=xy, confidence=confidence))
    return distinct(seen + others, same)


def crops(
    image: Image, poses: Sequence[Pose], size: tuple[int, int]
) -> tuple[Image, Floats, list[View]]:
    """A network's inputs for poses of an image: crops (N, height, width, 3) of `size` round them,
    what was found (N, K, 3), and where each crop is in the image."""
    views = [crop_view(pose, size) for pose in poses]
    pictures = np.stack([cut(image, view, size) for view in views])
    told = np.stack([_told(*both) for both in zip(poses, views, strict=True)])
    return pictures, told, views


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


def _spread(pose: Pose) -> float:
    """The root of a person's area, in pixels."""
    left, top, right, bottom = pose.box
    return float(np.sqrt(_AREA * (right - left) * (bottom - top)))


def check_pair(first: Description, person: Description) -> None:
    """BadInput if a network for crops of one person does not fit to the one that finds people."""
    if not person.crop:
        raise BadInput(f"{person.name} looks at whole pictures, not at crops of one person")
    if person.skeleton.keypoints != first.skeleton.keypoints:
        raise BadInput(f"{person.name} and {first.name} know other keypoints")


def box_share(found: Any) -> Any:
    """The share of a crop's side that the box of a person's keypoints takes, of which the share
    `found` (0..1, a number or an array) was found: the fewer, the more is outside that box."""
    return 1 / (1.25 + 0.7 * (1 - found))


def crop_view(pose: Pose, size: tuple[int, int]) -> View:
    """From the image to the crop of `size` (height, width) round a pose."""
    left, top, right, bottom = pose.box
    height, width = size
    extent = max((right - left) / width, (bottom - top) / height, LEAST)
    scale = box_share(float(pose.found.mean())) / extent
    middle = np.array([left + right, top + bottom]) / 2
    corner = np.array([width - 1, height - 1]) / 2 - scale * middle
    return View(np.array([[scale, 0, corner[0]], [0, scale, corner[1]]]))


def _told(pose: Pose, view: View) -> Floats:
    """(K, 3): what was found, in pixels of the crop, and 1; three times 0 where nothing was."""
    found = np.column_stack([view.there(pose.xy), pose.found])
    return np.where(pose.found[:, None], found, 0).astype(np.float32)


def distinct(poses: Sequence[Pose], same: float) -> list[Pose]:
    """Best first, without those who are more than `same` (OKS) like somebody better."""
    kept: list[Pose] = []
    for pose in sorted(poses, key=lambda pose: -pose.score):
        if pose.found.any() and oks(pose, kept, _spread(pose) ** 2).max(initial=0) <= same:
            kept.append(pose)
    return kept
