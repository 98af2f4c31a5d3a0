"""Which precision a network is computed in: what is quickest here, measured once and remembered.

What a processor says that it can do is no guide: a Xeon with AVX-512 BF16 and without AMX takes 1.3
to 1.7 times as long in bf16 as in f32, another half the time (docs/log.md).
"""

import contextlib
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .. import cache
from ..atomic import write_json
from ..models.catalogue import SAMPLE
from ..network_output import NetworkOutput
from .base import Backend
from .openvino import capabilities, cpu
from .openvino import load as openvino

Way = tuple[Path, str]  # a model file, and the precision it is computed in

_ROUNDS = 6
_PATIENCE = 60.0  # seconds
_FAR = 0.5  # of the root mean square of the first way's answer: what differs by more is wrong
_GAIN = 0.95  # of the first way's time: what another must stay below to be chosen


def ways(plain: Path, quantised: Path | None = None) -> list[Way]:
    """How a network can be computed here, the most exact first."""
    capable = capabilities()
    found = [(plain, "f32")]
    if "BF16" in capable and plain.suffix != ".xml":
        found.append((plain, "bf16"))
    if quantised and quantised.is_file() and "INT8" in capable:
        found.append((quantised, "int8"))
    return found


def fastest(several: Sequence[Way], threads: int | None) -> Way:
    """The quickest of several ways on this machine; the first where nothing can be remembered."""
    kept = cache.folder()
    if len(several) == 1 or kept is None:
        return several[0]
    path, key = kept / "precision.json", _key(several, threads)
    known = _read(path)
    if known.get(key) not in {precision for _, precision in several}:
        taken = measured(several, threads)
        if not taken:
            return several[0]
        best = min(taken, key=lambda way: taken[way] * (_GAIN if way == several[0] else 1))
        known = {**_read(path), key: best[1]}
        with contextlib.suppress(OSError):
            write_json(path, known)
    return next(way for way in several if way[1] == known[key])


def measured(several: Sequence[Way], threads: int | None) -> dict[Way, float]:
    """The shortest time of each way, in milliseconds; {} if they cannot be measured.

    In a process of its own: one that had computed a network in several precisions died now and
    then when it was interrupted later (docs/log.md).
    """
    given = json.dumps([[[str(path), precision] for path, precision in several], threads])
    command = [sys.executable, "-m", "limbwise.backends.precision", given]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=True)
        taken = [float(each) for each in json.loads(done.stdout)]
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}
    return dict(zip(several, taken, strict=True))


def measured_here(several: Sequence[Way], threads: int | None) -> dict[Way, float]:
    """The same in this process, in turns; infinite for a way whose answer is not the first one's:
    without VNNI, sums of an int8 network may overflow (docs/log.md)."""
    backends = {way: openvino(*way, threads) for way in several}
    inputs = _inputs(next(iter(backends.values())))
    answers = {way: _answer(backend(*inputs)) for way, backend in backends.items()}
    right = [way for way in several if _alike(answers[way], answers[several[0]])]
    taken = dict.fromkeys(several, float("inf"))
    for _ in range(_ROUNDS):
        for way in right:
            began = time.perf_counter()
            backends[way].run(*inputs)
            taken[way] = min(taken[way], 1000 * (time.perf_counter() - began))
    return taken


def _answer(outputs: Sequence[NetworkOutput]) -> NDArray[np.float32]:
    """Heatmaps, or the scores of boxes, beside which the boxes' pixels would count for all."""
    return np.stack([o.heatmaps if o.boxes is None else o.boxes[:, 4] for o in outputs])


def _alike(maps: NDArray[np.float32], exact: NDArray[np.float32]) -> bool:
    """Whether what differs is small beside what there is, in the root of the mean square."""
    return float(np.linalg.norm(maps - exact)) <= _FAR * float(np.linalg.norm(exact))


def _inputs(runtime: Backend) -> tuple[NDArray[Any], ...]:
    """The sample, in two crops, or as a picture of 4 to 3."""
    its = runtime.description
    height, width = its.crop or (its.height, its.height * 4 // 3)
    if its.fit != "height":
        height, width = its.height * 3 // 4, its.height
    height, width = (-(-side // its.multiple) * its.multiple for side in (height, width))
    sample = cv2.imread(str(SAMPLE))
    assert sample is not None
    halves = np.array_split(sample, 2, axis=1) if its.crop else [sample]
    image = np.stack([cv2.resize(each, (width, height)) for each in halves])
    prior = np.zeros((len(image), len(its.skeleton.keypoints), 3), np.float32)
    return (image, prior) if its.crop and its.prior else (image,)


def _key(several: Sequence[Way], threads: int | None) -> str:
    """Of what decides: processor, OpenVINO, threads, and the models themselves."""
    import openvino as ov

    digest = hashlib.sha256(f"{cpu()} {ov.__version__} {threads}".encode())
    for path, precision in several:
        digest.update(precision.encode())
        digest.update(path.read_bytes())
        if path.suffix == ".xml":
            digest.update(str(path.with_suffix(".bin").stat().st_size).encode())
    return digest.hexdigest()[:32]


def _read(path: Path) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(path.read_text())
        if isinstance(known, dict):
            return known
    return {}


def main(text: str) -> None:
    """Prints the milliseconds of each way, for `measured`."""
    several, threads = json.loads(text)
    taken = measured_here([(Path(path), precision) for path, precision in several], threads)
    print(json.dumps(list(taken.values())))


if __name__ == "__main__":
    main(sys.argv[1])
