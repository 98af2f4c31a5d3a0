from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from limbwise.data.annotations import LABELLED, UNCERTAIN, UNLABELLED, Labels, Piece
from limbwise.geometry import letterbox
from limbwise.skeleton import Skeleton
from limbwise.train.batches import pictures as decoding
from limbwise.train.batches import pixels as paint
from limbwise.train.batches.augmentation import Augment, Dice
from limbwise.train.batches.batch import Batch, TargetOptions, augmented, labelled
from limbwise.train.batches.crop import grid, moved, people_on, plane_of
from limbwise.train.batches.pictures import Pictures
from limbwise.train.batches.samples import Samples
from limbwise.train.batches.samples import samples as samples_of
from limbwise.train.batches.targets import limb_heatmaps

# Two keypoints that a mirror swaps, one that it does not; a limb from each to the middle.
SIGN = Skeleton(
    ("left_end", "right_end", "middle"),
    (("left_end", "middle"), ("right_end", "middle")),
    (0.1, 0.1, 0.1),
)
ONLY_PLACE = {  # no other colours, so that what was painted is found again
    "brightness": 0, "contrast": 0, "saturation": 0, "tint": 0, "gamma": 0, "grey": 0,
    "soften": 0, "noise": 0, "cut_out": 0,
}  # fmt: skip
STILL = {"shift": 0, "stretch": 0, "turn": 0, "turn_any": 0, "flip": 0, "mosaic": 0} | ONLY_PLACE


pytestmark = pytest.mark.usefixtures("one_thread")


People = list[list[tuple[float, float, int]]]  # keypoints x, y, state of each person
Box = tuple[float, float, float, float]


def world(*pictures: tuple[np.ndarray, People, list[Box]]) -> Samples:
    """Pictures (H, W, 3) with their people and regions."""
    people = [np.array(one, np.float32) for _, several, _ in pictures for one in several]
    keypoints = np.array(people, np.float32).reshape(-1, 3, 3)
    low, high = keypoints[:, :, :2].min(axis=1), keypoints[:, :, :2].max(axis=1)
    regions = [box for _, _, several in pictures for box in several]
    labels = Labels(
        SIGN,
        tuple(range(len(pictures))),
        tuple(Piece(Path("none"), "none") for _ in pictures),
        np.array([image.shape[:2] for image, _, _ in pictures]),
        keypoints[:, :, :2],
        keypoints[:, :, 2].astype(np.int8),
        np.concatenate([low, high], axis=1),
        (high - low + 1).prod(axis=1),
        np.append(0, np.cumsum([len(several) for _, several, _ in pictures])),
        np.array(regions, np.float32).reshape(-1, 4),
        np.append(0, np.cumsum([len(several) for _, _, several in pictures])),
    )
    return samples_of(labels, stored([image for image, _, _ in pictures]))


def stored(images: list[np.ndarray], levels: int = 3) -> Pictures:
    """What `load_pictures` makes of images."""
    sizes = decoding._stored_sizes(np.array([image.shape[:2] for image in images]), 10**6, levels)
    pixels = [
        decoding._smaller(image, *size.tolist()).reshape(-1, 3)
        for image, several in zip(images, sizes, strict=True)
        for size in several
    ]
    ends = sizes.prod(axis=2).reshape(-1).cumsum()
    return Pictures(
        torch.from_numpy(np.concatenate([*pixels, np.zeros((2000, 3), np.uint8)])),
        torch.from_numpy(np.append(0, ends[:-1]).reshape(sizes.shape[:2])),
        torch.from_numpy(sizes),
        torch.ones(len(images), 2),
    )


def made(
    samples: Samples, seed: int = 0, size: tuple[int, int] = (128, 160), **options: float
) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    indices = torch.arange(len(samples))
    return augmented(samples, indices, size, generator, Augment(**options))


def letterboxed(samples: Samples, indices: torch.Tensor, size: tuple[int, int]) -> Batch:
    """The pictures unchanged, as large as fits into `size`, padded right and below."""
    dice = Dice(torch.Generator(), torch.device("cpu"))
    plane = plane_of(samples, indices, 0, dice)
    fit = (plane.size / torch.tensor(size[::-1])).amax(dim=1)
    linear = torch.diag_embed(fit[:, None].expand(-1, 2))
    crop = torch.cat([linear, (fit / 2 - 0.5)[:, None, None].expand(-1, 2, 1)], dim=2)
    images = paint.drawn(samples, plane, crop, size, None, dice)
    return labelled(samples, plane, people_on(samples, plane), crop, images, TargetOptions(SIGN))


