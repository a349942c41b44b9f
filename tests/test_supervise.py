"""A trial's process: forked cheaply, alone in its death, and gone when its owner is.

The functions at the top are what the processes do; they stand in for `harness.trials`.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from harness.data import cache
from harness.data.case import Volume
from harness.data.split import Split
from harness.runs.run_folder import RunFolder
from harness.runs.spec import Data, TrialSpec
from harness.systems.protocol import Protocol
from harness.trials.fork_server import Call, ForkServer, Lost
from harness.trials.supervise import supervise
from harness.trials.task import Task

TESTS = Path(__file__).parent
MIB = 2**20


def say(**event):
    print(json.dumps({"event": "epoch", **event}), flush=True)
    return 0


def finish():
    print(json.dumps({"event": "end", "reason": "ok"}), flush=True)
    return 0


def do_nothing(arguments):
    say(fork_server=os.getppid(), handles=psutil.Process().num_fds())
    return finish()


def die_of_a_signal(arguments):
    say()
    os.kill(os.getpid(), getattr(signal, arguments[0]))


def leave(arguments):
    os._exit(3)


def leave_politely(arguments):
    raise SystemExit


def be_interrupted(arguments):
    raise KeyboardInterrupt


def fail(arguments):
    raise RuntimeError("no such thing")


def die_the_first_time(arguments):
    if not Path("was_here").exists():
        Path("was_here").touch()
        os.kill(os.getpid(), signal.SIGSEGV)
    return finish()


def hang(arguments):
    say(pid=os.getpid(), fork_server=os.getppid())
    time.sleep(600)


def hang_the_first_time(arguments):
    if not Path("was_here").exists():
        Path("was_here").touch()
        hang(arguments)
    return finish()


def complain(arguments):
    print("from Python", file=sys.stderr)
    os.write(2, b"from a library\n")
    return finish()


def chatter(arguments):
    """What a plug-in's libraries and processes may do with the standard output."""
    os.write(1, b'no JSON\n[1, 2]\n"end"\n{"no": "event"}\n')
    return finish()


def leave_a_process_behind(arguments):
    """One that keeps this one's output open, and says who it is."""
    if not os.fork():
        say(pid=os.getpid())
        time.sleep(600)
    time.sleep(0.5)
    os._exit(0)


def look_around(arguments):
    place = {"cwd": os.getcwd(), "device": os.environ["CUDA_VISIBLE_DEVICES"]}
    say(**place, arguments=arguments, ignored=signal.getsignal(signal.SIGINT) == signal.SIG_IGN)
    return finish()


