"""`pfbench score` and `export`: masks of other tools beside a run; what others get of a run."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness.commands.options import ExportOptions, RecordsOptions, ScoreOptions, words
from harness.commands.signature import with_options
from harness.data.regions import Labels
from harness.data.wording import counted
from harness.errors import PfbenchError, UsageError

if TYPE_CHECKING:
    from harness.runs.screen import Screen

Sets = Mapping[str, Sequence[Path]]
Progress = Callable[[int, int, str], None]


export_app = typer.Typer(
    no_args_is_help=True, help="Bring a run's data to other tools, and its records to others."
)


@export_app.command("nnunet")
@with_options
def export_nnunet(options: ExportOptions) -> None:
    """Write a run's data and split in nnU-Net's layout, to train nnU-Net on exactly its cases.

    The test cases come without labels. OUT/commands.sh plans, trains and predicts where nnU-Net v2
    is installed, and tells how to score its masks beside the run.

    Examples:

        pfbench export nnunet RUN_DIR OUT --data-root DIR
    """
    from harness.experiments.export_nnunet import ExportRequest, export
    from harness.runs.run_folder import refuse_among_records
    from harness.runs.screen import Screen

    refuse_among_records(options.out, "OUT")
    request = ExportRequest(
        run=options.run_dir,
        out=options.out,
        number=options.number,
        root=options.data_root,
        files=options.files.fields,
    )
    screen = Screen()
    with screen.bar("writing") as advance:
        commands = export(request, advance)
    screen.say(f"commands    {commands}")


@export_app.command("records")
@with_options
def export_records(options: RecordsOptions) -> None:
    """Write the numbers of a run, without volumes, masks and networks, to publish or to send.

    `report`, `compare` and `claims` read the folder like that of any run. Names of cases are in it,
    pictures are not.

    Examples:

        pfbench export records RUN_DIR OUT

        pfbench compare OUT MY_RUN_DIR
    """
    from harness.experiments.export_records import export
    from harness.runs.run_folder import refuse_among_records
    from harness.runs.screen import Screen

    refuse_among_records(options.out, "OUT")
    trials = export(options.run_dir, options.out)
    Screen().say(f"records     {options.out}, of {counted(trials, 'trial')}")


@with_options
def score(options: ScoreOptions) -> None:
    """Score masks that any tool made, and compare them like the systems of a run.

    With RUN_DIR the masks of its test cases become rows of its table: paired by case, with
    intervals, tests, ranks, figures, report and MLflow like all others. With --truth two or more
    sets of masks are compared without a run, each case on its own voxels.

    A mask is <case>.nii.gz on the voxels of its scan: a label map; or a mask of each target,
    <case>_<target>.nii.gz, or <target>.nii.gz in a folder <case>. One that is missing, surplus or
    elsewhere is an error; nothing is resampled.

    Examples:

        pfbench score RUN_DIR --predictions nnunet=MASKS --data-root DIR

        pfbench score RUN_DIR --predictions nnunet=MASKS --facts nnunet.yaml --data-root DIR

        pfbench score --truth DIR --predictions a=MASKS --predictions b=OTHER_MASKS
    """
    from harness.commands.requests import RUNS
    from harness.experiments.session import write_report
    from harness.results.folder import opened
    from harness.runs.run_folder import RunFolder, refuse_among_records
    from harness.runs.screen import Screen

    if (options.run_dir is None) == (options.truth is None):
        what = "a run or a folder of references is needed, and not both"
        raise UsageError(what, where="score", remedy="pfbench score RUN_DIR, or --truth DIR")
    predictions = _predictions(options.predictions)
    screen = Screen(quiet=options.as_json)
    out = options.run_dir or options.out or RUNS / f"score-{'-'.join(predictions)}"
    if not options.run_dir:
        refuse_among_records(out, "--out")
    with screen.bar("scoring") as advance:
        work = _of_run if options.run_dir else _of_folders
        notes = work(options, out, predictions, advance)
    folder = RunFolder(out)
    results = opened(folder)
    results.write_tables()
    write_report(folder, screen)
    if options.as_json:
        print(opened(folder).as_json)
    else:
        opened(folder).show(screen)
    for note in notes:
        screen.say(f"scored      {note}")
    screen.say(f"report      {folder.path / 'report.html'}")
    _mirror(options, folder.path, screen)


def _of_run(options: ScoreOptions, out: Path, predictions: Sets, advance: Progress) -> list[str]:
    from harness.commands.requests import typed_command
    from harness.experiments.score import ScoreRequest, score

    request = ScoreRequest(
        run=out,
        predictions=predictions,
        facts=options.facts,
        values=_values(options.values),
        suites=tuple(options.suites or ()),
        root=options.data_root,
        files=options.files.fields,
        cache=options.cache,
        command=typed_command(),
    )
    return score(request, advance)


def _of_folders(
    options: ScoreOptions, out: Path, predictions: Sets, advance: Progress
) -> list[str]:
    from harness.commands.requests import typed_command
    from harness.experiments.score_folders import FoldersRequest, score_folders

    needless = {"--suite": options.suites, "--data-root": options.data_root}
    for name, value in needless.items():
        if value:
            raise UsageError("is of a run", where=name, remedy="leave it out with --truth")
    request = FoldersRequest(
        truth=options.truth or Path(),
        predictions=predictions,
        out=out,
        facts=options.facts,
        values=_values(options.values),
        command=typed_command(),
    )
    return score_folders(request, advance)


def _predictions(given: Sequence[str]) -> dict[str, list[Path]]:
    """Name -> its folders, in the order given."""
    found: dict[str, list[Path]] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            what, remedy = f"'{text}' is not of the form NAME=DIR", "--predictions nnunet=MASKS"
            raise UsageError(what, where="--predictions", remedy=remedy)
        found.setdefault(name, []).append(Path(folder))
    return found


def _values(text: str) -> dict[str, Labels]:
    """The labels of each target: "1,2" -> {"": (1, 2)}; "a=1+2,b=2" -> {"a": (1, 2), "b": (2,)}."""
    given = [word.rpartition("=")[::2] for word in words(text)]
    named = {name: labels.split("+") for name, labels in given}
    if text and set(named) == {""}:
        named[""] = [label for _, label in given]
    elif len(named) < len(given) or "" in named:
        what, remedy = f"'{text}' names no target, or one twice", "--values wt=1+2+3,et=3"
        raise UsageError(what, where="--values", remedy=remedy)
    every = [label for labels in named.values() for label in labels]
    if not all(label.isdecimal() and 0 < int(label) <= 255 for label in every):
        what, remedy = f"'{text}' is no list of labels", "--values 1, or --values 1,2"
        raise UsageError(what, where="--values", remedy=remedy)
    return {name: tuple(map(int, labels)) for name, labels in named.items()}


def _mirror(options: ScoreOptions, path: Path, screen: "Screen") -> None:
    """Bring MLflow up to date; the scores are on disk in any case."""
    from harness.runs.run_folder import RunFolder
    from harness.tracking import mirror as tracking

    logged = RunFolder(path).run().mlflow
    if not options.mlflow or logged == "off":
        return
    if logged == "elsewhere" and not options.tracking_uri:
        screen.say("not logged to MLflow: pass the run's --tracking-uri")
        return
    uri = options.tracking_uri or tracking.default_uri(path)
    try:
        screen.say(f"MLflow      {tracking.mirror(path, uri, options.experiment)}")
    except PfbenchError as error:
        screen.warn(error)
