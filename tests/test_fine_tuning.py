"""Test-phase fine-tuning as a trial: it starts from a trained one and is blind to labels."""

import shutil

import numpy as np
import pandas as pd
import pytest
from helper_in_process import pfbench
from safetensors.numpy import load_file

from harness.data import cache
from harness.data.case import Volume
from harness.results.rows import rows
from harness.runs.run_folder import RunFolder
from harness.trials.task import Task
from harness.trials.trial import perform

RUN = ["--suite", "table3", "--row", "res/none", "--row", "res/tfm", "--epochs", 1,
       "--set", "phantom.cases=3", "--executor", "inline", "--no-mlflow"]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    pfbench("run", *RUN, "--out", out)
    return RunFolder(out)


def trials(folder):
    return {row.key: row.trials[0] for row in rows(folder)}


def test_the_fine_tuned_row_starts_from_the_trained_one_and_differs(finished):
    trained, tuned = trials(finished)["res/none"], trials(finished)["res/tfm"]
    assert tuned.result().base == trained.id
    assert not (tuned.path / "history.csv").exists()
    before, after = (load_file(t.path / "weights.safetensors") for t in (trained, tuned))
    assert before.keys() == after.keys()
    moved = [float(np.abs(before[key] - after[key]).max()) for key in before]
    assert 0 < max(moved) <= 1.01e-5  # Adam's first step, one test case: about the learning rate


def test_its_row_is_marked_transductive(finished):
    table = pd.read_csv(finished.path / "table.csv")
    marks = table[table["row"] == "mean"].set_index("key")["transductive"]
    assert (marks["res/none"], marks["res/tfm"]) == (False, True)
    assert "† fine-tuned on the test volumes" in (finished.path / "table.md").read_text()


def test_it_never_reads_a_test_label(finished, tmp_path):
    garbled = RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
    tuned = trials(garbled)["res/tfm"]
    before = (tuned.path / "weights.safetensors").read_bytes()
    scores = (tuned.path / "cases.csv").read_text()
    garble_test_labels(garbled)
    for name in ("result.json", "weights.safetensors", "cases.csv"):
        (tuned.path / name).unlink()
    task = Task("train", garbled.path, tuned.id, garbled.path / "cache")
    assert perform(task, lambda event: None) == "ok"
    assert (tuned.path / "cases.csv").read_text() != scores  # the labels are others indeed
    assert (tuned.path / "weights.safetensors").read_bytes() == before


def garble_test_labels(folder):
    place = folder.path / "cache"
    for case in folder.split().test:
        volume, key = folder.volume(case), folder.volume_keys().key(case)
        noise = np.random.default_rng(0).integers(0, 2, volume.label.shape, dtype=np.uint8)
        other = Volume(case, np.array(volume.image), noise, volume.spacing_mm)
        shutil.rmtree(place / key)
        cache.write(place, key, other)


def test_without_its_base_it_is_a_failed_row_with_the_reason(finished, tmp_path):
    broken = RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
    trained, tuned = trials(broken)["res/none"], trials(broken)["res/tfm"]
    (trained.path / "result.json").unlink()
    trained.write_failure("train", "nan_loss", "loss=nan")
    (tuned.path / "result.json").unlink()
    task = Task("train", broken.path, tuned.id, broken.path / "cache")
    assert perform(task, lambda event: None) == "base_failed"
    assert trained.id in tuned.result().detail


def test_the_masks_that_were_scored_are_kept(finished):
    tuned = trials(finished)["res/tfm"]
    cases = pd.read_csv(tuned.path / "cases.csv").set_index("case")
    for case in cases.index:
        volume = finished.volume(case)
        mask, truth = tuned.mask(case, volume.label.shape), volume.label > 0
        dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
        assert dice == pytest.approx(cases.loc[case, "dice"])
