"""A source, followed: the people of each frame of a film, a camera or a folder, as they come.

source -> frames -> flow (network) -> Follower (ids that stay) -> Poses
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from .errors import BadInput
from .estimator import Estimator, load
from .pipeline import flow
from .pose import Pose
from .poses import Poses, found_in
from .sources.frames import Frame, Source, frames, is_live, is_pipe
from .track import Tracker

PATIENCE = 60.0  # seconds that a silent pipe is waited for and a broken stream is tried again


class Follower:
    """Gives people ids, with a tracker of its own for each source; pictures are not tracked.

    `smooth` calms the keypoints of those who are tracked.
    """

    def __init__(self, *, smooth: bool = True) -> None:
        self._smooth = smooth
        self._trackers: dict[str, Tracker] = {}

    def __call__(self, frame: Frame, poses: list[Pose]) -> list[Pose]:
        if frame.path is not None:
            return poses
        tracker = self._trackers.setdefault(frame.source, Tracker(smooth=self._smooth))
        return tracker.update(poses, frame.time)


def run(
    source: Source | Sequence[Source],
    model: Estimator | str | Path | None = None,
    *,
    track: bool = True,
    smooth: bool = True,
    live: bool | None = None,
    patience: float = PATIENCE,
    on_bad: Callable[[BadInput], None] | None = None,
) -> Generator[Poses, None, None]:
    """The people of each frame, as they come; the picture is `poses.image` until the next is asked
    for.

        for poses in limbwise.run("street.mp4"):
            print(poses.time, [pose.id for pose in poses])

    Args:
        source: a picture, folder, pattern, film, URL, camera number, "-", or several of these.
        model: what `limbwise.load` takes for a model, or an estimator that it has loaded.
        track: give the people of films and cameras ids that stay.
        smooth: calm the keypoints of the tracked.
        live: drop frames that there is no time for, so that nothing lags; if None, of cameras and
            streams.
        patience: seconds that a silent pipe is waited for and a broken stream is tried again.
        on_bad: hears of what cannot be read among several, instead of an exception.

    Raises:
        BadInput: a source that cannot be read, or a model that cannot be loaded.
    """
    estimate = model if isinstance(model, Estimator) else load(model)
    if live is None:
        live = is_live(source) and not is_pipe(source)  # whoever sends into a pipe can wait
    follow: Callable[[Frame, list[Pose]], list[Pose]] = (
        Follower(smooth=smooth) if track else lambda frame, poses: poses
    )
    return _followed(frames(source, on_bad=on_bad, patience=patience), estimate, follow, live)


def _followed(
    shots: Iterator[Frame],
    estimate: Estimator,
    follow: Callable[[Frame, list[Pose]], list[Pose]],
    live: bool,
) -> Generator[Poses, None, None]:
    with closing(flow(shots, estimate, live=live)) as seen:
        for frame, poses in seen:
            yield of_frame(frame, follow(frame, poses))


def of_frame(frame: Frame, poses: list[Pose]) -> Poses:
    """The people of a frame, who know where it is from."""
    found = found_in(poses, frame.image, frame.image)
    found.source, found.frame = frame.source, frame.index
    found.time = None if frame.path is not None else frame.time
    return found
