"""`pfbench` in processes forked from one that has imported everything: killed, and cheap."""

import re
from dataclasses import dataclass

import pandas as pd

from harness.checks.verify.folder import verify
from harness.runs.run_folder import RunFolder

RUN = ["run", "--suite", "table5", "--model", "resunet3d_up", "--epochs", "5",
       "--set", "phantom.cases=3", "--set", "systems.resunet3d_up.widths=[4,4,8,8,8]",
       "--executor", "inline", "--measure-repeats", "1", "--no-mlflow"]  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """A command that is over."""

    how: str
    said: str

    @property
    def epochs(self) -> list[int]:
        """Those it said to have trained."""
        return [int(number) for number in re.findall(r"epoch (\d+)/", self.said)]


def table(out):
    """The table, but for times and memory."""
    whole = pd.read_csv(out / "table.csv")
    return whole.drop(columns=["time_s_p50", "time_s_p90", "infer_peak_mib", "train_peak_mib"])


def trials(out):
    return [RunFolder(out).trial(path.name) for path in sorted(out.glob("trials/*"))]


def trial_of(out):
    [trial] = trials(out)
    return trial


def checkpoint_of(out):
    """The last epoch of which the folder holds a checkpoint with its sum."""
    sums = sorted(out.glob("trials/*/checkpoints/*.sha256"))
    return int(sums[-1].stem.removeprefix("epoch-")) if sums else 0


def assert_killed(ended):
    assert "SIGKILL" in ended.how, ended


def assert_same(out, undisturbed):
    pd.testing.assert_frame_equal(table(out), table(undisturbed))
    assert verify(out).faults == ()
    assert list(out.rglob(".*.tmp")) == []
