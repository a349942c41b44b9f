#!/usr/bin/env bash
# scikit-image's resize with order=0 blurs a label that nibabel has read.
#
# order=0, nearest neighbour, is what keeps labels whole, and of whole numbers scikit-image keeps
# them. nibabel's get_fdata() gives floats, and of floats resize smooths even for order=0 before it
# makes them smaller: a Gaussian runs over the label. At half the size no voxel of the enhancing
# tumour (4) is left, and the others hold hundreds of values. anti_aliasing=False, or a label read
# as whole numbers (np.asarray(image.dataobj)), keeps it.
#
# Seen with scikit-image 0.26.0, nibabel 5.4.2, numpy 2.4.6: a label of 16 x 16 x 16 with an
# edema (2) and within it an enhancing tumour (4), to 8 x 8 x 8:
#   whole numbers: values [0, 2, 4], 8 voxels of 4
#   get_fdata:     74 values, 0 voxels of 4
#   get_fdata without anti-aliasing: values [0, 2, 4], 8 voxels of 4
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
    numpy==2.4.6 scikit-image==0.26.0 nibabel==5.4.2
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import nibabel as nib
import numpy as np
from skimage.transform import resize

label = np.zeros((16, 16, 16), dtype=np.uint8)
label[4:12, 4:12, 4:12] = 2
label[8:12, 8:12, 8:12] = 4
nib.save(nib.Nifti1Image(label, np.eye(4)), "label.nii.gz")
image = nib.load("label.nii.gz")


def halved(volume, **how):
    small = resize(volume, (8, 8, 8), order=0, preserve_range=True, **how)
    return np.unique(small).tolist(), int((small == 4).sum())


whole = halved(np.asarray(image.dataobj))
floats = halved(image.get_fdata())
plain = halved(image.get_fdata(), anti_aliasing=False)
print(f"whole numbers: values {whole[0]}, {whole[1]} voxels of 4")
print(f"get_fdata: {len(floats[0])} values, {floats[1]} voxels of 4")
print(f"get_fdata without anti-aliasing: values {plain[0]}, {plain[1]} voxels of 4")
assert whole == plain == ([0, 2, 4], 8), "the behaviour has changed"
assert len(floats[0]) > 50 and floats[1] == 0, "the behaviour has changed"
PY
