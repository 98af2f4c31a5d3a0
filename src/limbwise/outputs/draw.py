"""People onto a picture: limbs as translucent capsules, keypoints as discs on top.

Warm is the person's left, cool is the right, pale the middle. Nothing is decided here: what was
found is drawn, thin on small people so that they stay people and not blobs. A style is worked out
once per skeleton from the names of its keypoints, so any skeleton can be drawn.
"""

import colorsys
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..pose import Pose
from ..skeleton import Skeleton

Image = NDArray[np.uint8]
Floats = NDArray[np.floating]
Colour = tuple[int, int, int]  # blue, green, red
Limb = tuple[str, str]
Box = tuple[float, float, float, float]

# From the first limb of a side to its last. Orange and blue stay apart for the colour-blind (after
# Okabe & Ito, jfly.uni-koeln.de/color); along the ramp, lightness tells legs from arms and face.
RAMPS: dict[str, tuple[Colour, Colour]] = {
    "left": ((0, 80, 225), (60, 200, 255)),
    "right": ((190, 90, 10), (255, 215, 90)),
    "": ((215, 225, 230), (215, 225, 230)),
}
DARK = (40, 35, 30)
OPACITY = 0.72  # of limbs: the body shows through
RIM = 0.25  # the dark edge, in widths of what it surrounds
OF_PERSON, OF_PICTURE = 0.011, 0.006  # half a limb's width, by the size of each: the lesser counts
FACE = {"nose", "eye", "ear"}
# Limbs that hold people together but that nobody would draw: past the neck, where there is one.
NEVER = [{"shoulder", "ear"}]
PAST_THE_NECK = [{"nose", "shoulder"}, {"shoulder"}, {"hip"}, {"shoulder", "hip"}]

SHIFT = 4  # binary places of cv2's sub-pixel coordinates
FARTHEST = 2.0**17  # pixels; cv2 follows a line for as long as it is, and beyond 2**27 overflows


MIN_CONFIDENCE = 0.2  # of a keypoint that is drawn: what is less sure is mostly hidden


def draw(
    image: Image,
    poses: Iterable[Pose],
    *,
    ids: bool = False,
    boxes: bool = False,
    min_confidence: float = MIN_CONFIDENCE,
) -> Image:
    """A copy of an image with the people on it; the image itself is left alone.

    Larger people are nearer as a rule: they are drawn last.

    Args:
        image: (H, W, 3) uint8 BGR.
        poses: in its pixels.
        ids: label those whom a tracker has named.
        boxes: frame everybody.
        min_confidence: of keypoints that are drawn.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"draw needs a BGR image (H, W, 3) of uint8, not {image.shape} of {image.dtype}"
        )
    picture = image.copy()
    shown = [_sure(pose, min_confidence) for pose in poses if image.size]
    people = [(pose, box) for pose in shown if not math.isnan((box := pose.box)[0])]
    people.sort(key=lambda person: _size(person[1]))
    for pose, box in people:
        _draw_person(picture, pose, box)
    for pose, box in people if boxes else ():
        _draw_box(picture, pose, box)
    for pose, box in people if ids else ():
        _draw_label(picture, pose, box)
    return picture


def _sure(pose: Pose, min_confidence: float) -> Pose:
    """The pose without the keypoints that are too uncertain or lack a coordinate."""
    hidden = (pose.confidence < min_confidence) | ~np.isfinite(pose.xy).all(axis=1)
    return replace(pose, xy=np.where(hidden[:, None], np.float32(np.nan), pose.xy))


def _size(box: Box) -> float:
    """The diagonal in pixels: how large the person appears."""
    left, top, right, bottom = box
    return math.hypot(right - left, bottom - top)


@dataclass(frozen=True, eq=False)
class _Style:
    """How a skeleton is drawn: strokes (S, 2) from keypoint to keypoint, first the limbs, then a
    disc for each keypoint, which is a stroke from it to itself; widths (S,) are factors."""

    limbs: int
    strokes: NDArray[np.intp]
    widths: Floats
    colours: list[Colour]


@cache
def _style(skeleton: Skeleton) -> _Style:
    hidden = NEVER + (PAST_THE_NECK if "neck" in skeleton.index else [])
    limbs = [limb for limb in skeleton.limbs if {_part(end) for end in limb} not in hidden]
    colours = _limb_colours(limbs)
    discs = [(name, name) for name in skeleton.keypoints]
    return _Style(
        limbs=len(limbs),
        strokes=np.array([[skeleton.index[end] for end in ends] for ends in limbs + discs], int),
        widths=np.array([_width(*ends) for ends in limbs + discs]),
        colours=colours + _disc_colours(skeleton, limbs, colours),
    )


def _part(name: str) -> str:
    """left_wrist -> wrist"""
    return name.removeprefix("left_").removeprefix("right_")


def _side(*names: str) -> str:
    """left or right if the names speak of one side only, else the empty string."""
    sides = {side for name in names if (side := name.partition("_")[0]) in ("left", "right")}
    return sides.pop() if len(sides) == 1 else ""


def _width(start: str, end: str) -> float:
    """The face keeps its features: thin limbs, small discs."""
    in_face = bool({_part(start), _part(end)} & FACE)
    if start == end:
        return 0.8 if in_face else 1.2
    return 0.6 if in_face else 1.0


def _limb_colours(limbs: list[Limb]) -> list[Colour]:
    """For each limb a step along the ramp of its side."""
    sides = [_side(*limb) for limb in limbs]
    colours = []
    for n, side in enumerate(sides):
        first, last = np.array(RAMPS[side], float)
        along = sides[:n].count(side) / max(sides.count(side) - 1, 1)
        blue, green, red = np.rint(first + along * (last - first)).astype(int).tolist()
        colours.append((blue, green, red))
    return colours


def _disc_colours(
    skeleton: Skeleton, limbs: list[Limb], limb_colours: list[Colour]
) -> list[Colour]:
    """For each keypoint the colour of its last limb of the same side, else its side's first."""
    colours = {name: RAMPS[_side(name)][0] for name in skeleton.keypoints}
    for limb, colour in zip(limbs, limb_colours, strict=True):
        colours |= {end: colour for end in limb if _side(end) == _side(*limb)}
    return list(colours.values())


