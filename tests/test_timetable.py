"""What a study proposes and stops depends on values and lanes, not on who arrives first."""

import math
import random

import pytest
from test_study import height, search

from tuning.study import KnownPoint
from tuning.timetable import Timetable

EPOCHS = 9
PLANS = [("optuna", "asha"), ("optuna", "none"), ("random", "asha"), ("grid", "asha")]


class Machine:
    """Trainings on some places at once, of which any may be the next to end an epoch."""

    def __init__(self, plan, lanes, places, seed, past=()):
        self.plan, self.places, self.rng = plan, places, random.Random(seed)
        self.table = Timetable(plan, lanes, past)
        self.points = {
            point.number: (point.params, dict(point.values), point.state) for point in past
        }
        self.running = {}
        self.most = 0
        self.waits = 0
        self.note()

    def note(self):
        for number in self.table.stopped():
            params, values, _ = self.points[number]
            self.points[number] = params, values, "stopped"

    def step(self):
        """Let one point train for an epoch; returns whether anything is left to do."""
        while len(self.running) < self.places and (point := self.table.next()):
            self.points.setdefault(point.number, (point.params, {}, "unfinished"))
            self.running[point.number] = 0
        self.most = max(self.most, len(self.running))
        if not self.running:
            return False
        number = self.rng.choice([*self.running])
        self.running[number] += 1
        epoch, (params, values, _) = self.running[number], self.points[number]
        if epoch > EPOCHS or (epoch == 5 and params["x"] > 0.6):
            self.table.ended(number, failed=epoch <= EPOCHS)
            del self.running[number]
            self.points[number] = params, values, self.table.outcome(number)[0]
        else:
            values[epoch] = height(params, epoch)
            if not self.table.heard(number, epoch, values[epoch]):
                del self.running[number]
                self.waits += 1
        self.note()
        return True

    def run(self):
        while self.step():
            pass
        assert self.table.left == 0
        return self.points

    @property
    def past(self):
        return [KnownPoint(number, *point) for number, point in self.points.items()]


@pytest.mark.parametrize(("sampler", "pruner"), PLANS)
def test_any_order_of_arrival_on_any_number_of_places_makes_the_same_decisions(sampler, pruner):
    plan = search(16, sampler, pruner)
    first = Machine(plan, 3, 3, seed=0).run()
    assert len(first) == 16
    for seed in range(1, 9):
        assert Machine(plan, 3, 1 + seed % 5, seed).run() == first


@pytest.mark.parametrize("kills", range(1, 12, 2))
def test_killed_wherever_it_stands_it_decides_what_it_would_have_decided(kills):
    plan, rng = search(16), random.Random(kills)
    whole = Machine(plan, 3, 3, seed=0).run()
    broken = Machine(plan, 3, 3, seed=kills)
    for _ in range(kills):
        for _ in range(rng.randrange(12)):
            broken.step()
        broken = Machine(plan, 3, 3, rng.random(), broken.past)
    assert broken.run() == whole


def test_lanes_are_what_decides_beside_the_values():
    plan = search(16)
    assert Machine(plan, 1, 1, seed=0).run() != Machine(plan, 4, 1, seed=0).run()


def test_a_point_whose_turn_is_later_leaves_its_place_and_comes_back():
    table = Timetable(search(3), 2)
    assert [table.next().number, table.next().number, table.next()] == [0, 1, None]
    assert not table.heard(1, 1, 0.9)  # is it poor? That depends on point 0.
    assert (table.next(), table.stopped(), table.left) == (None, [], 1)
    assert table.heard(0, 1, 0.1)
    assert table.stopped() == []
    assert table.next() == (1, table.points[1].params, False)


def test_a_point_that_was_poor_all_the_time_is_stopped_when_its_turn_comes():
    table = Timetable(search(3), 2)
    table.next(), table.next()
    assert not table.heard(1, 1, 0.1)
    assert table.heard(0, 1, 0.9)
    assert table.stopped() == [1] and table.outcome(1) == ("stopped", 0.1)
    assert table.next().number == 2


def test_no_more_points_than_lanes_train_at_once():
    machine = Machine(search(16), 3, 8, seed=0)
    machine.run()
    assert machine.most == 3


def test_where_values_decide_nothing_all_places_are_used():
    machine = Machine(search(16, "random", "none"), 2, 8, seed=0)
    machine.run()
    assert (machine.most, machine.waits) == (8, 0)


def test_trainings_of_equal_speed_never_wait():
    """Epoch for epoch on as many places as lanes, a point goes on at once or is stopped."""
    plan = search(30)
    table = Timetable(plan, 3)
    running, waited = {}, 0
    while True:
        while len(running) < 3 and (point := table.next()):
            running[point.number] = (0, point.params)
        if not running:
            break
        for number, (epoch, params) in sorted(running.items()):
            running[number] = epoch + 1, params
            goes_on = table.heard(number, epoch + 1, height(params, epoch + 1))
            waited += not goes_on and number not in table.stopped()
            if epoch + 1 == EPOCHS:
                table.ended(number, failed=False)
            if not goes_on or epoch + 1 == EPOCHS:
                del running[number]
    assert (len(table.points), waited) == (30, 0)


def test_a_value_at_a_rung_is_the_last_one_of_a_training_that_ended_before():
    early = KnownPoint(0, {"x": 0.5, "y": 0.5}, {1: 0.4, 2: 0.8}, "complete")
    table = Timetable(search(3, first=()), 1, [early])
    assert table.next().number == 1
    assert table.heard(1, 1, 0.9)
    assert not table.heard(1, 3, 0.7) and table.stopped() == [1]
    assert math.isclose(table.points[0].value_at(3), 0.8)
