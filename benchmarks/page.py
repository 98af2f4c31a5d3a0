"""The page without a server: frames a second of a 640x480 webcam stand-in, and how soon it answers.

    python benchmarks/page.py --runtime onnxruntime-web-1.30.0.tgz [--seconds 20] [--repeat 3]

Headless Chromium looks at a film of the sample picture's two people (or of one, --people 1) that it
takes for a camera. Prints JSON lines: from the page's opening to the first result in seconds (a
fresh browser each time, so nothing is cached), frames a second and milliseconds a frame as the page
shows them, processor seconds that all of Chromium took for a frame, and the load of the machine:
on a busy machine the rate is too low, and the processor time is what can be compared.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import cv2
import numpy as np

from browsing import Page, browser
from limbwise.estimator import SAMPLE
from test_static_page import given, limbwise


def webcam(path: Path, people: int) -> Path:
    """Three seconds in which the picture wanders a little, 640x480 at 30 a second, as Y4M."""
    picture = cv2.resize(cv2.imread(str(SAMPLE)), (640, 345))
    if people == 1:
        picture[:, 320:] = 128
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W640 H480 F30:1 Ip A1:1 C420jpeg\n")
        for step in range(90):
            image = np.full((480, 640, 3), 128, np.uint8)
            top = 60 + round(20 * np.sin(2 * np.pi * step / 90))
            image[top : top + 345] = picture
            file.write(b"FRAME\n" + cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420).tobytes())
    return path


def processor_seconds(parent: int) -> float:
    """Of a process and all below it that live (Linux)."""
    children: dict[int, list[int]] = {}
    used = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        pid = int(stat.parent.name)
        children.setdefault(int(fields[1]), []).append(pid)
        used[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    waiting, total = [parent], 0.0
    while waiting:
        pid = waiting.pop()
        total += used.get(pid, 0.0)
        waiting += children.get(pid, [])
    return total


def measured(site: Path, camera: Path, seconds: float) -> dict[str, float]:
    with browser(camera) as driver, given(site) as folder:
        begin = time.monotonic()
        page = Page(driver, folder)
        page.click("[data-does=camera]")
        page.until(lambda: page.text("people") not in ("–", ""), 120)
        first = time.monotonic() - begin
        time.sleep(3)  # the second worker has loaded its networks, the rate has settled
        begin, used = time.monotonic(), processor_seconds(driver.service.process.pid)
        count, last, each = 0.0, begin, []
        while last - begin < seconds:
            time.sleep(0.5)
            now = time.monotonic()
            count += float(page.text("fps")) * (now - last)
            each.append(float(page.text("ms")))
            last = now
        used = processor_seconds(driver.service.process.pid) - used
        return {
            "first result s": round(first, 2),
            "frames a second": round(count / (last - begin), 1),
            "ms a frame": round(float(np.median(each))),
            "processor ms a frame": round(1000 * used / count),
            "people": int(page.text("people")),
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runtime", required=True, help="onnxruntime-web: a folder or a .tgz")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--people", type=int, choices=(1, 2), default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder, "site")
        done = limbwise("--static", site, "--runtime", args.runtime)
        if done.returncode:
            sys.exit(done.stderr)
        size = sum(path.stat().st_size for path in site.rglob("*.*"))
        camera = webcam(Path(folder, "camera.y4m"), args.people)
        for _ in range(args.repeat):
            found = measured(site, camera, args.seconds)
            machine = {"load": round(os.getloadavg()[0], 1), "cores": os.cpu_count()}
            print(json.dumps({"MB": round(size / 1e6, 2), **found, **machine}), flush=True)


if __name__ == "__main__":
    main()