def _draw_person(picture: Image, pose: Pose, box: Box) -> None:
    style, radius = _style(pose.skeleton), _radius(picture, _size(box))
    window = _window(picture, box, margin=2 * radius + 2)
    region = picture[window]
    if not region.size:
        return
    xy = pose.xy - (window[1].start, window[0].start)
    shown = np.flatnonzero(~np.isnan(xy[style.strokes, 0]).any(axis=1))
    start, end = xy[style.strokes[shown]].swapaxes(0, 1)
    rims, cores = _capsules(start, end, radius * style.widths[shown] + [[RIM * radius], [0]])
    strokes = [(rims[n], cores[n], style.colours[s]) for n, s in enumerate(shown)]
    limbs = int(np.searchsorted(shown, style.limbs))
    painted = region.copy()
    _fill(painted, strokes[:limbs])
    cv2.addWeighted(painted, OPACITY, region, 1 - OPACITY, 0, dst=region)
    _fill(region, strokes[limbs:])


def _radius(picture: Image, size: float) -> float:
    """Half the width of a limb in pixels: by the person's size, bounded by the picture's."""
    rows, columns = picture.shape[:2]
    return max(min(OF_PERSON * size, OF_PICTURE * math.sqrt(rows * columns)), 0.5)


def _window(picture: Image, box: Box, margin: float) -> tuple[slice, slice]:
    """The rows and columns of the picture that the box covers."""
    rows, columns = picture.shape[:2]
    left, right = (int(min(max(x, 0), columns)) for x in (box[0] - margin, box[2] + margin + 1))
    top, bottom = (int(min(max(y, 0), rows)) for y in (box[1] - margin, box[3] + margin + 1))
    return slice(top, bottom), slice(left, right)


def _capsules(start: Floats, end: Floats, radius: Floats) -> NDArray[np.int32]:
    """Lines with round ends, start and end (S, 2), radius (R, S): outlines (R, S, points, 2) in
    cv2's sub-pixel units."""
    along = end - start + (1e-9, 0)  # so that a disc has a direction, too
    along /= np.hypot(along[:, 0], along[:, 1])[:, None]
    # So many points that the polygon stays within a fifth of a pixel of the circle.
    turn = _half_turn(3 + int(2.5 * math.sqrt(radius.max(initial=0))))
    half = along[:, None] * turn[:, :1] + along[:, None, ::-1] * (-1, 1) * turn[:, 1:]
    half = half * radius[:, :, None, None]
    return _sub_pixels(np.concatenate([end[:, None] + half, start[:, None] - half], axis=2))


