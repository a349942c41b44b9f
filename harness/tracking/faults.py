"""The faults of an MLflow store, told apart; some are refused before MLflow opens the store."""

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from harness.errors import TrackingError
from harness.runs.redact import redact

LOCKED_S = 20  # as long as MLflow itself waits for a locked file
MAGIC = b"SQLite format 3\0"
# What an error says -> code, and what to do before the remedy that every fault of a store has.
KNOWN = (
    (("is locked",), "PFB-M03", "wait until nothing else writes to it"),
    (
        ("error code 401", "error code 403"),
        "PFB-M09",
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    ),
    (("certificate", "sslerror"), "PFB-M09", "MLFLOW_TRACKING_SERVER_CERT_PATH"),
    (
        ("<html", "<!doctype", "valid json", "jsondecode", "error code 404"),
        "PFB-M09",
        "the address of an MLflow server, without a page or proxy before it",
    ),
    (("'active' state", "not active"), "PFB-M08", "once more: what was deleted is made anew"),
)


def told(error: Exception, uri: str, again: str) -> TrackingError:
    """The TrackingError for an exception of MLflow, its database or network, without password."""
    text = " ".join(redact(str(error)).split()) or type(error).__name__
    low = f"{type(error).__name__} {text}".lower()
    code, first = "PFB-M01", ""
    for signs, known, remedy in KNOWN:
        if any(sign in low for sign in signs):
            code, first = known, f"{remedy}; then "
            break
    return TrackingError(
        f"MLflow cannot be written ({type(error).__name__}: {text[:300]})",
        where=redact(uri),
        remedy=f"{first}{again}",
        code=code,
    )


def sqlite_path(uri: str) -> Path | None:
    """The path of the file of a sqlite store; None for stores of other kinds."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]).absolute()


def prepare_sqlite(path: Path) -> None:
    """Prepare a sqlite store whole or not at all; never change one of another version.

    MLflow would add its tables to the database of another program, and migrate one of an earlier
    MLflow; killed while it makes a new one, it leaves half of the tables. Raises TrackingError,
    and sqlite3.OperationalError for a file that is locked.
    """
    if not path.exists() or path.stat().st_size == 0:
        path.unlink(missing_ok=True)
        _create(path)
        return
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise unusable(path, "is no sqlite database")
    tables, version = _content(path)
    if tables and version is None:
        raise unusable(path, "is the database of another program")
    from mlflow.store.db.utils import _get_latest_schema_revision

    if tables and version != _get_latest_schema_revision():
        what = "is the store of another version of MLflow, which would have to be migrated"
        remedy = f"a copy of it, then `mlflow db upgrade sqlite:///{path}`"
        raise unusable(path, what, remedy)


def _content(path: Path) -> tuple[set[str], str | None]:
    """Names of the tables, and the version of MLflow's schema or None where there is none."""
    place = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(place, uri=True, timeout=LOCKED_S)
    try:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = {name for (name,) in rows}
        if "alembic_version" not in tables:
            return tables, None
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return tables, found and found[0]
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise unusable(path, f"is damaged: {error}") from error
    finally:
        connection.close()


def _create(path: Path) -> None:
    """Make an empty store aside and put it in place at once; a store already there stays."""
    from mlflow.tracking import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        MlflowClient(f"sqlite:///{temporary}").search_experiments(max_results=1)
        temporary.chmod(0o600)
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)


def unusable(path: Path, what: str, remedy: str = "another --tracking-uri") -> TrackingError:
    """A TrackingError for a file that MLflow must not open as a store."""
    return TrackingError(what, where=str(path), remedy=remedy, code="PFB-M04")
