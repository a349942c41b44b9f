"""One process imports for all workers of a machine; none of them depends on it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from test_supervise import TESTS, gone

from harness.trials.shared_fork_server import PLACE, shared_fork_server
from harness.trials.task import Task

WORKER = """
import json, sys
from harness.trials.supervise import supervise
from harness.trials.task import Task
tell = lambda event: print(json.dumps(event), flush=True)
for work in ("do_nothing", "hang"):
    task = Task.from_arguments(sys.argv[1:])
    tell(supervise(task, tell, function=f"test_supervise:{work}"))
"""
DRIVER = """
import os, sys, time
from harness.trials.shared_fork_server import PLACE, shared_fork_server
with shared_fork_server("test_supervise:do_nothing", os.environ):
    print(os.environ[PLACE], flush=True)
    time.sleep(600)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"}


@pytest.fixture
def worker(tmp_path):
    """Starts one of Ray's workers: it does nothing in one trial and hangs in the next."""
    begun = []

    def start():
        name = str(len(begun))
        (tmp_path / "trials" / name).mkdir(parents=True)
        task = Task("train", tmp_path, name, tmp_path)
        place = {PLACE: os.environ[PLACE]} if PLACE in os.environ else {}
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, *task.to_arguments()],
            stdout=subprocess.PIPE,
            env={**ENVIRONMENT, **place},
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture
def shared():
    with shared_fork_server("test_supervise:do_nothing", ENVIRONMENT):
        yield


def next_event(process):
    return json.loads(process.stdout.readline())


def fork_server_of(process):
    """The fork server of a worker that has done nothing so far."""
    assert next_event(process) == {"event": "start", "attempt": 1}
    fork_server = next_event(process)["fork_server"]
    assert next_event(process)["reason"] == "ok"
    return psutil.Process(fork_server)


def test_each_worker_has_a_fork_server_of_its_own_forked_from_one(shared, worker):
    one, other = worker(), worker()
    first, second = fork_server_of(one), fork_server_of(other)
    assert first != second
    assert first.ppid() == second.ppid() != one.pid
    assert [next_event(process)["event"] for process in (one, other)] == ["start", "start"]


def test_with_a_killed_worker_its_trial_ends_and_no_other(shared, worker):
    killed, other = worker(), worker()
    fork_server, spared = fork_server_of(killed), fork_server_of(other)
    next_event(killed), next_event(other)
    trial, running = next_event(killed)["pid"], next_event(other)["pid"]
    shared_one = fork_server.ppid()
    killed.kill()
    assert gone(trial) and gone(fork_server.pid)
    assert all(psutil.pid_exists(pid) for pid in (running, spared.pid, shared_one))


def test_without_one_a_worker_imports_for_itself(worker, monkeypatch, tmp_path):
    monkeypatch.setenv(PLACE, str(tmp_path / "not_there"))
    alone = worker()
    assert fork_server_of(alone).ppid() == alone.pid


def test_one_that_dies_takes_no_fork_server_of_a_worker_along(worker):
    with shared_fork_server("test_supervise:do_nothing", ENVIRONMENT):
        process = worker()
        fork_server = fork_server_of(process)
        next_event(process)
        trial = next_event(process)["pid"]
        os.kill(fork_server.ppid(), signal.SIGKILL)
        assert not gone(trial, within_s=1)
        later = worker()
        assert fork_server_of(later).ppid() == later.pid


def test_what_it_cannot_import_the_worker_tries_itself(worker):
    with shared_fork_server("no_such_module:main", ENVIRONMENT):
        alone = worker()
        events = iter(lambda: next_event(alone), {"reason": "ok", "detail": ""})
        said = [event["event"] for event in events]
    assert said in (["start", "epoch"], ["start", "start", "epoch"])  # it may have waited for it


def test_it_ends_with_its_block_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = psutil.Process().children()
    with shared_fork_server("test_supervise:do_nothing", ENVIRONMENT):
        place = Path(os.environ[PLACE])
        assert place.is_socket()
        assert oct(place.parent.stat().st_mode & 0o777) == "0o700"
    assert PLACE not in os.environ
    assert list(tmp_path.iterdir()) == []
    assert psutil.Process().children() == before


def test_it_ends_with_a_killed_driver_and_leaves_nothing():
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, env=ENVIRONMENT
    ) as driver:
        folder = Path(driver.stdout.readline().decode().strip()).parent
        [shared] = psutil.Process(driver.pid).children()
        driver.kill()
    assert gone(shared.pid)
    assert not folder.exists()


def test_a_long_temporary_path_is_no_obstacle(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with shared_fork_server("test_supervise:do_nothing", ENVIRONMENT):
        assert Path(os.environ[PLACE]).is_socket()
