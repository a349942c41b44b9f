"""Whatever is changed in a run folder is found and named; no reader ends in a traceback.

What a person might change on purpose, and where: test_verify.py.
"""

import io
import json
import random
import struct
import zipfile

import numpy as np
import pytest
from helper_in_process import pfbench
from helper_made_run import MadeRun, rewrite

from harness.errors import StateError
from harness.runs.files import read_json, write_json

SEED = 0
MASK = np.random.default_rng(SEED).random((12, 14, 16)) > 0.7


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    run = MadeRun(tmp_path_factory.mktemp("run"), rows=("resunet3d",), cases=3)
    trial = run.trials["resunet3d", 0]
    trial.write_mask(run.cases[0], MASK)
    return trial


def archive(array, name="mask"):
    content = io.BytesIO()
    np.savez_compressed(content, **{name: array})
    return content.getvalue()


def spoilt(header, data=b""):
    """An archive with an array of this header."""
    content = io.BytesIO()
    text = (header + "\n").encode()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("mask.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data)
    return content.getvalue()


@pytest.mark.parametrize("flips", [500, pytest.param(10_000, marks=pytest.mark.long)])
def test_any_single_bit_of_a_mask_changes_nothing_or_is_a_damaged_mask(trial, flips):
    path = trial.mask_path("case-0000")
    whole = path.read_bytes()
    rng = random.Random(SEED)
    same = 0
    for place in (rng.randrange(8 * len(whole)) for _ in range(flips)):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            same += np.array_equal(trial.mask("case-0000"), MASK)
        except StateError as error:
            assert (error.code, error.where) == ("PFB-K08", str(path))
    path.write_bytes(whole)
    assert same < flips / 2


@pytest.mark.parametrize(
    "content",
    [
        spoilt("{'descr': '|b1', 'fortran_order': False, 'shape': (200000, 200000, 200)}"),
        spoilt("{'descr': '|b1', 'fortran_order': False, 'shape': (9, 9, 9)}", b"\0" * 10),
        spoilt("{'descr': '|b1', 'fortran_order': False, 'shape': (2, 2, 2)}", b"\0" * 9),
        spoilt("{'descr': '|b1', 'fortran_order': True, 'shape': (2, 2, 2)}", b"\0" * 8),
        spoilt("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2, 2)}", b"\0" * 64),
        spoilt("{'descr': '|b1', 'fortran_order': False, 'shape': (-2, -2, 2)}", b"\0" * 8),
        spoilt("{'descr': [" * 500),
        archive(np.zeros((2, 2))),
        archive(np.zeros((2, 2, 2), bool), "other"),
        b"",
    ],
    ids=range(10),
)
def test_a_mask_is_looked_at_before_it_is_read(trial, content):
    path = trial.mask_path("case-0001")
    path.write_bytes(content)
    with pytest.raises(StateError, match="has no readable mask"):
        trial.mask("case-0001")
    path.unlink()


def test_a_figure_that_was_changed_is_refused_by_every_reader(tmp_path):
    run = MadeRun(tmp_path, rows=("resunet3d", "pfseg"), cases=3)
    trial = run.trials["pfseg", 0]
    for path, change in (
        (trial.measurement_file, {"inference_s_p50": 0.001}),
        (trial.result_file, {"gflops_per_volume": 0.001}),
        (trial.result_file, {"seal": "0" * 64}),
    ):
        whole = path.read_bytes()
        write_json(path, {**read_json(path), **change})
        times = path == trial.measurement_file  # which compare does not show
        for command in ("report", "claims", "verify", *(() if times else ("compare",))):
            said = pfbench(command, run.path, expect=5).said
            assert f"{path.name}: was changed after it was written" in said
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["cases.csv", "history.csv"])
def test_a_file_whose_sum_does_not_hold_is_refused(tmp_path, name):
    trial = MadeRun(tmp_path, rows=("resunet3d",), cases=3).trials["resunet3d", 0]
    rewrite(trial.result_file, trial.result(), sha256=trial.sums())
    path = trial.path / name
    path.write_text(path.read_text().replace("1", "2", 1))
    with pytest.raises(StateError, match=f"{name}: is not what the trial wrote"):
        trial.scores("dice") if name == "cases.csv" else trial.history()


def test_records_of_before_have_no_seal_and_are_read(tmp_path):
    run = MadeRun(tmp_path, rows=("resunet3d",), cases=3)
    path = run.trials["resunet3d", 0].result_file
    content = json.loads(path.read_text())
    del content["seal"]
    path.write_text(json.dumps(content))
    pfbench("report", run.path)
