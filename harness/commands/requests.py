"""The requests of `pfbench run`, `plan` and `tune`, made from their options.

A request is made within the cluster that it names, because shares of a machine depend on it.
"""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.options import (
    CrossingOptions,
    DataOptions,
    MlflowOptions,
    SettingOptions,
    SuiteOptions,
    TuneOptions,
    one_of,
    words,
)
from harness.commands.placement import joined_cluster, placement_of
from harness.commands.plugins import use_plugins
from harness.commands.spaces import spaces_of
from harness.data.request import DataRequest
from harness.errors import UsageError
from harness.experiments import run as runner
from harness.experiments.elsewhere import asked
from harness.experiments.folds import FoldChoice
from harness.experiments.session import Mirroring
from harness.runs import suite_file
from harness.runs.redact import redact
from harness.runs.settings import Settings, resolve
from harness.runs.suites import chosen
from harness.tracking.mirror import default_uri
from tuning.search import Pruner, Sampler

if TYPE_CHECKING:
    from harness.experiments.tune import StudyRequest

RUNS = Path("pfbench-runs")


@contextmanager
def run_request(
    options: SuiteOptions, mlflow: MlflowOptions, *, retry_failed: bool = False
) -> Iterator[runner.RunRequest]:
    """The request of a run by the options, within the cluster that the options name.

    Raises UsageError for names that there are not and options that do not go together.
    """
    use_plugins(options.plugins, options.models or ())
    suite = suite_file.use(options.suite)
    profile = _profile(options.settings, options.data)
    changes = options.crossing.changes
    settings = _settings(options.settings, options.data, profile, options.tuned, changes)
    tables = chosen(suite, profile, options.models or (), options.rows or ())
    folder = options.out or RUNS / f"{suite}-{options.data.dataset}-{profile}"
    with joined_cluster(options.placement, options.executor):
        yield runner.RunRequest(
            suites=tables,
            settings=settings,
            data=_data(options.data, settings, options.crossing.names),
            seeds=options.seeds,
            placement=placement_of(options.placement, options.executor, options.measure_repeats),
            out=folder,
            cache=options.cache or folder / "cache",
            mirroring=_mirroring(mlflow, folder),
            retry_failed=retry_failed,
            tuned=None if options.tuned_elsewhere else options.tuned,
            folds=_folds(options.crossing),
            tests=asked(
                options.crossing.tests or (),
                options.crossing.test_images or (),
                options.crossing.test_labels or (),
                options.data.files.left_out(options.crossing.names),
            ),
            command=typed_command(),
        )


def _folds(options: CrossingOptions) -> FoldChoice | None:
    """The folds that were asked for; all of them where one site after the other is left out."""
    asked_for = options.folds or ("all" if options.leave_one_out else "")
    return FoldChoice.of(asked_for) if asked_for else None


@contextmanager
def study_request(options: TuneOptions) -> Iterator["StudyRequest"]:
    """The request of a study by the options, within the cluster that the options name.

    Raises UsageError for names that there are not and options that do not go together.
    """
    from harness.experiments.tune import StudyRequest  # Optuna and its forests; a run needs neither

    if options.folds:
        what = "a study searches within one fold, whose validation cases test in another"
        remedy = "a study for each fold: --set split.fold=0, and `pfbench run --tuned` with it"
        raise UsageError(what, where="--folds", remedy=remedy, code="PFB-C56")
    search, mlflow = options.search, options.mlflow
    sampler = one_of("search", search.search, Sampler)
    pruner = one_of("scheduler", search.scheduler, Pruner)
    use_plugins(options.spaces.plugins, options.spaces.models or ())
    profile = _profile(options.settings, options.data)
    settings = _settings(options.settings, options.data, profile)
    spaces = spaces_of(options.spaces, settings)
    folder = options.out or RUNS / f"tune-{options.spaces.what}-{options.data.dataset}-{profile}"
    with joined_cluster(options.placement):
        yield StudyRequest(
            spaces=spaces,
            settings=settings,
            data=_data(options.data, settings),
            points=search.trials,
            sampler=sampler,
            pruner=pruner,
            search_seed=search.search_seed,
            seeds=search.seeds,
            time_budget_s=search.time_budget,
            compare=search.compare,
            placement=placement_of(options.placement),
            out=folder,
            cache=options.cache or folder / "cache",
            mirroring=_mirroring(mlflow, folder),
            command=typed_command(),
        )


def _profile(options: SettingOptions, data: DataOptions) -> str:
    """The profile that was asked for, or the default of the data set."""
    return options.profile or ("quick" if data.dataset == "phantom" else "paper")


def _settings(
    options: SettingOptions,
    data: DataOptions,
    profile: str,
    tuned: Path | None = None,
    more: Sequence[str] = (),
) -> Settings:
    changes = [*(options.changes or ()), *data.sight.changes, *more]
    return resolve(profile, options.config, changes, options.epochs, tuned)


def _mirroring(options: MlflowOptions, folder: Path) -> Mirroring:
    uri = options.tracking_uri or (default_uri(folder) if options.enabled else "")
    return Mirroring(uri, options.experiment, options.enabled, options.required)


def _data(options: DataOptions, settings: Settings, others: Sequence[str] = ()) -> DataRequest:
    """The request for the data that train; `others` are the names of those of other origins."""
    return DataRequest(
        dataset=options.dataset,
        root=options.data_root,
        modalities=words(options.modalities),
        target=options.target,
        reading=settings.data,
        reduce=settings.reduce,
        cases=settings.phantom.cases,
        seed=settings.phantom.seed,
        scored_on=settings.protocol.scored_on,
        **options.files.fields_beside(others),
    )


def typed_command() -> str:
    """The command as typed, without the credentials that a tracking URI may hold."""
    return shlex.join(["pfbench", *(redact(word) for word in sys.argv[1:])])
