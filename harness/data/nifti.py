"""Read a NIfTI file without trusting it: bounded, check-summed, and only if it means one thing.

nibabel interprets the header; the bytes are read here, because a damaged gzip stream, a header
that claims more than the file holds, or one that claims less, load silently otherwise.
No text of a header ever reaches a message: it may name a patient.
"""

import gzip
import io
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np

from harness.data.case import Spacing
from harness.errors import DataError

LIMIT_BYTES = 4 << 30  # of one volume
TAIL_BYTES = 1 << 20  # looked at after the last voxel before the file is refused
KINDS = {2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280}  # integers and floats of up to 64 bits
MAX_SCALE = 1e6
MAX_LABEL = 254


@dataclass(frozen=True, eq=False)
class Nifti:
    """One volume, axes turned to the nearest of (superior, anterior, right)."""

    array: np.ndarray  # (D, H, W)
    spacing_mm: Spacing  # (D, H, W)
    affine: np.ndarray  # (4, 4), of an index (x, y, z, 1)
    stored_axes: str
    scaled: bool


def read_image(path: Path) -> Nifti:
    """Intensities as float32. Raises DataError that names the file and the fault."""
    volume = _read(path)
    array = volume.array.astype(np.float32)
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise _fault(path, "22", f"{bad} of {array.size} voxels are NaN or infinite")
    if array.min() == array.max():
        raise _fault(path, "22", f"every voxel is {array.flat[0]:g}")
    return _with(volume, array)


def read_label(path: Path) -> Nifti:
    """Labels as uint8; stored floats pass when every one is a whole number."""
    volume = _read(path)
    array = volume.array
    if volume.scaled:
        raise _fault(path, "21", "labels are scaled (scl_slope, scl_inter)", "store them unscaled")
    if not np.isfinite(array).all() or (array != np.rint(array)).any():
        raise _fault(path, "23", "labels are not whole numbers", "store integers")
    if array.min() < 0 or array.max() > MAX_LABEL:
        worst = array.min() if array.min() < 0 else array.max()
        count = int((array == worst).sum())
        raise _fault(path, "24", f"label {worst:g} in {count} voxels is outside 0..{MAX_LABEL}")
    return _with(volume, array.astype(np.uint8))


def _with(volume: Nifti, array: np.ndarray) -> Nifti:
    return Nifti(array, volume.spacing_mm, volume.affine, volume.stored_axes, volume.scaled)


def _read(path: Path) -> Nifti:
    """The volume; every exception of the libraries below becomes a DataError."""
    _refuse_irregular(path)
    try:
        with open(path, "rb") as raw, _unpacked(path, raw) as stream:
            header = _header(path, stream)
            content = _voxels(path, stream, header)
        return _oriented(path, header, content)
    except DataError:
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        what = "the compressed data are damaged or cut short"
        raise _fault(path, "05", what, "copy the file again") from error
    except (OSError, ValueError, OverflowError, MemoryError, struct.error,
            nibabel.spatialimages.HeaderDataError) as error:  # fmt: skip
        raise _fault(path, "13", f"cannot be read ({type(error).__name__})") from error


