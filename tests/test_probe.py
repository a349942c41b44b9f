"""What a suite will take is known before it runs: from probes, which leave nothing behind."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from helper_in_process import contents, pfbench
from helper_made_run import MadeRun

from harness.commands.options import PlacementOptions
from harness.commands.placement import MachineSize, placement_of, share
from harness.data.split import Split
from harness.errors import UsageError
from harness.experiments import run
from harness.experiments.estimate import Forecast, Timed, estimate, makespan
from harness.runs import plugins as registry
from harness.runs.plan import Plan, PlannedRow
from harness.runs.records import Failed, Paced, ProbedInference, ProbedTraining
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen
from harness.runs.settings import PROFILES
from harness.runs.spec import Data, TrialSpec
from harness.runs.suite import Row
from harness.systems.protocol import Protocol
from harness.trials import measuring_machine as measuring
from harness.trials import probe_run as probing
from harness.trials.execute import execute
from harness.trials.gpu_sharing import CONTEXT_MIB, MARGIN, room, shown, sized, together
from harness.trials.placement import Placement
from harness.trials.probe import STEPS, how_many
from harness.trials.probe_run import PREFIX, Probe, kind_of, run_together
from harness.trials.workplace import Workplace
from tuning.machines import Machine

TOP = Path(__file__).parent.parent
TINY = ["--suite", "table5", "--set", "phantom.cases=3", "--executor", "inline"]
QUICK = ["--limit", 0.2]
GREEDY = '''
import torch
from torch import nn
from harness.plugin import Patches, System

class Greedy(nn.Module):
    """Finds no memory while it learns, and has enough while it predicts."""

    def __init__(self, modalities):
        super().__init__()
        self.layer = nn.Conv3d(modalities, 1, 1)

    def forward(self, x):
        if torch.is_grad_enabled() and x.device.type != "meta":
            raise MemoryError
        return self.layer(x)

SYSTEMS = {"greedy": System("Greedy", network=Greedy, sees=Patches)}
'''


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    registry.clear()


# The command.


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A plan of one trained system in two seeds and of one that is also fine-tuned.

    Of two others on the same cache one was killed and one still runs.
    """
    out = tmp_path_factory.mktemp("plan") / "out"
    dead, alive = (RunFolder(out / "cache" / f"{PREFIX}{name}") for name in ("dead", "alive"))
    for folder in (dead, alive):
        folder.path.mkdir(parents=True)
    with dead.lock():
        """Its lock is given back, as when a process is killed."""
    with alive.lock():
        done = pfbench("plan", *TINY, *QUICK, "--model", "resunet3d_up", "--model", "pfseg",
                       "--seeds", 2, "--json", "--out", out)  # fmt: skip
    return out, json.loads(done.out)


def test_each_kind_of_trial_is_a_row_however_many_seeds_it_has(planned):
    _, made = planned
    assert {row["name"]: row["trials"] for row in made["trials"]} == {
        "ResUNet3D↑": 2, "PFSeg w/o TPF": 2, "PFSeg": 2,
    }  # fmt: skip


def test_every_row_says_what_training_and_inference_take(planned):
    _, made = planned
    for row in made["trials"]:
        assert row["reason"] == ""
        assert row["step_s"] > 0 and row["timed_steps"] >= 1
        assert row["trial_s"] > row["train_s"] > 0
        assert row["train_peak_mib"] > 100
    shown = {row["name"]: row["inference_s"] for row in made["trials"]}
    assert min(shown["PFSeg"], shown["PFSeg w/o TPF"], shown["ResUNet3D↑"]) > 0


def test_the_totals_are_those_of_all_trials_and_of_measuring(planned):
    _, made = planned
    totals, rows = made["totals"], made["trials"]
    assert totals["unit"] == "processor hours"
    one_after_another = sum(row["trials"] * (row["trial_s"] + row["measure_s"]) for row in rows)
    assert totals["wall_s"] == pytest.approx(one_after_another)
    assert totals["device_hours"] * 3600 >= one_after_another


def test_it_leaves_prepared_volumes_and_nothing_else(planned):
    out, _ = planned
    assert [path.name for path in out.iterdir()] == ["cache"]
    volumes = [path for path in (out / "cache").iterdir() if not path.name.startswith(PREFIX)]
    assert len(volumes) == 3
    for volume in volumes:
        assert {path.name for path in volume.iterdir()} == {"image.npy", "label.npy", "meta.json"}


