"""A Ray cluster: started for this process or joined, and noticed when it dies."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.machines import LaunchError, in_short, machines

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Tune's thread, left behind by Ctrl-C, would start another Ray when it next asks for something.
    "RAY_ENABLE_AUTO_CONNECT": "0",
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
    # Other users of this machine reach loopback, too; Ray makes a token where there is none.
    "RAY_AUTH_MODE": "token",
    # Tune's trials have an environment of their own and never use these: 1 s of the start.
    "RAY_prestart_worker_first_driver": "0",
    # Workers would yield to every other process of the machine, also while time is measured.
    "RAY_worker_niceness": "0",
}
SILENT_CLUSTER_S = 45
JOIN_S = 90
JOIN = """
import logging, sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
ray.shutdown()
"""


_joined: str | None = None  # the address of the cluster that this process is part of


class Unreachable(LaunchError):
    """The error for an address with no cluster, or with a cluster that refuses the connection."""


class NotStarted(LaunchError):
    """The error for a machine on which Ray does not start: memory, processes or files are few."""


SOCKET_BYTES = 103  # of the address of a socket on macOS; Linux has 107
SOCKET = "/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"  # below Ray's folder
OWN = "/pfb12345678/r"
SHORT = "/tmp"


class ClusterLost(Exception):
    """The error for a Ray that died while jobs were running, or has no machine left for a job."""


@dataclass(frozen=True)
class Cluster:
    """The address of an existing cluster, or None for a local one that ends with the block."""

    address: str | None = None
    max_concurrent: int | None = None
    grows: bool = False
    """Whether the autoscaler of the cluster starts machines that jobs wait for."""
    code: tuple[Path, ...] = ()
    """Packages that the jobs import: the machines of an existing cluster get a copy of them."""


@contextmanager
def ray_cluster(cluster: Cluster) -> Iterator[None]:
    """Start or join Ray for the block, without dashboard, telemetry or output of its own.

    A local cluster listens on loopback only.

    Within the block of one that was joined, another block changes nothing. Raises LaunchError when
    RAY_ADDRESS points somewhere that was not asked for, Unreachable when the cluster does not
    answer or let us in, NotStarted where Ray does not start.
    """
    global _joined
    elsewhere = os.environ.get("RAY_ADDRESS")
    if elsewhere and not cluster.address:
        raise LaunchError(
            f"RAY_ADDRESS={elsewhere} names a cluster; unset it, or pass --address {elsewhere}"
        )
    os.environ |= QUIET if cluster.address else QUIET | ALONE
    import ray

    if cluster.address and cluster.address == _joined:
        yield
        return
    _silence()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with ExitStack() as stack:
        try:
            if cluster.address:
                _try_to_join(cluster.address)
                _join(cluster.address, cluster.code)
            else:
                _start(stack.enter_context(_folder_of_our_own()))
        finally:
            _put_back(on_sigterm)
        _joined = cluster.address
        try:
            yield
        finally:
            _joined = None
            ray.shutdown()


def rays_folder() -> Path:
    """The folder on this machine below which Ray keeps its own files and sockets."""
    return Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())


def too_long(folder: Path) -> bool:
    """Whether the addresses of Ray's sockets below `folder` are longer than the system allows."""
    return len(os.fsencode(folder)) + len(OWN) + len(SOCKET) > SOCKET_BYTES


@contextmanager
def _folder_of_our_own() -> Iterator[str]:
    """A folder for Ray's files and sockets, for the block, which no other user may enter.

    Ray's own choice is one folder for all users of the machine, in which each may put sockets in
    the place of another's. Batch systems give each job a TMPDIR of 60 letters and more, which
    sockets cannot have; theirs get a short one. Raises NotStarted where no folder can be made.
    """
    try:
        place = rays_folder()
        short = SHORT if too_long(place) else str(place)
        own = tempfile.TemporaryDirectory(prefix="pfb", dir=short, ignore_cleanup_errors=True)
    except OSError as error:
        where = Path(error.filename).parent if error.filename else "TMPDIR"
        why = (error.strerror or str(error)).lower()
        raise NotStarted(
            f"Ray's files and sockets cannot be written below {where}: {why}; "
            "export RAY_TMPDIR=DIR, a folder of yours with a name of at most 25 letters"
        ) from error
    with own as folder:
        yield f"{folder}/r"  # Ray lets everybody write there, but nobody comes so far


