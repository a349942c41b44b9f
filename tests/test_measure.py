"""Time and memory: of inference alone, of the program that asks, over several processes."""

import gc
import subprocess
import sys
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helper_made_run import MadeRun

from harness.data.case import Volume
from harness.runs.records import Measured, MeasuredProcess, Measuring
from harness.runs.run_folder import RunFolder
from harness.systems import catalogue as systems
from harness.systems.memory import MIB, peak_memory_mib, reset_peak
from harness.trials import trial as trials
from harness.trials.measure import REPETITIONS, alike, measure, together, warm_up
from harness.trials.task import Task

ASK = (
    "import torch; from harness.systems.memory import peak_memory_mib as peak; "
    "print(*peak({}).values())"
)
CPU = torch.device("cpu")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel does not say")
GRID = (32, 64, 64)


def volume():
    image = np.random.default_rng(0).random((1, *GRID), dtype=np.float32)
    return Volume("a", image, np.zeros(GRID, np.uint8), (1.0, 1.0, 1.0))


def built(name):
    torch.manual_seed(0)
    return systems.build(name, systems.options(name, "quick"), 1, GRID)


# --- memory -----------------------------------------------------------------------------------


def test_what_was_held_once_stays_the_peak():
    held = np.ones(300 * MIB, np.uint8)
    reached = peak_memory_mib(CPU)["peak_mib"]
    assert reached > held.size / MIB
    del held
    assert peak_memory_mib(CPU)["peak_mib"] > 0.99 * reached  # the kernel counts in batches


@LINUX
def test_the_size_of_who_started_a_program_is_not_its_peak():
    held = np.ones(800 * MIB, np.uint8)
    asked = [sys.executable, "-c", ASK.format("torch.device('cpu')")]
    top = Path(__file__).parent.parent
    done = subprocess.run(asked, cwd=top, capture_output=True, text=True, check=True)
    assert 50 < float(done.stdout) < held.size / MIB


@LINUX
def test_a_peak_that_is_reset_is_what_is_held_now():
    held = np.ones(400 * MIB, np.uint8)
    reached = peak_memory_mib(CPU)["peak_mib"]
    del held
    assert reset_peak(CPU)
    assert peak_memory_mib(CPU)["peak_mib"] < reached - 350


@LINUX
def test_the_peak_of_loading_is_not_that_of_inference():
    loading = np.ones(600 * MIB, np.uint8)
    reached = peak_memory_mib(CPU)["peak_mib"]
    del loading
    found = measure(built("resunet3d_up"), volume(), 0.0)
    assert found.peak_since_loading
    assert found.inference_peak_mib < reached - 350


def test_the_weights_of_the_srt_decoder_are_gone_while_inference_is_measured(monkeypatch):
    seen = []

    def build(spec):
        method = built("pfseg")
        seen.append(weakref.ref(method.network.srt))
        return method

    monkeypatch.setattr(trials, "build", build)
    monkeypatch.setattr(trials, "load_weights", lambda network, folder: None)
    slim = trials._for_inference(SimpleNamespace(spec=lambda: None))
    gc.collect()
    [srt] = seen
    assert srt() is None and slim.network.ust is not None


# --- time -------------------------------------------------------------------------------------


class Sleeper:
    """A method that takes a while, and remembers how often it was asked."""

    device, precision, layout = CPU, "fp32", "channels_first"

    def __init__(self, seconds):
        self.seconds, self.calls = seconds, 0

    def at(self, case):
        return self

    def segment(self, image):
        self.calls += 1
        time.sleep(self.seconds)


def test_a_fast_method_is_warmed_up_for_half_a_second():
    method, began = Sleeper(0.02), time.perf_counter()
    warm_up(method, None)
    assert 0.5 <= time.perf_counter() - began < 1 and 10 < method.calls <= 25


def test_a_slow_method_is_warmed_up_once():
    method = Sleeper(0.6)
    warm_up(method, None)
    assert method.calls == 1


def test_a_process_times_five_predictions():
    seconds = measure(Sleeper(0.01), volume(), 0.0).inference_s
    assert len(seconds) == REPETITIONS == 5 and min(seconds) >= 0.01


def test_what_is_switched_off_while_timing_stands_in_the_record():
    found = measure(Sleeper(0.001), volume(), 0.0)
    assert found.cudnn_search is False
    assert found.deterministic is torch.are_deterministic_algorithms_enabled()


# --- several processes ------------------------------------------------------------------------

PLACE = {"device": "some CPU", "threads": 2, "precision": "fp32", "layout": "channels_last"}


def process(seconds, peak=100.0, bare=50.0, **changes):
    memory = {"inference_peak_mib": peak, "bare_process_mib": bare}
    return MeasuredProcess(inference_s=seconds, **memory, **{**PLACE, **changes})


def test_processes_are_told_apart_and_taken_together():
    made = together([process([1.0, 3.0]), process([2.0, 5.0], peak=120.0), process([4.0, 6.0])])
    assert made["inference_s_by_process"] == [[1.0, 3.0], [2.0, 5.0], [4.0, 6.0]]
    assert made["inference_s"] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert made["inference_s_p50"] == 3.5
    assert made["inference_s_p90"] == pytest.approx(5.5)  # position 0.9 * 5 = 4.5
    assert made["inference_peak_mib"] == 120.0
    assert made["inference_reserved_mib"] is None


def test_particulars_of_the_first_process_are_kept():
    made = together([process([1.0, 2.0], crop_s=0.5), process([1.0, 2.0])])
    assert made["crop_s"] == 0.5


@pytest.mark.parametrize("key, other", [("device", "another CPU"), ("threads", 4)])
def test_times_of_two_machines_do_not_meet(key, other):
    here, there = process([1.0]), process([2.0], **{key: other})
    assert alike([here, there, here], here) == [here, here]


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Measures a trial in so many processes, as one of them does, without a network."""
    [folder] = MadeRun(tmp_path, cases=4, rows=["resunet3d_up"]).trials.values()
    folder.measurement_file.unlink(missing_ok=True)
    monkeypatch.setattr(trials, "_for_inference", lambda folder: built("resunet3d_up"))
    monkeypatch.setattr(RunFolder, "volumes", lambda folder, cases, cache, tested: [volume()])

    def once(processes):
        task = Task("measure", tmp_path, folder.id, tmp_path, 1, processes=processes)
        folder.begin("measure")
        trials._measure(task, lambda event: None)
        return folder

    return once


def test_a_trial_is_measured_when_the_last_process_is_done(measured):
    for _ in range(2):
        folder = measured(3)
        assert folder.measurement() is None
    record = measured(3).measurement()
    assert isinstance(record, Measured)
    assert [len(times) for times in record.inference_s_by_process] == [5, 5, 5]
    assert record.attempts == folder.starts("measure")
    assert not folder.measuring_file.exists()


def test_a_process_of_another_machine_is_measured_again(measured):
    folder = measured(2)
    [here] = folder.measured_so_far()
    there = here.model_copy(update={"device": "another CPU"})
    Measuring(processes=[there]).write(folder.measuring_file)
    assert measured(2).measurement() is None
    assert len(measured(2).measurement().inference_s_by_process) == 2


def test_the_bare_process_is_told_beside_the_peak(measured):
    record = measured(1).measurement()
    assert 50 < record.bare_process_mib <= record.inference_peak_mib
