"""The original's preparation: COCO labels to a smaller file with what training reads.

The original wrote a pickle; this is a COCO keypoint file still, and training takes the whole one
too.
"""

import argparse

from limbwise.cli.terminal import failing_in_one_line
from limbwise.data.prepare import prepare
from limbwise.places import check_places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", required=True, help="COCO keypoint labels (JSON)")
    parser.add_argument("--output-name", default="prepared_train_annotation.json")
    parser.add_argument("--category", help="name or id, of several with keypoints")
    flags = parser.parse_args()
    with failing_in_one_line():
        check_places([flags.labels], {"--output-name": flags.output_name})
        pictures, people = prepare(flags.labels, flags.output_name, flags.category)
        print(f"{flags.output_name}: {pictures} pictures, {people} people with keypoints")


if __name__ == "__main__":
    main()
