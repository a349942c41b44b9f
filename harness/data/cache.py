"""Prepared volumes on disk: written once and whole, memory-mapped when read.

CACHE/<key>/image.npy  (C, D, H, W) float32      label.npy  (D, H, W) uint8
            meta.json  case, spacing, shapes and check sums; written last
"""

import json
import os
import shutil
import zlib
from pathlib import Path

import numpy as np

from harness.data.case import Volume
from harness.errors import DataError
from harness.ledger import storage_error, write_json


def has(root: Path, key: str) -> bool:
    """Whether the entry is there with files of the right size."""
    try:
        meta = json.loads((root / key / "meta.json").read_text())
        return all(
            (root / key / name).stat().st_size == size for name, size in meta["bytes"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


def write(root: Path, key: str, volume: Volume) -> None:
    """Store `volume`; another process that stores the same at the same time does no harm.

    Raises StorageError naming path and bytes when there is no room.
    """
    final, temporary = root / key, root / f".{key}.{os.getpid()}"
    arrays = {"image.npy": volume.image.astype(np.float32), "label.npy": volume.label}
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            with open(temporary / name, "wb") as file:
                np.save(file, np.ascontiguousarray(array), allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
        meta = {
            "case": volume.case,
            "spacing_mm": list(volume.spacing_mm),
            "bytes": {name: (temporary / name).stat().st_size for name in arrays},
            "crc32": {name: zlib.crc32((temporary / name).read_bytes()) for name in arrays},
        }
        write_json(temporary / "meta.json", meta)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if not has(root, key):
            raise storage_error(error, final, sum(a.nbytes for a in arrays.values())) from error


def open_volume(root: Path, key: str) -> Volume:
    """The entry, its arrays memory-mapped and read-only.

    Raises DataError when it is missing or damaged; the next `pfbench run` makes it anew.
    """
    folder = root / key
    try:
        meta = json.loads((folder / "meta.json").read_text())
        for name, total in meta["crc32"].items():
            if zlib.crc32((folder / name).read_bytes()) != total:
                raise ValueError(f"{name} does not match its check sum")
        image, label = (
            np.load(folder / name, mmap_mode="r", allow_pickle=False)
            for name in ("image.npy", "label.npy")
        )
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"the prepared volume cannot be read: {error}",
            where=str(folder),
            remedy="remove this folder and repeat the command",
            code="PFB-D12",
        ) from error
    z, y, x = meta["spacing_mm"]
    return Volume(meta["case"], image, label, (z, y, x))
