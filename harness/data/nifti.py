"""Read NIfTI files of any origin: in bounded memory, check-summed, ambiguous files refused.

The voxels are read here rather than by nibabel, which does not notice a wrong gzip check sum, a
header that describes fewer voxels than there are, or a file that unpacks to gigabytes.
"""

import errno
import stat
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import IO, Any

import numpy as np

from harness.data import itk
from harness.data.case import Grid, Spacing
from harness.data.header import (
    EXPORT,
    Header,
    Unoriented,
    check_extensions,
    check_size,
    fault,
    parse,
)
from harness.errors import DataError

HEADER_BYTES = 540  # of NIfTI-2, the longer one
CHUNK_BYTES = 256 << 10  # what is copied is still in the processor's cache
TAIL_BYTES = 1 << 20  # read at most after the last voxel, to find the check sum
MAX_LABEL = 255
BETWEEN = 1e-3  # of a label: more than what a scale rounds
GZIP, ZLIB_GZIP = b"\x1f\x8b", 31  # how a stream begins, and zlib's number for one
INTERPOLATED = "resample the original labels with nearest neighbours: interpolation invents others"
REPACK = "cut them off: gzip -dc FILE > COPY.nii; gzip COPY.nii (it warns of the rest)"
UNLIKELY = 1e12  # no scanner's number; a float with its bytes in the wrong order often is

_OTHERS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a zip archive",
    b"NRRD": "an NRRD file",
    b"ObjectType": "a MetaImage",
    b"version https://git-lfs": "a Git LFS pointer, not the volume itself",
}


@dataclass(frozen=True, eq=False)
class Nifti:
    """A volume, its axes turned to the nearest of (superior, anterior, right)."""

    array: np.ndarray  # (D, H, W), a view of what was stored
    spacing_mm: Spacing  # (D, H, W)
    affine: np.ndarray  # (4, 4): index (x, y, z, 1) -> mm
    stored_axes: str  # where the stored x, y, z point, such as "LPS"
    stored_affine: np.ndarray  # (4, 4): stored index (x, y, z, 1) -> mm, for the way back
    place: Mapping[str, Any] = field(default_factory=dict)  # header.PLACE as the file has it
    notes: tuple[str, ...] = ()


def read_image(
    path: Path, channel: int | None = None, *, unoriented: Unoriented = "refuse"
) -> Nifti:
    """Read intensities as float32 (D, H, W), of a 4-D file those of one channel.

    `unoriented`: see `header.parse`. Raises DataError that names the file and the fault.
    """
    where = place(path)
    header, stored = _read(path, where, channel=channel, unoriented=unoriented)
    array = _scaled(stored, header)
    ends = _scaled(np.array([stored.min(), stored.max()]), header)  # sooner found in integers
    low, high = ends.min(), ends.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = array.size - int(np.isfinite(array).sum())
        what = f"{bad:,} of {array.size:,} voxels are NaN or infinite"
        raise fault(where, "V22", what, "set them to the background")
    if low == high:
        raise fault(where, "V22", f"constant: every voxel is {low:g}", EXPORT)
    if max(-low, high) > UNLIKELY or _swapped(stored):
        what = f"values from {low:g} to {high:g}: the bytes are in the wrong order"
        raise fault(where, "V15", what, EXPORT)
    return _turned(array, header)


def _scaled(stored: np.ndarray, header: Header) -> np.ndarray:
    values = stored.astype(np.float32)
    if header.scale:
        values *= np.float32(header.scale[0])
        values += np.float32(header.scale[1])
    return values


def read_label(path: Path, image_voxels: int = 0, *, unoriented: Unoriented = "refuse") -> Nifti:
    """Read labels as uint8 (D, H, W); floats pass where every one is a whole number.

    `image_voxels`: how many its image has, where that is known; see `check_size`. Raises
    DataError that names the file and the fault.
    """
    where = place(path)
    header, stored = _read(path, where, image_voxels, unoriented=unoriented)
    if header.scale:
        raise _scaled_labels(stored, header.scale, where)
    if stored.dtype.kind == "f":
        _refuse_fractions(stored, where)
    if stored.min() < 0 or stored.max() > MAX_LABEL:
        values, counts = np.unique(stored[(stored < 0) | (stored > MAX_LABEL)], return_counts=True)
        listed = ", ".join(f"{v:g}: {n:,}" for v, n in zip(values[:3], counts[:3], strict=True))
        what = f"labels outside 0 to {MAX_LABEL} (label: voxels) {listed}"
        raise fault(where, "V24", what, "renumber them")
    return _turned(stored.astype(np.uint8), header)


def outline(path: Path, unoriented: Unoriented = "refuse") -> tuple[Grid, Spacing]:
    """Return shape (D, H, W) and voxel size in mm of a volume, or of each in a 4-D file.

    Raises DataError that names the file and the fault.
    """
    from nibabel import orientations

    header = _header(path, place(path), unoriented)
    axes = orientations.io_orientation(header.affine)[:, 0]
    sizes = np.linalg.norm(header.affine[:3, :3], axis=0)
    turned = sorted(zip(axes, header.shape, map(float, sizes), strict=True))
    (_, width, x_mm), (_, height, y_mm), (_, depth, z_mm) = turned
    return (depth, height, width), (z_mm, y_mm, x_mm)


