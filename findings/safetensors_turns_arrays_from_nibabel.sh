#!/usr/bin/env bash
# safetensors 0.8.0 writes arrays in the order of memory: a volume from nibabel comes back mixed.
#
# NIfTI stores the first axis fastest, so nibabel's arrays are in Fortran order.
# safetensors.numpy.save_file writes the bytes as they lie and the shape as it reads, without an
# error (safetensors.torch refuses such tensors). Shape, dtype and sum are right afterwards, the
# voxels are elsewhere. Transposed and strided views are hit, too. 0.7.0 kept the voxels in place.
# numpy.ascontiguousarray before saving helps.
#
# Seen with numpy 2.4.6, nibabel 5.4.2:
#   volume of the mask 96 -> 96 voxels, Dice of the mask with itself after save and load: 0.08
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
    numpy==2.4.6 nibabel==5.4.2 safetensors==0.8.0
cd "$work"
"$work/venv/bin/python" - <<'PY'
import nibabel
import numpy as np
from safetensors.numpy import load_file, save_file

made = np.zeros((12, 14, 16), dtype=np.uint8)
made[3:7, 4:8, 5:11] = 1
nibabel.save(nibabel.Nifti1Image(made, np.eye(4)), "mask.nii.gz")


def after_a_round_trip(mask):
    save_file({"mask": mask}, "mask.safetensors")
    return load_file("mask.safetensors")["mask"]


mask = np.asarray(nibabel.load("mask.nii.gz").dataobj)
back = after_a_round_trip(mask)
dice = 2 * int((mask & back).sum()) / (int(mask.sum()) + int(back.sum()))
print(f"volume of the mask {mask.sum()} -> {back.sum()} voxels,"
      f" Dice of the mask with itself after save and load: {dice:.2f}")
assert mask.flags.f_contiguous and back.shape == mask.shape, "the behaviour has changed"
assert mask.sum() == back.sum() and dice < 0.5, "the behaviour has changed"
assert (after_a_round_trip(np.ascontiguousarray(mask)) == mask).all(), "the behaviour has changed"
PY
