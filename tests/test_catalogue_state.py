"""The catalogue of bad inputs, K1-K12: what lies in a run folder is whole, or said not to be.

K9   there is no ledger of lines that could be damaged in the middle: every record is a file of its
     own, written whole. Lines of the tables in a folder are checked by `pfbench verify`
K10  two drivers on one folder: test_locks.py
K12  Ray Tune's own state is never read back: test_security.py
S1   full disks, S4 read-only ones: test_full_disk.py; S3 limits: test_checkpoint.py
"""

import hashlib
import json
import os
import pickle
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helper_in_process import contents, pfbench
from safetensors.torch import load_file, save_file

from harness.errors import StateError
from harness.runs.files import read_json, write_json
from harness.runs.run_folder import RunFolder
from harness.runs.trial_folder import TrialFolder
from harness.trials import checkpoint

pytestmark = pytest.mark.filterwarnings("ignore")  # those of a trial belong to its log

RUN = ["run", "--suite", "table5", "--model", "resunet3d_up", "--set", "phantom.cases=3",
       "--epochs", 2, "--executor", "inline", "--measure-repeats", 1, "--no-mlflow"]  # fmt: skip


LOGS = (".log", ".lock")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    pfbench(*RUN, "--out", out)
    return out


@pytest.fixture
def out(finished, tmp_path):
    """A copy, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def trial_of(out: Path) -> TrialFolder:
    [trial] = RunFolder(out).trials()
    return trial


@pytest.fixture
def interrupted(out):
    """The trial's folder as a kill after the second epoch leaves it."""
    trial = trial_of(out)
    for name in ("result.json", "cases.csv", "weights.safetensors"):
        (trial.path / name).unlink()
    shutil.rmtree(trial.path / "masks")
    return trial


def seal(path: Path) -> None:
    """Make the sum right again, whatever the file holds."""
    path.with_suffix(".sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.marker, "w")


# Checkpoints


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("PK?"),
        flip,
        lambda path: path.with_suffix(".sha256").unlink(),
    ],
    ids=["K1 cut short", "K2 empty", "K2 text", "K3 one bit", "K1 no sum"],
)
def test_a_damaged_checkpoint_costs_one_epoch_and_is_said(finished, interrupted, damage):
    damage(interrupted.checkpoints / "epoch-000002.pt")
    out = interrupted.path.parent.parent
    done = pfbench(*RUN, "--out", out)
    said = "epoch-000002.pt is damaged or incomplete: going on from epoch-000001.pt"
    assert said in done.out and said in done.err and said in (out / "run.log").read_text()
    same = ("cases.csv", "weights.safetensors")
    undisturbed = trial_of(finished)
    assert all((interrupted.path / n).read_bytes() == (undisturbed.path / n).read_bytes()
               for n in same)  # fmt: skip


def test_s5_a_clock_that_went_backwards_changes_nothing(finished, interrupted, monkeypatch):
    newest = interrupted.checkpoints / "epoch-000002.pt"
    for path in (newest, newest.with_suffix(".sha256")):
        os.utime(path, (0, 0))
    monkeypatch.setattr("time.time", lambda: 1e9)
    done = pfbench(*RUN, "--out", interrupted.path.parent.parent)
    assert "epoch 1/" not in done.out and "epoch 2/" not in done.out
    undisturbed = trial_of(finished)
    for name in ("cases.csv", "weights.safetensors"):
        assert (interrupted.path / name).read_bytes() == (undisturbed.path / name).read_bytes()


def test_k1_two_damaged_checkpoints_are_a_failed_row_until_they_are_removed(interrupted):
    for path in interrupted.checkpoints.glob("*.pt"):
        flip(path)
    before, out = contents(interrupted.checkpoints), interrupted.path.parent.parent
    done = pfbench(*RUN, "--out", out, expect=4)
    assert interrupted.result().reason == "bad_state"
    assert f"error[PFB-K01]: {interrupted.checkpoints}: every checkpoint is damaged" in done.said
    assert "Try: remove this folder, then the same command with --retry-failed" in done.said
    assert contents(interrupted.checkpoints) == before
    shutil.rmtree(interrupted.checkpoints)
    pfbench(*RUN, "--out", out, "--retry-failed")


def test_k1_one_damaged_checkpoint_and_no_other_starts_again_and_says_so(tmp_path):
    checkpoint.save(tmp_path, 1, {"trial": "t"})
    flip(tmp_path / "epoch-000001.pt")
    told: list[str] = []
    assert checkpoint.load(tmp_path, told.append) is None
    assert told == ["epoch-000001.pt is damaged or incomplete, and the only one: starting again"]


