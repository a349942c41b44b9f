"""Whether tests notice: one comparison, operator, constant or condition is changed at a time.

    python tests/mutate.py                                     240 mutants, drawn with seed 0
    python tests/mutate.py --only harness/data/split.py        of one file
    python tests/mutate.py --keep                              go on, or try again what lived

Each mutant is one file of a copy of the project, tried against the tests that `tests/mutants.yaml`
names for that file, in a process forked from one that has imported the libraries. A mutant is
noticed when a test fails, or takes several times as many processor seconds as without the change.
Those that change nothing anybody could see are listed there by name, with the reason, and are not
counted.
"""

import argparse
import ast
import hashlib
import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
LIST = Path(__file__).parent / "mutants.yaml"
LEAST = 95  # percent noticed: below it the command fails
GIB = 2**30

COMPARISONS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True)
class Mutant:
    """One change of one file; `name` stays when lines above it come or go."""

    file: str
    line: int
    name: str
    """File, function, and the expression before and after."""
    start: int
    """The first byte of the file that is replaced."""
    end: int
    text: str

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.text.encode() + source[self.end :]


def mutants(file: str) -> list[Mutant]:
    """Every mutant of one file, in the order of its lines."""
    source = (ROOT / file).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found, times = [], Counter[str]()
    for node, changed, where in _changes(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        after = ast.unparse(changed)
        name = f"{file} {where}: {ast.unparse(node)} -> {after}"
        times[name] += 1
        name += f" ({times[name]})" if times[name] > 1 else ""
        text = after if isinstance(node, ast.stmt) else f"({after})"
        found.append(Mutant(file, node.lineno, name, start, end, text))
    return sorted(found, key=lambda mutant: (mutant.start, mutant.name))


def _changes(tree: ast.AST, where: str = "") -> Iterator[tuple[ast.AST, ast.AST, str]]:
    """Each node that may be changed, its replacement, and the function that the node is in."""
    for node in _results(tree):
        inside = where
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            inside = f"{where}.{node.name}" if where else node.name
        for changed in _changed(node):
            yield node, changed, where or "module"
        for test in _conditions(node):
            yield test, ast.UnaryOp(ast.Not(), test), where or "module"
        yield from _changes(node, inside)


def _results(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a node that can change a result.

    Not annotations, decorators, what errors say, asserts, texts, and `strict=` of zip.
    """
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for each in value if isinstance(value, list) else [value]:
            said = isinstance(each, ast.Raise | ast.Assert | ast.JoinedStr)
            strict = isinstance(each, ast.keyword) and each.arg == "strict"
            typing = isinstance(each, ast.If) and ast.unparse(each.test) == "TYPE_CHECKING"
            if isinstance(each, ast.AST) and not (said or strict or typing):
                yield each


def _changed(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the place of a comparison, an operator or a constant."""
    match node:
        case ast.Compare(left, operators, others):
            for place, operator in enumerate(operators):
                for other in COMPARISONS[type(operator)]:
                    changed = [*operators[:place], other(), *operators[place + 1 :]]
                    yield ast.Compare(left, changed, others)
        case ast.BinOp(left, operator, right) if type(operator) in OPERATORS:
            yield ast.BinOp(left, OPERATORS[type(operator)](), right)
        case ast.AugAssign(target, operator, value) if type(operator) in OPERATORS:
            yield ast.AugAssign(target, OPERATORS[type(operator)](), value)
        case ast.BoolOp(operator, values):
            yield ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield operand
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() | float() as value):
            yield ast.Constant(value + 1)


def _conditions(node: ast.AST) -> list[ast.expr]:
    """The conditions of a node that are negated, but for those that `_changed` changes already."""
    match node:
        case ast.If(test) | ast.While(test) | ast.IfExp(test):
            found = [test]
        case ast.comprehension(ifs=tests):
            found = tests
        case _:
            found = []
    return [test for test in found if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp)]


def drawn(count: int, seed: int, only: list[str], lists: dict) -> list[Mutant]:
    """`count` mutants of the files with tests, all if 0, in the order of files and lines."""
    files = [file for file in lists["tests"] if not only or file in only]
    known = [mutant for file in files for mutant in mutants(file)]
    if count:
        known = sorted(known, key=lambda mutant: _lot(seed, mutant))[:count]
    order = {file: place for place, file in enumerate(files)}
    return sorted(known, key=lambda mutant: (order[mutant.file], mutant.start, mutant.name))


def _lot(seed: int, mutant: Mutant) -> str:
    """What decides whether a mutant is drawn, whatever becomes of the others."""
    return hashlib.sha256(f"{seed} {mutant.name}".encode()).hexdigest()


@dataclass(frozen=True)
class Tried:
    """How a mutant ended: the test that noticed it, "time" for none within the limit, or ""."""

    name: str
    noticed: str
    seconds: float


