"""A headless Chromium for tests of pages, and what a person does in it."""

import base64
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from serving import scene

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="Chromium or its driver is not here: make test-browser"
)

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

# Where `make test-browser` has packages of npm as .tgz.
NPM = Path(os.environ.get("LIMBWISE_NPM", Path(__file__).parents[1] / ".venv" / "npm"))


def npm_package(name: str) -> Path:
    """The archive of a package; the test is skipped where it is not."""
    found = sorted(NPM.glob(f"{name}-[0-9]*.tgz"))
    if not found:
        pytest.skip(f"{name} of npm is not here: make test-browser")
    return found[-1]


SHOWN = "return !document.getElementById('canvas').hidden"
PROBLEM = "const p = document.getElementById('problem'); return p.hidden ? '' : p.textContent"


class Page:
    """The page in a browser of its own."""

    def __init__(self, driver, site) -> None:
        self.driver, self.site = driver, site
        self.open()

    def open(self) -> None:
        """Anew. The page is ready when its scripts say so, not when the browser has loaded it: in a
        browser that has just begun, a script may come late, or be lost when the network changes."""
        for _ in range(3):
            self.driver.get(self.site.url)
            end = time.monotonic() + 30
            while time.monotonic() < end:
                door = self.run("return document.getElementById('door').open")
                if self.text("status") != "Loading …" or self.run(PROBLEM) or door:
                    return
                time.sleep(0.02)
        raise AssertionError(f"the page did not begin: {self.driver.get_log('browser')}")

    def run(self, script: str, *args: object):
        return self.driver.execute_script(script, *args)

    def click(self, selector: str) -> None:
        self.run("document.querySelector(arguments[0]).click()", selector)

    def text(self, name: str) -> str:
        return self.run("return document.getElementById(arguments[0]).textContent", name)

    def until(self, happened: Callable[[], object], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not happened():
            if time.monotonic() > end:
                said = self.text("status"), self.run(PROBLEM), self.driver.get_log("browser")
                raise AssertionError(f"it never happened: {said}")
            time.sleep(0.02)

    def drop(self, content: bytes, name: str, kind: str) -> None:
        """As a file that is dragged from a folder and let go over the page."""
        self.run(
            """
            const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
            const carried = new DataTransfer();
            carried.items.add(new File([bytes], arguments[1], { type: arguments[2] }));
            const how = { dataTransfer: carried, bubbles: true, cancelable: true };
            document.getElementById("stage").dispatchEvent(new DragEvent("drop", how));
            """,
            base64.b64encode(content).decode(),
            name,
            kind,
        )

    @contextmanager
    def shown_on(self, width: int, height: int, scheme: str = "light") -> Iterator[None]:
        """As on another screen, in light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        try:
            yield
        finally:
            self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
            self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def faults(self) -> list[str]:
        """What axe-core finds wrong with the page as it stands, for people who see or hear it
        otherwise."""
        with tarfile.open(npm_package("axe-core")) as archive:
            source = archive.extractfile("package/axe.min.js")
            assert source is not None
            self.run(source.read().decode())
        found = self.driver.execute_async_script("axe.run().then(arguments[0])")
        return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found["violations"]]

    def pixels(self) -> np.ndarray:
        """What is on the canvas, (H, W, 3) BGR."""
        url = self.run("return document.getElementById('canvas').toDataURL()")
        data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_COLOR)


def camera_file(path: Path) -> Path:
    """Two seconds of a bright pole that wanders through a dark room, as Y4M."""
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W480 H320 F20:1 Ip A1:1 C420jpeg\n")
        for step in range(40):
            image = scene(120 + 6 * min(step, 40 - step), (320, 480))
            file.write(b"FRAME\n" + cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes())
    return path


@contextmanager
def browser(
    camera: Path, downloads: Path | None = None, flags: Sequence[str] = ()
) -> Iterator[object]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless=new",
        "--no-sandbox",  # CI runs as root
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
        "--window-size=1280,860",
        *flags,
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if downloads:
        several = "profile.default_content_setting_values.automatic_downloads"
        prefs = {"download.default_directory": str(downloads), several: 1}
        options.add_experimental_option("prefs", prefs)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
