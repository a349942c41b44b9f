"""Whatever is changed in a run folder is found and named; no reader ends in a traceback.

What a person might change on purpose, and where: test_verify.py.
"""

import csv
import io
import json
import random
import struct
import tracemalloc
import zipfile
from contextlib import nullcontext

import numpy as np
import pytest
from helper_changes import another, faults, leaves
from helper_in_process import pfbench
from helper_made_run import GRID, MadeRun, history, made_study, made_trial, rewrite, spec

from harness.checks.verify.folder import verify
from harness.errors import PfbenchError, StateError
from harness.report.study_files import write as study_tables
from harness.report.write import render
from harness.results import tables
from harness.results.claims.verdicts import judge
from harness.results.folder import opened
from harness.results.readable import readable
from harness.runs.files import read_json, write_json
from harness.runs.run_folder import RunFolder
from harness.runs.study_folder import propose

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
            same += np.array_equal(trial.mask("case-0000", MASK.shape), MASK)
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
        trial.mask("case-0001", (2, 2, 2))
    path.unlink()


def test_a_mask_is_not_unpacked_beyond_the_shape_that_it_has_to_have(tmp_path):
    """4 GB of zeros fit into 4 MB of a file; here 256 MiB into some 260 kB."""
    run = MadeRun(tmp_path, rows=("resunet3d",), cases=3)
    trial, case = run.trials["resunet3d", 0], run.cases[0]
    trial.write_mask(case, np.zeros((1024, 512, 512), bool))
    tracemalloc.start()
    with pytest.raises(StateError, match="has no readable mask on"):
        trial.mask(case, GRID)
    said = {fault.what for fault in verify(run.path, deep=True).faults}
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"is bool on (1024, 512, 512), not a mask on {GRID}" in said
    assert most < 64 << 20


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


OTHER = (None, {}, [], [1], "x", "", "\udc80", "\x1b[31m", -1, 0.5, 1e300, 10**30, True, "../../x")


