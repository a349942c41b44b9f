"""`pfbench`: parse, call, print."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import INTERRUPTED, PfbenchError, unknown

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Compare patch-free and patch-based 3D medical image segmentation under one protocol.",
    epilog="Start with: pfbench run --suite table5",
)
data_app = typer.Typer(no_args_is_help=True, help="Make and check data sets.")
mlflow_app = typer.Typer(no_args_is_help=True, help="Bring results over to MLflow.")
app.add_typer(data_app, name="data")
app.add_typer(mlflow_app, name="mlflow")

Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder that holds the volumes.")]
Modalities = Annotated[
    str, typer.Option(help="Comma-separated, for example flair,t1ce. Default: the data set's.")
]
RunDir = Annotated[Path, typer.Argument(help="The output folder that `pfbench run` printed.")]


@app.command()
def run(
    suite: Annotated[
        str, typer.Option(help="A table or figure of the paper (`pfbench list suites`), or all.")
    ],
    dataset: Annotated[str, typer.Option(help="phantom (built in), brats or liver.")] = "phantom",
    data_root: DataRoot = None,
    modalities: Modalities = "",
    target: Annotated[str, typer.Option(help="BraTS region: wt, tc or et.")] = "",
    profile: Annotated[
        str, typer.Option(help="quick or paper. Default: quick for the phantom, else paper.")
    ] = "",
    model: Annotated[
        list[str] | None, typer.Option(help="Only this model; may be given several times.")
    ] = None,
    row: Annotated[
        list[str] | None,
        typer.Option(help="Only this row, by its key in `pfbench list rows`; may be repeated."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Trials of each row.")] = 1,
    epochs: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="At most; default: the profile's.")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, e.g. protocol.learning_rate=3e-4."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with settings.")] = None,
    tuned: Annotated[
        Path | None, typer.Option(help="The best.yaml of `pfbench tune`: use what it found.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cpus_per_trial: Annotated[float | None, typer.Option(help="Processors of a trial.")] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="GPUs of a trial; fractions share one.")
    ] = None,
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at the same time, at most.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="An existing Ray cluster, e.g. 10.0.0.1:6379.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Output folder. Default: pfbench-runs/SUITE-DATASET-PROFILE."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Preprocessed volumes. Default: OUT/cache.")
    ] = None,
    tracking_uri: Annotated[
        str, typer.Option(help="MLflow store or server. Default: sqlite in the output folder.")
    ] = "",
    experiment: Annotated[str, typer.Option(help="MLflow experiment.")] = "pfbench",
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Log to MLflow.")] = True,
    executor: Annotated[
        str, typer.Option(help="ray, or inline: one after another in this process.")
    ] = "ray",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run trials again that failed before.")
    ] = False,
    stall_timeout: Annotated[
        float, typer.Option(min=1, help="End a trial that is silent for so many seconds.")
    ] = 7200,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the trials and what is already done.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train and score every system of a suite, and print its table.

    Running the same command again continues: finished trials are kept, interrupted ones go on
    from their last checkpoint.

    Examples:

        pfbench run --suite table5

        pfbench run --suite table5 --dataset brats --data-root DIR --modalities flair
    """
    from harness import run as runner
    from harness.data.datasets import Request as DataRequest
    from harness.options import chosen_placement
    from harness.progress import Screen
    from harness.settings import resolve
    from harness.suites import chosen
    from harness.tracking import default_uri

    profile = profile or ("quick" if dataset == "phantom" else "paper")
    settings = resolve(profile, config, change or [], epochs, tuned)
    folder = out or Path("pfbench-runs") / f"{suite}-{dataset}-{profile}"
    request = runner.Request(
        tables=chosen(suite, profile, model or (), row or ()),
        settings=settings,
        data=DataRequest(
            dataset=dataset,
            root=data_root,
            modalities=tuple(filter(None, modalities.split(","))),
            target=target,
            reduce=settings.reduce,
            cases=settings.phantom.cases,
            seed=settings.phantom.seed,
        ),
        seeds=seeds,
        placement=chosen_placement(
            executor, device, cpus_per_trial, gpus_per_trial, max_concurrent, address, stall_timeout
        ),
        out=folder,
        cache=cache or folder / "cache",
        tracking_uri=tracking_uri or default_uri(folder),
        experiment=experiment,
        mlflow=mlflow,
        retry_failed=retry_failed,
        command=_command(),
    )
    screen = Screen(quiet=as_json)
    if dry_run:
        _print_dry_run(runner.dry_run(request, screen), as_json)
        return
    code = runner.run(request, screen)
    if as_json:
        _print_table(folder, as_json=True)
    raise typer.Exit(code)


