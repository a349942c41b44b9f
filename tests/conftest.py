"""The whole suite in several processes, and `pfbench` in some that have imported everything."""

import gc
import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
WORKERS = 3  # for two processors: the tests of real runs wait for half of their time
BEGUN_FIRST = (
    *("run", "crash_points", "full_disk", "locks", "failures", "tune", "claims", "report"),
    *("measure", "mlflow_faults", "security", "catalogue_state", "verify", "site", "measures"),
    *("launch", "catalogue_data", "layout", "large_targets", "doctor", "study", "supervise"),
)
"""Files that take long: begun last, one of them would keep a single process busy at the end."""
SHARED = dict.fromkeys(("crash_points", "full_disk", "locks", "failures"), "forked")
"""Files that one process does, as they share a fixture of the session that takes long to make."""
if "PYTEST_XDIST_WORKER" in os.environ:  # threads that wait would take processors from the others
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Ten times fewer full collections: each goes over all that torch and MLflow are, for a third of a
# second, and a twelfth of the suite's time went into them.
gc.set_threshold(*gc.get_threshold()[:2], 100)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Share the whole suite among processes, file by file, but for those of `SHARED`.

    Not with `-n 0`, for single files, and for the long tests, which watch memory and kill.
    """
    if hasattr(config, "workerinput"):
        return  # this is one of the processes, and starts none of its own
    named = [each for each in config.args if Path(each.partition("::")[0]).suffix == ".py"]
    alone = named or config.option.markexpr != "not long"
    if config.pluginmanager.hasplugin("xdist") and config.option.numprocesses is None and not alone:
        config.option.numprocesses = WORKERS if (os.cpu_count() or 1) > 1 else 1
        config.option.dist = "loadfile"
        config.option.loadscopereorder = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give the files that share a fixture to the same process."""
    from xdist.scheduler import LoadFileScheduling

    class FilesTogether(LoadFileScheduling):
        def _split_scope(self, nodeid):
            name = Path(nodeid.partition("::")[0]).stem.removeprefix("test_")
            return SHARED.get(name, name)

    return FilesTogether(config, log) if config.option.dist == "loadfile" else None


def pytest_collection_modifyitems(items):
    """Put the files that take long first; the others keep their order."""
    first = [f"test_{name}.py" for name in BEGUN_FIRST]
    items.sort(key=lambda item: first.index(item.path.name) if item.path.name in first else 99)


def pytest_configure(config):
    """Give each process its share of the processors."""
    if hasattr(config, "workerinput"):
        import torch

        torch.set_num_threads(max(1, torch.get_num_threads() // WORKERS))


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory):
    """Calls a function in a process of its own."""
    from helper_forked import Ended

    from harness.trials.fork_server import Call, ForkServer

    with open(tmp_path_factory.mktemp("fork_server") / "stderr.log", "a+b") as log:
        paths = f"{TESTS.parent}:{TESTS}"
        started = ForkServer.begun({**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}, log)

        def call(function, *arguments, environment=None, meanwhile=lambda child: None):
            place = {**os.environ, **(environment or {})}
            before = log.seek(0, os.SEEK_END)
            task = Call(function, [*map(str, arguments)], "/", place)
            with started.child(task, log, 120) as child:
                meanwhile(child)
                said = child.output.read().decode()
            log.seek(before)
            return Ended(child.ending, said + log.read().decode())

        yield call
        started.close()


@pytest.fixture(scope="session")
def pfbench(fork_server):
    """Calls a command, which may be told where to crash."""

    import helper_shared_imports

    from harness.runs import crash_points as crash

    def call(*arguments, crash_at=None, **how):
        place = helper_shared_imports.environment() | (
            {crash.VARIABLE: crash_at} if crash_at else {}
        )
        return fork_server("helper_warm_pfbench:main", *arguments, environment=place, **how)

    return call


@pytest.fixture(scope="session")
def undisturbed(pfbench, tmp_path_factory):
    from helper_forked import RUN

    out = tmp_path_factory.mktemp("forked") / "undisturbed"
    ended = pfbench(*RUN, "--out", out)
    assert "exit code 0" in ended.how, ended
    return out


@pytest.fixture(scope="module", autouse=True)
def environment_of_a_module():
    """MLflow's server, in this process, names its store in the environment of the next."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
