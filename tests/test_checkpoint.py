"""A checkpoint is whole, or the one before it counts."""

import resource

import pytest
import torch

from harness.errors import StateError, StorageError
from harness.trials import checkpoint


def save(folder, *epochs):
    for epoch in epochs:
        checkpoint.save(folder, epoch, {"epoch": epoch, "weights": torch.full((50,), float(epoch))})


def test_the_last_two_generations_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3)
    assert sorted(p.name for p in tmp_path.glob("*.pt")) == ["epoch-000002.pt", "epoch-000003.pt"]
    assert checkpoint.load(tmp_path)["epoch"] == 3


def test_one_flipped_bit_is_noticed_and_the_generation_before_it_loads(tmp_path):
    save(tmp_path, 1, 2)
    newest = tmp_path / "epoch-000002.pt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert checkpoint.load(tmp_path)["epoch"] == 1


def test_a_checkpoint_without_its_sum_does_not_count(tmp_path):
    save(tmp_path, 1, 2)
    (tmp_path / "epoch-000002.sha256").unlink()
    assert checkpoint.load(tmp_path)["epoch"] == 1


def test_s3_a_limit_of_bytes_is_told_as_such_and_the_generation_before_it_loads(tmp_path):
    save(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))  # files end here
        with pytest.raises(StorageError, match=r"cannot write [\d,]+ bytes: File too") as caught:
            save(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.where == str(tmp_path / "epoch-000002.pt")
    assert (caught.value.code, caught.value.exit_code) == ("PFB-S01", 7)
    assert checkpoint.load(tmp_path)["epoch"] == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_saved_is_no_error(tmp_path):
    assert checkpoint.load(tmp_path) is None


def test_two_damaged_generations_are_an_error_that_names_the_folder(tmp_path):
    save(tmp_path, 1, 2)
    for path in tmp_path.glob("*.pt"):
        path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StateError, match="every checkpoint is damaged"):
        checkpoint.load(tmp_path)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return open, (str(marker), "w")

    checkpoint.save(tmp_path, 1, {"evil": Evil()})
    with pytest.raises(StateError, match="unsafe content"):
        checkpoint.load(tmp_path)
    assert not marker.exists()
