"""`pfbench tune` as its user runs it: real Ray, real training, real kills."""

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import nullcontext
from pathlib import Path

import helper_in_process
import pandas as pd
import pytest
import yaml
from test_probe import probed
from test_run import TOP, command, pfbench

from harness.commands.options import SpaceOptions
from harness.commands.spaces import parsed_ranges, spaces_of
from harness.data.split import Split, split
from harness.errors import UsageError
from harness.runs.run_folder import RunFolder
from harness.runs.search_space import changes
from harness.runs.settings import resolve
from harness.runs.study_folder import best, points
from harness.runs.tuned import refuse_other_split
from harness.tracking.mirror import default_uri
from harness.trials.probe_run import Probe
from tuning.search import Range

SMALL = ["--model", "resunet3d_up", "--set", "phantom.cases=4", "--epochs", 2, "--no-mlflow",
         "--max-concurrent", 1]  # fmt: skip
QUIET = pytest.mark.filterwarnings("ignore")  # MLflow's own, of many kinds
QUICK = resolve("quick", None, [], None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    done = helper_in_process.pfbench("tune", "lr", *SMALL, "--trials", 3, "--out", out)
    return out, done


def test_the_settings_as_they_are_come_first(finished):
    out, _ = finished
    study = pd.read_csv(out / "study.csv").set_index("number")
    assert list(study.index) == [0, 1, 2]
    assert study.loc[0, "lr"] == QUICK.protocol.learning_rate
    assert study.loc[0, "state"] == "complete"


def test_what_it_found_is_the_best_complete_point_and_run_takes_it(finished):
    out, _ = finished
    study = pd.read_csv(out / "study.csv")
    best = study.loc[study["value"].idxmax()]
    content = yaml.safe_load((out / "best.yaml").read_text())
    assert content["settings"]["exceptions"] == {"resunet3d_up": {"learning_rate": best["lr"]}}
    tuned = resolve("quick", None, [], None, out / "best.yaml")
    assert tuned.protocol_of("resunet3d_up").learning_rate == best["lr"]
    assert tuned.protocol_of("unet3d") == QUICK.protocol


@pytest.fixture
def taken(finished, tmp_path):
    """What a run says that takes the settings of the study, with other options."""

    def run(*options, expect=0):
        return helper_in_process.pfbench(
            "run", "--suite", "table5", *SMALL, "--tuned", finished[0] / "best.yaml", "--dry-run",
            "--out", tmp_path / "run", *options, expect=expect,
        ).said  # fmt: skip

    return run


def test_what_it_found_is_taken_on_the_split_of_the_study(taken, finished):
    assert "1 trial," in taken()
    content = yaml.safe_load((finished[0] / "best.yaml").read_text())
    split = Split.from_json(json.loads((finished[0] / "split.json").read_text()))
    assert content["split"] == split.digest


@pytest.mark.parametrize("other", ["split.seed=1", "phantom.cases=5"])
def test_what_it_found_is_refused_on_another_split_unless_told(taken, other):
    said = taken("--set", other, expect=2)
    assert "PFB-C19" in said and "found on split" in said and "--tuned-elsewhere" in said
    assert "1 trial," in taken("--set", other, "--tuned-elsewhere")


def test_settings_that_name_no_split_are_refused(tmp_path):
    path = tmp_path / "best.yaml"
    path.write_text("settings: {protocol: {epochs: 3}}")
    with pytest.raises(UsageError, match="names no split"):
        refuse_other_split(path, "0" * 16)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A study whose default learns nothing, so that there is something better."""
    out = tmp_path_factory.mktemp("compared") / "out"
    done = pfbench("tune", "lr", "--model", "resunet3d_up", "--set", "phantom.cases=4",
                   "--set", "protocol.learning_rate=1e-9", "--range", "lr=3e-3:1e-2:log",
                   "--epochs", 6, "--trials", 2, "--scheduler", "none", "--out", out)  # fmt: skip
    return out, done


@pytest.mark.long
def test_the_comparison_scores_default_and_tuned_on_the_test_cases(compared):
    out, done = compared
    table = pd.read_csv(out / "comparison" / "table.csv")
    assert set(table["key"]) == {"resunet3d_up/default", "resunet3d_up/tuned"}
    assert "tuned − default" in done.stdout


@pytest.mark.long
@QUIET
def test_the_report_in_mlflow_tells_of_the_comparison_too(compared):
    out, _ = compared
    from mlflow.tracking import MlflowClient

    client = MlflowClient(default_uri(out))
    [experiment] = [e for e in client.search_experiments() if e.name == "pfbench"]
    query = f"tags.`pfbench.run_id` = '{RunFolder(out).manifest().run_id}'"
    runs = client.search_runs([experiment.experiment_id], query)
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    page = Path(client.download_artifacts(parent.info.run_id, "report.html")).read_text(
        encoding="utf-8"
    )
    assert page == (out / "report.html").read_text()
    assert "On the test cases" in page


def test_the_study_ends_with_a_report_of_its_points(finished):
    out, done = finished
    page = (out / "report.html").read_text()
    assert f"report      {out / 'report.html'}" in done.out
    assert "no report" not in done.out
    for part in ("What was searched", "Every point of resunet3d_up", "score of every point"):
        assert part in page
    text = helper_in_process.pfbench("report", out, "--format", "md", "--out", "-").out
    assert "# Study of resunet3d_up on phantom" in text


def test_report_makes_the_files_of_a_study_anew_and_prints_its_points(finished, tmp_path):
    study = shutil.copytree(finished[0], tmp_path / "study")
    tables = [study / name for name in ("study.csv", "study.md", "best.yaml")]
    before = [path.read_bytes() for path in tables]
    for path in tables:
        path.unlink()
    shutil.rmtree(study / "figures")
    done = helper_in_process.pfbench("report", study)
    assert "resunet3d_up: the best points" in done.out
    assert [path.read_bytes() for path in tables] == before
    assert list((study / "figures").iterdir())


@pytest.mark.parametrize("form", [["--json"], ["--format", "csv", "--out", "-"]])
def test_studies_are_reported_one_by_one(finished, form):
    out, _ = finished
    done = helper_in_process.pfbench("report", out, out, *form, expect=5)
    assert "is a study; studies are reported one by one" in done.said


def test_the_same_command_again_trains_nothing(finished):
    out, _ = finished
    stamps = {p: p.stat().st_mtime_ns for p in out.glob("trials/*/history.csv")}
    again = ["tune", "lr", *SMALL, "--trials", 3, "--no-compare", "--out", out]
    done = helper_in_process.pfbench(*again, "--json")
    assert "already done: 3" in done.err
    assert [point["number"] for point in json.loads(done.out)] == [0, 1, 2]
    assert stamps == {p: p.stat().st_mtime_ns for p in out.glob("trials/*/history.csv")}


@pytest.mark.long
def test_what_a_time_budget_left_out_is_said_and_continued(tmp_path):
    arguments = ["tune", "lr", *SMALL, "--trials", 2, "--out", tmp_path]
    done = pfbench(*arguments, "--time-budget", 1)
    assert "time is up, and points are missing; the same command continues" in done.stdout
    assert "nothing to: no point is complete" in done.stdout
    assert RunFolder(tmp_path).manifest().status == "interrupted"
    done = pfbench(*arguments, "--no-compare", "--time-budget", 1000)
    assert "time is up" not in done.stdout
    assert {point.state for point in points(RunFolder(tmp_path))} <= {"complete", "stopped"}
    assert len(points(RunFolder(tmp_path))) == 2
    assert RunFolder(tmp_path).manifest().status == "finished"


def test_another_search_in_the_same_folder_is_refused(finished):
    out, _ = finished
    other = ["--range", "lr=1e-4:1e-2:log", "--out", out]
    done = helper_in_process.pfbench("tune", "lr", *SMALL, *other, expect=2)
    assert "spaces.resunet3d_up.lr" in done.err


def test_a_run_is_not_a_study(finished, tmp_path):
    out, _ = finished
    done = helper_in_process.pfbench("figures", out, expect=5)
    assert "is a study, not a run" in done.err


@pytest.mark.long
def test_a_killed_study_goes_on_with_the_points_of_an_undisturbed_one(finished, tmp_path):
    whole, _ = finished
    out = tmp_path / "killed"
    arguments = ["tune", "lr", *SMALL, "--trials", 3, "--no-compare", "--out", out]
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    driver = subprocess.Popen(command(*arguments), env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (len(points(RunFolder(out))) == 2 and points(RunFolder(out))[1].values()):
        assert time.monotonic() < deadline, "no second point within two minutes"
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    pfbench(*arguments)
    columns = ["number", "state", "value", "epochs", "lr"]
    again, before = (pd.read_csv(folder / "study.csv")[columns] for folder in (out, whole))
    pd.testing.assert_frame_equal(again, before)
    for history in out.glob("trials/*/history.csv"):
        epochs = list(pd.read_csv(history)["epoch"])
        assert epochs == list(range(1, len(epochs) + 1))


@pytest.fixture
def shared_gpus(monkeypatch):
    """A machine with two GPUs, as far as options can tell; (cpus, gpus) of each study's points."""
    given = []

    def probe(planned, trials, *_, **__):
        return {trial: Probe(probed(9000, 80 * 1024), None) for trial in trials}

    monkeypatch.setattr("harness.trials.probe_run.probe", probe)
    monkeypatch.setattr("harness.commands.placement._visible_gpus", lambda: 2)
    monkeypatch.setattr("harness.commands.placement.os.cpu_count", lambda: 32)
    monkeypatch.setattr("harness.experiments.tune.ray_with_imports", lambda cluster: nullcontext())
    monkeypatch.setattr("harness.experiments.tune.run_study", lambda *a, **_: given.append(a[4:6]))
    return given


def test_with_auto_every_point_has_the_share_of_the_settings_as_they_are(shared_gpus, tmp_path):
    auto = ["--device", "cuda", "--gpus-per-trial", "auto", "--out", tmp_path / "study"]
    done = helper_in_process.pfbench("tune", "loss-weights", *SMALL[2:], *auto)
    assert "packing     PFSeg, default seed 0: 1/7 of a GPU (9,000 MiB)" in done.out
    assert shared_gpus == [(2, 0.1428)]


def test_auto_is_refused_where_points_may_differ_in_memory(shared_gpus, tmp_path):
    (tmp_path / "space.yaml").write_text(
        "model: san\nspace: {options.width: {low: 8, high: 32, integer: true}}\n"
    )
    auto = ["--device", "cuda", "--gpus-per-trial", "auto", "--out", tmp_path / "study"]
    done = helper_in_process.pfbench(
        "tune", "space", "--space", tmp_path / "space.yaml", *SMALL[2:], *auto, expect=2
    )
    assert "these may differ in memory" in done.said
    assert not (tmp_path / "study").exists()


def test_the_test_cases_are_not_opened(tmp_path):
    data = tmp_path / "data"
    helper_in_process.pfbench("data", "make-phantom", data, "--cases", 4, "--size", "32x64x64")
    ids = sorted(path.name for path in data.iterdir() if path.is_dir())
    for case in split(ids).test:
        for path in (data / case).iterdir():
            path.write_bytes(b"not a volume")
    arguments = ["--dataset", "brats", "--data-root", data, "--profile", "quick", "--no-mlflow",
                 "--modalities", "flair", "--epochs", 1, "--model", "resunet3d_up"]  # fmt: skip
    study = [*arguments, "--trials", 1, "--no-compare", "--out", tmp_path / "study"]
    helper_in_process.pfbench("tune", "lr", *study)
    assert RunFolder(tmp_path / "study").split() == split(ids)
    run = ["run", "--suite", "table5", *arguments, "--out", tmp_path / "run"]
    helper_in_process.pfbench(*run, expect=3)


@pytest.fixture(scope="module")
def fair(tmp_path_factory):
    """Loss weights, L_tel and L_ssl apart, and a baseline's learning rate; two seeds a point."""
    out = tmp_path_factory.mktemp("fair") / "out"
    pfbench("tune", "loss-weights", "--split-tfm", "--fair-budget", "--model", "vnet",
            "--range", "w_srt=0.1:1", "--search", "random", "--seeds", 2, "--trials", 2,
            "--epochs", 1, "--set", "phantom.cases=4", "--no-compare", "--out", out)  # fmt: skip
    return out


@pytest.mark.long
def test_a_baseline_gets_as_many_points_and_epochs_as_the_loss_weights(fair):
    study = pd.read_csv(fair / "study.csv")
    assert study.groupby("study")["number"].count().to_dict() == {"pfseg": 2, "vnet": 2}
    assert study.groupby("study")["epochs"].sum().to_dict() == {"pfseg": 2, "vnet": 2}


@pytest.mark.long
def test_a_point_is_the_mean_of_its_seeds(fair):
    for point in points(RunFolder(fair)):
        trials = [RunFolder(fair).trial(trial) for trial in point.trials]
        assert [trial.spec().seed for trial in trials] == [0, 1]
        each = [pd.read_csv(trial.path / "history.csv")["val_dice"].iloc[-1] for trial in trials]
        assert point.value == pytest.approx(sum(each) / 2)


@pytest.mark.long
def test_every_weight_is_searched_in_its_range_and_trained_with(fair):
    default, drawn = points(RunFolder(fair), "pfseg")
    assert default.params == dict.fromkeys(("w_srt", "w_sgl", "w_tel", "w_ssl"), 0.5)
    assert 0.1 <= drawn.params["w_srt"] <= 1
    for trial in drawn.trials:
        weights = RunFolder(fair).trial(trial).spec().options["weights"]
        assert {f"w_{term}": weights[term] for term in weights} == drawn.params


@pytest.mark.long
def test_the_tuned_values_of_all_go_into_one_run(fair):
    tuned = resolve("quick", None, [], None, fair / "best.yaml")
    weights, rate = (best(RunFolder(fair), name).params for name in ("pfseg", "vnet"))
    found = {f"w_{term}": value for term, value in tuned.systems["pfseg"]["weights"].items()}
    assert found == weights
    assert tuned.protocol_of("vnet").learning_rate == rate["lr"]


@QUIET
@pytest.mark.long
def test_mlflow_has_one_parent_and_one_child_for_each_point(fair):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(default_uri(fair))
    [experiment] = [e for e in client.search_experiments() if e.name == "pfbench"]
    runs = client.search_runs([experiment.experiment_id])
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in runs if run is not parent}
    assert set(children) == {"pfseg 0", "pfseg 1", "vnet 0", "vnet 1"}
    for point in points(RunFolder(fair)):
        child = children[f"{point.study} {point.number}"]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert {name: float(child.data.params[name]) for name in point.params} == point.params
        for score in ("Validation Dice", "Last Dice"):
            assert child.data.metrics[score] == pytest.approx(point.value, abs=1e-5)
        assert child.info.status == "FINISHED"
    kept = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert {"study.csv", "best.yaml", "report.html", "figures"} <= kept


