"""Samples come in order, one ahead of who uses them, and leave no thread behind."""

import threading
from contextlib import closing

import pytest

from harness.data.prefetch import ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_the_items_are_the_same_in_the_same_order():
    assert list(ahead(iter([3, None, 1, 2]))) == [3, None, 1, 2]
    assert list(ahead(iter([]))) == []
    assert not threads()


def test_the_next_item_is_made_while_this_one_is_used_and_none_after_it():
    made = []
    second = threading.Event()

    def items():
        for number in range(4):
            made.append(number)
            if number == 1:
                second.set()
            yield number

    with closing(ahead(items())) as coming:
        assert next(coming) == 0
        assert second.wait(30)
    assert made == [0, 1]
    assert not threads()


def test_what_making_an_item_raises_arrives_in_its_place():
    def items():
        yield 1
        raise OSError("the disk is gone")

    coming = ahead(items())
    assert next(coming) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(coming)
    assert not threads()


def test_whoever_stops_early_leaves_no_thread():
    with pytest.raises(ZeroDivisionError), closing(ahead(iter(range(10)))) as coming:
        for _ in coming:
            raise ZeroDivisionError
    assert not threads()
