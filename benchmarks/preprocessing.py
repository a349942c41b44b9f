"""From the .nii.gz of one BraTS scan, 240 x 240 x 155, to its volume in the cache.

The peer is what scripts around the paper do: nibabel, crop, scipy's zoom, minimum to maximum,
np.save. Ours, beside that, verifies check sums, header and labels, and hashes what it writes.
Unpacking the two files is the part that neither can leave out.
"""

import gzip
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from benchmarks.timing import Row, medians_ms, require_equal
from harness.data.case import Case
from harness.data.ingest import Job, ingest
from harness.data.prepare import brats
from harness.data.scans import Rules

ROUNDS = 7
SHAPE, LABELS = (240, 240, 155), (1, 2, 4)  # as stored: x, y, z


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        image, label = _scan(Path(folder))
        rules = Rules("brats", "wt", frozenset({0, *LABELS}), editions=True)
        case = Case("case", {"t2": image}, label)
        job = Job("case", case, rules, brats, ("t2",), LABELS, (1, 1, 1), (128, 192, 192), 0)
        caches = (Path(folder, "ours", str(number)) for number in range(ROUNDS + 2))
        entry = next(caches)
        ours = np.load(entry / ingest(job, entry).key / "image.npy")
        theirs = _zoomed(image, label, Path(folder))
        # A zoom aligns corners, half a voxel off at the ends: the same picture, other numbers.
        require_equal("the picture", float(np.abs(ours[0] - theirs).mean()), 0.0, 0.02)
        times = medians_ms(
            {
                "ours": lambda: ingest(job, next(caches)),
                "zoom": lambda: _zoomed(image, label, Path(folder)),
                "unpacking": lambda: [gzip.decompress(p.read_bytes()) for p in (image, label)],
            },
            ROUNDS,
        )
    case = "240 x 240 x 155 to cache"
    yield Row(case, "nibabel, scipy zoom", times["ours"], times["zoom"], 3)
    yield Row(case, "unpacking alone", times["ours"], times["unpacking"])


def _scan(folder: Path) -> tuple[Path, Path]:
    """A head of smooth noise in air, and a tumour of two labels, as BraTS stores them."""
    rng = np.random.default_rng(0)
    noise = gaussian_filter(rng.standard_normal([side // 5 for side in SHAPE]), 2)
    texture = zoom(noise / noise.std(), 5, order=1)
    places = np.indices(SHAPE, dtype=np.float32)
    middle = np.array(SHAPE).reshape(3, 1, 1, 1) / 2
    radius = np.sqrt((((places - middle) / np.reshape((75, 90, 70), (3, 1, 1, 1))) ** 2).sum(0))
    head = np.where(radius < 1, 400 + 80 * texture + 20 * rng.standard_normal(SHAPE), 0)
    tumour = 2 * (radius < 0.3) + 2 * (radius < 0.2)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    paths = folder / "case_t2.nii.gz", folder / "case_seg.nii.gz"
    for path, array in zip(paths, (head.astype(np.int16), tumour.astype(np.uint8)), strict=True):
        nib.save(nib.Nifti1Image(array, affine), path)
    return paths


def _zoomed(image: Path, label: Path, folder: Path) -> np.ndarray:
    pictures = []
    for path, order in ((image, 1), (label, 0)):
        stored = np.asanyarray(nib.load(path).dataobj)[::-1, ::-1].T[:, 24:-24, 24:-24]
        if order:
            stored = stored.astype(np.float32)
        pictures.append(zoom(stored, (128 / 155, 1, 1), order=order))
    scaled = (pictures[0] - pictures[0].min()) / np.ptp(pictures[0])
    np.save(folder / "image.npy", scaled)
    np.save(folder / "label.npy", (pictures[1] > 0).astype(np.uint8))
    return scaled
