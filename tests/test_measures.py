"""The table of figures: one line makes a metric known everywhere, and no name is used twice."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helper_in_process import pfbench

from harness.results.cells import number
from harness.results.paper import printed_figures
from harness.runs.measures import BY_NAME, CASES, MEASUREMENT, MEASURES, RESULT
from harness.runs.records import Measured, Scored
from harness.systems.case_score import MEANS

TOP = Path(__file__).parent.parent
LINE = """    Measure("precision", "Precision", "%", CASES, "precision", "precision_mean",
            "common voxels over those of the prediction", scale=100, better="max",
            mlflow="Precision"),
"""
FIELD = "    precision: float\n"
COMPUTED = "        precision=counts.common / max(counts.pred, 1),\n"
LOOK = """
import json
from pathlib import Path
import helper_made_run
import numpy as np
from harness.commands.listing import LISTS
from harness.report import write
from harness.results import tables
from harness.systems.evaluate import summary
from harness.systems.metrics import score
from harness.tracking.desired import HEADLINES, children_of

line = helper_made_run._line
helper_made_run._line = lambda *given, **named: line(*given, **named) | {"precision": 0.25}
run = helper_made_run.MadeRun(Path("run"), rows=("unet3d", "pfseg"))
mask = np.zeros((4, 4, 4), bool)
mask[:2] = True
whole = np.ones_like(mask)
results = tables.build(run.folder)
formats = ("html", "md", "latex", "csv")
print(json.dumps({
    "computed": summary([score(whole, mask, (1, 1, 1))._asdict()])["precision_mean"],
    "table.csv": results.frame["precision_mean"].tolist(),
    "table.md": tables.markdown(results),
    "report": {name: write.render([run.folder], name, pictures=False) for name in formats},
    "list": [row for row in LISTS["metrics"]("quick") if row["name"] == "precision"],
    "mlflow": [read().finals for _, read in children_of(run.folder)],
    "headlines": HEADLINES,
}))
"""


@pytest.fixture(scope="module")
def with_one_more(tmp_path_factory):
    """What a copy of harness/ shows with one more line in its table of figures."""
    home = tmp_path_factory.mktemp("copy")
    shutil.copytree(TOP / "harness", home / "harness")
    insert(home / "harness/runs/measures.py", LINE, before='    Measure("hd95_max"')
    insert(home / "harness/systems/case_score.py", FIELD, before="    pred_ml: float")
    insert(home / "harness/systems/metrics.py", COMPUTED, before="        pred_ml=")
    paths = f"import sys; sys.path[1:1] = [{str(TOP / 'tests')!r}, {str(TOP)!r}]\n"
    done = subprocess.run([sys.executable, "-c", paths + LOOK], cwd=home, capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def insert(path, text, *, before):
    content = path.read_text()
    assert content.count(before) == 1
    path.write_text(content.replace(before, text + before))


def test_a_metric_of_one_more_line_is_computed_and_averaged(with_one_more):
    assert with_one_more["computed"] == 0.5


def test_it_is_a_column_of_the_tables(with_one_more):
    assert with_one_more["table.csv"] == [0.25] * 4
    assert "| Precision |" in with_one_more["table.md"]
    assert "25.00 ± 0.00" in with_one_more["table.md"]


@pytest.mark.parametrize("name", ["html", "md", "latex"])
def test_it_is_in_the_report_with_its_interval_and_its_tests(with_one_more, name):
    report = with_one_more["report"][name]
    assert "Precision" in report and "[25.00, 25.00]" in report
    assert "Significance: Precision" in report


def test_the_ends_of_its_interval_are_columns_of_the_report_as_csv(with_one_more):
    assert "precision_low95,precision_high95" in with_one_more["report"]["csv"].splitlines()[0]


def test_it_is_listed_with_its_unit_and_place(with_one_more):
    [row] = with_one_more["list"]
    assert row["heading"] == "Precision" and row["unit"] == "%" and row["better"] == "higher"
    assert row["where"] == "cases.csv: precision"


def test_mlflow_compares_runs_by_it(with_one_more):
    for finals in with_one_more["mlflow"]:
        assert finals["Precision"] == 0.25 and finals["test/precision.std"] == 0
    assert "Precision" in with_one_more["headlines"]


@pytest.mark.parametrize("of", ["name", "key", "column", "spread", "mlflow", "paper"])
def test_no_two_figures_share_a_name(of):
    names = [name for measure in MEASURES if (name := getattr(measure, of))]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "name, printed, better",
    [
        ("dice", "123.46", "max"), ("hd95", "1.23", "min"), ("hd95_median", "1.23", "min"),
        ("missed", "1", ""), ("false_alarms", "1", ""), ("jaccard", "123.46", "max"),
        ("hd95_max", "1.23", "min"), ("hd95_voxels", "1.23", "min"),
        ("hd95_official", "1.23", "min"), ("time", "1.235", "min"), ("time_p90", "1.235", "min"),
        ("memory", "1", ""), ("train_mib", "1", ""), ("crop_s", "1,234.57", ""),
        ("crop_variance", "123.5", "max"), ("parameters", "1", ""),
        ("parameters_inference", "1", ""), ("gflops", "1.2", ""), ("adapt_gflops", "1.2", ""),
        ("adapt_s", "1.23", ""), ("adapt_mib", "1", ""),
    ],
)  # fmt: skip
def test_a_figure_is_printed_in_its_unit_with_its_digits_and_best_at_one_end(name, printed, better):
    figure = BY_NAME[name]
    assert number(1.234567, figure) == printed
    assert figure.better == better
    assert figure.side == {"max": 1, "min": -1, "": 0}[better]


def test_what_is_counted_is_the_same_for_all_trainings():
    counted = {measure.name for measure in MEASURES if measure.counted}
    assert counted == {"parameters", "parameters_inference", "gflops", "adapt_gflops"}


def test_a_suite_may_show_these():
    assert [measure.name for measure in MEASURES if measure.shown] == [
        "dice", "hd95", "jaccard", "time", "memory", "train_mib", "crop_s", "crop_variance",
        "parameters", "gflops",
    ]  # fmt: skip


def test_every_figure_is_a_key_of_the_record_that_it_stands_in():
    fields = {RESULT: Scored.model_fields, MEASUREMENT: Measured.model_fields}
    for measure in MEASURES:
        if measure.where in fields:
            assert measure.key.partition(".")[0] in fields[measure.where], measure.name


def test_every_score_that_is_averaged_has_a_line():
    """Medians and counts have no such mean."""
    averaged = {
        measure.key for measure in MEASURES if measure.where == CASES and not measure.beside
    }
    assert averaged == set(MEANS)


def test_the_paper_prints_no_figure_without_a_line():
    printed = {
        name for table in printed_figures().values() for row in table.values() for name in row
    }
    assert printed == {measure.paper for measure in MEASURES if measure.paper}


def test_the_list_has_a_row_for_each_figure_with_its_meaning():
    rows = json.loads(pfbench("list", "metrics", "--json").out)
    assert [row["name"] for row in rows] == list(BY_NAME)
    assert all(row["meaning"] and row["where"].partition(": ")[2] for row in rows)
    [hd95] = [row for row in rows if row["name"] == "hd95"]
    assert (hd95["heading"], hd95["unit"], hd95["better"]) == ("HD95", "mm", "lower")


def test_the_metric_of_a_plug_in_is_listed_when_its_file_is_named(tmp_path):
    pfbench("init", "metric", "volume_error", "--in", tmp_path)
    file = tmp_path / "volume_error.py"
    rows = json.loads(pfbench("list", "metrics", "--plugin", file, "--json").out)
    assert rows[-1]["name"] == "volume_error" and rows[-1]["better"] == "lower"
