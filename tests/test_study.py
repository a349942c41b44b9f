"""Studies: what is proposed, what is stopped, and that a killed driver changes neither."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import pytest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

from tuning.launch import Cluster, ray_cluster  # noqa: E402
from tuning.study import KnownPoint, Range, StudySettings, run_study  # noqa: E402
from tuning.timetable import Timetable  # noqa: E402

TOP = Path(__file__).parent.parent
SQUARE = {"x": Range(0, 1), "y": Range(0.01, 1, log=True)}
CENTRE = {"x": 0.5, "y": 0.5}
ONE = Cluster(max_concurrent=1)


def search(points=12, sampler="optuna", pruner="asha", **changes):
    plan = {"space": SQUARE, "epochs": 9, "grace": 1, "first": (CENTRE,), **changes}
    return StudySettings(points=points, sampler=sampler, pruner=pruner, **plan)


def height(params, epoch):
    """A hill whose top is at x = 0.3, y = 0.1; it rises with the epochs."""
    return 1 - (params["x"] - 0.3) ** 2 - (math.log10(params["y"]) + 1) ** 2 - 1 / epoch


def training():
    """Climb, epoch for epoch, continuing from a file; a closure, which Ray can carry over."""

    def train(payload, report, node):
        path, values = Path(payload["path"]), payload["values"]
        known = len(path.read_text(encoding="utf-8").split()) if path.exists() else 0
        for epoch, value in enumerate(values, start=1):
            if epoch > known:
                with open(path, "a", encoding="utf-8") as file:
                    file.write(f"{value!r}\n")
            report({"epoch": epoch, "value": value})
        return {"reason": "ok"}

    return train


class Killed(BaseException):
    """The end of an inline driver."""


class Disk:
    """A study's files: what a harness would keep, and what it finds again."""

    def __init__(self, folder, die=None):
        self.folder = folder
        self.die = die or (lambda call: None)
        self.calls = count(1)
        self.events = []

    def payload_of(self, number, params):
        self.die(next(self.calls))
        self._write(number, {"params": params, "state": "unfinished"})
        values = [height(params, epoch) for epoch in range(1, 10)]
        return {"number": number, "values": values, "path": str(self.folder / f"{number}.txt")}

    def on_event(self, number, event):
        self.die(next(self.calls))
        self.events.append((number, event))
        if event["event"] == "end":
            content = json.loads((self.folder / f"{number}.json").read_text())
            self._write(number, content | {"state": event["state"]})

    def past(self):
        for path in self.folder.glob("*.json"):
            values = path.with_suffix(".txt")
            lines = values.read_text().split() if values.exists() else []
            content = json.loads(path.read_text())
            known = {epoch: float(line) for epoch, line in enumerate(lines, start=1)}
            yield KnownPoint(int(path.stem), content["params"], known, content["state"])

    def points(self):
        return sorted(self.past(), key=lambda point: point.number)

    def kinds(self, number):
        return [event["event"] for whose, event in self.events if whose == number]

    def _write(self, number, content):
        fresh = self.folder / "fresh"
        fresh.write_text(json.dumps(content))
        fresh.replace(self.folder / f"{number}.json")


def study(disk, plan, cluster=ONE, work=None, cpus=1, lanes=1, **options):
    run_study(
        plan, disk.past(), work or training(), disk.payload_of, cpus, 0, cluster, disk.on_event,
        lanes=lanes, **options,
    )  # fmt: skip
    return disk


class Stopped(BaseException):
    """How a report that does not return looks inline."""


def one_by_one(source, work, cluster, sizes):
    """Jobs in this process."""

    def report(event):
        if source.heard(job.id, event):
            raise Stopped

    while job := source.next():
        source.started(job.id, "")
        try:
            source.ended(job.id, work(job.payload, report, ""))
        except Stopped:
            pass
        except ValueError as error:
            source.ended(job.id, {"reason": "error", "detail": str(error)})


