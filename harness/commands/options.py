"""The options of the commands: a dataclass for each group that belongs together, one for each
command with many options, and names for those that single commands share.

    RunOptions, PlanOptions ─► SuiteOptions ─┬─► DataOptions, SettingOptions, PlacementOptions
    RunOptions, TuneOptions ─► MlflowOptions │
    TuneOptions ─────────────────────────────┘

The order of the fields is that of `--help`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from harness.commands import completion
from harness.errors import unknown


def _gpus(text: str) -> float | Literal["auto"]:
    """The number or word of --gpus-per-trial: "0.5" -> 0.5, "auto" -> "auto"."""
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"'{text}' is neither a number nor auto") from None


DataRoot = Annotated[Path | None, typer.Option(help="Folder that holds the volumes.")]
Modalities = Annotated[
    str, typer.Option(help="Comma-separated, for example flair,t1ce. Default: the data set's.")
]
Profile = Annotated[
    str,
    typer.Option(
        help="quick (to try out), small (its networks, trained to the end) or paper. Default: "
        "quick for the phantom, else paper.",
        autocompletion=completion.profiles,
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting, e.g. protocol.learning_rate=3e-4."),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="Only this model; may be given several times.",
        autocompletion=completion.models,
    ),
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        help="Python file with models, metrics or data sets of your own; may be repeated. It is "
        "executed.",
    ),
]
DeviceName = Annotated[
    str, typer.Option(help="auto, cpu or cuda.", autocompletion=completion.devices)
]
Cache = Annotated[Path | None, typer.Option(help="Preprocessed volumes. Default: OUT/cache.")]
RunCache = Annotated[
    Path | None, typer.Option(help="Prepared volumes. Default: where the run left them.")
]
TrackingUri = Annotated[
    str,
    typer.Option(
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow store or server. Default: sqlite in the output folder.",
    ),
]
Experiment = Annotated[str, typer.Option(help="MLflow experiment.")]
RunDir = Annotated[Path, typer.Argument(help="The output folder that `pfbench run` printed.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


FolderRoot = Annotated[Path, typer.Argument(help="Folder that holds the volumes.")]
Looked = Annotated[
    str | None,
    typer.Option(
        help="A name of `pfbench list datasets`. Default: look which it is.",
        autocompletion=completion.folders,
    ),
]
Target = Annotated[
    str,
    typer.Option(
        help="Name or number of what is segmented: wt; several at once: wt,tc,et, or all; labels "
        "joined into one: liver+tumour.",
        autocompletion=completion.targets,
    ),
]


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """The options on a folder's files: their names, their labels' meaning, cases to leave out."""

    images: Annotated[
        list[str] | None,
        typer.Option(
            "--image",
            help="MODALITY=PATTERN, such as 't1c={case}/{case}-t1c.nii.gz'; for each modality one.",
        ),
    ] = None
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            help="PATTERN, such as '{case}/{case}-seg.nii.gz', or with {target} for a folder of "
            "masks.",
        ),
    ] = None
    edition: Annotated[
        str,
        typer.Option(help="Year of BraTS, which says what labels mean. Default: by the names."),
    ] = ""
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Leave this case out, or those in a file; may be repeated."),
    ] = None

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of `harness.data.request.DataRequest` that these options fill."""
        return self.fields_beside(())

    def fields_beside(self, others: Collection[str]) -> dict[str, Any]:
        """The same where some cases to leave out are of the data sets of other origins `others`."""
        return {
            "images": tuple(self.images or ()),
            "labels": tuple(self.labels or ()),
            "edition": self.edition,
            "exclude": self.left_out(others)[""],
        }

    def left_out(self, others: Collection[str]) -> dict[str, tuple[str, ...]]:
        """The ids of the cases to leave out: "" for the data that train, and by other origin."""
        from harness.data.exclude import by_set

        return by_set(self.exclude or (), others)


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """The options on the grid: the voxels that systems see, and targets that it loses."""

    grid: Annotated[
        str,
        typer.Option(
            help="Voxels that systems see: auto (from the training cases), paper, or D,H,W. "
            "Default: paper for phantom, brats and liver, else auto."
        ),
    ] = ""
    spacing: Annotated[
        str,
        typer.Option(help="Size of these voxels in mm: Z,Y,X. Default: from the training cases."),
    ] = ""
    drop_vanished: Annotated[
        bool,
        typer.Option(
            "--drop-vanished",
            help="Leave out cases of whose target nothing is left on the grid, and count them.",
        ),
    ] = False

    @property
    def changes(self) -> list[str]:
        """The changes of settings by these options, written as for `--set`."""
        given = {"grid": self.grid, "spacing": self.spacing}
        found = [f"data.{name}={_listed(text)}" for name, text in given.items() if text]
        return [*found, *(["data.drop_vanished=true"] if self.drop_vanished else [])]