def test_what_a_killed_plan_left_goes_and_what_a_running_one_has_stays(planned):
    out, _ = planned
    assert [path.name for path in out.glob(f"cache/{PREFIX}*")] == [f"{PREFIX}alive"]


def test_a_run_that_is_there_is_as_it_was(tmp_path):
    MadeRun(tmp_path / "out", cases=4, rows=["resunet3d_up"])
    before = contents(tmp_path / "out")
    done = pfbench("plan", *TINY, *QUICK, "--model", "resunet3d_up", "--out", tmp_path / "out",
                   "--cache", tmp_path / "cache")  # fmt: skip
    assert contents(tmp_path / "out") == before
    for said in ("1 of 1 trials probed, one of each kind", "processor hours", "wall time"):
        assert said in done.out


@pytest.mark.long
def test_probes_run_on_ray_as_trials_do(tmp_path):
    code = "from harness.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "plan", *TINY[:-1], "ray", *map(str, QUICK), "--json",
         "--model", "resunet3d_up", "--seeds", "2", "--out", str(tmp_path)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(TOP)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [row] = json.loads(done.stdout)["trials"]
    assert (row["reason"], row["trials"]) == ("", 2)
    assert row["inference_s"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_what_runs_out_of_memory_is_a_row_with_a_reason(tmp_path):
    (tmp_path / "greedy.py").write_text(GREEDY)
    done = pfbench("plan", *TINY, *QUICK, "--plugin", tmp_path / "greedy.py", "--model", "greedy",
                   "--out", tmp_path / "out", "--json", expect=4)  # fmt: skip
    made = json.loads(done.out)
    [row] = made["trials"]
    assert row["reason"] == "host_oom" and "out of host memory" in row["detail"]
    assert row["inference_s"] > 0, "what can be probed still is"
    assert made["totals"] == {"unit": "processor hours", "device_hours": None, "wall_s": None}


# From a probe to an estimate.

TEN_CASES = Split(tuple("abcdef"), tuple("g"), tuple("hij"))
MEASURED = ProbedInference(
    status="ok", inference_s=2.0, peak_mib=100.0, device="some CPU", threads=4
)


def spec(system="unet3d", seed=0, options=None, **protocol):
    data = Data(name="phantom", modalities=("flair",), target="wt", grid=(32, 64, 64),
                fingerprint="0", synthetic=True)  # fmt: skip
    return TrialSpec(system=system, options=options or {}, protocol=Protocol(**protocol),
                     data=data, split="0", seed=seed, device="cpu", code="0")  # fmt: skip


def found(*paces):
    keys = ("steps", "step_s", "once_s", "epoch_s", "validate_s")
    return ProbedTraining(
        status="ok", build_s=1.0, count_s=0.25, segment_s=0.5,
        paces=[Paced(**dict(zip(keys, pace, strict=True))) for pace in paces],
        peak_mib=100.0, device_mib=None, device="some CPU", threads=1, precision="fp32",
        layout="channels_first",
    )  # fmt: skip


def test_an_epoch_is_a_step_for_each_training_case_and_what_it_ends_with():
    made = estimate(
        spec(epochs=10, validate_every=4), Probe(found((5, 2.0, 0.0, 0.1, 0.0)), None), TEN_CASES, 1
    )
    assert made.steps == 60
    assert made.train_s == pytest.approx(10 * (6 * 2.0 + 0.1))
    assert made.trial_s == pytest.approx(1.0 + made.train_s + 3 * 0.5 + 0.25)


def test_what_the_first_step_takes_beyond_the_others_counts_once():
    made = estimate(spec(epochs=10), Probe(found((5, 2.0, 30.0, 0.0, 0.0)), None), TEN_CASES, 1)
    assert made.train_s == 30 + 60 * 2.0


def test_the_last_epoch_is_validated_whatever_its_number():
    made = estimate(
        spec(epochs=10, validate_every=4), Probe(found((5, 0.0, 0.0, 0.0, 7.0)), None), TEN_CASES, 1
    )
    assert made.train_s == 3 * 7.0, "after epochs 4, 8 and 10"


def test_networks_that_are_trained_one_after_the_other_add_up():
    both = found((5, 1.0, 0.0, 0.0, 0.0), (5, 3.0, 0.0, 0.0, 0.0))
    made = estimate(spec(epochs=2), Probe(both, None), TEN_CASES, 1)
    assert (made.steps, made.train_s) == (24, 2 * 6 * 1.0 + 2 * 6 * 3.0)


def test_fine_tuning_is_one_epoch_over_the_test_cases():
    made = estimate(
        spec("pfseg", options={"tpf": "tfm"}),
        Probe(found((5, 2.0, 0.0, 0.0, 0.0)), None),
        TEN_CASES,
        1,
    )
    assert (made.steps, made.train_s) == (3, 6.0)


@pytest.mark.parametrize("once_s, seconds", [(2.0, 1 + 6 * 2.0), (0.1, 1 + 0.5 + 5 * 0.1)])
def test_each_process_that_measures_loads_warms_up_and_repeats_five_times(once_s, seconds):
    measured = MEASURED.model_copy(update={"inference_s": once_s})
    probe = Probe(found((5, 1.0, 0.0, 0.0, 0.0)), measured)
    assert estimate(spec(), probe, TEN_CASES, 3).measure_s == pytest.approx(3 * seconds)


def test_what_failed_has_no_estimate():
    failed = Failed(status="failed", reason="cuda_oom", detail="out of GPU memory")
    assert estimate(spec(), Probe(failed, MEASURED), TEN_CASES, 1).trial_s is None
    half = estimate(spec(), Probe(found((5, 1.0, 0.0, 0.0, 0.0)), failed), TEN_CASES, 1)
    assert half.trial_s is not None and half.measure_s is None


@pytest.mark.parametrize(
    ("jobs", "seconds"),
    [
        ([], 0),
        ([(5, 1), (7, 1)], 12),
        ([(5, 1 / 2), (7, 1 / 2), (1, 1 / 2)], 7),
        ([(5, 1 / 3)] * 4, 10),
        ([(4, 1 / 2), (4, 1 / 4), (4, 1 / 4), (4, 1)], 8),
    ],
)
def test_jobs_begin_in_order_as_soon_as_there_is_room(jobs, seconds):
    timed = [Timed(f"job{n}", *job) for n, job in enumerate(jobs)]
    assert makespan(timed) == pytest.approx(seconds)


def test_a_job_that_waits_for_another_lets_those_behind_it_go_first():
    jobs = [Timed("a", 4, 1 / 2), Timed("b", 1, 1 / 2, "a"), Timed("c", 4, 1 / 2)]
    assert makespan(jobs) == 5


def test_seeds_and_schedules_do_not_change_what_a_step_takes():
    kind = kind_of(spec())
    assert kind == kind_of(spec(seed=3)) == kind_of(spec(learning_rate=1e-3, epochs=5))
    assert kind != kind_of(spec("vnet"))
    assert kind != kind_of(spec(options={"width": 4}))
    assert kind != kind_of(spec(checkpointing=True)) != kind_of(spec(precision="bf16"))


def test_rows_with_schedules_of_their_own_share_a_probe_and_not_an_estimate():
    short, long = spec(epochs=2), spec(epochs=20)
    rows = tuple(
        PlannedRow("fig1", Row(one.id, f"{one.protocol.epochs} epochs", "unet3d"), (one,))
        for one in (short, long)
    )
    planned = Plan(PROFILES["quick"], short.data, TEN_CASES, rows, {})
    probe = Probe(found((5, 1.0, 0.0, 0.0, 0.0)), None)
    made = Forecast(planned, Placement("inline", "cpu", 1, 0, None, None, 60),
                    {short.id: probe, long.id: probe})  # fmt: skip
    assert {row["name"]: row["train_s"] for row in made.rows} == {
        "2 epochs": 12.0, "20 epochs": 120.0,
    }  # fmt: skip
    assert made.notes[0].startswith("1 of 2 trials probed")
    assert made.totals["wall_s"] == pytest.approx(132 + 2 * (1.0 + 3 * 0.5 + 0.25))
    assert made.totals["device_hours"] * 3600 == pytest.approx(made.totals["wall_s"])


def test_a_probe_has_the_company_that_its_trial_will_have():
    alike = {"a": ["a0", "a1", "a2"], "b": ["b0"]}
    assert run_together(alike, 1) == ["a0", "b0"], "each kind once"
    assert run_together(alike, 3) == ["a0", "b0", "a1"]
    assert run_together(alike, 9) == ["a0", "b0", "a1", "a2"], "there are no more"


@pytest.mark.parametrize(
    ("seconds", "steps"), [(60, 1), (10, 1), (3, 3), (0.2, 50), (0.001, STEPS), (0, STEPS)]
)
def test_as_many_steps_are_timed_as_fit_and_at_least_one(seconds, steps):
    assert how_many(seconds, 10, STEPS) == steps


# Shares of a GPU, by the memory of a probe.

GIB = 1024


def placement(gpus=1.0, packing="gpus and cpus", cpus=16.0, **changes):
    return Placement("ray", "cuda", cpus, gpus, changes.get("most"), None, 60, False, packing)


def test_peak_margin_and_context_of_all_that_share_it_fit_a_gpu():
    for peak in (300, 5000, 9000, 20_000, 39_000):
        count = together(peak, 80 * GIB, 100)
        needed = peak * MARGIN + CONTEXT_MIB
        assert count * needed <= 80 * GIB < (count + 1) * needed


def test_what_does_not_fit_gets_a_whole_gpu_and_says_so_itself():
    assert together(100 * GIB, 80 * GIB, 100) == 1


def probed(reserved_mib, device_mib):
    """What a probe of training found of a trial that takes so much of a GPU of that size."""
    return ProbedTraining(
        status="ok", build_s=1.0, count_s=1.0, segment_s=1.0, paces=[], device="a GPU", threads=1,
        peak_mib=float(reserved_mib), reserved_mib=float(reserved_mib),
        device_mib=float(device_mib), precision="fp32", layout="channels_first",
    )  # fmt: skip


def test_a_whole_number_of_trials_shares_a_gpu():
    for count in range(1, 101):
        peak = (80 * GIB / count - CONTEXT_MIB) / MARGIN
        made = sized(placement(packing="gpus"), {"trial": probed(peak, 80 * GIB + 1)})
        cpus, gpus = made.size_of("trial")
        assert Machine("", "", 1e6, 1).holds(0, gpus) == count
        assert (cpus, shown(gpus)) == (16, f"1/{count} of a GPU" if count > 1 else "a whole GPU")


def test_processors_are_shared_like_the_gpu_unless_they_were_asked_for():
    failed = Failed(status="failed", reason="cuda_oom", detail="")
    found = {"trial": probed(5000, 80 * GIB), "failed": failed}
    made = sized(placement(cpus=16.0), found)
    assert made.size_of("trial") == (1, 0.0769), "13 of them, each with a processor"
    assert made.size_of("failed") == made.size_of("another") == (16, 1)
    assert sized(placement(cpus=4.0), found).size_of("trial") == (1, 0.25), "4 have one each"
    assert sized(placement(packing="given"), found).sizes == {}


def test_shares_hold_on_the_smallest_gpu_that_a_probe_met():
    found = {"a": probed(5000, 80 * GIB), "b": probed(5000, 24 * GIB)}
    made = sized(placement(packing="gpus"), found)
    assert made.size_of("a") == made.size_of("b") == (16, 0.25)


def test_room_is_what_this_machine_holds(monkeypatch):
    monkeypatch.setattr("harness.trials.gpu_sharing.os.cpu_count", lambda: 32)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert room(placement(), (16, 1)) == 2
    assert room(placement(), (4, 0.25)) == 8
    assert room(placement(most=3), (4, 0.25)) == 3


@pytest.fixture
def gpus(monkeypatch):
    """A machine with two GPUs, as far as options can tell."""
    monkeypatch.setattr("harness.commands.placement._visible_gpus", lambda: 2)
    monkeypatch.setattr("harness.commands.placement.os.cpu_count", lambda: 32)


def test_auto_probes_on_whole_gpus_and_shares_what_was_not_asked_for(gpus):
    made = placement_of(PlacementOptions(device="cuda", gpus_per_trial="auto"))
    assert (made.cpus_per_trial, made.gpus_per_trial, made.packing) == (16, 1, "gpus and cpus")
    asked = placement_of(PlacementOptions(device="cuda", cpus_per_trial=4.0, gpus_per_trial="auto"))
    assert (asked.cpus_per_trial, asked.packing) == (4, "gpus")


def test_trials_that_share_a_gpu_share_its_processors(gpus):
    half = PlacementOptions(device="cuda", gpus_per_trial=0.5)
    assert placement_of(half).cpus_per_trial == 8
    assert share([MachineSize(16, 1)], "cuda", 0.3333) == 5


@pytest.mark.parametrize(
    ("device", "executor", "said"),
    [("cpu", "ray", "these trials run on the CPU"), ("cuda", "inline", "one after another")],
)
def test_auto_is_refused_where_nothing_could_share_a_gpu(gpus, device, executor, said):
    with pytest.raises(UsageError, match=said):
        placement_of(PlacementOptions(device=device, gpus_per_trial="auto"), executor)


@pytest.mark.parametrize("command", ["run", "plan"])
def test_without_a_gpu_auto_is_refused_before_anything_is_done(tmp_path, command):
    out = tmp_path / "out"
    done = pfbench(command, "--suite", "table5", "--device", "cpu", "--gpus-per-trial", "auto",
                   "--out", out, expect=2)  # fmt: skip
    assert "error[PFB-C02]: --gpus-per-trial: auto sizes shares of a GPU" in done.said
    assert not out.exists()


def test_another_word_than_auto_is_refused(tmp_path):
    done = pfbench("run", "--suite", "table5", "--gpus-per-trial", "half", "--out", tmp_path / "o",
                   expect=2)  # fmt: skip
    assert "'half' is neither a number nor auto" in done.said


def test_a_run_probes_what_is_unfinished_and_says_what_share_each_got(monkeypatch, tmp_path):
    record = probed(9000, 80 * GIB)
    asked = []

    def probe(planned, trials, *_, inference):
        asked.append((list(trials), inference))
        return {trial: Probe(record, None) for trial in trials}

    monkeypatch.setattr(probing, "probe", probe)
    asking = placement()
    screen = Screen(tmp_path / "run.log", quiet=True)
    planned = SimpleNamespace(names={"t": "UNet3D seed 0"})
    made = run.packed(asking, tmp_path, planned, ["t"], screen)
    assert asked == [(["t"], False)]
    assert made.size_of("t") == (2, 0.1428)
    assert "packing     UNet3D seed 0: 1/7 of a GPU (9,000 MiB)" in screen.log.read_text()
    assert run.packed(asking, tmp_path, planned, [], screen) is asking


def test_each_trial_is_placed_with_its_own_share_and_as_many_threads(monkeypatch, tmp_path):
    monkeypatch.setattr("harness.trials.execute.ray_cluster", lambda cluster: nullcontext())
    given = {}

    def run_jobs(jobs, work, cluster, tell):
        given.update({job.id: (job.cpus, job.gpus, job.payload.threads) for job in jobs})

    monkeypatch.setattr("tuning.launch.run_jobs", run_jobs)
    folder, small, large = RunFolder(tmp_path), spec("unet3d"), spec("pfseg")
    for one in (small, large):
        folder.trial(one.id).write_spec(one)
    packed = replace(placement(), sizes={small.id: (4, 0.25)})
    workplace = Workplace(folder, tmp_path, packed, print)
    execute(workplace, [("train", lambda: [small.id, large.id])])
    assert given == {small.id: (4, 0.25, 4), large.id: (16, 1, 16)}


@pytest.mark.parametrize("share", [0.1428, 0.5, 1.0])
def test_the_measurement_is_never_packed(monkeypatch, tmp_path, share):
    """However small the shares in training: all processors, a whole GPU, one at a time."""
    here, given = Machine("a", "here", cpus=32, gpus=2), []
    monkeypatch.setattr(measuring, "machines_for", lambda size, cluster: [here])

    def run_jobs(jobs, work, cluster, tell, only):
        given.extend(
            (job.cpus, job.gpus, cluster.max_concurrent, only, job.payload.threads) for job in jobs
        )

    monkeypatch.setattr(measuring, "run_jobs", run_jobs)
    packed = Placement("ray", "cuda", 2, share, None, None, 60, False, "gpus", {"t": (2, share)})
    folder, trial = RunFolder(tmp_path), spec("unet3d")
    folder.trial(trial.id).write_spec(trial)
    workplace = Workplace(folder, tmp_path, packed, print)
    measuring.on_one_machine(workplace, "measure", lambda: [trial.id], print)
    assert given == [(32, 1, 1, here, 32)]
