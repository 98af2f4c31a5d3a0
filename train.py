"""The original's training: the original's network on COCO. A thin door to `limbwise train`.

Its three steps: from MobileNet weights (`--from-mobilenet`), again from the result
(`--weights-only`), and again with three refinement stages (`--weights-only
--num-refinement-stages 3`).
"""

import argparse
import sys
from pathlib import Path

from limbwise.cli.app import door


def flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--train-images-folder", required=True, help="folder of the training pictures")
    add("--prepared-train-labels", required=True, help="scripts/prepare_train_labels.py wrote it")
    add("--val-labels", help="COCO keypoint labels to measure AP on")
    add("--val-images-folder", help="folder of their pictures")
    add("--checkpoint-path", required=True, help="weights to begin with, or last.pth to resume")
    add("--from-mobilenet", action="store_true", help="the weights are MobileNet's of ImageNet")
    add("--weights-only", action="store_true", help="begin anew from the weights")
    add("--num-refinement-stages", type=int, default=1)
    add("--experiment-name", default="default", help="checkpoints go to NAME_checkpoints")
    add("--batch-size", type=int, default=80)
    add("--batches-per-iter", type=int, default=1, help="batches to a step")
    add("--base-lr", type=float, default=4e-5)
    add("--num-workers", type=int, default=8, help="threads that decode pictures; 0 is 1")
    add("--log-after", type=int, default=100, help="steps")
    add("--checkpoint-after", type=int, default=5000, help="steps")
    add("--val-after", type=int, default=5000, help="steps")
    add("--epochs", type=float, default=280)
    add("--size", type=int, default=368, help="side of the crops in pixels")
    add("--category", help="name or id, of several with keypoints")
    return parser.parse_args()


def main() -> int:
    given = flags()
    out = Path(f"{given.experiment_name}_checkpoints")
    resume = not (given.from_mobilenet or given.weights_only)
    if resume and Path(given.checkpoint_path) != out / "last.pth":
        print(f"Error: give --weights-only, or resume from {out / 'last.pth'}", file=sys.stderr)
        return 2
    kind = "mobilenet:" if given.from_mobilenet else ""
    names = {
        "init": "checkpoint-path", "val-annotations": "val-labels",
        "val-images": "val-images-folder", "stages": "num-refinement-stages",
        "out": "experiment-name", "accumulate": "batches-per-iter", "lr": "base-lr",
        "workers": "num-workers", "log-every": "log-after", "save-every": "checkpoint-after",
        "validate-every": "val-after", "resume": f"checkpoint-path {out / 'last.pth'}",
    }  # fmt: skip
    options = {
        "init": None if resume else kind + given.checkpoint_path,
        "val-annotations": given.val_labels, "val-images": given.val_images_folder,
        "network": "lightweight-openpose", "stages": given.num_refinement_stages, "out": out,
        "batch-size": given.batch_size, "accumulate": given.batches_per_iter, "lr": given.base_lr,
        "workers": given.num_workers or 1, "log-every": given.log_after, "size": given.size,
        "save-every": given.checkpoint_after, "validate-every": given.val_after,
        "epochs": given.epochs, "category": given.category,
    }  # fmt: skip
    args = ["train", given.prepared_train_labels, given.train_images_folder]
    for name, value in options.items():
        args += [] if value is None else [f"--{name}", str(value)]
    return door(
        args + ["--resume"] * resume, {f"--{ours}": f"--{its}" for ours, its in names.items()}
    )


if __name__ == "__main__":
    sys.exit(main())
