"""`pfbench run --tune-lr N`: a learning rate for every system of the run, before it is trained.

RunRequest ─► a study of `lr` for each system, in OUT/tune-lr ─► best.yaml ─► RunRequest
"""

from dataclasses import replace

from harness.errors import StateError
from harness.experiments import tune
from harness.experiments.run import RunRequest
from harness.runs.screen import Screen
from harness.runs.search_space import learning_rate
from harness.runs.settings import with_tuned

FOLDER = "tune-lr"


def tuned(request: RunRequest, points: int, screen: Screen) -> tuple[RunRequest, int]:
    """Search the learning rates; returns the request with them, and the exit code of the search.

    Every system gets `points` points, ours and those of plug-ins, on training and validation cases
    alone. The same request again continues the search. Raises UsageError for a run folder whose
    search was another one, StateError where no point came to its end.
    """
    systems = dict.fromkeys(row.system for rows in request.suites.values() for row in rows)
    study = tune.StudyRequest(
        spaces=tuple(learning_rate(name, request.settings, {}) for name in systems),
        settings=request.settings,
        data=request.data,
        points=points,
        sampler="optuna",
        pruner="asha",
        search_seed=0,
        seeds=1,
        compare=False,
        placement=request.placement,
        out=request.out / FOLDER,
        cache=request.cache,
        mirroring=request.mirroring,
        command=request.command,
    )
    code = tune.tune(study, screen)
    best = study.out / "best.yaml"
    if code:
        return request, code
    if not best.exists():
        what, remedy = "no point of the search came to its end", f"pfbench report {study.out}"
        raise StateError(what, where=str(study.out), remedy=remedy)
    settings = with_tuned(request.settings, best)
    return replace(request, settings=settings, tuned=best), 0
