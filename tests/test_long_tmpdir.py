"""A batch system's TMPDIR of 60 letters and more is no end: Ray's sockets get a short folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.checks.doctor import machine
from harness.checks.finding import ExaminationRequest
from tuning import cluster

TOP = Path(__file__).parent.parent
LONG = "net/people/somebody/slurm_jobdir/1355700/tmp.t0016"


@pytest.fixture
def long_tmpdir(tmp_path, monkeypatch):
    """TMPDIR is a folder with a long name."""
    folder = tmp_path / LONG
    folder.mkdir(parents=True)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_a_name_is_too_long_where_the_address_of_a_socket_has_no_room():
    session = "/session_2026-11-29_17-20-25_123456_1234567/sockets/plasma_store"
    fits = Path("/" + "x" * (cluster.SOCKET_BYTES - len(cluster.OWN) - len(session) - 1))
    assert len(f"{fits}{cluster.OWN}{session}") == cluster.SOCKET_BYTES
    assert len(str(fits)) >= 25
    assert not cluster.too_long(fits) and cluster.too_long(fits / "y")


def test_without_a_short_folder_ray_is_refused_with_the_remedy(long_tmpdir, monkeypatch):
    monkeypatch.setattr(cluster, "SHORT", "/dev/null/absent")
    with (
        pytest.raises(cluster.NotStarted, match="export RAY_TMPDIR=DIR"),
        cluster.ray_cluster(cluster.Cluster()),
    ):
        pass


@pytest.mark.parametrize(
    ("short", "state", "said"),
    [("/tmp", "ok", "they go to /tmp"), ("/dev/null/absent", "fail", "cannot be written")],
)
def test_doctor_says_so_before(long_tmpdir, monkeypatch, tmp_path, short, state, said):
    monkeypatch.setattr(machine, "SHORT", short)
    [found] = [one for one in machine.disk(ExaminationRequest(tmp_path)) if "too long" in one.what]
    assert found.state == state and said in found.what


def test_ray_starts_under_a_long_tmpdir_in_a_folder_of_its_user_alone_that_goes_with_it(tmp_path):
    folder = tmp_path / LONG
    folder.mkdir(parents=True)
    code = (
        "import ray; from pathlib import Path; from tuning.cluster import Cluster, ray_cluster\n"
        "with ray_cluster(Cluster()):\n"
        "    print(ray.get(ray.remote(lambda: 6 * 7).remote()))\n"
        "    session = ray._private.worker.global_worker.node.get_session_dir_path()\n"
        "    print(session, oct(Path(session).parent.parent.stat().st_mode & 0o777))"
    )
    environment = {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(TOP)}
    environment.pop("RAY_TMPDIR", None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment, capture_output=True, check=False, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer, session, mode = done.stdout.split()
    assert answer == "42" and not Path(session).is_relative_to(folder)
    assert mode == "0o700"  # what Ray makes below it, everybody may write
    assert not Path(session).exists()
