"""`pfbench mlflow sync --log-model`: trained systems as models that MLflow can serve."""

import os
import shutil
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import harness
from harness.data.regions import drawing_order
from harness.errors import PfbenchError, UsageError
from harness.runs.records import Scored
from harness.runs.run_folder import RunFolder
from harness.runs.spec import TrialSpec
from harness.tracking import mirror as tracking
from harness.trials import network as trained

TAG = "pfbench.model_uri"
PACKAGES = ("harness", "models", "baselines")
NEEDED = (
    "mlflow",
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "pydantic",
    "PyYAML",
    "safetensors",
    "nibabel",
    "scikit-image",
    "psutil",
)


def log_models(run_dir: Path, uri: str, experiment: str) -> list[str]:
    """Log the model of every finished trial that has none in MLflow yet; returns their addresses.

    `tracking.mirror` comes first: a model belongs to the run of its trial. Raises StateError for
    weights that cannot be used, TrackingError where MLflow does not take a model.
    """
    os.environ |= tracking.QUIET
    from harness.tracking.faults import told

    try:
        return _log_all(RunFolder(run_dir), uri, experiment)
    except PfbenchError:
        raise
    except Exception as error:  # whatever MLflow or its stores raise
        again = f"{tracking.sync_command(run_dir, uri, experiment)} --log-model"
        raise told(error, uri, again) from error


def _log_all(folder: RunFolder, uri: str, experiment: str) -> list[str]:
    import mlflow

    from harness.tracking.store import MlflowStore

    mlflow.set_tracking_uri(uri)
    store = MlflowStore(folder, uri, experiment, restore=False)
    mlflow.set_experiment(experiment_id=store.experiment)
    logged = []
    for trial, stored in store.children.items():
        spec = folder.trial(trial).spec()
        if spec.test or spec.given:
            continue  # the network of another trial, scored on other data; or none at all
        if stored.status == "FINISHED" and TAG not in stored.tags:
            logged.append(_log(folder, trial, stored.run_id))
            store.client.set_tag(stored.run_id, TAG, logged[-1])
    return logged


def _log(folder: RunFolder, trial: str, run_id: str) -> str:
    """One trial's model, whose weights were found to fit; returns its address "models:/…"."""
    import mlflow.pyfunc
    from mlflow.models import Model

    spec, _ = trained.as_scored(folder.path, trial, "cpu")
    _refuse_undrawable(spec)
    files = folder.trial(trial)
    result = files.result()
    assert isinstance(result, Scored)  # its weights were found to fit
    top = Path(harness.__file__).parent.parent
    with TemporaryDirectory(prefix="pfbench-") as staged:  # MLflow notes where files came from
        info = Model.log(
            artifact_path=None,
            name=f"{spec.system}_seed_{spec.seed}",
            flavor=mlflow.pyfunc,
            run_id=run_id,
            python_model=str(Path(__file__).with_name("servable.py")),
            artifacts={
                "spec": shutil.copy(files.spec_file, staged),
                "weights": shutil.copy(files.weights_file, staged),
            },
            model_config={"sha256": result.sha256[files.weights_file.name]},
            code_paths=[str(top / package) for package in PACKAGES],
            pip_requirements=requirements(),
            signature=_signature(),
        )
    return info.model_uri


def _refuse_undrawable(spec: TrialSpec) -> None:
    """Raise UsageError for targets that no label map shows, which is what a model answers with."""
    try:
        drawing_order(spec.data.labels)
    except UsageError as error:
        remedy = "leave it out; pfbench predict --separate writes a mask of each target"
        raise UsageError(error.what, where="--log-model", remedy=remedy, code="PFB-C02") from None


def requirements() -> list[str]:
    """The packages that a server of the model installs, in the versions that trained the model.

    Without the build a version is of, as in "2.13.0+cpu": no index has those under that name.
    """
    return [f"{name}=={version(name).partition('+')[0]}" for name in NEEDED]


def _signature() -> Any:
    """The model's signature: a scan (C, D, H, W) and the size of its voxels -> a mask (D, H, W)."""
    from mlflow.models import ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

    scan = TensorSpec(np.dtype(np.float32), (-1, -1, -1, -1))
    mask = TensorSpec(np.dtype(np.uint8), (-1, -1, -1))
    spacing = ParamSpec("spacing_mm", DataType.double, [1.0, 1.0, 1.0], shape=(-1,))
    return ModelSignature(Schema([scan]), Schema([mask]), ParamSchema([spacing]))
