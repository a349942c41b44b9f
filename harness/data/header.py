"""Parse NIfTI headers, and refuse those that contradict themselves.

nibabel decodes the fields; every one that decides how many voxels there are, what they are worth
or where they lie is checked here, before a single voxel is read. Free text of a header never
reaches a message: it may name a patient.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness.errors import DataError

LIMIT_BYTES = 4 << 30  # of the voxels of one file
BOMB_BYTES, BOMB_RATIO = 512 << 20, 100  # an image so large does not compress so well
DEFLATE_RATIO = 1032  # no deflate stream expands by more
EXTENSION_BYTES = 64 << 20
MAX_SCALE = 1e6
FORM_TOLERANCE_MM = 1e-2
SLACK = 0.1  # of the smallest side of a voxel: no other place
QUATERNION = 1e-3  # rad: near half a turn three float32 cannot tell angles closer than that apart
UNEQUAL = 1e-3  # of a voxel size: more than rounding
TILT = math.sin(math.radians(0.5))  # between axes: more than a registration's rounding
HUGE_MM = 100.0  # no voxel; a unit of metres over numbers in mm makes some
UNITS = {1: ("metre", 1e3), 3: ("micrometre", 1e-3)}  # xyzt_units -> mm; 2 and unknown ones are mm
PLACE = (
    "pixdim",
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
    "xyzt_units",
)
Unoriented = Literal["refuse", "pixdim"]
EXPORT = "export it again from its source"
REORIENT = "set the sform to the scanner's"
TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}


@dataclass(frozen=True, eq=False)
class Header:
    """The checked content of a header: how to read the voxels that begin at byte `offset`."""

    shape: tuple[int, int, int]  # as stored: x, y, z
    dtype: np.dtype
    order: str  # of bytes: "<" or ">"
    offset: int
    length: int  # of the header itself
    scale: tuple[float, float] | None  # slope, intercept; None where the numbers are what they say
    affine: np.ndarray  # (4, 4): stored index (x, y, z, 1) -> mm
    notes: tuple[str, ...]
    place: Mapping[str, Any]  # the fields that say where the voxels lie, as stored: see PLACE
    channels: int = 1  # volumes one after the other; more than 1 only where one was asked for

    @property
    def voxels(self) -> int:
        return math.prod(self.shape) * self.channels

    @property
    def bytes(self) -> int:
        return self.voxels * self.dtype.itemsize


def fault(where: str, number: str, what: str, remedy: str) -> DataError:
    return DataError(what, where=where, remedy=remedy, code=f"PFB-{number}")


def parse(
    start: bytes, where: str, channel: int | None = None, unoriented: Unoriented = "refuse"
) -> Header:
    """Parse the header at the beginning of `start` (348 bytes of NIfTI-1 or 540 of NIfTI-2).

    With `channel` the file may hold several volumes along its fourth axis, that one among them.
    `unoriented` files, whose form codes are both 0, are refused, or taken by their voxel sizes.

    Raises DataError naming the field that is wrong.
    """
    fields, length, notes = _decode(start, where)
    shape, channels = _shape(fields, where, channel)
    dtype = _dtype(fields, where)
    _voxel_sizes(fields, where)
    affine = _affine(fields, shape, where, unoriented)
    header = Header(
        shape,
        dtype,
        fields.endianness,
        _offset(fields, length, where),
        length,
        _scale(fields, where),
        affine,
        (*notes, *_oddities(affine, fields, where)),
        {name: fields[name].copy() for name in PLACE},
        channels,
    )
    if header.bytes > LIMIT_BYTES:
        claim = _size(header.bytes)
        what = f"header claims {claim}; limit {_size(LIMIT_BYTES)}"
        raise fault(where, "V07", what, "crop or resample it, or correct the header")
    return header


def check_size(
    header: Header, file_bytes: int, compressed: bool, where: str, proven: int = 0
) -> None:
    """Refuse a file that cannot hold its volume, or one that is a decompression bomb.

    A label compresses to nothing and is no bomb when it has as many voxels as its image, `proven`.
    """
    if not compressed:
        if file_bytes < header.offset + header.bytes:
            missing = header.offset + header.bytes - file_bytes
            raise fault(where, "V03", f"{missing:,} bytes are missing at its end", "copy it again")
        return
    if header.bytes > file_bytes * DEFLATE_RATIO:
        what = f"header claims {_size(header.bytes)}, more than {file_bytes:,} bytes can hold"
        raise fault(where, "V02", what, "copy it again")
    large = header.bytes > BOMB_BYTES and header.voxels != proven
    if large and header.bytes > file_bytes * BOMB_RATIO:
        what = f"header claims {_size(header.bytes)} in {file_bytes:,} bytes: no image is so empty"
        raise fault(where, "V08", what, EXPORT)


def check_extensions(content: bytes, header: Header, where: str) -> None:
    """Refuse `content` between header and voxels that its blocks do not fill exactly."""
    if len(content) < 4 or not content[0]:
        return
    at = 4
    while at + 8 <= len(content):
        (size,) = struct.unpack_from(f"{header.order}i", content, at)
        if size < 8 or at + size > len(content):
            what = f"a header extension of {size:,} bytes does not fit"
            raise fault(where, "V33", what, "store it without extensions")
        at += size


def _decode(start: bytes, where: str) -> tuple[Any, int, tuple[str, ...]]:
    """Return nibabel's fields of a header of either version and byte order."""
    from nibabel import Nifti1Header, Nifti2Header

    if len(start) < 348:
        what = f"ends after {len(start)} bytes, within its header"
        raise fault(where, "V04", what, "copy it again")
    sizes = {order: struct.unpack(f"{order}i", start[:4])[0] for order in "<>"}
    for order, size in sizes.items():
        if size == 540 and start[4:7] in (b"n+2", b"ni2") and len(start) >= 540:
            _single_file(start[4:7], where)
            return Nifti2Header(start[:540], order, check=False), 540, ()
    magic = start[344:348]
    if magic not in (b"n+1\0", b"ni1\0"):
        raise fault(where, "V06", "not a NIfTI file", "convert it to NIfTI")
    _single_file(magic[:3], where)
    order = next((o for o, size in sizes.items() if size == 348), "")
    if order:
        return Nifti1Header(start[:348], order, check=False), 348, ()
    order = "<" if 1 <= struct.unpack("<h", start[40:42])[0] <= 7 else ">"
    note = f"{where}: sizeof_hdr is {sizes[order]}, not 348; read as NIfTI-1"
    return Nifti1Header(start[:348], order, check=False), 348, (note,)


