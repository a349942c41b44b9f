"""`pfbench ui` ends when it is told to, at whatever moment, and leaves no process behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helper_made_run import MadeRun
from helper_mirrored_run import empty_store
from helper_ports import free_port

TOP = Path(__file__).parent.parent
READY = "Ctrl-C ends it"
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore"),  # MLflow's own, of many kinds
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("ui") / "run"
    MadeRun(path, rows=("resunet3d", "pfseg"))
    empty_store(path / "mlflow.db")
    return path


@pytest.fixture
def page(run):
    """`pfbench ui` on its way, in a process group of its own, and its port."""
    port = free_port()
    code = "from harness.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "ui", str(run), "--port", str(port)],
        cwd=TOP, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    yield process, port
    for each in [process, *of_server(port)]:
        each.kill()
    process.communicate()


def of_server(port):
    """MLflow's command and the server that it starts, wherever they are."""
    return [p for p in psutil.process_iter(["cmdline"]) if str(port) in (p.info["cmdline"] or [])]


@pytest.mark.parametrize("after_s", [0, 0.5, 1, 2, 4])
@pytest.mark.parametrize("tell", [os.kill, os.killpg])
def test_ctrl_c_while_the_server_starts_leaves_none_of_it(page, tell, after_s):
    process, port = page
    assert any(READY in line for line in process.stdout)
    time.sleep(after_s)
    tell(process.pid, signal.SIGINT)
    assert process.wait(10) in (0, 130)
    assert of_server(port) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_another_signal_ends_the_server_too(page, number):
    process, port = page
    assert any(READY in line for line in process.stdout)
    time.sleep(4)
    assert of_server(port)
    process.send_signal(number)
    assert process.wait(10) == 0
    assert of_server(port) == []


def ends(processes, within_s):
    _, alive = psutil.wait_procs(processes, within_s)
    return alive == []


@pytest.mark.parametrize("after_s", [1, 6])
def test_killed_it_leaves_no_server(page, after_s):
    process, port = page
    assert any(READY in line for line in process.stdout)
    time.sleep(after_s)
    server = [each for each in of_server(port) if each.pid != process.pid]
    assert server
    process.kill()
    assert ends(server, 10)
    assert of_server(port) == []


LOST = """
import signal, sys, weakref
from harness import cli
from harness.tracking import mirror as tracking, ui

class Thing: pass

def mirror(*arguments):  # as in SQLAlchemy: what a weak reference's callback raises is lost
    thing = Thing()
    watch = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing

tracking.mirror = mirror
ui.links = lambda *arguments: []
cli.main()
"""


def test_ctrl_c_that_a_library_loses_starts_no_server(run):
    command = [sys.executable, "-c", LOST, "ui", str(run), "--port", "65123"]
    done = subprocess.run(command, cwd=TOP, capture_output=True, timeout=60, check=False)
    assert done.returncode == 130
    assert of_server(65123) == []
