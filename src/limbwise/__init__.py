"""limbwise: the skeleton of every person in a picture, in real time, on a plain CPU.

estimate = limbwise.load("model.onnx")
for frame in limbwise.frames("street.mp4"):
    picture = limbwise.draw(frame.image, estimate(frame.image))
"""

from importlib.metadata import version

from .draw import draw
from .errors import BadInput
from .estimator import Estimator, load
from .pose import Pose, oks
from .recorder import Recorder
from .skeleton import BODY, BODY_25, COCO, Skeleton
from .video import Frame, frames, read_picture

__version__ = version("limbwise")

__all__ = [
    "BODY",
    "BODY_25",
    "COCO",
    "BadInput",
    "Estimator",
    "Frame",
    "Pose",
    "Recorder",
    "Skeleton",
    "__version__",
    "draw",
    "frames",
    "load",
    "oks",
    "read_picture",
]