@cache
def _half_turn(points: int) -> Floats:
    """Cosine and sine (points, 2) from -90 to 90 degrees."""
    turn = np.linspace(-np.pi / 2, np.pi / 2, points)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)


def _sub_pixels(xy: Floats) -> NDArray[np.int32]:
    near = np.minimum(np.maximum(xy, -FARTHEST), FARTHEST)
    fixed: NDArray[np.int32] = np.rint(near * 2**SHIFT).astype(np.int32)
    return fixed


def _fill(
    region: Image, strokes: list[tuple[NDArray[np.int32], NDArray[np.int32], Colour]]
) -> None:
    for rim, core, colour in strokes:
        cv2.fillConvexPoly(region, rim, DARK, cv2.LINE_AA, SHIFT)
        cv2.fillConvexPoly(region, core, colour, cv2.LINE_AA, SHIFT)


def _draw_box(picture: Image, pose: Pose, box: Box) -> None:
    first, last = _sub_pixels(np.reshape(box, (2, 2))).tolist()
    thickness = max(1, round(_label_height(picture) / 14))
    cv2.rectangle(picture, first, last, _id_colour(pose.id), thickness, cv2.LINE_AA, SHIFT)


def _draw_label(picture: Image, pose: Pose, box: Box) -> None:
    """The id in a rounded label above the head, or as near to it as the picture allows."""
    if pose.id is None:
        return
    text, height, font = str(pose.id), _label_height(picture), cv2.FONT_HERSHEY_SIMPLEX
    scale, thickness = height / 36, max(1, round(height / 14))
    (wide, tall), _ = cv2.getTextSize(text, font, scale, thickness)
    size = np.array([max(wide + 0.6 * height, height), height])
    room = np.maximum(np.array(picture.shape[1::-1]) - 1 - size, 0)
    left, top = np.clip(_crown(pose, box) - (size[0] / 2, 1.4 * height), 0, room)
    start, end = np.array([[left, top], [left + size[0] - height, top]]) + height / 2
    rim, core = _capsules(start[None], end[None], np.array([[height / 2 + 1], [height / 2]]))
    _fill(picture, [(rim[0], core[0], _id_colour(pose.id))])
    origin = round(left + (size[0] - wide) / 2), round(top + (height + tall) / 2)
    cv2.putText(picture, text, origin, font, scale, DARK, thickness, cv2.LINE_AA)


def _label_height(picture: Image) -> float:
    return float(np.clip(min(picture.shape[:2]) / 32, 13, 60))


def _crown(pose: Pose, box: Box) -> Floats:
    """(2,) a little above the face, else the middle of the box's top."""
    left, top, right, _ = box
    face = pose.found & [_part(name) in FACE for name in pose.skeleton.keypoints]
    if not face.any():
        return np.array([(left + right) / 2, top])
    return np.array([pose.xy[face, 0].mean(), pose.xy[face, 1].min() - 0.06 * _size(box)])


def _id_colour(number: int | None) -> Colour:
    """A light colour for each id, neighbours far apart on the wheel; white without one."""
    if number is None:
        return (255, 255, 255)
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.45, 1)
    return round(255 * blue), round(255 * green), round(255 * red)


# For those who draw elsewhere, such as a page in a browser.


def style(skeleton: Skeleton) -> dict[str, Any]:
    """How `draw` draws people of this skeleton, in plain JSON types: the strokes (pairs of
    keypoints, the first `limbs` of them translucent), their widths and colours; of ids 64 colours,
    after which they begin again."""
    style = _style(skeleton)
    return {
        "limbs": style.limbs,
        "strokes": style.strokes.tolist(),
        "widths": style.widths.tolist(),
        "colours": [_hex(colour) for colour in style.colours],
        "ids": [_hex(_id_colour(number)) for number in range(64)],
        "dark": _hex(DARK),
        "opacity": OPACITY,
        "rim": RIM,
        "of_person": OF_PERSON,
        "of_picture": OF_PICTURE,
    }


def _hex(colour: Colour) -> str:
    blue, green, red = colour
    return f"#{red:02x}{green:02x}{blue:02x}"
