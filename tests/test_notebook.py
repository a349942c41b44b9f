"""The notebook is executed on a run that was just made, and lists of what a run left are JSON."""

import ast
import json
import warnings
from pathlib import Path

import matplotlib
import pytest
from helper_in_process import pfbench

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebooks" / "read_a_run.ipynb"
RUN = "pfbench-runs/table5-phantom-quick"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where somebody ran two systems of Table V, one patch-based and one patch-free."""
    top = tmp_path_factory.mktemp("work")
    pfbench("run", "--suite", "table5", "--model", "resunet3d", "--model", "resunet3d_up",
            "--set", "systems.resunet3d.window=[32,64,64]",  # one window, not 27
            "--epochs", 1, "--set", "phantom.cases=3", "--executor", "inline", "--no-mlflow",
            "--out", top / RUN)  # fmt: skip
    return top


def cells(notebook):
    """The source of each cell of code, in order."""
    content = json.loads(notebook.read_text())
    assert content["nbformat"] == 4
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"]


def execute(sources):
    """Run the cells one after another as a kernel does; the value of each one's last line."""
    names, shown = {"__name__": "__main__"}, []
    for number, source in enumerate(sources):
        tree = ast.parse(source)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {number}", "exec"), names)
        expression = last and compile(ast.Expression(last.value), f"cell {number}", "eval")
        shown.append(eval(expression, names) if expression else None)
    return names, shown


def test_the_notebook_draws_dice_against_seconds_and_memory(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with matplotlib.rc_context({"backend": "agg", "figure.max_open_warning": 0}):
        names, shown = execute(cells(NOTEBOOK)[:5])
        seconds, memory = names["axes"]
        assert seconds.get_xlabel() == "seconds per volume"
        assert memory.get_xlabel() == "peak MiB of inference"
        assert "synthetic data: not comparable" in names["figure"].get_suptitle()
        drawn = sorted(tuple(points.get_offsets()[0]) for points in seconds.collections[1::2])
        means = names["means"]
        assert drawn == sorted(zip(means["time_s_p50"], means["dice_mean"], strict=True))
        assert set(shown[1].index) == {"ResUNet3D", "ResUNet3D↑"}
        assert shown[2].empty  # nothing failed


def test_the_rest_of_the_notebook_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with matplotlib.rc_context({"backend": "agg"}), warnings.catch_warnings(action="error"):
        names, _ = execute(cells(NOTEBOOK))
        assert len(names["axis"].lines) == 2  # a curve for each trial


def test_the_notebook_is_kept_without_outputs():
    content = json.loads(NOTEBOOK.read_text())
    assert not any(cell.get("outputs") for cell in content["cells"])


def test_pictures_and_predictions_are_listed_as_json(folder, tmp_path):
    run = folder / RUN
    drawn = json.loads(pfbench("figures", run, "--json").out)
    assert drawn and all(Path(path).is_file() for path in drawn)
    pfbench("data", "make-phantom", tmp_path / "scans", "--cases", 1, "--size", "48x80x80")
    done = pfbench("predict", run, tmp_path / "scans", "--model", "resunet3d_up",
                   "--out", tmp_path / "masks", "--json")  # fmt: skip
    [mask] = json.loads(done.out)["files"]
    assert Path(mask).is_file()
