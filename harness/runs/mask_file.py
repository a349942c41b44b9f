"""Masks on disk: archives of numpy arrays, of which nothing is believed before it was looked at."""

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from harness.runs.files import write_bytes

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class Form(NamedTuple):
    """Shape and type of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write the arrays, whole or not at all."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays)
    write_bytes(path, content.getvalue())


def form(path: Path, name: str) -> Form:
    """Shape and type that the header of one array (D, H, W) of the archive claims.

    Raises whatever an archive that was damaged makes its readers raise.
    """
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        return _form(file)


def read(path: Path, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Read one array of this shape (D, H, W) of the archive.

    Its header is read first, so that no more is unpacked than an array of this shape holds. Raises
    ValueError for another shape, and else as `form`.
    """
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        found = _form(file)
        if found.shape != shape:
            raise ValueError(f"is on {found.shape}, not on {shape}")
        size = math.prod(shape) * found.dtype.itemsize
        content = file.read(size)
        if len(content) != size or file.read(1):
            raise ValueError("has another length than it claims")
        return np.frombuffer(content, found.dtype).reshape(shape)


def _form(file: IO[bytes]) -> Form:
    shape, by_column, dtype = HEADERS[npy.read_magic(file)](file)
    if dtype.kind not in "bu" or len(shape) != 3 or min(shape) < 1 or by_column:
        raise ValueError(f"is {dtype} of shape {shape}")
    return Form(shape, dtype)
