#!/usr/bin/env bash
# A PET whose first slice is empty is read by SimpleITK in whole numbers.
#
# A scanner stores each slice of a PET with a slope of its own, and may give an empty one the slope
# 1. SimpleITK 2.5.7 takes the pixel type of the series from its first file: where that slope is
# whole, all slices are cut to integers, without a warning. In a unit like g/ml (SUV), where all of
# interest lies below 10, the image has a handful of values, and thresholds of 2.5 or 41 % of the
# maximum draw other masks. Read in the opposite order, the same files are float64 and right.
#
# Seen with pydicom 3.0.2, numpy 2.4.6, four slices of 0 to 6.12 after an empty one:
#   empty slice first: 16-bit signed integer, 7 different values, largest error 0.99
#   empty slice last:  64-bit float, 256 different values, largest error 0.00
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
    numpy==2.4.6 pydicom==3.0.2 SimpleITK==2.5.7
cd "$work"
"$work/venv/bin/python" - <<'PY'
from pathlib import Path

import numpy as np
import SimpleITK
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

STUDY, SERIES, FRAME = (generate_uid() for _ in range(3))
STORED = (np.arange(256, dtype=np.int16) * 60).reshape(16, 16)


def write(number, slope, stored):
    """One slice, and its values with the slope applied."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    data = FileDataset(f"{number}.dcm", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID,
    )
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = STUDY, SERIES, FRAME
    data.Modality, data.PatientID, data.InstanceNumber = "PT", "1", number
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 2 * number], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [2, 2], 2
    data.Rows, data.Columns, data.SamplesPerPixel = 16, 16, 1
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.RescaleSlope, data.RescaleIntercept = str(slope), "0"
    data.PixelData = stored.tobytes()
    data.save_as(f"{number}.dcm", enforce_file_format=True)
    return stored * slope


empty = write(0, 1, np.zeros_like(STORED))
true = np.stack([empty, *(write(number, 0.0004, STORED) for number in range(1, 5))])


def read(names):
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([str(Path(f"{name}.dcm").resolve()) for name in names])
    image = reader.Execute()
    return image.GetPixelIDTypeAsString(), SimpleITK.GetArrayFromImage(image)


seen = []
for title, names in (("empty slice first:", range(5)), ("empty slice last: ", range(4, -1, -1))):
    kind, voxels = read(names)
    error = float(np.abs(voxels - true[list(names)]).max())
    seen.append((kind, len(np.unique(voxels.round(6)))))
    print(f"{title} {kind}, {seen[-1][1]} different values, largest error {error:.2f}")
assert seen == [("16-bit signed integer", 7), ("64-bit float", 256)], "the behaviour has changed"
PY
