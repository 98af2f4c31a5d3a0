"""Draws the figures of how-it-works.md from the sample picture: python docs/figures.py [FOLDER].

Each is what the code computes on the way of that one picture: boxes, crops, heatmaps, the skeleton,
and for the one-stage model its heatmaps and part affinity fields. Nothing is drawn by hand.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

import limbwise
from limbwise.crops import box_crops
from limbwise.estimator import SAMPLE
from limbwise.geometry import Image

HEIGHT = 256  # of a panel, in pixels
SHOWN = ("nose", "left_shoulder", "right_elbow", "left_wrist")
WHITE = (255, 255, 255)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    image = limbwise.read_picture(SAMPLE)
    two, one = limbwise.load(precision="f32"), limbwise.load("one-stage", precision="f32")
    figures = {
        "boxes": boxes(two, image),
        "crops": crops(two, image),
        "heatmaps": heatmaps(two, image),
        "skeleton": limbwise.draw(image, two(image)),
        "one-stage": one_stage(one, image),
    }
    for name, figure in figures.items():
        cv2.imwrite(str(folder / f"{name}.png"), figure)


def found(estimate: limbwise.Estimator, image: Image) -> np.ndarray:
    """People's boxes (P, 5) in the image, as the second stage gets them."""
    return estimate.boxes(*estimate.infer(image), image)


def boxes(estimate: limbwise.Estimator, image: Image) -> Image:
    """What the detector finds, with its scores."""
    picture = image.copy()
    for left, top, right, bottom, score in found(estimate, image):
        corners = (round(left), round(top)), (round(right) - 1, round(bottom) - 1)
        cv2.rectangle(picture, *corners, (80, 200, 0), 3)
        place = (corners[0][0] + 6, corners[0][1] + 26)
        cv2.putText(picture, f"{score:.2f}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (80, 200, 0), 2)
    return picture


def crops(estimate: limbwise.Estimator, image: Image) -> Image:
    """What the second stage sees."""
    pictures, _ = box_crops(image, found(estimate, image), estimate.person.description.crop)
    return row([panel(picture, "") for picture in pictures])


def heatmaps(estimate: limbwise.Estimator, image: Image) -> Image:
    """What it says of some keypoints, over what it sees: a row a person."""
    its = estimate.person.description
    pictures, _ = box_crops(image, found(estimate, image), its.crop)
    rows = []
    for picture, fields in zip(pictures, estimate.person(pictures), strict=True):
        maps = [fields.heatmaps[its.skeleton.index[name]] for name in SHOWN]
        named = zip(maps, SHOWN, strict=True)
        rows.append(row([panel(glowing(picture, its_map), name) for its_map, name in named]))
    return np.vstack(rows)


def one_stage(estimate: limbwise.Estimator, image: Image) -> Image:
    """Everybody's heatmaps at once, and how far the part affinity fields point along a limb."""
    said, _ = estimate.infer(image)
    picture, _ = estimate.letterbox(image)
    length = np.linalg.norm(said.limbs, axis=1).max(axis=0)
    shown = ((said.heatmaps.max(axis=0), "heatmaps"), (length, "part affinity fields"))
    return row([panel(glowing(picture, plane), name) for plane, name in shown])


def glowing(picture: Image, plane: np.ndarray) -> Image:
    """A map over the picture it is of."""
    height, width = picture.shape[:2]
    wide = cv2.resize(plane.clip(0, 1).astype(np.float32), (width, height))
    colours = cv2.applyColorMap((wide * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return cv2.addWeighted(picture, 0.4, colours, 0.6, 0)


def panel(picture: Image, title: str) -> Image:
    """A picture at the height of all, with its title and a white edge."""
    width = round(picture.shape[1] * HEIGHT / picture.shape[0])
    shown = cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_AREA)
    cv2.putText(shown, title, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, WHITE, 1, cv2.LINE_AA)
    return cv2.copyMakeBorder(shown, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=WHITE)


def row(panels: list[Image]) -> Image:
    return np.hstack(panels)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/figures"))
