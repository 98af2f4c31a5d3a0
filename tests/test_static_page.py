"""The page without a server: what it says of pictures, against Python; what it does without a part.

The first half needs nothing; the rest runs in headless Chromium with onnxruntime-web of npm, both
of which `make test-browser` installs.
"""

import base64
import functools
import http.server
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from browsing import PROBLEM, SHOWN, Page, browser, needs_chromium, npm_package
from conftest import VAL
from limbwise import boxes, crops, estimator, pose, proportions, refine
from limbwise.estimator import SAMPLE, load
from limbwise.models.catalogue import CATALOGUE, MODELS
from limbwise.server.static_page import OWN, RUNTIME, SHARED, STATIC

MEGABYTES = 12
PICTURES = 8  # of the validation pictures


def limbwise(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "limbwise", "page", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def runtime(tmp_path) -> Path:
    """A folder with the names of onnxruntime-web's files, as its package has them."""
    package = tmp_path / "onnxruntime-web"
    (package / "dist").mkdir(parents=True)
    (package / "package.json").write_text('{"version": "0.0.1"}')
    for name in RUNTIME:
        (package / "dist" / name).write_bytes(name.encode())
    return package


def test_all_files_of_the_page_are_in_the_folder_and_kept_for_offline(tmp_path, runtime) -> None:
    done = limbwise("--static", tmp_path / "site", "--runtime", runtime)
    assert (done.returncode, done.stdout) == (0, "")
    made = {path.relative_to(tmp_path / "site").as_posix() for path in tmp_path.glob("site/**/*.*")}
    runtime_names = {f"runtime/{name}" for name in RUNTIME.values()}
    models = {"models/first.onnx", "models/second.onnx"}
    rest = {"index.html", "sample.jpg", "about.json", "offline.js"}
    assert made == {*SHARED, *OWN, *runtime_names, *models, *rest}
    kept = json.loads(
        re.search(r"FILES = (\[.*?\])", (tmp_path / "site/offline.js").read_text())[1]
    )
    assert {*kept} == (made - {"offline.js"}) | {"./"}
    imported = [
        name
        for path in tmp_path.glob("site/*.js")
        for name in re.findall(r'from "\./(.+?)"', path.read_text())
    ]
    assert {*imported} <= made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["onnxruntime-web", "site"]
    about = json.loads((tmp_path / "site/about.json").read_text())
    assert about["stages"]["first"]["height"] == CATALOGUE["fast"].height


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", MODELS / "limbwise.onnx", "--person-model", MODELS / "limbwise-pose.onnx"],
         "is no detector of people"),
        (["--model", "one-stage"], "needs two stages"),
        (["--person-model", MODELS / "limbwise-detector.onnx"], "reads no crops of boxes"),
        (["--model", SAMPLE, "--person-model", SAMPLE], "not a model file"),
        (["--runtime", "nowhere"], "is not the package onnxruntime-web"),
        (["--runtime", SAMPLE], "is not the package onnxruntime-web"),
    ],
)  # fmt: skip
def test_what_the_page_cannot_run_is_one_line_and_nothing_is_written(
    tmp_path, runtime, options, said
) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = limbwise("--static", tmp_path / "site", "--runtime", runtime, *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_of_somebody_else_is_one_line(tmp_path, runtime) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(MODELS / "limbwise-detector.onnx")
    del model.metadata_props[:]
    foreign = tmp_path / "foreign.onnx"
    onnx.save(model, foreign)
    done = limbwise(
        "--static", tmp_path / "site", "--runtime", runtime, "--model", foreign,
        "--person-model", MODELS / "limbwise-pose-fast.onnx",
    )  # fmt: skip
    assert done.returncode == 2
    assert f"{foreign} was not exported by limbwise" in done.stderr
    assert not (tmp_path / "site").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, runtime) -> None:
    (tmp_path / "diary.txt").write_text("dear diary")
    done = limbwise("--static", tmp_path, "--runtime", runtime)
    assert (done.returncode, "is not empty" in done.stderr) == (2, True)
    assert (tmp_path / "diary.txt").read_text() == "dear diary"


def test_the_page_counts_with_the_numbers_that_python_counts_with() -> None:
    def constants(name: str) -> dict[str, float]:
        found = re.findall(r"export const ([A-Z_]+) = ([\d.]+);", (STATIC / name).read_text())
        return {key: float(value) for key, value in found}

    usual = boxes.find_boxes.__kwdefaults__, refine.poses_in_boxes.__kwdefaults__
    assert constants("boxes.js") == {
        "MIN_BOX": estimator.MIN_BOX,
        "MAX_IOU": usual[0]["max_iou"],
        "MAX_PEOPLE": refine.MAX_PEOPLE,
    }
    assert constants("refine.js") == {
        "BOX_MARGIN": crops.BOX_MARGIN,
        "MIN_SCALE": crops.MIN_EXTENT,
        "MIN_CONFIDENCE": usual[1]["min_confidence"],
        "SURE": refine._SURE,
        "OUTSIDE": refine._OUTSIDE,
        "BOX_AREA": pose.BOX_AREA,
        "NMS_OKS": usual[1]["nms_oks"],
    }
    assert constants("proportions.js") == {"MAX_RATIO": proportions.MAX_RATIO}
    text = (STATIC / "proportions.js").read_text()
    lengths = {tuple(k.split()): float(v) for k, v in re.findall(r'"(\w+ \w+)": ([\d.]+)', text)}
    assert lengths == proportions._LENGTHS


# In the browser.


@dataclass(frozen=True)
class Folder:
    url: str


