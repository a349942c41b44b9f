"""`pfbench run` and `pfbench tune`, which train, and `pfbench plan`, which says what that takes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands import completion
from harness.commands.arguments import (
    Address,
    Autoscale,
    Cache,
    Changes,
    Config,
    CpusPerTrial,
    DataRoot,
    Dataset,
    DeviceName,
    Epochs,
    Executor,
    Experiment,
    GpusPerTrial,
    Json,
    MaxConcurrent,
    Mlflow,
    MlflowRequired,
    Modalities,
    Models,
    Out,
    Plugins,
    Profile,
    Rows,
    Seeds,
    StallTimeout,
    Suite,
    Target,
    TrackingUri,
    Tuned,
    typed_command,
    use_plugins,
    words,
)
from harness.errors import UsageError, unknown

if TYPE_CHECKING:
    from harness.experiments import run as runner


def run(
    ctx: typer.Context,
    suite: Suite,
    dataset: Dataset = "phantom",
    data_root: DataRoot = None,
    modalities: Modalities = "",
    target: Target = "",
    profile: Profile = "",
    model: Models = None,
    plugin: Plugins = None,
    row: Rows = None,
    seeds: Seeds = 1,
    epochs: Epochs = None,
    change: Changes = None,
    config: Config = None,
    tuned: Tuned = None,
    device: DeviceName = "auto",
    cpus_per_trial: CpusPerTrial = None,
    gpus_per_trial: GpusPerTrial = None,
    max_concurrent: MaxConcurrent = None,
    address: Address = None,
    autoscale: Autoscale = False,
    out: Out = None,
    cache: Cache = None,
    tracking_uri: TrackingUri = "",
    experiment: Experiment = "pfbench",
    mlflow: Mlflow = True,
    mlflow_required: MlflowRequired = False,
    executor: Executor = "ray",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run trials again that failed before.")
    ] = False,
    stall_timeout: StallTimeout = 7200,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the trials and what is already done.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train and score every row of a suite, and print its table.

    Running the same command again continues: finished trials are kept, interrupted ones go on
    from their last checkpoint. Suites with the same --out share their trials.

    Examples:

        pfbench run --suite table5

        pfbench run --suite table5 --dataset brats --data-root DIR --modalities flair

        pfbench run --suite table5 --plugin my_model.py --model my_model --model pfseg
    """
    from harness.commands.results import print_table
    from harness.experiments import run as runner
    from harness.runs.screen import Screen

    request = _requested(ctx)
    screen = Screen(quiet=as_json)
    if dry_run:
        _print_dry_run(runner.dry_run(request, screen), as_json)
        return
    code = runner.run(request, screen)
    if as_json and (request.out / "table.csv").exists():  # stopped early, it has none
        print_table(request.out, as_json=True)
    raise typer.Exit(code)


def plan(
    ctx: typer.Context,
    suite: Suite,
    dataset: Dataset = "phantom",
    data_root: DataRoot = None,
    modalities: Modalities = "",
    target: Target = "",
    profile: Profile = "",
    model: Models = None,
    plugin: Plugins = None,
    row: Rows = None,
    seeds: Seeds = 1,
    epochs: Epochs = None,
    change: Changes = None,
    config: Config = None,
    tuned: Tuned = None,
    device: DeviceName = "auto",
    cpus_per_trial: CpusPerTrial = None,
    gpus_per_trial: GpusPerTrial = None,
    max_concurrent: MaxConcurrent = None,
    address: Address = None,
    autoscale: Autoscale = False,
    out: Out = None,
    cache: Cache = None,
    executor: Executor = "ray",
    stall_timeout: StallTimeout = 7200,
    limit: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds of steps that are timed of each kind of trial."),
    ] = 10,
    as_json: Json = False,
) -> None:
    """Estimate time and memory of a suite from a few steps of each kind of trial.

    Takes the options of `pfbench run`. Volumes are prepared and stay in the cache, nothing else
    is left. A probe that fails is a row with a reason; the exit code is then 4.

    Examples:

        pfbench plan --suite table5

        pfbench plan --suite table5 --profile paper --limit 30 --json
    """
    from harness.errors import FAILED_TRIALS
    from harness.experiments import estimate as forecast
    from harness.experiments.stopping import carry_on
    from harness.runs.screen import Screen

    request = _requested(ctx)
    screen = Screen(quiet=as_json)

    def work() -> int:
        made = forecast.forecast(request, limit, screen)
        if as_json:
            print(json.dumps(made.as_json(), indent=2))
        else:
            forecast.show(made, screen)
        return FAILED_TRIALS if made.failed else 0

    raise typer.Exit(carry_on(work, request.command, screen))


