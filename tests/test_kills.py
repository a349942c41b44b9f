"""Kills at random moments, of every part of a run on Ray; the same command finishes it.

`pytest -m long -s tests/test_kills.py` prints what was seen.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from helper_forked import assert_same, trials

from harness.runs.run_folder import RunFolder

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]

TOP = Path(__file__).parent.parent
MODELS = ["hdresunet", "resunet3d_up"]
RUN = ["run", "--suite", "table5", *(word for model in MODELS for word in ("--model", model)),
       "--epochs", "60", "--set", "phantom.cases=4"]  # fmt: skip
MARK = "PFBENCH_TEST_OF_KILLS"
ORPHANS_S = 60


class Command:
    """`pfbench ARGUMENTS`, and every process that it started."""

    def __init__(self, *arguments):
        self.mark = uuid.uuid4().hex
        self.output = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from harness.cli import main; main()", *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": str(TOP), MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def descendants(self):
        """Those that are alive, wherever they were moved to."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process):
        try:
            ours = process.environ().get(MARK) == self.mark
            return ours and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def trials(self):
        """Trial id -> its process; forked from a fork server, in the folder of its trial."""
        found = {}
        for process in self.descendants():
            try:
                parent = process.parent()
                if parent and all(
                    "harness.trials.fork_server" in p.cmdline() for p in (process, parent)
                ):
                    found[Path(process.cwd()).name] = process
            except psutil.Error:
                continue
        return found

    def named(self, name):
        [process] = [process for process in self.descendants() if process.name() == name]
        return process

    def end(self, timeout_s=300):
        """Wait for it; the exit code."""
        self.output, _ = self.process.communicate(timeout=timeout_s)
        return self.process.returncode

    @property
    def ended(self):
        """Whether it came to its end by itself, which has to be a good one."""
        code = self.process.poll()
        assert code in (None, 0), (code, self.process.stdout.read())
        return code == 0

    def kill(self):
        self.process.kill()
        self.end()

    def seconds_until_gone(self):
        """Until nothing that it started is left."""
        began = time.monotonic()
        while left := self.descendants():
            assert time.monotonic() - began < ORPHANS_S, [process.cmdline() for process in left]
            time.sleep(0.2)
        return time.monotonic() - began


@contextmanager
def pfbench(*arguments):
    command = Command(*arguments)
    try:
        yield command
    finally:
        for process in command.descendants():
            process.kill()


def until(condition, within_s=120):
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "undisturbed"
    with pfbench(*RUN, "--out", out, "--no-mlflow") as command:
        assert command.end() == 0, command.output
    return out


def name_of(trial):
    return {"hdresunet": "HDResUNet", "resunet3d_up": "ResUNet3D↑"}[trial.spec().system]


def checkpointed(trial):
    """The last epoch with a checkpoint and its sum."""
    sums = sorted(trial.checkpoints.glob("*.sha256"))
    return int(sums[-1].stem.removeprefix("epoch-")) if sums else 0


class Watch:
    """What a folder holds before a command, to be compared with what the command does to it."""

    def __init__(self, out):
        self.trials = [trial for trial in trials(out) if (trial.path / "spec.json").exists()]
        self.log = out / "run.log"
        self.read = self.log.stat().st_size if self.log.exists() else 0
        self.checkpoints = {name_of(trial): checkpointed(trial) for trial in self.trials}
        self.finished = {t.id: t.starts("train") for t in self.trials if t.result()}

    def assert_nothing_was_repeated(self):
        said = self.log.read_bytes()[self.read :].decode() if self.log.exists() else ""
        epochs = re.findall(r"(\S+) seed 0 +epoch (\d+)/", said)
        for name, had in self.checkpoints.items():
            seen = [int(epoch) for model, epoch in epochs if model == name]
            assert seen[:1] in ([], [had + 1]), (name, had, seen)
        for trial in self.trials:
            if trial.id in self.finished:
                assert trial.starts("train") == self.finished[trial.id]


def mlflow_runs(out):
    """Trial id -> how many runs MLflow has of it."""
    from harness.tracking import mirror as tracking

    os.environ |= tracking.QUIET
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking.default_uri(out))
    [experiment] = [e for e in client.search_experiments() if e.name == "pfbench"]
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    return Counter(run.data.tags.get("pfbench.trial_id", "parent") for run in runs)


