"""Numbers and lists as a sentence has them; here because every room writes sentences."""

from collections.abc import Iterable


def counted(number: int, noun: str) -> str:
    """ "1 seed", "1,024 seeds": a number and its noun, of a regular plural."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: Iterable[str], limit: int, separator: str = ", ") -> str:
    """ "a, b and 4 more": the first `limit` of the names, and how many others there are."""
    every = list(names)
    more = len(every) - limit
    return separator.join(every[:limit]) + (f" and {more} more" if more > 0 else "")
