"""NRRD and MetaImage (.nrrd, .mha, .mhd), read by SimpleITK into what a NIfTI header says.

SimpleITK finds voxels that are missing at the end. What it does not refuse is refused here: a
header that claims more than memory holds, voxels in another folder, a flipped bit in compressed
data, a file that does not say how its axes lie.
"""

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.header import LIMIT_BYTES, Header, Unoriented, fault
from harness.errors import DataError

ENDINGS = (".nrrd", ".mha", ".mhd")
MAGIC = (b"NRRD", b"ObjectType")
INSTALL = "pip install 'pfbench[itk]', or convert it to NIfTI"
HEADER_BYTES = 64 << 10  # of text
ZLIB_GZIP = 31  # zlib's number for a gzip stream
CHUNK_BYTES = 256 << 10
TYPES = {
    f"{bits}-bit {sign}signed integer": f"{letter}{bits // 8}"
    for bits in (8, 16, 32, 64)
    for sign, letter in (("", "i"), ("un", "u"))
}
TYPES |= {"32-bit float": "f4", "64-bit float": "f8"}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
ELSEWHERE = {
    "nrrd": "data file",
    "meta": "elementdatafile",
}  # names a file of voxels


def is_itk(path: Path) -> bool:
    return path.suffix in ENDINGS


def header_of(
    path: Path, where: str, channel: int | None = None, unoriented: Unoriented = "refuse"
) -> Header:
    """Read the header of a file; none of its voxels is read.

    Raises DataError that names the file and the fault.
    """
    text = _text(path, where)
    companion(path, where)
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        what = f"is no {path.suffix.removeprefix('.')} file that SimpleITK can read"
        raise fault(where, "V06", what, "export it again from its source") from None
    sides = reader.GetSize()
    if len(sides) != 3 or min(sides) < 2:
        what = f"not a 3-D volume: {'x'.join(map(str, sides))}"
        raise fault(where, "V26", what, "split or stack it")
    channels = reader.GetNumberOfComponents()
    if (channel is None and channels > 1) or (channel is not None and channel >= channels):
        what = f"a voxel has {channels} values"
        raise fault(where, "V26", what, "split it into volumes, or correct the channels")
    if "space directions" not in text and path.suffix == ".nrrd" and unoriented == "refuse":
        what = "no orientation: it has no space directions"
        raise fault(where, "V30", what, "export it with them, or --set data.unoriented=pixdim")
    dtype = _dtype(reader, where)
    claim = math.prod(sides) * channels * dtype.itemsize
    if claim > LIMIT_BYTES:
        what = f"header claims {claim / 1e9:.3g} GB; limit {LIMIT_BYTES / 1e9:.3g} GB"
        raise fault(where, "V07", what, "crop or resample it, or correct the header")
    affine = _affine(reader, where)
    return Header(sides, dtype, "<", 0, 0, None, affine, (), {}, channels)


def read(
    path: Path, where: str, channel: int | None, unoriented: Unoriented
) -> tuple[Header, np.ndarray]:
    """Read header and voxels (z, y, x). Raises DataError that names the file and the fault."""
    header = header_of(path, where, channel, unoriented)
    import SimpleITK  # there, or the header could not have been read

    _check_sum(path, where)
    try:
        voxels = SimpleITK.GetArrayFromImage(_reader(path).Execute())
    except RuntimeError:
        raise fault(where, "V02", "voxels are missing, or damaged", "copy it again") from None
    return header, voxels[..., channel or 0] if header.channels > 1 else voxels


def companion(path: Path, where: str) -> Path | None:
    """Return the file beside `path` that holds its voxels; None where `path` holds them.

    Raises DataError for one that is in another folder or not there.
    """
    field = ELSEWHERE["nrrd" if path.suffix == ".nrrd" else "meta"]
    name = _text(path, where).get(field, "LOCAL")
    if name.upper() == "LOCAL":
        return None
    beside = path.parent / name
    plain = Path(name).name == name and "%" not in name and not name.upper().startswith("LIST")
    if not plain or beside.resolve().parent != path.parent.resolve():
        what = "its voxels are in another folder, or in several files"
        raise fault(where, "V06", what, "store header and voxels in one file")
    if not beside.is_file():
        raise fault(where, "V03", f"its voxels, {beside.name}, are not there", "copy them, too")
    return beside


def _reader(path: Path) -> Any:
    try:
        import SimpleITK
    except ImportError:
        place = f"{path.parent.name}/{path.name}"
        what = f"{path.suffix} needs SimpleITK"
        raise DataError(what, where=place, remedy=INSTALL, code="PFB-V06") from None
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("NrrdImageIO" if path.suffix == ".nrrd" else "MetaImageIO")
    return reader


def _text(path: Path, where: str) -> dict[str, str]:
    """Return the fields of the header, in lower case; their values never reach a message."""
    with open(path, "rb") as file:
        start = file.read(HEADER_BYTES)
    if path.suffix == ".nrrd" and not start.startswith(b"NRRD"):
        raise fault(where, "V06", "not an NRRD file", "convert it to NIfTI")
    fields = {}
    for line in start.split(b"\n\n")[0].split(b"\n"):
        name, separator, value = line.decode("latin-1").partition(
            ":" if path.suffix == ".nrrd" else "="
        )
        if separator:
            fields[name.strip().lower()] = value.strip()
        if name.strip().lower() == ELSEWHERE["meta"]:
            break
    if path.suffix != ".nrrd" and "ndims" not in fields:
        raise fault(where, "V06", "not a MetaImage", "convert it to NIfTI")
    return fields


def _check_sum(path: Path, where: str) -> None:
    """Refuse compressed NRRD data whose sum is wrong, which SimpleITK does not look at."""
    fields = _text(path, where)
    if path.suffix != ".nrrd" or fields.get("encoding") not in ("gzip", "gz"):
        return
    voxels = companion(path, where)
    with open(voxels or path, "rb") as file:
        if voxels is None:
            file.seek(file.read(HEADER_BYTES).index(b"\n\n") + 2)
        stream = zlib.decompressobj(ZLIB_GZIP)
        try:
            while part := file.read(CHUNK_BYTES):
                stream.decompress(part)
        except zlib.error:
            raise fault(where, "V05", "its compressed data are damaged", "copy it again") from None


def _dtype(reader: Any, where: str) -> np.dtype:
    """Return the numeric type of the voxels."""
    import SimpleITK

    name = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID()).removeprefix("vector of ")
    if name not in TYPES:
        raise fault(where, "V14", f"its voxels are no plain numbers: {name}", "store float or int")
    return np.dtype(TYPES[name])


def _affine(reader: Any, where: str) -> np.ndarray:
    """Return the affine, stored index (x, y, z, 1) -> mm: axes right, anterior, superior."""
    sizes = np.array(reader.GetSpacing())
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise fault(where, "V32", "a voxel size is not above 0", "write the true voxel size")
    axes = np.array(reader.GetDirection()).reshape(3, 3)
    affine = np.eye(4)
    affine[:3, :3] = LPS_TO_RAS @ axes @ np.diag(sizes)
    affine[:3, 3] = LPS_TO_RAS @ np.array(reader.GetOrigin())
    return affine
