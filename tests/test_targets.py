import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import drawn, standing
from limbwise.skeleton import BODY, Skeleton
from limbwise.train.batches import targets

LINE = Skeleton(("a", "b"), (("a", "b"),), (0.1, 0.1))


def points(*people: tuple[tuple[float, float], ...]) -> torch.Tensor:
    return torch.tensor([people], dtype=torch.float32)


def seen(xy: torch.Tensor) -> torch.Tensor:
    return torch.ones(xy.shape[:-1], dtype=torch.bool)


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 100), st.floats(0, 80), st.sampled_from([4, 8]), st.sampled_from([3.5, 7.0]))
def test_a_heatmap_is_the_gaussian_at_every_cells_centre(x, y, stride, sigma):
    xy = points(((x, y), (0, 0)))
    maps = targets.heatmaps(xy, seen(xy), (12, 15), stride, sigma)[0, 0].numpy()
    columns, rows = np.meshgrid(*(np.arange(n) * stride + (stride - 1) / 2 for n in (15, 12)))
    expected = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    assert np.abs(maps - expected).max() < 1e-5


@settings(max_examples=30, deadline=None)
@given(*[st.floats(5, 110)] * 4)
def test_a_limb_field_is_the_unit_vector_near_the_limb_and_zero_elsewhere(ax, ay, bx, by):
    xy = points(((ax, ay), (bx, by)))
    field = targets.part_affinity_fields(xy, seen(xy), (15, 15), LINE)[0, 0].numpy()
    a, b = np.array([ax, ay]), np.array([bx, by])
    way = b - a
    length = max(np.hypot(*way), 1e-3)
    for row in range(15):
        for column in range(15):
            cell = np.array([column, row]) * 8 + 3.5
            nearest = a + way * np.clip((cell - a) @ way / length**2, 0, 1)
            distance = np.hypot(*(cell - nearest))
            if abs(distance - 8) > 0.01:
                expected = way / length if distance < 8 else np.zeros(2)
                assert np.abs(field[:, row, column] - expected).max() < 1e-3


def test_people_who_overlap_are_averaged_and_the_unseen_are_not_drawn() -> None:
    xy = points(((10, 60), (110, 60)), ((60, 10), (60, 110)))
    both = targets.part_affinity_fields(xy, seen(xy), (15, 15), LINE)[0, 0]
    assert torch.allclose(both[:, 7, 7], torch.tensor([0.5, 0.5]))
    hidden = seen(xy)
    hidden[:, 1, 0] = False
    one = targets.part_affinity_fields(xy, hidden, (15, 15), LINE)[0, 0]
    assert torch.allclose(one[:, 7, 7], torch.tensor([1.0, 0.0]))
    assert targets.heatmaps(xy, hidden, (15, 15))[0, 0, 1, 7] < 1e-3


def test_a_batch_is_drawn_as_its_pictures_are() -> None:
    people = [standing(150, 100, 50), standing(90, 200, 60)]
    xy = torch.from_numpy(np.stack([person.xy for person in people]))[:, None]
    maps = targets.heatmaps(xy, seen(xy), (30, 40))
    limbs = targets.part_affinity_fields(xy, seen(xy), (30, 40), BODY)
    for number, person in enumerate(people):
        alone = drawn([person], (30, 40))
        assert np.array_equal(maps[number].numpy(), alone.heatmaps)
        assert np.array_equal(limbs[number].numpy(), alone.limbs)


@settings(max_examples=30, deadline=None)
@given(st.floats(-5, 125), st.floats(-5, 100), st.sampled_from([4, 8]), st.floats(0.5, 3))
def test_a_gaussian_ends_where_its_reach_does(x, y, stride, reach):
    """Exactly 0 farther away than `reach` sigmas, to the right and below as to the left and
    above; of several the widest decides, so here is one."""
    xy, shown = points(((x, y), (0, 0))), torch.tensor([[[True, False]]])
    maps = targets.heatmaps(xy, shown, (12, 15), stride, 7.0, reach)[0, 0].numpy()
    columns, rows = np.meshgrid(*(np.arange(n) * stride + (stride - 1) / 2 for n in (15, 12)))
    far = np.maximum(np.abs(columns - x), np.abs(rows - y)) - 7 * reach
    expected = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 7.0**2))
    assert (maps[far > 1e-3] == 0).all()
    assert np.abs(maps - expected)[far < -1e-3].max(initial=0) < 1e-5
    usual = targets.heatmaps(xy, shown, (12, 15), stride)[0, 0].numpy()
    assert (usual[far + 7 * reach > 7 * 32**0.5 + 1e-3] == 0).all()


def test_of_people_who_overlap_the_nearest_keypoint_and_the_nearest_limb_count() -> None:
    people = points(((10, 60), (110, 60)), ((60, 10), (60, 110)), ((30, 30), (80, 90)))
    each = [targets.heatmaps(people[:, n : n + 1], seen(people[:, :1]), (15, 15)) for n in range(3)]
    together = targets.heatmaps(people, seen(people), (15, 15))
    assert torch.allclose(together, torch.stack(each).amax(dim=0), atol=2e-7)
    shown = torch.ones(1, 3, 1, dtype=torch.bool)
    limbs = [targets.limb_heatmaps(people[:, n : n + 1], shown[:, :1], (15, 15), LINE)
             for n in range(3)]  # fmt: skip
    assert torch.allclose(
        targets.limb_heatmaps(people, shown, (15, 15), LINE), torch.stack(limbs).amax(dim=0),
        atol=1e-6,
    )  # fmt: skip


def test_every_picture_keypoint_and_limb_has_a_map_of_its_own() -> None:
    """Two pictures, three keypoints, two limbs, of sizes that no two have in common."""
    sign = Skeleton(tuple("abc"), (("a", "b"), ("c", "b")), (0.1,) * 3)
    xy = torch.tensor([[[[20, 30], [60, 30], [60, 70.0]]], [[[90, 10], [50, 50], [10, 40.0]]]])
    maps = targets.heatmaps(xy, seen(xy), (11, 13))
    shown = torch.ones(2, 1, 2, dtype=torch.bool)
    bands = targets.limb_heatmaps(xy, shown, (11, 13), sign)
    fields = targets.part_affinity_fields(xy, seen(xy), (11, 13), sign)
    assert maps.shape == (2, 3, 11, 13)
    assert bands.shape == (2, 2, 11, 13)
    assert fields.shape == (2, 2, 2, 11, 13)
    for n in range(2):
        for k in range(3):
            row, column = divmod(int(maps[n, k].argmax()), 13)
            assert (column, row) == tuple(((xy[n, 0, k] - 3.5) / 8).round().int().tolist())
        for limb, (a, b) in enumerate(((0, 1), (2, 1))):
            middle = ((xy[n, 0, a] + xy[n, 0, b]) / 2 - 3.5) / 8
            column, row = middle.round().int().tolist()
            way = xy[n, 0, b] - xy[n, 0, a]
            assert torch.allclose(fields[n, limb, :, row, column], way / way.norm())
            assert bands[n, limb, row, column] > 0.8
    nobody = torch.zeros(2, 0, 3, 2), torch.zeros(2, 0, 3, dtype=torch.bool)
    assert not targets.heatmaps(*nobody, (11, 13)).any()
    assert not targets.part_affinity_fields(*nobody, (11, 13), sign).any()
    dots = Skeleton(tuple("abc"), (), (0.1,) * 3)
    assert targets.part_affinity_fields(xy, seen(xy), (11, 13), dots).shape == (2, 0, 2, 11, 13)
