"""`pfbench verify` and `pfbench doctor`: whether results and machine can be relied on."""

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import DataRoot, Json, Plugins, RunCache, RunDir, TrackingUri
from harness.commands.plugins import use_plugins


def verify(
    run_dir: RunDir,
    cache: RunCache = None,
    deep: Annotated[
        bool, typer.Option(help="Score the kept masks again, distances too; count GFLOPs again.")
    ] = False,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Check a run or study after the fact: nothing is trained or written.

    Every trial has one start per attempt and one end, epochs follow each other, files are what
    was written (SHA-256), weights load, masks give the scores, tables say what the results say.
    Each fault comes with its file and line; exit code 5 when there is one. What cannot be checked
    is named, such as masks where the prepared volumes are not there; with --deep exit code 4 then.
    """
    from harness.checks.verify import folder as verification

    use_plugins(plugin)
    report = verification.verify(run_dir, cache, deep=deep)
    if as_json:
        print(json.dumps(report.record, indent=2, ensure_ascii=False))
    else:
        print("\n".join(report.lines))
    raise typer.Exit(report.exit_code)


def doctor(
    out: Annotated[Path, typer.Option(help="Where runs are to go.")] = Path("pfbench-runs"),
    data_root: DataRoot = None,
    tracking_uri: TrackingUri = "",
    as_json: Json = False,
) -> None:
    """Look whether this machine can do a run: software, device, disk, volumes, who listens.

    Each line is ok, or says what to do. Exit code 2 when a run would break on something.
    """
    from harness.checks.doctor import examine as examination
    from harness.checks.finding import ExaminationRequest
    from harness.runs.screen import Screen

    found = examination.examine(ExaminationRequest(out, data_root, tracking_uri))
    if as_json:
        print(json.dumps(examination.records(found), indent=2, ensure_ascii=False))
    else:
        examination.show(found, Screen())
    raise typer.Exit(examination.exit_code(found))
