"""Out of memory on a GPU that trials share: once more, alone, before it is a row."""

from contextlib import nullcontext

import pytest
import torch
from helper_made_run import MadeRun

import tuning.launch
from harness.runs.records import Failed
from harness.trials import execute as executing
from harness.trials.execute import execute
from harness.trials.failure import classify
from harness.trials.placement import Placement
from harness.trials.workplace import Workplace

TAKEN = "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError(TAKEN),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=["torch", "CUDA", "cuBLAS", "cuDNN"],
)
def test_whoever_says_that_the_gpu_is_full_is_heard(error):
    assert classify(error)[0] == "cuda_oom"


@pytest.mark.parametrize("said", ["CUDA error: an illegal memory access", "mat1 and mat2 shapes"])
def test_another_error_is_not_out_of_memory(said):
    assert classify(RuntimeError(said))[0] == "error"


class Cluster:
    """Stands in for Ray: a job fails for a reason unless it has a whole GPU, or always."""

    def __init__(self, folder, reason="cuda_oom", always=False):
        self.folder, self.reason, self.always = folder, reason, always
        self.rounds = []

    def run_jobs(self, jobs, work, cluster, hear):
        self.rounds.append(([job.gpus for job in jobs], cluster.max_concurrent))
        for job in jobs:
            if self.always or job.gpus < 1:
                self.folder.trial(job.id).write_failure("train", self.reason, TAKEN)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Train two trials that have so much of a GPU; the cluster, their folders and what was said."""
    written = MadeRun(tmp_path, cases=4, rows=["vnet", "unet3d"])
    trials = list(written.trials.values())
    for trial in trials:
        trial.result_file.unlink()
    said = []

    def carry_out(gpus=0.5, most=None, **how):
        cluster = Cluster(written.folder, **how)
        monkeypatch.setattr(tuning.launch, "run_jobs", cluster.run_jobs)
        monkeypatch.setattr(executing, "ray_with_imports", lambda cluster: nullcontext())
        placement = Placement("ray", "cuda", 1, gpus, most, None, 60)
        place = Workplace(written.folder, tmp_path, placement, lambda *heard: said.append(heard))
        execute(place, [("train", lambda: [trial.id for trial in trials])])
        return cluster, trials, said

    return carry_out


def test_what_fits_alone_has_not_failed(run):
    cluster, trials, said = run()
    assert cluster.rounds == [([0.5, 0.5], None), ([1.0, 1.0], 1)]
    assert [trial.result() for trial in trials] == [None, None]
    assert [event["message"] for _, event in said] == [
        "out of memory on a GPU that it shared; once more, alone"
    ] * 2


def test_what_does_not_fit_alone_is_a_row_and_the_first_try_is_kept(run):
    cluster, trials, _ = run(always=True)
    assert len(cluster.rounds) == 2
    for trial in trials:
        assert isinstance(trial.result(), Failed) and trial.result().reason == "cuda_oom"
        assert [failure.reason for failure in trial.failures()] == ["cuda_oom"]


@pytest.mark.parametrize(
    "how", [{"gpus": 1.0, "always": True}, {"most": 1}, {"reason": "nan_loss"}],
    ids=["a GPU of its own", "one at a time", "another reason"],
)  # fmt: skip
def test_what_had_no_company_or_another_fault_is_a_row_at_once(run, how):
    cluster, trials, said = run(**how)
    assert len(cluster.rounds) == 1 and said == []
    assert all(isinstance(trial.result(), Failed) for trial in trials)
