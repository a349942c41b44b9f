"""The commands on the results of a run: tables, pictures, claims, predictions, MLflow."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import (
    Experiment,
    FiguresOptions,
    Json,
    PredictOptions,
    RunDir,
    TrackingUri,
)
from harness.commands.plugins import use_plugins
from harness.commands.signature import with_options
from harness.errors import printable

mlflow_app = typer.Typer(no_args_is_help=True, help="Bring results over to MLflow.")


def tell_version(run_dirs: Iterable[Path]) -> None:
    """Print on standard error which other version wrote the runs.

    Raises StateError for what is no run folder.
    """
    from harness.runs.records import written_by
    from harness.runs.run_folder import RunFolder
    from harness.runs.spec import code_version

    for folder in map(RunFolder, run_dirs):
        folder.recognise()
        code = written_by(folder.manifest_file)
        if code not in ("", code_version()):
            what = f"{folder.path} was written by {code}, this is {code_version()}"
            print(f"note: {printable(what)}: its numbers are as they were", file=sys.stderr)


def report(
    run_dirs: Annotated[
        list[Path],
        typer.Argument(help="Output folders of `pfbench run`, or one of `pfbench tune`."),
    ],
    format: Annotated[str, typer.Option(help="html, md, latex or csv.")] = "html",
    out: Annotated[
        Path | None,
        typer.Option(help="File to write, - for standard output. Default: RUN_DIR/report.html."),
    ] = None,
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures/--no-pictures",
            help="Draw chosen cases; in large runs this takes minutes.",
        ),
    ] = True,
    by_target: Annotated[
        bool, typer.Option("--by-target", help="Print the table of each of several targets, too.")
    ] = False,
    rows: Annotated[
        list[str] | None,
        typer.Option(
            "--row", help="Show only this row, by its key or title; may be repeated. Default: all."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make tables and report anew from the results on disk, and print the tables.

    The HTML is one file that needs no network: tables with intervals and the paper's values,
    significance, ranks, each case, what a score costs, pictures, claims, learning curves,
    failures, and how to get it again. Several runs are reported as one if their protocols are
    equal. With --out, nothing else is written. With --row, the tables in RUN_DIR stay whole, and
    the report of the chosen rows is RUN_DIR/report-rows.html.

    Examples:

        pfbench report RUN_DIR

        pfbench report RUN_DIR --by-target

        pfbench report RUN_DIR --row pfseg --row unet3d

        pfbench report RUN_DIR OTHER_RUN_DIR --out both.html

        pfbench report RUN_DIR --format latex --out -
    """
    from harness.report import write as writer
    from harness.results.folder import opened
    from harness.results.readable import readable
    from harness.runs.run_folder import RunFolder
    from harness.runs.screen import Screen
    from harness.runs.selection import SelectedRun

    tell_version(run_dirs)
    folders = [SelectedRun(path, rows) if rows else RunFolder(path) for path in run_dirs]
    writer.known(format)
    with readable(folders):
        if as_json:
            print(opened(*folders).as_json)
            return
        if out == Path("-"):
            print(writer.render(folders, format, pictures=pictures), end="")
            return
        if out is None and len(folders) == 1 and rows:
            opened(*folders).show(Screen(), by_target=by_target)
        elif out is None and len(folders) == 1:
            writer.rebuild(folders[0]).show(Screen(), by_target=by_target)
        place = out or writer.default_place(folders, format, chosen=bool(rows))
        writer.write(folders, place, format, pictures=pictures)
        print(f"report      {place}")


@with_options
def figures(options: FiguresOptions) -> None:
    """Draw every system's mask on chosen test cases (Figs. 5 and 6), as PNG and SVG.

    The best, the median and the worst case by mean Dice, and the one with the most scattered
    false positives of patch-based systems; of each the slice with the largest target.
    """
    from harness.report import figures as pictures
    from harness.results.readable import readable
    from harness.runs.run_folder import RunFolder
    from harness.runs.screen import Screen

    screen = Screen(quiet=options.as_json)
    run_dir, cases = options.run_dir, tuple(options.cases or ())
    tell_version([run_dir])
    with readable([RunFolder(run_dir)]):
        files = pictures.draw(run_dir, options.suite or None, cases, options.cache)
    drawn = list(map(str, files))
    print(json.dumps(drawn, indent=2) if options.as_json else "\n".join(drawn))
    logged = RunFolder(run_dir).run().mlflow
    if options.mlflow and (options.tracking_uri or logged == "here"):
        screen.say(_synced(run_dir, options.tracking_uri, options.experiment))
    elif options.mlflow and logged == "elsewhere":
        screen.say("not logged to MLflow: pass the run's --tracking-uri")


