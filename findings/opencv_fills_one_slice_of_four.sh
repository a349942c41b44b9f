#!/usr/bin/env bash
# cv2.warpAffine on a stack of slices fills three of four with 0 HU where air was asked for.
#
# A volume (H, W, slices) passes for an image with many channels, which is the fast way to turn all
# slices alike. borderValue=-1000 becomes a colour of four numbers, (-1000, 0, 0, 0), which OpenCV
# 5.0.0 repeats over the channels. copyMakeBorder refuses such a stack; warpAffine does not.
# borderValue=(-1000,) * 4 does what was meant.
#
# Seen with opencv-python-headless 5.0.0.93, numpy 2.4.6, a corner of eight slices of air:
#   -1000, 0, 0, 0, -1000, 0, 0, 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
    numpy==2.4.6 opencv-python-headless==5.0.0.93
"$work/venv/bin/python" - <<'PY'
import cv2
import numpy as np

air = np.full((32, 32, 8), -1000, dtype=np.float32)
turn = cv2.getRotationMatrix2D((16, 16), 30, 1)


def corner(value):
    return [int(voxel) for voxel in cv2.warpAffine(air, turn, (32, 32), borderValue=value)[0, 0]]


print(", ".join(map(str, corner(-1000))))
assert corner(-1000) == [-1000, 0, 0, 0] * 2, "the behaviour has changed"
assert corner((-1000,) * 4) == [-1000] * 8, "the behaviour has changed"
PY
