"""The map of the house: which room may import which, and what may be known only where."""

import ast
import graphlib
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from helper_made_run import MadeRun

TOP = Path(__file__).parent.parent
HARNESS = TOP / "harness"
PACKAGES = {  # package -> the packages of ours that it may import
    "models": set(),
    "baselines": {"models"},
    "tuning": set(),
    "harness": {"models", "baselines", "tuning"},
}
ROOMS = {  # room -> the rooms it may import; errors.py is the ground of all
    "data": set(),
    "systems": {"data"},
    "runs": {"systems", "data"},
    "trials": {"runs", "systems", "data"},
    "results": {"runs", "systems", "data"},
    "tracking": {"trials", "runs", "systems", "data"},
    "report": {"results", "runs", "systems", "data"},
    "experiments": {"report", "tracking", "results", "trials", "runs", "systems", "data"},
    "checks": {"tracking", "results", "trials", "runs", "systems", "data"},
    "commands": {"experiments", "checks", "report", "tracking", "results", "trials", "runs",
                 "systems", "data"},
}  # fmt: skip
HALL = {"__init__", "cli", "errors", "plugin"}
"""The modules at the top of harness/; all others lie in a room."""
ONLY_IN = {  # library -> where it may be imported: packages of ours, or rooms of harness
    "ray": {"tuning"},
    "optuna": {"tuning"},
    "mlflow": {"tracking"},
    "typer": {"commands", "cli"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
}
FILES_OF_A_RUN = ("split.json", "cases.csv", "history.csv", "result.json", "data.json",
                  "measurement.json", "run.json", "weights.safetensors")  # fmt: skip


def module_of(source: Path) -> str:
    """harness/runs/spec.py -> harness.runs.spec; a package is its __init__."""
    parts = source.relative_to(TOP).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_of(path): path
    for package in PACKAGES
    for path in sorted((TOP / package).rglob("*.py"))
    if "scaffolds" not in path.parts  # templates of plug-ins, which import as plug-ins do
}


def imported(source: Path) -> set[str]:
    """The modules that a file imports, inside functions and under TYPE_CHECKING too."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in inner if name in SOURCES} or {node.module}
            if any(name not in SOURCES for name in inner):
                found.add(node.module)
    return found


IMPORTS = {module: imported(path) for module, path in SOURCES.items()}


def room_of(module: str) -> str:
    """The room of a module of harness; "" in the hall and outside."""
    parts = module.split(".")
    return parts[1] if parts[0] == "harness" and len(parts) > 1 and parts[1] in ROOMS else ""


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one circle, the first one again at its end; none where there is no circle."""
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        return error.args[1]
    return []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_lies_below_it(package):
    allowed = PACKAGES[package] | {package}
    for module in SOURCES:
        if module.split(".")[0] == package:
            ours = {name.split(".")[0] for name in IMPORTS[module]} & set(PACKAGES)
            assert ours <= allowed, module


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_lies_below_it(room):
    wrong = [
        f"{module} imports {name}"
        for module in SOURCES
        if room_of(module) == room
        for name in sorted(IMPORTS[module])
        if room_of(name) not in {"", room, *ROOMS[room]}
        or (name in ("harness.cli", "harness.plugin") and room != "commands" and not (
            module == "harness.runs.plugin_file" and name == "harness.plugin"
        ))
    ]  # fmt: skip
    assert wrong == []


def test_no_file_imports_itself_by_way_of_others():
    graph = {module: IMPORTS[module] & set(SOURCES) - {module} for module in SOURCES}
    assert circle(graph) == []


def test_a_circle_is_found_and_told():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})[1:] in (
        ["c", "b", "a"], ["b", "a", "c"], ["a", "c", "b"],
    )  # fmt: skip


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_known_only_where_it_belongs(library):
    knowing = {
        room_of(module) or module.split(".")[-1 if module.startswith("harness") else 0]
        for module, names in IMPORTS.items()
        if library in {name.split(".")[0] for name in names}
    }
    assert knowing <= ONLY_IN[library]


def test_every_module_of_the_harness_lies_in_a_room():
    lying_about = {path.stem for path in HARNESS.glob("*.py")} - HALL
    rooms = {path.name for path in HARNESS.iterdir() if (path / "__init__.py").exists()}
    assert (lying_about, rooms) == (set(), set(ROOMS))


def test_a_public_class_has_a_name_of_its_own():
    homes = defaultdict(list)
    for module, path in SOURCES.items():
        if module.startswith("harness"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    homes[node.name].append(module)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_the_files_of_a_run_are_named_in_one_room():
    named = defaultdict(set)
    for module, path in SOURCES.items():
        if room_of(module) in ("", "runs"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in FILES_OF_A_RUN:
                named[module].add(node.value)
    assert dict(named) == {}


@pytest.mark.parametrize("module", [name for name in SOURCES if name.startswith("harness.")])
def test_a_text_that_stands_for_an_import_names_something(module):
    named = re.compile(r"((?:harness|models|baselines)(?:\.\w+)+):(\w+)")
    for node in ast.walk(ast.parse(SOURCES[module].read_text(encoding="utf-8"))):
        found = named.fullmatch(str(node.value)) if isinstance(node, ast.Constant) else None
        if found:
            home, name = found.groups()
            assert home in SOURCES, node.value
            assert re.search(rf"\b{name}\b", SOURCES[home].read_text(encoding="utf-8"))


def test_nothing_unpickles_what_it_did_not_write():
    for module, path in SOURCES.items():
        names = {name.split(".")[0] for name in IMPORTS[module]}
        assert not names & {"pickle", "cloudpickle", "dill", "joblib"}, module
        assert "weights_only=False" not in path.read_text(encoding="utf-8"), module


def test_a_served_model_needs_nothing_of_ray():
    """MLflow keeps harness, models and baselines beside a model, and not tuning."""
    code = (
        "import sys; sys.modules['tuning'] = None; sys.modules['ray'] = None\n"
        "import harness.tracking.servable"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=TOP,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


LISTED = ("suites", "rows", "models", "metrics")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], *(["list", what] for what in LISTED)]
)
def test_help_and_lists_load_no_heavy_library(arguments):
    code = (
        "import sys; sys.argv = ['pfbench', *sys.argv[1:]]\n"
        "from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'mlflow', 'numpy', 'pandas', 'scipy', 'matplotlib', 'optuna'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=TOP,
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.endswith("HEAVY []\n"), done.stdout + done.stderr


FAST = {"torch", "ray", "mlflow", "scipy.stats", "matplotlib", "optuna", "skimage"}
READS = FAST | {"pandas", "scipy"}


@pytest.mark.parametrize(
    "command, heavy", [("compare", READS), ("claims", READS), ("report", FAST - {"matplotlib"})]
)
def test_who_reads_a_finished_run_waits_for_no_library_of_training(tmp_path, command, heavy):
    MadeRun(tmp_path / "run", rows=["pfseg", "resunet3d"])
    code = (
        "import sys; sys.argv = ['pfbench', *sys.argv[1:]]\n"
        "from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, command, tmp_path / "run"], cwd=TOP,
                          capture_output=True, text=True, check=True)  # fmt: skip
    _, _, loaded = done.stdout.rpartition("LOADED ")
    assert heavy & set(loaded.split()) == set()
