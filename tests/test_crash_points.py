"""A run that dies between two writes loses nothing: the same command finishes it.

Every place of `harness.runs.crash_points` is one; the processes are forked from one that has
imported all.
"""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helper_forked import RUN, assert_killed, assert_same, checkpoint_of, trial_of

from harness.data import cache
from harness.data.case import Volume
from harness.runs import crash_points as crash
from harness.runs.files import read_json

WAY = [
    *("locked", "volume", "split", "data", "spec", "run", "attempts", "checkpoint"),
    *("checkpoint-sum", "history", "old-sum-removed", "weights", "mask", "cases", "result"),
    *("measurement", "table-csv", "table-md", "run@2", "report"),
]
"""The places in the order in which an undisturbed run comes there."""
OF_A_CHILD = "measurement"
"""Who dies there is the process that measured; its record is whole, and the command goes on."""


def before_and_after(place):
    """A file's place without its name yet, and with it; of another place, itself."""
    name, at, time = place.partition("@")
    return [f"{name}:unnamed{at}{time}", place] if name in crash.FILES else [place]


def test_every_file_of_a_run_has_a_place_to_crash_at(undisturbed):
    logs = {"run.log", "stderr.log", "driver.lock", "trial.lock"}
    files = [path for path in undisturbed.rglob("*") if path.is_file() and path.name not in logs]
    nameless = [
        path for path in files
        if "cache" not in path.parts and not any(map(path.match, crash.FILES.values()))
    ]  # fmt: skip
    assert nameless == []


def test_the_way_leads_to_every_place():
    met = {place.partition("@")[0] for way in WAY for place in before_and_after(way)}
    assert met | {"failure-set-aside"} == set(crash.POINTS)


def test_one_run_that_dies_everywhere_is_the_undisturbed_one(pfbench, undisturbed, tmp_path):
    out = tmp_path / "out"
    for place in [*(place for way in WAY for place in before_and_after(way)), None]:
        had, starts = checkpoint_of(out), 0
        finished = [*out.glob("trials/*/result.json")]
        if finished:
            starts = trial_of(out).starts("train")
        ended = pfbench(*RUN, "--out", out, crash_at=place)
        if place == OF_A_CHILD:
            assert "exit code 0" in ended.how, ended
        elif place:
            assert_killed(ended)
        assert ended.epochs[:1] in ([], [had + 1]), (place, ended)
        if finished:
            assert (ended.epochs, trial_of(out).starts("train")) == ([], starts)
    assert "exit code 0" in ended.how
    assert_same(out, undisturbed)
    assert trial_of(out).result().attempts == trial_of(out).starts("train") > 5


def test_a_failure_that_was_set_aside_is_not_lost_when_the_command_dies_then(
    pfbench, undisturbed, tmp_path
):
    out = tmp_path / "out"
    assert_killed(pfbench(*RUN, "--out", out, crash_at="attempts"))
    trial_of(out).write_failure("train", "crash", "as another would have left it")
    assert_killed(pfbench(*RUN, "--out", out, "--retry-failed", crash_at="failure-set-aside"))
    assert "exit code 0" in pfbench(*RUN, "--out", out, "--retry-failed").how
    kept = read_json(trial_of(out).path / "failure-1.json")
    assert (kept["reason"], kept["attempts"]) == ("crash", 1)
    assert_same(out, undisturbed)


EVERYWHERE = [
    place
    for way in [*WAY, "volume@2", "attempts@2", "checkpoint@3", "checkpoint-sum@3",
                "history@3"]
    for place in before_and_after(way)
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("place", EVERYWHERE)
def test_a_run_that_dies_once_is_the_undisturbed_one(pfbench, undisturbed, tmp_path, place):
    out = tmp_path / "out"
    assert_killed(pfbench(*RUN, "--out", out, crash_at=place))
    had, finished = checkpoint_of(out), [*out.glob("trials/*/result.json")]
    ended = pfbench(*RUN, "--out", out)
    assert ended.epochs == ([] if finished else [*range(had + 1, 6)])
    assert_same(out, undisturbed)


def test_without_the_variable_a_place_is_passed(monkeypatch):
    monkeypatch.delenv(crash.VARIABLE, raising=False)
    for place in crash.POINTS:
        crash.crash_point(place)


def die_in_the_cache(arguments):
    """Store a volume, and be killed at the so many-th call that touches the disk."""
    folder, calls = Path(arguments[0]), int(arguments[1])
    left = iter(range(calls))

    def counted(function):
        def call(*args):
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args)

        return call

    cache.os = SimpleNamespace(
        **{name: getattr(os, name) for name in dir(os) if not name.startswith("__")}
        | {name: counted(getattr(os, name)) for name in ("fsync", "rename")}
    )
    cache.write(folder, "key", volume())


def volume():
    image = np.random.default_rng(0).random((1, 8, 8, 8), dtype=np.float32)
    return Volume("a", image, np.uint8(image[0] > 0.5), (1, 1, 1))


def test_a_volume_is_in_the_cache_whole_or_not_at_all(fork_server, tmp_path):
    endings = []
    for calls in range(7):
        folder = tmp_path / str(calls)
        endings.append(fork_server("test_crash_points:die_in_the_cache", folder, calls).how)
        if (folder / "key").exists():
            np.testing.assert_array_equal(cache.open_volume(folder, "key").image, volume().image)
        cache.write(folder, "key", volume())
        assert cache.lookup(folder, "key")["case"] == "a"
    assert ["SIGKILL" in how for how in endings] == [True] * 6 + [False]


def stop(pfbench, out, *numbers):
    """Signals in the second epoch, one right after the other; how it ended and what it said."""

    def second_epoch(child):
        while not (out / "trials").exists() or checkpoint_of(out) < 1:
            time.sleep(0.02)
        for number in numbers:
            os.kill(child.pid, number)

    return pfbench(*RUN, "--epochs", 200, "--out", out, meanwhile=second_epoch)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_in_order(pfbench, tmp_path, number, code):
    out = tmp_path / "out"
    ended = stop(pfbench, out, number)
    assert f"exit code {code}" in ended.how, ended
    assert "interrupted\nto continue, repeat: pfbench run --suite table5" in ended.said
    assert "incomplete: 0 of 1 trials finished" in (out / "table.md").read_text()
    assert read_json(out / "run.json")["status"] == "interrupted"


def test_a_second_signal_ends_it_at_once(pfbench, tmp_path):
    ended = stop(pfbench, tmp_path / "out", signal.SIGINT, signal.SIGTERM)
    assert "exit code 143" in ended.how, ended
    assert "to continue" not in ended.said
