"""Prepared volumes on disk: an entry is written whole or not at all, and memory-mapped to read.

    CACHE/<key>/image.npy   (C, D, H, W) float32
                label.npy   (D, H, W) uint8
                scan.npy    the part of the scan's label with target, deflated
                blocks.npy  (N, C, D, H, W) float32, of a liver to be scored on its scan
                meta.json   case, spacing, size and SHA-256 of each, and what was noticed

Readers see an entry only after it was renamed to its key, so an interrupted writer leaves at most
a folder whose name begins with a dot.
"""

import hashlib
import io
import json
import math
import os
import shutil
import threading
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.case import OnScan, Volume, valid_case_id
from harness.errors import DataError, StorageError

ARRAYS = ("image.npy", "label.npy")
SCAN, BLOCKS = "scan.npy", "blocks.npy"
FAST = 1  # the level of deflating: a mask is a hundredth of its size at any


def lookup(root: Path, key: str) -> dict[str, Any] | None:
    """Return the meta data of an entry; None when the entry is absent or damaged."""
    try:
        return _verified(root / key)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(
    root: Path, key: str, volume: Volume, known: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Store `volume` and the plain values `known` under `key`; return the meta data, as `lookup`.

    A damaged entry is replaced; a good one that another process stored meanwhile stays. Raises
    StorageError naming path and bytes when it cannot be written.
    """
    final = root / key
    temporary = root / f".{key}.{os.getpid()}.{threading.get_ident()}"
    image = volume.image.astype(np.float32, copy=False)
    arrays = dict(zip(ARRAYS, (image, volume.label), strict=True)) | _of_scan(volume.scan)
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        files = {name: _store(temporary / name, array) for name, array in arrays.items()}
        spacing_mm = list(volume.spacing_mm)
        meta = {**(known or {}), "case": volume.case, "spacing_mm": spacing_mm, "files": files}
        if volume.scan:
            meta["scan"] = _place(volume.scan)
        _write_synced(temporary / "meta.json", json.dumps(meta).encode())
        _sync_folder(temporary)
        _publish(temporary, final)
        _sync_folder(root)
        return meta
    except OSError as error:
        size = sum(array.nbytes for array in arrays.values())
        raise StorageError(
            f"cannot write {size:,} bytes: {(error.strerror or str(error)).lower()}",
            where=str(final),
            remedy="free space or choose another cache folder; finished volumes are kept",
            code="PFB-S01",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_volume(root: Path, key: str) -> Volume:
    """Open an entry as a volume, its arrays memory-mapped and read-only.

    Raises DataError when it is missing or damaged.
    """
    folder = root / key
    try:
        meta = _verified(folder)
        image, label = (
            np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in ARRAYS
        )
        z, y, x = meta["spacing_mm"]
        scan = _scan(folder, meta["scan"]) if "scan" in meta else None
        return Volume(meta["case"], image, label, (z, y, x), scan=scan)
    except (OSError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise DataError(
            f"prepared volume cannot be used: {error}",
            where=str(folder),
            remedy="repeat `pfbench run`, which prepares it again",
            code="PFB-D12",
        ) from error


def _of_scan(scan: OnScan | None) -> dict[str, np.ndarray]:
    """Return the arrays that tell what a scan is, by the names of their files."""
    if scan is None:
        return {}
    deflated = zlib.compress(np.ascontiguousarray(scan.inside).tobytes(), FAST)
    found = {SCAN: np.frombuffer(deflated, np.uint8)}
    return found if scan.blocks is None else found | {BLOCKS: scan.blocks}


def _place(scan: OnScan) -> dict[str, Any]:
    """Return the plain values that tell where the arrays of a scan lie."""
    return {
        "shape": scan.shape,
        "spacing_mm": scan.spacing_mm,
        "start": scan.start,
        "inside": scan.inside.shape,
        "kind": scan.inside.dtype.name,
    }


def _scan(folder: Path, place: Mapping[str, Any]) -> OnScan:
    deflated = np.load(folder / SCAN, allow_pickle=False)
    kind = np.dtype(place["kind"])
    inside = np.frombuffer(_inflated(deflated, math.prod(place["inside"]) * kind.itemsize), kind)
    blocks = folder / BLOCKS
    shown = np.load(blocks, mmap_mode="r", allow_pickle=False) if blocks.exists() else None
    (d, h, w), (z, y, x) = place["shape"], place["start"]
    mm_z, mm_y, mm_x = place["spacing_mm"]
    inside = inside.reshape(place["inside"])
    return OnScan((d, h, w), (mm_z, mm_y, mm_x), (z, y, x), inside, shown)


def _inflated(deflated: np.ndarray, size: int) -> bytes:
    """Return `size` bytes; ValueError where there are others, before memory holds them."""
    unpacker = zlib.decompressobj()
    unpacked = unpacker.decompress(deflated.tobytes(), size + 1)
    if len(unpacked) != size:
        raise ValueError(f"{SCAN} does not hold the {size:,} bytes that meta.json tells")
    return unpacked


def _verified(folder: Path) -> dict[str, Any]:
    """Return meta.json of an entry; ValueError when an array is not as it was written.

    The id is looked at, too: others may share the cache, and results are called after it.
    """
    meta = json.loads((folder / "meta.json").read_bytes())
    if not valid_case_id(meta["case"]):
        raise ValueError("it has no usable case id")
    for name in {*ARRAYS, *meta["files"]}:
        expected, path = meta["files"][name], folder / name
        if path.stat().st_size != expected["bytes"] or _sha256(path) != expected["sha256"]:
            raise ValueError(f"{name} is not what was written")
    return meta


def _store(path: Path, array: np.ndarray) -> dict[str, Any]:
    """Write a .npy file and hash its bytes meanwhile; np.save would hide the cause of a failure."""
    array = np.ascontiguousarray(array)
    start = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(start, header)
    parts = start.getvalue(), array.data.cast("B")
    with ThreadPoolExecutor(1) as thread:
        digest = thread.submit(_sha256_of, parts)
        _write_synced(path, *parts)
    return {
        "bytes": sum(map(len, parts)),
        "sha256": digest.result(),
        "shape": list(array.shape),
    }


def _write_synced(path: Path, *parts: bytes | memoryview) -> None:
    with open(path, "wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _publish(temporary: Path, final: Path) -> None:
    """Rename the temporary folder into place; an undamaged entry that is there already is kept."""
    if final.exists():
        if lookup(final.parent, final.name) is not None:
            return
        shutil.rmtree(final)
    try:
        os.rename(temporary, final)
    except OSError:
        if lookup(final.parent, final.name) is None:
            raise


def _sha256_of(parts: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