def _requested(ctx: typer.Context) -> "runner.RunRequest":
    """What the options of a command ask for; those that only `run` has may be missing."""
    from harness.data.datasets import Request as DataRequest
    from harness.experiments import run as runner
    from harness.experiments.placement_options import chosen_placement, refuse_address
    from harness.experiments.session import Mirroring
    from harness.runs import suite_file
    from harness.runs.settings import resolve
    from harness.runs.suites import chosen
    from harness.tracking.mirror import default_uri
    from harness.trials.placement import joined

    asked = SimpleNamespace(**ctx.params)
    use_plugins(asked.plugin, asked.model or ())
    suite = suite_file.use(asked.suite)
    profile = asked.profile or ("quick" if asked.dataset == "phantom" else "paper")
    settings = resolve(profile, asked.config, asked.change or [], asked.epochs, asked.tuned)
    folder = asked.out or Path("pfbench-runs") / f"{suite}-{asked.dataset}-{profile}"
    tables = chosen(suite, profile, asked.model or (), asked.row or ())
    refuse_address(asked.address, asked.executor, autoscale=asked.autoscale)
    ctx.with_resource(joined(asked.address))
    return runner.RunRequest(
        suites=tables,
        settings=settings,
        data=DataRequest(
            dataset=asked.dataset,
            root=asked.data_root,
            modalities=words(asked.modalities),
            target=asked.target,
            reduce=settings.reduce,
            cases=settings.phantom.cases,
            seed=settings.phantom.seed,
        ),
        seeds=asked.seeds,
        placement=chosen_placement(
            asked.executor,
            asked.device,
            asked.cpus_per_trial,
            asked.gpus_per_trial,
            asked.max_concurrent,
            asked.address,
            asked.stall_timeout,
            asked.autoscale,
        ),
        out=folder,
        cache=asked.cache or folder / "cache",
        mirroring=Mirroring(
            ctx.params.get("tracking_uri") or default_uri(folder),
            ctx.params.get("experiment", ""),
            ctx.params.get("mlflow", False),
            ctx.params.get("mlflow_required", False),
        ),
        retry_failed=ctx.params.get("retry_failed", False),
        command=typed_command(),
    )


def _print_dry_run(trials: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(trials, indent=2))
        return
    for trial in trials:
        print(f"{trial['trial']}  {trial['state']:<11}  {trial['name']}")
    done = sum(trial["state"] in ("ok", "failed") for trial in trials)
    print(f"{len(trials)} trials, {done} already done")


