#!/usr/bin/env bash
# panoptica's global HD95 and surface Dice are in voxels, those of its instances in mm.
#
# panoptica 2.1.7 hands the voxel size to the metrics of instances and not to those of the whole
# mask (global_metrics). Both stand in one result object without a unit. With one lesion in the
# volume, both should be equal; with slices of 3 mm, they differ by a factor of 3. The tolerance of
# the surface Dice differs, too: half a voxel for the whole, the smallest side for an instance.
#
# Seen with numpy 2.2.6, pandas 2.3.3, a cube moved by one slice, voxels of 3 x 1 x 1 mm:
#   HD95 of the only instance 3.0, of the whole mask 1.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
    panoptica==2.1.7 numpy==2.2.6 pandas==2.3.3 scipy==1.17.1
"$work/venv/bin/python" -W ignore - <<'PY' | tail -1
import numpy as np
from panoptica import (
    ConnectedComponentsInstanceApproximator,
    InputType,
    Metric,
    NaiveThresholdMatching,
    Panoptica_Evaluator,
)

cube = np.zeros((24, 24, 24), dtype=np.uint8)
cube[8:16, 8:16, 8:16] = 1
evaluator = Panoptica_Evaluator(
    expected_input=InputType.SEMANTIC,
    instance_approximator=ConnectedComponentsInstanceApproximator(),
    instance_matcher=NaiveThresholdMatching(),
    instance_metrics=[Metric.HD95],
    global_metrics=[Metric.HD95],
)
moved = np.roll(cube, 1, axis=0)
result = evaluator.evaluate(moved, cube, voxelspacing=(3.0, 1.0, 1.0))["ungrouped"]
instance, whole = float(result.sq_hd95), float(result.global_bin_hd95)
print(f"HD95 of the only instance {instance}, of the whole mask {whole}")
assert (instance, whole) == (3.0, 1.0), "the behaviour has changed"
PY
