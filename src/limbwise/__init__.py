"""limbwise: the skeleton of every person in a picture, in real time, on a plain CPU.

estimate = limbwise.load()
people = estimate("photo.jpg")
people.save("drawn.png")

for people in limbwise.run("street.mp4"):
    picture = people.draw()
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from .errors import BadInput
from .estimator import Estimator, load
from .outputs.draw import draw
from .pose import Pose, oks
from .poses import Poses
from .skeleton import BODY, BODY_25, COCO, Skeleton
from .sources.image import read_picture
from .track import Tracker

if TYPE_CHECKING:
    from .follow import run
    from .outputs.recorder import Recorder
    from .sources.frames import Frame, frames

try:
    __version__ = version("limbwise")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

__all__ = [
    "BODY",
    "BODY_25",
    "COCO",
    "BadInput",
    "Estimator",
    "Frame",
    "Pose",
    "Poses",
    "Recorder",
    "Skeleton",
    "Tracker",
    "__version__",
    "draw",
    "frames",
    "load",
    "oks",
    "read_picture",
    "run",
]


def __getattr__(name: str) -> Any:
    """Video is loaded when it is asked for: training needs none of it, nor PyAV."""
    if name == "Recorder":
        from .outputs.recorder import Recorder

        return Recorder
    if name in ("Frame", "frames"):
        from .sources import frames as video

        return getattr(video, name)
    if name == "run":
        from .follow import run

        return run
    raise AttributeError(f"module 'limbwise' has no attribute {name!r}")
