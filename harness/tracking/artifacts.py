"""Where a store in a run folder keeps its artifacts: below that folder, wherever it was copied to.

MLflow writes to the place that the database names, which may be the folder that this one is a copy
of, or anything, if somebody else made the database.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from harness.data.wording import counted
from harness.tracking.faults import LOCKED_S, sqlite_path, unusable

FOLDER = "mlartifacts"
OF_RUN = "? || '/' || run_uuid || '/artifacts'"


def home_of(uri: str, folder: Path) -> Path | None:
    """The folder of the artifacts of a store in `folder`; None for a store elsewhere."""
    database = sqlite_path(uri)
    if database is None or not database.resolve().is_relative_to(folder.resolve()):
        return None
    return database.parent / FOLDER


def bring_home(database: Path) -> str:
    """Let the store keep artifacts beside itself alone; returns a note where they lay elsewhere.

    Raises TrackingError for a run whose id is none of MLflow's, sqlite3.OperationalError for a
    store that is locked.
    """
    home = (database.parent / FOLDER).as_uri()
    with closing(sqlite3.connect(database, timeout=LOCKED_S)) as connection, connection:
        strange = "length(run_uuid) != 32 OR run_uuid GLOB '*[^0-9a-f]*'"
        if connection.execute(f"SELECT 1 FROM runs WHERE {strange}").fetchone():
            raise unusable(database, "has a run whose id is none of MLflow's")
        connection.execute("UPDATE experiments SET artifact_location = ?", (home,))
        moved = connection.execute(
            f"UPDATE runs SET artifact_uri = {OF_RUN} WHERE artifact_uri IS NOT {OF_RUN}",
            (home, home),
        ).rowcount
    if not moved:
        return ""
    return (
        f"the artifacts of {counted(moved, 'run')} in MLflow lay elsewhere, as in a copied folder; "
        f"they are kept in {database.parent / FOLDER} from now on"
    )
