"""The original's first step: a checkpoint to ONNX with the original's names of input and outputs.

Input `data` (n, 3, h, w) float32 is (BGR - 128) / 256. `limbwise export` writes the better file:
it takes pictures as they are and describes itself.
"""

import argparse

from limbwise.backends.base import need_torch
from limbwise.cli.terminal import failing_in_one_line
from limbwise.places import check_places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint-path", required=True, help="checkpoint (.pth)")
    parser.add_argument("--output-name", default="human-pose-estimation.onnx", help="ONNX file")
    flags = parser.parse_args()
    with failing_in_one_line():
        check_places([flags.checkpoint_path], {"--output-name": flags.output_name})
        need_torch()
        from limbwise.export.onnx import export_like_the_original

        export_like_the_original(flags.checkpoint_path, flags.output_name)
        print(f"{flags.output_name} is written")


if __name__ == "__main__":
    main()