def blobs(shape: tuple[int, int], places: list[tuple[float, float]], sigma: float) -> np.ndarray:
    """Blue spots of light on black; the grey of padding has no more blue than green."""
    y, x = np.indices(shape)
    light = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * sigma**2)) for a, b in places)
    return np.stack([250 * light, 0 * light, 0 * light], axis=2).round().astype(np.uint8)


def blueness(image: torch.Tensor) -> np.ndarray:
    """(H, W), 0 in grey."""
    blue, green = image[:2].numpy().astype(float)
    return np.maximum(blue - green, 0)


def inside(xy: torch.Tensor, shape: tuple[int, int], margin: float) -> bool:
    return all(
        margin < value < side - 1 - margin for value, side in zip(xy, shape[::-1], strict=True)
    )


places = st.tuples(st.floats(25, 135), st.floats(25, 95))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(places, places, places), min_size=4, max_size=4), st.integers(0, 10**6),
       st.sampled_from([0.0, 1.0]))  # fmt: skip
def test_a_keypoint_goes_where_the_bright_pixels_go(people, seed, mosaic) -> None:
    """Every keypoint in its own picture: the middle of the light is where the keypoint is said
    to be, also where four pictures are one sample."""
    pictures = []
    for k in range(3):
        for one in people:
            keypoints = [
                (*xy, LABELLED if k == number else UNLABELLED) for number, xy in enumerate(one)
            ]
            pictures.append((blobs((120, 160), [one[k]], 4), [keypoints], []))
    batch = made(world(*pictures), seed, person=(0.3, 1.2), mosaic=mosaic, **ONLY_PLACE)
    for n, image in enumerate(batch.images):
        light = blueness(image)
        for xy in batch.keypoints[n][batch.visible[n]]:
            if inside(xy, light.shape, 14):
                x, y = xy.tolist()
                left, top = round(x) - 13, round(y) - 13
                window = light[top : top + 27, left : left + 27]
                rows, columns = np.indices(window.shape)
                middle = [(window * at).sum() / window.sum() for at in (columns, rows)]
                if mosaic == 0 or _alone(batch.keypoints[n][batch.visible[n]], xy):
                    assert np.hypot(middle[0] + left - x, middle[1] + top - y) < 0.35


def _alone(places: torch.Tensor, xy: torch.Tensor) -> bool:
    """No other light, and no edge of the next picture, disturbs."""
    return int(((places - xy).abs().amax(dim=1) < 30).sum()) == 1


def ends(flip: float) -> Batch:
    """The left end is blue, the right end red."""
    image = np.zeros((100, 100, 3), np.uint8)
    image[45:56, 65:76, 0] = image[45:56, 25:36, 2] = 255
    person = [(70, 50, LABELLED), (30, 50, LABELLED), (50, 50, LABELLED)]
    return made(world((image, [person], [])), **STILL | {"flip": flip}, person=(0.5, 0.5))


@pytest.mark.parametrize(("flip", "under_left", "under_right"), [(0, 0, 2), (1, 2, 0)])
def test_in_a_mirror_left_is_right(flip: float, under_left: int, under_right: int) -> None:
    batch = ends(flip)
    for k, colour in ((0, under_left), (1, under_right)):
        x, y = batch.keypoints[0, 0, k].round().int().tolist()
        assert batch.images[0, :, y, x].argmax() == colour
        assert batch.images[0, :, y, x].max() > 200
    assert batch.keypoints[0, 0, 0, 0] > batch.keypoints[0, 0, 1, 0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 1.0]))
def test_a_region_goes_where_its_pixels_go(seed, mosaic) -> None:
    """Cells over the painted region weigh nothing, those well away from it everything."""
    image = np.zeros((120, 160, 3), np.uint8)
    image[30:71, 40:101] = (250, 0, 0)
    samples = world(*[(image, [], [(39.5, 29.5, 100.5, 70.5)])] * 4)
    batch = made(samples, seed, mosaic=mosaic, **ONLY_PLACE)
    for n in range(4):
        light = blueness(batch.images[n]) > 125
        rows, columns = np.nonzero(light)
        for row, column in np.ndindex(*batch.heatmaps.shape[2:]):
            y, x = row * 8 + 3.5, column * 8 + 3.5
            away = np.hypot(rows - y, columns - x).min(initial=np.inf)
            if away < 1:
                assert batch.heatmap_weight[n, 0, row, column] == 0
            if away > 7 * 1.7 and 20 < x < 140 and 20 < y < 108:  # the spill, stretched
                assert batch.heatmap_weight[n, 0, row, column] == 1


