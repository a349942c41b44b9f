"""A disk that is full: what was there stays whole, the command says so, and finishes with room.

The disk is a small one in memory, which only root can mount.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import helper_in_process as in_process
import pytest
import torch
from helper_forked import RUN, assert_killed, assert_same, checkpoint_of
from helper_made_run import MadeRun

from harness.trials import checkpoint


@pytest.fixture
def disk(tmp_path):
    """A disk of 32 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk):
    """Leave nothing."""
    with open(disk / "ballast", "wb", buffering=0) as file:
        file.write(bytes(shutil.disk_usage(disk).free))


@pytest.mark.parametrize(
    "place",
    ["volume", "run", "checkpoint-sum", "cases"]
    + [pytest.param(place, marks=pytest.mark.long)
       for place in ("spec", "attempts", "checkpoint", "weights", "mask", "result", "table-csv")],
)  # fmt: skip
def test_a_full_disk_is_named_with_bytes_and_the_command_finishes_with_room(
    pfbench, undisturbed, disk, place
):
    out = disk / "out"
    assert_killed(pfbench(*RUN, "--out", out, crash_at=place))
    fill(disk)
    had = checkpoint_of(out)
    full = pfbench(*RUN, "--out", out)
    assert "exit code 7" in full.how, full
    assert "Traceback" not in full.said
    assert re.search(rf"error\[PFB-S01\]: {out}\S+: cannot (write [\d,]+ bytes|be made): "
                     "(?i:no space left on device)", full.said), full.said  # fmt: skip
    assert checkpoint_of(out) == had
    (disk / "ballast").unlink()
    ended = pfbench(*RUN, "--out", out)
    assert "exit code 0" in ended.how, ended
    assert ended.epochs[:1] in ([], [had + 1])
    assert_same(out, undisturbed)


def test_a_full_disk_beside_the_run_costs_mlflow_only(pfbench, undisturbed, disk, tmp_path):
    fill(disk)
    out = tmp_path / "out"
    store = f"sqlite:///{disk / 'mlflow.db'}"
    ours = [word for word in RUN if word != "--no-mlflow"]
    ended = pfbench(*ours, "--out", out, "--tracking-uri", store)
    assert "exit code 0" in ended.how, ended
    assert "warning: MLflow could not be brought up to date" in ended.said
    assert_same(out, undisturbed)
    (disk / "ballast").unlink()
    synced = pfbench("mlflow", "sync", out, "--tracking-uri", store)
    assert "1 trial in MLflow: 1 new" in synced.said, synced


def test_s4_a_disk_that_becomes_read_only_is_named_and_the_command_finishes_later(
    pfbench, undisturbed, disk
):
    out = disk / "out"
    assert_killed(pfbench(*RUN, "--out", out, crash_at="checkpoint-sum"))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    refused = pfbench(*RUN, "--out", out)
    assert "exit code 7" in refused.how, refused
    assert "Traceback" not in refused.said
    assert f"error[PFB-S02]: {out}" in refused.said and "Try: " in refused.said
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert "exit code 0" in pfbench(*RUN, "--out", out).how
    assert_same(out, undisturbed)


def save_for_ever(arguments):
    """Save one generation after the other, each of 50 MB, and say before which one it is."""
    folder, epoch = Path(arguments[0]), int(arguments[1])
    state = torch.rand(12_500_000)
    while True:
        print(epoch, flush=True)
        checkpoint.save(folder, epoch, {"epoch": epoch, "state": state})
        epoch += 1


@pytest.mark.long
def test_two_hundred_kills_while_a_checkpoint_of_50_mb_is_saved(fork_server, tmp_path):
    """The generation that loads is the one being saved, or the one before it."""
    rng, seen, newest = random.Random(0), Counter(), 0

    def kill(child):
        child.output.read(1)  # the first line
        time.sleep(rng.uniform(0, 0.6))
        os.kill(child.pid, signal.SIGKILL)

    for _ in range(200):
        ended = fork_server("test_full_disk:save_for_ever", tmp_path, newest + 1, meanwhile=kill)
        assert_killed(ended)
        saving = newest + max(1, ended.said.count("\n"))
        state = checkpoint.load(tmp_path)
        newest = state["epoch"] if state else 0
        seen[saving - newest] += 1
    print(f"\n200 kills: {seen[0]} left generation n, {seen[1]} generation n-1, others: "
          f"{seen.total() - seen[0] - seen[1]}; {newest} generations in all")  # fmt: skip
    assert set(seen) <= {0, 1}


@pytest.mark.parametrize("command", [["report"], ["mlflow", "sync"]])
def test_a_read_only_folder_is_named_with_the_way_out(disk, command):
    MadeRun(disk / "run", rows=("resunet3d",), cases=3)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = in_process.pfbench(*command, disk / "run", expect=7)
    assert "PFB-S01" in done.err and "--out elsewhere" in done.err
