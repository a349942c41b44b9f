"""Arrays as NIfTI files that lie where the scan they belong to lies, and say nothing else.

The header is made anew: whatever text that of the scan had (description, names, extensions) may
name a patient, and stays behind.
"""

import gzip

import numpy as np

from harness.data.header import FORM_TOLERANCE_MM, distance_mm

SCANNER = 1  # the form code of an affine that is the scanner's own
TURNED = np.array([[0, 1], [1, 1], [2, 1]])  # nibabel's name for axes towards R, A and S
NIFTI_1_SIDE = 2**15 - 1  # the longest axis that a NIfTI-1 header can tell
COMPRESSION = 6


def packed(array: np.ndarray, stored_affine: np.ndarray) -> bytes:
    """The content of a .nii.gz; equal arguments, equal bytes.

    `array` (D, H, W), uint8 or float32, has its axes turned as `nifti.read_image` turns them; they
    are written in the order and direction in which a file with `stored_affine` has its own.
    The affine is the sform, and the qform too unless it is sheared, which no qform can be.
    """
    from nibabel import Nifti1Image, Nifti2Image, orientations

    axes = orientations.io_orientation(stored_affine)
    stored = orientations.apply_orientation(array.T, orientations.ornt_transform(TURNED, axes))
    kind = Nifti1Image if max(stored.shape) <= NIFTI_1_SIDE else Nifti2Image
    image = kind(stored, stored_affine)
    image.set_qform(stored_affine, SCANNER)
    if distance_mm(image.get_qform(), stored_affine, stored.shape) > FORM_TOLERANCE_MM:
        image.set_qform(None)
    image.set_sform(stored_affine, SCANNER)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), COMPRESSION, mtime=0)