@pytest.mark.parametrize("seed", range(4))
def test_five_kills_of_the_driver_change_nothing(undisturbed, tmp_path, seed):
    out, rng = tmp_path / "out", random.Random(seed)
    inside, gone = 0, []
    for number in range(5):
        watch = Watch(out)
        with pfbench(*RUN, "--out", out) as command:
            if number in (0, 2, 4):  # while a trial runs; the others at any moment
                until(lambda command=command: command.trials() or command.ended)
                time.sleep(rng.uniform(0, 3))
            else:
                time.sleep(rng.uniform(0, 15))
            inside += bool(command.trials())
            command.kill()
            gone.append(command.seconds_until_gone())
            watch.assert_nothing_was_repeated()
    watch = Watch(out)
    with pfbench(*RUN, "--out", out) as command:
        assert command.end() == 0, command.output
        gone.append(command.seconds_until_gone())
    watch.assert_nothing_was_repeated()
    assert_same(out, undisturbed)
    assert mlflow_runs(out) == {"parent": 1, **{trial.id: 1 for trial in trials(out)}}
    starts = sum(trial.starts("train") for trial in trials(out))
    print(f"\nseed {seed}: 5 kills, {inside} inside a running trial; {starts} starts of "
          f"{len(trials(out))} trials; nothing left after {max(gone):.1f} s")  # fmt: skip
    assert inside >= 2


def test_each_trial_process_killed_once_is_retried_once(undisturbed, tmp_path):
    out, killed = tmp_path / "out", set()
    with pfbench(*RUN, "--out", out, "--no-mlflow") as command:
        while command.process.poll() is None:
            for trial, process in command.trials().items():
                if trial not in killed and checkpointed(RunFolder(out).trial(trial)):
                    process.kill()
                    killed.add(trial)
            time.sleep(0.02)
        assert command.end() == 0, command.output
    assert killed == {trial.id for trial in trials(out)}
    assert [trial.result().attempts for trial in trials(out)] == [2] * len(MODELS)
    assert [trial.measurement().attempts for trial in trials(out)] == [1] * len(MODELS)
    assert command.output.count("started again, from its last checkpoint") == len(MODELS)
    assert_same(out, undisturbed)
    print(f"\n{len(killed)} trial processes killed once each: two starts of each, table the same")


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_lost_cluster_ends_the_command_with_how_to_continue(undisturbed, tmp_path, name):
    out = tmp_path / "out"
    with pfbench(*RUN, "--out", out, "--no-mlflow") as command:
        until(command.trials)
        command.named(name).kill()
        began = time.monotonic()
        assert command.end() == 6, command.output
        took = time.monotonic() - began
        gone = command.seconds_until_gone()
    assert took < 90
    assert "error[PFB-R06]" in command.output and "Traceback" not in command.output
    assert "to continue, repeat: pfbench run --suite table5" in command.output
    watch = Watch(out)
    with pfbench(*RUN, "--out", out, "--no-mlflow") as command:
        assert command.end() == 0, command.output
    watch.assert_nothing_was_repeated()
    assert_same(out, undisturbed)
    print(f"\n{name} killed: exit code 6 after {took:.0f} s, nothing left {gone:.1f} s later")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_all_of_the_terminal_ends_the_run_in_order(undisturbed, tmp_path, number, code):
    out = tmp_path / "out"
    with pfbench(*RUN, "--out", out) as command:
        until(lambda: sum(checkpointed(trial) for trial in trials(out)))
        os.killpg(command.process.pid, number)
        began = time.monotonic()
        assert command.end() == code, command.output
        took = time.monotonic() - began
        gone = command.seconds_until_gone()
    assert "to continue, repeat: pfbench run --suite table5" in command.output
    assert "Traceback" not in command.output
    assert re.search(r"incomplete: [01] of 2 trials finished", (out / "table.md").read_text())
    watch = Watch(out)
    with pfbench(*RUN, "--out", out) as command:
        assert command.end() == 0, command.output
    watch.assert_nothing_was_repeated()
    assert_same(out, undisturbed)
    print(f"\nexit code {code} after {took:.1f} s, nothing left {gone:.1f} s later")


def test_a_second_ctrl_c_ends_at_once(tmp_path):
    out = tmp_path / "out"
    with pfbench(*RUN, "--out", out) as command:
        until(lambda: sum(checkpointed(trial) for trial in trials(out)))
        os.killpg(command.process.pid, signal.SIGINT)
        time.sleep(0.3)
        began = time.monotonic()
        os.killpg(command.process.pid, signal.SIGINT)
        assert command.end() == 130, command.output
        took = time.monotonic() - began
        gone = command.seconds_until_gone()
    assert took < 3
    print(f"\nsecond Ctrl-C: exit code 130 after {took:.2f} s, nothing left {gone:.1f} s later")
