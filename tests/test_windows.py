"""Windows of patch-based training: how many of a volume, where, and the same after a break."""

import numpy as np
import pytest
import torch
from helper_made_run import MadeRun
from test_train import GRID, SMALL, Interrupted, Memory, lesson, volumes, without_seconds

from harness.results.tables import build
from harness.runs.settings import resolve
from harness.systems import catalogue as systems
from harness.systems.train import train


def method(name="unet3d", **protocol):
    torch.manual_seed(0)
    made = systems.build(name, SMALL, 1, GRID)
    changes = [f"protocol.{key}={value}" for key, value in protocol.items()]
    made.follow(resolve("quick", None, changes, None).protocol)
    return made


def lesion(*corner, side=2):
    label = np.zeros(GRID, bool)
    label[tuple(slice(c, c + side) for c in corner)] = True
    return label


def seen(made, label, count=200):
    """How many of so many windows hold some of the target, and where they begin."""
    rng = np.random.default_rng(0)
    starts = [made.place(label, rng) for _ in range(count)]
    boxes = [tuple(slice(s, s + w) for s, w in zip(start, made.window, strict=True))
             for start in starts]  # fmt: skip
    return sum(bool(label[box].any()) for box in boxes), starts


def steps_of(made, epochs=1):
    """The cases of the steps of an epoch, and how many steps there are."""
    steps = []
    [stage] = made.stages
    sample = stage.sample

    def noted(image, label, rng):
        steps.append(image)
        return sample(image, label, rng)

    made.sample = noted
    train(made, lesson(Memory(), epochs=epochs, augment="false"))
    return steps


def test_an_epoch_has_as_many_windows_of_each_volume_as_the_protocol_says():
    cases = volumes()[:2]
    steps = steps_of(method(windows_per_volume=3))
    counts = [sum(np.array_equal(step, case.image) for step in steps) for case in cases]
    assert counts == [3, 3]


def test_each_volume_comes_before_one_comes_again():
    steps = steps_of(method(windows_per_volume=3))
    for first, second in zip(steps[::2], steps[1::2], strict=True):
        assert not np.array_equal(first, second)


def test_windows_of_one_volume_lie_apart():
    made = method(windows_per_volume=8)
    assert len(set(seen(made, lesion(0, 0, 0), 8)[1])) > 1


def test_one_window_is_the_training_that_there_was_before():
    """The first turn draws what it drew when there was one window only."""
    one, many = (steps_of(method(windows_per_volume=count)) for count in (1, 4))
    assert all(np.array_equal(a, b) for a, b in zip(one, many[:2], strict=True))


@pytest.mark.parametrize("epoch", [1, 2])
def test_several_windows_continued_equal_undisturbed(epoch):
    made = {"windows_per_volume": 2, "foreground_share": 0.5}
    whole, rest = method(**made), method(**made)
    expected = train(whole, lesson(Memory(), epochs=3))
    store = Memory()
    with pytest.raises(Interrupted):
        train(method(**made), lesson(store, epochs=3, stop_after=epoch))
    found = train(rest, lesson(store, epochs=3))
    assert without_seconds(found.history) == without_seconds(expected.history)
    for a, b in zip(whole.network.parameters(), rest.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_windows_are_anywhere_unless_the_protocol_says_otherwise():
    held, starts = seen(method(), lesion(0, 0, 0))
    assert held < 20  # a corner is in a window that begins within two voxels of it: 8 of 17**3
    assert {axis for start in starts for axis in start} == set(range(17))


@pytest.mark.parametrize("corner", [(0, 0, 0), (15, 3, 30), (30, 30, 30)])
def test_every_window_holds_some_of_the_target_where_all_are_to(corner):
    held, starts = seen(method(foreground_share=1), lesion(*corner))
    assert held == 200
    assert all(0 <= axis <= 16 for start in starts for axis in start)


def test_a_share_of_the_windows_is_around_the_target():
    held, _ = seen(method(foreground_share=0.5), lesion(0, 0, 0), 1000)
    assert 450 < held < 560  # 500 and a few by chance, deviation 16


def test_the_target_is_anywhere_in_its_window():
    _, starts = seen(method(foreground_share=1), lesion(15, 15, 15), 1000)
    assert {start[0] for start in starts} == set(range(17))


def test_a_volume_without_target_has_windows_anywhere():
    _, starts = seen(method(foreground_share=1), np.zeros(GRID, bool))
    assert len(set(starts)) > 100


def test_a_patch_free_system_sees_each_volume_once():
    made = method("resunet3d_up", windows_per_volume=8)
    assert [stage.windows for stage in made.stages] == [1]


# Under the tables.


def test_validation_cases_that_neither_train_nor_choose_are_said_to(tmp_path):
    for selection, told in (("last", ["1 validation case: not trained on"]), ("validation", [])):
        settings = resolve("paper", None, [f"protocol.selection={selection}"], None)
        settings = settings.model_dump(mode="json")
        run = MadeRun(tmp_path / selection, rows=["unet3d"], settings=settings)
        found = [note for note in build(run.folder).notes if "validation case" in note]
        assert [note.partition(",")[0] for note in found] == told


def notes(tmp_path, *, name="table5", rows=None, **protocol):
    run = MadeRun(tmp_path, name, cases=6, rows=rows)
    settings = run.manifest.settings
    run.change(settings={**settings, "protocol": {**settings["protocol"], **protocol}})
    return [note for note in build(run.folder).notes if "learn from" in note]


@pytest.mark.parametrize("name", ["table5", "fig1"])
def test_the_paper_s_setting_is_said_under_the_table(tmp_path, name):
    [note] = notes(tmp_path, name=name)
    assert "one window of each volume in an epoch, anywhere, as in the paper" in note


def test_another_setting_is_said_to_be_the_user_s(tmp_path):
    [note] = notes(tmp_path, windows_per_volume=8, foreground_share=0.25)
    assert "8 windows of each volume in an epoch, 25% of them around the target" in note
    assert "set by the user" in note


def test_where_nothing_is_patch_based_nothing_is_said_of_windows(tmp_path):
    assert notes(tmp_path, rows=["pfseg", "san"]) == []
