"""What a suite will take is known before it runs: from probes, which leave nothing behind."""

import json
from dataclasses import replace

import pytest
from in_process import contents, pfbench

from harness import options, packing, registry
from harness.data.split import Split
from harness.errors import UsageError
from harness.execute import ALONE, Placement
from harness.forecast import estimate, makespan
from harness.ledger import RunFolder
from harness.measuring import on_one_machine
from harness.options import Capacity, chosen_placement
from harness.packing import CONTEXT_MIB, MARGIN, room, sized, together
from harness.plan import PlannedRow
from harness.plan import Plan
from harness.probing import Probe, company, kind_of, kinds
from harness.spec import Data, Protocol, TrialSpec
from harness.suites import Row
from tuning.machines import Machine

TINY = ["--suite", "table5", "--set", "phantom.cases=3", "--executor", "inline"]
QUICK = ["--limit", 0.2]
GREEDY = '''
import torch
from torch import nn
from harness.plugin import Patches, System

class Greedy(nn.Module):
    """Finds no memory while it learns, and has enough while it predicts."""

    def __init__(self, modalities):
        super().__init__()
        self.layer = nn.Conv3d(modalities, 1, 1)

    def forward(self, x):
        if torch.is_grad_enabled() and x.device.type != "meta":
            raise MemoryError
        return self.layer(x)

SYSTEMS = {"greedy": System("Greedy", network=Greedy, sees=Patches)}
'''


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    registry.clear()


# The command.


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """A plan of one trained system in two seeds and of one that is also fine-tuned."""
    out = tmp_path_factory.mktemp("plan") / "out"
    done = pfbench("plan", *TINY, *QUICK, "--model", "resunet3d_up", "--model", "pfseg",
                   "--seeds", 2, "--json", "--out", out)  # fmt: skip
    return out, json.loads(done.out)


def test_each_kind_of_trial_is_a_row_however_many_seeds_it_has(planned):
    _, made = planned
    assert {row["name"]: row["trials"] for row in made["trials"]} == {
        "ResUNet3D↑": 2, "PFSeg as trained": 2, "PFSeg": 2,
    }  # fmt: skip


def test_every_row_says_what_training_and_inference_take(planned):
    _, made = planned
    for row in made["trials"]:
        assert row["reason"] == ""
        assert row["step_s"] > 0 and row["timed_steps"] >= 1
        assert row["trial_s"] > row["train_s"] > 0
        assert row["train_peak_mib"] > 100
    shown = {row["name"]: row["inference_s"] for row in made["trials"]}
    assert shown["PFSeg as trained"] is None, "no table shows it, so it is never measured"
    assert shown["PFSeg"] > 0 and shown["ResUNet3D↑"] > 0


def test_the_totals_are_those_of_all_trials_and_of_measuring(planned):
    _, made = planned
    totals, rows = made["totals"], made["trials"]
    assert totals["unit"] == "processor hours"
    one_after_another = sum(row["trials"] * (row["trial_s"] + row["measure_s"]) for row in rows)
    assert totals["wall_s"] == pytest.approx(one_after_another)
    assert totals["device_hours"] * 3600 >= one_after_another


def test_it_leaves_prepared_volumes_and_nothing_else(planned):
    out, _ = planned
    assert [path.name for path in out.iterdir()] == ["cache"]
    assert {path.name for path in out.glob("cache/*/*")} == {"image.npy", "label.npy", "meta.json"}
    assert len(list((out / "cache").iterdir())) == 3


def test_a_run_that_is_there_is_as_it_was(tmp_path):
    command = [*TINY, "--model", "resunet3d_up", "--epochs", 1, "--out", tmp_path]
    pfbench("run", *command, "--no-mlflow")
    before = contents(tmp_path)
    done = pfbench("plan", *command, *QUICK)
    assert contents(tmp_path) == before
    assert "processor hours" in done.out and "wall time" in done.out
    assert "1 kinds of 1 trials probed" in done.out


def test_what_runs_out_of_memory_is_a_row_with_a_reason(tmp_path):
    (tmp_path / "greedy.py").write_text(GREEDY)
    done = pfbench("plan", *TINY, *QUICK, "--plugin", tmp_path / "greedy.py", "--model", "greedy",
                   "--out", tmp_path / "out", "--json", expect=4)  # fmt: skip
    made = json.loads(done.out)
    [row] = made["trials"]
    assert row["reason"] == "host_oom" and "out of host memory" in row["detail"]
    assert row["inference_s"] > 0, "what can be probed still is"
    assert made["totals"] == {"unit": "processor hours", "device_hours": None, "wall_s": None}
