#!/usr/bin/env bash
# A DICOM segmentation read by SimpleITK is a pile of frames: other slices and spacing, no labels.
#
# A DICOM SEG lists frames, each with its segment and its place. SimpleITK 2.5.7 reads it without a
# word as one volume of all frames, one after another: segments stand on top of each other, empty
# slices are gone, the distance of slices is 1 mm whatever the scan's is, and every segment has the
# value 255. Its volume in ml is therefore that of all segments, and wrong by the spacing; nothing
# lines up with the scan. highdicom or dcmqi put frames where they belong.
#
# Seen with highdicom 0.28.2, pydicom 3.0.2, numpy 2.4.6, a CT of 6 slices 2 mm apart, an organ of
# 32 voxels in slices 2 and 3, a lesion of 8 voxels in slices 3 and 4:
#   size (16, 16, 4), spacing (1.0, 1.0, 1.0), values [0, 255], voxels per slice [16, 16, 4, 4]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq --no-compile --disable-pip-version-check \
    numpy==2.4.6 pydicom==3.0.2 highdicom==0.28.2 SimpleITK==2.5.7
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import highdicom
import numpy as np
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

STUDY, SERIES, FRAME = (generate_uid() for _ in range(3))


def ct_slice(number):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = STUDY, SERIES, FRAME
    data.Modality, data.PatientID, data.StudyID, data.SeriesNumber = "CT", "1", "1", 1
    data.InstanceNumber = number + 1
    for name in ("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber",
                 "ReferringPhysicianName", "StudyDate", "StudyTime"):
        setattr(data, name, "")
    data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 2 * number], [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness, data.Rows, data.Columns = [1, 1], 2, 16, 16
    return data


def segment(number, label):
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Liver,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


organ, lesion = np.zeros((2, 6, 16, 16), dtype=np.uint8)
organ[2:4, 4:8, 4:8] = 1
lesion[3:5, 10:12, 10:12] = 1
highdicom.seg.Segmentation(
    source_images=[ct_slice(number) for number in range(6)],
    pixel_array=np.stack([organ, lesion], axis=-1),
    segmentation_type="BINARY",
    segment_descriptions=[segment(1, "organ"), segment(2, "lesion")],
    series_instance_uid=highdicom.UID(),
    series_number=2,
    sop_instance_uid=highdicom.UID(),
    instance_number=1,
    manufacturer="nobody",
    manufacturer_model_name="none",
    software_versions="1",
    device_serial_number="1",
).save_as("seg.dcm")

image = SimpleITK.ReadImage("seg.dcm")
voxels = SimpleITK.GetArrayFromImage(image)
size, spacing = image.GetSize(), image.GetSpacing()
values, slices = np.unique(voxels).tolist(), (voxels > 0).sum(axis=(1, 2)).tolist()
print(f"size {size}, spacing {spacing}, values {values}, voxels per slice {slices}")
assert size == (16, 16, 4) and spacing == (1, 1, 1), "the behaviour has changed"
assert values == [0, 255] and slices == [16, 16, 4, 4], "the behaviour has changed"
PY
