"""The original's second step, with today's OpenVINO (its Model Optimizer is gone): ONNX to IR in
FP32.

Mean 128 and scale 256 go into the graph, and of the outputs the last stage's two stay.
"""

import argparse

from limbwise.cli.terminal import failing_in_one_line
from limbwise.export.openvino import to_openvino
from limbwise.places import check_places


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input-model", "--input_model", default="human-pose-estimation.onnx")
    parser.add_argument("--output-name", default="human-pose-estimation.xml", help="and its .bin")
    flags = parser.parse_args()
    with failing_in_one_line():
        check_places([flags.input_model], {"--output-name": flags.output_name})
        to_openvino(flags.input_model, flags.output_name)
        print(f"{flags.output_name} and its .bin are written")


if __name__ == "__main__":
    main()
