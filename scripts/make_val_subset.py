"""The original's small validation set: the labels of some random pictures with people."""

import argparse

from limbwise.cli.terminal import failing_in_one_line
from limbwise.data.prepare import subset
from limbwise.places import check_places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", required=True, help="COCO keypoint labels (JSON)")
    parser.add_argument("--output-name", default="val_subset.json")
    parser.add_argument("--num-images", type=int, default=250)
    parser.add_argument("--category", help="name or id, of several with keypoints")
    flags = parser.parse_args()
    with failing_in_one_line():
        check_places([flags.labels], {"--output-name": flags.output_name})
        count = subset(flags.labels, flags.output_name, flags.num_images, category=flags.category)
        print(f"{flags.output_name}: {count} pictures")


if __name__ == "__main__":
    main()
