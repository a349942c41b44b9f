"""The outline of a mask along the edges of its voxels: the scored mask, without smoothing."""

from collections import defaultdict

import numpy as np
from matplotlib.path import Path
from numpy.typing import NDArray

Point = tuple[int, int]  # (row, column) of a corner of voxels


def outline(plane: NDArray[np.bool_]) -> Path:
    """The closed loops around the voxels of an (H, W) mask, in the coordinates of `imshow`.

    Outer borders and holes run in opposite directions, so that filling the path leaves the holes
    open. Empty for an empty mask.
    """
    vertices: list[tuple[float, float]] = []
    codes: list[np.uint8] = []
    for loop in _loops(_borders(plane)):
        vertices += [(column - 0.5, row - 0.5) for row, column in (*loop, loop[0])]
        codes += [Path.MOVETO, *[Path.LINETO] * (len(loop) - 1), Path.CLOSEPOLY]
    return Path(np.reshape(vertices, (-1, 2)), codes or None)


def _borders(plane: NDArray[np.bool_]) -> dict[Point, list[Point]]:
    """The next corners of each corner, along every voxel side with foreground on its right only."""
    padded = np.pad(plane, 1)
    inside = padded[1:-1, 1:-1]
    sides = (  # the neighbour beyond the side, and the side's corners relative to the voxel
        (padded[:-2, 1:-1], (0, 0), (0, 1)),
        (padded[1:-1, 2:], (0, 1), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (1, 0)),
        (padded[1:-1, :-2], (1, 0), (0, 0)),
    )
    following: dict[Point, list[Point]] = defaultdict(list)
    for beyond, (row, column), (next_row, next_column) in sides:
        for i, j in np.argwhere(inside & ~beyond).tolist():
            following[i + row, j + column].append((i + next_row, j + next_column))
    return following


def _loops(following: dict[Point, list[Point]]) -> list[list[Point]]:
    """The voxel sides joined to closed loops; corners within a straight line are left out."""
    loops = []
    for start in list(following):
        while following[start]:
            loop = [start]
            while (corner := following[loop[-1]].pop()) != start:
                loop.append(corner)
            loops.append(_bends(loop))
    return loops


def _bends(loop: list[Point]) -> list[Point]:
    corners = np.array(loop)
    arriving = corners - np.roll(corners, 1, axis=0)
    leaving = np.roll(corners, -1, axis=0) - corners
    turns = (arriving != leaving).any(axis=1)
    return [corner for corner, turn in zip(loop, turns, strict=True) if turn]