class Copy:
    """A copy of the project in which one file at a time is changed."""

    def __init__(self, folder: Path, timed: list[str]) -> None:
        self.folder = folder
        self.without = [f"--deselect={name}" for name in timed]
        listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard")
        for name in subprocess.check_output(listed, cwd=ROOT, text=True).splitlines():
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self._limits: dict[str, int] = {}

    def limit_s(self, test: str) -> int:
        """The processor seconds that the tests may take, from what they take unchanged."""
        if test not in self._limits:
            noticed, seconds = self._run(test, 900, compiled=True)
            if noticed:
                sys.exit(f"tests fail without any change: {test}: {noticed}")
            self._limits[test] = round(3 * seconds) + 20
        return self._limits[test]

    def tried(self, mutant: Mutant, tests: list[str]) -> Tried:
        """Try the tests one after the other, until one of them notices."""
        limits_s = [self.limit_s(test) for test in tests]
        place = self.folder / mutant.file
        source, written = place.read_bytes(), place.stat()
        noticed, total = "", 0.0
        try:
            place.write_bytes(mutant.applied(source))
            for test, limit_s in zip(tests, limits_s, strict=True):
                noticed, seconds = self._run(test, limit_s)
                total += seconds
                if noticed:
                    break
        finally:
            place.write_bytes(source)
            os.utime(place, ns=(written.st_atime_ns, written.st_mtime_ns))
        return Tried(mutant.name, noticed, round(total, 1))

    def _run(self, test: str, limit_s: int, compiled: bool = False) -> tuple[str, float]:
        """Run a line of tests until one fails; returns its name, or "", and its processor seconds.

        Tests that wait have ten times as long by the clock, as other programs may be at work, too.
        `compiled`: whether bytecode is kept, which that of a mutant must not be.
        """
        log = self.folder / "mutate.log"
        began = time.monotonic()
        child = os.fork()
        if not child:
            try:
                self._test(test, log, limit_s, compiled)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(99)
        while time.monotonic() < began + 10 * limit_s:
            ended, status, used = os.wait4(child, os.WNOHANG)
            if ended:
                seconds = used.ru_utime + used.ru_stime
                late = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
                noticed = "time" if late else _first_failure(log) if status else ""
                return noticed, seconds
            time.sleep(0.02)
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return "time", limit_s

    def _test(self, test: str, log: Path, limit_s: int, compiled: bool) -> None:
        """Become the process of the tests, which ends with their exit code."""
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 10))
        resource.setrlimit(resource.RLIMIT_DATA, (8 * GIB, 8 * GIB))
        os.chdir(self.folder)
        output = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ |= {"PYTHONPATH": str(self.folder)}
        if not compiled:
            os.environ |= {"PYTHONDONTWRITEBYTECODE": "1"}
        sys.path[:1] = [str(self.folder), str(self.folder / "tests")]
        sys.dont_write_bytecode = not compiled
        name, *chosen = shlex.split(test)
        how = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", *self.without]
        code = pytest.main([f"tests/{name}", *chosen, *how])
        sys.stdout.flush()
        os._exit(int(code))


def _first_failure(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    told = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return told[0].partition(" - ")[0] if told else "the tests do not start"


def table(tried: list[tuple[Mutant, Tried]], equal: dict[str, str]) -> str:
    """The table by file, as Markdown; equal mutants have a column of their own."""
    by_file = defaultdict(list)
    for mutant, found in tried:
        by_file[mutant.file].append(found)
    lines = ["| file | mutants | noticed | equal | not noticed |", "|---|---|---|---|---|"]
    for name, found in [*by_file.items(), ("all", [each for _, each in tried])]:
        noticed = sum(bool(each.noticed) for each in found)
        same = sum(not each.noticed and each.name in equal for each in found)
        lines.append(
            f"| {name} | {len(found)} | {noticed} | {same} | {len(found) - noticed - same} |"
        )
    return "\n".join(lines)


def main() -> None:
    told = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    told.add_argument("--count", type=int, default=240, help="mutants to draw; 0: all")
    told.add_argument("--seed", type=int, default=0)
    told.add_argument("--only", nargs="*", default=[], metavar="FILE", help="of these files alone")
    told.add_argument("--log", type=Path, default=Path("mutants.jsonl"), help="a line for each")
    told.add_argument("--keep", action="store_true", help="what LOG says was noticed stays so")
    asked = told.parse_args()
    lists = yaml.safe_load(LIST.read_text(encoding="utf-8"))
    chosen = drawn(asked.count, asked.seed, asked.only, lists)
    kept = {}
    if asked.keep and asked.log.exists():
        lines = map(json.loads, asked.log.read_text(encoding="utf-8").splitlines())
        kept = {line["name"]: Tried(**line) for line in lines if line["noticed"]}
    equal = lists["equal"] or {}
    tried = []
    with tempfile.TemporaryDirectory() as folder, open(asked.log, "w", encoding="utf-8") as log:
        log.writelines(json.dumps(asdict(found)) + "\n" for found in kept.values())
        copy = Copy(Path(folder), lists["timed"])
        for test in dict.fromkeys(
            test
            for each in chosen
            if each.name not in {*kept, *equal}
            for test in lists["tests"][each.file]
        ):
            print(f"{copy.limit_s(test):.0f} s at most for {test}", flush=True)
        for number, mutant in enumerate(chosen, 1):
            if mutant.name in equal:
                found = Tried(mutant.name, "", 0.0)
            elif mutant.name in kept:
                found = kept[mutant.name]
            else:
                found = copy.tried(mutant, lists["tests"][mutant.file])
                log.write(json.dumps(asdict(found)) + "\n")
                log.flush()
            tried.append((mutant, found))
            word = "equal" if mutant.name in equal else found.noticed or "NOT NOTICED"
            print(f"{number}/{len(chosen)} {found.seconds:.1f} s {mutant.name}: {word}", flush=True)
    print("\n" + table(tried, equal))
    for mutant, found in tried:
        if not found.noticed and mutant.name not in equal:
            print(f"not noticed: line {mutant.line}, {mutant.name}")
    counted = [found for mutant, found in tried if mutant.name not in equal]
    share = 100 * sum(bool(found.noticed) for found in counted) / max(1, len(counted))
    print(f"{share:.1f} % of {len(counted)} noticed, {len(tried) - len(counted)} equal")
    sys.exit(share < LEAST)


if __name__ == "__main__":
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    import nibabel  # noqa: F401  the libraries, once for all mutants
    import pandas  # noqa: F401
    import pydantic  # noqa: F401
    import pytest
    import scipy.ndimage  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch  # noqa: F401
    import typer  # noqa: F401

    main()
