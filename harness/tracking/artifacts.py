"""Where a store in a run folder keeps its artifacts: below that folder, wherever it was copied to.

MLflow writes to the place that the database names, which may be the folder that this one is a copy
of, or anything, if somebody else made the database.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from harness.data.wording import counted
from harness.runs.files import refuse_linked
from harness.tracking.faults import LOCKED_S, sqlite_path, unusable

FOLDER = "mlartifacts"
OF_RUN = "? || '/' || run_uuid || '/artifacts'"
OF_MODEL = "? || '/models/' || model_id || '/artifacts'"
NOT_HEX = "length({0}) != 32 OR {0} GLOB '*[^0-9a-f]*'"
OWN = (
    "(type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%') OR type = 'index' OR tbl_name = 'secrets'"
)
"""What MLflow makes in a database; its one trigger, on secrets, which no run has."""


def home_of(uri: str, folder: Path) -> Path | None:
    """The folder of the artifacts of a store in `folder`; None for a store elsewhere."""
    database = sqlite_path(uri)
    if database is None or not database.resolve().is_relative_to(folder.resolve()):
        return None
    return database.parent / FOLDER


def refuse_linked_store(database: Path) -> None:
    """Raise StorageError where a file that MLflow writes in a run folder is linked elsewhere."""
    beside, kept = database.parent.glob(f"{database.name}*"), (database.parent / FOLDER).rglob("*")
    refuse_linked([*beside, *kept])


def bring_home(database: Path) -> str:
    """Let the store keep artifacts beside itself alone; returns a note where they lay elsewhere.

    Raises TrackingError for a store that is not as MLflow makes it, sqlite3.OperationalError for
    one that is locked.
    """
    home = (database.parent / FOLDER).as_uri()
    with closing(sqlite3.connect(database, timeout=LOCKED_S)) as connection, connection:
        _refuse_foreign(connection, database)
        connection.execute("UPDATE experiments SET artifact_location = ?", (home,))
        moved = _moved(connection, "runs", "artifact_uri", OF_RUN, home)
        _moved(connection, "logged_models", "artifact_location", OF_MODEL, home)
    if not moved:
        return ""
    return (
        f"the artifacts of {counted(moved, 'run')} in MLflow lay elsewhere, as in a copied folder; "
        f"they are kept in {database.parent / FOLDER} from now on"
    )


def _moved(connection: sqlite3.Connection, table: str, column: str, place: str, home: str) -> int:
    """Let each row of a table keep its artifacts below `home`; returns the number that did not."""
    change = f"UPDATE {table} SET {column} = {place} WHERE {column} IS NOT {place}"
    return connection.execute(change, (home, home)).rowcount


def _refuse_foreign(connection: sqlite3.Connection, database: Path) -> None:
    """Raise TrackingError for a store with ids that are paths, or with what rewrites its rows."""
    if connection.execute(f"SELECT 1 FROM sqlite_master WHERE NOT ({OWN})").fetchone():
        raise unusable(database, "has triggers or views, and MLflow makes none")
    if connection.execute(f"SELECT 1 FROM runs WHERE {NOT_HEX.format('run_uuid')}").fetchone():
        raise unusable(database, "has a run whose id is none of MLflow's")
    of_model = NOT_HEX.format("substr(model_id, 3)")
    if connection.execute(f"SELECT 1 FROM logged_models WHERE {of_model}").fetchone():
        raise unusable(database, "has a model whose id is none of MLflow's")
