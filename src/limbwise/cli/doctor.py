"""`limbwise doctor`: what a bug report needs, as one text to paste, with nothing personal in it.

Every check stands alone: one that fails says so in its line, and the others go on. Names of files
are cut to their last part, so that no home, user or project is shown.
"""

import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from ..errors import BadInput
from .environment import usable_cores
from .info import echo
from .terminal import failing_in_one_line

LIBRARIES = (
    "numpy", "opencv-python-headless", "opencv-python", "openvino", "onnxruntime", "torch", "av",
    "pillow", "typer", "rich", "pycocotools", "pygame", "starlette", "nncf", "supervision",
)  # fmt: skip
CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mjpeg", "prores")
# Folders may have spaces in their names: rather too much is cut than too little.
_PATH = re.compile(r"(?<![\w.])(?:[A-Za-z]:|~)?[\\/](?:[^:'\"()\\/\n]+[\\/])*([^\s:'\"()\\/]*)")


@failing_in_one_line()
def doctor(
    camera: Annotated[
        int | None, typer.Option("--camera", min=0, max=1000, help="Also take a picture with it.")
    ] = None,
) -> None:
    """Checks this machine and prints what a bug report needs; no paths, no names."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("limbwise", _versions),
        ("machine", _machine),
        ("memory", _memory),
        ("threads", _threads),
        ("libraries", _libraries),
        ("openvino", _capabilities),
        ("cache", _cache),
        *((f"model {name}", partial(_model, name)) for name in _models()),
        ("films read", _decoders),
        *((f"films {ending}", partial(_film, ending)) for ending in _endings()),
        ("cameras", _cameras),
    ]
    if camera is not None:
        checks.append((f"camera {camera}", partial(_take, camera)))
    failed = 0
    for name, check in checks:
        try:
            shown = check()
        except Exception as error:  # whatever it is, it belongs into the report
            failed += 1
            shown = f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        echo(f"{name:16} {without_paths(shown)}")
    echo(f"{'all':16} {f'{failed} checks failed' if failed else 'fine'}")
    if failed:
        raise typer.Exit(1)


def without_paths(text: str) -> str:
    """A text in which files are called by the last part of their names, and home is ~."""
    homes = {str(Path(place)) for place in (os.environ.get("HOME"), tempfile.gettempdir()) if place}
    for home in sorted(homes - {"/"}, key=len, reverse=True):
        text = text.replace(home, "~")
    return _PATH.sub(r"\1", text)


def _versions() -> str:
    return f"{__version__}, Python {platform.python_version()}, {platform.platform()}"


def _machine() -> str:
    from ..bench import machine

    return machine()


def _memory() -> str:
    facts = Path("/proc/meminfo")
    if not facts.is_file():
        return "unknown"
    memory = dict(re.findall(r"(\w+):\s+(\d+) kB", facts.read_text()))
    total, free = (int(memory.get(key, 0)) / 2**20 for key in ("MemTotal", "MemAvailable"))
    return f"{total:.1f} GiB, {free:.1f} free"


def _threads() -> str:
    import cv2

    shown = [
        f"{usable_cores()} of {os.cpu_count()} cores may be used",
        f"OpenCV takes {cv2.getNumThreads()}",
    ]
    shown += [f"{name}={os.environ[name][:20]}" for name in _SETTINGS if name in os.environ]
    return ", ".join(shown)


_SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _libraries() -> str:
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _capabilities() -> str:
    from ..backends.openvino import capabilities

    return ", ".join(capabilities())


def _cache() -> str:
    from ..cache import folder

    setting = os.environ.get("LIMBWISE_CACHE")
    if setting == "":
        return "switched off by LIMBWISE_CACHE"
    where = "where LIMBWISE_CACHE says" if setting else "in the usual place"
    kept = folder()
    if kept is None:
        return f"cannot be written {where}: every start compiles and measures anew"
    return f"{where}, {sum(1 for _ in kept.glob('*.blob'))} compiled models"


def _models() -> list[str]:
    from ..models.catalogue import CATALOGUE

    return list(CATALOGUE)


def _model(name: str) -> str:
    """Loads it, in the precision that is quickest here, and runs it on the sample."""
    from ..bench import interleaved
    from ..estimator import SAMPLE, load
    from ..sources.image import read_picture

    picture = read_picture(SAMPLE)
    estimate = load(name)
    taken = interleaved({"": lambda: estimate(picture)}, 5)[""]
    people = len(estimate(picture))
    if not people:
        raise BadInput("it finds nobody in the sample picture")
    return f"{estimate.label}: {taken.minimum:.1f} ms (median {taken.median:.1f}), {people} people"


def _decoders() -> str:
    import av

    def can(name: str) -> bool:
        try:
            av.codec.Codec(name, "r")
        except ValueError:
            return False
        return True

    return ", ".join(f"{name} {'yes' if can(name) else 'no'}" for name in CODECS)


def _endings() -> list[str]:
    from ..outputs.films import FILMS

    return list(FILMS)


def _film(ending: str) -> str:
    """Writes a film of three frames and reads it again."""
    import numpy as np

    from ..outputs.recorder import Recorder
    from ..sources.frames import frames

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"film{ending}"
        with Recorder(path) as recorder:
            for n in range(3):
                recorder.add(np.full((64, 96, 3), 80 * n, np.uint8), n / 10)
        count = sum(1 for _ in frames(path))
    if count != 3:
        raise BadInput(f"of 3 frames that were written {count} are read")
    return "written and read"


def _cameras() -> str:
    if sys.platform != "linux":
        return "--camera 0 tries the first"
    found = sorted(Path("/dev").glob("video*"))
    usable = [path for path in found if os.access(path, os.R_OK | os.W_OK)]
    hint = "; --camera 0 tries the first" if usable else ""
    return f"{len(found)} devices, {len(usable)} of them may be opened{hint}"


def _take(number: int) -> str:
    from contextlib import closing

    from ..sources.frames import frames

    with closing(frames(number)) as shots:  # type: ignore[type-var]
        height, width = next(shots).image.shape[:2]
    return f"gives {width} x {height} pixels"
