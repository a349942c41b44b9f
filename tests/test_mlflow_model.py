"""A trained system as a model of MLflow: loaded back, it says what `pfbench predict` says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helper_mirrored_run import empty_store

from harness.data.case import PAPER_GRID
from harness.data.scan_view import view_of
from harness.tracking import mirror as tracking
from harness.trials.network import as_scored

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]  # MLflow's, of many kinds

TOP = Path(__file__).parent.parent
RUN = ["run", "--suite", "table5", "--model", "resunet3d_up", "--set", "phantom.cases=3",
       "--epochs", "1", "--executor", "inline", "--measure-repeats", 1, "--no-mlflow"]  # fmt: skip
LOAD = """
import sys
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model(sys.argv[2])
for number in range(int(sys.argv[4])):
    scan = np.load(f"{sys.argv[3]}/scan{number}.npy")
    mask = model.predict(scan, params={"spacing_mm": [2.0, 1.0, 1.0]})
    np.save(f"{sys.argv[3]}/mask{number}.npy", mask)
try:
    model.predict(np.zeros((2, 8, 8, 8), np.float32))
except ValueError as error:
    print(error)
import harness
print(harness.__file__)
"""
SHAPES = [(40, 100, 90), (128, 192, 192), (155, 240, 240)]


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A run with one trained system, its store, and the address of its model."""
    out = tmp_path_factory.mktemp("model") / "out"
    code = "from harness.cli import main; main()"
    subprocess.run([sys.executable, "-c", code, *RUN, "--out", str(out)], check=True, cwd=TOP,
                   capture_output=True)  # fmt: skip
    empty_store(out / "mlflow.db")
    uri = tracking.default_uri(out)
    done = subprocess.run(
        [sys.executable, "-c", code, "mlflow", "sync", str(out), "--log-model"],
        check=True, cwd=TOP, capture_output=True, text=True,
    )  # fmt: skip
    [address] = [line.split()[1] for line in done.stdout.splitlines() if "models:/" in line]
    return out, uri, address


def test_a_model_that_was_loaded_back_predicts_scans_of_any_shape(logged, tmp_path):
    out, uri, address = logged
    rng = np.random.default_rng(0)
    scans = [rng.random((1, *shape), dtype=np.float32) for shape in SHAPES]
    for number, scan in enumerate(scans):
        np.save(tmp_path / f"scan{number}.npy", scan)
    done = subprocess.run(
        [sys.executable, "-c", LOAD, uri, address, str(tmp_path), str(len(SHAPES))],
        check=True, capture_output=True, text=True, cwd=tmp_path,
        env={**tracking.QUIET, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    refused, home = done.stdout.strip().splitlines()[-2:]
    assert refused.startswith("needs (C, D, H, W) with C = flair; got (2, 8, 8, 8)")
    assert home.startswith(str(out)), "it runs with the code that was logged with it"
    [trial] = [path.name for path in (out / "trials").iterdir()]
    spec, method = as_scored(out, trial, "cpu")
    z, y, x = (side // part for side, part in zip(PAPER_GRID, spec.data.grid, strict=True))
    for number, scan in enumerate(scans):
        field = view_of(scan, (2.0, 1.0, 1.0), spec.data.name, (z, y, x))
        expected = field.mask([method.segment(image) for image in field.images])
        mask = np.load(tmp_path / f"mask{number}.npy")
        assert mask.shape == SHAPES[number]
        np.testing.assert_array_equal(mask, expected)


def test_a_model_holds_no_pickle_and_lists_what_it_needs(logged):
    out, _, _ = logged
    [home] = [path.parent for path in (out / "mlartifacts").rglob("MLmodel")]
    files = {path.name for path in home.rglob("*") if path.is_file()}
    assert {"servable.py", "weights.safetensors", "spec.json"} <= files
    assert [name for name in files if name.endswith((".pkl", ".pt", ".pth", ".pickle"))] == []
    listed = (home / "requirements.txt").read_text().splitlines()
    assert all("==" in line and "+" not in line for line in listed)
    assert any(line.startswith("torch==") for line in listed)
    assert str(out) not in (home / "MLmodel").read_text().replace(str(out / "mlartifacts"), "")


def test_a_model_is_logged_once(logged):
    out, uri, _ = logged
    from harness.tracking.model import log_models

    assert log_models(out, uri, "pfbench") == []
