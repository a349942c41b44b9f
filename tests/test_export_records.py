"""The records of a run alone: its numbers are read by every command, and no voxel is in them."""

import json

import pytest
from helper_in_process import pfbench
from helper_made_run import MadeRun, rewrite

from harness.runs.records import MadeBy

PAIR = ("resunet3d", "pfseg")
HOME = "pfbench run --suite table5 --out /home/roe/runs/a"


@pytest.fixture
def run(tmp_path):
    made = MadeRun(tmp_path / "run", rows=PAIR, seeds=(0, 1))
    rows = {
        name: [
            row.model_copy(update={"made_by": [MadeBy(command=HOME, version="1")]}) for row in rows
        ]
        for name, rows in made.manifest.suites.items()
    }
    for trial in made.trials.values():
        trial.weights_file.write_bytes(b"weights")
        (trial.path / "masks").mkdir(exist_ok=True)
        (trial.path / "masks" / "case-0000.npz").write_bytes(b"voxels")
    rewrite(made.folder.manifest_file, made.manifest, command=HOME, suites=rows)
    return made


@pytest.fixture
def records(run, tmp_path):
    pfbench("export", "records", run.path, tmp_path / "records")
    return tmp_path / "records"


@pytest.mark.parametrize("command", ["compare", "claims", "report"])
def test_every_reader_finds_the_numbers_of_the_run(run, records, command):
    of_run, of_records = (
        json.loads(pfbench(command, folder, "--json").out) for folder in (run.path, records)
    )
    assert of_records and str(of_records).replace(str(records), str(run.path)) == str(of_run)


def test_a_run_is_compared_with_the_records_of_another(run, records):
    found = json.loads(pfbench("compare", records, run.path, "pfseg", "--json").out)
    assert found["pairs"] and all(pair["difference"] == 0 for pair in found["pairs"])


def test_no_voxels_and_no_network_are_in_them(run, records):
    kinds = {path.suffix for path in records.rglob("*") if path.is_file()}
    assert kinds == {".json", ".csv", ".md"}


def test_they_tell_no_place_on_the_machine(run, records):
    texts = [path.read_text() for path in records.rglob("*") if path.is_file()]
    assert any("--out a" in text for text in texts)
    assert not any("/home/roe" in text or str(run.path) in text for text in texts)


def test_a_folder_that_is_not_empty_is_left_alone(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    done = pfbench("export", "records", run.path, tmp_path / "mine", expect=2)
    assert "PFB-C05" in done.said
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
