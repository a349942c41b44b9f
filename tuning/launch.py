"""All of Ray: start or join a cluster, place jobs as Tune trials, hear what they report.

Knows "a function of a job" and nothing of volumes or networks. Ray Tune decides where and when;
its own files lie in a temporary folder and are never read back: what counts is what the jobs
leave behind.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Report = Callable[[dict[str, Any]], None]
Work = Callable[[dict[str, Any], Report], dict[str, Any]]
OnEvent = Callable[[str, dict[str, Any]], None]

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
ATTEMPTS = 2  # launches of a job whose process Ray lost
SILENT_CLUSTER_S = 45


class LaunchError(Exception):
    """Ray cannot be used as asked; the message says why and what to change."""


class ClusterLost(Exception):
    """Ray died while jobs were running."""


@dataclass(frozen=True)
class Job:
    """What one Tune trial does; `payload` is handed to the work function."""

    id: str
    payload: dict[str, Any]
    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True)
class Cluster:
    """An existing cluster's address, or None for one on this machine that ends with the block."""

    address: str | None = None
    max_concurrent: int | None = None


@contextmanager
def ray_cluster(cluster: Cluster) -> Iterator[None]:
    """Ray, without dashboard, telemetry or output of its own.

    Raises LaunchError when RAY_ADDRESS points somewhere that was not asked for, or when the
    cluster does not answer.
    """
    elsewhere = os.environ.get("RAY_ADDRESS")
    if elsewhere and not cluster.address:
        raise LaunchError(
            f"RAY_ADDRESS={elsewhere} names a cluster; unset it, or pass --address {elsewhere}"
        )
    os.environ |= QUIET
    import logging

    import ray

    for name in ("ray", "ray.tune", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    umask = os.umask(0o077)  # Ray writes its token readable by everyone otherwise
    try:
        ray.init(
            address=cluster.address or "local",
            include_dashboard=None if cluster.address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
        )
    except ConnectionError as error:
        raise LaunchError(f"no Ray cluster answers at {cluster.address}") from error
    finally:
        os.umask(umask)
    try:
        yield
    finally:
        ray.shutdown()


def run_jobs(
    jobs: Sequence[Job], work: Work, cluster: Cluster, on_event: OnEvent
) -> dict[str, dict[str, Any]]:
    """Do every job and return what `work` returned for each, or reason "lost".

    `work(payload, report)` runs where Ray puts it; its reports and its end arrive at `on_event`
    in this process. An exception in one job leaves the others alone. Raises LaunchError for
    jobs that no machine of the cluster can hold, ClusterLost when Ray dies, and lets
    KeyboardInterrupt through.
    """
    _refuse_unplaceable(jobs)
    outcomes: dict[str, dict[str, Any]] = {}
    launches = dict.fromkeys((job.id for job in jobs), 0)
    while left := [job for job in jobs if job.id not in outcomes]:
        started: set[str] = set()
        listener = _listener(on_event, outcomes, started)
        try:
            _fit(left, work, cluster, listener)
            failure = "the job's process ended without a word"
        except ClusterLost:
            raise
        except Exception as error:  # Ray's memory monitor ends all of Tune, not one trial
            failure = f"Ray gave up on it: {type(error).__name__}: {error}"
        for job in left:
            launches[job.id] += job.id in started
            if job.id not in outcomes and (launches[job.id] >= ATTEMPTS or not started):
                outcomes[job.id] = {"reason": "lost", "detail": failure}
                on_event(job.id, {"event": "end", **outcomes[job.id]})
    return outcomes


def _refuse_unplaceable(jobs: Sequence[Job]) -> None:
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for job in jobs:
        if not any(
            node.get("CPU", 0) >= job.cpus and node.get("GPU", 0) >= job.gpus for node in nodes
        ):
            most = [
                f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes
            ]
            raise LaunchError(
                f"a trial asks for {job.cpus:g} CPUs and {job.gpus:g} GPUs, but the machines "
                f"have {'; '.join(most)}; lower --cpus-per-trial or --gpus-per-trial"
            )


def _fit(jobs: Sequence[Job], work: Work, cluster: Cluster, listener: Any) -> None:
    """One Tuner over the jobs, in this order; the thread that runs it can be left behind."""
    from ray import tune

    def trainable(config: dict[str, Any]) -> None:
        job = config["job"]

        def report(event: dict[str, Any]) -> None:
            tune.report({"message": event})

        try:
            outcome = work(job["payload"], report)
        except Exception as error:
            outcome = {"reason": "error", "detail": f"{type(error).__name__}: {error}"}
        tune.report({"outcome": outcome})

    placed = tune.with_resources(
        trainable,
        lambda config: tune.PlacementGroupFactory(
            [{"CPU": config["job"]["cpus"], "GPU": config["job"]["gpus"]}]
        ),
    )
    specs = [vars(job) for job in jobs]
    with tempfile.TemporaryDirectory(prefix="pfbench-tune-") as storage:
        tuner = tune.Tuner(
            placed,
            param_space={"job": tune.grid_search(specs)},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=cluster.max_concurrent, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=storage,
                verbose=0,
                callbacks=[listener],
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        _watched(tuner.fit)


def _watched(fit: Callable[[], Any]) -> None:
    """Run `fit`, and leave when Ray no longer answers: Tune itself would wait for ever."""
    import ray

    errors: list[BaseException] = []

    def run() -> None:
        try:
            fit()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    answered = time.monotonic()
    while thread.is_alive():
        thread.join(5)
        if _answers(ray):
            answered = time.monotonic()
        elif time.monotonic() - answered > SILENT_CLUSTER_S:
            raise ClusterLost("Ray no longer answers; the same command continues")
    if errors:
        raise errors[0]


def _answers(ray: Any) -> bool:
    """Whether the cluster still has a living machine."""
    result: list[bool] = []

    def ask() -> None:
        try:
            result.append(any(node["Alive"] for node in ray.nodes()))
        except Exception:
            result.append(False)

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    asker.join(5)
    return bool(result and result[0])


def _listener(on_event: OnEvent, outcomes: dict[str, Any], started: set[str]) -> Any:
    """A Tune callback that hands events on; what it raises would end the whole experiment."""
    from ray.tune import Callback

    class Listener(Callback):
        def __reduce__(self) -> Any:
            # Tune pickles its callbacks for a restore that we never ask for.
            return object, ()

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            started.add(trial.config["job"]["id"])

        def on_trial_result(
            self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any
        ) -> None:
            job = trial.config["job"]["id"]
            if "outcome" in result and job not in outcomes:
                outcomes[job] = result["outcome"]
                on_event(job, {"event": "end", **result["outcome"]})
            elif "message" in result:
                on_event(job, result["message"])

    return Listener()
