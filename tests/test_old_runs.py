"""A run of an earlier version is read as it was written; only `run` refuses to continue it."""

import re

import pytest
from helper_in_process import pfbench
from helper_made_run import MadeRun, rewrite

from harness.runs.files import read_json, write_json
from harness.runs.spec import TrialSpec

ID = "2244f59c108df2d2"
WRITTEN = {
    "code": "0.1.0+6a06744a2b7c",
    "data": {
        "fingerprint": "6cae95a56f6bfcd5",
        "grid": [32, 64, 64],
        "modalities": ["flair"],
        "name": "phantom",
        "synthetic": True,
        "target": "wt",
    },
    "device": "cpu",
    "fold": 0,
    "options": {"width": 8},
    "plugins": [],
    "protocol": {
        "augment": True,
        "checkpointing": False,
        "epochs": 8,
        "layout": "auto",
        "learning_rate": 0.005,
        "learning_rate_floor": 1e-07,
        "plateau_divisor": 10.0,
        "plateau_epochs": 10,
        "precision": "fp32",
        "selection": "last",
        "validate_every": 1,
    },
    "schema_version": 1,
    "seed": 0,
    "split": "bffbc3c3d4e79717",
    "system": "san",
}
"""spec.json of a run at commit 2fdcd27, before windows, their place and the view were settings."""


def test_a_trial_of_before_keeps_its_id():
    assert TrialSpec.model_validate(WRITTEN).id == ID


def test_a_trial_with_a_later_setting_has_another_id():
    spec = TrialSpec.model_validate(WRITTEN)
    protocol = spec.protocol.model_copy(update={"windows_per_volume": 8})
    assert spec.model_copy(update={"protocol": protocol}).id != ID


@pytest.fixture
def old(tmp_path):
    """A run whose files have neither the settings nor the figures that came later."""
    run = MadeRun(tmp_path, rows=("resunet3d", "pfseg"))
    for trial in run.trials.values():
        content = dict(read_json(trial.spec_file))
        for name in ("windows_per_volume", "foreground_share"):
            del content["protocol"][name]
        del content["data"]["view"], content["plugins"]
        write_json(trial.spec_file, content)
    manifest = dict(read_json(run.folder.manifest_file))
    for name in ("windows_per_volume", "foreground_share"):
        del manifest["protocol"]["protocol"][name], manifest["settings"]["protocol"][name]
    del manifest["protocol"]["data"]["view"]
    write_json(run.folder.manifest_file, manifest)
    return run


@pytest.mark.parametrize("command", ["report", "compare", "claims"])
def test_an_old_run_is_read_by_every_command_that_shows_results(old, command):
    done = pfbench(command, old.path)
    assert "PFSeg" in done.out


def test_deviations_of_the_population_are_no_fault_of_an_old_run(old):
    trial = old.trials["pfseg", 0]
    result, n = trial.result(), len(old.cases)
    factor = ((n - 1) / n) ** 0.5
    metrics = {k: v * factor if k.endswith("_std") else v for k, v in result.metrics.items()}
    rewrite(trial.result_file, result, metrics=metrics)
    assert "metrics." not in pfbench("verify", old.path, expect=5).out


@pytest.mark.parametrize("command", ["report", "compare", "claims"])
def test_what_only_its_own_version_reads_is_named_and_never_to_be_removed(old, command):
    for trial in old.trials.values():
        content = dict(read_json(trial.spec_file))
        content["protocol"]["learning_rate"] *= 2  # stands for another way to make the id
        write_json(trial.spec_file, content)
    said = pfbench(command, old.path, expect=5).err
    assert "PFB-K07" in said and "the run was begun by 0.1.0+abc, this is 0.1.0+" in said
    assert "nothing has to be removed" in said and not re.search("Try: (re)?move", said)


@pytest.mark.parametrize("command", ["report", "compare", "claims"])
def test_who_wrote_the_run_is_said_first(old, command):
    said = pfbench(command, old.path).err
    assert said.startswith(f"note: {old.path} was written by 0.1.0+abc, this is 0.1.0+")


def test_verify_has_nothing_removed_of_a_run_that_another_version_began(tmp_path):
    MadeRun(tmp_path, rows=("resunet3d",), cases=3)
    remedy = pfbench("verify", tmp_path, expect=5).out.splitlines()[-1]
    assert "with 0.1.0+abc, which began it; nothing has to be removed" in remedy