def flat(people: People, regions: list[Box] | None = None) -> tuple[np.ndarray, People, list[Box]]:
    return np.zeros((128, 160, 3), np.uint8), people, regions or []


def test_what_is_unsure_is_masked_where_it_is_and_only_there() -> None:
    person = [(40, 60, UNCERTAIN), (120, 60, LABELLED), (80, 60, LABELLED)]
    batch = letterboxed(world(flat([person])), torch.tensor([0]), (128, 160))
    assert batch.visible[0, 0].tolist() == [False, True, True]
    heat, limbs = batch.heatmap_weight[0], batch.limb_weight[0]
    assert heat[0, 7, 4] == limbs[0, 7, 4] == limbs[0, 7, 7] == 0  # the left end; its limb
    assert heat[0, 7, 15] == limbs[0, 7, 15] == limbs[0, 0, 4] == heat[0, 15, 4] == 1
    assert (heat[1:] == 1).all()
    assert (limbs[1] == 1).all()


@settings(max_examples=30, deadline=None)
@given(st.tuples(places, places, places), st.floats(3, 30), st.floats(3, 30))
def test_bands_round_limbs_are_gaussians_of_the_distance(xy, one, other) -> None:
    """Each limb with a width of its own; one that is not shown is not drawn."""
    keypoints = torch.tensor(xy).view(1, 1, 3, 2)
    sigma = torch.tensor([[[one, other]]])
    drawn = limb_heatmaps(keypoints, torch.tensor([[[True, True]]]), (15, 20), SIGN, 8, sigma)
    cells = np.stack(np.meshgrid(np.arange(20), np.arange(15)), axis=2) * 8 + 3.5
    for limb, (a, b) in enumerate(SIGN.pairs):
        start, way = np.array(xy[a]), np.array(xy[b]) - np.array(xy[a])
        share = np.clip((cells - start) @ way / max(way @ way, 1e-6), 0, 1)
        square = np.square(cells - start - share[..., None] * way).sum(axis=2)
        expected = np.exp(-square / (2 * float(sigma[0, 0, limb]) ** 2))
        assert np.abs(drawn[0, limb].numpy() - expected).max() < 1e-3
    hidden = limb_heatmaps(keypoints, torch.tensor([[[True, False]]]), (15, 20), SIGN, 8, sigma)
    assert hidden[0, 0].equal(drawn[0, 0])
    assert not hidden[0, 1].any()


def test_a_large_person_is_masked_more_widely_than_a_small_one() -> None:
    small = [(78, 64, UNCERTAIN), (82, 64, LABELLED), (80, 60, LABELLED)]
    large = [(80, 64, UNCERTAIN), (159, 0, LABELLED), (0, 127, LABELLED)]
    samples = world(flat([small]), flat([large]))
    masked, enlarged = (
        (1 - letterboxed(samples, torch.tensor([0, 1]), size).heatmap_weight[:, 0])
        for size in ((128, 160), (256, 320))
    )
    assert masked[1].sum() > 2 * masked[0].sum() > 0
    assert float(enlarged[1].sum()) == pytest.approx(4 * float(masked[1].sum()), rel=0.1)


def test_what_is_labelled_counts_though_a_region_lies_over_it() -> None:
    person = [(40, 60, LABELLED), (120, 60, LABELLED), (80, 60, UNLABELLED)]
    batch = letterboxed(world(flat([person], [(0, 0, 159, 127)])), torch.tensor([0]), (128, 160))
    heat = batch.heatmap_weight[0]
    assert heat[0, 7, 4] == heat[0, 7, 5] == heat[1, 7, 14] == 1
    assert heat[0, 7, 14] == heat[0, 0, 0] == 0
    assert (heat[2] == 0).all()
    assert (batch.limb_weight == 0).all()


def test_nobody_is_punished_for_people_of_other_pictures() -> None:
    one = [(40, 60, LABELLED), (120, 60, LABELLED), (80, 60, LABELLED)]
    another = [(40, 90, UNCERTAIN), (120, 90, UNCERTAIN), (80, 90, UNCERTAIN)]
    samples = world(flat([one]), flat([one, another, another]), flat([]))
    batch = letterboxed(samples, torch.tensor([0, 1, 2]), (128, 160))
    assert batch.visible.any(dim=2).tolist() == [[True, False, False]] * 2 + [[False] * 3]
    for weights in (batch.heatmap_weight, batch.limb_weight):
        assert (weights[[0, 2]] == 1).all()
        assert (weights[1] == 0).any()


