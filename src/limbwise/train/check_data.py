"""What is in a data set and what is wrong with it, before hours are spent on training with it.

read -> counts and faults; a few pictures -> one HTML page: the labels, and what training makes of
them (augmented crops with their targets and masks). The page needs nothing but itself.
"""

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from ..atomic import check_writable, replacing
from ..data.annotations import LABELLED, UNCERTAIN, UNLABELLED, Fault, Labels
from ..data.coco import Files, Paths, read
from ..errors import BadInput
from ..geometry import Image
from ..skeleton import Skeleton
from .batches.batch import Batch, augmented
from .batches.pictures import Progress, load_pictures, unreadable
from .batches.samples import samples
from .colours import overlaid, warm, wheel

_EDGES = (0, 16, 32, 64, 128, 256, 512)  # pixels, of the long side of people
_STRIDE = 8
_SURE, _UNSURE, _REGION = (0, 220, 0), (0, 200, 255), (0, 0, 230)  # BGR


@dataclass(frozen=True)
class Report:
    """people have keypoints, regions are of people without; keypoints: name to how many are sure,
    unsure and absent; sizes: long side of people in pixels, "32-63", to how many."""

    pictures: int
    empty_pictures: int
    people: int
    regions: int
    keypoints: dict[str, dict[str, int]]
    sizes: dict[str, int]
    faults: tuple[Fault, ...]
    page: Path | None


def check_data(
    annotations: Files,
    images: Paths,
    page: str | Path | None = "check-data.html",
    *,
    skeleton: Skeleton | None = None,
    sigmas: str | Path | None = None,
    shown: int = 24,
    size: tuple[int, int] = (368, 368),
    seed: int = 0,
    progress: Progress = iter,
    category: str | int | None = None,
) -> Report:
    """Reads COCO keypoint files with all their pictures, as training does, and draws some of them.

    Args:
        annotations: as for `read`, as are `images`, `skeleton`, `sigmas` and `category`.
        images: folders or .tar files.
        page: where a page in HTML goes; None writes none.
        skeleton: of the labels.
        sigmas: a JSON file of OKS sigmas.
        shown: how many pictures the page shows.
        size: height and width in pixels of the crops on it.
        seed: of all that is drawn.
        progress: goes round the pictures, as a bar does.
        category: of the files.

    Raises:
        BadInput: as `read`, or the page cannot be written.
    """
    if page:
        check_writable(Path(page))
    labels = read(annotations, images, skeleton, sigmas=sigmas, category=category)
    faults = labels.faults + unreadable(labels, progress=progress)
    report = Report(
        len(labels),
        int((np.diff(labels.people_from) == 0).sum()),
        len(labels.keypoints),
        len(labels.regions),
        _keypoints(labels),
        _sizes(labels),
        faults,
        Path(page) if page else None,
    )
    if report.page:
        _write(report.page, _html(report, _figures(labels, shown, size, seed)))
    return report


def _keypoints(labels: Labels) -> dict[str, dict[str, int]]:
    names = {"sure": LABELLED, "unsure": UNCERTAIN, "absent": UNLABELLED}
    return {
        keypoint: {name: int((labels.state[:, k] == state).sum()) for name, state in names.items()}
        for k, keypoint in enumerate(labels.skeleton.keypoints)
    }


def _sizes(labels: Labels) -> dict[str, int]:
    sides = (labels.boxes[:, 2:] - labels.boxes[:, :2]).max(axis=1, initial=0)
    counts, _ = np.histogram(sides, [*_EDGES, np.inf])
    names = [f"{a}-{b - 1}" for a, b in pairwise(_EDGES)] + [f"{_EDGES[-1]}-"]
    return dict(zip(names, counts.tolist(), strict=True))


# The page.

_Figures = Iterable[tuple[str, list[Image]]]


def _figures(labels: Labels, shown: int, size: tuple[int, int], seed: int) -> _Figures:
    """For each chosen picture a title, the labels drawn, and an augmented crop three times: with
    its labels, its heatmaps and its part affinity fields."""
    order = np.random.default_rng(seed).permutation(len(labels))[:shown]
    chosen = labels.subset(np.sort(order))
    pictures = load_pictures(chosen)
    kept = samples(chosen, pictures)
    if not len(kept):
        return
    generator = torch.Generator().manual_seed(seed)
    batch = augmented(kept, torch.arange(len(kept)), size, generator)
    good = np.flatnonzero(pictures.sizes[:, 0, 0].numpy())
    for n, number in enumerate(good.tolist()):
        title = f"picture {chosen.ids[number]}: {chosen.files[number].name}"
        whole = _labelled(chosen, number, pictures.picture(number), pictures.scales[number].numpy())
        yield title, [whole, *_targets(batch, n, labels.skeleton)]