def _command() -> str:
    """The command as typed, without credentials that a tracking URI may hold."""
    from harness.redact import redact

    return shlex.join(["pfbench", *(redact(word) for word in sys.argv[1:])])


def _print_dry_run(trials: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(trials, indent=2))
        return
    for trial in trials:
        print(f"{trial['trial']}  {trial['state']:<11}  {trial['name']}")
    done = sum(trial["state"] in ("ok", "failed") for trial in trials)
    print(f"{len(trials)} trials, {done} already done")


def _print_table(folder: Path, *, as_json: bool) -> None:
    from harness import table
    from harness.ledger import RunFolder
    from harness.progress import Screen

    result = table.build(RunFolder(folder))
    if as_json:
        records = json.loads(result.frame.to_json(orient="records"))
        print(json.dumps({"rows": records, "notes": result.notes}, indent=2))
        return
    table.write(RunFolder(folder), result)
    screen = Screen()
    table.show(result, screen)
    screen.say(f"table       {folder / 'table.md'} (and table.csv)")


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="suites, rows, models or datasets.")],
    profile: Annotated[str, typer.Option(help="Profile for sizes: quick or paper.")] = "paper",
    as_json: Json = False,
) -> None:
    """Show the suites, their rows, the models or the data sets there are."""
    from harness import listing

    if what not in listing.LISTS:
        raise unknown("list", what, listing.LISTS)
    rows = listing.LISTS[what](profile)
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        print(listing.as_text(rows))


@data_app.command("make-phantom")
def make_phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
    cases: Annotated[int, typer.Option(min=1, max=10_000)] = 12,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    size: Annotated[
        str, typer.Option(help="Voxels as DxHxW; BraTS volumes are 155x240x240.")
    ] = "155x240x240",
) -> None:
    """Write synthetic volumes as NIfTI files in the layout of BraTS2020."""
    from harness.data import phantom
    from harness.options import parse_size

    phantom.write(out, cases=cases, shape=parse_size(size), seed=seed)
    print(f"{cases} synthetic cases in {out}")
    print(f"use them: pfbench run --suite table5 --dataset brats --data-root {out} --profile quick")


@data_app.command("check")
def check_data(
    root: Annotated[Path, typer.Argument(help="Folder that holds the volumes.")],
    dataset: Annotated[str | None, typer.Option(help="brats or liver; default: look.")] = None,
    modalities: Modalities = "",
    as_json: Json = False,
) -> None:
    """Report every fault of every case in one pass; exit code 3 when there is one."""
    from harness.data.check import check

    faults = check(root, dataset, tuple(filter(None, modalities.split(","))))
    if as_json:
        keys = ("code", "where", "what", "remedy")
        print(json.dumps([{key: getattr(f, key) for key in keys} for f in faults], indent=2))
    else:
        for fault in faults:
            print(fault)
        print(f"{len(faults)} faults" if faults else "no fault found")
    raise typer.Exit(3 if faults else 0)


@app.command()
def report(run_dir: RunDir, as_json: Json = False) -> None:
    """Make the table anew from the results on disk, and print it."""
    _print_table(run_dir, as_json=as_json)


@app.command()
def ui(
    run_dir: Annotated[Path, typer.Argument(help="The output folder of a run.")] = Path(
        "pfbench-runs/table5-phantom-quick"
    ),
    tracking_uri: Annotated[str, typer.Option(help="Default: the run's own store.")] = "",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open MLflow on the results of a run, on 127.0.0.1 only."""
    from harness import tracking

    raise typer.Exit(tracking.ui(tracking_uri or tracking.default_uri(run_dir), port))


@mlflow_app.command("sync")
def mlflow_sync(
    run_dir: RunDir,
    tracking_uri: Annotated[str, typer.Option(help="Default: the run's own store.")] = "",
    experiment: Annotated[str, typer.Option(help="MLflow experiment.")] = "pfbench",
) -> None:
    """Bring MLflow to the state of the run folder; doing it twice changes nothing."""
    from harness import tracking
    from harness.ledger import RunFolder

    RunFolder(run_dir).read()
    uri = tracking_uri or tracking.default_uri(run_dir)
    print(tracking.mirror(run_dir, uri, experiment))


def main() -> None:
    """Entry point: every fault a user can cause ends as one line and an exit code."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.umask(0o077)
    try:
        app()
    except PfbenchError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
