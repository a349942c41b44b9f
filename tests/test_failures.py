"""Trials that fail are rows with a reason and no numbers; the others do not notice."""

import pandas as pd
import psutil
import pytest
from helper_failing import MIB
from helper_forked import trials

from harness.runs.records import Failed

FAILING = "helper_failing:pfbench"
TINY = ["run", "--suite", "table5", "--epochs", "1", "--set", "phantom.cases=3",
        "--measure-repeats", "1", "--no-mlflow"]  # fmt: skip
NUMBERS = ["dice_mean", "hd95_mean", "jaccard_mean", "time_s_p50", "infer_peak_mib"]
RAISED = {
    "unet3d": ("cuda_oom", "out of GPU memory"),
    "vnet": ("host_oom", "out of host memory"),
    "san": ("nan_loss", "loss=nan"),
    "resunet3d": ("error", "Unpicklable: no such thing"),
}
AS_TRAINED = "pfseg as trained"  # no row of the table: the one it has is of what fine-tunes it
DIED = {
    AS_TRAINED: ("crash", "ended with exit code 3 and no word"),
    "hdresunet": ("crash", "was killed by SIGSEGV"),
    "point_unet": ("timeout", "no report for 60 s"),
    "pfseg": ("base_failed", "that it fine-tunes"),
}


def only(*models):
    return [word for model in models for word in ("--model", model)]


@pytest.fixture(scope="module")
def alone(fork_server, tmp_path_factory):
    """The scores of the network that does not fail, run by itself."""
    out = tmp_path_factory.mktemp("alone") / "out"
    command = [*TINY, *only("resunet3d_up"), "--executor", "inline", "--out", out]
    ended = fork_server(FAILING, *command)
    assert "exit code 0" in ended.how, ended
    return scores(out)


def scores(out):
    [trial] = [trial for trial in trials(out) if trial.spec().system == "resunet3d_up"]
    return (trial.path / "cases.csv").read_bytes(), (
        trial.path / "masks/phantom_003.npz"
    ).read_bytes()


def name_of(trial):
    spec = trial.spec()
    return AS_TRAINED if spec.system == "pfseg" and not spec.base else spec.system


def assert_rows(out, expected):
    """One row for each, with its reason, no number, and the last word of the trial's record."""
    rows = pd.read_csv(out / "table.csv").query("row == 'trial'").set_index("model")
    failed = rows[rows["status"] == "failed"]
    shown = {name: reason for name, (reason, _) in expected.items() if name != AS_TRAINED}
    assert dict(failed["reason"]) == shown
    assert failed[NUMBERS].isna().all().all()
    for trial in trials(out):
        result, name = trial.result(), name_of(trial)
        if name in expected:
            assert isinstance(result, Failed)
            assert result.reason == expected[name][0]
            assert expected[name][1] in result.detail


def test_what_a_trial_raises_is_classified_and_the_others_go_on(fork_server, alone, tmp_path):
    out = tmp_path / "out"
    models = only(*RAISED, "resunet3d_up")
    ended = fork_server(
        "helper_failing:pfbench", *TINY, *models, "--executor", "inline", "--out", out
    )
    assert "exit code 4" in ended.how, ended
    assert "Traceback" not in ended.said
    assert_rows(out, RAISED)
    assert scores(out) == alone


@pytest.mark.long
def test_on_ray_every_way_to_fail_is_one_row(fork_server, alone, tmp_path):
    out = tmp_path / "out"
    models = only(*RAISED, *(DIED.keys() - {AS_TRAINED}), "resunet3d_up")
    ended = fork_server(
        "helper_failing:pfbench", *TINY, *models, "--stall-timeout", 60, "--out", out
    )
    assert "exit code 4" in ended.how, ended
    assert_rows(out, RAISED | DIED)
    assert scores(out) == alone
    attempts = {name_of(trial): trial.result().attempts for trial in trials(out)}
    assert attempts == {**dict.fromkeys(RAISED | DIED, 1), AS_TRAINED: 2, "hdresunet": 2,
                        "resunet3d_up": 1}  # fmt: skip
    print(f"\n8 trials failed, each in its way: {RAISED | DIED}; starts: {attempts}")


@pytest.mark.long
def test_a_trial_that_takes_all_memory_is_ended_by_ray_and_the_others_go_on(
    fork_server, alone, tmp_path
):
    out, memory = tmp_path / "out", psutil.virtual_memory()
    if memory.available < 8000 * MIB:
        pytest.skip("needs 8 GB of free memory")
    limit = (memory.total - memory.available + 3500 * MIB) / memory.total
    environment = {"GREEDY": "1", "RAY_memory_usage_threshold": f"{limit:.3f}",
                   "RAY_memory_monitor_refresh_ms": "100"}  # fmt: skip
    command = [*TINY, *only("vnet", "resunet3d_up"), "--max-concurrent", 1, "--out", out]
    ended = fork_server(FAILING, *command, environment=environment)
    assert "exit code 4" in ended.how, ended
    assert_rows(out, {"vnet": ("host_oom", "memory")})
    assert scores(out) == alone
    [killed] = [t.result() for t in trials(out) if t.spec().system == "vnet"]
    print(f"\nRay's memory monitor at {limit:.0%}: {killed}")
