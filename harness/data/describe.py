"""Describe the content of a folder, case by case, before anyone believes a table made from it.

files ── read ──► shape, spacing, intensities, labels in ml and pieces
            └──► the grid of the benchmark, chosen by all cases ──► what is left of each target
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from harness.data.case import Case, Grid, Scan, Spacing
from harness.data.choose_view import fitted
from harness.data.datasets import DATASETS
from harness.data.ingest import Job, Score, ceiling, prepared
from harness.data.jobs import find_jobs
from harness.data.outcomes import gathered
from harness.data.patients import Groups, groups, suspicion
from harness.data.prepare import region
from harness.data.request import DataRequest, patterns_of
from harness.data.scans import examine
from harness.data.target import Ceiling, ceiling_in_words
from harness.data.targets import held
from harness.data.wording import listed
from harness.errors import DataError, UsageError

PICTURED = 12  # cases at most
PERCENTILES = (0.0, 0.1, 50.0, 99.9, 100.0)
KEPT = 0.75  # of a target's volume: a case with less on the grid is named
LISTED = 5  # cases that a note names, of many
OUTLYING = "where a thousandth of the voxels, the brightest or darkest, owns half of the range"
OWNED = 0.5  # of the range: more belongs to all voxels, not to the outermost thousandths
WORKERS = 2

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class LabelSeen:
    """The size of one label in one case."""

    ml: float
    pieces: int
    """The number of components; voxels that share a side, an edge or a corner are connected."""


@dataclass(frozen=True)
class TargetSeen:
    """The size of a target in the file, and on the benchmark's grid."""

    ml: float
    pieces: int
    ml_on_grid: float
    pieces_on_grid: int
    voxels_on_grid: int
    ceiling: Ceiling | None = None
    """The best scores that the grid allows on the scan; None without a target or a way back."""

    @property
    def kept(self) -> float | None:
        """The share of the target's volume on the grid; None where the file has no target."""
        return self.ml_on_grid / self.ml if self.ml else None


@dataclass(frozen=True, eq=False)
class Slice:
    """A picture of the axial slice with most of the targets."""

    image: np.ndarray  # (H, W) float32 in 0..1: of the first modality, percentiles 1 to 99
    targets: np.ndarray  # (K, H, W) bool
    pixel_mm: tuple[float, float]  # H, W