def _refuse_irregular(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        what = "dangling link" if path.is_symlink() else "no such file"
        raise DataError(what, where=str(path), code="PFB-D06") from error
    except OSError as error:
        what = "symlink loop" if error.errno == 40 else (error.strerror or "cannot be opened")
        raise DataError(what, where=str(path), code="PFB-D05") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError("not a regular file", where=str(path), code="PFB-D07")
    if not status.st_size:
        raise _fault(path, "01", "the file is empty", "copy the file again")


def _unpacked(path: Path, raw: BinaryIO) -> BinaryIO:
    """The stream of header and voxels, by what the name promises and the first bytes hold."""
    packed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    if packed != (path.suffix == ".gz"):
        found = "compressed" if packed else f"not compressed ({_looks_like(raw)})"
        raise _fault(path, "06", f"the content is {found}, the name says otherwise", "rename it")
    return gzip.GzipFile(fileobj=raw) if packed else io.BufferedReader(raw)  # type: ignore[return-value, arg-type]


def _looks_like(raw: BinaryIO) -> str:
    start = raw.read(64)
    raw.seek(0)
    known = {b"\x89PNG": "PNG", b"version https://git-lfs": "a Git LFS pointer", b"PK": "zip"}
    names = [name for magic, name in known.items() if start.startswith(magic)]
    return names[0] if names else "text" if start.isascii() and b"\0" not in start else "binary"


def _header(path: Path, stream: BinaryIO) -> Any:
    """The header, checked for everything that decides what the voxels mean."""
    start = stream.read(348)
    if len(start) < 348:
        raise _fault(path, "04", f"not a NIfTI file ({_looks_like(io.BytesIO(start))})")
    sizes = {order: struct.unpack(f"{order}i", start[:4])[0] for order in "<>"}
    if 540 in sizes.values():
        kind, block = nibabel.Nifti2Header, start + stream.read(192)
    elif start[344:348] == b"n+1\0":
        kind, block = nibabel.Nifti1Header, start
    else:
        raise _fault(path, "04", f"not a single-file NIfTI ({_looks_like(io.BytesIO(start))})")
    header = kind(block, check=False)
    _check_shape(path, header)
    _check_numbers(path, header, len(block))
    return header


def _check_shape(path: Path, header: Any) -> None:
    count = int(header["dim"][0])
    dims = [int(n) for n in header["dim"][1 : count + 1]] if 1 <= count <= 7 else []
    if len(dims) < 3 or min(dims) < 1:
        raise _fault(path, "11", f"dim={[int(n) for n in header['dim']]}: not a 3-D volume")
    if any(n != 1 for n in dims[3:]):
        raise _fault(path, "26", f"has {count} axes: {dims}", "split it into 3-D volumes")
    if int(header["datatype"]) not in KINDS:
        raise _fault(path, "14", f"datatype={int(header['datatype'])} is no plain number")
    claimed = int(np.prod(dims, dtype=object)) * header.get_data_dtype().itemsize
    if claimed > LIMIT_BYTES:
        size = f"{claimed / 2**40:.1f} TB" if claimed > 2**40 else f"{claimed / 2**30:.1f} GB"
        raise _fault(path, "07", f"header claims {size}; the limit is {LIMIT_BYTES >> 30} GB")


def _check_numbers(path: Path, header: Any, size: int) -> None:
    offset = float(header["vox_offset"])
    if not np.isfinite(offset) or not size + 4 <= offset <= size + (64 << 20):
        raise _fault(path, "17", f"vox_offset={offset:g} does not lie behind the header")
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    unscaled = np.isnan(slope) and np.isnan(inter)  # nibabel's own way to write "not scaled"
    sound = np.isfinite([slope, inter]).all() and max(abs(slope), abs(inter)) <= MAX_SCALE
    if not sound and not unscaled:
        raise _fault(path, "19", f"scl_slope={slope:g}, scl_inter={inter:g}")
    spacing = np.asarray(header["pixdim"][1:4], dtype=float)
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise _fault(path, "32", f"pixdim={spacing.tolist()}: voxel sizes must be positive",
                     "mm would be wrong; write the true voxel size")  # fmt: skip
    sform, qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    affines = [header.get_sform()] if sform else []
    affines += [header.get_qform()] if qform else []
    for affine in affines:
        if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise _fault(path, "30", "the affine is not finite or not invertible")
    if not affines:
        raise _fault(path, "30", "neither sform nor qform says where the volume lies")
    if len(affines) == 2 and np.abs(affines[0] - affines[1]).max() > 1e-2:
        most = float(np.abs(affines[0] - affines[1]).max())
        raise _fault(path, "29", f"sform and qform differ by up to {most:.3g} mm")


def _voxels(path: Path, stream: BinaryIO, header: Any) -> np.ndarray:
    """The stored numbers (x, y, z), read to the end so that the gzip check sum is verified."""
    dims = tuple(int(n) for n in header["dim"][1:4])
    kind = header.get_data_dtype()
    expected = int(np.prod(dims)) * kind.itemsize
    skipped = int(header["vox_offset"]) - header.structarr.dtype.itemsize
    if len(stream.read(skipped)) < skipped:
        raise _fault(path, "03", "ends before the first voxel", "copy the file again")
    content = stream.read(expected)
    if len(content) < expected:
        what = f"ends after {len(content)} of {expected} bytes of voxels"
        raise _fault(path, "03", what, "copy the file again")
    if stream.read(1):
        more = len(stream.read(TAIL_BYTES)) + 1
        raise _fault(path, "09", f"{more} or more bytes after the volume")
    return np.frombuffer(content, dtype=kind).reshape(dims, order="F")


def _oriented(path: Path, header: Any, stored: np.ndarray) -> Nifti:
    """Scaled, native byte order, axes to (z, y, x) of the nearest RAS+ orientation."""
    slope, inter = header.get_slope_inter()
    scaled = (slope not in (None, 1.0)) or (inter not in (None, 0.0))
    array = stored.astype(stored.dtype.newbyteorder("="))
    if scaled:
        array = array * np.float64(slope or 1.0) + np.float64(inter or 0.0)
    affine = header.get_best_affine()
    axes = nibabel.orientations.io_orientation(affine)
    array = nibabel.orientations.apply_orientation(array, axes)
    turned = affine @ nibabel.orientations.inv_ornt_aff(axes, stored.shape)
    x, y, z = nibabel.affines.voxel_sizes(turned)
    letters = "".join(nibabel.orientations.aff2axcodes(affine))
    return Nifti(array.transpose(2, 1, 0), (float(z), float(y), float(x)), turned, letters, scaled)


def _fault(path: Path, number: str, what: str, remedy: str = "") -> DataError:
    return DataError(what, where=str(path), remedy=remedy, code=f"PFB-V{number}")
