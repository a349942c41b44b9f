"""One driver on a folder, one process on a trial; the dead hold nothing."""

import fcntl
import os
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from helper_forked import RUN, trial_of

from harness.errors import ClusterError
from harness.runs.run_folder import RunFolder
from harness.runs.trial_folder import TrialFolder


def hold(arguments):
    """Lock a folder and say so, for as long as this process lives."""
    with RunFolder(Path(arguments[0])).lock():
        print("held", flush=True)
        time.sleep(600)


def test_a_second_driver_is_refused_by_the_name_of_the_first_until_that_is_dead(
    fork_server, tmp_path
):
    out = tmp_path / "out"
    out.mkdir()

    def second(first):
        first.output.read(4)
        with pytest.raises(ClusterError) as refused, RunFolder(out).lock():
            pass
        assert f"{out}: in use by host {socket.gethostname()}, process {first.pid}" in str(
            refused.value
        )
        assert (refused.value.code, refused.value.exit_code) == ("PFB-K10", 6)
        os.kill(first.pid, signal.SIGKILL)

    fork_server("test_locks:hold", out, meanwhile=second)
    assert "process" in (out / "driver.lock").read_text()
    with RunFolder(out).lock():
        assert f"process {os.getpid()}\n" in (out / "driver.lock").read_text()


def test_the_command_refuses_a_folder_that_another_driver_holds(pfbench, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with RunFolder(out).lock():
        ended = pfbench(*RUN, "--out", out)
    assert "exit code 6" in ended.how and f"process {os.getpid()}" in ended.said
    assert [path.name for path in out.iterdir()] == ["driver.lock"]


def hold_the_trial(arguments):
    with TrialFolder(Path(arguments[0])).alone():
        print("held", flush=True)
        time.sleep(600)


def test_a_trial_waits_for_the_last_breath_of_a_process_that_had_it(fork_server, tmp_path):
    def while_held(first):
        first.output.read(4)
        held = TrialFolder(tmp_path).alone(patience_s=0.2)
        with pytest.raises(ClusterError, match=f"process {first.pid}"), held:
            pass
        (tmp_path / ".result.json.1.tmp").touch()
        threading.Timer(0.5, os.kill, (first.pid, signal.SIGKILL)).start()
        with TrialFolder(tmp_path).alone(patience_s=30):
            assert list(tmp_path.glob(".*.tmp")) == []

    fork_server("test_locks:hold_the_trial", tmp_path, meanwhile=while_held)


def test_what_has_ended_is_neither_done_again_nor_made_a_failure(
    fork_server, undisturbed, tmp_path
):
    out = Path(shutil.copytree(undisturbed, tmp_path / "out"))
    trial = trial_of(out)
    before = (trial.path / "result.json").read_bytes()
    trial.write_failure("train", "crash", "killed after it had written its result")
    by_hand = ["train", str(out), trial.id, "--cache", str(out / "cache")]
    fork_server("harness.trials.preload:main", *by_hand)
    assert (trial.path / "result.json").read_bytes() == before
    assert trial.starts("train") == 1


def test_a_reader_is_named_and_not_the_driver_that_was_there_before(fork_server, tmp_path):
    (tmp_path / "driver.lock").write_text("host elsewhere, process 1\n")
    with open(tmp_path / "driver.lock", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        with pytest.raises(ClusterError) as refused, RunFolder(tmp_path).lock():
            pass
    named = f"in use by host {socket.gethostname()}, process {os.getpid()}, which reads it"
    if Path("/proc/locks").exists():
        assert named in str(refused.value)
