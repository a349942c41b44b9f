"""The guidance window's search: the released way, with its mask of the whole volume per update.

Peers are written after the description, on float64 as the authors' volumes are; the same window
is asserted first, for the released order of candidates and for that of Algorithm 1.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from benchmarks.timing import Row, medians_ms
from models import cropping
from models.cropping import Start

ROUNDS = 15
SHAPE, PATCH = (128, 192, 192), (32, 48, 48)
PEER = "the released way"


def rows() -> Iterator[Row]:
    volume = _head()
    as_released = volume.astype(np.float64)

    def released() -> Start:
        return _released(as_released, cropping.official_shells(SHAPE, PATCH))

    def literal() -> Start:
        return _released(as_released, ((s,) for s in cropping.shells(SHAPE, PATCH)))

    for name, ours, theirs in (
        ("selective_official", cropping.selective_official_crop(volume, PATCH), released()),
        ("selective", cropping.selective_crop(volume, PATCH), literal()),
    ):
        if ours != theirs:
            raise ValueError(f"{name}: ours {ours}, theirs {theirs}: not the same window")
    times = medians_ms(
        {
            "official": lambda: cropping.selective_official_crop(volume, PATCH),
            "selective": lambda: cropping.selective_crop(volume, PATCH),
            "lattice": lambda: cropping.selective_lattice_crop(volume, PATCH),
            "released": released,
            "literal": literal,
        },
        ROUNDS,
    )
    yield Row("selective_official", PEER, times["official"], times["released"], 5)
    yield Row(
        "selective, Algorithm 1", f"{PEER}, its shells", times["selective"], times["literal"], 5
    )
    yield Row("selective_lattice", PEER, times["lattice"], times["released"], 0.5)


def _head() -> NDArray[np.float32]:
    """Smooth noise in an ellipsoid, 0 to 1."""
    rng = np.random.default_rng(0)
    coarse = gaussian_filter(rng.standard_normal([side // 4 for side in SHAPE]), 1.5)
    texture = zoom(coarse / np.abs(coarse).max(), 4, order=1)
    axes = np.ogrid[tuple(slice(-1, 1, side * 1j) for side in SHAPE)]
    inside = sum(axis**2 for axis in axes) < 0.9
    return np.where(inside, 0.5 + 0.5 * texture, 0).astype(np.float32)


def _released(volume: NDArray[np.float64], groups: Iterable[tuple[Start, ...]]) -> Start:
    best: Start = tuple(side // 2 - p // 2 for side, p in zip(SHAPE, PATCH, strict=True))  # type: ignore[assignment]
    largest, misses = np.var(cropping.window(volume, best, PATCH)), 0
    cropping.window(np.zeros_like(volume), best, PATCH)[:] = 1
    for group in groups:
        if misses >= 10:
            break
        for start in group:
            variance = np.var(cropping.window(volume, start, PATCH))
            misses += 1
            if variance > largest:
                best, largest, misses = start, variance, 0
                mask = np.zeros_like(volume)
                cropping.window(mask, start, PATCH)[:] = 1
    return best
