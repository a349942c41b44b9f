"""One element ahead: the next sample is made while the network learns from this one."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Generator[T]:
    """The same `items` in the same order; a thread asks for each as soon as the one before is out.

    What making an item raises is raised in its place. Closing the iterator ends the thread, after
    the item that it is at.
    """
    end = object()
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]  # it is no `end`