@pytest.mark.parametrize(
    "content",
    [
        lambda marker: pickle.dumps(Evil(marker)),
        lambda marker: b"",
        lambda marker: b"text",
        lambda marker: pickle.dumps({"loss": np.float64(1)}),
    ],
    ids=["K4 runs code", "K2 empty", "K2 text", "K5 numpy scalar"],
)
def test_what_is_sealed_but_not_ours_is_never_unpickled(interrupted, tmp_path, content):
    path = interrupted.checkpoints / "epoch-000002.pt"
    path.write_bytes(content(tmp_path / "marker"))
    seal(path)
    done = pfbench(*RUN, "--out", interrupted.path.parent.parent, expect=4)
    assert f"error[PFB-K04]: {path}: unsafe content" in done.said
    assert interrupted.result().reason == "bad_state"
    assert not (tmp_path / "marker").exists()


def test_k4_a_pickle_inside_a_real_checkpoint_is_refused_too(tmp_path):
    checkpoint.save(tmp_path, 1, {"evil": Evil(tmp_path / "marker")})
    with pytest.raises(StateError, match=r"PFB-K04.*unsafe content"):
        checkpoint.load(tmp_path)
    assert not (tmp_path / "marker").exists()


def leaves(content: object) -> Iterator[object]:
    """Everything in nested lists and mappings."""
    if isinstance(content, dict):
        content = [*content.keys(), *content.values()]
    if isinstance(content, list | tuple):
        for part in content:
            yield from leaves(part)
    else:
        yield content


def test_k5_a_checkpoint_holds_plain_values_only(finished):
    state = checkpoint.load(trial_of(finished).checkpoints)
    assert {type(leaf) for leaf in leaves(state)} <= {
        torch.Tensor,
        float,
        int,
        bool,
        str,
        type(None),
    }


def test_k6_the_checkpoint_of_another_trial_is_not_continued(interrupted):
    path = interrupted.checkpoints / "epoch-000002.pt"
    state = torch.load(path, weights_only=True)
    torch.save({**state, "trial": "0123456789abcdef"}, path)
    seal(path)
    done = pfbench(*RUN, "--out", interrupted.path.parent.parent, expect=4)
    assert "error[PFB-K06]" in done.said and "another trial (0123456789abcdef)" in done.said


# Weights


def rename_keys(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"other.{key}": tensor for key, tensor in weights.items()}


def drop_one(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(list(weights.items())[1:])


def other_type(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: tensor.double() for key, tensor in weights.items()}


def other_shape(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: torch.cat([tensor, tensor]) if tensor.ndim else tensor
            for key, tensor in weights.items()}  # fmt: skip


@pytest.mark.parametrize("change", [rename_keys, drop_one, other_type, other_shape])
def test_k6_weights_of_another_network_are_named_by_their_first_keys(out, tmp_path, change):
    trial = trial_of(out)
    path = trial.path / "weights.safetensors"
    weights = load_file(path)
    save_file(change(weights), path)
    trial.result().model_copy(update={"sha256": trial.sums()}).write(trial.result_file)
    done = pfbench("predict", out, tmp_path / "scan.nii", "--out", tmp_path / "masks", expect=5)
    assert f"error[PFB-K06]: {path}: holds another network: " in done.said
    named = re.search(r"keys do not fit \((.+?)( and \d+ more)?\)", done.said)[1].split(", ")
    assert 1 <= len(named) <= 3 and set(named) <= {*weights, *change(weights)}
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (flip, "its SHA-256 is not that in result.json"),
        (lambda path: path.write_bytes(b""), "its SHA-256 is not that in result.json"),
        (Path.unlink, "has no weights that can be read"),
    ],
    ids=["K3 one bit", "K2 empty", "missing"],
)
def test_damaged_weights_are_neither_applied_nor_measured(out, tmp_path, damage, says):
    trial = trial_of(out)
    damage(trial.path / "weights.safetensors")
    done = pfbench("predict", out, tmp_path / "scan.nii", "--out", tmp_path / "masks", expect=5)
    assert "error[PFB-K03]: " in done.said and says in done.said
    (trial.path / "measurement.json").unlink()
    pfbench(*RUN, "--out", out)
    assert trial.measurement().reason == "bad_state"
    assert says in trial.measurement().detail


