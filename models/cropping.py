"""Where to put the guidance window: a rich piece of a volume, found by its variance.

    random              anywhere but the rim
    central             the middle
    selective           Algorithm 1: shells around the middle, until one leaves the volume
    selective_official  the authors' released search, candidate by candidate
    selective_lattice   the best of all windows on an 8-voxel lattice (ours)

Volumes are numpy, (D, H, W) or (C, D, H, W) with the variances of the modalities added up; windows
are given by their first voxel (z, y, x). Raises ValueError for a patch larger than the volume.
Wang et al., arXiv:2210.14645, Sec. III-B and Algorithm 1.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import pairwise
from math import cos, floor, hypot, pi, prod, sin
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[Any]
Start = tuple[int, int, int]
Size = Sequence[int]
Outside = Literal["return", "skip"]

SHELLS = 6  # Algorithm 1
PATIENCE = 10  # Algorithm 1: windows in a row without a better one


def window(volume: Volume, start: Sequence[int], size: Size) -> Volume:
    """The part of `volume` that begins at `start`, as a view; ValueError where it leaves it."""
    shape = volume.shape[-3:]
    if not _inside(shape, start, size):
        raise ValueError(f"a window of {tuple(size)} at {tuple(start)} leaves the volume {shape}")
    z, y, x = (slice(s, s + p) for s, p in zip(start, size, strict=True))
    return volume[..., z, y, x]


def random_crop(
    volume: Volume, patch_size: Size, generator: np.random.Generator, *, margin: int | None = None
) -> Start:
    """Uniform over the starts that keep `margin` voxels from the rim on every axis.

    Default: half the longest side of the patch, the authors' 24 voxels at the paper's size. Where
    a volume is too small for it, the margin shrinks to what is left.
    """
    shape = _shape(volume, patch_size)
    rim = max(patch_size) // 2 if margin is None else margin
    rims = (min(rim, (side - p) // 2) for side, p in zip(shape, patch_size, strict=True))
    return _start(
        generator.integers(m, side - p - m, endpoint=True)
        for m, side, p in zip(rims, shape, patch_size, strict=True)
    )


def central_crop(volume: Volume, patch_size: Size) -> Start:
    """The window around the middle of the volume."""
    return _centre(_shape(volume, patch_size), patch_size)


def selective_crop(volume: Volume, patch_size: Size, *, outside: Outside = "return") -> Start:
    """Algorithm 1: the window of largest variance on shells around the middle.

    `outside`: what to do at the first candidate that leaves the volume. "return" is the printed
    algorithm, which ends inside the second shell; "skip" is what its prose describes.
    """
    candidates = shells(_shape(volume, patch_size), patch_size, outside=outside)
    return _search(volume, patch_size, ((start,) for start in candidates))


def selective_official_crop(volume: Volume, patch_size: Size) -> Start:
    """The authors' released search: the middle and at most 26 windows at the paper's size."""
    return _search(volume, patch_size, official_shells(_shape(volume, patch_size), patch_size))


def selective_lattice_crop(volume: Volume, patch_size: Size, stride: int = 8) -> Start:
    """The window of largest variance among all whose start is a multiple of `stride`.

    Of equal ones the first in (z, y, x) order. Windows are summed one axis after the other, so
    the thousands of them cost a few passes over the volume.
    """
    shape = _shape(volume, patch_size)
    ends = [_Ends(side, p, stride) for side, p in zip(shape, patch_size, strict=True)]
    total = np.zeros(1)
    for channel in volume.reshape(-1, *shape):
        mean, of_squares = _window_sums(channel, ends) / np.prod(patch_size)
        total = total + (of_squares - mean * mean)
    best = np.unravel_index(total.argmax(), total.shape)
    return _start(stride * i for i in best)


def shells(
    shape: Sequence[int], patch_size: Size, *, outside: Outside = "return"
) -> Iterator[Start]:
    """Candidates of Algorithm 1 in visiting order, without the middle and without repetitions.

    Eq. 9, with z as polar axis: a sixth of the half diagonal between shells, 30 degrees between
    circles, 60 degrees on each circle.
    """
    if outside not in ("return", "skip"):
        raise ValueError(f"outside is '{outside}'; it must be 'return' or 'skip'")
    centre = _centre(shape, patch_size)
    radius = hypot(*(side / 2 for side in shape))
    seen = {centre}
    for k in range(1, SHELLS + 1):
        for offset in _directions():
            start = _start(
                c + floor(radius * k / SHELLS * o + 0.5)
                for c, o in zip(centre, offset, strict=True)
            )
            if _inside(shape, start, patch_size):
                if start not in seen:
                    seen.add(start)
                    yield start
            elif outside == "return":
                return


def official_shells(shape: Sequence[int], patch_size: Size) -> Iterator[tuple[Start, ...]]:
    """Candidates of the authors' code in visiting order: each with its mirror image, if it has one.

    The polar axis is x here, and coordinates are cut off instead of rounded. The search ends at
    the first candidate outside; where theirs checks the upper ends of one of each pair only, this
    one checks both ends of both.
    """
    middle = [side // 2 for side in shape]
    radius = hypot(*middle)
    for r in np.linspace(radius / SHELLS, radius, SHELLS):
        for polar in np.linspace(pi / 2, pi, 3):
            circle = np.linspace(0, 2 * pi - 2 * pi / 8, 8)
            for turn in circle[:1] if polar == pi else circle:
                angles = (polar,) if polar == pi / 2 else (polar, pi - polar)
                group = tuple(_truncated(middle, r, angle, turn, patch_size) for angle in angles)
                if not all(_inside(shape, start, patch_size) for start in group):
                    return
                yield group


def _directions() -> Iterator[tuple[float, float, float]]:
    """Unit vectors (z, y, x) of eq. 9."""
    for polar in (i * pi / 6 for i in range(7)):
        for turn in (j * pi / 3 for j in range(6)):
            yield cos(polar), sin(polar) * sin(turn), sin(polar) * cos(turn)


def _truncated(middle: Sequence[int], r: float, polar: float, turn: float, patch: Size) -> Start:
    # The order of operations decides, to the last bit, on which side of a whole number a
    # coordinate falls before it is cut off: 63.99999999999999 is voxel 63 in the authors' code.
    z = int(r * np.sin(polar) * np.cos(turn) + middle[0])
    y = int(r * np.sin(polar) * np.sin(turn) + middle[1])
    x = int(r * np.cos(polar) + middle[2])
    return _start(c - p // 2 for c, p in zip((z, y, x), patch, strict=True))


def _search(volume: Volume, patch: Size, groups: Iterable[tuple[Start, ...]]) -> Start:
    """The candidate of largest variance; gives up, between groups, after PATIENCE misses."""
    best = _centre(volume.shape[-3:], patch)
    largest = variance(volume, best, patch)
    misses = 0
    for group in groups:
        if misses >= PATIENCE:
            break
        for start in group:
            misses += 1
            if not _may_exceed(largest, volume, start, patch):
                continue
            found = variance(volume, start, patch)
            if found > largest:
                best, largest, misses = start, found, 0
    return best


def _may_exceed(limit: float, volume: Volume, start: Start, size: Size) -> bool:
    """Whether a look in float32, a quarter of the work, leaves open that the variance is larger.

    Its error is far below a thousandth of the mean square; what is closer is for `variance`.
    """
    voxels = prod(size)
    channels = window(volume, start, size).astype(np.float32).reshape(-1, voxels)
    squares = sum(float(x @ x) for x in channels) / voxels
    rough = squares - sum((float(x @ _ones(voxels)) / voxels) ** 2 for x in channels)
    return not rough + squares / 1000 <= limit


@cache
def _ones(count: int) -> Volume:
    """A sum as a product with these is twice as fast."""
    return np.ones(count, np.float32)


def variance(volume: Volume, start: Start, size: Size) -> float:
    """Of one window, in float64, added up over modalities."""
    part = window(volume, start, size)
    return float(part.var(axis=(-3, -2, -1), dtype=np.float64).sum())


class _Ends:
    """Where the windows of a lattice begin and end along one axis."""

    def __init__(self, have: int, side: int, stride: int) -> None:
        starts = np.arange(0, have - side + 1, stride)
        self.edges = np.union1d(starts, starts + side)
        self.first, self.last = (np.searchsorted(self.edges, x) for x in (starts, starts + side))

    def windows(self, parts: Volume, axis: int) -> Volume:
        """Sums between neighbouring edges -> sums over windows, of (2, D, H, W)."""
        sums = np.insert(parts.cumsum(axis), 0, 0, axis)
        return sums.take(self.last, axis) - sums.take(self.first, axis)


def _window_sums(channel: Volume, ends: Sequence[_Ends]) -> Volume:
    """Sums of x and of x² over every window of the lattice, (2, windows along z, y, x), float64.

    x is the channel (D, H, W) less about its mean, so that variances do not cancel. Slab by slab,
    which the cache holds, down to what lies between neighbouring ends of windows.
    """
    z, y, x = ends
    about = channel[::4, ::4, ::4].mean(dtype=np.float64)
    parts = np.empty((2, len(z.edges) - 1, *channel.shape[1:]))
    for slab, (first, last) in enumerate(pairwise(z.edges)):
        values = channel[first:last] - about
        values.sum(0, out=parts[0, slab])
        np.einsum("zyx,zyx->yx", values, values, out=parts[1, slab])
    parts = np.add.reduceat(parts[:, :, : y.edges[-1]], y.edges[:-1], axis=2)
    parts = np.add.reduceat(parts[..., : x.edges[-1]], x.edges[:-1], axis=3)
    for axis, along in enumerate(ends, start=1):
        parts = along.windows(parts, axis)
    return parts


def _centre(shape: Sequence[int], patch: Size) -> Start:
    return _start(side // 2 - p // 2 for side, p in zip(shape, patch, strict=True))


def _inside(shape: Sequence[int], start: Sequence[int], size: Size) -> bool:
    return all(0 <= s <= side - p for s, side, p in zip(start, shape, size, strict=True))


def _start(parts: Iterable[Any]) -> Start:
    z, y, x = (int(part) for part in parts)
    return z, y, x


def _shape(volume: Volume, patch: Size) -> tuple[int, ...]:
    """(D, H, W) of a volume that `patch` fits into."""
    shape = volume.shape[-3:]
    if volume.ndim not in (3, 4) or any(p > side for p, side in zip(patch, shape, strict=True)):
        raise ValueError(f"a patch of {tuple(patch)} does not fit into a volume of {volume.shape}")
    return shape


def _without_dice(
    crop: Callable[[Volume, Size], Start],
    volume: Volume,
    patch_size: Size,
    generator: np.random.Generator,
) -> Start:
    return crop(volume, patch_size)


CROPPERS: dict[str, Callable[[Volume, Size, np.random.Generator], Start]] = {
    "random": random_crop,
    "central": partial(_without_dice, central_crop),
    "selective": partial(_without_dice, selective_crop),
    "selective_official": partial(_without_dice, selective_official_crop),
    "selective_lattice": partial(_without_dice, selective_lattice_crop),
}
