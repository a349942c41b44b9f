"""Torch's folder for what it compiles is the user's own, whatever lies in the temporary folder."""

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.runs.torch_cache import VARIABLE, torch_cache
from harness.trials.supervise import trial_environment

MAKES_IT = "import torch._dynamo.package"


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


def test_it_is_the_same_for_all_processes_and_closed_to_others(temporary):
    [place] = {torch_cache()[VARIABLE] for _ in range(3)}
    assert Path(place).stat().st_mode & 0o777 == 0o700
    assert Path(place).parent == temporary


def test_one_that_the_user_names_stays(monkeypatch):
    monkeypatch.setenv(VARIABLE, "elsewhere")
    assert (torch_cache(), trial_environment()[VARIABLE]) == ({}, "elsewhere")


@pytest.mark.parametrize("in_place", ["file", "link", "open"])
def test_what_others_put_in_its_place_is_not_used(temporary, in_place):
    usual = temporary / f"pfbench-torch-{os.getuid()}"
    (temporary / "theirs").mkdir(mode=0o700)
    match in_place:
        case "file":
            usual.touch()
        case "link":
            usual.symlink_to(temporary / "theirs")
        case "open":
            usual.mkdir()
            usual.chmod(0o777)
    place = Path(torch_cache()[VARIABLE])
    assert place != usual and place.resolve() == place and place.is_dir()


def test_where_there_is_no_room_for_any_a_command_that_needs_none_goes_on(monkeypatch, temporary):
    monkeypatch.setattr("tempfile.tempdir", str(temporary / "gone"))
    assert torch_cache() == {}


def test_a_trial_does_not_need_the_folder_whose_name_others_can_guess(temporary):
    taken = temporary / f"torchinductor_{getpass.getuser()}"
    taken.touch()
    environment = {**trial_environment(), "TMPDIR": str(temporary)}
    for known, code in ((environment, 0), ({**environment, VARIABLE: str(taken)}, 1)):
        done = subprocess.run([sys.executable, "-c", MAKES_IT], env=known, capture_output=True)
        assert done.returncode == code
