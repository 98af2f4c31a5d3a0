"""What people build on poses, each a few lines: angles, lines, presence, repetitions, falls.

Functions say what is in one pose; where something must be remembered, a small object takes one
person's or one picture's measurements in turn. Times are in seconds, lengths in pixels of the
picture, angles in degrees. docs/recipes.md has a recipe for each; zones are `supervision`'s, by
`Poses.to_supervision()`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from .geometry import Image
from .pose import Pose

Point = tuple[float, float]
UPRIGHT = 45.0  # degrees from the vertical, beyond which a body lies rather than stands

# The joint in the middle, by its usual name.
JOINTS = {
    f"{side}_{joint}": (f"{side}_{first}", f"{side}_{joint}", f"{side}_{last}")
    for side in ("left", "right")
    for joint, first, last in (
        ("elbow", "shoulder", "wrist"),
        ("shoulder", "elbow", "hip"),
        ("hip", "shoulder", "knee"),
        ("knee", "hip", "ankle"),
    )
}


def angle(pose: Pose, joint: str | tuple[str, str, str]) -> float:
    """The angle at a joint in the picture, 0 to 180 degrees (180 is stretched).

    Args:
        pose: the person.
        joint: one of `JOINTS`, such as "left_knee", or three keypoints, the joint in the middle.

    Returns:
        Degrees; nan if one of the keypoints was not found or two lie on each other.
    """
    names = JOINTS[joint] if isinstance(joint, str) else joint
    first, middle, last = (pose[name].astype(float) for name in names)
    one, other = first - middle, last - middle
    lengths = math.hypot(*one) * math.hypot(*other)
    if not lengths > 0:  # also where a keypoint is nan
        return math.nan
    return math.degrees(math.acos(np.clip(one @ other / lengths, -1, 1)))


@dataclass
class Speed:
    """`speed(value, time)` is how fast a measurement changes, per second, since the last time that
    it was known; nan for the first, and where it is not known now. One for each person and joint.
    """

    _value: float = math.nan
    _time: float = math.nan

    def __call__(self, value: float, time: float) -> float:
        if math.isnan(value):
            return math.nan
        gone = time - self._time
        rate = (value - self._value) / gone if gone > 0 else math.nan
        self._value, self._time = value, time
        return rate


def foot(pose: Pose) -> Point:
    """Where a person stands: the middle of the found ankles, else of the lower edge of the box."""
    ankles = [pose[name] for name in ("left_ankle", "right_ankle") if name in pose.skeleton.index]
    known = [each for each in ankles if not np.isnan(each).any()]
    if known:
        x, y = np.mean(known, axis=0)
        return float(x), float(y)
    left, _, right, bottom = pose.box
    return (left + right) / 2, bottom


@dataclass
class LineCounter:
    """Counts tracked people who cross the line from `start` to `end`, each way.

    Seen from `start` to `end`, `to_right` counts those who go to the right-hand side as a walker
    along the line has it, `to_left` the others. Only the way between two sights of a person counts
    that goes through the line itself, not past its ends; who stands on it has not crossed yet.
    """

    start: Point
    end: Point
    to_left: int = 0
    to_right: int = 0
    _last: dict[int, Point] = field(default_factory=dict)

    def update(self, poses: Iterable[Pose]) -> None:
        """Takes the people of a frame; those without an id are passed over."""
        for pose in poses:
            place = foot(pose)
            if pose.id is None or math.isnan(place[0]):
                continue
            side = _side(self.start, self.end, place)
            if side == 0:
                continue
            last = self._last.get(pose.id)
            self._last[pose.id] = place
            if last is None or side * _side(self.start, self.end, last) > 0:
                continue
            if _side(last, place, self.start) * _side(last, place, self.end) > 0:
                continue  # past an end
            if side > 0:
                self.to_right += 1
            else:
                self.to_left += 1


def _side(start: Point, end: Point, place: Point) -> float:
    """More than 0 to the right of the way from start to end, y pointing down."""
    return (end[0] - start[0]) * (place[1] - start[1]) - (end[1] - start[1]) * (place[0] - start[0])


class Presence:
    """Where people stand, and for how long: seconds per cell of the picture.

    Args:
        size: (width, height) of the pictures, as `Poses.size`.
        cell: pixels of a cell's side.
    """

    def __init__(self, size: tuple[int, int], cell: int = 16) -> None:
        self.cell = cell
        self.seconds: NDArray[np.float64] = np.zeros((-(-size[1] // cell), -(-size[0] // cell)))

    def add(self, poses: Iterable[Pose], seconds: float) -> None:
        """Takes the people of a frame.

        Args:
            poses: the people.
            seconds: how long the frame is shown.
        """
        rows, columns = self.seconds.shape
        for pose in poses:
            x, y = foot(pose)
            if math.isnan(x):
                continue
            row, column = int(y // self.cell), int(x // self.cell)
            if 0 <= row < rows and 0 <= column < columns:
                self.seconds[row, column] += seconds

    def draw(self, image: Image, opacity: float = 0.6) -> Image:
        """A copy of an image with the map on it, hot where people were for longest.

        Args:
            image: (H, W, 3) uint8 BGR, of the size that the pictures have.
            opacity: of the hottest place, 0 to 1.
        """
        longest = float(self.seconds.max())
        if not longest:
            return image.copy()
        height, width = image.shape[:2]
        grown = cv2.resize(
            np.sqrt(self.seconds / longest), None, fx=self.cell, fy=self.cell,
            interpolation=cv2.INTER_LINEAR,
        )[:height, :width, None]  # fmt: skip
        hot = cv2.applyColorMap((255 * grown).astype(np.uint8), cv2.COLORMAP_INFERNO)
        mixed: Image = (image + opacity * grown * (hot.astype(float) - image)).astype(np.uint8)
        return mixed


@dataclass
class Repetitions:
    """Counts how often a measurement, such as the angle of a knee, goes below `low` and comes back
    above `high`; between the two nothing changes, so that noise counts nothing. nan is passed over.

    One for each person. `count` is how many there have been.
    """

    low: float
    high: float
    count: int = 0
    _is_low: bool = False

    def update(self, value: float) -> int:
        """Takes the next measurement and returns the count."""
        if value < self.low:
            self._is_low = True
        elif value > self.high and self._is_low:
            self._is_low = False
            self.count += 1
        return self.count


def tilt(pose: Pose) -> float:
    """Degrees between the trunk, from the middle of the hips to that of the shoulders, and the
    vertical: 0 upright, 90 lying, 180 upside down; nan if neither side's ends were found."""
    top, bottom = _middle(pose, "shoulder"), _middle(pose, "hip")
    across, up = top[0] - bottom[0], bottom[1] - top[1]
    return math.degrees(abs(math.atan2(across, up))) if across or up else math.nan


