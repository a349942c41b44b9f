"""Jobs: one for each case that a request finds, with all that is needed to prepare it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from harness.data.case import Case, FaultyCase
from harness.data.datasets import DATASETS, WHOLE, loaded, seen_as
from harness.data.divide import Roster
from harness.data.exclude import note_of, refuse_strangers
from harness.data.ingest import Job, content_key, digest
from harness.data.reading import View
from harness.data.request import (
    DataRequest,
    complete,
    contents_of,
    patterns_of,
    reduced_grid,
    survey,
)
from harness.data.target_labels import labels_of, parts_of
from harness.errors import DataError, together

if TYPE_CHECKING:
    from harness.data.scans import Rules


@dataclass(frozen=True)
class Jobs:
    """The jobs to prepare, and the faults and notes of the folder."""

    jobs: tuple[Job, ...]
    faults: tuple[DataError, ...] = ()
    notes: tuple[str, ...] = ()
    faulty: tuple[Job, ...] = ()
    """Jobs of the cases whose files have faults: these are read, but not used."""
    folds: Mapping[str, int] = field(default_factory=dict)


def find_jobs(request: DataRequest) -> Jobs:
    """Make one job for each case; `request` is complete."""
    entry = DATASETS[request.dataset]
    view = request.view or View(unoriented=request.reading.unoriented)
    allowed, recipe = rules(request), loaded(entry.prepare)
    blocks, grid = request.reduce, view.grid or reduced_grid(request.reduce)
    if view.grid:
        way = loaded("harness.data.prepare:fitted")
        recipe, blocks = partial(way, grid=view.grid, voxel_mm=view.voxel_mm), view.blocks
    labels = labels_of(contents_of(request), request.target)
    named = dict(zip(request.target.split(","), labels, strict=True))
    seen = (request.modalities, named, blocks, grid)
    back = _way_back(request, view)

    def job(name: str, source: Case | FaultyCase | int) -> Job:
        return Job(
            name,
            source,
            allowed,
            recipe,
            *seen,
            request.seed,
            "" if view.grid else entry.plugin,
            view,
            drop_vanished=request.reading.drop_vanished,
            seen_as=back,
            by_blocks=back == "liver" and request.scored_on == "scan",
        )

    if request.root is None or request.dataset == "phantom":
        names = [f"phantom_{number:03d}" for number in range(1, request.cases + 1)]
        refuse_strangers(request.exclude, names)
        made = (job(name, i) for i, name in enumerate(names) if name not in request.exclude)
        return Jobs(tuple(made), notes=(note_of(request.exclude),) if request.exclude else ())
    surveyed = survey(request)
    jobs = tuple(job(case.id, case) for case in surveyed.cases)
    faulty = tuple(job(case.id, case) for case in surveyed.remains)
    return Jobs(jobs, surveyed.faults, surveyed.notes, faulty, surveyed.folds)


def rules(request: DataRequest) -> "Rules":
    """Return the rules for the masks of a complete request."""
    from harness.data.scans import Rules

    contents = contents_of(request)
    parts, allowed = parts_of(contents, request.target), contents.labels
    return Rules(
        request.dataset,
        request.target,
        frozenset(range(2 ** (max(parts) + 1))) if parts else allowed,
        editions=contents.unsure,
        cavity=contents.cavity,
        unoriented=request.reading.unoriented,
        parts=parts,
    )


def _way_back(request: DataRequest, view: View) -> str | None:
    """Return the way to see a scan; None for a phantom, which has none, and a plug-in's own way.

    Raises UsageError for a plug-in's own way where masks have to be scored on the scan.
    """
    if request.root is None or request.dataset == "phantom":
        return None
    if view.grid:
        return ""
    own_way = DATASETS[request.dataset].plugin and DATASETS[request.dataset].prepare != WHOLE
    return None if own_way and request.scored_on == "grid" else seen_as(request.dataset)


def case_ids(request: DataRequest) -> list[str]:
    """Return the ids of all cases, in order; reads no voxels.

    Raises UsageError for a wrong name or a missing root, DataError for faults of the folder.
    """
    known = roster(request)
    if known.faults:
        raise together(known.faults, "the data")
    return list(known.cases)


def roster(request: DataRequest) -> Roster:
    """Return all cases, with their folds and the pattern of patients; reads no voxels.

    Raises UsageError for a wrong name or a missing root, DataError where names cannot be followed.
    """
    full = complete(request)
    found, layout = find_jobs(full), patterns_of(full)
    cases = tuple(job.name for job in found.jobs)
    patient = layout.patient if layout else ""
    return Roster(cases, patient, found.folds, full.exclude, found.faults)


def content_fingerprint(request: DataRequest, only: Collection[str] | None = None) -> str:
    """Return a text that is equal for equal files that are read in the same way.

    Unlike `Prepared.fingerprint` it depends on no training case. `request` is complete; `only`
    these cases.
    """
    jobs = find_jobs(request).jobs
    keys = [(job.name, content_key(job)) for job in jobs if only is None or job.name in only]
    return digest(sorted(keys))[:16]