def spaces(what, *ranges, **options):
    return spaces_of(SpaceOptions(what=what, ranges=ranges, **options), QUICK)


def test_loss_weights_are_three_and_their_reference_is_the_papers():
    [space] = spaces("loss-weights")
    assert set(space.ranges) == {"w_srt", "w_sgl", "w_tfm"}
    assert set(space.ranges.values()) == {Range(0.05, 2, log=True)}
    assert set(space.reference.values()) == {0.5}
    assert changes(space.reference)["options"]["weights"] == dict.fromkeys(
        ("srt", "sgl", "tel", "ssl"), 0.5
    )


def test_split_tfm_tunes_its_halves_apart():
    [space] = spaces("loss-weights", split_tfm=True)
    assert set(space.ranges) == {"w_srt", "w_sgl", "w_tel", "w_ssl"}


def test_a_fair_budget_gives_every_baseline_a_study_of_its_learning_rate():
    names = [space.name for space in spaces("loss-weights", fair_budget=True)]
    assert names[0] == "pfseg" and len(names) == 8
    two = spaces("loss-weights", fair_budget=True, models=("vnet", "san"))
    assert [space.name for space in two] == ["pfseg", "vnet", "san"]
    assert two[1].reference == {"lr": QUICK.protocol.learning_rate}


