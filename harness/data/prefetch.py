"""Make the next training sample in a thread while the network learns from the current one."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Generator[T]:
    """Yield `items` in the same order; a thread makes the next one while the caller uses one.

    What making an item raises is raised in its place. Closing the iterator ends the thread, after
    the item that it is at.
    """
    end = object()
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]  # it is no `end`
