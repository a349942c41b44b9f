"""Numbers and lists as sentences have them; shared, because every package writes sentences."""

from collections.abc import Iterable


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, of a regular plural: "1 seed", "1,024 seeds"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: Iterable[str], limit: int, separator: str = ", ") -> str:
    """Return the first `limit` names and the number of the others: "a, b and 4 more"."""
    every = list(names)
    more = len(every) - limit
    return separator.join(every[:limit]) + (f" and {more} more" if more > 0 else "")