def test_padding_is_grey_and_counts() -> None:
    batch = letterboxed(world(flat([])), torch.tensor([0]), (160, 160))
    assert (batch.images[0, :, 128:] == 128).all()
    assert (batch.images[0, :, :128] == 0).all()
    assert (batch.heatmap_weight == 1).all()
    batch = made(world(flat([])), turn=45, noise=1, brightness=0.5)
    edges = batch.images[0].flatten(1).T
    assert int((edges == 128).all(dim=1).sum()) > 1000


@settings(max_examples=20, deadline=None)
@given(st.integers(20, 300), st.integers(20, 300), st.integers(0, 9))
def test_a_letterboxed_picture_is_what_the_network_will_see(rows, columns, seed) -> None:
    """As `fit` makes it, to a pixel's fraction, and the keypoints with it."""
    size = (128, 512)  # so wide that the height decides
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (rows // 10 + 1, columns // 10 + 1, 3), np.uint8)
    image = decoding.cv2.resize(small, (columns, rows), interpolation=decoding.cv2.INTER_CUBIC)
    if columns > 4 * rows:
        return
    person = [
        (columns / 3, rows / 2, LABELLED),
        (0, 0, LABELLED),
        (columns - 1, rows - 1, LABELLED),
    ]
    batch = letterboxed(world((image, [person], [])), torch.tensor([0]), size)
    expected, view = letterbox(image, size[0])
    xy = np.array([keypoint[:2] for keypoint in person])
    assert np.abs(batch.keypoints[0, 0].numpy() - view.forward(xy)).max() < 1
    columns = round(columns * 128 / rows)
    seen = batch.images[0, :, :, :columns].permute(1, 2, 0).numpy().astype(float)
    assert np.abs(seen[:, : expected.shape[1]] - expected[:, :columns]).mean() < 12


def test_pictures_made_small_are_averaged() -> None:
    """Of 4 x 4 pixels of noise a quarter is left, not the half that every second pixel has."""
    noise = np.random.default_rng(0).choice([0, 255], (512, 512)).astype(np.uint8)
    samples = world((np.repeat(noise[..., None], 3, axis=2), [], []))
    batch = letterboxed(samples, torch.tensor([0]), (128, 128))
    assert 25 < batch.images.float().std() < 40
    assert batch.images.float().mean() == pytest.approx(noise.mean(), abs=0.2)


def test_pictures_made_large_are_smooth_and_no_darker() -> None:
    ramp = np.broadcast_to(np.arange(40, dtype=np.uint8)[None, :, None] * 5, (40, 40, 3))
    batch = letterboxed(world((ramp, [], [])), torch.tensor([0]), (160, 160))
    expected = ((np.arange(160) + 0.5) / 4 - 0.5).clip(0, 39) * 5
    wrong = batch.images[0].numpy() - expected
    assert np.abs(wrong).max() < 0.6
    assert np.abs(wrong.mean()) < 0.2


def test_four_pictures_meet_without_a_seam() -> None:
    """Of white ones a white rectangle is seen, with grey only round it."""
    white = np.full((120, 160, 3), 255, np.uint8)
    batch = made(world(*[(white, [], [])] * 8), **STILL | {"mosaic": 1.0})
    for image in batch.images:
        seen = (image == 255).all(dim=0).numpy()
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        assert seen[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def test_four_pictures_are_equally_large() -> None:
    """However large they are: of four quarters each is red or blue."""
    large, small = np.zeros((240, 320, 3), np.uint8), np.zeros((60, 80, 3), np.uint8)
    large[..., 0] = small[..., 2] = 255
    still = STILL | {"mosaic": 1.0, "cover": 0.5, "person": (0.25, 0.25), "on_person": 0}
    batch = made(world((large, [], []), *[(small, [], [])] * 7), size=(256, 256), **still)
    for image in batch.images:
        red, blue = int((image[2] == 255).sum()), int((image[0] == 255).sum())
        quarters = 4 * red / (red + blue)
        assert quarters == pytest.approx(round(quarters), abs=0.1)
    assert len(batch.images.flatten(2).amax(dim=2).unique(dim=0)) > 1  # some have both


def crowd() -> Samples:
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(48):
        people = []
        for _ in range(rng.integers(1, 4)):
            x, y, height = rng.uniform(100, 300), rng.uniform(100, 300), rng.uniform(60, 160)
            people.append(
                [(x, y, LABELLED), (x + 5, y + height, LABELLED), (x - 5, y + height, LABELLED)]
            )
        pictures.append((np.zeros((400, 400, 3), np.uint8), people, []))
    return world(*pictures)


def test_most_crops_hold_people_of_all_sizes() -> None:
    samples = crowd()
    heights, holding = [], 0
    for seed in range(4):
        batch = made(
            samples, seed, size=(128, 128), turn_any=0, turn=0, shift=0, stretch=0, cover=0.2
        )
        for n in range(len(samples)):
            people = batch.keypoints[n][batch.visible[n].all(dim=1)]
            holding += any(inside(person[0], (128, 128), 0) for person in people)
            if n >= 12 and len(people) == 1:
                heights.append(float((people[0, 1, 1] - people[0, 0, 1]).abs()) / 128)
    assert holding > 0.85 * 4 * 48
    assert max(heights) < 1.5
    low, middle, high = np.quantile(heights, [0.1, 0.5, 0.9])
    assert low < 0.25 < middle < 0.55 < high


def test_the_same_generator_makes_the_same_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = crowd()
    first, again, other = made(samples, 1), made(samples, 1), made(samples, 2)
    monkeypatch.setattr(paint, "_AT_ONCE", 10**9)
    at_once = made(samples, 1)
    for name in Batch.__dataclass_fields__:
        one, *others = (getattr(batch, name) for batch in (first, again, at_once))
        assert all(one is another or one.equal(another) for another in others)
    assert not first.images.equal(other.images)


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_opencv_reads_pictures_as_a_gpu_does(mosaic, monkeypatch) -> None:
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (160, 120))
    samples = world(*[(smooth, [], [])] * 8)
    by_opencv = made(samples, mosaic=mosaic, **ONLY_PLACE).images

    def by_torch(pixels, crop, maps, starts, place, size):
        return paint._sampled(pixels, moved(grid(size, 1, crop), crop), maps, starts, place)

    monkeypatch.setattr(paint, "_warped", by_torch)
    difference = (by_opencv.int() - made(samples, mosaic=mosaic, **ONLY_PLACE).images.int()).abs()
    assert difference.float().mean() < 0.6  # rounded, and in steps of 1/32 pixel
    assert (difference > 6).float().mean() < 0.002  # the seams may lie half a pixel aside


@pytest.mark.parametrize("mosaic", [0.0, 0.5])
def test_a_batch_has_the_shapes_it_promises(mosaic: float) -> None:
    samples = crowd()
    generator = torch.Generator().manual_seed(0)
    batch = augmented(
        samples,
        torch.tensor([3, 1, 4, 1, 5]),
        (96, 160),
        generator,
        Augment(mosaic=mosaic),
        TargetOptions(SIGN, stride=4),
    )
    assert batch.images.shape == (5, 3, 96, 160)
    assert batch.images.dtype == torch.uint8
    assert batch.heatmaps.shape == (5, 3, 24, 40)
    assert batch.limbs.shape == (5, 2, 2, 24, 40)
    assert batch.heatmap_weight.shape == (5, 3, 24, 40)
    assert batch.limb_weight.shape == (5, 2, 24, 40)
    assert batch.visible.shape == batch.keypoints.shape[:3]
    assert torch.isfinite(batch.keypoints).all()
    for weights in (batch.heatmap_weight, batch.limb_weight):
        assert 0 <= weights.min() <= weights.max() <= 1


def test_pictures_without_people_make_batches_too() -> None:
    batch = made(world(flat([]), flat([])), mosaic=1)
    assert batch.keypoints.shape == (2, 0, 3, 2)
    assert (batch.heatmap_weight == 1).all()


@pytest.mark.parametrize("change", sorted(ONLY_PLACE))
def test_each_change_of_look_changes_the_look_and_nothing_else(change: str) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(60, 190, (128, 160, 3), np.uint8)
    person = [(40, 60, LABELLED), (120, 60, LABELLED), (80, 60, LABELLED)]
    samples = world(*[(image, [person], [])] * 8)
    plain = made(samples, **STILL)
    changed = made(
        samples, **STILL | {change: 1.0 if change not in ("brightness", "tint") else 0.3}
    )
    assert changed.keypoints.equal(plain.keypoints)
    different = (changed.images != plain.images).float().mean(dim=(1, 2, 3))
    assert (different > 0.001).sum() >= 7  # of 8: a shift of light may be less than a level
    if change == "grey":
        spread = changed.images.float().std(dim=1)
        assert spread.max() < 1


def test_turned_off_everything_is_as_it_was() -> None:
    image = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    person = [(0, 0, LABELLED), (127, 127, LABELLED), (64, 64, LABELLED)]
    still = STILL | {"person": (127 / 128, 127 / 128), "on_person": 1.0}
    batch = made(world((image, [person], [])), size=(128, 128), **still)
    assert np.array_equal(batch.images[0].permute(1, 2, 0).numpy(), image)
    assert batch.keypoints[0, 0].round().tolist() == [[0, 0], [127, 127], [64, 64]]


def test_square_pictures_can_be_widened() -> None:
    person = [(60, 60, LABELLED), (140, 140, LABELLED), (100, 100, LABELLED)]
    still = STILL | {"squares": 1.5, "on_person": 1.0}
    for image, least in (
        (np.zeros((200, 200, 3), np.uint8), 1.1),
        (np.zeros((200, 220, 3), np.uint8), 1),
    ):
        batch = made(world(*[(image, [person], [])] * 50), **still)
        way = batch.keypoints[:, 0, 1] - batch.keypoints[:, 0, 0]
        ratio = way[:, 0] / way[:, 1]
        assert ratio.min() > 0.999
        assert ratio.max() < 1.51
        assert (
            ratio.median() == pytest.approx(1, abs=1e-3) if least == 1 else ratio.median() > least
        )


def test_what_could_not_be_read_is_left_out() -> None:
    """Of three pictures the second is empty; its people go with it."""
    samples = crowd()
    sizes = samples.pictures.sizes[:3].clone()
    sizes[1] = 0
    pictures = replace(samples.pictures.subset(torch.arange(3)), sizes=sizes)
    labels = Labels(
        SIGN,
        (0, 1, 2),
        (Piece(Path("none"), "none"),) * 3,
        np.full((3, 2), 400),
        np.arange(3, dtype=np.float32).repeat(6).reshape(3, 3, 2),
        np.full((3, 3), LABELLED, np.int8),
        np.zeros((3, 4), np.float32),
        np.ones(3, np.float32),
        np.arange(4),
        np.zeros((0, 4), np.float32),
        np.zeros(4, int),
    )
    kept = samples_of(labels, pictures)
    assert len(kept) == 2
    assert kept.keypoints[:, 0, 0].tolist() == [0, 2]


def test_labels_follow_a_picture_that_is_stored_smaller() -> None:
    """A blob at a third of the size: half a pixel forgotten would be seen."""
    image = blobs((360, 480), [(200, 150)], 9)
    person = [(200, 150, LABELLED), (210, 150, LABELLED), (200, 160, LABELLED)]
    samples = world((image, [person], [(100, 100, 200, 200)]))
    labels = Labels(
        SIGN,
        (0,),
        (Piece(Path("none"), "none"),),
        np.array([[360, 480]]),
        samples.keypoints.numpy(),
        samples.state.numpy(),
        samples.boxes.numpy(),
        samples.scale.numpy() ** 2,
        np.array([0, 1]),
        samples.regions.numpy(),
        np.array([0, 1]),
    )
    third = replace(stored([decoding._smaller(image, 120, 160)]), scales=torch.full((1, 2), 1 / 3))
    small = samples_of(labels, third)
    light = blueness(torch.from_numpy(third.picture(0)).permute(2, 0, 1))
    rows, columns = np.indices(light.shape)
    middle = [(light * at).sum() / light.sum() for at in (columns, rows)]
    assert small.keypoints[0, 0].tolist() == pytest.approx(middle, abs=0.1)
    assert small.scale == pytest.approx(samples.scale / 3)
    assert small.regions[0].tolist() == pytest.approx([33, 33, 200 / 3 - 1 / 3, 200 / 3 - 1 / 3])


def test_a_colour_turned_grey_is_as_bright_as_it_looks() -> None:
    """ITU-R BT.601: a channel counts 0.114 (blue), 0.587 (green), 0.299 (red) of the light."""
    for channel, light in enumerate((0.114, 0.587, 0.299)):
        image = np.zeros((128, 160, 3), np.uint8)
        image[..., channel] = 200
        batch = made(world((image, [], [])), **STILL | {"grey": 1.0})
        inner = batch.images[0, :, 40:90, 50:110].float()
        assert float(inner.min()) == float(inner.max())
        assert float(inner.mean()) == pytest.approx(200 * light, abs=0.6)
