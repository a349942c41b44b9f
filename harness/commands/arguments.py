"""Arguments and options that several commands have in common."""

import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from harness.commands import completion


def _gpus(text: str) -> float | Literal["auto"]:
    """ "0.5" -> 0.5, "auto" -> "auto"."""
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"'{text}' is neither a number nor auto") from None


Suite = Annotated[
    str,
    typer.Option(
        help="A table or figure of the paper (`pfbench list suites`), all, or a YAML file.",
        autocompletion=completion.suites,
    ),
]
Rows = Annotated[
    list[str] | None,
    typer.Option(
        "--row",
        help="Only this row, by its key in `pfbench list rows`; may be repeated.",
        autocompletion=completion.rows,
    ),
]
Seeds = Annotated[int, typer.Option(min=1, max=1000, help="Trials of each row.")]
Tuned = Annotated[
    Path | None, typer.Option(help="The best.yaml of `pfbench tune`: use what it found.")
]
Out = Annotated[
    Path | None,
    typer.Option(help="Output folder. Default: pfbench-runs/SUITE-DATASET-PROFILE."),
]
Executor = Annotated[
    str,
    typer.Option(
        help="ray, or inline: one after another in this process.",
        autocompletion=completion.executors,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
Dataset = Annotated[
    str,
    typer.Option(
        help="phantom (built in), brats, liver, or folder: nnU-Net's and Decathlon's layout.",
        autocompletion=completion.datasets,
    ),
]
DataRoot = Annotated[Path | None, typer.Option(help="Folder that holds the volumes.")]
Modalities = Annotated[
    str, typer.Option(help="Comma-separated, for example flair,t1ce. Default: the data set's.")
]
Target = Annotated[
    str,
    typer.Option(
        help="BraTS region: wt, tc or et; of a folder the name or number of a label.",
        autocompletion=completion.targets,
    ),
]
Profile = Annotated[
    str,
    typer.Option(
        help="quick or paper. Default: quick for the phantom, else paper.",
        autocompletion=completion.profiles,
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
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="Only this model; may be given several times.",
        autocompletion=completion.models,
    ),
]
Epochs = Annotated[
    int | None, typer.Option(min=1, max=100_000, help="At most; default: the profile's.")
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting, e.g. protocol.learning_rate=3e-4."),
]
Config = Annotated[Path | None, typer.Option(help="YAML file with settings.")]
DeviceName = Annotated[
    str, typer.Option(help="auto, cpu or cuda.", autocompletion=completion.devices)
]
CpusPerTrial = Annotated[float | None, typer.Option(help="Processors of a trial.")]
GpusPerTrial = Annotated[
    Any,
    typer.Option(
        "--gpus-per-trial",
        parser=_gpus,
        metavar="FLOAT|auto",
        help="GPUs of a trial; fractions share one. auto: by the memory that each takes.",
    ),
]
MaxConcurrent = Annotated[int | None, typer.Option(min=1, help="Trials at the same time, at most.")]
Address = Annotated[
    str | None,
    typer.Option(help="A Ray cluster that this machine has joined, e.g. 10.0.0.1:6379."),
]
Autoscale = Annotated[
    bool, typer.Option("--autoscale", help="The cluster grows on demand: ask for machines, wait.")
]
Cache = Annotated[Path | None, typer.Option(help="Preprocessed volumes. Default: OUT/cache.")]
TrackingUri = Annotated[
    str,
    typer.Option(
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow store or server. Default: sqlite in the output folder.",
    ),
]
Experiment = Annotated[str, typer.Option(help="MLflow experiment.")]
MlflowRequired = Annotated[
    bool,
    typer.Option(
        "--mlflow-required",
        help="End with exit code 8 where MLflow cannot be written, before anything is trained.",
    ),
]
Mlflow = Annotated[bool, typer.Option("--mlflow/--no-mlflow", help="Log to MLflow.")]
StallTimeout = Annotated[
    float, typer.Option(min=1, help="End a trial that is silent for so many seconds.")
]
RunDir = Annotated[Path, typer.Argument(help="The output folder that `pfbench run` printed.")]


def use_plugins(files: list[Path] | None, models: Iterable[str] = ()) -> None:
    """Execute the plug-ins that were named, and those installed that bring one of `models`."""
    from harness.runs import plugins as registry
    from harness.systems.catalogue import SYSTEMS

    registry.add(files or [])
    registry.add_installed({name for name in models if name not in SYSTEMS})


def words(text: str) -> tuple[str, ...]:
    """ "flair,t1ce" -> ("flair", "t1ce")."""
    return tuple(filter(None, text.split(",")))


def typed_command() -> str:
    """The command as typed, without credentials that a tracking URI may hold."""
    from harness.runs.redact import redact

    return shlex.join(["pfbench", *(redact(word) for word in sys.argv[1:])])