def _single_file(magic: bytes, where: str) -> None:
    if magic[1:2] != b"+":
        raise fault(where, "V06", "the header of a two-file pair", "convert both to one .nii.gz")


def _shape(fields: Any, where: str, channel: int | None) -> tuple[tuple[int, int, int], int]:
    """Return the sides of one volume, and the number of volumes."""
    dim = [int(n) for n in fields["dim"]]
    if not 1 <= dim[0] <= 7:
        raise fault(where, "V11", f"header claims {dim[0]} axes", EXPORT)
    sides = dim[1 : dim[0] + 1]
    if min(sides) < 0:
        raise fault(where, "V10", f"an axis of negative length: {_by(sides)}", EXPORT)
    if min(sides) == 0:
        raise fault(where, "V11", f"an axis without voxels: {_by(sides)}", EXPORT)
    while len(sides) > 3 and sides[-1] == 1:
        sides.pop()
    channels = 1
    if channel is not None and len(sides) == 4:
        channels = sides.pop()
    if channel is not None and channel >= channels:
        what = f"has no channel {channel}: it holds {channels}"
        raise fault(where, "V26", what, "correct the channels in dataset.json, or the file")
    if len(sides) != 3 or min(sides) < 2:
        remedy = "split it into volumes" if len(sides) > 3 else "stack its slices to a volume"
        raise fault(where, "V26", f"not a 3-D volume: {_by(sides)}", remedy)
    return (sides[0], sides[1], sides[2]), channels