def compare(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN_DIR [RUN_DIR] [ROW]...",
            help="One or two output folders of `pfbench run`, then keys or titles of rows.",
        ),
    ],
    suite: Annotated[
        str, typer.Option(help="Whose rows. Default: the first table that has them.")
    ] = "",
    by_target: Annotated[
        bool, typer.Option("--by-target", help="Of several targets each, beside their mean.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Is one system better than another? Paired by test case, with intervals and tests.

    Two or more rows of one run are compared with each other; no row means all of its table. Two
    runs are compared row by row, which needs the same test cases. Of several targets a score is
    the mean over them.

    Examples:

        pfbench compare RUN_DIR pfseg resunet3d

        pfbench compare RUN_DIR OTHER_RUN_DIR

        pfbench compare RUN_DIR OTHER_RUN_DIR pfseg --json
    """
    from harness.results import compare as comparing
    from harness.results.readable import readable
    from harness.runs.run_folder import RunFolder
    from harness.runs.screen import Screen

    first, *others = what
    runs = [first, *(word for word in others[:1] if RunFolder(Path(word)).begun)]
    tell_version(map(Path, runs))
    folders = [RunFolder(Path(word)) for word in runs]
    with readable(folders):
        found = comparing.compare(folders, what[len(runs) :], suite, by_target=by_target)
    if as_json:
        print(json.dumps(comparing.records(found), indent=2, ensure_ascii=False))
    else:
        comparing.show(found, Screen())


def claims(
    run_dirs: Annotated[list[Path], typer.Argument(help="Output folders of `pfbench run`.")],
    margin_points: Annotated[
        float,
        typer.Option(min=0, help="Worse by so many points of Dice is still 'at least as good'."),
    ] = 0.5,
    margin_mm: Annotated[
        float, typer.Option(min=0, help="Worse by so many mm of HD95 is still 'at least as good'.")
    ] = 1.0,
    as_json: Json = False,
) -> None:
    """Hold the paper's claims against the results: supported, not supported, or undecided.

    A claim about scores is decided by several trainings only (`pfbench run --seeds 3`), a claim
    about time by several measuring processes. Verdicts of a run that departs from the paper bear a
    star.

    Examples:

        pfbench claims RUN_DIR

        pfbench claims RUN_DIR --margin-points 1 --json
    """
    from harness.results.claims import verdicts as tested
    from harness.results.claims.evidence import Margins
    from harness.results.readable import readable
    from harness.runs.run_folder import RunFolder
    from harness.runs.screen import Screen

    margins = Margins(margin_points, margin_mm)
    tell_version(run_dirs)
    folders = [RunFolder(path) for path in run_dirs]
    with readable(folders):
        verdicts = tested.judge(folders, margins)
    if as_json:
        print(json.dumps(tested.records(verdicts), indent=2, ensure_ascii=False))
    else:
        tested.show(verdicts, Screen())


@with_options
def predict(options: PredictOptions) -> None:
    """Segment new volumes with a trained network; each mask lies on the voxels of its volume.

    Of a cross-validation the networks of all folds answer together, by the mean of their
    probabilities; --fold takes that of one.

    Of several targets a mask is one label map: the labels of the training data where they exclude
    each other; else drawn as nnU-Net draws regions, the larger first. --separate writes a file for
    each.

    A network of a plug-in needs its code, which the run kept in RUN_DIR/plugins. It is executed
    when you name it, and not otherwise: look into one that somebody else sent you.

    Examples:

        pfbench predict RUN_DIR scans/ --model pfseg --out masks/

        pfbench predict RUN_DIR scans/ --model pfseg --fold 0 --out masks/

        pfbench predict RUN_DIR scans/ --model mine --out masks/ --plugin RUN_DIR/plugins/mine-*.py
    """
    from harness.commands.placement import chosen_device
    from harness.experiments import predict as predictor
    from harness.runs.run_folder import refuse_among_records
    from harness.runs.screen import Screen
    from harness.trials.network import choose_trials

    refuse_among_records(options.out, "--out")
    use_plugins(options.plugins)
    request = predictor.PredictRequest(
        run=options.run_dir,
        trials=choose_trials(options.run_dir, options.model or None, options.seed, options.fold),
        inputs=tuple(options.inputs),
        out=options.out,
        probability=options.probability,
        tpf=options.tpf,  # type: ignore[arg-type]
        device=chosen_device(options.device),
        threads=options.threads,
        overwrite=options.overwrite,
        separate=options.separate,
    )
    screen = Screen(quiet=options.as_json)
    with screen.bar("predicting") as advance:
        made = predictor.predict(request, advance)
    if options.as_json:
        files = list(map(str, made.files))
        print(json.dumps({"files": files, "notes": list(made.notes)}, indent=2))
        return
    for note in made.notes:
        screen.say(f"note        {note}")
    for path in made.files:
        screen.say(str(path))


def ui(
    run_dir: Annotated[Path, typer.Argument(help="The output folder of a run or study.")] = Path(
        "pfbench-runs/table5-phantom-quick"
    ),
    tracking_uri: TrackingUri = "",
    experiment: Experiment = "pfbench",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open MLflow on the results of a run, on 127.0.0.1 only, with links to compare its systems.

    What MLflow lacks is brought over first.
    """
    from harness.tracking import mirror as tracking
    from harness.tracking import ui as mlflow_ui

    uri = tracking.checked(tracking_uri or tracking.default_uri(run_dir))
    raise typer.Exit(mlflow_ui.ui(run_dir, uri, experiment, port))


@mlflow_app.command("sync")
def mlflow_sync(
    run_dir: RunDir,
    tracking_uri: TrackingUri = "",
    experiment: Experiment = "pfbench",
    log_model: Annotated[
        bool,
        typer.Option("--log-model", help="Log every finished trial as a model to be served, too."),
    ] = False,
) -> None:
    """Bring MLflow to the state of the run folder; doing it twice changes nothing.

    A model takes a scan (C, D, H, W) of any size and gives its mask: `mlflow models serve -m URI`.
    """
    print(_synced(run_dir, tracking_uri, experiment))
    if log_model:
        from harness.tracking import mirror as tracking
        from harness.tracking.model import log_models

        uri = tracking_uri or tracking.default_uri(run_dir)
        for address in log_models(run_dir, uri, experiment):
            print(f"model       {address}")


def _synced(run_dir: Path, tracking_uri: str, experiment: str) -> str:
    """Mirror the folder to MLflow; returns a summary as text."""
    from harness.runs.run_folder import RunFolder
    from harness.tracking import mirror as tracking

    RunFolder(run_dir).manifest()
    uri = tracking_uri or tracking.default_uri(run_dir)
    return str(tracking.mirror(run_dir, uri, experiment))
