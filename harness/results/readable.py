"""Run folders whose records do not fit together: a fault of the folder, not of pfbench."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from harness.errors import PfbenchError, StateError
from harness.runs.run_folder import RunFolder


@contextmanager
def readable(folders: Sequence[RunFolder]) -> Iterator[None]:
    """Let what the values of a record make the block raise be a fault of the folder.

    Each record fits its type, but values of several may contradict each other where they are
    joined. Raises StateError that names the folder.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        if isinstance(error, PfbenchError):
            raise
        what = f"its records cannot be joined ({type(error).__name__}: {error})"
        where = ", ".join(str(folder.path) for folder in folders)
        remedy = "pfbench verify, which names the record; if it finds none, this is our fault"
        raise StateError(what, where=where, remedy=remedy, code="PFB-K08") from error
