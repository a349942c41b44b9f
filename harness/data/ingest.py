"""One case on its way into the cache: read, check, prepare, store, unless it is there already."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data.case import Case, Grid, Scan, Volume
from harness.data.grid import PAPER_GRID
from harness.data.nifti import unreadable
from harness.errors import DataError

if TYPE_CHECKING:
    from harness.data.scans import Findings, Rules

# A change to one of these prepares every volume anew.
PREPARING = ("grid", "header", "lowres", "nifti", "phantom", "prepare", "scans")


@dataclass(frozen=True)
class Job:
    """What to make of one case."""

    name: str
    source: Case | int
    """Files, or the number of a phantom."""
    rules: "Rules"
    recipe: Callable[[Scan, tuple[int, ...], Grid, str], Volume]
    modalities: tuple[str, ...]
    labels: tuple[int, ...]
    """What the target consists of."""
    reduce: Grid
    grid: Grid
    """The paper's, divided by `reduce`."""
    seed: int
    """Of the phantom."""
    plugin: str = ""
    """Whose recipe it is; hashed, as the code of ours is."""


@dataclass(frozen=True)
class Outcome:
    """What became of one case: a key, or faults."""

    name: str
    key: str = ""
    labels: tuple[int, ...] = ()
    image_sha256: str = ""
    notes: tuple[str, ...] = ()
    faults: tuple[DataError, ...] = ()


def take_in(job: Job, cache_root: Path) -> Outcome:
    """Bring one case into the cache; its faults are returned, not raised.

    Raises StorageError when the cache cannot be written.
    """
    from harness.data import cache

    try:
        key = _key(job)
        known = cache.lookup(cache_root, key)
        if known is None:
            found = _read(job)
            if found.scan is None:
                return Outcome(job.name, faults=found.faults)
            volume = job.recipe(found.scan, job.labels, job.reduce, job.name)
            noticed = {"labels": found.labels, "notes": found.scan.notes}
            known = cache.write(cache_root, key, volume, noticed)
    except DataError as fault:
        return Outcome(job.name, faults=(fault,))
    image = known["files"]["image.npy"]["sha256"]
    return Outcome(job.name, key, tuple(known["labels"]), image, tuple(known["notes"]))


def _read(job: Job) -> "Findings":
    from harness.data import phantom, scans

    if isinstance(job.source, Case):
        return scans.examine(job.source, job.rules)
    z, y, x = job.reduce
    spacing_mm = (z * phantom.BRATS_SHAPE[0] / PAPER_GRID[0], float(y), float(x))
    made = phantom.scan(job.seed, job.source, job.grid, job.modalities, spacing_mm)
    return scans.Findings(made, ())


def _key(job: Job) -> str:
    """Hash of what the files hold, the recipe, and the code that follows it."""
    rules = job.rules
    recipe = (
        job.name,
        rules.dataset,
        job.modalities,
        rules.target,
        job.labels,
        job.reduce,
        rules.unoriented,
    )

    if isinstance(job.source, Case):
        content: list[Any] = [_file_hash(path) for path in job.source.files]
        content += [sorted(job.source.channels.items()), job.plugin]
    else:
        content = [job.seed, job.source]
    return digest([recipe, content, _code()])[:32]


def _file_hash(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(error, path) from None


@once
def _code() -> str:
    here = Path(__file__).parent
    return digest([(here / f"{name}.py").read_text() for name in PREPARING])


def digest(content: object) -> str:
    """SHA-256 of `content` as JSON."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