def _header(path: Path, where: str, unoriented: Unoriented) -> Header:
    """Read the checked header alone; no voxel is read."""
    check_regular(path)
    try:
        with open(path, "rb") as file:
            if itk.is_itk(path):
                return itk.header_of(path, where, 0, unoriented)
            packed = _is_compressed(file, path, where)
            start = (GzipFile(fileobj=file) if packed else file).read(HEADER_BYTES)
    except (EOFError, BadGzipFile, zlib.error):
        raise fault(where, "V05", "its compressed data are damaged", "copy it again") from None
    except OSError as error:
        raise unreadable(error, path) from None
    return parse(start, where, 0, unoriented)


def place(path: Path) -> str:
    """Return a file's folder and name for messages, without its place on this machine."""
    name = f"{path.parent.name}/{path.name}"
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _refuse_fractions(stored: np.ndarray, where: str) -> None:
    whole = np.rint(stored) == stored
    if not np.isfinite(stored).all():
        bad = stored.size - int(np.isfinite(stored).sum())
        what = f"{bad:,} of {stored.size:,} labels are NaN or infinite"
        raise fault(where, "V22", what, "set them to 0")
    if not whole.all():
        bad = stored.size - int(whole.sum())
        what = f"{bad:,} labels are not whole numbers, such as {stored[~whole][0]:g}"
        raise fault(where, "V23", what, INTERPOLATED)


def _read(
    path: Path,
    where: str,
    proven: int = 0,
    channel: int | None = None,
    unoriented: Unoriented = "refuse",
) -> tuple[Header, np.ndarray]:
    """Read header and stored numbers (z, y, x), to the last byte of the file.

    Whatever goes wrong below becomes a DataError.
    """
    from isal import igzip, igzip_lib  # trials, which read no scans, do without it

    size = check_regular(path)
    try:
        with open(path, "rb") as file:
            if itk.is_itk(path):
                _refuse_others(file.read(64), where, itk.MAGIC)
                return itk.read(path, where, channel, unoriented)
            compressed = _is_compressed(file, path, where)
            if not compressed:
                return _volume(file, size, False, where, proven, channel, unoriented)
            with igzip.IGzipFile(fileobj=file) as stream:
                return _volume(stream, size, True, where, proven, channel, unoriented)
    except EOFError:
        _refuse_foreign_tail(path, where)
        raise fault(where, "V02", "its compressed data end too early", "copy it again") from None
    except (igzip.BadGzipFile, igzip_lib.IsalError):  # type: ignore[misc]  # a class, not as typed
        _refuse_foreign_tail(path, where)
        raise fault(where, "V05", "its compressed data are damaged", "copy it again") from None
    except MemoryError:
        what = "does not fit into memory"
        raise fault(where, "V07", what, "a machine with more memory, or a crop") from None
    except OSError as error:
        raise unreadable(error, path) from None


def _refuse_foreign_tail(path: Path, where: str) -> None:
    """Raise DataError where whole compressed data are followed by foreign bytes.

    Some readers pass over these, others call the file damaged; a new copy would change nothing.
    """
    behind = _foreign_tail(path)
    if behind:
        what = f"{behind:,} bytes that are not gzip follow its compressed data"
        raise fault(where, "V09", what, REPACK)


