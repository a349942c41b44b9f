"""What users see when something is wrong: one sentence, one remedy, one exit code.

    PfbenchError
    ├── UsageError        exit 2   a bad option, key or combination
    ├── DataError         exit 3   a volume, label or folder that cannot be trusted
    ├── StateError        exit 5   a checkpoint or run folder that cannot be continued
    ├── ClusterError      exit 6   Ray lost, or the run folder held by another driver
    ├── StorageError      exit 7   disk full, read-only, vanished
    └── TrackingError     exit 8   MLflow needed and out of reach

`INCOMPLETE` (4) is no exception: the command came to its end, without a part of what was asked.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import TypeVar

INCOMPLETE = 4
INTERRUPTED = 130


def printable(text: str) -> str:
    """The text as a terminal may show it: control sequences and the like are spelled out."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text
    )


class PfbenchError(Exception):
    """A fault that a user can understand and act upon; printed without a traceback.

    `code` is the documented name of the fault (docs/errors.md), `where` the file, option or
    field it concerns, `remedy` the next step.
    """

    exit_code = 1
    code = "PFB-X00"

    def __init__(self, what: str, *, where: str = "", remedy: str = "", code: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        self.code = code or type(self).code
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f". Try: {self.remedy}" if self.remedy else ""
        return printable(f"error[{self.code}]: {place}{self.what}{remedy}")

    def __reduce__(self) -> tuple[object, ...]:  # crosses process borders with its fields intact
        return _rebuild, (type(self), self.what, self.where, self.remedy, self.code)


def _rebuild(
    kind: type[PfbenchError], what: str, where: str, remedy: str, code: str
) -> PfbenchError:
    return kind(what, where=where, remedy=remedy, code=code)


class UsageError(PfbenchError):
    exit_code = 2
    code = "PFB-C00"


class DataError(PfbenchError):
    exit_code = 3
    code = "PFB-D00"


class StateError(PfbenchError):
    exit_code = 5
    code = "PFB-K00"


class ClusterError(PfbenchError):
    exit_code = 6
    code = "PFB-R00"


class StorageError(PfbenchError):
    exit_code = 7
    code = "PFB-S00"


class TrackingError(PfbenchError):
    exit_code = 8
    code = "PFB-M00"


Fault = TypeVar("Fault", bound=PfbenchError)


def together(faults: Sequence[Fault], of: str) -> Fault:
    """Return one error that lists all `faults` of a thing, one per line; a single one unchanged."""
    if len(faults) == 1:
        return faults[0]
    lines = "\n".join(f"  {fault}" for fault in faults)
    return type(faults[0])(f"{len(faults)} faults in {of}:\n{lines}", code=faults[0].code)


def unknown(
    kind: str, name: str, known: Iterable[str], *, where: str = "", code: str = "PFB-C01"
) -> UsageError:
    """Return the error for a name that is not in a registry, with the nearest known name."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    what = f"unknown {kind} '{name}'.{hint} Known: {', '.join(names)}"
    return UsageError(what, where=where, code=code)