def _labelled(labels: Labels, n: int, image: Image, scale: NDArray[np.float32]) -> Image:
    """People with sure and unsure keypoints in different colours, regions as boxes."""
    image = image.copy()
    people, regions = labels.people(n), slice(*labels.regions_from[n : n + 2])
    for box in (labels.regions[regions] + 0.5) * np.tile(scale, 2) - 0.5:
        left, top, right, bottom = np.rint(box).astype(int).tolist()
        cv2.rectangle(image, (left, top), (right, bottom), _REGION, 1)
    xy = (labels.keypoints[people] + 0.5) * scale - 0.5
    return _with_people(image, xy, labels.state[people], labels.skeleton)


def _with_people(
    image: Image, xy: NDArray[np.floating], state: NDArray[np.integer], skeleton: Skeleton
) -> Image:
    """xy (P, K, 2) and state (P, K) drawn into the image."""
    for places, states in zip(np.rint(xy).astype(int).tolist(), state.tolist(), strict=True):
        for a, b in skeleton.pairs:
            if both := min(states[a], states[b]):
                colour = _SURE if both == LABELLED else _UNSURE
                cv2.line(image, places[a], places[b], colour, 1, cv2.LINE_AA)
        for place, its in zip(places, states, strict=True):
            if its:
                cv2.circle(image, place, 2, _SURE if its == LABELLED else _UNSURE, -1, cv2.LINE_AA)
    return image


def _targets(batch: Batch, n: int, skeleton: Skeleton) -> list[Image]:
    image = np.ascontiguousarray(batch.images[n].permute(1, 2, 0).numpy())
    weights = [batch.heatmap_weight[n].amin(dim=0), batch.limb_weight[n].amin(dim=0)]
    state = batch.visible[n].numpy().astype(int) * LABELLED
    people = _with_people(image.copy(), batch.keypoints[n].numpy(), state, skeleton)
    drawn = [warm(batch.heatmaps[n].amax(dim=0).numpy()), wheel(batch.limbs[n].numpy())]
    return [people] + [
        overlaid(image, colours, masked.numpy())
        for colours, masked in zip(drawn, weights, strict=True)
    ]


def _html(report: Report, figures: _Figures) -> str:
    counts = {
        "pictures": report.pictures,
        "of these without people": report.empty_pictures,
        "people": report.people,
        "regions of people without keypoints": report.regions,
        "faults": len(report.faults),
    }
    keypoints = [(name, *states.values()) for name, states in report.keypoints.items()]
    parts = [
        _table(("", "count"), counts.items()),
        _table(("keypoint", "sure", "unsure", "absent"), keypoints),
        _table(("long side of people, pixels", "count"), report.sizes.items()),
        "<h2>Faults</h2>" + _table(Fault._fields, report.faults),
        "<h2>Pictures</h2><p>From left to right: the labels (sure green, unsure yellow, regions "
        "red); a crop as training sees it, some of four pictures; its heatmaps; its part affinity "
        "fields, "
        "the hue is the direction. Nothing is learnt where it is hatched.</p>",
    ]
    for title, images in figures:
        parts.append(f"<h3>{html.escape(title)}</h3>" + "".join(map(_embedded, images)))
    return _PAGE + "\n".join(parts) + "\n"


_PAGE = """<!DOCTYPE html>
<meta charset="utf-8"><title>Data</title>
<style>
body { font: 15px sans-serif; margin: 2em }
td, th { padding: 0 1em 0 0; text-align: left; vertical-align: top }
img { height: 320px; margin-right: 6px }
</style>
<h1>Data</h1>
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def row(cells: Sequence[Any], tag: str) -> str:
        texts = ("" if cell is None else html.escape(str(cell)) for cell in cells)
        return "<tr>" + "".join(f"<{tag}>{text}</{tag}>" for text in texts) + "</tr>"

    return "<table>" + row(head, "th") + "\n".join(row(cells, "td") for cells in rows) + "</table>"


def _embedded(image: Image) -> str:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'


def _write(page: Path, text: str) -> None:
    try:
        with replacing(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{page} could not be written: {error.strerror or error}") from error
