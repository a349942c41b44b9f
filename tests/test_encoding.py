"""No text is read or written by the encoding of the locale: it is bytes, or UTF-8 by name."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
PACKAGES = ("harness", "models", "baselines", "tuning", "benchmarks")
SOURCES = [path for package in PACKAGES for path in sorted((TOP / package).rglob("*.py"))]
READS_TEXT = ("read_text", "write_text")
OPENS = ("open", "fdopen", "NamedTemporaryFile", "TemporaryFile")  # text by their mode
RUNS = ("run", "Popen", "check_output", "check_call")  # text where they are asked for it


def by_locale(call: ast.Call) -> bool:
    """Whether a call reads or writes text without a name for its encoding."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    given = {word.arg: word.value for word in call.keywords}
    if "encoding" in given or None in given:
        return False
    if name in READS_TEXT:
        return True
    if name in RUNS:
        asked = given.get("text", given.get("universal_newlines"))
        return bool(getattr(asked, "value", False))
    if name not in OPENS:
        return False
    modes = [value.value for value in (*call.args[:2], given.get("mode"))
             if isinstance(value, ast.Constant) and isinstance(value.value, str)]  # fmt: skip
    if name.endswith("TemporaryFile"):
        return any("b" not in mode for mode in modes)
    known = [mode for mode in modes if set(mode) <= set("rwxabt+")]
    of_a_path = isinstance(call.func, ast.Name) or name == "fdopen" or bool(known)
    return of_a_path and not any("b" in mode for mode in known)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(TOP)))
def test_text_has_an_encoding_by_name(source):
    nodes = ast.walk(ast.parse(source.read_bytes()))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    assert [f"line {call.lineno}" for call in calls if by_locale(call)] == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("open(path)", True), ("open(path, 'w')", True), ("open(path, 'rb')", False),
        ("path.open('a')", True), ("path.read_text()", True), ("path.read_bytes()", False),
        ("path.write_text(text, encoding='utf-8')", False), ("run(command, text=True)", True),
        ("run(command)", False), ("os.fdopen(handle, 'wb')", False), ("os.fdopen(handle)", True),
        ("igzip.open(path, 'rb')", False),
    ],
)  # fmt: skip
def test_what_goes_by_the_locale_is_known(code, found):
    assert by_locale(ast.parse(code).body[0].value) is found


def test_a_command_works_where_the_locale_is_ascii(tmp_path):
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", "run", "--suite", "table5", "--model", "san",
         "--profile", "quick", "--set", "phantom.cases=3", "--executor", "inline", "--no-mlflow",
         "--dry-run", "--out", tmp_path / "out"],
        env=environment, cwd=TOP, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