def _listed(text: str) -> str:
    """The text as a list if it has commas, "96,160,160" -> "[96,160,160]"; else unchanged."""
    return f"[{text}]" if "," in text else text


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The options on data: the volumes that a run or study reads, and the region to segment."""

    dataset: Annotated[
        str,
        typer.Option(
            help="phantom (built in), brats, liver, lits, kits … (`pfbench list datasets`), or "
            "folder: nnU-Net's layout, Decathlon's, or --image and --label.",
            autocompletion=completion.datasets,
        ),
    ] = "phantom"
    data_root: DataRoot = None
    modalities: Modalities = ""
    target: Target = ""
    files: FileOptions = FileOptions()
    sight: GridOptions = GridOptions()


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """The options of `pfbench data check`."""

    root: FolderRoot
    dataset: Looked = None
    modalities: Modalities = ""
    target: Target = ""
    files: FileOptions = FileOptions()
    sight: GridOptions = GridOptions()
    profile: Annotated[
        str,
        typer.Option(help="The grid of paper or quick.", autocompletion=completion.profiles),
    ] = "paper"
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting of the data, e.g. data.intensity=robust."),
    ] = None
    plugins: Plugins = None
    as_json: Json = False


@dataclass(frozen=True, kw_only=True)
class DescribeOptions:
    """The options of `pfbench data describe`."""

    root: FolderRoot
    dataset: Looked = None
    modalities: Modalities = ""
    target: Target = ""
    files: FileOptions = FileOptions()
    sight: GridOptions = GridOptions()
    group: Annotated[
        str,
        typer.Option(help="Whose a case is: a pattern such as '{patient}_*', or a CSV."),
    ] = ""
    profile: Annotated[
        str,
        typer.Option(help="The grid of paper or quick.", autocompletion=completion.profiles),
    ] = "paper"
    html: Annotated[
        Path | None, typer.Option(help="Write a page with pictures, such as data.html.")
    ] = None
    plugins: Plugins = None
    as_json: Json = False


@dataclass(frozen=True, kw_only=True)
class SettingOptions:
    """The options on settings: the profile, and changes of its settings."""

    profile: Profile = ""
    epochs: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="At most; default: the profile's.")
    ] = None
    changes: Changes = None
    config: Annotated[Path | None, typer.Option(help="YAML file with settings.")] = None


@dataclass(frozen=True, kw_only=True)
class PlacementOptions:
    """The options on placement: where trials run, how many at once, how long one may be silent."""

    device: DeviceName = "auto"
    cpus_per_trial: Annotated[float | None, typer.Option(help="Processors of a trial.")] = None
    gpus_per_trial: Annotated[
        float | Literal["auto"] | None,
        typer.Option(
            parser=_gpus,
            metavar="FLOAT|auto",
            help="GPUs of a trial; fractions share one. auto: by the memory that each takes.",
        ),
    ] = None
    max_concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at the same time, at most.")
    ] = None
    address: Annotated[
        str | None,
        typer.Option(help="A Ray cluster that this machine has joined, e.g. 10.0.0.1:6379."),
    ] = None
    autoscale: Annotated[
        bool,
        typer.Option("--autoscale", help="The cluster grows on demand: ask for machines, wait."),
    ] = False
    stall_timeout: Annotated[
        float, typer.Option(min=1, help="End a trial that is silent for so many seconds.")
    ] = 7200


@dataclass(frozen=True, kw_only=True)
class MlflowOptions:
    """The options on MLflow: whether, where and how strictly results are mirrored."""

    tracking_uri: TrackingUri = ""
    experiment: Experiment = "pfbench"
    enabled: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Log to MLflow.")] = True
    required: Annotated[
        bool,
        typer.Option(
            "--mlflow-required",
            help="End with exit code 8 where MLflow cannot be written, before anything is trained.",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class CrossingOptions:
    """The options on tests beyond one split: folds, sites, and data of other origins."""

    folds: Annotated[
        str,
        typer.Option(
            help="Cross-validation, in which each case tests once: all, a number of folds such as "
            "10, or a list such as 0,2."
        ),
    ] = ""
    leave_one_out: Annotated[
        str,
        typer.Option(
            help="site: a fold for each site, which tests while the others train; the sites stand "
            "in the CSV of split.group.",
        ),
    ] = ""
    tests: Annotated[
        list[str] | None,
        typer.Option(
            "--test",
            help="NAME=DIR: score the trained networks on the data in DIR, too; may be repeated. "
            "--exclude NAME:CASE leaves a case of it out.",
        ),
    ] = None
    test_images: Annotated[
        list[str] | None,
        typer.Option("--test-image", help="NAME:MODALITY=PATTERN, where its files differ."),
    ] = None
    test_labels: Annotated[
        list[str] | None,
        typer.Option("--test-label", help="NAME:PATTERN, where its files differ."),
    ] = None

    @property
    def names(self) -> list[str]:
        """The names of the data sets of other origins."""
        return [text.partition("=")[0] for text in self.tests or ()]

    @property
    def changes(self) -> list[str]:
        """The changes of settings by these options, written as for `--set`."""
        if self.leave_one_out:
            one_of("leave-one-out", self.leave_one_out, Literal["site"])
        return ["split.kind=site"] if self.leave_one_out else []


@dataclass(frozen=True, kw_only=True)
class SuiteOptions:
    """The options on a suite's trials: which trials there are, and how they are carried out."""

    suite: Annotated[
        str,
        typer.Option(
            help="A table or figure of the paper (`pfbench list suites`), all, or a YAML file.",
            autocompletion=completion.suites,
        ),
    ]
    data: DataOptions = DataOptions()
    models: Models = None
    plugins: Plugins = None
    rows: Annotated[
        list[str] | None,
        typer.Option(
            "--row",
            help="Only this row, by its key in `pfbench list rows`; may be repeated.",
            autocompletion=completion.rows,
        ),
    ] = None
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Trials of each row.")] = 1
    crossing: CrossingOptions = CrossingOptions()
    settings: SettingOptions = SettingOptions()
    tuned: Annotated[
        Path | None, typer.Option(help="The best.yaml of `pfbench tune`: use what it found.")
    ] = None
    tuned_elsewhere: Annotated[
        bool,
        typer.Option(
            "--tuned-elsewhere",
            help="Take what --tuned has found although it was on another split.",
        ),
    ] = False
    measure_repeats: Annotated[
        int,
        typer.Option(min=1, max=100, help="Processes that time each trial, one after another."),
    ] = 3
    placement: PlacementOptions = PlacementOptions()
    executor: Annotated[
        str,
        typer.Option(
            help="ray, or inline: one after another in this process.",
            autocompletion=completion.executors,
        ),
    ] = "ray"
    out: Annotated[
        Path | None,
        typer.Option(help="Output folder. Default: pfbench-runs/SUITE-DATASET-PROFILE."),
    ] = None
    cache: Cache = None


