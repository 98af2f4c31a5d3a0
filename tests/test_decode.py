import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import drawn, person, standing
from limbwise.decode import DecodeOptions, Limbs, decode, group
from limbwise.network_output import NetworkOutput
from limbwise.peaks import Peaks, argmax, find_peaks
from limbwise.pose import Pose
from limbwise.skeleton import BODY, Skeleton

WIDTH, HEIGHT = 656, 368
CELLS = HEIGHT // 8, WIDTH // 8


def scene(seed: int) -> list[Pose]:
    """One to twenty people of all sizes anywhere, turned and stretched at random."""
    random = np.random.default_rng(seed)
    people = []
    for _ in range(random.integers(1, 21)):
        height, angle = random.uniform(80, 330), random.uniform(-0.6, 0.6)
        pose = standing(height, random.uniform(0, WIDTH), random.uniform(0, HEIGHT))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        xy = (pose.xy - pose["neck"]) @ turn.T + pose["neck"]
        xy += random.normal(0, height * 0.01, xy.shape)
        beyond = (xy < 0).any(axis=1) | (xy[:, 0] > WIDTH - 1) | (xy[:, 1] > HEIGHT - 1)
        xy[beyond] = np.nan
        people.append(person(BODY, xy))
    return people


@pytest.mark.parametrize("seed", range(40))
def test_every_drawn_keypoint_is_found_within_a_pixel(seed: int) -> None:
    """Unless two of a kind lie within two cells of each other, or at the border of the map."""
    people = scene(seed)
    fields = drawn(people, CELLS)
    peaks = find_peaks(fields.heatmaps, 0.1)
    for kind in range(len(BODY.keypoints)):
        there = np.array([pose.xy[kind] for pose in people])
        there = there[~np.isnan(there[:, 0])]
        found = fields.pixels(peaks.xy[peaks.kind == kind])
        for number, place in enumerate(there):
            others = np.delete(there, number, axis=0)
            near = (np.abs(others - place) <= 20).all(axis=1).any()
            border = (place < 8).any() or place[0] > WIDTH - 9 or place[1] > HEIGHT - 9
            if not near and not border:
                assert np.hypot(*(found - place).T).min() < 1


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.floats(100, 170), st.randoms(use_true_random=False))
def test_people_who_stand_apart_are_read_back_whole(count, height, random):
    people = [
        standing(height, 40 + 110 * (n % 5) + random.uniform(-8, 8), 40 + 180 * (n // 5))
        for n in range(count)
    ]
    found = decode(drawn(people, (94, 70)), BODY)
    assert len(found) == count
    for pose in people:
        errors = [np.abs(pose.xy - other.xy).max() for other in found]
        assert np.nanmin(errors) < 1


def test_two_who_cross_arms_keep_their_own() -> None:
    left, right = standing(250, 200, 80), standing(250, 270, 80)
    reach = left.xy.copy()
    reach[BODY.index["left_wrist"]] = right["right_wrist"] + (20, 25)
    left = person(BODY, reach)
    found = decode(drawn([left, right], CELLS), BODY)
    assert len(found) == 2
    for pose in (left, right):
        assert min(np.abs(pose.xy - other.xy).max() for other in found) < 1


def test_a_person_cut_in_two_by_the_middle_is_merged_when_a_limb_joins_the_parts() -> None:
    """The surest pairs come first, so the legs grow on their own before the hip joins them."""
    whole = standing(300, 300, 50)
    fields = drawn([whole], CELLS)
    fields.limbs[[0, 3]] *= 0.3  # neck to hips
    found = decode(fields, BODY)
    assert len(found) == 1
    assert found[0].found.all()


def test_two_keypoints_make_a_person_and_one_does_not() -> None:
    xy = np.full((18, 2), np.nan)
    xy[BODY.index["left_elbow"]] = (100, 100)
    alone = decode(drawn([person(BODY, xy)], CELLS), BODY)
    xy[BODY.index["left_wrist"]] = (140, 130)
    two = decode(drawn([person(BODY, xy)], CELLS), BODY)
    assert [pose.found.sum() for pose in alone] == []
    assert [pose.found.sum() for pose in two] == [2]


def test_weak_keypoints_join_a_person_but_never_begin_one() -> None:
    fields = drawn([standing(300, 200, 50)], CELLS)
    wrist = BODY.index["left_wrist"]
    fields.heatmaps[wrist] *= 0.05
    joined = decode(fields, BODY)
    assert len(joined) == 1
    assert joined[0].confidence[wrist] == pytest.approx(0.05, abs=0.01)
    assert not decode(fields, BODY, DecodeOptions(weak=0.1))[0].found[wrist]
    assert decode(NetworkOutput(fields.heatmaps * 0.05, fields.limbs), BODY) == []


def test_a_keypoint_belongs_to_one_person_and_a_person_has_one_of_a_kind() -> None:
    """Even where the fields are nonsense and every pair of keypoints could be a limb."""
    peaks = find_peaks(drawn(scene(7), CELLS).heatmaps, 0.1)
    random = np.random.default_rng(0)
    pairs = random.integers(0, len(peaks.kind), (2, 2000))
    pairs = pairs[:, peaks.kind[pairs[0]] != peaks.kind[pairs[1]]]
    scores = np.sort(random.random(pairs.shape[1]).astype(np.float32))[::-1]
    people = group(Limbs(*pairs, scores, scores > 0.3), peaks)
    owned = [peak for one in people for peak in one.peaks]
    assert len(owned) > 100
    assert len(set(owned)) == len(owned)
    for one in people:
        kinds = peaks.kind[one.peaks]
        assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize(("length", "joined"), [(40, True), (300, False)])
def test_a_longer_limb_must_be_surer(length: int, joined: bool) -> None:
    """A field of 0.2 joins an arm's length, not the two sides of a crowd."""
    xy = np.full((18, 2), np.nan)
    xy[BODY.index["left_elbow"]] = (100, 100)
    xy[BODY.index["left_wrist"]] = (100 + length, 100)
    fields = drawn([person(BODY, xy)], CELLS)
    assert len(decode(fields, BODY)) == 1
    assert len(decode(NetworkOutput(fields.heatmaps, fields.limbs * 0.2), BODY)) == joined


def test_scores_fall_and_more_limbs_rank_higher() -> None:
    whole = standing(200, 150, 50)
    part = standing(200, 450, 50).xy.copy()
    part[8:14] = np.nan
    found = decode(drawn([person(BODY, part), whole], CELLS), BODY)
    assert [int(pose.found.sum()) for pose in found] == [18, 12]
    assert found[0].score > found[1].score
    assert 0 < found[1].score < found[0].score <= 1


def test_a_mirrored_map_gives_mirrored_poses() -> None:
    people = scene(3)
    mirrored = [
        person(BODY, (pose.xy * (-1, 1) + (WIDTH - 1, 0))[list(BODY.mirror)]) for pose in people
    ]
    plain, turned = (decode(drawn(some, CELLS), BODY) for some in (people, mirrored))
    assert len(plain) == len(turned)
    for pose in plain:
        there = (pose.xy * (-1, 1) + (WIDTH - 1, 0))[list(BODY.mirror)]
        errors = [
            np.abs(there - other.xy).max(initial=0, where=~np.isnan(there))
            for other in turned
            if np.array_equal(other.found, ~np.isnan(there[:, 0]))
        ]
        assert min(errors) < 0.1


def test_a_plateau_is_one_peak() -> None:
    heatmaps = np.zeros((1, 9, 9), np.float32)
    heatmaps[0, 4:6, 3:5] = 0.5
    assert len(find_peaks(heatmaps, 0.1).kind) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_the_smallest_maps_decode(size: tuple[int, int]) -> None:
    ones = NetworkOutput(np.ones((18, *size), np.float32), np.ones((19, 2, *size), np.float32))
    assert isinstance(decode(ones, BODY), list)


def test_other_strides_keep_the_pixel_convention() -> None:
    pose = standing(250, 200, 60)
    for stride in (4, 8, 16):
        size = (HEIGHT // stride, WIDTH // stride)
        (found,) = decode(drawn([pose], size, stride, sigma=0.9 * stride), BODY)
        big = np.isin(BODY.keypoints, ["left_wrist", "right_knee", "neck", "left_ankle"])
        assert np.abs(found.xy - pose.xy)[big].max() < 1


def test_ten_people_take_less_than_three_milliseconds() -> None:
    people = [standing(150, 60 + 110 * (n % 5), 30 + 180 * (n // 5)) for n in range(10)]
    fields = drawn(people, CELLS)
    taken = []
    for _ in range(30):
        began = time.perf_counter()
        decode(fields, BODY)
        taken.append(time.perf_counter() - began)
    assert min(taken) < 0.003


# Limbs of two keypoints in a field that is the same everywhere, so that every figure is known.

LINE = Skeleton(("a", "b"), (("a", "b"),), (0.1, 0.1))


def gaussian(size: tuple[int, int], x: float, y: float, height: float = 1.0) -> np.ndarray:
    """(h, w) of a sigma of 7/8 cells."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    away = (columns - x) ** 2 + (rows - y) ** 2
    return (height * np.exp(-away / (2 * 0.875**2))).astype(np.float32)


def even(
    strength: float, length: int, size: tuple[int, int] = (40, 60), heights: tuple = (1.0, 1.0)
) -> NetworkOutput:
    """A keypoint at the cell (8, 20), another `length` cells to the right of it."""
    heatmaps = np.stack(
        [gaussian(size, 8, 20, heights[0]), gaussian(size, 8 + length, 20, heights[1])]
    )
    limbs = np.zeros((1, 2, *size), np.float32)
    limbs[0, 0] = strength
    return NetworkOutput(heatmaps, limbs)


@pytest.mark.parametrize("size", [(40, 60), (40, 90), (80, 60)])
@pytest.mark.parametrize("length", [8, 32])
@pytest.mark.parametrize("start", [0.02, 0.1])
def test_a_limb_needs_so_much_and_more_by_its_length_in_heights_of_the_map(
    size: tuple[int, int], length: int, start: float
) -> None:
    needed = start + 0.4 * length / size[0]
    for strength, found in ((1.02 * needed, 1), (0.98 * needed, 0)):
        assert (
            len(decode(even(strength, length, size), LINE, DecodeOptions(min_alignment=start)))
            == found
        )
    assert (
        len(
            decode(
                even(1.02 * start, length, size),
                LINE,
                DecodeOptions(min_alignment=start, length_cost=0),
            )
        )
        == 1
    )


def test_a_limb_that_its_middle_hardly_knows_is_none() -> None:
    """The glance before the close look: half of what is needed, in the cell in the middle."""
    needed = 0.02 + 0.4 * 16 / 40
    for middle, found in ((0.52 * needed, 1), (0.48 * needed, 0)):
        fields = even(1, 16)
        fields.limbs[0, 0, 20, 16] = middle
        assert len(decode(fields, LINE)) == found


@pytest.mark.parametrize(("agreeing", "found"), [(9, 1), (8, 1), (7, 0)])
def test_more_than_four_fifths_of_nine_places_along_a_limb_point_its_way(
    agreeing: int, found: int
) -> None:
    """From end to end; those that do not agree take nothing off."""
    fields = even(0.9, 32)  # places 4 cells apart
    fields.limbs[0, 0, :, 8 + 4 * agreeing - 2 :] = -0.9
    poses = decode(fields, LINE, DecodeOptions(size_weight=0))
    assert len(poses) == found
    for pose in poses:
        assert pose.score == pytest.approx(0.9, abs=1e-3)
    fields.limbs[0] = fields.limbs[0, ::-1].copy()  # up, not along
    assert decode(fields, LINE) == []


@pytest.mark.parametrize("heights", [(0.05, 1.0), (1.0, 0.05)])
def test_a_person_begins_with_a_limb_whose_ends_are_both_sure(heights: tuple[float, float]) -> None:
    assert decode(even(1, 10, heights=heights), LINE) == []
    assert len(decode(even(1, 10, heights=(0.11, 0.11)), LINE)) == 1
    (pose,) = decode(even(1, 10, heights=heights), LINE, DecodeOptions(threshold=0.04))
    assert pose.confidence == pytest.approx(heights, abs=1e-3)


@pytest.mark.parametrize("size", [(40, 60), (80, 60)])
@pytest.mark.parametrize("weight", [0.0, 0.2, 1.0])
def test_a_score_grows_with_the_persons_size_in_heights_of_the_map(size, weight: float) -> None:
    for length in (10, 30):
        (pose,) = decode(even(0.8, length, size), LINE, DecodeOptions(size_weight=weight))
        assert pose.score == pytest.approx(0.8 * (length / size[0]) ** weight, abs=0.002)


def test_a_score_is_the_limbs_mean_times_the_root_of_the_share_there_is() -> None:
    whole = standing(200, 250, 100)
    xy = whole.xy.copy()
    xy[8:14] = np.nan  # the legs
    fields = drawn([person(BODY, xy)], CELLS)
    there = ~np.isnan(xy[:, 0])
    limbs = sum(there[a] and there[b] for a, b in BODY.pairs)
    plain = DecodeOptions(size_weight=0)
    halves = [decode(NetworkOutput(fields.heatmaps, fields.limbs * f), BODY, plain)[0].score
              for f in (1, 0.5)]  # fmt: skip
    assert halves[1] == pytest.approx(halves[0] / 2)
    assert 0.9 < halves[0] / np.sqrt(limbs / len(BODY.limbs)) <= 1
    assert len(decode(fields, BODY)) == 1


@pytest.mark.parametrize("far", [True, False])
@pytest.mark.parametrize("upright", [True, False])
def test_between_the_last_cell_and_the_edge_the_field_is_the_last_cells(far, upright) -> None:
    """A limb 0.4 cells beyond the middles of the last cells, where the field rises to 0.5."""
    size = (30, 40)
    edge = (29.4 if far else -0.4) if not upright else (39.4 if far else -0.4)
    ends = [(edge, 5), (edge, 20)] if upright else [(5, edge), (20, edge)]
    limbs = np.full((1, 2, *size), 0.1, np.float32)
    last = (slice(None), -1 if far else 0) if upright else (-1 if far else 0, slice(None))
    limbs[0, int(upright)][last] = 0.5
    fields = NetworkOutput(np.stack([gaussian(size, *end) for end in ends]), limbs)
    (pose,) = decode(fields, LINE, DecodeOptions(size_weight=0))
    assert pose.score == pytest.approx(0.5, abs=1e-3)
    assert fields.cells(pose.xy) == pytest.approx(np.array(ends), abs=0.05)


# Who belongs to whom.


def joined(*limbs: tuple[int, int, float], kinds: tuple[int, ...], strong: bool = True) -> list:
    """People from pairs (start, end, score) of peaks of these kinds, as (peaks, limbs, score)."""
    peaks = Peaks(np.array(kinds), np.zeros((len(kinds), 2), np.float32), np.ones(len(kinds)))
    start, end, score = (np.array(side) for side in zip(*limbs, strict=True))
    people = group(Limbs(start, end, score, np.full(len(limbs), strong)), peaks)
    return [(sorted(one.peaks), one.limbs, pytest.approx(one.score)) for one in people]


def test_a_ring_of_limbs_is_one_person_and_all_of_them_count() -> None:
    ring = ((0, 1, 0.9), (1, 2, 0.8), (0, 2, 0.7))
    assert joined(*ring, kinds=(0, 1, 2)) == [([0, 1, 2], 3, 2.4)]


def test_two_parts_become_one_person_through_a_limb_unless_both_have_a_kind() -> None:
    parts = ((0, 1, 0.9), (2, 3, 0.8), (1, 2, 0.5))
    assert joined(*parts, kinds=(0, 1, 2, 3)) == [([0, 1, 2, 3], 3, 2.2)]
    assert joined(*parts, kinds=(0, 1, 2, 0)) == [([0, 1], 1, 0.9), ([2, 3], 1, 0.8)]
    more = (*parts, (3, 4, 0.4))  # what grows after a merge belongs to the whole
    assert joined(*more, kinds=(0, 1, 2, 3, 4)) == [([0, 1, 2, 3, 4], 4, 2.6)]
    assert joined(*more, kinds=(0, 1, 2, 3, 1)) == [([0, 1, 2, 3], 3, 2.2)]


def test_a_peak_joins_once_at_either_end_and_brings_its_score() -> None:
    for other in ((1, 2, 0.5), (2, 1, 0.5)):
        assert joined((0, 1, 0.9), other, kinds=(0, 1, 2)) == [([0, 1, 2], 2, 1.4)]
        assert joined((0, 1, 0.9), other, kinds=(0, 1, 0)) == [([0, 1], 1, 0.9)]
    assert joined((0, 1, 0.9), kinds=(0, 1), strong=False) == []


# Places between cells.


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-0.4, 13.4), st.floats(-0.4, 9.4)), min_size=6, max_size=6))
def test_the_top_of_each_of_several_maps_is_found_between_cells_and_at_the_edge(places) -> None:
    maps = np.stack([gaussian((10, 14), x, y, 0.8) for x, y in places]).reshape(2, 3, 10, 14)
    xy, height = argmax(maps)
    assert xy.shape == (2, 3, 2)
    assert np.abs(xy.reshape(-1, 2) - places).max() < 0.05
    assert np.array_equal(height, maps.max(axis=(2, 3)))


def test_between_two_of_a_kind_each_has_its_own_top() -> None:
    """Three cells apart the maps flow into each other: the slopes of the far sides tell."""
    for apart in (2.8, 3.0, 3.3):
        both = np.maximum(gaussian((20, 20), 6.2, 8), gaussian((20, 20), 6.2 + apart, 8))
        for turned in (both, both.T):
            peaks = find_peaks(turned[None], 0.1)
            along = np.sort(peaks.xy[:, 0 if turned is both else 1])
            assert along == pytest.approx([6.2, 6.2 + apart], abs=0.12)