def tune(
    ctx: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            help="loss-weights, lr, or space (with --space).", autocompletion=completion.studies
        ),
    ],
    model: Models = None,
    plugin: Plugins = None,
    space: Annotated[
        Path | None, typer.Option("--space", "-C", help="YAML file with a model and its ranges.")
    ] = None,
    spans: Annotated[
        list[str] | None,
        typer.Option("--range", help="NAME=LOW:HIGH, with :log or :int; may be repeated."),
    ] = None,
    split_tfm: Annotated[
        bool, typer.Option("--split-tfm", help="Tune the weights of L_tel and L_ssl apart.")
    ] = False,
    fair_budget: Annotated[
        bool,
        typer.Option(
            "--fair-budget",
            help="With loss-weights: as many trials for the learning rate of every baseline.",
        ),
    ] = False,
    trials: Annotated[int, typer.Option(min=1, max=100_000, help="Points of each study.")] = 20,
    search: Annotated[
        str,
        typer.Option(help="optuna (TPE), random or grid.", autocompletion=completion.samplers),
    ] = "optuna",
    scheduler: Annotated[
        str,
        typer.Option(
            help="asha (stops poor points early) or none.", autocompletion=completion.schedulers
        ),
    ] = "asha",
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings of each point.")] = 1,
    search_seed: Annotated[int, typer.Option(min=0, help="Of the search itself.")] = 0,
    time_budget: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds after which a study starts no further point."),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare/--no-compare",
            help="At the end, score the default and the best on the test cases.",
        ),
    ] = True,
    dataset: Dataset = "phantom",
    data_root: DataRoot = None,
    modalities: Modalities = "",
    target: Target = "",
    profile: Profile = "",
    epochs: Epochs = None,
    change: Changes = None,
    config: Config = None,
    device: DeviceName = "auto",
    cpus_per_trial: CpusPerTrial = None,
    gpus_per_trial: GpusPerTrial = None,
    max_concurrent: MaxConcurrent = None,
    address: Address = None,
    autoscale: Autoscale = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Output folder. Default: pfbench-runs/tune-WHAT-DATASET-PROFILE."),
    ] = None,
    cache: Cache = None,
    tracking_uri: TrackingUri = "",
    experiment: Experiment = "pfbench",
    mlflow: Mlflow = True,
    mlflow_required: MlflowRequired = False,
    stall_timeout: StallTimeout = 7200,
    as_json: Json = False,
) -> None:
    """Search settings on validation cases; the test cases stay closed until the comparison.

    The settings as they are (the paper's 0.5/0.5/0.5) are the first point of every study. The
    same command again continues. What it finds is in OUT/best.yaml, for `pfbench run --tuned`.

    Examples:

        pfbench tune loss-weights --trials 30

        pfbench tune lr --model unet3d --model vnet --range lr=1e-4:1e-2:log

        pfbench tune loss-weights --fair-budget --model unet3d --model resunet3d
    """
    from harness.data.datasets import Request as DataRequest
    from harness.experiments import tune as tuner
    from harness.experiments.placement_options import chosen_placement, refuse_address
    from harness.experiments.session import Mirroring
    from harness.results import study as study_report
    from harness.runs.run_folder import RunFolder
    from harness.runs.screen import Screen
    from harness.runs.search_space import chosen_spaces, parse_ranges
    from harness.runs.settings import resolve
    from harness.tracking.mirror import default_uri
    from harness.trials.placement import joined

    for option, value, known in (
        ("search", search, ("optuna", "random", "grid")),
        ("scheduler", scheduler, ("asha", "none")),
    ):
        if value not in known:
            raise unknown(option, value, known)
    if what == "space" and space is None:
        raise UsageError("needs --space FILE", where="tune space", remedy="-C space.yaml")
    use_plugins(plugin, model or ())
    profile = profile or ("quick" if dataset == "phantom" else "paper")
    settings = resolve(profile, config, change or [], epochs)
    folder = out or Path("pfbench-runs") / f"tune-{what}-{dataset}-{profile}"
    refuse_address(address, "ray", autoscale=autoscale)
    ctx.with_resource(joined(address))
    request = tuner.StudyRequest(
        spaces=chosen_spaces(
            what, settings, parse_ranges(spans or []), tuple(model or ()), space,
            split_tfm=split_tfm, fair_budget=fair_budget,
        ),
        settings=settings,
        data=DataRequest(
            dataset=dataset,
            root=data_root,
            modalities=words(modalities),
            target=target,
            reduce=settings.reduce,
            cases=settings.phantom.cases,
            seed=settings.phantom.seed,
        ),
        points=trials,
        sampler=search,  # type: ignore[arg-type]
        pruner=scheduler,  # type: ignore[arg-type]
        search_seed=search_seed,
        seeds=seeds,
        time_budget_s=time_budget,
        compare=compare,
        placement=chosen_placement(
            "ray", device, cpus_per_trial, gpus_per_trial, max_concurrent, address, stall_timeout,
            autoscale,
        ),
        out=folder,
        cache=cache or folder / "cache",
        mirroring=Mirroring(
            tracking_uri or default_uri(folder), experiment, mlflow, mlflow_required
        ),
        command=typed_command(),
    )  # fmt: skip
    code = tuner.tune(request, Screen(quiet=as_json))
    if as_json:
        print(study_report.frame(RunFolder(folder)).to_json(orient="records", indent=2))
    raise typer.Exit(code)
