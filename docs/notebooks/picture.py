# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A picture
# The bundled models need no download. A picture is an array of (height, width, 3) bytes, blue
# first, as OpenCV has it; `limbwise.read_picture` gives such an array, turned upright.

# %%
from PIL import Image

import limbwise
from limbwise.estimator import SAMPLE

estimate = limbwise.load()
image = limbwise.read_picture(SAMPLE)
poses = estimate(image)
len(poses)

# %% [markdown]
# A `Pose` is one person, the best first: places in pixels of the picture, nan where nothing was
# found.

# %%
pose = poses[0]
print("score", round(pose.score, 3))
print("box", [round(side) for side in pose.box])
for name in ("nose", "left_wrist", "right_ankle"):
    print(name, pose[name])

# %% [markdown]
# Drawn. Notebooks want red first, hence the turned channels.

# %%
Image.fromarray(limbwise.draw(image, poses)[:, :, ::-1])

# %% [markdown]
# In COCO's order of 17 keypoints:

# %%
poses[0].as_skeleton(limbwise.COCO).xy.round(1)
