"""Trials across GPUs that machines only declare: Ray places them, and their processes say where.

Two nodes of Ray on this machine, with 2 and 4 GPUs that are not there (`ray start --num-gpus`).
Who places and starts is the product's own; the trial writes down what it was given in place of
training.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import pytest
from helper_made_run import made_run, made_trial, measured, row, scored, spec
from helper_ports import free_port
from test_probe import probed

from harness.runs.run_folder import RunFolder
from harness.trials import measuring_machine
from harness.trials.gpu_sharing import CONTEXT_MIB, MARGIN, sized
from harness.trials.placement import Placement
from harness.trials.supervise import supervise
from harness.trials.task import Task
from harness.trials.workplace import Workplace
from tuning.launch import Cluster, Job, ray_cluster, run_jobs
from tuning.machines import machines

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]

TOP, TESTS = Path(__file__).parent.parent, Path(__file__).parent
NODES = (2, 4)  # GPUs
UP_S, HOLD_S = 120, 240
RAY = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block"]
RAY += ["--object-store-memory=80000000", "--num-cpus=64"]


class Given(NamedTuple):
    """What one process of a trial was given, and when it had it."""

    node: str
    visible: str
    began: float
    ended: float

    @property
    def gpu(self):
        return self.node, self.visible

    def meets(self, other):
        return self.began < other.ended and other.began < self.ended


def record(arguments):
    """In place of a trial: hold what it was given until enough others have begun, and note it."""
    task = Task.from_arguments(arguments)
    how = json.loads((task.run / "how.json").read_text())
    dies = task.trial in how["dies"]
    began = time.time()
    begun = task.run / "begun"
    begun.mkdir(exist_ok=True)
    (begun / f"{task.trial}-{os.getpid()}").touch()
    while not dies and len([*begun.iterdir()]) < how["until"] and time.time() - began < HOLD_S:
        time.sleep(0.05)
    time.sleep(how["seconds"])
    given = (task.node, os.environ.get("CUDA_VISIBLE_DEVICES", ""), began, time.time())
    with open(task.folder.path / "given.json", "a", encoding="utf-8") as file:
        file.write(json.dumps(given) + "\n")
    if dies:
        os._exit(3)
    if task.action == "measure":
        measured().write(task.folder.measurement_file)
    print(json.dumps({"event": "end", "reason": "ok"}), flush=True)
    return 0


@contextlib.contextmanager
def node(folder, number, gpus, *role):
    """A node of Ray with so many GPUs of its own, by its name."""
    log = folder / f"node-{number}.log"
    command = [*RAY, *role, f"--num-gpus={gpus}", f"--node-name=node-{number}",
               "--node-ip-address=127.0.0.1"]  # fmt: skip
    with open(log, "wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
    try:
        deadline = time.monotonic() + UP_S
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nodes")
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        del os.environ[name]
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token",
                   "RAY_AUTH_TOKEN_PATH": str(token), "PYTHONPATH": f"{TOP}:{TESTS}"}  # fmt: skip
    address = f"127.0.0.1:{free_port()}"
    port = address.rpartition(":")[2]
    head = ("--head", f"--port={port}", "--include-dashboard=false")
    with (
        node(folder, 1, NODES[0], *head),
        node(folder, 2, NODES[1], f"--address={address}"),
        ray_cluster(Cluster(address)),
    ):
        yield Cluster(address)


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path)


def done(run, cluster, count, gpus, *, until, seconds=0.2, dies=(), cpus=1.0, only=None):
    """What the trials were given, by trial; those in `dies` end without a word.

    Each holds it until so many processes have begun, and then for some seconds.
    """
    names = [f"trial-{number:02}" for number in range(count)]
    how = {"until": until, "seconds": seconds, "dies": [names[number] for number in dies]}
    (run.path / "how.json").write_text(json.dumps(how))
    for name in names:
        run.trial(name).path.mkdir(parents=True)
    jobs = [Job(name, Task("train", run.path, name, run.path), cpus, gpus) for name in names]
    work = partial(supervise, function="test_declared_gpus:record")
    outcomes = run_jobs(jobs, work, cluster, lambda *_: None, only)
    return {name: given(run, name) for name in names}, outcomes


def given(run, name):
    """What each process of the trial was given: one, or as many as were tried."""
    text = (run.trial(name).path / "given.json").read_text(encoding="utf-8")
    return [Given(*json.loads(line)) for line in text.splitlines()]


def first(found):
    return [processes[0] for processes in found.values()]


def most_at_once(found):
    """GPU -> how many trials had it at the same moment, at most."""
    held = defaultdict(list)
    for each in found:
        held[each.gpu].append(each)
    return {
        gpu: max(sum(one.began <= at.began < one.ended for one in trials) for at in trials)
        for gpu, trials in held.items()
    }


def test_four_whole_trials_have_four_gpus_to_themselves(run, cluster):
    found, outcomes = done(run, cluster, 4, 1.0, until=4)
    assert {outcome["reason"] for outcome in outcomes.values()} == {"ok"}
    assert all(one.meets(other) for one, other in combinations(first(found), 2))
    assert len({each.gpu for each in first(found)}) == 4


def test_the_process_of_a_trial_sees_one_gpu_which_torch_counts_as_the_first(run, cluster):
    found, _ = done(run, cluster, 6, 1.0, until=6)
    counts = dict(zip(("node-1", "node-2"), NODES, strict=True))
    expected = {(name, str(gpu)) for name, count in counts.items() for gpu in range(count)}
    assert {each.gpu for each in first(found)} == expected


def test_halves_share_a_gpu_and_never_lie_on_two(run, cluster):
    found, _ = done(run, cluster, 12, 0.5, until=12)
    assert all("," not in each.visible for each in first(found))
    assert Counter(most_at_once(first(found)).values()) == {2: sum(NODES)}


def test_auto_packs_as_many_trials_on_a_gpu_as_the_probed_memory_holds(run, cluster):
    device_mib = 80 * 1024
    peak_mib = (device_mib / 3 - CONTEXT_MIB) / MARGIN - 1  # three fit, four do not
    placement = Placement("ray", "cuda", 3, 1, None, cluster.address, 60, False, "gpus and cpus")
    cpus, gpus = sized(placement, {"a": probed(peak_mib, device_mib)}).size_of("a")
    [four] = [machine for machine in machines() if machine.gpus == 4]
    found, _ = done(run, cluster, 12, gpus, until=12, cpus=cpus, only=four)
    assert most_at_once(first(found)) == {("node-2", str(gpu)): 3 for gpu in range(4)}


def test_a_trial_that_dies_frees_its_gpu_for_the_next(run, cluster):
    found, outcomes = done(run, cluster, 7, 1.0, until=8, dies=(0,))  # one begins twice
    assert [outcomes[name]["reason"] for name in found] == ["crash"] + ["ok"] * 6
    [*dead], [*others], [next_one] = (
        found["trial-00"],
        (found[f"trial-{number:02}"][0] for number in range(1, 6)),
        found["trial-06"],
    )
    assert len(dead) == 2, "a trial that died is tried once more"
    assert next_one.gpu == dead[-1].gpu
    assert dead[-1].ended <= next_one.began < min(each.ended for each in others)


@pytest.fixture
def measured_trials(cluster, tmp_path, monkeypatch):
    """What three trials were given in the phase that measures, of a run with half a GPU each."""
    folder = RunFolder(tmp_path / "run")
    trials = [made_trial(folder, spec("unet3d", seed), result=scored()) for seed in range(3)]
    made_run(folder.path, {"table5": [row(trials)]})
    names = [trial.id for trial in trials]
    how = {"until": 0, "seconds": 1, "dies": []}
    (folder.path / "how.json").write_text(json.dumps(how))
    recorded = partial(supervise, function="test_declared_gpus:record")
    monkeypatch.setattr(measuring_machine, "supervise", recorded)
    # torch would be asked for the name of a GPU that is not there.
    kinds = {"node-1": ("a GPU", 1), "node-2": ("a GPU", 2)}
    monkeypatch.setattr(
        measuring_machine, "_kinds", lambda found, gpu: {each: kinds[each.name] for each in found}
    )
    placement = Placement("ray", "cuda", 1, 0.5, None, cluster.address, 60)
    workplace = Workplace(folder, tmp_path / "cache", placement, lambda *_: None)
    measuring_machine.on_one_machine(workplace, "measure", lambda: names, lambda *_: None)
    return [each for name in names for each in given(folder, name)]


def test_the_phase_that_measures_has_a_whole_gpu_alone_on_one_machine(measured_trials):
    assert len(measured_trials) == 3
    assert len({each.node for each in measured_trials}) == 1
    assert all(each.visible.isdigit() for each in measured_trials)
    assert not any(one.meets(other) for one, other in combinations(measured_trials, 2))


def test_64_trials_keep_4_gpus_busy(run, cluster):
    [four] = [machine for machine in machines() if machine.gpus == 4]
    found, _ = done(run, cluster, 64, 1.0, until=0, seconds=10, only=four)
    held = first(found)
    span = max(each.ended for each in held) - min(each.began for each in held)
    idle = 1 - sum(each.ended - each.began for each in held) / (4 * span)
    print(f"64 trials of 10 s on 4 GPUs: {span:.1f} s, idle {idle:.1%}")
    assert most_at_once(held) == {("node-2", str(gpu)): 1 for gpu in range(4)}
    assert idle <= 0.03
