"""A learning rate for newcomers: said to be lacking, and searched for every system alike."""

import json

import pytest
import yaml
from helper_in_process import pfbench
from helper_made_run import MadeRun

from harness.results.tables import build
from harness.runs.records import PluginRecord, SystemRecord

TINY = ["run", "--suite", "table5", "--model", "resunet3d_up", "--model", "hdresunet", "--epochs",
        1, "--set", "phantom.cases=3", "--measure-repeats", 1, "--no-mlflow"]  # fmt: skip


@pytest.fixture
def newcomer(tmp_path):
    """A run in which one system is of a plug-in."""
    run = MadeRun(tmp_path / "run", rows=("unet3d", "pfseg"))
    [first, second] = run.manifest.suites["table5"]
    mine = SystemRecord(title="Mine", kind="patch-based", reference="", end_to_end=True,
                        deviation="")  # fmt: skip
    plugin = PluginRecord(id=f"mine-{'0' * 16}", systems={"mine": mine}, metrics={}, datasets={})
    rows = [first.model_copy(update={"system": "mine"}), second]
    return run.change(plugins=[plugin.model_dump()],
                      suites={"table5": [row.model_dump() for row in rows]})  # fmt: skip


def notes(run):
    return [note for note in build(run.folder).notes if "--tune-lr" in note]


def test_a_plug_in_that_learns_at_the_rate_of_others_is_said_to(newcomer):
    [note] = notes(newcomer)
    assert note.startswith("Mine: its learning rate, 0.0001, was chosen for the systems that come")


def test_a_plug_in_with_a_rate_of_its_own_is_not(newcomer):
    settings = newcomer.manifest.settings
    settings["exceptions"] = {"mine": {"learning_rate": 0.002}}
    assert notes(newcomer.change(settings=settings)) == []


def test_systems_that_come_with_pfbench_are_not(tmp_path):
    assert notes(MadeRun(tmp_path / "run", rows=("unet3d", "pfseg"))) == []


@pytest.mark.parametrize(
    "more, said",
    [(["--dry-run"], "which are yet to be found"), (["--tuned", "best.yaml"], "by --tuned")],
)
def test_what_does_not_go_with_a_search_is_refused(tmp_path, monkeypatch, more, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.yaml").write_text("settings: {}\n")
    done = pfbench(*TINY, "--tune-lr", 2, *more, "--out", tmp_path / "out", expect=2)
    assert said in done.said


@pytest.mark.long
def test_every_system_is_tuned_with_as_many_points_and_trained_with_what_was_found(tmp_path):
    pfbench(*TINY, "--tune-lr", 2, "--out", tmp_path)
    best = yaml.safe_load((tmp_path / "tune-lr" / "best.yaml").read_text())
    assert [about["points"] for about in best["found"].values()] == [2, 2]
    settings = json.loads((tmp_path / "run.json").read_text())["settings"]
    assert settings["exceptions"] == best["settings"]["exceptions"]
    assert set(settings["exceptions"]) == {"resunet3d_up", "hdresunet"}
    again = pfbench(*TINY, "--tune-lr", 2, "--out", tmp_path)
    assert "of these already done: 2" in again.out
