"""What `limbwise run` gives each frame to: a file of keypoints, drawn pictures, a window.

A frame goes to all of them or to none, also when Ctrl-C comes in the middle: the lines of the JSON
are the frames of the film.
"""

import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from ..errors import BadInput
from ..interrupts import held
from ..pose import Pose
from ..sources.frames import Frame
from .draw import draw
from .recorder import Recorder
from .records import Result
from .results import FORMATS, open_writer
from .window import Window

STUCK = 2.0  # seconds that a frame may take to be written after Ctrl-C: a pipe may be full
ENDING = 60.0  # and the end of a film, whose index goes in front of all of it

# What a file's ending says of the format; a .json file may hold several.
ENDINGS = {
    ".csv": ("csv",),
    ".jsonl": ("jsonl",),
    ".ndjson": ("jsonl",),
    ".json": ("json", "jsonl", "coco", "label-studio"),
    ".parquet": ("parquet",),
}
_PREFIX = re.compile(rf"({'|'.join(FORMATS)}):(.+)", re.DOTALL)


def named_format(place: str, chosen: str | None) -> tuple[str, str | None]:
    """The place and the format of "coco:out.json" or "openpose:folder/"; a place without a format
    in front is as it is. BadInput if another format is `chosen`."""
    match = _PREFIX.fullmatch(place)
    if not match:
        return place, chosen
    if chosen not in (None, match[1]):
        raise BadInput(f"{place} and the format {chosen} contradict each other")
    return match[2], match[1]


def chosen_format(path: str, chosen: str | None) -> str:
    """The format that was asked for, else the one that the name suggests, else jsonl; BadInput if
    the two contradict each other."""
    folder = path.endswith(("/", os.sep)) or Path(path).is_dir()
    possible = ("openpose",) if folder else ENDINGS.get(Path(path).suffix.lower())
    if chosen and possible and chosen not in possible:
        raise BadInput(
            f"{path} and the format {chosen} contradict each other: "
            f"{'a folder' if folder else 'that ending'} is for {' or '.join(possible)}"
        )
    return chosen or (possible or ("jsonl",))[0]


class Outputs:
    """All that was asked for, as one thing to open and to close.

    `save` is a place for drawn pictures, `json_path` one for keypoints, written in the format
    `form`; of the `inputs` none is replaced.
    """

    def __init__(
        self,
        save: Path | None,
        json_path: str | None,
        form: str,
        *,
        show: bool = False,
        boxes: bool = False,
        inputs: Sequence[Path] = (),
    ) -> None:
        self._boxes = boxes
        self._numbered = save is not None and not save.suffix  # a folder numbers a film's frames
        with ExitStack() as stack:
            self._writer = (
                stack.enter_context(open_writer(json_path, form, inputs=inputs))
                if json_path
                else None
            )
            self._recorder = stack.enter_context(Recorder(save, inputs=inputs)) if save else None
            self._window = stack.enter_context(Window()) if show else None
            self._open = stack.pop_all()

    def __call__(self, frame: Frame, poses: list[Pose]) -> bool:
        """Takes a frame; False once the window is closed."""
        picture = frame.image
        if self._recorder or self._window:
            picture = draw(frame.image, poses, ids=True, boxes=self._boxes)
        with held(STUCK):
            if self._writer:
                self._writer.add(_result(frame, poses))
            if self._recorder:
                film = None if self._numbered else frame.source
                self._recorder.add(picture, frame.time, frame.path or film)
        return self._window.show(picture) if self._window else True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with held(ENDING):
            self._open.__exit__(*error)  # type: ignore[arg-type]


def _result(frame: Frame, poses: list[Pose]) -> Result:
    height, width = frame.image.shape[:2]
    still = frame.path is not None
    time = None if still else frame.time
    return Result(frame.source, frame.index, time, width, height, poses, picture=still)