@dataclass(frozen=True)
class CaseSeen:
    """The description of one case: its shape, spacing, intensities, labels and targets."""

    id: str
    patient: str
    site: str
    shape: Grid  # (D, H, W)
    spacing_mm: Spacing  # (D, H, W)
    intensities: Mapping[str, tuple[float, ...]]
    """Modality -> the `PERCENTILES` of the intensities of all voxels."""
    labels: Mapping[int, LabelSeen]
    targets: Mapping[str, TargetSeen]
    grid_mm: Spacing
    """The sides of a voxel on the grid in mm, (D, H, W)."""
    notes: tuple[str, ...] = ()
    slice: Slice | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Description:
    """The descriptions of all cases of a data set in order of id, and the faults of the others."""

    dataset: str
    title: str
    targets: tuple[str, ...]
    grid: Grid
    cases: tuple[CaseSeen, ...]
    faults: tuple[DataError, ...]
    notes: tuple[str, ...]

    @property
    def patients(self) -> int:
        """The number of patients among the cases."""
        return len({case.patient for case in self.cases})

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of the sites, sorted, where they are known."""
        return tuple(sorted({case.site for case in self.cases} - {""}))

    def as_json(self) -> dict[str, Any]:
        """Return this description as plain numbers and texts, without pictures."""
        keys = ("code", "where", "what", "remedy")
        return {
            "dataset": self.dataset,
            "title": self.title,
            "targets": list(self.targets),
            "grid": list(self.grid),
            "patients": self.patients,
            "sites": list(self.sites),
            "percentiles": list(PERCENTILES),
            "cases": [_plain(case) for case in self.cases],
            "faults": [{key: getattr(fault, key) for key in keys} for fault in self.faults],
            "notes": list(self.notes),
        }


def _plain(case: CaseSeen) -> dict[str, Any]:
    content = asdict(replace(case, slice=None))
    del content["slice"]
    for name, target in case.targets.items():
        content["targets"][name]["kept"] = target.kept
    return content


def describe(
    request: DataRequest,
    group: str = "",
    progress: Progress | None = None,
    score: Score | None = None,
) -> Description:
    """Read and describe every case that a request finds; stores nothing.

    `group` says whose a case is, as in `split.group`; `score` tells how masks agree, for the
    ceiling of the grid. Raises UsageError for what does not exist,
    DataError for a folder that cannot be followed.
    """
    if request.dataset == "phantom":
        what, remedy = "the phantom is made in memory", "a folder"
        raise UsageError(what, where="--dataset", remedy=remedy, code="PFB-C02")
    full = fitted(request)
    found = find_jobs(full)
    ids = [job.name for job in found.jobs]
    layout = patterns_of(full)
    known = groups(group, ids, layout.patient if layout else "")
    pictured = {ids[int(i)] for i in np.linspace(0, len(ids) - 1, min(PICTURED, len(ids)))}
    seen: list[CaseSeen] = []
    faults = list(found.faults)
    with ThreadPoolExecutor(WORKERS) as pool:
        jobs = [replace(job, score=score) for job in found.jobs]
        looked = pool.map(lambda job: _look(job, known, job.name in pictured), jobs)
        for number, (job, one) in enumerate(zip(found.jobs, looked, strict=True), start=1):
            if isinstance(one, CaseSeen):
                seen.append(one)
            else:
                faults += one
            if progress:
                progress(number, len(ids), job.name)
    notes = [*found.notes, *gathered([note for case in seen for note in case.notes])]
    notes += [full.choice] if full.choice else []
    if not (known.patients or group or (layout and layout.patient)):
        notes += [text] if (text := suspicion(ids)) else []
    names = tuple(full.target.split(","))
    for name in names:
        told = _remarks({case.id: case.targets[name] for case in seen})
        notes += told if len(names) == 1 else [f"{name}: {note}" for note in told]
    notes += _of_cases([case.id for case in seen if _owned_by_few(case)], len(seen), OUTLYING)
    grid = found.jobs[0].grid if found.jobs else (0, 0, 0)
    title = DATASETS[full.dataset].title
    return Description(full.dataset, title, names, grid, tuple(seen), tuple(faults), tuple(notes))


def _look(job: Job, known: Groups, pictured: bool) -> CaseSeen | tuple[DataError, ...]:
    """Describe one case, or return the faults that prevent that."""
    assert isinstance(job.source, Case)  # the phantom was refused
    findings = examine(job.source, job.rules)
    scan = findings.scan
    if scan is None:
        return findings.faults
    try:
        volume = prepared(replace(scan, image=scan.image[:1]), job, job.recipe)
    except DataError as fault:
        return (fault,)
    masks = {name: region(scan.label, labels) for name, labels in job.targets.items()}
    targets = {
        name: _target(job, mask, held(volume.label, place), scan.spacing_mm, volume.spacing_mm)
        for place, (name, mask) in enumerate(masks.items())
    }
    values = [value for value in findings.labels if value]
    depth, height, width = scan.label.shape
    return CaseSeen(
        job.name,
        known.patients.get(job.name, job.name),
        known.sites.get(job.name, ""),
        (depth, height, width),
        _rounded(scan.spacing_mm),
        {
            name: tuple(float(value) for value in np.percentile(channel, PERCENTILES))
            for name, channel in zip(job.modalities, scan.image, strict=True)
        },
        {value: _label(scan.label == value, scan.spacing_mm) for value in values},
        targets,
        _rounded(volume.spacing_mm),
        scan.notes,
        _slice(scan, np.stack([*masks.values()])) if pictured else None,
    )


def _target(
    job: Job, mask: np.ndarray, on_grid: np.ndarray, spacing_mm: Spacing, grid_mm: Spacing
) -> TargetSeen:
    return TargetSeen(
        _ml(mask, spacing_mm),
        _pieces(mask),
        _ml(on_grid, grid_mm),
        _pieces(on_grid),
        int(on_grid.sum()),
        ceiling(job, mask, spacing_mm),
    )


def _label(mask: np.ndarray, spacing_mm: Spacing) -> LabelSeen:
    return LabelSeen(_ml(mask, spacing_mm), _pieces(mask))


def _ml(mask: np.ndarray, spacing_mm: Spacing) -> float:
    return float(mask.sum() * np.prod(spacing_mm) / 1000)


def _pieces(mask: np.ndarray) -> int:
    """Count the components of a mask, inside its bounding box."""
    from scipy.ndimage import find_objects, generate_binary_structure, label

    boxes = find_objects(mask.astype(np.uint8))
    if not boxes:
        return 0
    return int(label(mask[boxes[0]], generate_binary_structure(3, 3))[1])


def _rounded(spacing_mm: Spacing) -> Spacing:
    z, y, x = (round(float(mm), 4) for mm in spacing_mm)
    return z, y, x


def _slice(scan: Scan, masks: np.ndarray) -> Slice:
    """Return the slice with most voxels of the targets, `masks` (K, D, H, W); else the middle."""
    sizes = np.count_nonzero(masks.any(0), axis=(1, 2))
    at = int(sizes.argmax()) if sizes.any() else len(sizes) // 2
    low, high = np.percentile(scan.image[0], (1, 99))
    plane = np.clip((scan.image[0, at] - low) / (high - low or 1), 0, 1)
    return Slice(plane.astype(np.float32), masks[:, at].copy(), scan.spacing_mm[1:])


def _remarks(targets: Mapping[str, TargetSeen]) -> list[str]:
    """Return sentences on the cases, case -> a target, that a person should check."""
    empty = [case for case, target in targets.items() if not target.ml]
    gone = [case for case, target in targets.items() if target.ml and not target.voxels_on_grid]
    less = [case for case, target in targets.items() if 0 < (target.kept or 0) < KEPT]
    best = {case: target.ceiling for case, target in targets.items() if target.ceiling}
    return [
        *_of_cases(empty, len(targets), "without any target"),
        *_of_cases(gone, len(targets), "whose target is gone on the grid"),
        *_of_cases(less, len(targets), "that lose more than a quarter of the target on the grid"),
        *filter(None, [ceiling_in_words(best)]),
    ]


def _of_cases(some: Sequence[str], of: int, what: str) -> list[str]:
    return [f"{len(some)} of {of} cases {what}: {listed(some, LISTED)}"] if some else []


def _owned_by_few(case: CaseSeen) -> bool:
    spans = ((p[3] - p[1], p[4] - p[0]) for p in case.intensities.values())
    return any(middle < OWNED * whole for middle, whole in spans)
