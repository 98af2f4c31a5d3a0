"""The original's validation: COCO keypoint AP of a checkpoint. A thin door to `limbwise eval`."""

import argparse
import sys

from limbwise.cli.app import door
from limbwise.outputs.window import display_is_there


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", required=True, help="COCO keypoint labels (JSON)")
    parser.add_argument("--images-folder", required=True, help="folder of the pictures")
    parser.add_argument("--checkpoint-path", required=True, help="checkpoint or model file")
    parser.add_argument("--output-name", default="detections.json", help="COCO results")
    parser.add_argument("--multiscale", action="store_true", help="average over four scales")
    parser.add_argument("--visualize", action="store_true", help="show the drawn pictures as well")
    parser.add_argument("--category", help="name or id, of several with keypoints")
    flags = parser.parse_args()
    model = ["--model", flags.checkpoint_path]
    scales = ["--scales", "0.5,1,1.5,2"] if flags.multiscale else []
    output = ["--detections", flags.output_name]
    output += [] if flags.category is None else ["--category", flags.category]
    names = {"--model": "--checkpoint-path", "--detections": "--output-name"}
    code = door(["eval", flags.labels, flags.images_folder, *model, *scales, *output], names)
    if code or not flags.visualize:
        return code
    seen = ["--show"] if display_is_there() else ["--save", "visualized"]
    if seen[0] == "--save":
        print("There is no display, so no window: the drawn pictures go to visualized")
    return door(["run", flags.images_folder, *model, "--size", "368", *seen], names)


if __name__ == "__main__":
    sys.exit(main())