@pytest.fixture
def inline(monkeypatch):
    monkeypatch.setattr("tuning.study.place", one_by_one)


@pytest.mark.parametrize(
    "ends, why",
    [
        ({"low": 1, "high": 1}, "the low end has to be the smaller"),
        ({"low": 0, "high": math.inf}, "both ends have to be finite"),
        ({"low": 0, "high": 1, "log": True}, "starts above 0, not at 0"),
        ({"low": 0.5, "high": 3, "integer": True}, "both ends have to be whole numbers"),
    ],
)
def test_a_range_says_what_is_wrong_with_it(ends, why):
    with pytest.raises(ValueError, match=why):
        Range(**ends)


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"points": 0}, "points is 0"),
        ({"reduction": 1}, "reduction is 1, but at least 2"),
        ({"space": {}}, "the space is empty"),
        ({"first": ({"x": 0.5},)}, "a first point has x; the space has x, y"),
        ({"first": ({"x": 0.5, "y": 0.0},)}, "a first point has y = 0"),
        ({"sampler": "annealing"}, "no search by annealing"),
    ],
)
def test_a_search_says_what_cannot_be(changes, why):
    with pytest.raises(ValueError, match=why):
        search(**changes)


def test_rungs_are_powers_of_the_reduction_below_the_last_epoch():
    assert search(epochs=100, grace=2, reduction=3).rungs == (2, 6, 18, 54)
    assert search(epochs=54, grace=2, reduction=3).rungs == (2, 6, 18)
    assert search(pruner="none").rungs == ()


def test_steps_of_a_range_are_equal_in_distance_or_ratio():
    assert Range(0, 1).steps(5) == [0, 0.25, 0.5, 0.75, 1]
    assert Range(0.01, 1, log=True).steps(3) == pytest.approx([0.01, 0.1, 1])
    assert Range(1, 3, integer=True).steps(5) == [1, 2, 3]


def test_a_grid_is_every_combination_once(inline, tmp_path):
    plan = search(9, "grid", "none", space={"x": Range(0, 1), "y": Range(0.25, 0.75)})
    points = study(Disk(tmp_path), plan).points()
    found = [(point.params["x"], point.params["y"]) for point in points]
    assert found[0] == (0.5, 0.5)  # the reference is on the grid
    assert sorted(found) == [(x, y) for x in (0, 0.5, 1) for y in (0.25, 0.5, 0.75)]


@pytest.mark.parametrize(
    ("dimensions", "points", "steps"), [(1, 20, 20), (1, 2, 3), (2, 9, 3), (3, 125, 5), (3, 28, 4)]
)
def test_a_grid_is_as_fine_as_its_points_need(dimensions, points, steps):
    space = {str(dimension): Range(0, 1) for dimension in range(dimensions)}
    grid = search(points, "grid", space=space, first=()).grid()
    assert len(grid) == steps**dimensions
    assert {point["0"] for point in grid} == set(Range(0, 1).steps(steps))


def test_a_grid_of_few_whole_numbers_is_smaller_than_was_asked_for():
    space = {"a": Range(1, 2, integer=True), "b": Range(1, 3, integer=True)}
    inside, outside = {"a": 1, "b": 2}, {"a": 7, "b": 2}
    sizes = [
        search(100, "grid", space=space, first=first).size for first in ((), (inside,), (outside,))
    ]
    assert sizes == [6, 6, 7]
    assert search(5, "grid", space=space, first=()).size == 5


def test_numbers_run_out_where_only_whole_ones_are_looked_at(inline, tmp_path):
    space = {"x": Range(1, 2, integer=True), "y": Range(1, 3, integer=True)}
    plan = search(50, pruner="none", space=space, first=())
    points = study(Disk(tmp_path), plan).points()
    assert len(points) == len({tuple(point.params.values()) for point in points}) == 6


@pytest.mark.parametrize("sampler", ["optuna", "random", "grid"])
def test_the_reference_comes_first(sampler):
    assert Timetable(search(sampler=sampler), 1).next() == (0, CENTRE, True)


