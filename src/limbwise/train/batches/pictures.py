"""The pictures of a data set, decoded by threads, all in one tensor that a GPU can hold."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ...data.annotations import Fault, Ints, Labels, Piece
from ...errors import BadInput
from ...geometry import Image
from ...sources.image import read_picture

Progress = Callable[[Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True, eq=False)
class Pictures:
    """N decoded pictures, each at full, half, quarter size and so on (V levels), on one device.

    pixels (M, 3) uint8 BGR, row after row, picture after picture; starts (N, V), sizes (N, V, 2)
    height and width, 0 where the file could not be read (a fault); scales (N, 2): width and height
    of the first level over those of the labels.
    """

    pixels: Tensor
    starts: Tensor
    sizes: Tensor
    scales: Tensor
    faults: tuple[Fault, ...] = ()

    def __len__(self) -> int:
        return len(self.starts)

    def to(self, device: str | torch.device) -> "Pictures":
        """All of them on another device."""
        names = ("pixels", "starts", "sizes", "scales")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def subset(self, pictures: Tensor) -> "Pictures":
        """These pictures only; they share their pixels with all."""
        names = ("starts", "sizes", "scales")
        return replace(self, **{name: getattr(self, name)[pictures] for name in names})

    def picture(self, n: int, level: int = 0) -> Image:
        """(H, W, 3) BGR."""
        height, width = self.sizes[n, level].tolist()
        start = int(self.starts[n, level])
        image: Image = self.pixels[start : start + height * width].cpu().numpy()
        return image.reshape(height, width, 3)


def memory(labels: Labels, *, long_side: int = 640, levels: int = 3) -> int:
    """The bytes that `load_pictures` will need."""
    return int(_stored_sizes(labels.sizes, long_side, levels).prod(axis=2).sum()) * 3


def load_pictures(
    labels: Labels,
    *,
    long_side: int = 640,
    levels: int = 3,
    workers: int | None = None,
    progress: Progress = iter,
) -> Pictures:
    """All pictures of the labels, decoded by `workers` threads, none longer than `long_side`.

    A picture that cannot be read, or has another shape than its labels say, is left empty.
    """
    sizes = _stored_sizes(labels.sizes, long_side, levels)
    ends = sizes.prod(axis=2).reshape(-1).cumsum()
    starts = np.append(0, ends[:-1]).reshape(sizes.shape[:2])
    spare = int(sizes[:, :, 1].max(initial=0)) + 2  # so that every pixel has one below and beside
    pixels = np.empty((int(ends[-1]) + spare, 3), np.uint8)
    pixels[-spare:] = 0

    def load(n: int) -> Fault | None:
        try:
            image = _decoded(labels.files[n], tuple(labels.sizes[n].tolist()))
        except (BadInput, OSError) as error:
            sizes[n] = 0
            return Fault(labels.ids[n], None, str(error))
        for start, (height, width) in zip(starts[n], sizes[n], strict=True):
            image = _smaller(image, int(height), int(width))
            pixels[start : start + height * width] = image.reshape(-1, 3)
        return None

    scales = sizes[:, 0, ::-1] / labels.sizes[:, ::-1]
    with _threads(workers) as pool:
        loading = [pool.submit(load, n) for n in range(len(labels))]
        faults = tuple(fault for job in progress(loading) if (fault := job.result()))
    return Pictures(
        torch.from_numpy(pixels),
        torch.from_numpy(starts),
        torch.from_numpy(sizes),
        torch.from_numpy(scales.astype(np.float32)),
        faults,
    )


def unreadable(
    labels: Labels, *, workers: int | None = None, progress: Progress = iter
) -> tuple[Fault, ...]:
    """The pictures that `load_pictures` would leave empty, without keeping any."""

    def fault(n: int) -> Fault | None:
        try:
            _decoded(labels.files[n], tuple(labels.sizes[n].tolist()))
        except (BadInput, OSError) as error:
            return Fault(labels.ids[n], None, str(error))
        return None

    with _threads(workers) as pool:
        jobs = [pool.submit(fault, n) for n in range(len(labels))]
        return tuple(found for job in progress(jobs) if (found := job.result()))


@contextmanager
def _threads(count: int | None) -> Iterator[ThreadPoolExecutor]:
    """Threads that leave at once what they have not begun, if somebody interrupts."""
    pool = ThreadPoolExecutor(count or os.cpu_count())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _stored_sizes(sizes: Ints, long_side: int, levels: int) -> Ints:
    """(N, 2) to (N, V, 2)."""
    first = sizes * np.minimum(1, long_side / sizes.max(axis=1, keepdims=True))
    several = [np.rint(first / 2**level) for level in range(levels)]
    stored: Ints = np.maximum(np.stack(several, axis=1), 1).astype(np.int64)
    return stored


def _decoded(piece: Piece, size: tuple[int, int]) -> Image:
    """(H, W, 3) BGR, turned as the labels' (height, width) say; BadInput if it is no such picture.

    OpenCV first: twice as fast as Pillow, which then reads what OpenCV does not.
    """
    data = np.frombuffer(piece.read(), np.uint8)
    image = None
    if len(data):
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if image is not None and size[0] != size[1] and image.shape[:2] == size[::-1]:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        image = read_picture(data.tobytes(), piece.name)
    height, width = image.shape[:2]
    if abs(height * size[1] / (width * size[0]) - 1) > 0.02:
        raise BadInput(
            f"{piece.name} has {width} x {height} pixels, its labels say {size[1]} x {size[0]}"
        )
    return image.astype(np.uint8, copy=False)


def _smaller(image: Image, height: int, width: int) -> Image:
    if image.shape[:2] == (height, width):
        return image
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return resized.astype(np.uint8, copy=False)
