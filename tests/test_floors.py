"""The map of the house: imports go down only."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
MAY_IMPORT = {
    "models": set(),
    "baselines": {"models"},
    "tuning": set(),
    "harness": {"models", "baselines", "tuning"},
}
KEPT_OUT = {  # which packages may know of these libraries
    "ray": {"tuning"},
    "optuna": {"tuning"},
    "mlflow": {"harness"},
    "typer": {"harness"},
}


def imports(source: Path) -> set[str]:
    """Top-level names of everything that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def files(package: str) -> list[Path]:
    return sorted((TOP / package).rglob("*.py"))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_lies_below_it(package):
    allowed = MAY_IMPORT[package] | {package}
    for source in files(package):
        assert imports(source) & set(MAY_IMPORT) <= allowed, source


@pytest.mark.parametrize("library", KEPT_OUT)
def test_ray_mlflow_and_the_command_line_are_known_only_where_they_belong(library):
    for package in set(MAY_IMPORT) - KEPT_OUT[library]:
        for source in files(package):
            assert library not in imports(source), source


def test_mlflow_is_known_only_where_its_store_is_written_and_looked_at():
    users = {source.name for source in files("harness") if "mlflow" in imports(source)}
    assert users == {"faults.py", "model.py", "servable.py", "store.py"}


def test_nothing_unpickles_what_it_did_not_write():
    for package in MAY_IMPORT:
        for source in files(package):
            names = imports(source)
            assert not names & {"pickle", "cloudpickle", "dill", "joblib"}, source
            assert "weights_only=False" not in source.read_text(), source


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list", "models"], ["list", "suites"], ["list", "metrics"]]
)
def test_help_and_lists_load_no_heavy_library(arguments):
    code = (
        "import sys; sys.argv = ['pfbench', *sys.argv[1:]]\n"
        "from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'mlflow', 'pandas', 'scipy', 'matplotlib', 'optuna'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=TOP,
    )
    assert done.stdout.endswith("HEAVY []\n"), done.stdout + done.stderr