@dataclass(frozen=True, kw_only=True)
class RunOptions(SuiteOptions):
    """The options of `pfbench run`."""

    mlflow: MlflowOptions = MlflowOptions()
    tune_lr: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=1000,
            help="First search the learning rate of every system, ours included, with so many "
            "points each, on validation cases; then train with what was found.",
        ),
    ] = None
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run trials again that failed before.")
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the trials and what is already done.")
    ] = False
    as_json: Json = False


@dataclass(frozen=True, kw_only=True)
class PlanOptions(SuiteOptions):
    """The options of `pfbench plan`."""

    limit: Annotated[
        float,
        typer.Option(min=0.1, help="Seconds of steps that are timed of each kind of trial."),
    ] = 10
    as_json: Json = False


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """The options on a search: how a study goes through its space."""

    trials: Annotated[int, typer.Option(min=1, max=100_000, help="Points of each study.")] = 20
    search: Annotated[
        str,
        typer.Option(help="optuna (TPE), random or grid.", autocompletion=completion.samplers),
    ] = "optuna"
    scheduler: Annotated[
        str,
        typer.Option(
            help="asha (stops poor points early) or none.", autocompletion=completion.schedulers
        ),
    ] = "asha"
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings of each point.")] = 1
    search_seed: Annotated[int, typer.Option(min=0, help="Of the search itself.")] = 0
    time_budget: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds after which a study starts no further point."),
    ] = None
    compare: Annotated[
        bool,
        typer.Option(
            "--compare/--no-compare",
            help="At the end, score the default and the best on the test cases.",
        ),
    ] = True


