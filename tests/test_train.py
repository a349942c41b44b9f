"""Training: the same every time, and the same after an interruption."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.data.case import Volume
from harness.runs.settings import resolve
from harness.systems import catalogue as systems
from harness.systems.train import NotFinite, Plateau, TrainingJob, TrainingState, train

GRID = (32, 32, 32)
SMALL = {"widths": (4, 4, 4, 4)}


def volumes(count=3):
    made = []
    for index in range(count):
        rng = np.random.default_rng(index)
        label = np.zeros(GRID, np.uint8)
        z, y, x = rng.integers(4, 14, 3)
        label[z : z + 12, y : y + 12, x : x + 12] = 1
        noise = rng.random((1, *GRID), dtype=np.float32)
        image = (0.7 * label + 0.3 * noise).astype(np.float32)
        image.flags.writeable = label.flags.writeable = False
        made.append(Volume(f"case{index}", image, label, (1.0, 1.0, 1.0)))
    return made


class Memory:
    """Keeps checkpoints like a disk does: the state at the time, not what becomes of it."""

    def __init__(self, saved=None):
        self.saved = saved

    def save(self, epoch, state):
        import copy

        self.saved = copy.deepcopy(state)

    def load(self):
        return self.saved


class Interrupted(Exception):
    pass


def method(name="unet3d"):
    torch.manual_seed(0)
    return systems.build(name, SMALL, 1, GRID)


def lesson(store, *, epochs=4, stop_after=None, seed=0, cases=None, **protocol):
    changes = [f"protocol.{key}={value}" for key, value in protocol.items()]
    rows = []

    def report(row):
        rows.append(row)
        if len(rows) == stop_after:
            raise Interrupted

    cases = cases or volumes()
    settings = resolve("quick", None, changes, epochs).protocol
    return TrainingJob(cases[:2], cases[2:], settings, seed, store, report)


def without_seconds(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


@pytest.mark.parametrize(
    "cases, validated", [(3, [False, True, False, True, True]), (2, [False] * 5)]
)
def test_validation_cases_are_scored_every_so_many_epochs_and_at_the_end(cases, validated):
    asked = lesson(Memory(), epochs=5, cases=volumes(cases), validate_every=2)
    history = train(method(), asked).history
    assert ["val_dice" in row for row in history] == validated


def test_equal_seeds_give_equal_training():
    one, two = (train(method(), lesson(Memory())) for _ in range(2))
    assert without_seconds(one.history) == without_seconds(two.history)


def test_another_seed_gives_another_training():
    one, two = (train(method(), lesson(Memory(), seed=seed)) for seed in (0, 1))
    assert without_seconds(one.history) != without_seconds(two.history)


@pytest.mark.parametrize("epoch", [1, 3])
def test_interrupted_and_continued_equals_undisturbed(epoch):
    whole = method()
    expected = train(whole, lesson(Memory()))
    store = Memory()
    with pytest.raises(Interrupted):
        train(method(), lesson(store, stop_after=epoch))
    torch.manual_seed(99)
    rest = systems.build("unet3d", SMALL, 1, GRID)
    found = train(rest, lesson(store))
    assert without_seconds(found.history) == without_seconds(expected.history)
    for a, b in zip(whole.network.parameters(), rest.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_loss_falls_and_the_target_is_found():
    progress = train(method(), lesson(Memory(), epochs=30, learning_rate=0.02))
    assert progress.history[-1]["loss"] < 0.85 * progress.history[0]["loss"]
    assert progress.best_dice > 0.2  # everything is target: 0.10


def test_a_loss_that_is_no_number_ends_the_trial_and_names_the_case():
    cases = volumes()
    broken = Volume("case_nan", np.full((1, *GRID), np.nan, np.float32), cases[0].label, (1, 1, 1))
    with pytest.raises(NotFinite, match="case_nan"):
        train(method(), lesson(Memory(), cases=[broken, *cases[1:]], augment="false"))


def test_the_learning_rate_falls_after_ten_epochs_without_gain_and_ends_at_its_floor():
    plateau = Plateau(1e-4, patience=10, divisor=10, floor=1e-7)
    plateau.step(1.0)
    rates = []
    while not plateau.ended:
        plateau.step(1.0)
        rates.append(plateau.learning_rate)
    assert len(rates) == 30
    assert rates[8:10] == [1e-4, pytest.approx(1e-5)]


def test_selection_by_validation_keeps_the_best_epoch_of_the_validation_part():
    trained = method()
    progress = train(trained, lesson(Memory(), selection="validation", learning_rate=0.02))
    stage = trained.stages[0]
    [case] = volumes()[2:]
    from harness.systems.overlap import dice

    assert dice(stage.segment(case.image), case.label > 0) == pytest.approx(progress.best_dice)


def test_each_network_of_a_system_is_trained_for_all_epochs():
    torch.manual_seed(0)
    options = systems.options("point_unet", "quick") | {
        "points": 4000,
        "dims": (8, 16),
        "ratios": (4, 4),
    }
    made = systems.build("point_unet", options, 1, (32, 32, 64))
    cases = [Volume(v.case, np.tile(v.image, 2), np.tile(v.label, 2), v.spacing_mm)
             for v in volumes()]  # fmt: skip
    done = train(made, lesson(Memory(), epochs=2, cases=cases))
    assert [row["epoch"] for row in done.history] == [1, 2, 3, 4]


def test_a_stage_that_was_trained_elsewhere_is_not_trained_again():
    made = method()
    before = {name: part.clone() for name, part in made.network.state_dict().items()}
    begun = TrainingState(stage=1, history=[{"epoch": 1, "loss": 0.5}])
    done = train(made, replace(lesson(Memory()), begun=begun))
    assert done.history == begun.history
    assert all(torch.equal(part, before[name]) for name, part in made.network.state_dict().items())
