"""A file of weights rebuilds the network that wrote it."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from limbwise.backends import onnxruntime, openvino, pytorch
from limbwise.errors import BadInput
from limbwise.export.onnx import export
from limbwise.geometry import letterbox
from limbwise.networks import checkpoint
from limbwise.networks.checkpoint import Checkpoint, build, load, save
from limbwise.networks.picture_model import PictureModel
from limbwise.skeleton import BODY, Skeleton

SQUARE = Skeleton(
    ("a", "left_b", "right_b", "c"), (("a", "left_b"), ("a", "right_b"), ("a", "c")), (0.1,) * 4
)


def shaken(name: str, skeleton: Skeleton, **options) -> Checkpoint:
    """A network whose every weight and statistic differs from a fresh one's."""
    torch.manual_seed(1)
    made = build(name, skeleton, **options)
    with torch.no_grad():
        for value in made.network.state_dict().values():
            if value.is_floating_point():
                value += 0.02 * torch.rand_like(value)
    made.network.eval()
    return made


@pytest.mark.parametrize(
    ("name", "skeleton", "options"),
    [
        ("limbwise", BODY, {}),
        ("limbwise", SQUARE, {"channels": 32, "blocks": 1}),
        ("lightweight-openpose", SQUARE, {"refinement_stages": 2}),
    ],
)
def test_what_is_saved_is_loaded(name, skeleton, options, tmp_path) -> None:
    made = shaken(name, skeleton, height=256, **options)
    save(made, tmp_path / "a.safetensors")
    back = load(tmp_path / "a.safetensors")
    assert back.description == made.description
    assert back.options == made.options
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for one, other in zip(made.network(x), back.network(x), strict=True):
            assert torch.equal(one, other)


def test_every_runtime_says_what_the_network_says(picture, tmp_path) -> None:
    made = shaken("limbwise", SQUARE)
    save(made, tmp_path / "a.safetensors", half=True)
    assert export(tmp_path / "a.safetensors", tmp_path / "a.onnx") < 1e-3
    reference = pytorch.load(tmp_path / "a.safetensors")
    others = [
        openvino.load(tmp_path / "a.safetensors", precision="f32"),
        onnxruntime.load(tmp_path / "a.onnx"),
    ]
    for height in (128, 136, 232):  # 4, 4.25 and 7.25 cells of the coarsest map
        inputs = letterbox(picture, height, multiple=8)[0][None]
        truth = reference(inputs)[0]
        assert truth.heatmaps.shape == (4, height // 8, inputs.shape[2] // 8)
        assert truth.limbs.shape == (3, 2, height // 8, inputs.shape[2] // 8)
        for other in others:
            said = other(inputs)[0]
            assert other.description == made.description
            assert np.abs(said.heatmaps - truth.heatmaps).max() < 1e-3
            assert np.abs(said.limbs - truth.limbs).max() < 1e-3


def test_maps_end_where_the_picture_does() -> None:
    """With odd numbers of cells, too; what is cut off changes nothing far from there."""
    made = shaken("limbwise", SQUARE)
    made.network.eval()
    x = torch.randn(1, 3, 544, 544)
    with torch.no_grad():
        whole, cut = made.network(x)[0], made.network(x[:, :, :520, :520])[0]
    assert cut.shape[2:] == (65, 65)
    assert torch.allclose(whole[:, :, :16, :16], cut[:, :, :16, :16], atol=1e-4)
    assert not torch.allclose(whole[:, :, 49:65, 49:65], cut[:, :, 49:65, 49:65], atol=1e-4)


def test_limbwise_has_the_size_that_was_promised() -> None:
    network = build("limbwise", BODY).network
    assert sum(p.numel() for p in network.parameters()) <= 3_500_000


def test_deep_supervision_is_only_there_while_training() -> None:
    network = build("limbwise", SQUARE).network
    x = torch.zeros(2, 3, 64, 64)
    assert [tuple(y.shape) for y in network.train()(x)] == [(2, 4, 8, 8), (2, 6, 8, 8)] * 2
    assert [tuple(y.shape) for y in network.eval()(x)] == [(2, 4, 8, 8), (2, 6, 8, 8)]


@pytest.mark.parametrize("content", [b"", b"12345678", b"\x02\0\0\0\0\0\0\0{}"])
def test_what_is_no_checkpoint_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="a.safetensors is not a checkpoint") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(BadInput, match="choose one of limbwise, limbwise-person, lite-hrnet, "):
        build("resnet", BODY)


def rewritten(path: Path, change) -> None:
    """The file with its header changed, its weights as they are."""
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["limbwise"])
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    change(header)
    save_file(state, path, {"limbwise": json.dumps(header)})


