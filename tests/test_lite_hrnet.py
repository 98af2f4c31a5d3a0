"""Lite-HRNet without shuffles: what the published weights say, and where its cells lie."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import REFERENCE, VAL
from limbwise.crops import box_view
from limbwise.export.onnx import export
from limbwise.geometry import View, warp_crop
from limbwise.networks import checkpoint as checkpoints
from limbwise.networks.checkpoint import build, normalised
from limbwise.networks.lite_hrnet import LiteHRNet, UnitPair
from limbwise.networks.picture_model import to_onnx
from limbwise.refine import mirrored_maps
from limbwise.skeleton import COCO, Skeleton

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import second_stage_from_published as published  # type: ignore[import-not-found]

TINYPOSE = REFERENCE / "teachers" / "pp-tinypose-256x192" / "model.xml"
needs_tinypose = pytest.mark.skipif(not TINYPOSE.is_file(), reason="PP-TinyPose is not here")

SMALL = {"channels": [8, 8, 16, 16], "modules": [1, 1, 1]}
LIGHTS = Skeleton(("left_light", "right_light"), (("left_light", "right_light"),), (0.1, 0.1))


@needs_tinypose
def test_the_published_weights_say_what_the_published_network_says() -> None:
    """On a person's crop, on noise, and on nothing; whatever the number of threads."""
    import cv2
    import openvino as ov

    theirs = ov.Core().compile_model(TINYPOSE, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    ours = published.converted(TINYPOSE)
    photo = cv2.imread(str(sorted((VAL / "images").iterdir())[3]))
    noise = np.random.default_rng(0).integers(0, 256, (256, 192, 3), np.uint8)
    rows = [ours.description.skeleton.keypoints.index(name) for name in COCO.keypoints]
    for crop in (cv2.resize(photo, (192, 256)), noise, np.zeros_like(noise)):
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        rgb = ((crop[:, :, ::-1] / 255 - mean) / std).transpose(2, 0, 1)[None]
        truth = theirs([rgb.astype(np.float32)])[0]
        image = torch.from_numpy(crop).permute(2, 0, 1)[None]
        with torch.no_grad():
            said = ours.network.eval()(normalised(image, ours.traits))[0].numpy()
        assert np.abs(said[:, rows] - truth).max() < 1e-3
    neck = ours.description.skeleton.keypoints.index("neck")
    assert not said[:, neck].any()  # it is ours to learn


def shuffle_unit(x: torch.Tensor, change: torch.nn.Module) -> torch.Tensor:
    """As in the paper: a half is changed, then both halves take turns."""
    first, second = x.chunk(2, dim=1)
    return torch.stack([first, change(second)], dim=2).flatten(1, 2)


@given(st.integers(0, 1000), st.sampled_from([4, 8, 20]), st.sampled_from([1.0, 2.0]))
@settings(max_examples=15, deadline=None)
def test_a_pair_without_shuffles_is_two_shuffle_units(seed: int, channels: int, times: float):
    """Also if its inputs come in another order, and what it gives is asked for twice as large."""
    torch.manual_seed(seed)
    half = channels // 2

    def conv(kernel: int, groups: int) -> torch.nn.Conv2d:
        return torch.nn.Conv2d(half, half, kernel, 1, kernel // 2, groups=groups)

    units = [torch.nn.Sequential(conv(1, 1), torch.nn.ReLU(), conv(3, half), conv(1, 1),
                                 torch.nn.ReLU()) for _ in range(2)]  # fmt: skip
    layers = [
        published.Folded(layer.weight.detach(), layer.bias.detach())
        for unit in units
        for layer in unit
        if isinstance(layer, torch.nn.Conv2d)
    ]
    pair = UnitPair(channels, norm=False)
    order = torch.randperm(channels)
    with torch.no_grad():
        given_out = published.Filler(layers).units(pair, order, times)
        x = torch.rand(2, channels, 6, 5)  # after a ReLU
        truth = shuffle_unit(shuffle_unit(x, units[0]), units[1])
        assert torch.allclose(pair(x[:, order]), times * truth[:, given_out], atol=1e-5)


def test_maps_are_a_quarter_of_any_crop_of_whole_eights() -> None:
    for norm in (True, False):
        network = LiteHRNet(3, **SMALL, norm=norm).train()
        for size in ((64, 48), (160, 120), (40, 24)):
            maps, none = network(torch.zeros(2, 3, *size))
            assert maps.shape == (2, 3, size[0] // 4, size[1] // 4)
            assert none.shape[1] == 0
        maps.sum().backward()
        assert all(value.grad is not None for value in network.parameters())


def test_an_exported_file_without_batch_norm_is_a_checkpoint_too(tmp_path) -> None:
    torch.manual_seed(0)
    made = build("lite-hrnet", LIGHTS, 64, **SMALL, norm=False)
    checkpoints.save(made, tmp_path / "a.safetensors")
    for fp16, tolerance in ((False, 0), (True, 1e-3)):
        export(tmp_path / "a.safetensors", tmp_path / "a.onnx", fp16=fp16)
        again = checkpoints.load(tmp_path / "a.onnx")
        assert again.description == made.description
        assert again.options == made.options
        for name, value in again.network.state_dict().items():
            away = (value - made.network.state_dict()[name]).abs().max()
            assert float(away) <= tolerance, name
    assert made.description.skeleton.limbs  # they are drawn, though no network learns them


def test_a_file_with_folded_batch_norm_is_no_checkpoint(tmp_path) -> None:
    checkpoints.save(build("lite-hrnet", LIGHTS, 64, **SMALL), tmp_path / "a.safetensors")
    (tmp_path / "a.onnx").write_bytes(to_onnx(tmp_path / "a.safetensors"))
    with pytest.raises(Exception, match="cannot be trained on") as caught:
        checkpoints.load(tmp_path / "a.onnx")
    assert "\n" not in str(caught.value)


@given(st.floats(20, 170), st.floats(20, 230), st.sampled_from([-0.5, None]))
@settings(max_examples=25, deadline=None)
def test_mirrored_maps_agree_with_plain_ones(x: float, y: float, offset: float | None) -> None:
    """Of a network that sees a light, in the crop and in its mirror image."""
    from limbwise.network_output import NetworkOutput

    def seen(x: float) -> NetworkOutput:
        empty = np.zeros((2, 64, 48), np.float32)
        fields = NetworkOutput(empty, empty[:0, None], 4, None, offset)
        cells = np.mgrid[:64, :48][::-1].reshape(2, -1).T
        away = ((fields.pixels(cells) - (x, y)) ** 2).sum(axis=1).reshape(64, 48)
        empty[0] = empty[1] = np.exp(-away / 128)
        return fields

    plain, turned = seen(x), seen(191 - x)
    again = mirrored_maps([turned], LIGHTS)[0]
    assert np.abs(again - plain.heatmaps)[..., 1:].max() < 1e-4


@given(
    st.tuples(st.floats(-50, 400), st.floats(-50, 400)),
    st.tuples(st.floats(1, 500), st.floats(1, 500)),
)
@settings(max_examples=40, deadline=None)
def test_a_box_lies_in_the_middle_of_its_crop_with_a_margin(corner, sides) -> None:
    size = (256, 192)
    box = np.array([*corner, corner[0] + sides[0], corner[1] + sides[1], 1.0])
    view = box_view(box, size)
    low, high = view.forward(box[:4].reshape(2, 2))
    assert (low + high) / 2 == pytest.approx([95.5, 127.5], abs=0.05)
    if max(np.array(sides) / (192, 256)) > 0.05:  # smaller ones are not enlarged further
        assert max((high - low) / (192, 256)) == pytest.approx(1 / 1.25, abs=0.01)
    assert ((low > 0) & (high < (191, 255))).all()
    assert warp_crop(np.zeros((300, 300, 3), np.uint8), view, size).shape == (*size, 3)
    assert isinstance(view, View)
