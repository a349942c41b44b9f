"""One case on its way into the cache: read, check, prepare, store, unless it is there already."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data import intensity, itk
from harness.data.case import Case, FaultyCase, Grid, Scan, Spacing, Volume
from harness.data.grid import PAPER_GRID
from harness.data.nifti import place, unreadable
from harness.data.prepare import region
from harness.data.reading import PAPERS, View
from harness.data.target import Target, measured, vanished
from harness.errors import DataError

if TYPE_CHECKING:
    from harness.data.scans import Findings, Rules

# A change to one of these prepares every volume anew.
PREPARING = (
    "grid",
    "header",
    "intensity",
    "itk",
    "lowres",
    "nifti",
    "phantom",
    "prepare",
    "scans",
    "target",
)


@dataclass(frozen=True)
class Job:
    """What to make of one case."""

    name: str
    source: Case | FaultyCase | int
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
    view: View = PAPERS
    """Grid and intensities."""
    drop_vanished: bool = False
    """Of whose target nothing is left on the grid is left out, and no fault."""


@dataclass(frozen=True)
class Outcome:
    """What became of one case: a key, or faults."""

    name: str
    key: str = ""
    labels: tuple[int, ...] = ()
    content: str = ""
    """Equal for equal voxels, whatever file they are stored in; "" where nothing was stored."""
    notes: tuple[str, ...] = ()
    faults: tuple[DataError, ...] = ()
    target: Target | None = None
    spacing_mm: Spacing | None = None
    """Of its voxels on the grid."""
    outlying: tuple[str, ...] = ()
    """Modalities of which a thousandth of the voxels own more than half of the range."""
    dropped: bool = False
    """It is left out, because nothing of its target is left on the grid."""


def ingest(job: Job, cache_root: Path) -> Outcome:
    """Bring one case into the cache; its faults are returned, not raised.

    Raises StorageError when the cache cannot be written.
    """
    from harness.data import cache

    try:
        key = _key(job)
        known = cache.lookup(cache_root, key)
        if known is None:
            outcome, volume = _looked_at(job, job.recipe)
            if volume is None:
                return outcome
            known = cache.write(cache_root, key, volume, _noticed(outcome))
    except DataError as fault:
        return Outcome(job.name, faults=(fault,))
    target = Target(**known["target"])
    labels, notes = tuple(known["labels"]), tuple(known["notes"])
    apart = tuple(known["outlying"])
    content = known["content"]
    z, y, x = known["spacing_mm"]
    outcome = Outcome(job.name, key, labels, content, notes, (), target, (z, y, x), apart)
    return _judged(outcome, job)


def inspect(job: Job) -> Outcome:
    """The same faults, notes and figures without a cache: only the mask is brought to the grid."""

    def outline(scan: Scan, *how: Any) -> Volume:
        return job.recipe(scan if job.plugin else replace(scan, image=scan.image[:0]), *how)

    try:
        outcome, volume = _looked_at(job, outline)
    except DataError as fault:
        return Outcome(job.name, faults=(fault,))
    return outcome if volume is None else _judged(outcome, job)


def sampled(job: Job) -> list[list[float]] | None:
    """Intensities of a case's target in each modality; None where it cannot be read."""
    found = _read(job)
    if found.scan is None:
        return None
    return intensity.sample(found.scan.image, region(found.scan.label, job.labels))


def content_key(job: Job) -> str:
    """What the files of a case hold, and how they are read: equal for equal targets."""
    return digest([job.modalities, job.labels, job.rules.unoriented, _files(job), _code()])[:32]


def _looked_at(job: Job, recipe: Callable[..., Volume]) -> tuple[Outcome, Volume | None]:
    """A case read and prepared by `recipe`; of one with faults there is no volume."""
    found = _read(job)
    scan = found.scan
    if scan is None:
        return Outcome(job.name, labels=found.labels, faults=found.faults), None
    content = "" if isinstance(job.source, int) else _content(scan.image)
    channels = zip(job.modalities, scan.image, strict=True)
    apart = tuple(name for name, channel in channels if intensity.outlying(channel))
    image, ends = intensity.clipped(scan.image, job.view.limits)
    volume = recipe(replace(scan, image=image, ends=ends), job.labels, job.reduce, job.name)
    mask = region(scan.label, job.labels)
    seen = measured(mask, scan.spacing_mm, volume.label > 0, volume.spacing_mm, volume.cut)
    notes, grid_mm = scan.notes, volume.spacing_mm
    looked = Outcome(job.name, "", found.labels, content, notes, (), seen, grid_mm, apart)
    return looked, volume


def _noticed(outcome: Outcome) -> dict[str, Any]:
    """What is kept of a case beside its volume."""
    if outcome.target is None:
        raise ValueError(f"{outcome.name} was not looked at")
    return {
        "labels": outcome.labels,
        "notes": outcome.notes,
        "content": outcome.content,
        "target": outcome.target.as_json(),
        "outlying": outcome.outlying,
    }


def _judged(outcome: Outcome, job: Job) -> Outcome:
    """The outcome of a case of whose target something is left; else a fault, or left out."""
    if outcome.target is None or not outcome.target.gone:
        return outcome
    if job.drop_vanished:
        return replace(outcome, dropped=True)
    return replace(outcome, key="", faults=(vanished(job.name, outcome.target),))


def _content(image: np.ndarray) -> str:
    """Hash of the voxels (C, D, H, W), as they are stored and turned as all are."""
    total = hashlib.sha256(repr(image.shape).encode())
    for channel in image:
        total.update(np.ascontiguousarray(channel).data)
    return total.hexdigest()


def _read(job: Job) -> "Findings":
    from harness.data import phantom, scans

    if not isinstance(job.source, int):
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
        job.view.model_dump(mode="json"),
    )
    return digest([recipe, _files(job), _code()])[:32]


def _files(job: Job) -> list[Any]:
    """What a case is made from, by content."""
    if isinstance(job.source, Case):
        hashes: list[Any] = [_file_hash(path) for path in _with_companions(job.source)]
        return [*hashes, sorted(job.source.channels.items()), job.plugin]
    return [job.seed, job.source]


def _with_companions(case: Case) -> list[Path]:
    """The files of a case, and those beside a .mhd that hold its voxels."""
    found = list(case.files)
    for path in case.files:
        if itk.is_itk(path) and (voxels := itk.companion(path, place(path))):
            found.append(voxels)
    return found


def _file_hash(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(error, path) from None


@once
def _code() -> str:
    here = Path(__file__).parent
    return digest([(here / f"{name}.py").read_text(encoding="utf-8") for name in PREPARING])


def digest(content: object) -> str:
    """SHA-256 of `content` as JSON."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
