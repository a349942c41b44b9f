"""Make synthetic brains with lesions: enough like the real task to train on, and nobody's.

Patients   as many as asked for, each from (seed, index); written or made in memory
Volume     any size; 240 x 240 x 155 voxels of 1 mm when written, as in BraTS
Modalities flair, t1, t1ce, t2: float, background exactly 0
Labels     0 none, 1 necrotic core, 2 oedema, 4 enhancing rim, nested as in BraTS

The head is an ellipsoid of two tissues and fluid, mixed at several scales, under a bias field and
noise. The one to three lesions have borders with detail down to a voxel or two, which only a
full-resolution view resolves; their brightness overlaps with that of tissue.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from harness.data.case import Grid, Scan, Spacing
from harness.errors import StorageError, UsageError

MARKER = "SYNTHETIC.txt"
UNFINISHED = "UNFINISHED.txt"
WRITERS = 2  # compression is the slow part, and runs outside the interpreter lock
MODALITIES = ("flair", "t1", "t1ce", "t2")
BRATS_SHAPE = (155, 240, 240)  # D, H, W

# Mean brightness of: grey matter, white matter, fluid, oedema, core, rim.
_BRIGHTNESS = {
    "flair": (0.50, 0.38, 0.12, 0.72, 0.63, 0.77),
    "t1": (0.42, 0.60, 0.15, 0.36, 0.25, 0.38),
    "t1ce": (0.44, 0.61, 0.16, 0.38, 0.24, 0.92),
    "t2": (0.50, 0.38, 0.90, 0.76, 0.84, 0.66),
}
_RIPPLE, _BIAS, _NOISE = np.float32(0.08), np.float32(0.15), np.float32(0.05)


def scan(
    seed: int,
    index: int,
    shape: Grid = BRATS_SHAPE,
    modalities: Sequence[str] = MODALITIES,
    spacing_mm: Spacing = (1.0, 1.0, 1.0),
) -> Scan:
    """Make patient `index` of the population `seed`: equal arguments, equal voxels.

    Each modality has its own random numbers: leaving one out does not change the others.
    """
    rng = np.random.default_rng((seed, index))
    head = _squared_radius(shape, (0.0, 0.0, 0.0), rng.uniform(0.78, 0.9, 3)) < 1
    ripple = _texture(rng, shape, (4, 10, 28), (1.0, 0.7, 0.45))
    label = _lesions(rng, shape, head)
    tissue = _tissue_map(_texture(rng, shape, (5, 12), (1.0, 0.8)), head, label)
    images = []
    for modality in modalities:
        own = np.random.default_rng((seed, index, MODALITIES.index(modality)))
        image = np.array((0.0, *_BRIGHTNESS[modality]), np.float32)[tissue]
        image += _RIPPLE * ripple
        image *= 1 + _BIAS * _texture(own, shape, (2,), (1.0,))
        image += _NOISE * own.standard_normal(shape, dtype=np.float32)
        np.clip(image, 0.01, None, out=image)
        image *= head
        images.append(image)
    return Scan(np.stack(images), label, spacing_mm, np.diag([*spacing_mm[::-1], 1.0]))


def write(out: Path, cases: int, shape: Grid = BRATS_SHAPE, seed: int = 0) -> list[Path]:
    """Write `cases` patients as NIfTI files in the layout of BraTS; returns their folders.

    A call that was cut off is continued by the same call. Raises UsageError when `out` holds
    something else already, StorageError when it cannot be written.
    """
    asked = f"{cases} cases of {'x'.join(map(str, shape))}, seed {seed}, are being written.\n"
    unfinished = out / UNFINISHED
    going_on = unfinished.is_file() and unfinished.read_text(encoding="utf-8") == asked
    if not going_on and out.exists() and (not out.is_dir() or any(out.iterdir())):
        what = "exists and is not empty"
        raise UsageError(what, where=str(out), remedy="another folder", code="PFB-C05")
    try:
        out.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(asked, encoding="utf-8")
        (out / MARKER).write_text(
            f"Made by pfbench, seed {seed}: shows no person.\n", encoding="utf-8"
        )
        with ThreadPoolExecutor(WRITERS) as pool:
            made = pool.map(lambda index: _write_case(out, seed, index, shape), range(cases))
            folders = list(made)
        unfinished.unlink()
        return folders
    except OSError as error:
        what = f"cannot be written: {(error.strerror or str(error)).lower()}"
        remedy = "a folder that you may write to"
        raise StorageError(what, where=str(out), remedy=remedy, code="PFB-S02") from error


def _write_case(out: Path, seed: int, index: int, shape: Grid) -> Path:
    import nibabel

    folder = out / case_id(index)
    if folder.exists():
        return folder
    made = scan(seed, index, shape)
    part = out / f".{folder.name}"
    part.mkdir(exist_ok=True)
    arrays = dict(zip(MODALITIES, (made.image * 1000).astype(np.int16), strict=True))
    for name, array in (*arrays.items(), ("seg", made.label)):
        stored = nibabel.Nifti1Image(array.transpose(2, 1, 0), made.affine)
        nibabel.save(stored, part / f"{folder.name}_{name}.nii.gz")
    return part.rename(folder)


def case_id(index: int) -> str:
    return f"BraTS20_Training_{index + 1:03d}"


def _lesions(rng: np.random.Generator, shape: Grid, head: np.ndarray) -> np.ndarray:
    """(D, H, W) uint8: nested regions around one to three centres away from the middle.

    The border is where distance plus texture passes one, so it is as irregular as the texture.
    """
    ragged = _texture(rng, shape, (6, 16, 40), (1.0, 0.8, 0.6))
    label = np.zeros(shape, np.uint8)
    for number in range(int(rng.integers(1, 4))):
        direction = rng.standard_normal(3)
        centre = direction / np.linalg.norm(direction) * rng.uniform(0.25, 0.5)
        size = rng.uniform(0.24, 0.36) * 0.75**number
        distance = np.sqrt(_squared_radius(shape, centre, size * rng.uniform(0.75, 1.3, 3)))
        distance += 0.16 * ragged
        core = rng.uniform(0.3, 0.5)
        label[distance < 1] = np.maximum(label[distance < 1], 2)
        label[distance < core + 0.2] = 4
        label[distance < core] = 1
    return label * head


def _tissue_map(texture: np.ndarray, head: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(D, H, W) uint8 index into `_BRIGHTNESS`: 0 outside, 1-3 healthy, 4-6 lesion."""
    tissue = np.where(texture > 0.2, np.uint8(2), np.uint8(1))
    tissue[texture < -1.3] = 3
    np.copyto(tissue, np.array([0, 5, 4, 0, 6], np.uint8)[label], where=label > 0)
    return tissue * head


