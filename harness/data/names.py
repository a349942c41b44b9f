"""Turn names as people wrote them into words that are safe in commands, tables and file names."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from harness.errors import UsageError

TARGET = r"[A-Za-z0-9._+-]{1,256}"
"""A target's name, which becomes a part of names of files; "+" joins labels."""


def refuse_unsafe(targets: Iterable[object], where: str) -> None:
    """Raise UsageError for a target whose name could not be part of the name of a file."""
    for name in targets:
        if not isinstance(name, str) or not re.fullmatch(TARGET, name):
            what = f"has a target {name!r}, which cannot be part of the name of a file"
            raise UsageError(what, where=where, remedy="letters, digits, . _ and -", code="PFB-C42")


def words_of(names: Sequence[str], kind: str = "label") -> tuple[tuple[str, ...], dict[str, str]]:
    """Return a unique word for each name, and name -> word where the two differ.

    "GTV (p)" is GTV-p. Where nothing is left of a name, two would be the same or it could be taken
    for a number, its place is added: two names without letters are label-1 and label-2.
    """
    plain = [re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") for name in names]
    times = Counter(word.lower() for word in plain)
    words: list[str] = []
    for place, word in enumerate(plain):
        if not word or word.isdecimal() or times[word.lower()] > 1:
            word = f"{kind if not word or word.isdecimal() else word}-{place}"
        while word in words or (word in plain and word != plain[place]):
            word += "x"
        words.append(word)
    spelled = {name: word for name, word in zip(names, words, strict=True) if name != word}
    return tuple(words), spelled
