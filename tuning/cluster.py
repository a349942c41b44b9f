"""A Ray cluster: started for this process or joined, asked what it holds, noticed when it dies."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",  # we hold jobs back ourselves until there is room
}
ALONE = {
    # Ray's word for "no second machine will join": every process listens on 127.0.0.1 only.
    # It is read when ray is imported.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Tune's trials have an environment of their own and never use these: 1 s of the start.
    "RAY_prestart_worker_first_driver": "0",
    # Workers would yield to every other process of the machine, also while time is measured.
    "RAY_worker_niceness": "0",
}
SILENT_CLUSTER_S = 45
RAY_UNITS = 10_000  # Ray counts resources in ten-thousandths


class LaunchError(Exception):
    """Ray cannot be used as asked; the message says why and what to change."""


class ClusterLost(Exception):
    """Ray died while jobs were running."""


@dataclass(frozen=True)
class Cluster:
    """An existing cluster's address, or None for one on this machine that ends with the block."""

    address: str | None = None
    max_concurrent: int | None = None


@contextmanager
def ray_cluster(cluster: Cluster) -> Iterator[None]:
    """Ray, without dashboard, telemetry or output of its own; a local one only on loopback.

    Raises LaunchError when RAY_ADDRESS points somewhere that was not asked for, or when the
    cluster does not answer.
    """
    elsewhere = os.environ.get("RAY_ADDRESS")
    if elsewhere and not cluster.address:
        raise LaunchError(
            f"RAY_ADDRESS={elsewhere} names a cluster; unset it, or pass --address {elsewhere}"
        )
    os.environ |= QUIET if cluster.address else QUIET | ALONE
    import logging

    import ray

    for name in ("ray", "ray.tune", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    _start_no_dashboard()
    umask = os.umask(0o077)  # Ray writes its token readable by everyone otherwise
    on_sigterm = signal.getsignal(signal.SIGTERM)
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
        _put_back(on_sigterm)
    try:
        yield
    finally:
        ray.shutdown()


def _put_back(on_sigterm: Any) -> None:
    """Ray puts a handler of its own in place of ours."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)


def _start_no_dashboard() -> None:
    """Keep the dashboard's process from being started where there is no dashboard.

    Ray starts it all the same, for usage statistics, and it asks the cloud's metadata server where
    it runs before it looks whether they are on (`get_cluster_config_to_report`). No setting of
    Ray's ends that. It is also 100 MiB and a second of the start.
    """
    from ray._private.node import Node

    setattr(Node, "start_api_server", lambda self, **_: None)  # noqa: B010  mypy knows methods


def room(cpus: float, gpus: float) -> int:
    """How many jobs of this size the living machines of the cluster hold at once."""
    return sum(_held(node, cpus, gpus) for node in _machines())


def refuse_unplaceable(cpus: float, gpus: float) -> None:
    """Raise LaunchError when no machine of the cluster can ever hold a job of this size."""
    if not cpus and not gpus:
        raise LaunchError("a trial has to ask for a part of a CPU or of a GPU")
    if gpus > 1 and gpus % 1:
        raise LaunchError(f"more than one GPU is counted whole; {gpus:g} for a trial is not")
    machines = _machines()
    if not any(_held(node, cpus, gpus) for node in machines):
        most = [f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in machines]
        raise LaunchError(
            f"a trial asks for {cpus:g} CPUs and {gpus:g} GPUs, but the machines "
            f"have {'; '.join(most)}; lower --cpus-per-trial or --gpus-per-trial"
        )


def watched(run: Callable[[], Any]) -> None:
    """Do `run`, and leave it behind when Ray no longer answers: Tune itself would wait for ever.

    Raises what `run` raises, and ClusterLost. KeyboardInterrupt leaves `run` behind, too.
    """
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            run()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    answered = time.monotonic()
    while thread.is_alive():
        thread.join(5)
        if _answers():
            answered = time.monotonic()
        elif time.monotonic() - answered > SILENT_CLUSTER_S:
            raise ClusterLost("Ray no longer answers; the same command continues")
    if errors:
        raise errors[0]


def _machines() -> list[dict[str, float]]:
    """The resources of each living machine."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _held(machine: dict[str, float], cpus: float, gpus: float) -> int:
    """How many jobs of this size a machine holds; a fraction of a GPU lies on one GPU."""
    limits = []
    if cpus:
        limits.append(_times(machine.get("CPU", 0), cpus))
    if gpus > 1:
        limits.append(_times(machine.get("GPU", 0), gpus))
    elif gpus:
        limits.append(int(machine.get("GPU", 0)) * _times(1, gpus))
    return min(limits)


def _times(have: float, want: float) -> int:
    return round(have * RAY_UNITS) // round(want * RAY_UNITS)


def _answers() -> bool:
    """Whether the cluster still has a living machine."""
    result: list[bool] = []

    def ask() -> None:
        try:
            result.append(bool(_machines()))
        except Exception:
            result.append(False)

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    asker.join(5)
    return bool(result and result[0])