def need(arguments):
    """So many MiB."""
    np.ones(int(arguments[0]) * MIB, np.uint8)
    return say(peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def convolve(arguments):
    """A convolution and its gradient on two threads; the CPU seconds of every thread."""
    import torch

    torch.set_num_threads(2)
    image = torch.randn(1, 8, 32, 32, 32, generator=torch.Generator().manual_seed(0))
    network = torch.nn.Conv3d(8, 8, 3, padding=1)
    began = time.process_time()
    while time.process_time() - began < 0.6:
        network(image).square().mean().backward()
    return say(seconds=[thread.user_time for thread in psutil.Process().threads()])


def train(arguments):
    """A real trial, and which modules it had to import."""
    from harness.trials.preload import main

    before, events = set(sys.modules), os.dup(1)
    main(arguments)
    os.dup2(events, 1)
    return say(imported=sorted(set(sys.modules) - before))


@pytest.fixture(scope="module", autouse=True)
def _the_functions_are_found():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        yield


@pytest.fixture
def task(tmp_path):
    (tmp_path / "trials" / "t").mkdir(parents=True)
    return Task("train", tmp_path, "t", tmp_path, silence_s=30)


def watched(task, function):
    """What `supervise` returns, and the events it reports."""
    events = []
    return supervise(task, events.append, function=f"test_supervise:{function}"), events


def gone(pid, within_s=5):
    deadline = time.monotonic() + within_s
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize(
    ("function", "action", "detail"),
    [
        ("die_of_a_signal", "SIGSEGV", "the process was killed by SIGSEGV"),
        ("die_of_a_signal", "SIGKILL",
         "the process was killed by SIGKILL (often the system's memory ran out)"),
        ("leave", "", "the process ended with exit code 3 and no word; see stderr.log"),
        ("leave_politely", "", "the process ended with exit code 0 and no word; see stderr.log"),
        ("be_interrupted", "", "the process was killed by SIGINT"),
        ("fail", "", "the process ended with exit code 1 and no word; see stderr.log"),
    ],
)  # fmt: skip
def test_a_crash_is_tried_once_more_and_says_what_it_was(task, function, action, detail):
    outcome, events = watched(replace(task, action=action), function)
    assert outcome == {"reason": "crash", "detail": detail}
    assert [event["attempt"] for event in events if event["event"] == "start"] == [1, 2]
    assert (task.folder.result().reason, task.folder.result().detail) == ("crash", detail)


def test_lines_that_are_no_events_are_passed_over(task):
    assert watched(task, "chatter") == ({"reason": "ok", "detail": ""},
                                        [{"event": "start", "attempt": 1}])  # fmt: skip


def test_a_process_that_a_trial_leaves_behind_is_neither_waited_for_nor_left(task):
    began = time.monotonic()
    outcome, events = watched(task, "leave_a_process_behind")
    assert outcome["detail"] == "the process ended with exit code 0 and no word; see stderr.log"
    assert all(gone(event["pid"]) for event in events if "pid" in event)
    assert time.monotonic() - began < task.silence_s


def test_a_trial_that_crashes_once_is_no_failure(task):
    outcome, events = watched(task, "die_the_first_time")
    assert outcome["reason"] == "ok"
    assert events == [{"event": "start", "attempt": 1}, {"event": "start", "attempt": 2}]


def test_a_silent_trial_is_a_timeout_and_is_killed(task):
    watched(task, "do_nothing")  # what follows is not about the time it takes to start
    outcome, [_, said] = watched(replace(task, silence_s=0.5), "hang")
    assert outcome == {"reason": "timeout", "detail": "no report for 0.5 s"}
    assert task.folder.result().reason == "timeout"
    assert gone(said["pid"], within_s=0)


def test_when_the_fork_server_dies_its_child_ends_and_the_next_attempt_works(task):
    children = []

    def kill_the_fork_server(event):
        if "fork_server" in event:
            children.append(event["pid"])
            os.kill(event["fork_server"], signal.SIGKILL)

    outcome = supervise(task, kill_the_fork_server, function="test_supervise:hang_the_first_time")
    assert outcome["reason"] == "ok"
    assert len(children) == 1
    assert gone(children[0], within_s=0)


def test_a_fork_server_that_dies_each_time_is_named_as_what_died(task):
    outcome = supervise(
        task,
        lambda event: "fork_server" in event and os.kill(event["fork_server"], signal.SIGKILL),
        function="test_supervise:hang",
    )
    expected = "the process that starts trials was killed by SIGKILL"
    assert outcome["detail"].startswith(expected)


def test_a_fork_server_that_died_between_two_trials_is_replaced(task):
    _, [_, first] = watched(task, "do_nothing")
    os.kill(first["fork_server"], signal.SIGKILL)
    assert gone(first["fork_server"])
    outcome, [_, second] = watched(task, "do_nothing")
    assert outcome["reason"] == "ok"
    assert second["fork_server"] != first["fork_server"]


def test_code_that_cannot_be_imported_is_a_crash_with_the_reason_in_the_log(task):
    outcome, _ = watched(task, "no_such_function")
    assert outcome == {
        "reason": "crash",
        "detail": "the process that starts trials ended with exit code 1 and no word; "
        "see stderr.log",
    }
    assert "no_such_function" in (task.folder.path / "stderr.log").read_text()


def test_nothing_outlives_a_killed_owner(task):
    code = (
        "import json, sys\n"
        "from harness.trials.supervise import supervise\n"
        "from harness.trials.task import Task\n"
        "supervise(Task.from_arguments(sys.argv[1:]),\n"
        "          lambda event: print(json.dumps(event), flush=True),\n"
        "          function='test_supervise:hang')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, *task.to_arguments()],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"},
    ) as owner:
        _, said = (json.loads(owner.stdout.readline()) for _ in range(2))
        owner.kill()
    assert gone(said["pid"]) and gone(said["fork_server"])


def test_what_the_process_complains_of_is_in_its_log(task):
    watched(task, "complain")
    log = task.folder.path / "stderr.log"
    assert log.read_text() == "from Python\nfrom a library\n"


def test_the_process_gets_arguments_folder_and_environment_of_its_trial(task, monkeypatch):
    watched(task, "do_nothing")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")  # set after the fork server began
    _, [_, said] = watched(replace(task, until=5), "look_around")
    assert said == {
        "event": "epoch",
        "cwd": str(task.folder.path),
        "device": "7",
        "arguments": replace(task, until=5).to_arguments(),
        "ignored": True,
    }  # fmt: skip


def test_fifty_trials_leave_no_open_files_behind(task):
    def handles():
        _, [_, said] = watched(task, "do_nothing")
        fork_server = psutil.Process(said["fork_server"])
        return psutil.Process().num_fds(), fork_server.num_fds(), said["handles"]

    before = handles()
    assert [handles() for _ in range(50)][-1] == before


