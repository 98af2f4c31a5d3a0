"""The original's way from maps to people, written anew from its published description, to measure.

Lightweight OpenPose upsamples all maps by cubic interpolation (by 8 and then to the size of the
picture for validation, by 4 in the demo), takes the maxima among four neighbours above 0.1, drops
those within 6 pixels of a higher one, scores every pair of every limb at 10 points, and grows
people limb by limb in the skeleton's order (arXiv 1811.12004; Cao et al. 2017, arXiv 1611.08050).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from limbwise.network_output import NetworkOutput
from limbwise.skeleton import BODY

Maps = NDArray[np.float32]
People = list[tuple[dict[int, int], float]]

# Limbs in the order in which people grow: from the neck outwards, ears to shoulders last.
ORDER = [6, 10, 7, 8, 11, 12, 0, 1, 2, 3, 4, 5, 14, 15, 17, 16, 18, 9, 13]


def upsampled(fields: NetworkOutput, ratio: int, size: tuple[int, int] | None) -> tuple[Maps, Maps]:
    """heatmaps (K, H, W) and limbs (L, 2, H, W), `ratio` times as large, then `size` (W, H)."""
    maps = np.concatenate([fields.heatmaps, fields.limbs.reshape(-1, *fields.limbs.shape[2:])])
    whole = cv2.resize(
        np.ascontiguousarray(maps.transpose(1, 2, 0)), None, fx=ratio, fy=ratio,
        interpolation=cv2.INTER_CUBIC,
    )  # fmt: skip
    if size:
        whole = cv2.resize(whole, size, interpolation=cv2.INTER_CUBIC)
    count = len(fields.heatmaps)
    return (
        np.ascontiguousarray(whole[..., :count].transpose(2, 0, 1)),
        np.ascontiguousarray(whole[..., count:].transpose(2, 0, 1)).reshape(
            -1, 2, *whole.shape[:2]
        ),
    )


def peaks(
    heatmap: Maps, threshold: float = 0.1, radius: float = 6.0
) -> list[tuple[int, int, float]]:
    """(x, y, height) of a map's maxima, the highest of those within `radius` pixels."""
    low = np.where(heatmap < threshold, 0, heatmap)
    centre = np.pad(low, 1)
    inner = centre[1:-1, 1:-1]
    higher = (
        (inner > centre[:-2, 1:-1]) & (inner > centre[2:, 1:-1])
        & (inner > centre[1:-1, :-2]) & (inner > centre[1:-1, 2:])
    )  # fmt: skip
    rows, columns = np.nonzero(higher)
    found = sorted(zip(columns.tolist(), rows.tolist(), strict=True))
    gone = [False] * len(found)
    kept = []
    for i, (x, y) in enumerate(found):
        if gone[i]:
            continue
        for j in range(i + 1, len(found)):
            if np.hypot(x - found[j][0], y - found[j][1]) < radius:
                gone[j] = True
        kept.append((x, y, float(heatmap[y, x])))
    return kept


def pairs(
    field: Maps, starts: list[tuple[int, int, float]], ends: list[tuple[int, int, float]],
    samples: int = 10, min_field: float = 0.05,
) -> list[tuple[float, int, int]]:  # fmt: skip
    """(score, start, end), one to one, the best first."""
    height = field.shape[1]
    candidates = []
    for i, (ax, ay, _) in enumerate(starts):
        for j, (bx, by, _) in enumerate(ends):
            way = np.array([bx - ax, by - ay], np.float64)
            length = np.hypot(*way)
            if length == 0:
                continue
            unit = way / length
            x = np.rint(np.linspace(ax, bx, samples)).astype(int)
            y = np.rint(np.linspace(ay, by, samples)).astype(int)
            along = unit[0] * field[0, y, x] + unit[1] * field[1, y, x]
            good = along[along > min_field]
            if len(good) / samples > 0.8:
                score = good.mean() + min(height / 2 / length - 1, 0)
                if score > 0:
                    candidates.append((float(score), i, j))
    chosen: list[tuple[float, int, int]] = []
    for score, i, j in sorted(candidates, reverse=True):
        if all(i != a and j != b for _, a, b in chosen):
            chosen.append((score, i, j))
    return chosen


def people(
    fields: NetworkOutput, ratio: int = 8, size: tuple[int, int] | None = None
) -> tuple[list[list[tuple[int, int, float]]], People]:
    """Peaks by kind, in upsampled pixels, and people as ({kind: peak}, score)."""
    heatmaps, limbs = upsampled(fields, ratio, size)
    found = [peaks(heatmap) for heatmap in heatmaps]
    grown: list[tuple[dict[int, int], float]] = []
    for limb in ORDER:
        a, b = BODY.pairs[limb]
        for score, i, j in pairs(limbs[limb], found[a], found[b]):
            height = found[b][j][2]
            for number, (members, total) in enumerate(grown):
                if members.get(a) == i and b not in members:
                    grown[number] = ({**members, b: j}, total + height + score)
                    break
                if members.get(b) == j and a not in members:
                    grown[number] = ({**members, a: i}, total + found[a][i][2] + score)
                    break
                if members.get(a) == i and members.get(b) == j:
                    grown[number] = (members, total + score)
                    break
            else:
                if limb not in (9, 13):  # ear to shoulder never begins a person
                    grown.append(({a: i, b: j}, found[a][i][2] + height + score))
    return found, [
        (members, total * max(len(members) - 1, 0))
        for members, total in grown
        if len(members) >= 3 and total / len(members) >= 0.2
    ]
