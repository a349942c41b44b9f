"""Prepare the volumes of a request: all of them in the cache, or every fault in one error."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.data.case import Grid
from harness.data.choose_view import Progress, Training, fitted, intensity_limits, training_jobs
from harness.data.datasets import DATASETS
from harness.data.ingest import Job, Outcome, Score, digest, ingest, inspect
from harness.data.jobs import find_jobs
from harness.data.outcomes import all_faults, all_notes
from harness.data.reading import PAPERS, View
from harness.data.regions import Labels
from harness.data.request import DataRequest, complete, contents_of, is_synthetic, reduced_grid
from harness.data.target_labels import labels_of
from harness.errors import DataError, together


@dataclass(frozen=True)
class Prepared:
    """Prepared volumes in the cache, whose keys are made from files, settings and code."""

    dataset: str
    title: str
    modalities: tuple[str, ...]
    target: str
    grid: Grid
    synthetic: bool
    keys: dict[str, str]
    """Case -> the key of its entry in the cache, in order of case."""
    fingerprint: str
    """A text that is equal for equal files, settings and preparing code."""
    view: View = PAPERS
    notes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    """The cases that were left out, because nothing of their target is on the grid."""
    targets: Mapping[str, Labels] = field(default_factory=dict)
    """Of several targets, the labels of each, in order; empty for one."""
    absent: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Of several targets, the cases without any of it on the grid, by target."""
    contents: Mapping[str, str] = field(default_factory=dict)
    """Case -> a hash of its voxels as stored, equal for any file format; nothing for a phantom."""


def prepare(
    request: DataRequest,
    cache_root: Path,
    *,
    only: Collection[str] | None = None,
    training: Training | None = None,
    workers: int = 2,
    progress: Progress | None = None,
    score: Score | None = None,
) -> Prepared:
    """Bring every case into the cache; undamaged entries that are there are not made again.

    `only` these cases, where the others must not be opened. `training` tells which of all cases
    may decide how they are seen; default: all. `progress` gets the number done, the number of all,
    and the case just done. `score` tells how masks agree, for the ceiling that the grid has on the
    scans. Raises UsageError for a wrong name or a missing root, DataError with
    every fault of every case, one per line, StorageError when the cache cannot be written.
    """
    full = fitted(request, training, only)
    found = find_jobs(full)
    jobs = [job for job in found.jobs if only is None or job.name in only]
    examples = training_jobs(jobs, [job.name for job in found.jobs], training)
    given = full.view.limits if full.view else ()
    limits = given or intensity_limits(full, examples, cache_root, workers, progress)
    view = (full.view or PAPERS).model_copy(update={"limits": limits})
    jobs = [replace(job, view=view, score=score) for job in jobs]
    outcomes: list[Outcome] = []
    for outcome in _bring_in(jobs, cache_root, workers):
        outcomes.append(outcome)
        if progress:
            progress(len(outcomes), len(jobs), outcome.name)
    outcomes.sort(key=lambda outcome: outcome.name)
    faults = all_faults(found, outcomes, contents_of(full).unsure)
    if faults:
        raise together(faults, "the data")
    keys = {outcome.name: outcome.key for outcome in outcomes if not outcome.dropped}
    return replace(
        expected(full),
        keys=keys,
        fingerprint=digest(sorted(keys.items()))[:16],
        notes=tuple(all_notes(full, found, outcomes, limits)),
        view=view,
        dropped=tuple(outcome.name for outcome in outcomes if outcome.dropped),
        absent=_absent(outcomes),
        contents={outcome.name: outcome.content for outcome in outcomes if outcome.content},
    )


def expected(request: DataRequest) -> Prepared:
    """Return the result of `prepare` as far as it is known before a volume is read: without cases.

    Raises UsageError for a wrong name or a missing root.
    """
    full = complete(request)
    contents, names = contents_of(full), full.target.split(",")
    # A mask in a file of its own has no label that one map could show.
    labels = [()] * len(names) if contents.masks else labels_of(contents, full.target)
    return Prepared(
        dataset=full.dataset,
        title=DATASETS[full.dataset].title,
        modalities=full.modalities,
        target=full.target,
        grid=(full.view and full.view.grid) or reduced_grid(full.reduce),
        synthetic=DATASETS[full.dataset].synthetic or is_synthetic(full.root),
        keys={},
        fingerprint="",
        view=full.view or View(unoriented=full.reading.unoriented),
        targets=dict(zip(names, labels, strict=True)) if len(names) > 1 else {},
    )


def inspected(
    request: DataRequest, workers: int = 2, score: Score | None = None
) -> tuple[list[Outcome], list[DataError], list[str]]:
    """Return the outcomes, faults and notes that `prepare` would have; stores nothing.

    Cases with faulty files are read, too, as far as that goes. `score` as in `prepare`.
    """
    request = fitted(request)
    found = find_jobs(request)
    jobs = [replace(job, score=score) for job in (*found.jobs, *found.faulty)]
    with ThreadPoolExecutor(workers) as pool:
        outcomes = list(pool.map(inspect, jobs))
    outcomes.sort(key=lambda outcome: outcome.name)
    faults = all_faults(found, outcomes, contents_of(request).unsure)
    return outcomes, faults, all_notes(request, found, outcomes)


def _absent(outcomes: Sequence[Outcome]) -> dict[str, frozenset[str]]:
    """Return the cases in use that have nothing of a target, by target; {} for one target."""
    used = [one for one in outcomes if not one.dropped and len(one.targets) > 1]
    names = used[0].targets if used else ()
    return {
        name: frozenset(one.name for one in used if not one.targets[name].grid_ml) for name in names
    }


def _bring_in(jobs: Sequence[Job], cache_root: Path, workers: int) -> Iterator[Outcome]:
    """Yield the outcome of each case as soon as the case is done.

    Threads: unpacking and arithmetic run outside the interpreter lock, so processes gain nothing.
    """
    with ThreadPoolExecutor(max(1, workers)) as pool:
        waiting = [pool.submit(ingest, job, cache_root) for job in jobs]
        try:
            for future in as_completed(waiting):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
