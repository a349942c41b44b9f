"""Write arrays as NIfTI files in the place of their scan, without the scan's texts.

The header is made anew: whatever text that of the scan had (description, names, extensions) may
name a patient, and stays behind.
"""

import gzip
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.data.header import FORM_TOLERANCE_MM, same_place

SCANNER = 1  # the form code of an affine that is the scanner's own
TURNED = np.array([[0, 1], [1, 1], [2, 1]])  # nibabel's name for axes towards R, A and S
NIFTI_1_SIDE = 2**15 - 1  # the longest axis that a NIfTI-1 header can tell
COMPRESSION = 6


def packed(
    array: np.ndarray, stored_affine: np.ndarray, place: Mapping[str, Any] | None = None
) -> bytes:
    """Return the bytes of a .nii.gz file; equal arguments give equal bytes.

    `array` (D, H, W), uint8 or float32, has its axes turned as `nifti.read_image` turns them; they
    are written in the order and direction in which a file with `stored_affine` has its own. The
    header says where they lie by the fields of the scan's own header, `place`, unit and codes
    included; without them `stored_affine` is the sform, and the qform too unless it is sheared,
    which no qform can be.
    """
    from nibabel import orientations

    axes = orientations.io_orientation(stored_affine)
    stored = orientations.apply_orientation(array.T, orientations.ornt_transform(TURNED, axes))
    image = _image(stored, stored_affine, place or {})
    return gzip.compress(image.to_bytes(), COMPRESSION, mtime=0)


def _image(stored: np.ndarray, affine: np.ndarray, place: Mapping[str, Any]) -> Any:
    """Return a NIfTI-1 image; NIfTI-2 if the scan is NIfTI-2 or an axis too long for NIfTI-1."""
    from nibabel import Nifti1Image, Nifti2Image

    long = max(stored.shape) > NIFTI_1_SIDE
    precise = bool(place) and place["srow_x"].dtype.itemsize > 4
    image = (Nifti2Image if long or precise else Nifti1Image)(stored, None if place else affine)
    for name, value in place.items():
        image.header[name] = value
    if place:
        return image
    image.set_qform(affine, SCANNER)
    if not same_place(image.get_qform(), affine, stored.shape, FORM_TOLERANCE_MM):
        image.set_qform(None)
    image.set_sform(affine, SCANNER)
    image.header.set_xyzt_units("mm")
    return image