def _dtype(fields: Any, where: str) -> np.dtype:
    code, bits = int(fields["datatype"]), int(fields["bitpix"])
    if code not in TYPES:
        number = "V14" if code in (1, 32, 128, 1536, 1792, 2048, 2304) else "V13"
        raise fault(where, number, f"datatype {code} is not a plain number", "store float or int")
    dtype = np.dtype(fields.endianness + TYPES[code])
    if bits != 8 * dtype.itemsize:
        what = f"datatype {code} has {8 * dtype.itemsize} bits, bitpix says {bits}"
        raise fault(where, "V14", what, EXPORT)
    return dtype


def _offset(fields: Any, length: int, where: str) -> int:
    offset = float(fields["vox_offset"])
    least = length + 4
    if not math.isfinite(offset) or offset != int(offset):
        raise fault(where, "V18", f"vox_offset is {offset:g}", EXPORT)
    if not least <= offset:
        number = "V17" if offset >= 0 else "V18"
        raise fault(where, number, f"vox_offset is {offset:g}: the header ends at {least}", EXPORT)
    if offset > least + EXTENSION_BYTES:
        what = f"vox_offset is {offset:g}: limit {least + EXTENSION_BYTES}"
        raise fault(where, "V18", what, EXPORT)
    return int(offset)


def _scale(fields: Any, where: str) -> tuple[float, float] | None:
    """Return slope and intercept; None without scaling: a slope of 0 or NaN (the standard)."""
    slope, inter = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or (math.isnan(slope) and (math.isnan(inter) or inter == 0)):
        return None
    if not (math.isfinite(slope) and math.isfinite(inter)):
        raise fault(where, "V19", f"scl_slope {slope:g}, scl_inter {inter:g}", "store it unscaled")
    if max(abs(slope), abs(inter)) > MAX_SCALE:
        what = f"scl_slope {slope:g}, scl_inter {inter:g}: limit {MAX_SCALE:g}"
        raise fault(where, "V20", what, "store it unscaled")
    return None if (slope, inter) == (1, 0) else (slope, inter)


def _voxel_sizes(fields: Any, where: str) -> None:
    sizes = [float(size) for size in fields["pixdim"][1:4]]
    if not all(math.isfinite(size) and size > 0 for size in sizes):
        remedy = "write the true voxel size: distances in mm depend on it"
        raise fault(where, "V32", f"pixdim (voxel size) is {_by(sizes)}", remedy)


def _affine(fields: Any, shape: Sequence[int], where: str, unoriented: Unoriented) -> np.ndarray:
    """Return the sform in mm, else the qform; refuse other fields that contradict."""
    forms: list[np.ndarray] = []
    if int(fields["sform_code"]) > 0:
        forms.append(_in_mm(_regular(fields.get_sform(), where), fields))
    if int(fields["qform_code"]) > 0:
        try:
            form = fields.get_qform()
        except (ValueError, ArithmeticError):
            raise fault(where, "V31", "its qform is no rotation", "remove or repair it") from None
        forms.append(_in_mm(_regular(form, where), fields))
    if not forms:
        return _in_mm(_by_voxel_size(fields, where, unoriented), fields)
    if len(forms) == 1 and int(fields["sform_code"]) > 0:
        _refuse_other_sizes(forms[0], fields, where)
    if len(forms) == 2 and not same_place(forms[0], forms[1], shape, FORM_TOLERANCE_MM):
        raise _forms_apart(forms[0], forms[1], shape, where)
    return forms[0]


def _in_mm(affine: np.ndarray, fields: Any) -> np.ndarray:
    """Return `affine` with its unit of length, `xyzt_units`, brought to mm."""
    _, factor = UNITS.get(int(fields["xyzt_units"]) & 7, ("mm", 1.0))
    return np.diag([factor, factor, factor, 1.0]) @ affine


def _by_voxel_size(fields: Any, where: str, unoriented: Unoriented) -> np.ndarray:
    """Return the affine without forms: axes right, anterior, superior (NIfTI's method 1)."""
    if unoriented == "pixdim":
        return np.diag([*map(float, fields["pixdim"][1:4]), 1.0])
    what = "no orientation: sform and qform codes are 0"
    remedy = (
        "set the sform: without it left and right are unknown; where the voxels are known to run "
        "to right, anterior, superior, --set data.unoriented=pixdim takes them so"
    )
    raise fault(where, "V30", what, remedy)


