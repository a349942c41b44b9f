"""The cases that a person leaves out, by id or in a file of ids."""

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path

from harness.data.patients import content_of
from harness.errors import UsageError

OPTION = "--exclude"


def cases_of(given: Sequence[str]) -> tuple[str, ...]:
    """Return the ids in `given`: each word is an id, or a file with an id in each line.

    Empty lines and what follows a # are passed over. Raises UsageError for a file that cannot be
    read.
    """
    found: list[str] = []
    for word in given:
        path = Path(word)
        if not path.is_file() and "/" not in word:
            found.append(word)
            continue
        try:
            lines = content_of(path).decode("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError):
            what, remedy = f"{word} cannot be read", "a text file with a case in each line"
            raise UsageError(what, where=OPTION, remedy=remedy, code="PFB-C54") from None
        found += [name for line in lines if (name := line.partition("#")[0].strip())]
    return tuple(dict.fromkeys(found))


def by_set(given: Sequence[str], sets: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the ids in `given` for each of the `sets`, and under "" those of the data that train.

    NAME:CASE and NAME:FILE are about the set NAME; lines of a file, too, may be NAME:CASE. Raises
    UsageError as `cases_of` does.
    """
    found: dict[str, list[str]] = {"": [], **{name: [] for name in sets}}
    for word in given:
        name, rest = _addressed(word, sets)
        for line in cases_of([rest]):
            of_line, case = (name, line) if name else _addressed(line, sets)
            found[of_line].append(case)
    return {name: tuple(dict.fromkeys(cases)) for name, cases in found.items()}


def _addressed(text: str, sets: Collection[str]) -> tuple[str, str]:
    """Return the set that the text is about, "" for none, and the rest of the text."""
    name, _, rest = text.partition(":")
    return (name, rest) if rest and name in sets else ("", text)


def refuse_strangers(left_out: Sequence[str], cases: Collection[str]) -> None:
    """Raise UsageError for an id to leave out that no case has."""
    for case in left_out:
        if case not in cases:
            close = difflib.get_close_matches(case, [*cases], n=1)
            what = f"there is no case {case} among {len(cases)}"
            remedy = f"{OPTION} {close[0]}" if close else "names as `pfbench data check` shows them"
            raise UsageError(what, where=OPTION, remedy=remedy, code="PFB-C54")


def note_of(left_out: Sequence[str]) -> str:
    """Return the line under a table that names the cases left out."""
    cases = "1 case is" if len(left_out) == 1 else f"{len(left_out)} cases are"
    return f"{cases} left out by {OPTION}: {', '.join(left_out)}"
