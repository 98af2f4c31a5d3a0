"""The original's demo: a camera, a video or pictures in, drawn skeletons out.

A thin door to `limbwise run`: a window where there is a display, otherwise files in `out/`.
"""

import argparse
import sys
from pathlib import Path

from limbwise.cli.app import door
from limbwise.outputs.window import display_is_there


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint-path", help="model file; the bundled one if absent")
    parser.add_argument("--height-size", type=int, default=256, help="network input height")
    parser.add_argument("--video", default="", help="path to a video file, or a camera number")
    parser.add_argument("--images", nargs="+", default=[], help="paths to pictures")
    parser.add_argument("--cpu", action="store_true", help="always so here; accepted for habit")
    parser.add_argument("--track", type=int, nargs="?", const=1, default=1, help="follow people")
    parser.add_argument("--smooth", type=int, nargs="?", const=1, default=1, help="calm keypoints")
    flags = parser.parse_args()
    if bool(flags.video) == bool(flags.images):
        parser.error("give either --video or --images")
    sources = flags.images or [flags.video]
    model = ["--model", flags.checkpoint_path] if flags.checkpoint_path else []
    follow = "--track" if flags.track else "--no-track"
    calm = "--smooth" if flags.smooth else "--no-smooth"
    args = ["run", *sources, *model, "--size", str(flags.height_size), follow, calm]
    names = {"--model": "--checkpoint-path", "--size": "--height-size"}
    if display_is_there():
        return door([*args, "--show"], names)
    out = Path("out") / ("demo.mp4" if flags.video else "demo")
    out.parent.mkdir(exist_ok=True)
    print(f"There is no display, so no window: the drawn pictures go to {out}")
    return door([*args, "--save", str(out)], names)


if __name__ == "__main__":
    sys.exit(main())