def places(content, path=()):
    """The way to every value in a JSON object."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in pairs:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def changed_json(path, rng):
    content = json.loads(path.read_text())
    *way, last = rng.choice([*places(content)])
    inner = content
    for key in way:
        inner = inner[key]
    inner[last] = rng.choice([each for each in OTHER if each != inner[last]])
    path.write_text(json.dumps(content))
    return ".".join(map(str, (*way, last))), inner[last]


def changed_csv(path, rng):
    rows = [*csv.reader(path.read_text().splitlines())]
    row = rng.choice(rows[1:])
    place = rng.randrange(len(row))
    row[place] = rng.choice(["x", '"', "", "1e400", "-1", "nan", "\x00"])
    path.write_text("".join(",".join(each) + "\n" for each in rows))
    return place, row[place]


READERS = {
    "table": lambda folder: tables.markdown(tables.build(folder)),
    "json": lambda folder: opened(folder).as_json,
    "latex": lambda folder: render([folder], "latex", pictures=False),
    "html": lambda folder: render([folder], "html", pictures=False),
    "claims": lambda folder: judge([folder]),
    "verify": lambda folder: verify(folder.path).lines,
}


@pytest.mark.parametrize("count", [5, pytest.param(2000, marks=pytest.mark.long)])
def test_a_value_of_another_kind_ends_in_no_traceback(tmp_path, count):
    run = MadeRun(tmp_path, rows=("resunet3d", "pfseg"), cases=3)
    trial = run.trials["pfseg", 0]
    files = [run.folder.manifest_file, run.folder.split_file, run.folder.volume_keys_file,
             trial.spec_file, trial.result_file, trial.measurement_file,
             trial.history_file, trial.cases_file]  # fmt: skip
    rng, broken = random.Random(SEED), set()
    for _ in range(count):
        path = rng.choice(files)
        whole = path.read_bytes()
        how = (changed_csv if path.suffix == ".csv" else changed_json)(path, rng)
        for name, reader in READERS.items():
            try:
                folder = RunFolder(tmp_path)
                with nullcontext() if name == "verify" else readable([folder]):
                    reader(folder)
            except PfbenchError as error:
                str(error).encode()
            except Exception as error:
                broken.add(f"{name}: {path.name} {how}: {type(error).__name__} {error}")
        path.write_bytes(whole)
    assert broken == set()


@pytest.mark.parametrize("count", [8, pytest.param(None, marks=pytest.mark.long)])
def test_every_changed_value_of_every_record_is_found_by_verify(tmp_path, count):
    """But the place of the cache, which may change; the keys of volumes: test_verify.py."""
    made = MadeRun(tmp_path / "run", rows=("resunet3d", "pfseg"), cases=3)
    trial = made.trials["pfseg", 0]
    study = made_study(
        tmp_path / "study",
        {"pfseg": {"lr": 1.0}},
        spaces={"pfseg": {"lr": {"low": 1e-3, "high": 2.0, "log": False, "integer": False}}},
        lanes={"pfseg": 2},
    )
    tuned = made_trial(study, spec("pfseg"), history(3, val_dice=0.5))
    point = propose(study, "pfseg", 0, "pfseg", {"lr": 1.0}, [tuned.id])
    point.end("complete", 0.5, "ok", "")
    study_tables(study)
    of_run = (made.folder.manifest_file, made.folder.split_file, trial.spec_file,
              trial.result_file, trial.measurement_file)  # fmt: skip
    of_study = (study.manifest_file, point.path / "point.json", point.end_file)
    files = [*((made.path, each) for each in of_run), *((study.path, each) for each in of_study)]
    ways = [(*each, way) for each in files for way in leaves(json.loads(each[1].read_text()))]
    chosen = random.Random(SEED).sample(ways, count) if count else ways
    before = {folder: faults(folder) for folder in (made.path, study.path)}
    missed = []
    for folder, path, (*way, last) in chosen:
        whole = path.read_bytes()
        inner = content = json.loads(whole)
        for key in way:
            inner = inner[key]
        inner[last] = another(inner[last])
        path.write_text(json.dumps(content))
        if faults(folder) == before[folder]:
            missed.append((path.name, *way, last))
        path.write_bytes(whole)
    assert missed == []


@pytest.mark.parametrize("name", ["run.json", "cases.csv", "history.csv"])
def test_a_file_of_terabytes_without_content_is_damaged_and_not_read(tmp_path, name):
    run = MadeRun(tmp_path, rows=("resunet3d",), cases=3)
    trial = run.trials["resunet3d", 0].path
    with open(tmp_path / name if name == "run.json" else trial / name, "wb") as file:
        file.truncate(1 << 42)
    assert f"{name}: has 4,194,304 MiB" in pfbench("report", tmp_path, expect=5).err


def test_a_key_that_stands_twice_is_damage(tmp_path):
    (tmp_path / "record.json").write_text('{"dice": {"mean": 0.5, "mean": 0.9}}')
    with pytest.raises(StateError, match="has the key 'mean' twice"):
        read_json(tmp_path / "record.json")


def test_settings_of_another_kind_are_a_fault_and_no_traceback(tmp_path):
    run = MadeRun(tmp_path, rows=("resunet3d",), cases=3)
    settings = {**run.manifest.settings, "exceptions": {"pfseg": 1}}
    run.change(settings=settings)
    said = [str(fault) for fault in verify(tmp_path).faults]
    assert any("cannot be made again from the results" in each for each in said)


def test_a_protocol_of_another_kind_is_a_fault_and_no_traceback(tmp_path):
    run = MadeRun(tmp_path, rows=("resunet3d",), cases=3)
    run.change(protocol={**run.manifest.protocol, "data": []})
    said = [str(fault) for fault in verify(tmp_path).faults]
    assert any("run.json: does not fit the other records: AttributeError" in each for each in said)


def test_records_that_contradict_each_other_are_told_by_every_command(tmp_path):
    run = MadeRun(tmp_path, rows=("resunet3d", "pfseg"), cases=3)
    content = json.loads(run.folder.manifest_file.read_text())
    del content["protocol"]["data"], content["settings"]["protocol"]
    run.folder.manifest_file.write_text(json.dumps(content))
    for command in ("report", "claims"):
        said = pfbench(command, run.path, expect=5).said
        assert "PFB-K08" in said and "pfbench verify" in said
