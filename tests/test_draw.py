"""Who is found is seen, where they are and nowhere else; nothing is decided by drawing."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbwise.outputs.draw import Image, draw
from limbwise.pose import Pose
from limbwise.skeleton import BODY, BODY_25, COCO, Skeleton
from limbwise.train.start import TRAINED

FISH = Skeleton(
    ("snout", "left_fin", "right_fin", "tail"),
    (("snout", "tail"), ("snout", "left_fin"), ("snout", "right_fin")),
    (0.1,) * 4,
)
# A person of 200 x 300 pixels who faces us, so the person's right is on our left.
STANDING = {
    "nose": (200, 60), "neck": (200, 110),
    "right_eye": (188, 50), "left_eye": (212, 50), "right_ear": (170, 56), "left_ear": (230, 56),
    "right_shoulder": (150, 112), "right_elbow": (120, 170), "right_wrist": (100, 230),
    "left_shoulder": (250, 112), "left_elbow": (280, 170), "left_wrist": (300, 230),
    "right_hip": (170, 230), "right_knee": (160, 290), "right_ankle": (155, 350),
    "left_hip": (230, 230), "left_knee": (240, 290), "left_ankle": (245, 350),
}  # fmt: skip
GREY = np.full((400, 400, 3), 128, np.uint8)


def person(skeleton: Skeleton = BODY, **places: tuple[float, float]) -> Pose:
    """Whoever has these keypoints; STANDING without any."""
    known = places or STANDING
    xy = np.array([known.get(name, (np.nan, np.nan)) for name in skeleton.keypoints], np.float32)
    return Pose(skeleton, xy, np.where(np.isnan(xy[:, 0]), 0, 1).astype(np.float32), 1.0)


def moved(pose: Pose, scale: float = 1, by: tuple[float, float] = (0, 0)) -> Pose:
    return pose.moved(lambda xy: xy * np.float32(scale) + np.float32(by))


def changed(picture: Image, before: Image = GREY) -> np.ndarray:
    return (picture != before).any(axis=2)


def distance_to_limbs(pose: Pose, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) pixels to the nearest limb."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    pixels = np.stack([columns, rows], axis=-1).astype(float)
    nearest = np.full(shape[:2], np.inf)
    for a, b in pose.skeleton.pairs:
        start, along = pose.xy[a], pose.xy[b] - pose.xy[a]
        t = np.clip((pixels - start) @ along / (along @ along), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(pixels - start - t[..., None] * along, axis=2))
    return nearest


def test_the_image_itself_is_left_alone() -> None:
    image = GREY.copy()
    picture = draw(image, [replace(person(), id=3)], ids=True, boxes=True)
    assert (image == GREY).all()
    assert picture is not image
    assert changed(picture).any()


def test_nobody_drawn_is_an_equal_picture() -> None:
    unseen = Pose(BODY, np.full((18, 2), np.nan, np.float32), np.zeros(18, np.float32), 0.0, 1)
    for poses in ([], [unseen]):
        picture = draw(GREY, poses, ids=True, boxes=True)
        assert (picture == GREY).all()
        assert not np.shares_memory(picture, GREY)


def test_everything_drawn_is_on_a_limb_and_every_limb_is_drawn() -> None:
    pose = person()
    seen = changed(draw(GREY, [pose]))
    assert not seen[distance_to_limbs(pose, GREY.shape) > 8].any()
    for a, b in BODY.limbs:
        x, y = np.rint((pose[a] + pose[b]) / 2).astype(int)
        from_shoulder_to_ear = {a.split("_")[-1], b.split("_")[-1]} == {"shoulder", "ear"}
        assert seen[y, x] != from_shoulder_to_ear, f"{a}-{b}"


def test_limbs_that_only_hold_people_together_are_not_drawn() -> None:
    trained = person(TRAINED)
    assert np.array_equal(draw(GREY, [trained]), draw(GREY, [person(BODY)]))
    assert not np.array_equal(draw(GREY, [person(COCO)]), GREY)  # no neck: shoulders are joined
    shoulders = [person(COCO)["left_shoulder"], person(COCO)["right_shoulder"]]
    x, y = np.rint(np.mean(shoulders, axis=0)).astype(int)
    assert changed(draw(GREY, [person(COCO)]))[y, x]


def test_every_keypoint_is_drawn_with_or_without_limbs() -> None:
    for skeleton in (BODY, COCO, BODY_25):
        pose = person(skeleton)
        seen = changed(draw(GREY, [pose]))
        for x, y in pose.xy[pose.found].astype(int):
            assert seen[y - 1 : y + 2, x - 1 : x + 2].all()


def test_a_limb_needs_both_ends() -> None:
    places = STANDING | {"left_elbow": (math.nan, math.nan)}
    seen = changed(draw(GREY, [person(**places)]))
    assert not seen[135:220, 255:300].any()
    assert seen[230, 300]


def test_any_skeleton_is_drawn() -> None:
    fish = person(FISH, snout=(50, 200), left_fin=(200, 150), right_fin=(200, 250), tail=(350, 200))
    seen = changed(draw(GREY, [fish]))
    assert seen[200, 200]
    assert seen[175, 125]
    assert seen[225, 125]
    assert not seen[distance_to_limbs(fish, GREY.shape) > 8].any()


@pytest.mark.parametrize("skeleton", [BODY, COCO])
def test_left_is_warm_right_is_cool_and_the_middle_is_neither(skeleton: Skeleton) -> None:
    for limb in skeleton.limbs:
        if {end.split("_")[-1] for end in limb} == {"shoulder", "ear"}:
            continue
        pose = person(skeleton, **{end: STANDING[end] for end in limb})
        x, y = np.rint(np.nanmean(pose.xy, axis=0)).astype(int)
        blue, _, red = draw(GREY, [pose])[y, x].astype(int)
        sides = {end.split("_")[0] for end in limb} & {"left", "right"}
        warmth = {frozenset({"left"}): 1, frozenset({"right"}): -1}.get(frozenset(sides), 0)
        assert abs(red - blue) < 30 if warmth == 0 else warmth * (red - blue) > 40, limb


def test_a_mirrored_person_gives_a_mirrored_picture() -> None:
    pose = person()
    mirrored = pose.moved(lambda xy: xy * np.float32([-1, 1]) + np.float32([399, 0]))
    picture, twin = (draw(GREY, [one]).astype(int) for one in (pose, mirrored))
    difference = np.abs(picture - twin[:, ::-1])
    assert difference.mean() < 0.2
    assert np.percentile(difference, 99.5) < 40


def test_a_fraction_of_a_pixel_is_seen() -> None:
    black = np.zeros((100, 100, 3), np.uint8)
    dot = person(FISH, snout=(50, 50), tail=(50, 60))

    def centre(pose: Pose) -> np.ndarray:
        light = draw(black, [pose]).sum(axis=2).astype(float)
        return np.array([(light.sum(axis=k) @ np.arange(100)) / light.sum() for k in (0, 1)])

    for by in ((0.25, 0), (0.5, 0.25), (0.75, 0.5)):
        np.testing.assert_allclose(centre(moved(dot, by=by)) - centre(dot), by, atol=0.12)


def test_the_body_shows_through() -> None:
    pose = person()
    dark, light = (draw(np.full_like(GREY, tone), [pose]).astype(int) for tone in (0, 255))
    x, y = 235, 260  # between hip and knee
    assert (light - dark)[y, x].min() > 30
    assert (light - dark)[y, x].max() < 128


def thickness(scale: float) -> float:
    """Pixels drawn for each pixel of a limb's length."""
    pose = moved(person(), scale)
    return changed(draw(GREY, [pose])).sum() / math.hypot(*(np.ptp(pose.xy, axis=0)))