@contextmanager
def given(folder: Path) -> Iterator[Folder]:
    """A server of plain files."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield Folder(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("static") / "site"
    done = limbwise("--static", folder, "--runtime", npm_package("onnxruntime-web"))
    assert done.returncode == 0, done.stderr
    return folder


def webcam(path: Path) -> Path:
    """The sample, 640x480, as Y4M."""
    picture = cv2.resize(cv2.imread(str(SAMPLE)), (640, 360))
    image = cv2.copyMakeBorder(picture, 60, 60, 0, 0, cv2.BORDER_CONSTANT, value=(128, 128, 128))
    frame = b"FRAME\n" + cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes()
    path.write_bytes(b"YUV4MPEG2 W640 H480 F30:1 Ip A1:1 C420jpeg\n" + 30 * frame)
    return path


@pytest.fixture(scope="module")
def page(site, tmp_path_factory) -> Iterator[Page]:
    camera = webcam(tmp_path_factory.mktemp("camera") / "people.y4m")
    with browser(camera) as driver, given(site) as folder:
        page = Page(driver, folder)
        yield page
        said = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
        assert [e["message"] for e in said if "favicon" not in e["message"]] == []


ASK = """
const [data, done] = arguments;
const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
import("./server.js").then(({ ask }) => ask("v1/poses", { body: new Blob([bytes]) }))
  .then(done, (error) => done(String(error)));
"""


def asked(page: Page, path: Path) -> dict:
    page.driver.set_script_timeout(60)
    found = page.driver.execute_async_script(ASK, base64.b64encode(path.read_bytes()).decode())
    assert isinstance(found, dict), found
    return found


def distances(found: dict, poses: list) -> np.ndarray:
    """Between the keypoints of the page's people and of Python's nearest to them, of those that
    both have."""
    names = poses[0].skeleton.keypoints
    theirs = np.stack([pose.xy for pose in poses])
    far = []
    for person in found["people"]:
        xy = np.array([(person["keypoints"][name] or [np.nan] * 2)[:2] for name in names])
        away = np.hypot(*np.moveaxis(theirs - xy, -1, 0))
        nearest = np.nanmean(away, axis=1).argmin()
        far.append(away[nearest][~np.isnan(away[nearest])])
    return np.concatenate(far)


def pictures() -> list[Path]:
    return [SAMPLE, *sorted((VAL / "images").glob("*.jpg"))[:PICTURES]]


@needs_chromium
def test_the_page_finds_what_python_finds(page) -> None:
    estimate = load("fast", runtime="onnx")
    far, people, missed = [], 0, 0
    for path in pictures():
        poses = estimate(cv2.imread(str(path)))
        found = asked(page, path)
        people += len(poses)
        missed += abs(len(poses) - len(found["people"]))
        if poses and found["people"]:
            far.append(distances(found, poses))
    assert people >= 2
    assert missed <= 0.1 * people
    away = np.concatenate(far)
    assert away.mean() < 2  # a different choice of two places here and there
    assert np.median(away) < 0.2  # but no half pixel lost on the way


@needs_chromium
def test_the_sample_is_shown_with_its_people_and_ms_and_focus_stays(page) -> None:
    page.driver.refresh()
    page.until(lambda: page.text("model"))
    page.run("document.querySelector('#welcome [data-does=sample]').focus()")
    page.click("#welcome [data-does=sample]")
    page.until(lambda: page.text("people") == "2", 60)
    assert page.run("return document.activeElement.dataset.does") == "sample"
    assert page.text("speed-name") == "Milliseconds"
    assert float(page.text("fps")) > 0
    assert page.faults() == []  # of axe-core


@needs_chromium
def test_the_camera_is_followed_with_ms_and_both_people(page) -> None:
    page.click("[data-does=camera]")
    page.until(lambda: page.run(SHOWN) and page.text("ms") not in ("–", ""), 60)
    time.sleep(2)
    assert page.text("people") == "2"
    assert float(page.text("ms")) > 0
    page.click("#stop")
    assert page.run("return document.getElementById('video').srcObject") is None


@needs_chromium
def test_the_files_are_under_twelve_megabytes(site) -> None:
    assert sum(path.stat().st_size for path in site.rglob("*.*")) < MEGABYTES * 1e6


NO_CAMERA = "navigator.mediaDevices.getUserMedia = async () => "
WITHOUT = {
    "WebAssembly.validate = () => false": "no WebAssembly SIMD",
    "Object.defineProperty(navigator, 'mediaDevices', {})": "Browsers give the camera",
    NO_CAMERA + "{ throw new DOMException('', 'NotFoundError') }": "No camera was found",
}


@needs_chromium
@pytest.mark.parametrize("lack", WITHOUT)
def test_a_browser_without_a_part_is_told_in_one_line(page, lack) -> None:
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": lack})
    try:
        page.driver.get(page.site.url)
        page.until(lambda: page.run(PROBLEM) or page.text("model"))
        page.click("[data-does=camera]")
        page.until(lambda: WITHOUT[lack] in page.run(PROBLEM))
        assert "\n" not in page.run(PROBLEM)
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


@needs_chromium
def test_the_page_opens_and_works_without_a_network(page) -> None:
    page.driver.get(page.site.url)
    kept = "const [done] = arguments; navigator.serviceWorker.ready.then(() => done(1))"
    page.driver.set_script_timeout(60)
    assert page.driver.execute_async_script(kept) == 1
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    page.driver.execute_cdp_cmd("Network.enable", {})
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    try:
        page.driver.refresh()
        page.click("[data-does=sample]")
        page.until(lambda: page.text("people") == "2", 60)
    finally:
        online = {**offline, "offline": False, "downloadThroughput": -1, "uploadThroughput": -1}
        page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", online)
        page.driver.get_log("browser")
