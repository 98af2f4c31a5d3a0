"""Which graph computes a picture depends on its shape, and not on what came before."""

from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch

from limbwise.backends.compiled import SIZES, TOGETHER, USUAL, AnySize, Crops, is_usual, parts
from limbwise.backends.openvino import capabilities
from limbwise.estimator import Estimator, load
from limbwise.models.catalogue import CATALOGUE
from limbwise.networks.checkpoint import build, save
from limbwise.networks.picture_model import to_onnx
from limbwise.skeleton import Skeleton

STICK = Skeleton(("left_end", "right_end"), (("left_end", "right_end"),), (0.1, 0.1))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Any:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save(build("limbwise", STICK, channels=16, blocks=1, width=0.25), path)
    return ov.Core().read_model(to_onnx(path))


@pytest.fixture
def compiled() -> list[str]:
    """The input shapes of what was compiled."""
    return []


@pytest.fixture
def graphs(model, compiled) -> AnySize:
    def compile_model(model: Any) -> Any:
        compiled.append(str(model.inputs[0].partial_shape))
        precise = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        return ov.Core().compile_model(model, "CPU", precise)

    return AnySize(model, compile_model, (0, 1))


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def truth(model: Any, image: np.ndarray) -> list[np.ndarray]:
    """By a graph for any size."""
    precise = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    request = ov.Core().compile_model(model, "CPU", precise).create_infer_request()
    request.infer([image])
    return [request.get_output_tensor(place).data.copy() for place in range(2)]


@pytest.mark.parametrize(("width", "shape"), [(64, "[1,64,64,3]"), (72, "[?,?,?,3]")])
def test_one_graph_computes_a_shape_from_the_first_time_on(
    graphs, compiled, model, width: int, shape: str
) -> None:
    image = noise(0, 1, 64, width, 3)
    said = [graphs(image) for _ in range(40)]
    assert compiled == [shape]
    for each in said:
        assert all(map(np.array_equal, each, said[0]))
    for mine, wanted in zip(said[0], truth(model, image), strict=True):
        assert np.abs(mine - wanted).max() < 1e-5


@pytest.mark.parametrize("streams", [1, 2, 3, 8])
def test_every_stream_gets_its_share_of_the_crops(streams: int) -> None:
    assert parts(0, streams) == []
    for count in range(1, 40):
        several = parts(count, streams)
        sizes = [part.stop - part.start for part in several]
        assert [n for part in several for n in range(count)[part]] == list(range(count))
        assert 1 <= min(sizes) <= max(sizes) <= min(min(sizes) + 1, TOGETHER)
        assert len(several) == count or len(several) % streams == 0
        assert len(several) - streams < count / TOGETHER  # no more than it takes


def test_crops_are_answered_in_their_order_and_a_graph_serves_each_number(compiled) -> None:
    import openvino.opset13 as op

    crop = op.parameter([-1, -1, -1, 3], np.uint8, name="crop")
    mean = op.reduce_mean(op.convert(crop, "f32"), np.array([1, 2]), keep_dims=True)

    def compile_model(model: Any) -> Any:
        compiled.append(str(model.inputs[0].partial_shape))
        return ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    crops = Crops(ov.Model([mean], [crop]), compile_model, (0,), (8, 6), 2)
    for count in (1, 2, 5, 6, 13, 5):
        images = np.full((count, 8, 6, 3), np.arange(count)[:, None, None, None], np.uint8)
        (said,) = crops(images)
        assert said[:, 0, 0, 0].tolist() == list(range(count))
    assert compiled == ["[1,8,6,3]", "[2,8,6,3]", "[3,8,6,3]"]


def test_shapes_that_are_not_usual_share_a_graph(graphs, compiled) -> None:
    for width in (72, 80, 104, 128, 136) * 3:
        graphs(noise(0, 1, 64, width, 3))
    assert compiled == ["[?,?,?,3]"]


def test_a_shape_that_is_compiled_again_is_answered_as_before(graphs, compiled) -> None:
    first = graphs(noise(0, 1, 64, 64, 3))
    for rows in range(72, 72 + 8 * SIZES, 8):
        graphs(noise(0, 1, rows, rows, 3))
    again = graphs(noise(0, 1, 64, 64, 3))
    assert compiled.count("[1,64,64,3]") == 2
    assert all(map(np.array_equal, again, first))


@pytest.mark.parametrize(
    "size", [(640, 480), (1920, 1080), (1080, 1920), (854, 480), (768, 576), (3000, 2000), (99, 99)]
)
@pytest.mark.parametrize("height", [160, 256, 368, 448])
def test_films_have_usual_shapes(size: tuple[int, int], height: int) -> None:
    from limbwise.geometry import letterbox

    fitted, _ = letterbox(np.zeros((size[1], size[0], 3), np.uint8), height, 8)
    assert is_usual(fitted.shape[:2], 8)


def test_usual_shapes_are_fewer_than_graphs_that_are_kept() -> None:
    assert len(USUAL) < SIZES
    assert sum(is_usual((368, width), 8) for width in range(8, 1500, 8)) == len(USUAL)


@pytest.fixture(scope="module", params=sorted(CATALOGUE))
def several(request, picture) -> list[Estimator]:
    """A bundled model in every precision that this machine has."""
    precisions = ["f32", *["bf16"] * ("BF16" in capabilities()), *["int8"] * (
        CATALOGUE[request.param].first.quantised.is_file()
    )]  # fmt: skip
    return [load(request.param, precision=each, threads=1, height=160) for each in precisions]


def test_the_answer_to_a_picture_does_not_depend_on_how_many_came_before(several, picture) -> None:
    usual = picture[:, :640]  # 4 to 3
    for estimate in several:
        for image in (usual, picture)[: 1 if estimate.person else 2]:
            first, *others = (estimate(image) for _ in range(40))
            for poses in others:
                assert len(poses) == len(first)
                for one, other in zip(poses, first, strict=True):
                    assert np.array_equal(one.xy, other.xy, equal_nan=True)
                    assert np.array_equal(one.confidence, other.confidence)


def test_what_was_said_stays_when_more_is_asked(graphs) -> None:
    """Neither graph hands out memory that it writes again."""
    for _ in range(3):
        first = graphs(noise(1, 1, 64, 64, 3))[0]
        kept = first.copy()
        graphs(noise(2, 1, 64, 64, 3))
        assert np.array_equal(first, kept)
