"""Load a plug-in: one file, read once; the bytes that are hashed are the bytes that are executed.

A plug-in is code. It is executed when, and only when, a person names it: by --plugin, or by the
name of a model of an installed package's entry point. What lies in a run folder is not.
"""

import hashlib
import os
import re
import stat
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.abc import SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

from harness.data.names import refuse_unsafe
from harness.errors import UsageError
from harness.systems.catalogue import SystemEntry

if TYPE_CHECKING:
    from harness.data.datasets import Dataset
    from harness.systems.plugin_metrics import Metric

MAX_BYTES = 1_000_000
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
COPY = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_]{0,39})-(?P<sha>[0-9a-f]{16})")


@dataclass(frozen=True)
class Plugin:
    """The systems, data sets and metrics that one plug-in file adds."""

    name: str
    source: bytes
    systems: Mapping[str, SystemEntry]
    metrics: Mapping[str, "Metric"]
    datasets: Mapping[str, "Dataset"]

    @property
    def id(self) -> str:
        """The id of the plug-in in trials: "name-<16 digits of the SHA-256 of the source>"."""
        return f"{self.name}-{sha(self.source)}"


def sha(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()[:16]


def load(path: Path) -> Plugin:
    """Execute the plug-in file and collect its systems, data sets and metrics.

    Raises UsageError that names file and line for a file that cannot be read or executed, and the
    fault of a wrong entry.
    """
    source = _read(path)
    name = _name(path, source)
    module = _execute(path, source, f"pfbench_plugin_{name}_{sha(source)}")
    plugin = Plugin(name, source, *(_entries(path, module, group) for group in _kinds()))
    if not (plugin.systems or plugin.metrics or plugin.datasets):
        remedy = 'SYSTEMS = {"mine": System(...)}; `pfbench init model mine` writes an example'
        raise wrong(path, "has neither SYSTEMS, METRICS nor DATASETS", remedy)
    return plugin


def wrong(path: Path, what: str, remedy: str) -> UsageError:
    return UsageError(what, where=str(path), remedy=remedy, code="PFB-C42")


def _read(path: Path) -> bytes:
    remedy = "pass one Python file"
    try:
        if not stat.S_ISREG(path.stat().st_mode) or path.suffix != ".py":
            raise UsageError("is no Python file", where=str(path), remedy=remedy, code="PFB-C41")
        with open(path, "rb") as file:
            source = file.read(MAX_BYTES + 1)
    except OSError as error:
        what = (error.strerror or "cannot be read").lower()
        raise UsageError(what, where=str(path), remedy=remedy, code="PFB-C41") from error
    if len(source) > MAX_BYTES:
        what, remedy = f"is larger than {MAX_BYTES // 1_000_000} MB", "keep data out of it"
        raise UsageError(what, where=str(path), remedy=remedy, code="PFB-C41")
    return source


def _name(path: Path, source: bytes) -> str:
    """The name of the plug-in: that of its file, without the hash of a copy in a run folder."""
    copy = COPY.fullmatch(path.stem)
    if copy and copy["sha"] != sha(source):
        what = f"was changed since the run kept it (its hash is {sha(source)})"
        raise wrong(path, what, f"copy it out as {copy['name']}.py; it is another plug-in now")
    name = copy["name"] if copy else path.stem
    if not NAME.fullmatch(name):
        raise wrong(path, "has a name that no module can have", "letters, digits and _, at most 40")
    return name


class _AsRead(SourceLoader):
    """Python's own loader, given the bytes that were hashed; it looks for no compiled file."""

    def __init__(self, path: Path, source: bytes) -> None:
        self.path = str(path)
        self.source = source

    def get_filename(self, fullname: str) -> str:
        return self.path

    def get_data(self, path: str | bytes) -> bytes:
        if path != self.path:
            raise FileNotFoundError(path)
        return self.source


def _execute(path: Path, source: bytes, name: str) -> ModuleType:
    loader = _AsRead(path, source)
    module = module_from_spec(ModuleSpec(name, loader, origin=str(path)))
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look for their module there
    process = os.getpid()
    try:
        loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # somebody else's code: even SystemExit is a fault of the file
        del sys.modules[name]
        raise _failed(path, error) from error
    finally:
        if os.getpid() != process:  # a child that the file forked would do our work a second time
            os._exit(0)
    return module


class EndsProcess(Exception):
    """The error for a plug-in that would have ended the process."""


@contextmanager
def contained() -> Iterator[None]:
    """Keep a plug-in's code, in the block, from ending this process or printing to its output."""
    end, process = os._exit, os.getpid()

    def refuse(code: int) -> NoReturn:
        if os.getpid() != process:  # a child that the plug-in forked ends as it wants to
            end(code)
        raise EndsProcess(f"it ends the process (os._exit({code}))")

    sys.stdout.flush()
    output = os.dup(1)
    os.dup2(2, 1)
    setattr(os, "_exit", refuse)  # noqa: B010  mypy knows functions
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        setattr(os, "_exit", end)  # noqa: B010
        os.dup2(output, 1)
        os.close(output)


NUMPYS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
"""What numpy does with faults of arithmetic unless it is told otherwise."""


@contextmanager
def restored() -> Iterator[None]:
    """Put back, after the block, what the processes of other trials would inherit.

    And torch's defaults, with which networks are built to be counted, numpy's ways with a division
    by zero, with which volumes are prepared, and the rights of files that are made.
    """
    environment, folder, paths = dict(os.environ), os.getcwd(), [*sys.path]
    rights = os.umask(0o077)
    os.umask(rights)
    numpy = sys.modules.get("numpy")
    division = numpy.geterr() if numpy else NUMPYS
    try:
        yield
    finally:
        os.umask(rights)
        if numpy := sys.modules.get("numpy"):
            numpy.seterr(**division)
        sys.path[:] = paths
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        if torch := sys.modules.get("torch"):
            torch.set_default_dtype(torch.float32)
            torch.set_default_device(None)


def _failed(path: Path, error: BaseException) -> UsageError:
    """An error for the exception of a plug-in, with the line of the plug-in that raised it."""
    line: int | None = None
    if isinstance(error, SyntaxError) and error.filename == str(path):
        line = error.lineno
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(path):
            line = frame.lineno
    what = f"{type(error).__name__}: {' '.join(str(error).split())}"
    remedy = "correct this line"
    if isinstance(error, ImportError):
        remedy = "install it; a plug-in is one file and sees none beside it"
    where = f"{path}:{line}" if line else str(path)
    return UsageError(what, where=where, remedy=remedy, code="PFB-C41")


def _kinds() -> dict[str, type]:
    """The type of the entries of each dictionary that a plug-in may define."""
    from harness import plugin
    from harness.data.datasets import Dataset
    from harness.systems.plugin_metrics import Metric

    return {"SYSTEMS": plugin.System, "METRICS": Metric, "DATASETS": Dataset}


def _entries(path: Path, module: ModuleType, group: str) -> dict[str, Any]:
    """The entries of one dictionary of the plug-in module."""
    kind = _kinds()[group]
    content = getattr(module, group, {})
    if not isinstance(content, Mapping):
        raise wrong(
            path, f"{group} is no dictionary", f'{group} = {{"mine": {kind.__name__}(...)}}'
        )
    for name, entry in content.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            what = f"{group} has the name {name!r}"
            raise wrong(path, what, "letters, digits and _, at most 40")
        if not isinstance(entry, kind):
            what = f"{group}[{name!r}] is a {type(entry).__name__}"
            raise wrong(path, what, f"{kind.__name__}(...) of harness.plugin")
        refuse_unsafe(getattr(entry, "targets", ()), f"{path}: {group}[{name!r}]")
    if group != "SYSTEMS":
        return dict(content)
    try:
        return {name: entry.entry() for name, entry in content.items()}
    except (TypeError, ValueError) as error:
        raise wrong(
            path, f"SYSTEMS: {error}", "sees=Patches, or another class of Method"
        ) from error
