"""Jobs on a real Ray: each ends for itself, and nothing is said but what we say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

from tuning.launch import Cluster, Job, LaunchError, ray_cluster, run_jobs  # noqa: E402

TOP = Path(__file__).parent.parent


def work_by_value():
    """A function that Ray carries over; this module is not importable where jobs run."""

    def work(payload, report):
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
    assert [event for job, event in heard if job == "job0"] == ["epoch", "end"]


def test_what_no_machine_can_hold_is_refused_at_once(cluster):
    with pytest.raises(LaunchError, match="asks for 4096 CPUs and 0 GPUs"):
        run_jobs([Job("big", {}, cpus=4096)], work_by_value(), cluster, lambda *_: None)


def test_an_address_in_the_environment_is_not_followed_silently(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(LaunchError, match=r"RAY_ADDRESS=10\.0\.0\.1:6379"), ray_cluster(Cluster()):
        pass


def test_usage_statistics_are_off_in_a_process_that_asked_for_nothing():
    code = (
        "from tuning.launch import Cluster, ray_cluster\n"
        "with ray_cluster(Cluster()):\n"
        "    from ray._common.usage import usage_lib\n"
        "    print(usage_lib.usage_stats_enabled())"
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "CI", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**clean, "PYTHONPATH": str(TOP)},
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
