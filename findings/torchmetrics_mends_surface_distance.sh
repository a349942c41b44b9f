#!/usr/bin/env bash
# Importing torchmetrics changes what surface-distance says of an empty mask.
#
# surface-distance 0.1 reads np.Inf, which NumPy 2 no longer has: HD95 of a missed tumour is an
# AttributeError. torchmetrics 1.9.0 assigns numpy.Inf when it is imported, for everybody in the
# process: from then on the same call returns inf. So a script works or fails by its imports, and a
# loop that skips patients that raise averages over other patients than one that does not.
#
# Seen with numpy 2.4.6, scipy 1.17.1, torch 2.13.0:
#   HD95 of a missed tumour before the import of torchmetrics: AttributeError
#   HD95 of a missed tumour after the import of torchmetrics:  inf
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
    numpy==2.4.6 scipy==1.17.1 torch==2.13.0 torchmetrics==1.9.0 \
    surface-distance==0.1 absl-py==2.5.1
"$work/venv/bin/python" -W ignore - <<'PY'
import math

import numpy as np
import surface_distance

tumour = np.zeros((12, 12, 12), dtype=bool)
tumour[4:8, 4:8, 4:8] = True


def of_a_missed_tumour():
    try:
        distances = surface_distance.compute_surface_distances(
            tumour, np.zeros_like(tumour), (1, 1, 1)
        )
        return surface_distance.compute_robust_hausdorff(distances, 95)
    except AttributeError:
        return "AttributeError"


before = of_a_missed_tumour()
import torchmetrics

after = of_a_missed_tumour()
print("HD95 of a missed tumour before the import of torchmetrics:", before)
print("HD95 of a missed tumour after the import of torchmetrics: ", after)
assert before == "AttributeError" and after == math.inf, "the behaviour has changed"
PY