def test_small_people_have_thin_limbs() -> None:
    sizes = [thickness(scale) for scale in (0.1, 0.25, 0.5, 1)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] / 2


def test_thickness_is_bounded_by_the_picture() -> None:
    huge = person(FISH, snout=(-5e4, 200), tail=(5e4, 200))
    assert changed(draw(GREY, [huge]))[:, 200].sum() < 12


def test_the_order_of_people_does_not_matter() -> None:
    people = [moved(person(), scale, (30, 20)) for scale in (0.5, 0.7, 0.9)]
    assert (draw(GREY, people) == draw(GREY, people[::-1])).all()


def test_keypoints_less_sure_than_asked_are_left_out() -> None:
    wary = np.where(np.arange(18) % 2, 0.5, 0.2).astype(np.float32)
    pose = replace(person(), confidence=wary)
    sure = replace(pose, xy=np.where(wary[:, None] < 0.3, np.float32(np.nan), pose.xy))
    for settings_ in ({}, {"ids": True, "boxes": True}):
        asked = draw(GREY, [pose], min_confidence=0.3, **settings_)
        assert (asked == draw(GREY, [sure], **settings_)).all()
    assert (draw(GREY, [pose], min_confidence=0.2) == draw(GREY, [pose])).all()
    assert (draw(GREY, [pose], min_confidence=0.6) == GREY).all()