@dataclass(frozen=True, kw_only=True)
class SpaceOptions:
    """The options on spaces: the numbers of the systems to search, in one study or several."""

    what: Annotated[
        str,
        typer.Argument(
            help="loss-weights, lr, or space (with --space).", autocompletion=completion.studies
        ),
    ]
    models: Models = None
    plugins: Plugins = None
    space: Annotated[
        Path | None, typer.Option("--space", "-C", help="YAML file with a model and its ranges.")
    ] = None
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", help="NAME=LOW:HIGH, with :log or :int; may be repeated."),
    ] = None
    split_tfm: Annotated[
        bool, typer.Option("--split-tfm", help="Tune the weights of L_tel and L_ssl apart.")
    ] = False
    fair_budget: Annotated[
        bool,
        typer.Option(
            "--fair-budget",
            help="With loss-weights: as many trials for the learning rate of every baseline.",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """The options of `pfbench tune`."""

    spaces: SpaceOptions
    search: SearchOptions = SearchOptions()
    folds: Annotated[str, typer.Option(hidden=True)] = ""  # refused with the way to search in each
    data: DataOptions = DataOptions()
    settings: SettingOptions = SettingOptions()
    placement: PlacementOptions = PlacementOptions()
    out: Annotated[
        Path | None,
        typer.Option(help="Output folder. Default: pfbench-runs/tune-WHAT-DATASET-PROFILE."),
    ] = None
    cache: Cache = None
    mlflow: MlflowOptions = MlflowOptions()
    as_json: Json = False


@dataclass(frozen=True, kw_only=True)
class FiguresOptions:
    """The options of `pfbench figures`."""

    run_dir: RunDir
    suite: Annotated[
        str,
        typer.Option(
            help="Whose systems to show. Default: table5 if it was run.",
            autocompletion=completion.tables,
        ),
    ] = ""
    cases: Annotated[
        list[str] | None,
        typer.Option("--case", help="Draw this case; may be repeated. Default: by rule."),
    ] = None
    cache: RunCache = None
    mlflow: Annotated[
        bool, typer.Option("--mlflow/--no-mlflow", help="Log the pictures to MLflow.")
    ] = True
    tracking_uri: TrackingUri = ""
    experiment: Experiment = "pfbench"
    as_json: Json = False


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """The options of `pfbench predict`."""

    run_dir: RunDir
    inputs: Annotated[
        list[Path], typer.Argument(help="NIfTI files, or folders of them or of patients.")
    ]
    out: Annotated[Path, typer.Option(help="Folder for the masks.")]
    model: Annotated[
        str,
        typer.Option(
            help="Row, system or trial id. Default: the only one there is.",
            autocompletion=completion.models,
        ),
    ] = ""
    seed: Annotated[int | None, typer.Option(min=0, help="Default: the lowest.")] = None
    fold: Annotated[
        int | None,
        typer.Option(min=0, help="Of a cross-validation: one network. Default: the mean of all."),
    ] = None
    probability: Annotated[
        bool, typer.Option("--probability", help="Write the probability of each voxel, too.")
    ] = False
    separate: Annotated[
        bool,
        typer.Option(
            "--separate", help="Of several targets a file for each, in place of one label map."
        ),
    ] = False
    tpf: Annotated[
        str,
        typer.Option(
            help="Fine-tune on these volumes first: none, srt, srt+ust, srt+ust+tfm, tfm.",
            autocompletion=completion.strategies,
        ),
    ] = ""
    plugins: Plugins = None
    device: DeviceName = "auto"
    threads: Annotated[
        int,
        typer.Option(
            min=0,
            help="Processors, without a GPU. 0: as many as scored the trial, for equal masks.",
        ),
    ] = 0
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace masks.")] = False
    as_json: Json = False


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The options of `pfbench export nnunet`."""

    run_dir: RunDir
    out: Annotated[Path, typer.Argument(help="Folder to write, new or empty.")]
    number: Annotated[
        int, typer.Option(min=1, max=999, help="nnU-Net's number of the data set.")
    ] = 501
    data_root: Annotated[Path | None, typer.Option(help="Folder of the run's scans.")] = None
    files: FileOptions = FileOptions()


@dataclass(frozen=True, kw_only=True)
class RecordsOptions:
    """The options of `pfbench export records`."""

    run_dir: RunDir
    out: Annotated[Path, typer.Argument(help="Folder to write, new or empty.")]


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """The options of `pfbench score`."""

    run_dir: Annotated[
        Path | None,
        typer.Argument(help="Output folder of `pfbench run`. Without it, --truth."),
    ] = None
    predictions: Annotated[
        list[str],
        typer.Option(
            help="NAME=DIR, a folder with <case>.nii.gz for each test case; may be repeated. "
            "A NAME that comes again is another training of the same tool."
        ),
    ]
    truth: Annotated[
        Path | None,
        typer.Option(help="Folder of references, <case>.nii.gz, to score against without a run."),
    ] = None
    facts: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with what is reported of each NAME: title, time_s, memory_mib, "
            "parameters, gflops, training_s, device, reference, note."
        ),
    ] = None
    values: Annotated[
        str,
        typer.Option(
            help="Labels that the target has in the masks: 1 or 1,2; of several targets "
            "wt=1+2+3,et=3. Default: those of the data set; with --truth all above 0, and its "
            "labels, too."
        ),
    ] = ""
    suites: Annotated[
        list[str] | None,
        typer.Option(
            "--suite",
            help="Table of the run that gets the rows; may be repeated. Default: table5, or the "
            "first.",
        ),
    ] = None
    data_root: Annotated[
        Path | None,
        typer.Option(help="Folder of the run's scans, to hold the masks against their voxels."),
    ] = None
    files: FileOptions = FileOptions()
    out: Annotated[
        Path | None,
        typer.Option(help="Output folder with --truth. Default: pfbench-runs/score-NAME-NAME."),
    ] = None
    cache: RunCache = None
    mlflow: Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Log to MLflow.")] = True
    tracking_uri: TrackingUri = ""
    experiment: Experiment = "pfbench"
    as_json: Json = False


def one_of(what: str, value: str, words: Any) -> Any:
    """The value, if it is one of the words of a Literal; else UsageError with the nearest word."""
    if value not in get_args(words):
        raise unknown(what, value, get_args(words))
    return value


def words(text: str) -> tuple[str, ...]:
    """The words between commas: "flair,t1ce" -> ("flair", "t1ce")."""
    return tuple(filter(None, text.split(",")))