def _middle(pose: Pose, part: str) -> Sequence[float]:
    found = [pose[f"{side}_{part}"].astype(float) for side in ("left", "right")]
    known = [each for each in found if not np.isnan(each).any()]
    x, y = np.mean(known, axis=0) if known else (math.nan, math.nan)
    return float(x), float(y)


@dataclass
class Falls:
    """A rule for one person: who stood, and within `within` seconds lies, has fallen. A fall is
    reported once, when they have lain for `after` seconds.

    Args:
        lying: degrees of `tilt` from which a body lies.
        within: seconds from the last time upright to lying; who lies down slowly has not fallen.
        after: seconds of lying before it is reported, so that bending down is none.

    It sees a picture, not the world: who falls towards the camera, or is hidden, is missed. It is
    no medical or safety device.
    """

    lying: float = 60.0
    within: float = 1.5
    after: float = 1.0
    _upright: float = -math.inf
    _since: float | None = None
    _fell: bool = False

    def update(self, pose: Pose, time: float) -> bool:
        """Takes the person in the next frame.

        Args:
            pose: the person.
            time: seconds.

        Returns:
            True once for each fall.
        """
        lean = tilt(pose)
        if math.isnan(lean):
            return False
        if lean < min(UPRIGHT, self.lying):
            self._upright, self._since, self._fell = time, None, False
            return False
        if lean < self.lying:
            return False
        if self._since is None:
            self._since = time
            self._fell = time - self._upright <= self.within
        reported = self._fell and time - self._since >= self.after
        if reported:
            self._fell = False
        return reported