@pytest.fixture(scope="module")
def fork_server(tmp_path_factory):
    """One that has imported all that a trial needs."""
    paths = f"{TESTS.parent}:{TESTS}"
    with open(tmp_path_factory.mktemp("fork_server") / "stderr.log", "ab") as log:
        started = ForkServer.begun({**os.environ, "PYTHONPATH": paths}, log)
        run_in(started, "harness.trials.preload:main", "--help")
        yield started
        started.close()


def run_in(fork_server, function, *arguments):
    """What a child of `fork server` prints, as events."""
    call = Call(function, list(arguments), "/", dict(os.environ))
    with fork_server.child(call, sys.__stderr__, 60) as child:
        lines = child.output.read().decode().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_a_fork_server_has_one_thread_after_importing_all_that_a_trial_needs(fork_server):
    assert len(psutil.Process(fork_server.pid).threads()) == 1


@pytest.mark.skipif(os.cpu_count() == 1, reason="needs two processors")
def test_a_child_computes_on_two_threads(fork_server):
    [said] = run_in(fork_server, "test_supervise:convolve")
    *_, second, first = sorted(said["seconds"])
    assert second > first / 4


def test_the_peak_memory_of_a_child_is_its_own(fork_server):
    [big], [small] = (run_in(fork_server, "test_supervise:need", mib) for mib in ("200", "1"))
    resident_mib = psutil.Process(fork_server.pid).memory_info().rss / MIB
    assert small["peak_mib"] < resident_mib + 30
    assert big["peak_mib"] - small["peak_mib"] == pytest.approx(199, abs=15)


def test_a_child_of_a_dead_fork_server_is_refused_with_the_cause(tmp_path):
    with open(tmp_path / "log", "ab") as log:
        fork_server = ForkServer.begun(os.environ, log)
        os.kill(fork_server.pid, signal.SIGKILL)
        with pytest.raises(Lost, match="the process that starts trials was killed by SIGKILL"):
            run_in(fork_server, "test_supervise:leave")


@pytest.fixture(scope="module")
def forked(fork_server, tmp_path_factory):
    """A trial trained by a child, and what it printed."""
    trial = a_run(tmp_path_factory.mktemp("forked"))
    return trial, run_in(fork_server, "test_supervise:train", *arguments(trial))


def test_a_trial_gives_the_same_bytes_by_hand_and_from_a_fork_server(forked, tmp_path):
    by_hand = a_run(tmp_path)
    subprocess.run(
        [sys.executable, "-m", "harness.trials", *arguments(by_hand)],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    assert content(forked[0]) == content(by_hand)


def test_a_trial_that_nobody_listens_to_any_longer_is_unfinished_not_failed(tmp_path):
    trial = a_run(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "harness.trials", *arguments(trial)],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
        stdout=writer,
        check=False,
    )
    os.close(writer)
    assert done.returncode == 1
    assert trial.state() == "interrupted"


def test_a_trial_finds_all_but_a_few_small_modules_imported(forked):
    _, [*_, end, said] = forked
    assert end == {"event": "end", "reason": "ok"}
    assert len(said["imported"]) < 15, said["imported"]


def a_run(path):
    """A folder with one trial to train, of one epoch, on four volumes of 32 x 32 x 64."""
    rng = np.random.default_rng(0)
    cases = ["a", "b", "c", "d"]
    for case in cases:
        image = rng.standard_normal((1, 32, 32, 64), np.float32)
        cache.write(path / "cache", case, Volume(case, image, np.uint8(image[0] > 1), (1, 1, 1)))
    data = Data(name="noise", modalities=("flair",), target="wt", grid=(32, 32, 64),
                fingerprint="noise", synthetic=True)  # fmt: skip
    protocol = Protocol(epochs=1, validate_every=1)
    spec = TrialSpec(system="resunet3d_up", options={"widths": (4, 4, 8, 8, 8)},
                     protocol=protocol, data=data, split="", device="cpu", code="")  # fmt: skip
    folder = RunFolder(path)
    folder.write_volume_keys({case: case for case in cases}, path / "cache")
    folder.write_split(Split(("a", "b"), ("c",), ("d",)))
    folder.trial(spec.id).write_spec(spec)
    return folder.trial(spec.id)


def arguments(trial):
    run = trial.path.parent.parent
    cache_folder = str(run / "cache")
    return ["train", str(run), trial.id, "--cache", cache_folder, "--threads", "2"]


def content(trial):
    """History, weights and scores, without times."""
    *history, seconds = (trial.path / "history.csv").read_text().splitlines()[1].split(",")
    assert float(seconds) > 0
    files = ("weights.safetensors", "cases.csv", "masks/d.npz")
    return history, *[(trial.path / file).read_bytes() for file in files]
