"""Cameras and streams: pictures that come when they come."""

from time import monotonic, sleep

import cv2
import numpy as np

from ..errors import BadInput
from .video import Report, Shots, film_shots

PAUSE = 0.5  # seconds before a broken stream is opened again, the first time


def persistent_shots(url: str, name: str, report: Report, patience: float) -> Shots:
    """A stream and, when it ends or breaks off, the same again; the clock runs on.

    Pauses grow from half a second to 30; after `patience` seconds without a picture it is over.
    """
    began, last, pause = None, monotonic(), PAUSE
    while True:
        try:
            for image, _ in film_shots(url, name, True, report):
                last, pause = monotonic(), PAUSE
                began = last if began is None else began
                yield image, last - began
        except BadInput:
            if began is None:
                raise
        if monotonic() + pause - last > patience:
            break
        if pause == PAUSE:
            report(BadInput(f"{name} has ended: it is tried again for {patience:g} s"))
        sleep(pause)
        pause = min(2 * pause, 30.0)


def camera_shots(number: int, report: Report) -> Shots:
    """The pictures of a camera, with the times that the clock on the wall shows."""
    set_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # 4.x, 5.x
    level = set_level(0)  # OpenCV's own complaints would stand beside ours
    camera = cv2.VideoCapture(number)
    set_level(level)
    try:
        if not camera.isOpened():
            raise BadInput(f"camera {number} cannot be opened: is it there, and free to be used?")
        began = None
        while (shot := camera.read())[0]:
            now = monotonic()
            began = now if began is None else began
            yield shot[1].astype(np.uint8, copy=False), now - began
        report(BadInput(f"camera {number} gives no more pictures: is it still plugged in?"))
    finally:
        camera.release()