def test_a_baseline_named_twice_gets_one_study():
    named = spaces("loss-weights", fair_budget=True, models=("vnet", "vnet"))
    assert [space.name for space in named] == ["pfseg", "vnet"]


@pytest.mark.parametrize(
    ("what", "options", "said"),
    [
        ("loss-weights", {"models": ("vnet",)}, "--model: has no part in tune loss-weights"),
        ("loss-weights", {"models": ("pfseg",), "fair_budget": True}, "--model: pfseg gets its"),
        ("loss-weights", {"space": "s.yaml"}, "--space: has no part in tune loss-weights"),
        ("lr", {"split_tfm": True}, "--split-tfm: has no part in tune lr"),
        ("lr", {"fair_budget": True}, "--fair-budget: has no part in tune lr"),
        ("space", {"models": ("vnet",), "space": "s.yaml"}, "--model: has no part in tune space"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(what, options, said):
    with pytest.raises(UsageError, match=said):
        spaces(what, **options)


def test_any_number_of_the_protocol_can_be_searched(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(
        "model: unet3d\nspace:\n  protocol.plateau_epochs: {low: 3, high: 20, integer: true}\n"
    )
    [space] = spaces("space", space=path)
    assert space.system == "unet3d"
    assert space.reference["protocol.plateau_epochs"] == QUICK.protocol.plateau_epochs


def test_a_number_that_the_system_does_not_have_cannot_be_searched(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("model: unet3d\nspace:\n  options.weights.srt: {low: 0.1, high: 1}\n")
    with pytest.raises(UsageError, match=r"options\.weights\.srt: unet3d has no number"):
        spaces("space", space=path)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["w_srt=2:1"], "the low end has to be the smaller"),
        (["w_srt=0:1:log"], "starts above 0"),
        (["w_srt=a:b"], "is no range"),
        (["w_srt=0:1:cubic"], "neither log nor int"),
        (["w_str=0:1"], "Did you mean 'w_srt'"),
    ],
)
def test_a_wrong_range_is_explained(texts, said):
    with pytest.raises(UsageError, match=said):
        parsed_ranges(texts)


def test_a_range_of_another_study_is_refused():
    with pytest.raises(UsageError, match="unknown parameter of this study 'lr'"):
        spaces("loss-weights", "lr=1e-4:1e-3:log")


def test_a_parameter_that_the_system_does_not_have_is_refused(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("model: unet3d\nspace: {protocol.speed: {low: 1, high: 2}}")
    with pytest.raises(UsageError, match="no number of this name"):
        spaces("space", space=path)


def test_a_file_of_something_else_is_not_taken_for_tuned_settings(tmp_path):
    path = tmp_path / "best.yaml"
    path.write_text("protocol: {epochs: 3}")
    with pytest.raises(UsageError, match="holds no settings of a study"):
        resolve("quick", None, [], None, path)
