"""Jobs on a real Ray: each ends for itself, and nothing is said but what we say."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

from tuning.job_board import JobBoard  # noqa: E402
from tuning.launch import (  # noqa: E402
    Cluster,
    ClusterLost,
    Job,
    LaunchError,
    _Listed,
    ray_cluster,
    run_jobs,
)
from tuning.machines import Machine, refuse_unplaceable, room  # noqa: E402

TOP = Path(__file__).parent.parent


def work_by_value():
    """A function that Ray carries over; this module is not importable where jobs run."""

    def work(payload, report, node):
        report({"event": "epoch", "epoch": 1})
        if payload["do"] == "raise":
            raise ValueError("no such thing")
        if payload["do"] == "die":
            os._exit(3)
        return {"reason": "ok", "square": payload["n"] ** 2}

    return work


def jobs(*deeds):
    return [Job(f"job{n}", {"do": do, "n": n}, cpus=1) for n, do in enumerate(deeds)]


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster(Cluster()):
        yield Cluster()


@pytest.fixture(scope="module")
def outcomes(cluster):
    heard = []
    found = run_jobs(
        jobs("work", "raise", "work", "die"),
        work_by_value(),
        cluster,
        lambda job, event: heard.append((job, event["event"])),
    )
    return found, heard


def test_what_a_job_returns_is_its_outcome(outcomes):
    found, _ = outcomes
    assert found["job0"] == {"reason": "ok", "square": 0}
    assert found["job2"] == {"reason": "ok", "square": 4}


def test_an_exception_belongs_to_its_job_alone(outcomes):
    found, _ = outcomes
    assert found["job1"] == {"reason": "error", "detail": "ValueError: no such thing"}


def test_a_process_that_dies_twice_is_lost_and_the_others_are_not(outcomes):
    found, heard = outcomes
    assert found["job3"]["reason"] == "lost"
    assert heard.count(("job3", "epoch")) <= 2


def test_events_of_a_job_arrive_in_order(outcomes):
    _, heard = outcomes
    assert [event for job, event in heard if job == "job0"] == ["placed", "epoch", "end"]


def test_what_no_machine_can_hold_is_refused_at_once(cluster):
    with pytest.raises(LaunchError, match="asks for 4096 CPUs and 0 GPUs"):
        run_jobs([Job("big", {}, cpus=4096)], work_by_value(), cluster, lambda *_: None)


def test_an_address_in_the_environment_is_not_followed_silently(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(LaunchError, match=r"RAY_ADDRESS=10\.0\.0\.1:6379"), ray_cluster(Cluster()):
        pass


@pytest.fixture(scope="module")
def alone():
    """What a process that asked for nothing looks like after one job."""
    code = """if True:
        import contextlib, json, psutil, sys
        from tuning.launch import Cluster, Job, ray_cluster, run_jobs

        def work(payload, report, node):
            return {"reason": "ok"}

        with ray_cluster(Cluster()):
            run_jobs([Job("job", {}, cpus=1)], work, Cluster(), lambda *_: None)
            import ray
            from ray._private.authentication.authentication_utils import is_token_auth_enabled
            from ray._common.usage import usage_lib

            def looked():
                here, found = psutil.Process(), set()
                for process in [here, *here.children(recursive=True)]:
                    with contextlib.suppress(psutil.NoSuchProcess):  # one that has just ended
                        of_process = process.net_connections("inet")
                        found |= {(process.pid, *s.laddr) for s in of_process
                                  if s.status == psutil.CONN_LISTEN}
                return found

            # A look reads handles, then the sockets of the machine: one of another process may have
            # the number of one that was closed meanwhile. It is not there in both looks.
            sockets = looked() & looked()
            facts = {
                "auto": ray._private.auto_init_hook.enable_auto_connect,
                "token": is_token_auth_enabled(),
                "usage": usage_lib.usage_stats_enabled(),
                "mlflow": "mlflow" in sys.modules,
                "listening": [ip.removeprefix("::ffff:") for _, ip, _ in sockets],
            }
        print(json.dumps(facts))"""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "CI", "PYTEST"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**clean, "PYTHONPATH": str(TOP), "RAY_AUTH_MODE": "disabled"},
    )


def test_ray_says_nothing_of_its_own(alone):
    assert (alone.stdout.count("\n"), alone.stderr) == (1, "")


def test_usage_statistics_are_off(alone):
    assert json.loads(alone.stdout)["usage"] is False


def test_what_ctrl_c_leaves_behind_starts_no_other_ray(alone):
    assert json.loads(alone.stdout)["auto"] is False


def test_a_cluster_of_our_own_listens_on_loopback_only(alone):
    listening = json.loads(alone.stdout)["listening"]
    assert len(listening) >= 3 and set(listening) == {"127.0.0.1"}


def test_a_cluster_of_our_own_wants_a_token_whatever_the_environment_says(alone):
    assert json.loads(alone.stdout)["token"] is True


def test_placing_jobs_does_not_load_mlflow(alone):
    assert json.loads(alone.stdout)["mlflow"] is False


class Silent:
    """A source of two jobs that notes what becomes of them."""

    def __init__(self):
        self.jobs = jobs("first", "second")
        self.outcomes = {}

    def left(self):
        return len(self.jobs)

    def next(self):
        return self.jobs.pop(0) if self.jobs else None

    def started(self, job, node):
        pass

    def heard(self, job, event):
        return False

    def ended(self, job, outcome):
        self.outcomes[job] = outcome["reason"]


def board(places=2, living=("machine",)):
    source = Silent()
    return JobBoard(source, lambda: places, lambda machine: machine in living), source.outcomes


def test_no_job_is_asked_for_before_there_is_room():
    full, _ = board(places=1)
    assert [full.take("a").id, full.take("b")] == ["job0", None]
    full.hear("a", {"outcome": [{"reason": "ok"}]})
    assert full.take("b").id == "job1"


def test_when_tune_breaks_down_what_ran_is_launched_once_more_and_then_lost():
    broken, outcomes = board()
    for again in ("a", "b"):
        assert broken.take(again).id == "job0"
        broken.hear(again, {"begun": ["machine", "node-1"]})
        broken.restart(RuntimeError("the node is running low on memory"))
    assert outcomes == {"job0": "lost"}
    assert broken.take("c").id == "job1"


def test_a_job_whose_machines_die_is_launched_more_often_than_one_that_dies_itself():
    spot, outcomes = board(living=())
    for trial in "abcde":
        assert spot.take(trial).id == "job0"
        spot.hear(trial, {"begun": ["gone", "spot-1"]})
        spot.lose(trial, "the job's process ended without a word")
    assert outcomes == {"job0": "lost"}


def test_a_job_that_had_not_begun_does_not_answer_for_a_breakdown():
    broken, outcomes = board()
    for first, second in ("ab", "cd"):
        broken.take(first), broken.take(second)
        [zero] = [trial for trial, job in broken.running.items() if job.id == "job0"]
        broken.hear(zero, {"begun": ["machine", "node-1"]})
        broken.restart(RuntimeError("the node is running low on memory"))
    assert outcomes == {"job0": "lost"}
    assert [job.id for job in broken.again] == ["job1"]


def test_when_tune_breaks_down_at_once_the_cluster_is_lost():
    broken, _ = board()
    broken.take("a")
    with pytest.raises(ClusterLost, match="no space in /tmp"):
        broken.restart(OSError("no space in /tmp"))


def test_nothing_reaches_a_source_that_was_left():
    left, outcomes = board()
    left.take("a")
    left.close()
    with pytest.raises(RuntimeError):
        left.lose("a", "Ray was shut down")
    assert outcomes == {}


def test_what_an_event_handler_raises_arrives_at_the_caller(cluster):
    def full(job, event):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run_jobs(jobs("work", "work"), work_by_value(), cluster, full)


@pytest.mark.parametrize(
    "cpus, gpus, held",
    [(1, 0.5, 4), (1, 0.4, 4), (1, 0.3, 6), (1, 2, 1), (4, 0.5, 2), (0.1, 0, 80)],
)
def test_a_fraction_of_a_gpu_lies_on_one_gpu(monkeypatch, cpus, gpus, held):
    there = [Machine("a", "gpu-1", 8, 2), Machine("b", "head", 0, 0)]
    monkeypatch.setattr("tuning.machines.machines", lambda: there)
    assert room(cpus, gpus) == held


@pytest.mark.parametrize("gpus, why", [(1.5, "counted whole"), (0, "a part of a CPU or of a GPU")])
def test_sizes_that_ray_does_not_know_are_refused(gpus, why):
    with pytest.raises(LaunchError, match=why):
        refuse_unplaceable(0, gpus)


def test_a_job_waits_for_the_one_that_it_comes_after(cluster):
    first, second, third = jobs("work", "work", "work")
    heard = []
    found = run_jobs(
        [replace(second, after=first.id), first, third],
        work_by_value(), cluster, lambda job, event: heard.append((job, event["event"])),
    )  # fmt: skip
    assert heard.index((first.id, "end")) < heard.index((second.id, "placed"))
    assert {job: one["reason"] for job, one in found.items()} == dict.fromkeys(found, "ok")
    assert len(found) == 3


def test_what_waits_for_a_job_has_its_turn_also_where_that_is_lost():
    first, second = jobs("work", "work")
    source = _Listed([replace(second, after=first.id), first], lambda job, event: None)
    board = JobBoard(source, lambda: 2)
    for tune in "ab":
        assert board.take(tune).id == first.id
        assert board.take("meanwhile") is None
        board.lose(tune, "the job's process ended without a word")
    assert source.outcomes[first.id]["reason"] == "lost" and not board.empty
    assert board.take("c").id == second.id
