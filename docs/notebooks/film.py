# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A film
# A short film is made of the sample picture first: a camera that moves over it.

# %%
import tempfile
from pathlib import Path

from PIL import Image

import limbwise
from limbwise.estimator import SAMPLE

folder = Path(tempfile.mkdtemp())
image = limbwise.read_picture(SAMPLE)
with limbwise.Recorder(folder / "film.mp4") as recorder:
    for n in range(10):
        recorder.add(image[:, 8 * n : 8 * n + 800], n / 10)

# %% [markdown]
# `limbwise.frames` reads it (it takes folders, patterns, URLs and camera numbers, too), and a
# `Tracker` gives people ids that stay, and calms their keypoints.

# %%
estimate = limbwise.load("fast")
tracker = limbwise.Tracker()
path = []
with limbwise.Recorder(folder / "drawn.mp4") as recorder:
    for frame in limbwise.frames(folder / "film.mp4"):
        poses = tracker.update(estimate(frame.image), frame.time)
        path += [(frame.time, pose.id, *pose["nose"].round(1)) for pose in poses]
        drawn = limbwise.draw(frame.image, poses, ids=True)
        recorder.add(drawn, frame.time)

path[:6]

# %% [markdown]
# The last frame:

# %%
Image.fromarray(drawn[:, :, ::-1])
