"""Place jobs on the machines of a cluster as Ray Tune trials, and pass on their reports.

Knows "a function of a job" and nothing of volumes or networks. Ray Tune decides where a job runs;
a `Source` decides which one is next and whether one is stopped. Tune's own files lie in a
temporary folder and are never read back: what counts is what the jobs leave behind.
"""

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from tuning.capacity import Capacity, MachineLost
from tuning.cluster import Cluster, ClusterLost, Unreachable, ray_cluster, watched
from tuning.job import Job, Source, Work
from tuning.job_board import JobBoard
from tuning.machines import LaunchError, Machine, here, machines

__all__ = [
    "Cluster",
    "ClusterLost",
    "Job",
    "LaunchError",
    "MachineLost",
    "Source",
    "Unreachable",
    "place",
    "ray_cluster",
    "run_jobs",
]

OnEvent = Callable[[str, dict[str, Any]], None]


def run_jobs(
    jobs: Sequence[Job],
    work: Work,
    cluster: Cluster,
    on_event: OnEvent,
    only: Machine | None = None,
) -> dict[str, dict[str, Any]]:
    """Do every job; returns the value of `work` for each, or reason "error" or "lost".

    `work(payload, report, node)` runs where Ray puts it, or on the `only` machine; that it was
    placed, its reports and its end arrive at `on_event` in this process. An exception in one job
    leaves the others alone. Raises LaunchError for jobs that no machine of the cluster can hold,
    MachineLost when the only one dies, ClusterLost when Ray dies, what `on_event` raises, and
    lets KeyboardInterrupt through.
    """
    source = _Listed(jobs, on_event)
    if jobs:
        place(source, work, cluster, {(job.cpus, job.gpus) for job in jobs}, only)
    return source.outcomes


class _Listed:
    """A source that supplies the jobs of a list in its order, each after the one it waits for."""

    def __init__(self, jobs: Sequence[Job], on_event: OnEvent) -> None:
        self.waiting = list(jobs)
        self.jobs = jobs
        self.on_event = on_event
        self.outcomes: dict[str, dict[str, Any]] = {}

    def next(self) -> Job | None:
        there = {job.id for job in self.jobs} - self.outcomes.keys()
        ready = next((job for job in self.waiting if job.after not in there), None)
        if ready:
            self.waiting.remove(ready)
        return ready

    def left(self) -> int:
        return len(self.waiting)

    def started(self, job: str, node: str) -> None:
        self.on_event(job, {"event": "placed", "node": node})

    def heard(self, job: str, event: dict[str, Any]) -> bool:
        self.on_event(job, event)
        return False

    def ended(self, job: str, outcome: dict[str, Any]) -> None:
        self.outcomes[job] = outcome
        self.on_event(job, {"event": "end", **outcome})


def place(
    source: Source,
    work: Work,
    cluster: Cluster,
    sizes: set[tuple[float, float]],
    only: Machine | None = None,
) -> None:
    """Do the jobs of `source`, each of one of these `sizes` in CPUs and GPUs, until none is left.

    No job is asked for before there is room for it. One whose process dies is launched once
    more, also when that took all of Tune with it. Raises as `run_jobs` does.
    """
    with Capacity(sizes, cluster, only) as capacity:
        board = JobBoard(source, capacity.places, capacity.lives)
        try:
            while not board.empty:
                try:
                    watched(lambda: _fit(board, capacity, work))
                except ClusterLost:
                    raise
                except Exception as error:  # Ray's memory monitor ends all of Tune, not one trial
                    board.restart(error)
        finally:
            board.close()


def _fit(board: JobBoard, capacity: Capacity, work: Work) -> None:
    """Run one Tuner over the jobs of the board, in a thread that can be left behind."""
    from ray import tune

    only = capacity.only
    there: dict[str, Any] = {"bundle_label_selector": [{"ray.io/node-id": only.id}]} if only else {}

    def trainable(config: dict[str, Any]) -> None:
        job = config["job"]

        def report(event: dict[str, Any]) -> None:
            tune.report({"event": [event]})  # a list: Tune would flatten a dictionary

        machine = here()
        shown = machine.name if len(machines()) > 1 else ""
        tune.report({"begun": [machine.id, shown]})
        try:
            outcome = work(job["payload"], report, machine.name)
        except Exception as error:
            outcome = {"reason": "error", "detail": f"{type(error).__name__}: {error}"}
        tune.report({"outcome": [outcome]})

    placed = tune.with_resources(
        trainable,
        lambda config: tune.PlacementGroupFactory(
            [{"CPU": config["job"]["cpus"], "GPU": config["job"]["gpus"]}], **there
        ),
    )
    searcher, scheduler = _for_tune(board, capacity)
    with tempfile.TemporaryDirectory(prefix="pfbench-tune-") as storage:
        tuner = tune.Tuner(
            placed,
            tune_config=tune.TuneConfig(
                num_samples=-1,
                search_alg=searcher,
                scheduler=scheduler,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=storage,
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        tuner.fit()


def _for_tune(board: JobBoard, capacity: Capacity) -> tuple[Any, Any]:
    """The board in Tune's terms: a searcher that supplies jobs, and a scheduler that gets reports.

    Not a callback: for the sake of one, Tune imports MLflow on the way to its first trial (1.3 s).
    """
    from ray.tune.schedulers import FIFOScheduler
    from ray.tune.search import Searcher

    trials: dict[str, Any] = {}

    class Unsaved:
        def __reduce__(self) -> Any:
            # Tune pickles its parts for a restore that we never ask for.
            return object, ()

    class Jobs(Unsaved, Searcher):
        def suggest(self, trial_id: str) -> Any:
            for name in list(board.running):
                if name in trials and trials[name].is_finished():
                    board.lose(name, "the job's process ended without a word")
            capacity.wants(board.left)
            job = board.take(trial_id)
            if job:
                return {"job": vars(job)}
            return Searcher.FINISHED if board.empty else None

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """Do nothing: `suggest` looks for ended trials, as Tune does not report every end."""

    class Listener(Unsaved, FIFOScheduler):
        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
            trials[trial.trial_id] = trial

        def on_trial_result(self, tune_controller: Any, trial: Any, result: Any) -> str:
            over = board.hear(trial.trial_id, result)
            return FIFOScheduler.STOP if over else FIFOScheduler.CONTINUE

    return Jobs(), Listener()