def test_boxes_frame_people() -> None:
    pose = person()
    frame = changed(draw(GREY, [pose], boxes=True), draw(GREY, [pose]))
    assert frame[50, 260:300].all()
    assert frame[200, [100, 300]].all()
    rows, columns = np.nonzero(frame)
    assert (columns.min(), rows.min()) >= (98, 48)
    assert (columns.max(), rows.max()) <= (302, 352)


def test_a_label_is_above_the_head_and_only_for_whom_a_tracker_has_named() -> None:
    named, plain = replace(person(), id=12), draw(GREY, [person()])
    assert (draw(GREY, [person()], ids=True) == plain).all()
    assert (draw(GREY, [named]) == plain).all()
    rows, columns = np.nonzero(changed(draw(GREY, [named], ids=True), plain))
    assert 5 < rows.min() < rows.max() < 50
    assert columns.mean() == pytest.approx(200, abs=2)


def test_a_label_stays_in_the_picture() -> None:
    for by in ((0, -300), (-200, 0), (200, 0), (0, 300)):
        pose = replace(moved(person(), by=by), id=123)
        label = changed(draw(GREY, [pose], ids=True), draw(GREY, [pose]))
        assert label.sum() > 150


def test_ids_are_told_apart() -> None:
    pictures = [draw(GREY, [replace(person(), id=n)], boxes=True) for n in range(6)]
    assert len({tuple(picture[200, 300]) for picture in pictures}) == 6


@settings(max_examples=50, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.lists(st.floats(-100, 100) | st.floats(width=32), min_size=8, max_size=8),
)
def test_any_pose_can_be_drawn_on_any_picture(shape: tuple[int, int], xy: list[float]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    pose = Pose(FISH, np.array(xy, np.float32).reshape(4, 2), np.ones(4, np.float32), 1.0, 7)
    picture = draw(image, [pose], ids=True, boxes=True)
    assert picture.shape == image.shape
    assert picture.dtype == np.uint8


def test_people_beside_the_picture_leave_it_as_it_is() -> None:
    for by in ((-1e3, 0), (1e3, 0), (0, 1e3), (-1e3, -1e3)):
        assert (draw(GREY, [moved(person(), by=by)], boxes=True) == GREY).all()


def test_pictures_without_pixels_and_views_are_drawn_on() -> None:
    named = replace(person(), id=1)
    assert draw(np.zeros((0, 5, 3), np.uint8), [named], ids=True, boxes=True).shape == (0, 5, 3)
    backwards = GREY[::-1, ::-1, ::-1]
    assert (draw(backwards, [named]) == draw(backwards.copy(), [named])).all()


@pytest.mark.parametrize(
    "image", [GREY[..., 0], GREY.astype(np.float32), np.zeros((9, 9, 4), np.uint8)]
)
def test_what_is_no_bgr_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"BGR image \(H, W, 3\) of uint8, not \("):
        draw(image, [])