def test_the_seed_decides_what_is_proposed(inline, tmp_path):
    def proposed(name, seed):
        (tmp_path / name).mkdir()
        points = study(Disk(tmp_path / name), search(4, seed=seed)).points()
        return [point.params for point in points]

    assert proposed("a", seed=1) == proposed("b", seed=1) != proposed("c", seed=2)


def test_tpe_climbs_higher_than_random_search(inline, tmp_path):
    def best(sampler, seed):
        folder = tmp_path / f"{sampler}{seed}"
        folder.mkdir()
        points = study(Disk(folder), search(40, sampler, "none", seed=seed)).points()
        return max(point.values[9] for point in points)

    tpe, random = (sum(best(s, seed) for seed in range(5)) for s in ("optuna", "random"))
    assert tpe > random


def test_of_the_points_at_a_rung_the_best_third_goes_on():
    table = Timetable(search(20, first=()), 9)
    numbers = [table.next().number for _ in range(9)]
    values = [0.5, 0.4, 0.6, 0.7, 0.3, 0.65, 0.8, 0.62, 0.9]
    # After n values the best n // 3, at least one, go on: is the new value among them?
    goes_on = [v in sorted(values[: n + 1])[-max(1, (n + 1) // 3) :] for n, v in enumerate(values)]
    assert goes_on == [True, False, True, True, False, True, True, False, True]
    assert [table.heard(n, 1, values[n]) for n in numbers] == goes_on


def test_poor_points_are_stopped_at_rungs_and_only_there(inline, tmp_path):
    points = study(Disk(tmp_path), search(15)).points()
    stopped = [max(point.values) for point in points if point.state == "stopped"]
    assert stopped and set(stopped) <= {1, 3}
    assert {max(p.values) for p in points if p.state == "complete"} == {9}


def test_at_the_last_epoch_nothing_is_stopped_any_more():
    table = Timetable(search(2, first=()), 2)
    table.next(), table.next()
    for epoch, values in ((1, (0.5, 0.5)), (3, (0.6, 0.6)), (9, (0.9, 0.1))):
        assert [table.heard(number, epoch, values[number]) for number in (0, 1)] == [True, True]


def test_the_reference_is_never_stopped():
    table = Timetable(search(), 2)
    table.next(), table.next()
    assert table.heard(0, 1, 0.1)
    assert table.heard(1, 1, 0.9)


def test_a_value_that_is_no_number_is_a_failure_not_a_score(inline, tmp_path):
    def diverge(payload, report, node):
        report({"epoch": 1, "value": math.nan})
        return {"reason": "ok"}

    disk = study(Disk(tmp_path), search(2, first=()), work=diverge)
    ends = [event for _, event in disk.events if event["event"] == "end"]
    assert [(e["state"], e["value"], e["reason"]) for e in ends] == [("failed", None, "value")] * 2


def test_an_end_follows_its_epochs_and_says_why(inline, tmp_path):
    disk = study(Disk(tmp_path), search(5))
    assert disk.kinds(0) == ["proposed", "start", *["epoch"] * 9, "end"]
    number, end = next((n, e) for n, e in disk.events if e.get("state") == "stopped")
    values = disk.points()[number].values
    why = {"reason": "stopped", "detail": "not among the best 1 in 3"}
    assert end == {"event": "end", "state": "stopped", "value": values[max(values)], **why}


@pytest.mark.parametrize("sampler", ["optuna", "random", "grid"])
def test_killed_at_any_moment_a_study_finds_the_same_points(inline, tmp_path, sampler):
    """Killed at every call, one after the other, before what it brings is written."""

    def die_at(moment):
        def die(call):
            if call == moment:
                raise Killed

        return die

    plan = search(14, sampler)
    (tmp_path / "whole").mkdir()
    whole = study(Disk(tmp_path / "whole"), plan)
    (tmp_path / "broken").mkdir()
    for moment in range(1, 8):
        for _ in range(3):
            with pytest.raises(Killed):
                study(Disk(tmp_path / "broken", die_at(moment)), plan)
    broken = study(Disk(tmp_path / "broken"), plan)
    assert broken.points() == whole.points()


def test_a_point_stopped_just_when_its_driver_died_does_not_run_again(inline, tmp_path):
    disk = study(Disk(tmp_path), search(3))
    poor = next(point for point in disk.points() if point.state == "stopped")
    disk._write(poor.number, {"params": poor.params, "state": "unfinished"})
    again = study(Disk(tmp_path), search(3))
    assert again.kinds(poor.number) == ["end"]
    assert again.points() == disk.points()


def test_a_point_beyond_a_rung_is_not_judged_there_again():
    rivals = [
        KnownPoint(n, {"x": n / 9, "y": 0.9}, {1: 0.5 + n / 10}, "stopped") for n in (0, 1, 2)
    ]
    started = KnownPoint(3, {"x": 0.9, "y": 0.2}, {1: 0.1, 2: 0.2}, "unfinished")
    table = Timetable(search(), 1, [*rivals, started])
    assert table.stopped() == [] and table.next().number == 3
    assert table.heard(3, 1, 0.1)
    assert not table.heard(3, 3, math.nan) and table.stopped() == [3]


def test_unfinished_points_come_first_under_their_numbers(inline, tmp_path):
    disk = study(Disk(tmp_path), search(3, pruner="none"))
    before = disk.points()
    for number in (1, 2):
        params = before[number].params
        disk._write(number, {"params": params, "state": "unfinished"})
        (tmp_path / f"{number}.txt").unlink()
    again = study(Disk(tmp_path), search(4, pruner="none"))
    starts = [number for number, event in again.events if event["event"] == "start"]
    assert starts == [1, 2, 3]
    assert "proposed" not in again.kinds(1)
    assert again.points()[:3] == before


def test_a_finished_study_does_nothing(inline, tmp_path):
    study(Disk(tmp_path), search(5))
    assert study(Disk(tmp_path), search(5)).events == []


def test_more_points_continue_a_finished_study(inline, tmp_path):
    few, many = tmp_path / "few", tmp_path / "many"
    few.mkdir(), many.mkdir()
    study(Disk(few), search(5))
    assert study(Disk(few), search(9)).points() == study(Disk(many), search(9)).points()


def test_the_sampler_learns_from_past_points():
    """Twenty past points that are good at x = 0.8 only: new ones are near that."""
    past = [
        KnownPoint(n, {"x": n / 20, "y": 0.1}, {9: -((n / 20 - 0.8) ** 2)}, "complete")
        for n in range(20)
    ]
    plans = [search(30, pruner="none", first=(), seed=seed) for seed in range(8)]
    proposed = [Timetable(plan, 1, past).next().params["x"] for plan in plans]
    assert all(abs(x - 0.8) < 0.2 for x in proposed)


def test_no_point_starts_after_the_time_budget(inline, tmp_path):
    assert study(Disk(tmp_path), search(), time_budget_s=0).events == []


def test_when_time_is_up_a_point_is_left_at_its_next_rung(inline, tmp_path):
    def slow(payload, report, node):
        def late(event):
            if event["epoch"] == 2:
                time.sleep(0.2)
            report(event)

        return training()(payload, late, node)

    disk = study(Disk(tmp_path), search(), work=slow, time_budget_s=0.1)
    assert disk.kinds(0) == ["proposed", "start", *["epoch"] * 3]
    assert disk.points()[0].state == "unfinished"


# On a real Ray from here on.


@pytest.fixture(scope="module")
def ray():
    with ray_cluster(Cluster()):
        import ray

        yield ray


def test_failed_and_lost_points_leave_the_others_alone(ray, tmp_path):
    def unlucky(payload, report, node):
        report({"epoch": 1, "value": 0.5 + payload["number"] / 10})
        if payload["number"] == 1:
            raise ValueError("no such thing")
        if payload["number"] == 2:
            os._exit(3)
        return {"reason": "ok"}

    disk = study(Disk(tmp_path), search(5, pruner="none"), work=unlucky, cluster=Cluster())
    ends = {n: (e["state"], e["reason"]) for n, e in disk.events if e["event"] == "end"}
    assert ends == {
        0: ("complete", "ok"),
        1: ("failed", "error"),
        2: ("failed", "lost"),
        3: ("complete", "ok"),
        4: ("complete", "ok"),
    }
    assert disk.kinds(2).count("start") == 2


def test_a_stopped_point_leaves_nothing_in_the_process_of_the_next(ray, tmp_path):
    def watchful(payload, report, node):
        others = [t.name for t in threading.enumerate() if t.name == "training"]
        threading.current_thread().name = "training"
        try:
            report({"epoch": 1, "value": -payload["number"], "others": others, "pid": os.getpid()})
            return {"reason": "ok"}
        finally:
            Path(payload["path"]).touch()

    disk = study(Disk(tmp_path), search(4, first=()), work=watchful)
    assert [point.state for point in disk.points()] == ["complete", *["stopped"] * 3]
    told = [event for _, event in disk.events if event["event"] == "epoch"]
    assert [event["others"] for event in told] == [[]] * 4
    assert len({event["pid"] for event in told}) == 1
    assert all((tmp_path / f"{number}.txt").exists() for number in range(3))


def test_fractions_of_a_cpu_hold_more_points_than_there_are_cpus(ray, tmp_path):
    def meet(payload, report, node):
        path = Path(payload["path"])
        path.touch()
        until = time.monotonic() + 60
        while len(list(path.parent.glob("*.txt"))) < payload["expected"]:
            if time.monotonic() > until:
                return {"reason": "alone"}
            time.sleep(0.02)
        report({"epoch": 9, "value": 0.5})
        return {"reason": "ok"}

    cpus = int(ray.cluster_resources()["CPU"])
    disk = Disk(tmp_path)
    payload_of = disk.payload_of
    disk.payload_of = lambda *point: payload_of(*point) | {"expected": cpus + 1}
    share = math.floor(1e4 * cpus / (cpus + 1)) / 1e4
    plan = search(cpus + 1, pruner="none")
    study(disk, plan, work=meet, cpus=share, cluster=Cluster(), lanes=cpus + 1)
    assert [point.state for point in disk.points()] == ["complete"] * (cpus + 1)


@pytest.mark.long
def test_who_is_faster_changes_nothing_on_ray(ray, tmp_path):
    def uneven(slow, climb):
        def train(payload, report, node):
            def late(event):
                time.sleep(0.1 if payload["number"] % 2 == slow else 0)
                report(event)

            return climb(payload, late, node)

        return train

    found = []
    for slow in range(2):
        (tmp_path / str(slow)).mkdir()
        disk = Disk(tmp_path / str(slow))
        work = uneven(slow, training())
        study(disk, search(10), cluster=Cluster(), work=work, cpus=0.5, lanes=3)
        found.append(disk.points())
    assert found[0] == found[1]
    assert {point.state for point in found[0]} == {"complete", "stopped"}


@pytest.mark.long
def test_a_study_whose_driver_is_killed_ends_like_an_undisturbed_one(ray, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir(), broken.mkdir()
    address = ray.get_runtime_context().gcs_address
    for moment in ("20", "9"):
        killed = subprocess.run(
            [sys.executable, __file__, broken, address, moment],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            capture_output=True,
            text=True,
        )
        assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, "")
    continued = study(Disk(broken), search(10))
    monkeypatch.setattr("tuning.study.place", one_by_one)
    assert continued.points() == study(Disk(whole), search(10)).points()


if __name__ == "__main__":  # a driver of its own, which kills itself

    def die(call, moment=int(sys.argv[3])):
        if call == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    with ray_cluster(Cluster(sys.argv[2])):
        study(Disk(Path(sys.argv[1]), die), search(10))
