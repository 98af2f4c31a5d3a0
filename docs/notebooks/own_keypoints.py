# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Your own keypoints
# Labels are a COCO keypoint file; its category names the keypoints and the limbs between them, and
# nothing else has to be told. Here are drawn arrows, with a tip and a tail.

# %%
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

folder = Path(tempfile.mkdtemp())
(folder / "photos").mkdir()
random = np.random.default_rng(0)
images, annotations = [], []
for n in range(1, 17):
    picture = np.full((128, 128, 3), random.integers(150, 250, 3), np.uint8)
    tip, tail = random.integers(20, 108, 2), random.integers(20, 108, 2)
    cv2.arrowedLine(picture, tail.tolist(), tip.tolist(), (40, 40, 40), 4, tipLength=0.3)
    cv2.imwrite(str(folder / "photos" / f"{n}.png"), picture)
    (left, top), (right, bottom) = np.minimum(tip, tail) - 8, np.maximum(tip, tail) + 8
    box = [int(side) for side in (left, top, right - left, bottom - top)]
    keypoints = [*tip.tolist(), 2, *tail.tolist(), 2]
    images.append({"id": n, "file_name": f"{n}.png", "width": 128, "height": 128})
    annotations.append({
        "id": n, "image_id": n, "category_id": 1, "bbox": box, "area": box[2] * box[3],
        "iscrowd": 0, "num_keypoints": 2, "keypoints": keypoints,
    })  # fmt: skip
category = {"id": 1, "name": "arrow", "keypoints": ["tip", "tail"], "skeleton": [[1, 2]]}
content = {"images": images, "annotations": annotations, "categories": [category]}
(folder / "arrows.json").write_text(json.dumps(content))
Image.fromarray(picture[:, :, ::-1])

# %% [markdown]
# The commands are run as in a terminal.


# %%
def limbwise(*arguments: object) -> None:
    command = [sys.executable, "-m", "limbwise", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    print((done.stdout + done.stderr)[-1500:])
    done.check_returncode()


# %% [markdown]
# Labels in another tool's format come in, and go out, by `limbwise convert`.

# %%
limbwise("convert", "arrows.json", "arrows.xml")  # CVAT
limbwise("convert", "arrows.xml", "again.json")
limbwise("check-data", "again.json", "photos")

# %% [markdown]
# Two steps are no training, but show that everything fits together; a real one has `--epochs`.

# %%
limbwise(
    "train", "again.json", "photos", "--init", "bundled", "--steps", 2, "--batch-size", 2,
    "--size", 128, "--out", "run",
)  # fmt: skip
sorted(path.name for path in (folder / "run").iterdir())
