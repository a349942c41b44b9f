"""Masks on disk: archives of numpy arrays, of which nothing is believed before it was looked at."""

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from harness.runs.files import write_bytes

RATIO = 1032  # more than deflate ever unpacks from one byte
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays, whole or not at all."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_bytes(path, content.getvalue())


def read(path: Path, name: str) -> NDArray[Any]:
    """Read one array (D, H, W) of the archive.

    Its header is read first, and memory is bounded by the size of the file. Raises whatever an
    archive that was damaged makes its readers raise.
    """
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        kept = archive.getinfo(f"{name}.npy")
        shape, by_column, dtype = HEADERS[npy.read_magic(file)](file)
        size = math.prod(shape) * dtype.itemsize
        if dtype.kind not in "bu" or len(shape) != 3 or min(shape) < 1 or by_column:
            raise ValueError(f"is {dtype} of shape {shape}")
        if size > kept.file_size or kept.file_size > RATIO * kept.compress_size:
            raise ValueError(f"claims {size:,} bytes")
        content = file.read(size)
        if len(content) != size or file.read(1):
            raise ValueError("has another length than it claims")
        return np.frombuffer(content, dtype).reshape(shape)
