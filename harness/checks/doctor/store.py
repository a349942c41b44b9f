"""Check of the doctor on MLflow's store: can it be reached and written?"""

import socket
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException
from urllib.parse import quote, urlsplit

from harness.checks.doctor.machine import unwritable
from harness.checks.finding import Diagnosis, ExaminationRequest
from harness.errors import UsageError
from harness.runs.redact import redact
from harness.tracking.faults import sqlite_path
from harness.tracking.mirror import checked

PATIENCE_S = 3
PORTS = {"postgresql": 5432, "mysql": 3306}
LATER = "start it, or run without: `pfbench mlflow sync RUN_DIR` brings results there later"


def store(request: ExaminationRequest) -> Iterator[Diagnosis]:
    """Check the tracking store, by its kind; the finding holds no password."""
    uri = request.tracking_uri
    if not uri:
        yield Diagnosis("store", "ok", "MLflow's sqlite goes into the folder of each run")
        return
    try:
        kind = urlsplit(checked(uri)).scheme
    except UsageError as error:
        yield Diagnosis("store", "fail", error.what, error.remedy)
        return
    if kind == "sqlite":
        broken, remedy = _sqlite(uri), "pass another --tracking-uri"
    else:
        broken, remedy = _http(uri) if kind.startswith("http") else _port(uri), LATER
    if broken:
        yield Diagnosis("store", "fail", f"{redact(uri)}: {redact(broken)}", remedy)
    else:
        yield Diagnosis("store", "ok", f"{redact(uri)} can be used")


def _sqlite(uri: str) -> str:
    """The reason why the sqlite file cannot be written, or ""; nothing is written."""
    path = sqlite_path(uri)
    if path is None:
        return "names no file, as sqlite:///PATH does"
    broken = unwritable(path.parent)
    if broken or not path.exists():
        return broken
    try:
        place = f"file:{quote(str(path))}?mode=rw"
        connection = sqlite3.connect(place, uri=True, timeout=PATIENCE_S)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("SELECT count(*) FROM sqlite_master")
            connection.rollback()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return f"{error}"
    return ""


def _http(uri: str) -> str:
    """The reason why no MLflow server answers at `uri`, or ""; the password is not sent."""
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    health = f"{parts.scheme}://{host}{parts.path.rstrip('/')}/health"
    try:
        with urllib.request.urlopen(health, timeout=PATIENCE_S) as answer:
            said = answer.read(100).strip()
    except urllib.error.HTTPError as error:
        error.close()
        return f"answers {error.code} {error.reason}, which is not MLflow"
    except (OSError, HTTPException, ValueError) as error:
        return f"does not answer ({getattr(error, 'reason', error)})"
    return "" if said == b"OK" else "answers, but is not MLflow"


def _port(uri: str) -> str:
    """The reason why no database answers at `uri`, or ""."""
    parts = urlsplit(uri)
    try:
        where = (parts.hostname or "localhost", parts.port or PORTS[parts.scheme])
        socket.create_connection(where, timeout=PATIENCE_S).close()
    except (OSError, ValueError) as error:
        return f"does not answer ({error})"
    return ""
