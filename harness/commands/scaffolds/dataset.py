"""NAME: who made it, how many patients, voxel size, what the labels mean, under which licence.

ROOT/<patient>/image.nii.gz
ROOT/<patient>/mask.nii.gz   1 where the tumour is
"""

from collections.abc import Sequence
from pathlib import Path

from harness.plugin import Dataset, Survey, Surveyor


def survey(root: Path, modalities: Sequence[str]) -> Survey:
    """Every patient's files; reads no voxels."""
    found = Surveyor(root)
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        images = {modality: [folder / "image.nii.gz"] for modality in modalities}
        found.add(folder.name, images, [folder / "mask.nii.gz"])
    return found.done()


DATASETS = {
    "NAME": Dataset("NAME", modalities=("mr",), targets={"tumour": (1,)}, survey=survey),
}