def _squared_radius(
    shape: Grid, centre: Sequence[float] | np.ndarray, radii: np.ndarray
) -> np.ndarray:
    """Squared distance from `centre` in units of `radii`; the volume spans -1 to 1 per axis."""
    squares = []
    for axis, extent in enumerate(shape):
        place = (np.arange(extent, dtype=np.float32) + 0.5) * (2 / extent) - 1
        square = ((place - np.float32(centre[axis])) / np.float32(radii[axis])) ** 2
        squares.append(square.reshape([-1 if i == axis else 1 for i in range(3)]))
    return squares[0] + squares[1] + squares[2]


def _texture(
    rng: np.random.Generator, shape: Grid, cells: Sequence[int], weights: Sequence[float]
) -> np.ndarray:
    """Smooth noise of about unit variance: random lattices of `cells` per axis, interpolated."""
    total = np.zeros(shape, np.float32)
    for count, weight in zip(cells, weights, strict=True):
        lattice = rng.standard_normal((count, count, count), dtype=np.float32)
        along_z, along_y, along_x = (_interpolation(count, extent) for extent in shape)
        along_z *= np.float32(1.8 * weight / np.linalg.norm(weights))
        planes = along_y @ (lattice @ along_x.T)  # (count, H, W)
        total += np.tensordot(along_z, planes, axes=1)
    return total


def _interpolation(inputs: int, outputs: int) -> np.ndarray:
    """(outputs, inputs): linear interpolation with both ends of the two lattices aligned."""
    place = np.linspace(0, inputs - 1, outputs)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(inputs))).astype(np.float32)
