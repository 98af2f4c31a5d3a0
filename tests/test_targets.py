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
    field = targets.limb_fields(xy, seen(xy), (15, 15), LINE)[0, 0].numpy()
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
    both = targets.limb_fields(xy, seen(xy), (15, 15), LINE)[0, 0]
    assert torch.allclose(both[:, 7, 7], torch.tensor([0.5, 0.5]))
    hidden = seen(xy)
    hidden[:, 1, 0] = False
    one = targets.limb_fields(xy, hidden, (15, 15), LINE)[0, 0]
    assert torch.allclose(one[:, 7, 7], torch.tensor([1.0, 0.0]))
    assert targets.heatmaps(xy, hidden, (15, 15))[0, 0, 1, 7] < 1e-3


def test_a_batch_is_drawn_as_its_pictures_are() -> None:
    people = [standing(150, 100, 50), standing(90, 200, 60)]
    xy = torch.from_numpy(np.stack([person.xy for person in people]))[:, None]
    maps = targets.heatmaps(xy, seen(xy), (30, 40))
    limbs = targets.limb_fields(xy, seen(xy), (30, 40), BODY)
    for number, person in enumerate(people):
        alone = drawn([person], (30, 40))
        assert np.array_equal(maps[number].numpy(), alone.heatmaps)
        assert np.array_equal(limbs[number].numpy(), alone.limbs)
