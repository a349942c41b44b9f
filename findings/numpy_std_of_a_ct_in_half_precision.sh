#!/usr/bin/env bash
# The standard deviation of a CT in float16 is infinite, its mean is right.
#
# Hounsfield units up to 2048 are whole numbers that float16 holds exactly, so scans are cached in
# it. numpy.mean sums float16 in float32; numpy.std squares in float16, and every voxel more than
# 256 HU from the mean overflows. The only sign is a RuntimeWarning; a z-score by mean and standard
# deviation makes the whole scan zero. numpy.std(..., dtype=float) is right.
#
# Seen with numpy 2.4.6:
#   mean 40.2, standard deviation inf (300.3 with dtype=float); different values after z-scores: 1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check numpy==2.4.6
"$work/venv/bin/python" -W ignore - <<'PY'
import numpy as np

drawn = np.random.default_rng(0).normal(40, 300, (64, 64, 64))
ct = drawn.clip(-1024, 2000).round().astype(np.float16)
mean, deviation, right = float(ct.mean()), float(ct.std()), float(ct.std(dtype=float))
values = len(np.unique(np.abs((ct - ct.mean()) / ct.std())))
print(
    f"mean {mean:.1f}, standard deviation {deviation} ({right:.1f} with dtype=float);"
    f" different values after z-scores: {values}"
)
assert abs(mean - 40) < 1 and abs(right - 300) < 3 and values == 1, "the behaviour has changed"
assert deviation == np.inf, "the behaviour has changed"
PY
