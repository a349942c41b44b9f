"""Numbers and lists as sentences have them; shared, because every package writes sentences."""

from collections.abc import Iterable


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, of a regular plural: "1 seed", "1,024 seeds"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: Iterable[str], limit: int, separator: str = ", ") -> str:
    """Return the first `limit` names and the number of the others: "a, b and 4 more"."""
    every = list(names)
    return f"{separator.join(every[:limit])} {more(len(every) - limit)}".rstrip()


def more(number: int) -> str:
    """Return a word on what a list leaves out: "and 4 more"; "" where it leaves out nothing."""
    return f"and {number:,} more" if number > 0 else ""
