"""A cluster as its user has it: three machines that share one folder and nothing else."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

TESTS = Path(__file__).parent
UNSHARE = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--uts", "--pid"]
UNSHARE += ["--fork", "--mount-proc", "--kill-child"]
TABLE = ["--suite", "table5", "--epochs", "6", "--set", "phantom.cases=4"]


def possible():
    tools = all(map(shutil.which, ("unshare", "nsenter", "ip")))
    bridge = [*UNSHARE, "ip", "link", "add", "br0", "type", "bridge"]
    return tools and not subprocess.run(bridge, capture_output=True, check=False).returncode


pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not possible(), reason="needs user and network namespaces of Linux"),
]


def scenario(shared, name, *arguments):
    done = subprocess.run(
        [*UNSHARE, sys.executable, TESTS / "helper_three_machines.py", shared, name, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def scores(out):
    table = pd.read_csv(out / "table.csv")
    return table[
        [name for name in table if not re.search("time|_s$|peak_mib|threads|device", name)]
    ]


@pytest.fixture(scope="module")
def survived(tmp_path_factory):
    shared = tmp_path_factory.mktemp("shared")
    done = scenario(shared, "killed_midway", *TABLE)
    print(done["said"], done["killed"], done["seconds"], "s")
    return shared / "out", done


@pytest.fixture(scope="module")
def trials(survived):
    out, _ = survived
    return [json.loads(path.read_text()) for path in out.glob("trials/*/result.json")]


def test_the_suite_finishes_without_the_machine_that_died(survived):
    _, done = survived
    assert done["code"] == 0, done["said"]


def test_the_lost_trial_goes_on_elsewhere_from_its_checkpoint(survived):
    _, done = survived
    again = r"started on (node-[13]) again, from its last checkpoint"
    lines = [line for line in done["said"].splitlines() if line.startswith(done["killed"])]
    [_, *after] = "\n".join(lines).split("again, from its last checkpoint")
    assert re.search(again, "\n".join(lines))
    assert "epoch 1/" not in after[0]


def test_trials_are_spread_over_the_machines_and_say_so(survived, trials):
    places = {trial["environment"]["node"] for trial in trials}
    assert {"node-1", "node-3"} <= places <= {"node-1", "node-2", "node-3"}
    for node in ("node-1", "node-2", "node-3"):
        assert f"started on {node}" in survived[1]["said"]


def test_times_come_from_one_machine(survived):
    out, _ = survived
    measured = [json.loads(path.read_text()) for path in out.glob("trials/*/measurement.json")]
    assert len(measured) == 8
    assert len({one["node"] for one in measured}) == 1


def test_the_table_is_that_of_one_machine_but_for_times(survived, tmp_path):
    out, _ = survived
    subprocess.run(
        [sys.executable, "-c", "from harness.cli import main; main()", "run", *TABLE,
         "--out", tmp_path / "alone", "--no-mlflow"],
        cwd=TESTS.parent, capture_output=True, check=True,
    )  # fmt: skip
    pd.testing.assert_frame_equal(scores(out), scores(tmp_path / "alone"))


def test_a_folder_that_is_not_shared_is_refused_before_anything_is_done(tmp_path):
    done = scenario(tmp_path, "refused", *TABLE)
    assert done["code"] == 6
    assert "error[PFB-R03]: node-2, node-3: /tmp/out is not there" in done["said"]
    assert "storage that all machines mount at the same path" in done["said"]
