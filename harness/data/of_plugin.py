"""What the functions of a plug-in's data set raise or return, told as a fault of that plug-in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.data.case import Survey
from harness.errors import PfbenchError, UsageError

REMEDY = "correct it: `pfbench check-plugin FILE --data-root DIR` takes it step by step"


@contextmanager
def plugin_faults(plugin: str, function: str, where: str) -> Iterator[None]:
    """Raise UsageError for an exception in the block, which calls a `function` of the plug-in.

    With an empty `plugin` the function is ours, and exceptions pass as they are.
    """
    try:
        yield
    except PfbenchError:
        raise
    except (Exception, SystemExit) as error:
        if not plugin:
            raise
        what = f"`{function}` of its plug-in ends with {type(error).__name__}"
        what += f": {' '.join(str(error).split())}"
        raise UsageError(what, where=where, remedy=REMEDY, code="PFB-C43") from error


def checked(found: Any, dataset: str) -> Survey:
    """The answer of a plug-in's `survey` itself, if it can be used; UsageError otherwise."""
    wrong = "" if isinstance(found, Survey) else f"returns a {type(found).__name__}, no Survey"
    for case in found.cases if not wrong else ():
        if not isinstance(case.id, str):
            wrong = f"has a case with the id {case.id!r}, which is no text"
        elif not all(isinstance(file, Path) for file in case.files):
            wrong = f"names a file of {case.id} by a text; it has to be a Path"
    if wrong:
        what = f"`survey` of its plug-in {wrong}"
        raise UsageError(what, where=dataset, remedy=REMEDY, code="PFB-C43")
    return found
