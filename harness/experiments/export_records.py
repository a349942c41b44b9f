"""`pfbench export records`: the numbers of a run, to be published without volumes and networks.

    OUT/run.json, split.json, data.json, plugins/
        trials/<id>/    spec.json, result.json, cases.csv, history.csv, measurement.json, attempts
        table.md, table.csv

A megabyte in place of gigabytes, which `report`, `compare` and `claims` read like any run folder,
so that others compare with it. Masks, weights and checkpoints stay behind, and so do pictures,
which show patients. Names of cases are in it; of folders that commands name the last name is.
"""

from pathlib import Path

from harness.errors import UsageError
from harness.results.folder import opened
from harness.runs.files import write_bytes
from harness.runs.records import MadeBy, RunManifest
from harness.runs.redact import storable
from harness.runs.run_folder import RunFolder


def export(run: Path, out: Path) -> int:
    """Write the records of `run` to `out`; returns the number of trials.

    Raises UsageError for an `out` that is not empty, StateError for what is no run or damaged,
    StorageError where it cannot be written.
    """
    folder, copy = RunFolder(run), RunFolder(out)
    manifest, keys = folder.run(), folder.volume_keys()
    if out.exists() and any(out.iterdir()):
        what, remedy = "exists and is not empty", "another folder"
        raise UsageError(what, where=str(out), remedy=remedy, code="PFB-C05")
    plugins = [plugin.id for plugin in manifest.plugins]
    trials = [file for trial in folder.trials() for file in trial.records()]
    copy.create()
    for source in (folder.split_file, *folder.kept(plugins), *trials):
        if source.exists():
            place = copy.path / source.relative_to(folder.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(place, source.read_bytes())
    keys.model_copy(update={"cache": "cache"}).write(copy.volume_keys_file)
    copy.write(_published(manifest))
    opened(copy).write_tables()
    return len(manifest.trials)


def _published(run: RunManifest) -> RunManifest:
    """The run with commands that tell no place on the machine, whichever version wrote them."""
    suites = {
        name: [
            row.model_copy(update={"made_by": [_moved(each) for each in row.made_by]})
            for row in rows
        ]
        for name, rows in run.suites.items()
    }
    return run.model_copy(update={"command": storable(run.command), "suites": suites})


def _moved(made_by: MadeBy) -> MadeBy:
    return made_by.model_copy(update={"command": storable(made_by.command)})
