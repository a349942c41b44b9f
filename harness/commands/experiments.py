"""`pfbench run` and `pfbench tune`, which train, and `pfbench plan`, which says what that takes."""

import json

import typer

from harness.commands.options import MlflowOptions, PlanOptions, RunOptions, TuneOptions
from harness.commands.signature import with_options
from harness.errors import UsageError
from harness.runs.files import JsonObject


@with_options
def run(options: RunOptions) -> None:
    """Train and score every row of a suite, and print its table.

    Running the same command again continues: finished trials are kept, interrupted ones go on
    from their last checkpoint. Suites with the same --out share their trials.

    Examples:

        pfbench run --suite table5

        pfbench run --suite table5 --dataset brats --data-root DIR --modalities flair

        pfbench run --suite table5 --dataset brats --data-root DIR --folds all --test b=OTHER

        pfbench run --suite table5 --plugin my_model.py --model my_model --model pfseg

        pfbench run --suite table5 --plugin my_model.py --model my_model --tune-lr 10
    """
    from harness.commands.requests import run_request
    from harness.experiments import run as runner
    from harness.results.folder import opened
    from harness.runs.run_folder import RunFolder
    from harness.runs.screen import Screen

    screen = Screen(quiet=options.as_json)
    with run_request(options, options.mlflow, retry_failed=options.retry_failed) as request:
        if options.dry_run:
            _refuse_unknown_rates(options)
            _print_dry_run(runner.dry_run(request, screen), options.as_json)
            return
        if options.tune_lr:
            from harness.experiments import tuned_run  # Optuna, which no other run needs

            _refuse_two_sources(options)
            request, code = tuned_run.tuned(request, options.tune_lr, screen)
            if code:
                raise typer.Exit(code)
        code = runner.run(request, screen)
    if options.as_json and (request.out / "table.csv").exists():  # stopped early, it has none
        print(opened(RunFolder(request.out)).as_json)
    raise typer.Exit(code)


def _refuse_unknown_rates(options: RunOptions) -> None:
    """Raise UsageError: a trial's id depends on the learning rate, which is yet to be found."""
    if options.tune_lr:
        what = "the trials depend on the learning rates, which are yet to be found"
        raise UsageError(what, where="--tune-lr", remedy="--dry-run without it", code="PFB-C02")


def _refuse_two_sources(options: RunOptions) -> None:
    """Raise UsageError where learning rates would come from two studies."""
    if options.tuned:
        what, remedy = "settings are found already, by --tuned", "one of the two"
        raise UsageError(what, where="--tune-lr", remedy=remedy, code="PFB-C02")


def _print_dry_run(trials: list[JsonObject], as_json: bool) -> None:
    from harness.data.wording import counted

    if as_json:
        print(json.dumps(trials, indent=2))
        return
    for trial in trials:
        print(f"{trial['trial']}  {trial['state']:<11}  {trial['name']}")
    done = sum(trial["state"] in ("ok", "failed") for trial in trials)
    print(f"{counted(len(trials), 'trial')}, {done} already done")


@with_options
def plan(options: PlanOptions) -> None:
    """Estimate time and memory of a suite from a few steps of each kind of trial.

    Takes the options of `pfbench run`. Volumes are prepared and stay in the cache, nothing else
    is left. A probe that fails is a row with a reason; the exit code is then 4.

    Examples:

        pfbench plan --suite table5

        pfbench plan --suite table5 --profile paper --limit 30 --json
    """
    from harness.commands.requests import run_request
    from harness.errors import INCOMPLETE
    from harness.experiments import estimate as forecast
    from harness.experiments.stopping import carry_on
    from harness.runs.screen import Screen

    screen = Screen(quiet=options.as_json)
    with run_request(options, MlflowOptions(enabled=False)) as request:

        def work() -> int:
            made = forecast.forecast(request, options.limit, screen)
            if options.as_json:
                print(json.dumps(made.as_json(), indent=2))
            else:
                forecast.show(made, screen)
            return INCOMPLETE if made.failed else 0

        raise typer.Exit(carry_on(work, request.command, screen))


@with_options
def tune(options: TuneOptions) -> None:
    """Search settings on validation cases; the test cases stay closed until the comparison.

    The settings as they are (the paper's 0.5/0.5/0.5) are the first point of every study. The
    same command again continues. What it finds is in OUT/best.yaml, for `pfbench run --tuned`.

    Examples:

        pfbench tune loss-weights --trials 30

        pfbench tune lr --model unet3d --model vnet --range lr=1e-4:1e-2:log

        pfbench tune loss-weights --fair-budget --model unet3d --model resunet3d
    """
    from harness.commands.requests import study_request
    from harness.experiments import tune as tuner
    from harness.results.folder import opened
    from harness.runs.run_folder import RunFolder
    from harness.runs.screen import Screen

    with study_request(options) as request:
        code = tuner.tune(request, Screen(quiet=options.as_json))
    if options.as_json:
        print(opened(RunFolder(request.out)).as_json)
    raise typer.Exit(code)
