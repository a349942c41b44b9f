"""Time and memory of `pfbench run` against the number of cases and the size of a volume.

A whole run from an empty folder: NIfTI files in, prepared, one epoch of a network of two channels,
scored, measured, tables out. Near linear is: ten times the cases, or twice the voxels, take at most
that many times as long.
"""

import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from benchmarks.command import pfbench
from benchmarks.timing import Row

CASES = (10, 100, 1000)
TINY, TINY_REDUCE = "20x32x32", (8, 6, 6)
VOLUMES = {"1/8": (2, 2, 2), "1/4": (1, 2, 2), "1/2": (1, 2, 1), "full": (1, 1, 1)}
FULL = "155x240x240"
FEW = 4


def rows() -> Iterator[Row]:
    yield from _growth({f"{n} cases": (n, TINY, TINY_REDUCE) for n in CASES}, 10)
    yield from _growth(
        {f"{name} volume": (FEW, FULL, reduce) for name, reduce in VOLUMES.items()}, 2
    )


def _growth(runs: dict[str, tuple[int, str, tuple[int, ...]]], factor: int) -> Iterator[Row]:
    """Each run beside `factor` times the one before, in time and in memory."""
    measured = {name: _run(*run) for name, run in runs.items()}
    for before, name in pairwise(measured):
        for one, other, unit in zip(measured[name], measured[before], ("ms", "MiB"), strict=True):
            yield Row(f"run, {name}", f"{factor} x that of {before}", one, factor * other, 1, unit)


def _run(cases: int, size: str, reduce: tuple[int, ...]) -> tuple[float, float]:
    """Milliseconds of the command, and the largest peak among its processes in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        pfbench("data", "make-phantom", str(data), "--cases", str(cases), "--size", size)
        began = time.perf_counter()
        done = pfbench(
            "run", "--suite", "table5", "--model", "unet3d", "--dataset", "brats",
            "--data-root", str(data), "--modalities", "flair", "--profile", "quick",
            "--epochs", "1", "--set", f"reduce={list(reduce)}",
            "--set", "systems.unet3d.widths=[2,2]", "--executor", "inline",
            "--out", f"{folder}/run", "--cache", f"{folder}/cache",
        )  # fmt: skip
        return 1000 * (time.perf_counter() - began), done.peak_mib