def _foreign_tail(path: Path) -> int:
    """Count bytes after the last whole gzip member, zeros excepted; 0 where a member is damaged."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        member = zlib.decompressobj(ZLIB_GZIP)
        part = file.read(CHUNK_BYTES)
        while part:
            if member.eof:
                part = part.lstrip(b"\0")
                if part and part[:2] != GZIP[: len(part[:2])]:
                    return size - file.tell() + len(part)
                member = zlib.decompressobj(ZLIB_GZIP)
            try:
                member.decompress(part)
            except zlib.error:
                return 0
            part = member.unused_data or file.read(CHUNK_BYTES)
    return 0


def _scaled_labels(stored: np.ndarray, scale: tuple[float, float], where: str) -> DataError:
    """Return the fault of labels with a scale; fractions among them come of interpolation."""
    slope, shift = scale
    what = f"labels are scaled by {slope:g} and shifted by {shift:g}"
    values = np.unique(stored).astype(np.float64) * slope + shift
    between = values[np.abs(values - np.rint(values)) > BETWEEN]
    if not len(between):
        return fault(where, "V21", what, "store plain integers")
    what = f"{what}: {len(between):,} of their values lie in between, such as {between[0]:.3g}"
    return fault(where, "V21", what, INTERPOLATED)


def check_regular(path: Path) -> int:
    """Return the size in bytes of a regular file. Raises DataError for other or empty files."""
    try:
        status = path.stat()
    except OSError as error:
        raise unreadable(error, path) from None
    if not stat.S_ISREG(status.st_mode):
        remedy = "put the volume itself there"
        raise DataError("not a regular file", where=place(path), remedy=remedy, code="PFB-D07")
    if status.st_size == 0:
        raise fault(place(path), "V01", "an empty file", "copy it again")
    return status.st_size


def unreadable(error: OSError, path: Path) -> DataError:
    if error.errno == errno.ELOOP:
        remedy = "replace the link by the file"
        return DataError("symlink loop", where=place(path), remedy=remedy, code="PFB-D05")
    if error.errno == errno.ENOENT and path.is_symlink():
        what = f"dangling link to {path.readlink()}"
        remedy = "copy the file into the folder"
        return DataError(what, where=place(path), remedy=remedy, code="PFB-D06")
    what = (error.strerror or "cannot be read").lower()
    remedy = "check the file, its permissions and its disk; then the same command"
    return DataError(what, where=place(path), remedy=remedy, code="PFB-D12")


def _is_compressed(file: IO[bytes], path: Path, where: str) -> bool:
    """Return whether a file is a gzip stream. Raises DataError where its name says otherwise."""
    start = file.read(64)
    file.seek(0)
    _refuse_others(start, where)
    compressed = start[:2] == GZIP
    if compressed != path.name.endswith(".gz"):
        kind, name = ("gzip", ".nii.gz") if compressed else ("no gzip", ".nii")
        what, remedy = f"is {kind}, against its name", f"rename it to {name} if it is NIfTI"
        raise fault(where, "V06", what, remedy)
    return compressed


def _refuse_others(start: bytes, where: str, but: Sequence[bytes] = ()) -> None:
    """Raise DataError for a file that begins like a file of another kind."""
    for magic, name in _OTHERS.items():
        if start.startswith(magic) and magic not in but:
            remedy = "git lfs pull" if b"git-lfs" in magic else "convert it to NIfTI"
            raise fault(where, "V06", f"is {name}", remedy)


def _volume(
    stream: IO[bytes] | GzipFile,
    file_bytes: int,
    compressed: bool,
    where: str,
    proven: int,
    channel: int | None,
    unoriented: Unoriented,
) -> tuple[Header, np.ndarray]:
    start = stream.read(HEADER_BYTES)
    header = parse(start, where, channel, unoriented)
    check_size(header, file_bytes, compressed, where, proven)
    stream.seek(0)
    start = stream.read(header.offset)
    check_extensions(start[header.length :], header, where)
    content = np.empty(header.bytes, np.uint8)
    filled = 0
    while part := stream.read(min(len(content) - filled, CHUNK_BYTES)):
        content[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
        filled += len(part)
    if filled < header.bytes:
        missing = header.bytes - filled
        raise fault(where, "V02", f"{missing:,} bytes are missing at its end", "copy it again")
    tail = len(stream.read(TAIL_BYTES))
    if tail:
        more = "or more " if tail == TAIL_BYTES else ""
        number = "V09" if compressed else "V12"
        raise fault(where, number, f"{tail:,} {more}bytes after the volume", EXPORT)
    volumes = content.view(header.dtype).reshape(header.channels, *header.shape[::-1])
    voxels = volumes[channel or 0]
    return header, voxels.astype(header.dtype.newbyteorder("="), copy=False)


def _swapped(stored: np.ndarray) -> bool:
    """Return whether multi-byte integers make sense only with their bytes reversed.

    Either neighbours become twice as alike (in real scans half as alike, and less), or all are
    multiples of 256 on both sides of zero, and 0 to 255 when swapped. One slice is looked at.
    """
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize == 1:
        return False
    plane = stored[len(stored) // 2]
    other = plane.byteswap()
    if plane.min() < 0 and not (plane & 0xFF).any():
        return bool(other.min() >= 0 and other.max() < 256)
    return _roughness(plane) > 2 * _roughness(other)


def _roughness(plane: np.ndarray) -> float:
    """Return the mean step between neighbours over the spread of values: about 1.1 for noise."""
    values = plane.astype(np.float64)
    spread = values.std()
    return float(np.abs(np.diff(values, axis=1)).mean() / spread) if spread else 0.0


def _turned(array: np.ndarray, header: Header) -> Nifti:
    """Flip and reorder axes, so that z, y and x mean the same in every file."""
    from nibabel import orientations
    from nibabel.affines import voxel_sizes

    axes = orientations.io_orientation(header.affine)
    turned = orientations.apply_orientation(array.T, axes).T
    affine = header.affine @ orientations.inv_ornt_aff(axes, header.shape)
    x_mm, y_mm, z_mm = (float(size) for size in voxel_sizes(affine))
    return Nifti(
        turned,
        (z_mm, y_mm, x_mm),
        affine,
        "".join(orientations.aff2axcodes(header.affine)),
        header.affine,
        header.place,
        header.notes,
    )
