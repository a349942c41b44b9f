"""Interpolate arrays to another grid, one axis at a time.

Positions are in voxels of the input: voxel i is centred on i and covers i - 0.5 to i + 0.5.
"""

from collections.abc import Sequence

import numpy as np


def centred(have: int, side: int, step: float = 1.0) -> np.ndarray:
    """Return `side` positions, `step` voxels apart, amid an axis of `have` voxels."""
    shift = (have - 1) / 2 if step != 1 else (have - side) // 2 + (side - 1) / 2
    return (np.arange(side) - (side - 1) / 2) * step + shift


def stretched(have: int, side: int) -> np.ndarray:
    """Return `side` positions that divide an axis of `have` voxels evenly (half-pixel centres)."""
    return (np.arange(side) + 0.5) * have / side - 0.5


def nearest(array: np.ndarray, axis: int, positions: np.ndarray, fill: float = 0) -> np.ndarray:
    """Return the voxel that covers each position; `fill` outside. May be a view of the array."""
    index = np.floor(positions + 0.5).astype(int)
    return _outside(_taken(array, axis, index), array, axis, positions, fill)


def linear(array: np.ndarray, axis: int, positions: np.ndarray, fill: float = 0) -> np.ndarray:
    """Interpolate linearly, the border voxel repeated for its outer half; `fill` outside.

    A view of the array where it is only cut.
    """
    low = np.floor(positions).astype(int)
    weights = (positions - low).astype(np.float32)
    if not weights.any():
        return _outside(_taken(array, axis, low), array, axis, positions, fill)
    shape = *array.shape[:axis], len(positions), *array.shape[axis + 1 :]
    result = np.empty(shape, np.result_type(array, weights))
    if axis == array.ndim - 1:
        _blend(_taken(array, axis, low), _taken(array, axis, low + 1), weights, result)
    else:  # one position at a time: what it needs stays in the processor's cache
        last = array.shape[axis] - 1
        planes, made = np.moveaxis(array, axis, 0), np.moveaxis(result, axis, 0)
        neighbours = zip(low.clip(0, last), (low + 1).clip(0, last), strict=True)
        for (first, second), weight, plane in zip(neighbours, weights, made, strict=True):
            _blend(planes[first], planes[second], weight, plane)
    return _outside(result, array, axis, positions, fill)


def _blend(
    first: np.ndarray, second: np.ndarray, weight: np.ndarray | np.float32, out: np.ndarray
) -> None:
    np.subtract(second, first, out=out)
    out *= weight
    out += first


def cubic(array: np.ndarray, axis: int, positions: np.ndarray, fill: float = 0) -> np.ndarray:
    """Interpolate by a cubic B-spline, mirrored at the border voxels; `fill` outside."""
    from scipy.ndimage import spline_filter1d  # only liver needs it

    whole = spline_filter1d(array, 3, axis=axis, output=np.float32, mode="mirror")
    low = np.floor(positions).astype(int)
    t = positions - low
    weights = ((1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * (t + t**2 - t**3), t**3)
    result = np.zeros([*array.shape[:axis], len(positions), *array.shape[axis + 1 :]], np.float32)
    for tap, weight in enumerate(weights, start=-1):
        taken = whole.take(_mirrored(low + tap, array.shape[axis]), axis)
        taken *= _along(weight / 6, array.ndim, axis)
        result += taken
    return _outside(result, array, axis, positions, fill)


def unit_range(image: np.ndarray, ends: Sequence[tuple[float, float] | None] = ()) -> np.ndarray:
    """Scale each modality of (C, D, H, W) to minimum 0 and maximum 1; a constant one to 0.

    Where `ends` has two intensities for a modality, these become 0 and 1.
    """
    low = image.min(axis=(1, 2, 3), keepdims=True)
    span = image.max(axis=(1, 2, 3), keepdims=True) - low
    for channel, pair in enumerate(ends[: len(image)]):
        if pair:
            low[channel], span[channel] = pair[0], pair[1] - pair[0]
    span[span == 0] = 1
    scaled = np.subtract(image, low, dtype=np.float32)
    return np.divide(scaled, span, out=scaled)


def _taken(array: np.ndarray, axis: int, index: np.ndarray) -> np.ndarray:
    """Return the entries at `index`, beyond an end the last one; a view where `index` is a run."""
    index = np.clip(index, 0, array.shape[axis] - 1)
    if (np.diff(index) == 1).all():
        return array[(slice(None),) * axis + (slice(index[0], index[-1] + 1),)]
    return array.take(index, axis)


def _mirrored(index: np.ndarray, have: int) -> np.ndarray:
    """Reflect positions about the first and last voxel, as often as needed."""
    if have == 1:
        return np.zeros_like(index)
    folded = np.abs(index) % (2 * have - 2)
    return np.minimum(folded, 2 * have - 2 - folded)


def _along(values: np.ndarray, dimensions: int, axis: int) -> np.ndarray:
    shape = [1] * dimensions
    shape[axis] = len(values)
    return values.astype(np.float32).reshape(shape)


def _outside(
    result: np.ndarray, array: np.ndarray, axis: int, positions: np.ndarray, fill: float
) -> np.ndarray:
    """Return `result` with `fill` wherever a position is in no voxel."""
    beyond = (positions < -0.5) | (positions > array.shape[axis] - 0.5)
    if beyond.any():
        result = result.copy() if np.may_share_memory(result, array) else result
        result[(slice(None),) * axis + (beyond,)] = fill
    return result
