"""`pfbench` as a person calls it, but in this process: its imports are paid once for all tests."""

import contextlib
import hashlib
import io
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import helper_shared_imports
import torch

from harness.cli import main
from harness.runs import plugins as registry

FRAME = re.compile(r"[\s│╭╮╰╯─]+")


@dataclass(frozen=True)
class Done:
    """What a command left behind on the terminal."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything it said as one line, without the frame that the option parser draws."""
        return FRAME.sub(" ", self.out + self.err)


def pfbench(*arguments: object, expect: int = 0) -> Done:
    """Call it; the exit code has to be `expect`, and nobody is shown a traceback."""
    out, err = io.StringIO(), io.StringIO()
    with _as_it_was(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = ["pfbench", *map(str, arguments)]
        if "inline" in arguments:
            os.environ |= helper_shared_imports.environment()
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    done = Done(code, out.getvalue(), err.getvalue())
    assert "Traceback" not in done.said, done.out + done.err
    assert done.code == expect, done.out + done.err
    return done


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Put back what a process of its own would have taken with it."""
    arguments, environment, threads = sys.argv, dict(os.environ), torch.get_num_threads()
    mask = os.umask(0)
    os.umask(mask)
    try:
        yield
    finally:
        sys.argv = arguments
        os.umask(mask)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
        registry.clear()
        os.environ.clear()  # last, as torch writes to it
        os.environ.update(environment)


def contents(folder: Path) -> dict[str, str]:
    """Every file below `folder` with the SHA-256 of what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
