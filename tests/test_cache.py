"""Prepared volumes come back as they were stored, or are made anew."""

import json
import os
import resource
import threading
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from harness.data.cache import _inflated, lookup, open_volume, write
from harness.data.case import Volume
from harness.errors import DataError, StorageError

KEY = "a" * 32


def volume(side: int = 8) -> Volume:
    rng = np.random.default_rng(0)
    image = rng.random((2, side, side, side), dtype=np.float32)
    return Volume("case_001", image, (image[0] > 0.5).astype(np.uint8), (1.2, 1.0, 1.0))


def test_a_volume_comes_back_exactly(tmp_path):
    write(tmp_path, KEY, volume())
    again = open_volume(tmp_path, KEY)
    np.testing.assert_array_equal(again.image, volume().image)
    np.testing.assert_array_equal(again.label, volume().label)
    assert (again.case, again.spacing_mm) == ("case_001", (1.2, 1.0, 1.0))


def test_arrays_are_mapped_and_cannot_be_changed(tmp_path):
    write(tmp_path, KEY, volume())
    again = open_volume(tmp_path, KEY)
    assert isinstance(again.image, np.memmap) and isinstance(again.label, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        again.image[0, 0, 0, 0] = 1


def test_what_is_known_is_kept_with_the_volume(tmp_path):
    write(tmp_path, KEY, volume(), {"labels": (0, 4), "notes": ("odd",)})
    known = lookup(tmp_path, KEY) or {}
    assert (known["labels"], known["notes"]) == ([0, 4], ["odd"])
    assert known["files"]["image.npy"]["shape"] == [2, 8, 8, 8]


def test_nothing_is_left_but_the_entry(tmp_path):
    write(tmp_path, KEY, volume())
    write(tmp_path, KEY, volume())
    assert [path.name for path in tmp_path.iterdir()] == [KEY]
    names = {path.name for path in (tmp_path / KEY).iterdir()}
    assert names == {"image.npy", "label.npy", "meta.json"}


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes(content)


DAMAGE = {
    "a flipped bit": lambda entry: flip_a_bit(entry / "image.npy"),
    "a short file": lambda entry: (entry / "label.npy").write_bytes(b"short"),
    "a missing file": lambda entry: (entry / "image.npy").unlink(),
    "no meta": lambda entry: (entry / "meta.json").unlink(),
    "half a meta": lambda entry: (entry / "meta.json").write_text('{"case": "c'),
    "another meta": lambda entry: (entry / "meta.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_noticed_and_replaced(tmp_path, damage):
    write(tmp_path, KEY, volume())
    DAMAGE[damage](tmp_path / KEY)
    assert lookup(tmp_path, KEY) is None
    with pytest.raises(DataError):
        open_volume(tmp_path, KEY)
    write(tmp_path, KEY, volume())
    np.testing.assert_array_equal(open_volume(tmp_path, KEY).image, volume().image)


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    """Even under a meta.json that vouches for it."""
    write(tmp_path, KEY, volume())
    path = tmp_path / KEY / "label.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    import hashlib

    meta = json.loads((tmp_path / KEY / "meta.json").read_text())
    content = path.read_bytes()
    meta["files"]["label.npy"].update(
        bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    (tmp_path / KEY / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError):
        open_volume(tmp_path, KEY)


def test_an_absent_entry_is_none_and_cannot_be_opened(tmp_path):
    assert lookup(tmp_path, KEY) is None
    with pytest.raises(DataError, match="cannot be used") as caught:
        open_volume(tmp_path, KEY)
    assert caught.value.code == "PFB-D12"


def test_a_full_disk_names_path_and_bytes_and_leaves_no_half_entry(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # files end here
        with pytest.raises(StorageError, match=r"36,864 bytes: file too large") as caught:
            write(tmp_path, KEY, volume(16))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.where == str(tmp_path / KEY)
    assert caught.value.exit_code == 7
    assert list(tmp_path.iterdir()) == []


def test_a_cache_folder_that_is_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(StorageError):
        write(tmp_path / "cache", KEY, volume())


def test_writers_of_the_same_entry_do_not_disturb_each_other(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: write(tmp_path, KEY, volume()), range(24)))
    assert [path.name for path in tmp_path.iterdir()] == [KEY]
    np.testing.assert_array_equal(open_volume(tmp_path, KEY).image, volume().image)


def test_a_scan_that_unpacks_to_more_than_it_says_is_damage_and_takes_no_memory():
    packed = np.frombuffer(zlib.compress(bytes(1 << 28)), np.uint8)
    tracemalloc.start()
    with pytest.raises(ValueError, match="does not hold the 1,000 bytes"):
        _inflated(packed, 1000)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_a_folder_that_a_killed_process_of_the_same_number_left_is_used(tmp_path):
    (tmp_path / f".{KEY}.{os.getpid()}.{threading.get_ident()}").mkdir()
    write(tmp_path, KEY, volume())
    assert [path.name for path in tmp_path.iterdir()] == [KEY]