def changed(part: str, name: str, value) -> Callable[[dict], None]:
    return lambda header: header[part].update({name: value})


@pytest.mark.parametrize(
    "change",
    [changed("options", name, value) for name in ("blocks", "channels", "keypoints", "width")
     for value in (10**9, 10**30, 1e30, math.nan, math.inf, -1, "0x20", None, [1] * 9999, {}, 4000,
     5)]
    + [changed("description", name, value) for name in ("stride", "multiple", "height", "offset")
       for value in (10**30, 1e30, math.nan, -(10**9), "0x20", [], True)]
    + [changed("description", "skeleton", value) for value in (
        None, [], {}, {"keypoints": "ab", "limbs": [], "sigmas": [1e30, 1]},
        {"keypoints": [[1]], "limbs": [], "sigmas": [0.1]}, BODY.to_dict())]
    + [changed("description", "decoding", value) for value in (
        [], {"weak": math.nan}, {"samples": 10**9}, {"samples": 0}, {"length_cost": "1"})]
    + [changed("description", "crop", value) for value in ([10**6, 10**6], [1], "ab", 7)]
    + [changed("description", "name", value) for value in (None, [], "resnet", 7)]
    + [lambda header: header.clear(), lambda header: header.update(training=7),
       lambda header: header.update(options=[])],
)  # fmt: skip
def test_a_header_of_another_network_is_one_line_at_once(change, tmp_path: Path) -> None:
    """Without the memory of 10^9 channels, or the hours of as many blocks."""
    path = tmp_path / "a.safetensors"
    save(build("limbwise", SQUARE, channels=16, blocks=1, width=0.25), path)
    rewritten(path, change)
    began = time.process_time()
    with pytest.raises(BadInput) as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500
    assert time.process_time() - began < 5


def test_a_network_takes_no_memory_before_it_is_known_to_fit_its_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save(build("limbwise", SQUARE, channels=16, blocks=1, width=0.25), path)
    devices = []

    def noted(*args, **options) -> Checkpoint:
        devices.append(torch.empty(0).device.type)
        return build(*args, **options)

    monkeypatch.setattr(checkpoint, "build", noted)
    load(path)
    assert devices == ["meta", "cpu"]
    rewritten(path, lambda header: header["options"].update(channels=4096, width=16.0))
    with pytest.raises(BadInput, match="instead of"):
        load(path)
    assert devices == ["meta", "cpu", "meta"]


@pytest.mark.parametrize("name", ["limbwise", "limbwise-detector", "lite-hrnet"])
def test_every_colour_is_normalised_by_its_own_mean_and_scale(name: str) -> None:
    made = shaken(name, BODY)
    size = made.description.crop or (64, 96)
    image = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    its = made.traits
    colours = [
        (image[..., n].double() - torch.as_tensor(its.mean).expand(3)[n].double())
        * torch.as_tensor(its.scale).expand(3)[n].double()
        for n in range(3)
    ]
    model, seen = PictureModel(made), []
    model.network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        model(image)
    assert torch.allclose(seen[0], torch.stack(colours, dim=1).float(), rtol=1e-5, atol=1e-6)
