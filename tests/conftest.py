"""What several tests share: pictures, a checkpoint with random weights, people drawn as fields."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Tests run on two cores at once; threads that wait for each other on the same cores take minutes.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from hypothesis import settings

from limbwise.estimator import SAMPLE
from limbwise.network_output import NetworkOutput
from limbwise.networks.lightweight_openpose import LightweightOpenPose
from limbwise.pose import Pose
from limbwise.skeleton import BODY, Skeleton
from limbwise.sources.image import read_picture
from limbwise.train.batches import targets

# CI draws the same examples every time; people's runs look for new ones.
settings.register_profile("ci", derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

_CACHE = tempfile.TemporaryDirectory(prefix="limbwise-tests-")  # not the user's own
os.environ["LIMBWISE_CACHE"] = _CACHE.name

# Shells start what runs in the background deaf to Ctrl+C, and what tests start would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):  # and nohup deaf to this one
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Signals come first: in a process in which other tests have started libraries with threads and
    handlers of their own, a signal that a test raises may end the process."""
    items.sort(key=lambda item: item.path.name != "test_interrupts.py")


SHARED = Path(__file__).parents[2] / "shared"
REFERENCE = SHARED / "reference"
VAL = SHARED / "data" / "val"

needs_reference = pytest.mark.skipif(
    not (REFERENCE / "golden.npz").is_file(), reason="the reference weights are not here"
)
needs_val = pytest.mark.skipif(
    not (VAL / "annotations.json").is_file(), reason="the validation pictures are not here"
)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Batches and networks as small as those of some tests are slower on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """Two people side by side, (480, 890, 3) BGR."""
    return read_picture(SAMPLE)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the original's format with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoint") / "random.pth"
    torch.save({"state_dict": LightweightOpenPose().state_dict()}, path)
    return path


def person(skeleton: Skeleton, xy: np.ndarray) -> Pose:
    """A pose with every keypoint found."""
    count = len(skeleton.keypoints)
    return Pose(skeleton, xy.astype(np.float32), np.ones(count, np.float32), 1.0)


# A standing person, one unit tall, seen from the front: x to the right of the neck, y below it.
STANDING = {
    "nose": (0, -0.08),
    "neck": (0, 0),
    "shoulder": (0.11, 0.01),
    "elbow": (0.15, 0.18),
    "wrist": (0.17, 0.33),
    "hip": (0.07, 0.32),
    "knee": (0.08, 0.57),
    "ankle": (0.09, 0.80),
    "eye": (0.025, -0.105),
    "ear": (0.05, -0.09),
}


def standing(height: float, x: float, y: float, skeleton: Skeleton = BODY) -> Pose:
    """A person `height` pixels tall with the neck at (x, y)."""
    places = []
    for name in skeleton.keypoints:
        side, _, part = name.partition("_")
        across, down = STANDING[part or name]
        places.append(((1 if side == "left" else -1) * across, down))
    return person(skeleton, np.array(places) * height + (x, y))


def drawn(
    poses: list[Pose], size: tuple[int, int], stride: int = 8, sigma: float = 7.0
) -> NetworkOutput:
    """The fields (h, w) = `size` that a perfect network gives for these people."""
    skeleton = poses[0].skeleton
    xy = torch.from_numpy(np.stack([pose.xy for pose in poses]))[None]
    visible = ~torch.isnan(xy[..., 0])
    xy = xy.nan_to_num()
    heatmaps = targets.heatmaps(xy, visible, size, stride, sigma)[0].numpy()
    limbs = targets.part_affinity_fields(xy, visible, size, skeleton, stride)[0].numpy()
    return NetworkOutput(heatmaps, limbs, stride)
