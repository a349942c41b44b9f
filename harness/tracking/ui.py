"""`pfbench ui`: MLflow's pages on the results of a run, and links that answer questions."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NamedTuple
from urllib.parse import urlsplit

from harness.errors import UsageError
from harness.runs.redact import redact
from harness.runs.run_folder import RunFolder
from harness.tracking import desired as mirrored
from harness.tracking import mirror as tracking
from harness.tracking import views as mlflow_views

LOCAL = "127.0.0.1"
KEY = "PFBENCH_UI_KEY"
"""The variable of the environment that gives the server the key to its pages."""


class Link(NamedTuple):
    """A link to a page that answers a question."""

    name: str
    address: str


def ui(run_dir: Path, uri: str, experiment: str, port: int) -> int:
    """Bring the store up to date, print links, and serve its pages until interrupted.

    The server listens on 127.0.0.1 alone, and asks for the key that is in the links. A store that
    is a server has pages of its own, so that links are all there is to do. Returns the exit code;
    raises TrackingError as `tracking.mirror` does, and UsageError for a port that is taken.
    """
    remote = urlsplit(uri).scheme in ("http", "https")
    asked: list[int] = []
    if not remote:
        _refuse_taken(port)
        _listen(asked, at_once=True)
    tracking.mirror(run_dir, uri, experiment)
    key = secrets.token_urlsafe(24)
    place = _without_user(uri) if remote else f"http://{LOCAL}:{port}/?key={key}"
    print(f"{'MLflow':<12}{place}")
    for link in links(run_dir, uri, experiment, place):
        print(f"{link.name:<12}{link.address}")
    if remote:
        return 0
    print("Ctrl-C ends it", flush=True)
    return _serve(uri, port, key, asked)


def links(run_dir: Path, uri: str, experiment: str, place: str) -> list[Link]:
    """Links to pages that show the run; `place` is the address of the first page of a server."""
    os.environ |= tracking.QUIET
    from harness.tracking.store import MlflowStore

    folder = RunFolder(run_dir)
    parent = mirrored.parent_of(folder)
    store = MlflowStore(folder, uri, experiment, restore=False)
    found = [
        Link("table", mlflow_views.table_link(place, store.experiment, parent.id)),
        Link("charts", mlflow_views.chart_link(place, store.experiment, parent.id)),
    ]
    for table in parent.tables:
        runs = mlflow_views.in_table(store.children, table)
        found += [
            Link("filter", mlflow_views.filter_link(place, store.experiment, parent.id, table)),
            Link("compare", mlflow_views.compare_link(place, store.experiment, runs)),
        ]
    return found


def _listen(asked: list[int], *, at_once: bool) -> None:
    """Note in `asked` each signal to end; raise KeyboardInterrupt at once, or only note the signal.

    Noted, because what is raised in the callback of a weak reference is lost, and libraries of
    MLflow have many; left there while a server starts, so that none is there unseen.
    """

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if at_once:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, note)


def _serve(uri: str, port: int, key: str, asked: list[int]) -> int:
    command = [sys.executable, "-P", "-m", "harness.tracking.server", str(port)]
    environment = {
        **tracking.environment(uri),
        KEY: key,
        "_MLFLOW_SERVER_FILE_STORE": uri,  # as `mlflow server` tells its workers
        "_MLFLOW_SERVER_REGISTRY_STORE": uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONWARNINGS": "ignore",  # of MLflow's own libraries; they would hide the links
    }
    _listen(asked, at_once=False)
    if asked:
        raise KeyboardInterrupt
    server = subprocess.Popen(
        command, env=environment, start_new_session=True, stdin=subprocess.PIPE
    )
    while server.poll() is None and not asked:
        time.sleep(0.1)
    _end(server)
    return 0 if asked else server.returncode


def _end(server: "subprocess.Popen[bytes]") -> None:
    """End the server and what MLflow may have started: all are one group of processes."""
    for number, patience_s in ((signal.SIGTERM, 5), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(server.pid, number)
            server.wait(patience_s)


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCAL, port))
        except OSError as error:
            what = f"port {port} cannot be used: {error.strerror}"
            remedy = f"--port {port + 1}"
            raise UsageError(what, where="--port", remedy=remedy, code="PFB-C02") from error


def _without_user(uri: str) -> str:
    """The address of a server without the user in it; a browser asks for a password itself."""
    return redact(uri).replace("***@", "").rstrip("/") + "/"
