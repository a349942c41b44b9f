"""While a study runs a person sees what runs, what is done, the best so far and the time left."""

import io

import pytest
from helper_made_run import NO_TRIAL
from rich.console import Console

from harness.experiments.study_screen import StudyScreen
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen
from harness.runs.study_folder import propose


@pytest.fixture
def display(tmp_path, monkeypatch):
    """Of a study of five points, one of which an earlier command completed."""
    earlier = propose(RunFolder(tmp_path), "pfseg", 0, "pfseg", {"w_srt": 0.5}, [NO_TRIAL])
    earlier.end("complete", 0.4)
    now = [0.0]
    monkeypatch.setattr("harness.experiments.study_screen.time.monotonic", lambda: now[0])
    screen = Screen()
    screen.console = Console(file=io.StringIO(), width=200)
    shown = StudyScreen(screen, RunFolder(tmp_path), "pfseg", 5, 9)
    shown.wait = lambda seconds: now.__setitem__(0, now[0] + seconds)
    shown.said = lambda: screen.console.file.getvalue().splitlines()
    return shown


def proposed(display, number, weight):
    display.event(number, {"event": "proposed", "params": {"w_srt": weight}})
    display.event(number, {"event": "start", "node": ""})


def trained(display, number, epoch):
    display.event(number, {"event": "epoch", "epoch": epoch, "value": 0.3})


def ended(display, number, state, value):
    display.event(number, {"event": "end", "state": state, "value": value, "reason": ""})


def test_what_earlier_commands_did_counts(display):
    assert display.summary() == ("1 of 5 done (0 stopped), 0 running, best 0.400 (#0 w_srt=0.5)")


def test_running_stopped_best_with_its_weights_and_time_left(display):
    for number, weight in ((1, 0.1), (2, 0.2), (3, 0.3)):
        proposed(display, number, weight)
    ended(display, 1, "stopped", 0.2)
    ended(display, 2, "complete", 0.6)
    assert display.summary() == ("3 of 5 done (1 stopped), 1 running, best 0.600 (#2 w_srt=0.2)")


def test_time_left_counts_epochs_of_points_as_long_as_those_that_ended(display):
    for number, epochs in ((1, 1), (2, 8)):
        proposed(display, number, 0.1)
        for epoch in range(1, epochs + 1):
            trained(display, number, epoch)
        ended(display, number, "complete", 0.2)
    display.wait(18)  # 2 s an epoch; points were 0, 1 and 8 epochs long
    assert display.summary().endswith(", 0:12 left")
    proposed(display, 3, 0.1)
    trained(display, 3, 1)
    display.wait(2)
    assert display.summary().endswith(", 0:10 left")


def test_before_any_point_has_ended_each_is_taken_to_go_all_the_way(tmp_path, display):
    fresh = StudyScreen(display.screen, RunFolder(tmp_path / "fresh"), "pfseg", 2, 9)
    proposed(fresh, 0, 0.1)
    display.wait(5)
    trained(fresh, 0, 1)
    assert fresh.summary() == "0 of 2 done (0 stopped), 1 running, 1:25 left"


def test_a_stopped_point_is_not_the_best_however_well_it_stood(display):
    proposed(display, 1, 0.1)
    ended(display, 1, "stopped", 0.9)
    assert "best 0.400 (#0 w_srt=0.5)" in display.summary()


def test_each_epoch_is_a_line_where_there_is_no_terminal(display):
    proposed(display, 1, 0.1)
    display.event(1, {"event": "epoch", "epoch": 3, "value": 0.25})
    started, epoch = display.said()
    assert "pfseg 1    started  #1 w_srt=0.1" in started
    assert "epoch 3/9  val Dice 0.250  1 of 5 done (0 stopped), 1 running" in epoch