def _refuse_other_sizes(sform: np.ndarray, fields: Any, where: str) -> None:
    """Refuse a sform without qform whose voxel size is not that of pixdim: readers take either."""
    sizes = _in_mm(np.diag([*map(float, fields["pixdim"][1:4]), 1.0]), fields).diagonal()[:3]
    spanned = np.linalg.norm(sform[:3, :3], axis=0)
    if (np.abs(sizes - spanned) > UNEQUAL * spanned).any():
        what = f"pixdim says voxels of {_by(sizes)} mm, the sform {_by(spanned)}"
        remedy = "set both to the right one: programs read either, and there is no qform to tell"
        raise fault(where, "V29", what, remedy)


def _forms_apart(
    sform: np.ndarray, qform: np.ndarray, shape: Sequence[int], where: str
) -> DataError:
    apart = distance_mm(sform, qform, shape)
    tilt = tilt_degrees(sform)
    if math.sin(math.radians(tilt)) > TILT:
        what = (
            f"its sform is sheared by {tilt:.1f} degrees, as the tilt of a CT gantry leaves it; "
            f"its qform cannot say so and is {apart:.3g} mm apart"
        )
        remedy = "resample it to square axes (dcm2niix writes such a file, *_Tilt)"
        return fault(where, "V29", what, remedy)
    return fault(
        where, "V29", f"sform and qform are {apart:.3g} mm apart", "set both to the right one"
    )


def tilt_degrees(affine: np.ndarray) -> float:
    """Return how far the axes of `affine` are from orthogonal, in degrees."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs(axes.T @ axes - np.eye(3))
    return math.degrees(math.asin(min(1.0, cosines.max())))


def _oddities(affine: np.ndarray, fields: Any, where: str) -> list[str]:
    """Return the notes on a header that is read as it stands although it is unusual."""
    notes = []
    unit, _ = UNITS.get(int(fields["xyzt_units"]) & 7, ("mm", 1.0))
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if sizes.max() > HUGE_MM:
        notes.append(f"{where}: voxels of {_by(sizes)} mm, as its header says (unit: {unit})")
    tilt = tilt_degrees(affine)
    if math.sin(math.radians(tilt)) > TILT:
        notes.append(
            f"{where}: its axes are {tilt:.1f} degrees from square (gantry tilt?); distances in mm "
            "are taken as if they were"
        )
    return notes


def _regular(affine: np.ndarray, where: str) -> np.ndarray:
    """Return `affine`; refuse one that is not finite or whose axes do not span space."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (lengths > 0).all():
        what = "its affine is not finite or has an axis of no length"
        raise fault(where, "V30", what, REORIENT)
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise fault(where, "V30", "its affine is singular: two axes have one direction", REORIENT)
    return affine


def distance_mm(first: np.ndarray, second: np.ndarray, shape: Sequence[int]) -> float:
    """Return the largest distance in mm between the two places of a corner voxel."""
    return float(_apart_mm(first, second, shape).max())


def same_place(
    first: np.ndarray, second: np.ndarray, shape: Sequence[int], slack_mm: float = math.inf
) -> bool:
    """Return whether both affines place a volume of `shape` (x, y, z) alike, but for rounding.

    One corner has to agree within `slack_mm`, and a tenth of a voxel at most; the others may be
    off by what quaternions of float32 cannot say, 1e-3 rad of the volume's extent.
    """
    sides = np.linalg.norm(first[:3, :3], axis=0)
    extent = float(np.linalg.norm(sides * (np.asarray(shape) - 1)))
    slack = min(slack_mm, SLACK * float(sides.min()))
    apart = _apart_mm(first, second, shape)
    return bool(apart.min() <= slack and apart.max() <= slack + QUATERNION * extent)


def _apart_mm(first: np.ndarray, second: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return the distance in mm between the two places of each of the eight corner voxels."""
    corners = np.array(np.meshgrid(*[(0, side - 1) for side in shape], [1])).reshape(4, -1)
    return np.linalg.norm(((first - second) @ corners)[:3], axis=0)


def _by(sides: Sequence[float] | np.ndarray) -> str:
    return "x".join(f"{side:g}" for side in sides)


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.1f} TB" if count < 1e6 else f"{count:.0g} TB"
