#!/usr/bin/env bash
# MONAI's Resized moves a label away from its image when both are made smaller.
#
# Resized(mode=("area", "nearest")) is the usual pair for image and label. PyTorch's "area" averages
# the voxels that a new one covers, "nearest" takes the first of them: at a quarter of the size the
# label is 1.5 old voxels off on average, and 3 in the case below, while MONAI 1.6.1 gives both the
# same affine. A small lesion loses its image. mode="nearest-exact" leaves half a voxel.
#
# Seen with torch 2.13.0, numpy 2.4.6, a lesion of 4 x 4 x 4 voxels, from 64 to 16 voxels per side:
#   centre before 22.5, image after 22.5, label after 25.5 (old voxels); affines equal: True
#   Dice of the label with the brightest voxel of the image: 0.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
    numpy==2.4.6 torch==2.13.0 monai==1.6.1
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy as np
from monai.transforms import Resized

FACTOR = 4
lesion = np.zeros((1, 64, 64, 64), dtype=np.float32)
lesion[0, 21:25, 21:25, 21:25] = 1


def centre(volume, step):
    """First coordinate of the centre of mass, in voxels of the volume before."""
    weights = np.asarray(volume)[0].sum(axis=(1, 2))
    places = np.arange(len(weights)) * step + (step - 1) / 2
    return float((weights * places).sum() / weights.sum())


resize = Resized(keys=["image", "label"], spatial_size=(16,) * 3, mode=("area", "nearest"))
small = resize({"image": lesion, "label": lesion.copy()})
before, image, label = (
    centre(lesion, 1), centre(small["image"], FACTOR), centre(small["label"], FACTOR),
)
same = bool((small["image"].affine == small["label"].affine).all())
bright = np.asarray(small["image"] == small["image"].max())
marked = np.asarray(small["label"] > 0)
dice = 2 * (bright & marked).sum() / (bright.sum() + marked.sum())
print(f"centre before {before}, image after {image}, label after {label} (old voxels);"
      f" affines equal: {same}")
print(f"Dice of the label with the brightest voxel of the image: {dice}")
assert (before, image, label) == (22.5, 22.5, 25.5), "the behaviour has changed"
assert same and dice == 0, "the behaviour has changed"
PY