# Records


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def hollow(path: Path) -> None:
    """A JSON object with nothing in it but the schema that is looked at first."""
    path.write_text(json.dumps({"schema": 3}), encoding="utf-8")


def listed(path: Path) -> None:
    path.write_text("[1, 2]", encoding="utf-8")


RECORDS = [
    ("run.json", "run", (half, empty, hollow, listed)),
    ("run.json", "report", (half, hollow)),
    ("run.json", "figures", (hollow,)),
    ("run.json", "claims", (hollow,)),
    ("data.json", "figures", (half, hollow, Path.unlink)),
    ("TRIAL/spec.json", "report", (half, hollow, listed, Path.unlink)),
    ("TRIAL/result.json", "run", (half, empty, hollow, listed)),
    ("TRIAL/result.json", "report", (half, hollow)),
    ("TRIAL/result.json", "figures", (hollow,)),
    ("TRIAL/result.json", "claims", (hollow,)),
    ("TRIAL/measurement.json", "run", (half, hollow)),
    ("TRIAL/measurement.json", "report", (half, hollow)),
    ("TRIAL/masks/MASK", "figures", (half, empty, flip, Path.unlink)),
    ("TRIAL/cases.csv", "figures", (empty, Path.unlink)),
]


@pytest.mark.parametrize(
    ("name", "command", "damage"),
    [(name, command, damage) for name, command, damages in RECORDS for damage in damages],
)
def test_k8_a_damaged_record_is_named_and_what_to_do_with_it(out, name, command, damage):
    trial = trial_of(out)
    [mask] = (trial.path / "masks").iterdir()
    path = out / name.replace("TRIAL", f"trials/{trial.id}").replace("MASK", mask.name)
    damage(path)
    before = kept(out)
    arguments = [*RUN, "--out", out] if command == "run" else [command, out]
    done = pfbench(*arguments, expect=5)
    assert f"error[PFB-K08]: {path}: " in done.err
    assert re.search("Try: (remove|move the folder) ", done.err)
    assert kept(out) == before


def kept(out: Path) -> dict[str, str]:
    """What no failing command may touch: all but its log and lock."""
    return {name: sums for name, sums in contents(out).items() if not name.endswith(LOGS)}


@pytest.mark.parametrize("name", ["run.json", "data.json", "TRIAL/result.json"])
def test_k8_without_the_damaged_record_the_same_command_makes_it_anew(finished, out, name):
    trial = trial_of(out)
    path = out / name.replace("TRIAL", f"trials/{trial.id}")
    path.unlink()
    pfbench(*RUN, "--out", out)
    assert path.exists()
    scores = f"trials/{trial.id}/cases.csv"
    assert (out / scores).read_bytes() == (finished / scores).read_bytes()


@pytest.mark.parametrize("command", ["run", "report", "figures", "claims", "mlflow sync"])
def test_k7_a_folder_of_a_newer_schema_is_left_alone(out, command):
    write_json(out / "run.json", {**read_json(out / "run.json"), "schema": 99})
    before = kept(out)
    arguments = [*RUN, "--out", out] if command == "run" else [*command.split(), out]
    done = pfbench(*arguments, expect=5)
    assert f"error[PFB-K07]: {out / 'run.json'}: was written by another version" in done.err
    assert "schema 99, not 3" in done.err and "Try: another --out" in done.err
    assert kept(out) == before


def test_k11_another_version_of_the_code_does_not_mix_its_rows_in(out):
    content = dict(read_json(out / "run.json"))
    content["protocol"]["code"] = "0.0.1+0123456789ab"
    write_json(out / "run.json", content)
    before = kept(out)
    done = pfbench(*RUN, "--out", out, expect=5)
    assert f"error[PFB-K11]: {out}: holds run " in done.err
    assert "code: 0.0.1+0123456789ab → " in done.err
    assert "Try: another --out, or the version of pfbench that began this run" in done.err
    assert kept(out) == before


def test_a_spec_that_is_not_what_its_folder_is_called_after(out):
    trial = trial_of(out)
    write_json(trial.path / "spec.json", {**read_json(trial.path / "spec.json"), "seed": 7})
    done = pfbench("report", out, expect=5)
    assert "error[PFB-K09]: " in done.err and f", not {trial.id}" in done.err


def test_a_folder_of_something_else_is_no_run(tmp_path):
    done = pfbench("report", tmp_path, expect=5)
    assert f"error[PFB-K02]: {tmp_path}: is not a run folder" in done.err