def _put_back(on_sigterm: Any) -> None:
    """Install our handler of SIGTERM again, because Ray replaces it with its own."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)


def _start_no_dashboard() -> None:
    """Keep Ray from starting the dashboard's process where there is no dashboard.

    Ray starts it all the same, for usage statistics, and it asks the cloud's metadata server where
    it runs before it looks whether they are on (`get_cluster_config_to_report`). No setting of
    Ray's ends that. It is also 100 MiB and a second of the start.
    """
    from ray._private.node import Node

    setattr(Node, "start_api_server", lambda self, **_: None)  # noqa: B010  mypy knows methods


def _silence() -> None:
    """Silence Ray's output: its faults arrive as exceptions, and standard output is ours."""
    import ray._private.worker

    for name in ("ray", "ray.tune", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Prints that a node died, whatever `log_to_driver` says.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None


def _start(folder: str) -> None:
    """Start Ray on this machine, with its files and sockets in `folder`.

    Its workers import from the folder where the driver stands, before all others, unless it
    stands where this package was imported from.
    """
    import ray

    _start_no_dashboard()
    umask = os.umask(0o077)  # Ray writes its token readable by everyone otherwise
    try:
        with _started(), chdir(Path(__file__).parent.parent):
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
                _temp_dir=folder,
            )
    finally:
        os.umask(umask)


@contextmanager
def _started() -> Iterator[None]:
    """Raise NotStarted for whatever Ray raises in the block; none of its processes stays."""
    import ray

    try:
        yield
    except Exception as error:  # Ray has many, one of them called Exception
        ray.shutdown()
        raise NotStarted(f"Ray did not start: {in_short(error)}") from error


def _join(address: str, code: tuple[Path, ...]) -> None:
    """Connect to a cluster, and hand over the code: its packages lie in one folder, as here."""
    import ray

    with tempfile.TemporaryDirectory(prefix="pfbench-code-") as folder:
        for package in code:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(package, Path(folder) / package.name, ignore=ignored)
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
            runtime_env={"env_vars": QUIET, **({"working_dir": folder} if code else {})},
        )


def _try_to_join(address: str) -> None:
    """Try to join the cluster in a process of its own. Raises Unreachable when the join fails.

    Ray aborts the whole process, or waits without end, where no node of the cluster runs.
    """
    try:
        tried = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", "-c", JOIN, address],
            capture_output=True,
            text=True,
            timeout=JOIN_S,
            check=False,
            encoding="utf-8",
        )
    except subprocess.TimeoutExpired as error:
        raise Unreachable(f"the Ray cluster at {address} does not answer in {JOIN_S} s") from error
    if not tried.returncode:
        return
    said = tried.stderr.strip().splitlines()
    last = said[-1] if said else ""
    if "raylet" in tried.stderr or "node info" in last:
        raise Unreachable(
            f"no node of the Ray cluster at {address} runs on this machine; "
            f"`ray start --address={address}` here, or run pfbench on one that has joined"
        )
    if last.startswith("ConnectionError"):
        raise Unreachable(f"no Ray cluster answers at {address}{_about_the_token()}")
    [version] = [line for line in said if "mismatch" in line][:1] or [last]
    raise Unreachable(f"cannot join the Ray cluster at {address}: {version.strip()}")


def _about_the_token() -> str:
    if os.environ.get("RAY_AUTH_MODE") == "token":
        return ", or it does not know the token of RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
    return ", or it wants a token: export RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"


def watched(run: Callable[[], Any]) -> None:
    """Call `run`, and leave it behind when Ray no longer answers: Tune itself would wait for ever.

    Raises what `run` raises, and ClusterLost. KeyboardInterrupt leaves `run` behind, too.
    """
    import ray

    errors: list[BaseException] = []
    mine = ray.get_runtime_context().get_node_id()

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
        if _answers(mine):
            answered = time.monotonic()
        elif time.monotonic() - answered > SILENT_CLUSTER_S:
            raise ClusterLost("Ray no longer answers; the same command continues")
    if errors:
        raise errors[0]


def _answers(mine: str) -> bool:
    """Whether the cluster answers and the node on this machine, our connection to it, lives."""
    result: list[bool] = []

    def ask() -> None:
        try:
            result.append(any(machine.id == mine for machine in machines()))
        except Exception:
            result.append(False)

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    asker.join(5)
    return bool(result and result[0])
