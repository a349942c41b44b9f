"""The doctor, at conditions that are real: sockets, files in the way, variables, servers."""

import http.server
import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from helper_ports import free_port

from harness.checks.doctor.examine import examine, exit_code, records, show
from harness.checks.doctor.machine import data, disk, listeners, output
from harness.checks.doctor.software import (
    INSTALL,
    constraints,
    mlflow,
    python,
    ray,
    requirements,
    torch,
)
from harness.checks.doctor.store import store
from harness.checks.finding import Diagnosis, ExaminationRequest
from harness.data import phantom
from harness.runs.screen import Screen


@pytest.fixture
def request_(tmp_path):
    return ExaminationRequest(out=tmp_path / "runs")


def states(findings):
    return {finding.state for finding in findings}


def of(check, request):
    """What the check says of one thing."""
    [finding] = check(request)
    return finding


def test_this_machine_can_do_a_run(tmp_path, monkeypatch):
    for name in ("RAY_ADDRESS", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    found = examine(ExaminationRequest(out=tmp_path / "runs"))
    assert [finding for finding in found if finding.state == "fail"] == []
    assert exit_code(found) == 0
    assert not (tmp_path / "runs").exists()


def test_the_libraries_are_named_with_their_versions(request_):
    import torch as library

    assert library.__version__ in next(iter(torch(request_))).what
    assert states(python(request_)) == states(requirements(request_)) == {"ok"}


def test_mlflow_is_silent_in_our_environment_outside_of_tests_too(request_):
    assert of(mlflow, request_).what.endswith("its telemetry is off")


def test_versions_that_differ_from_the_constraints_are_named(request_, tmp_path):
    path = tmp_path / "constraints.txt"
    path.write_text("# as tested\nnumpy==1.0.0\npytest\nno-such-package==3.1\n")
    [finding] = constraints(request_, path)
    assert (finding.state, finding.remedy) == ("warn", INSTALL)
    assert "numpy" in finding.what and "(1.0.0)" in finding.what
    assert "pytest" not in finding.what and "no-such-package" not in finding.what


def test_ray_takes_0_or_1_and_is_told_so(request_, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "true")
    wrong = [finding for finding in ray(request_) if finding.state == "fail"]
    assert [finding.remedy for finding in wrong] == ["export RAY_USAGE_STATS_ENABLED=0"]
    assert "RAY_USAGE_STATS_ENABLED=true" in wrong[0].what


def test_an_address_of_ray_that_was_not_asked_for_is_shown(request_, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    warned = [finding for finding in ray(request_) if finding.state == "warn"]
    assert [finding.remedy for finding in warned] == [
        "unset RAY_ADDRESS, or pfbench run --address 10.0.0.1:6379"
    ]


def test_a_library_that_cannot_be_imported_is_a_line_with_its_reason(
    request_, tmp_path, monkeypatch
):
    (tmp_path / "ray.py").write_text("raise ImportError('libstdc++ is too old')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    [broken] = [finding for finding in ray(request_) if finding.state == "fail"]
    assert broken.what == "cannot be used: ImportError: libstdc++ is too old"


def test_a_file_where_runs_should_go_is_found(tmp_path):
    (tmp_path / "file").touch()
    finding = of(output, ExaminationRequest(out=tmp_path / "file" / "runs"))
    assert finding.state == "fail"
    assert finding.what.endswith("file is no folder")


def test_runs_that_others_can_read_are_found(tmp_path):
    tmp_path.chmod(0o755)
    finding = of(output, ExaminationRequest(out=tmp_path))
    assert finding.state == "warn"
    assert finding.remedy == f"chmod -R go= {tmp_path}"


def test_space_is_told_for_runs_and_for_ray(request_):
    said = [finding.what for finding in disk(request_)]
    assert "for runs" in said[0] and "Ray" in said[1]


def test_a_folder_of_volumes_is_counted_without_reading_them(tmp_path):
    for case in ("BraTS20_Training_001", "BraTS20_Training_002"):
        for part in ("t2", "seg"):
            path = tmp_path / case / f"{case}_{part}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"never looked at")
    finding = of(data, ExaminationRequest(tmp_path, tmp_path))
    assert finding.state == "ok"
    assert finding.what.startswith("brats: 2 cases with t2;")


def test_a_patient_without_a_mask_sends_to_the_check_of_the_data(tmp_path):
    phantom.write(tmp_path / "brats", cases=2, shape=(16, 16, 16), seed=0)
    next((tmp_path / "brats").glob("*/*_seg.nii*")).unlink()
    finding = of(data, ExaminationRequest(tmp_path, tmp_path / "brats"))
    assert (finding.state, finding.remedy) == ("fail", f"pfbench data check {tmp_path / 'brats'}")


def test_a_folder_of_volumes_that_is_not_there_is_found(tmp_path):
    finding = of(data, ExaminationRequest(tmp_path, tmp_path / "nowhere"))
    assert finding.state == "fail"
    assert "nowhere is no folder" in finding.what


@contextmanager
def listening(address):
    """A process that is called as MLflow's server is, and listens; yields its port."""
    code = (
        "import socket, sys\n"
        "server = socket.create_server((sys.argv[1], 0))\n"
        "print(server.getsockname()[1], flush=True)\n"
        "sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, address, "mlflow", "server"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        yield process.pid, int(process.stdout.readline())
        process.stdin.close()


def heard(request, process):
    return [one for one in listeners(request) if f"(process {process})" in one.what]


def test_a_server_that_other_machines_reach_is_found(request_):
    with listening("0.0.0.0") as (process, port):
        [finding] = heard(request_, process)
    assert finding.state == "warn"
    assert finding.what.endswith(f"listens on *:{port}")
    assert "--host 127.0.0.1" in finding.remedy


def test_a_server_on_loopback_is_nobody_elses_business(request_):
    with listening("127.0.0.1") as (process, _):
        assert heard(request_, process) == []


def at(tmp_path, uri):
    return of(store, ExaminationRequest(tmp_path, tracking_uri=uri))


def test_without_a_store_each_run_has_its_own(tmp_path):
    assert at(tmp_path, "").state == "ok"


def test_a_store_of_an_unknown_kind_is_refused(tmp_path):
    finding = at(tmp_path, "file:/tmp/mlruns")
    assert finding.state == "fail"
    assert "sqlite:" in finding.remedy


def test_a_store_that_can_be_written_is_and_stays_as_it_was(tmp_path):
    path = tmp_path / "mlflow.db"
    assert at(tmp_path, f"sqlite:///{path}").state == "ok"
    assert not path.exists()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE runs (id TEXT)")
    connection.close()
    before = path.read_bytes()
    assert at(tmp_path, f"sqlite:///{path}").state == "ok"
    assert path.read_bytes() == before


@pytest.mark.parametrize(("place", "said"), [("file/mlflow.db", "no folder"), ("file", "database")])
def test_a_store_that_cannot_be_one_is_found(tmp_path, place, said):
    (tmp_path / "file").write_text("a file of some other kind, in the way of a database\n" * 40)
    finding = at(tmp_path, f"sqlite:///{tmp_path / place}")
    assert finding.state == "fail"
    assert said in finding.what


ANSWERS = {"/health": (200, b"OK"), "/proxy/health": (200, b"<html>log in</html>")}


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        code, body = ANSWERS.get(self.path, (403, b"no"))
        self.send_response(code)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Silence."""


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_server_of_mlflow_answers(tmp_path, server):
    assert at(tmp_path, f"http://{server}").state == "ok"


@pytest.mark.parametrize(
    ("path", "said"), [("/proxy", "is not MLflow"), ("/other", "answers 403 Forbidden")]
)
def test_another_server_in_its_place_is_told_apart(tmp_path, server, path, said):
    finding = at(tmp_path, f"http://{server}{path}")
    assert finding.state == "fail"
    assert said in finding.what


@pytest.mark.parametrize("kind", ["http", "postgresql"])
def test_a_server_that_is_down_is_named_without_its_password(tmp_path, kind):
    port = free_port()
    finding = at(tmp_path, f"{kind}://me:s3cr3t@127.0.0.1:{port}/db")
    assert finding.state == "fail"
    assert "does not answer" in finding.what
    assert "s3cr3t" not in str(finding)


def test_a_check_that_breaks_is_a_line_and_the_others_go_on(request_):
    def broken(request):
        raise OSError("cannot reach sqlite://me:s3cr3t@host")
        yield

    def fine(request):
        yield Diagnosis("fine", "ok", "well")

    first, second = examine(request_, {"broken": broken, "fine": fine})
    assert (first.name, first.state, second.state) == ("broken", "fail", "ok")
    assert "OSError" in first.what and "s3cr3t" not in first.what
    assert exit_code([first, second]) == 2


def test_every_line_that_is_not_ok_has_a_remedy_on_the_screen(capsys):
    found = [
        Diagnosis("disk", "warn", "3 [GiB] free", "free space"),
        Diagnosis("torch", "ok", "2.13"),
    ]
    show(found, Screen())
    shown = capsys.readouterr().out
    assert "3 [GiB] free" in shown and "→ free space" in shown
    assert "ready" in shown
    assert json.loads(json.dumps(records(found)))[0]["remedy"] == "free space"
