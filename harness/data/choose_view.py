"""Choose how all scans of a request are seen: its grid and intensities, by training cases."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from harness.data.datasets import DATASETS, WHOLE
from harness.data.ingest import Job
from harness.data.jobs import find_jobs
from harness.data.reading import Limits, View
from harness.data.request import DataRequest, complete
from harness.errors import DataError, UsageError

Training = Callable[[Sequence[str]], Collection[str]]
"""A function that tells which of all cases may decide how they are seen."""
Progress = Callable[[int, int, str], None]
"""A function of the number done, the number of all, and the case just done."""


def fitted(
    request: DataRequest,
    training: Training | None = None,
    only: Collection[str] | None = None,
) -> DataRequest:
    """Complete the request, and choose its grid by the headers of the training cases.

    `training` and `only` as in `prepare`. A request that has been fitted stays as it is. Raises
    UsageError for a wrong name or a missing root, or a grid that the data set cannot have.
    """
    full = complete(request)
    if full.view:
        return full
    plain = replace(full, view=View(unoriented=full.reading.unoriented))
    if not _own_grid(full):
        return plain
    from harness.data import fit

    jobs = find_jobs(plain).jobs
    ids = [job.name for job in jobs]
    able = [job for job in jobs if only is None or job.name in only]
    known = fit.sizes(training_jobs(able, ids, training))
    if known is None:  # nothing can be read, which `prepare` tells
        return plain
    view = fit.view(full.reading, full.reduce, known)
    return replace(full, view=view, choice=fit.told(view, known, full.reading))


def _own_grid(request: DataRequest) -> bool:
    """Return whether volumes come on a grid of the data's own, not on the paper's."""
    from harness.data.fit import PAPERS_OWN

    entry, asked = DATASETS[request.dataset], request.reading
    given = asked.grid not in (None, "paper") or asked.spacing is not None
    bound = request.dataset == "phantom" or (entry.plugin and entry.prepare != WHOLE)
    if given and bound:
        what = f"{request.dataset} comes on the paper's grid"
        remedy = "leave out data.grid and data.spacing; reduce divides it"
        raise UsageError(what, where="data.grid", remedy=remedy, code="PFB-C02")
    if asked.grid == "paper" or bound:
        return False
    return given or request.dataset not in PAPERS_OWN


def training_jobs(
    jobs: Sequence[Job],
    ids: Sequence[str],
    training: Training | None,
) -> list[Job]:
    """Return the jobs of the training cases; of all cases where no split can be made.

    That no split can be made is reported later.
    """
    try:
        chosen = set(training(ids) if training else ids)
    except DataError:
        chosen = set(ids)
    return [job for job in jobs if job.name in chosen]


def learns_intensities(request: DataRequest) -> bool:
    """Return whether the targets of training cases decide the intensities that become 0 and 1.

    `request` is complete.
    """
    return None in asked_limits(request)


def asked_limits(request: DataRequest) -> tuple[Limits | None, ...]:
    """What is asked for each modality; None where the targets of training cases decide."""
    from harness.data import fit

    entry = DATASETS[request.dataset]
    own_way = bool(entry.plugin) and entry.prepare != WHOLE
    return fit.limits(request.reading, request.dataset, own_way, request.modalities)


def intensity_limits(
    request: DataRequest,
    examples: Sequence[Job],
    cache_root: Path,
    workers: int,
    progress: Progress | None,
) -> tuple[Limits, ...]:
    """Return the intensities that become 0 and 1; () for minimum and maximum of each volume."""
    from harness.data import fit

    asked = asked_limits(request)
    if all(limit == "minmax" for limit in asked):
        return ()
    if None not in asked:
        return tuple(limit for limit in asked if limit is not None)

    def tell(done: int) -> None:
        if progress:
            progress(done, len(examples), f"intensities of {examples[done - 1].name}")

    ends = fit.foreground(examples, cache_root, workers, tell) or [None] * len(asked)
    return tuple(limit or end or "robust" for limit, end in zip(asked, ends, strict=True))
