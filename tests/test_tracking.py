"""MLflow is a mirror: everything once, nothing twice, under names that people read."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helper_made_run import history, made_run, made_trial, measured, rewrite, row, spec
from helper_mirrored_run import DONE, content, empty_store, mirrored, three_points, three_trials

from harness.runs.run_folder import RunFolder
from harness.tracking import mirror as tracking
from harness.tracking import views as mlflow_views
from harness.tracking.desired import children_of, parent_of

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of many kinds

TOP = Path(__file__).parent.parent


@pytest.fixture
def run(tmp_path):
    empty_store(tmp_path / "mlflow.db")
    return three_trials(tmp_path)


def test_one_parent_and_one_child_for_each_trial(run):
    _, _, runs = mirrored(run)
    parent = runs["parent"].info.run_id
    assert set(runs) == {"parent", "0", "1", "2"}
    children = [runs[seed].data.tags["mlflow.parentRunId"] for seed in "012"]
    assert children == [parent] * 3


def test_a_second_look_adds_nothing(run):
    mirrored(run)
    before = content(run.path / "mlflow.db")
    summary, _, runs = mirrored(run)
    assert (summary.created, summary.metrics, len(runs)) == (0, 0, 4)
    assert content(run.path / "mlflow.db") == before


def test_values_that_were_changed_in_the_store_are_put_right(run):
    """Those of the last epoch, which MLflow shows, as well as final ones."""
    _, client, runs = mirrored(run)
    right = runs["0"].data.metrics
    last = int(right["train/epoch"])
    for name, step in (("val/dice", last), ("test/dice.std", 0), ("Dice", 0)):
        client.log_metric(runs["0"].info.run_id, name, 0.99, step=step)
    found = mirrored(run)[2]["0"].data.metrics
    assert {name: found[name] for name in right} == right
    assert mirrored(run)[0].metrics == 0


def test_a_trial_appears_when_it_begins(run):
    manifest = run.run()
    waiting = made_trial(run, spec(seed=3))
    names = {**manifest.names, waiting.id: "UNet3D seed 3"}
    rewrite(run.manifest_file, manifest, trials=[*manifest.trials, waiting.id], names=names)
    assert "3" not in mirrored(run)[2]
    made_trial(run, spec(seed=3), history(1))
    assert mirrored(run)[2]["3"].info.status == "RUNNING"


def test_a_growing_history_adds_its_new_epochs_only(run):
    mirrored(run)
    made_trial(run, spec(seed=2), history(3))
    _, client, runs = mirrored(run)
    values = client.get_metric_history(runs["2"].info.run_id, "train/loss")
    assert [metric.step for metric in values] == [1, 2, 3]


def test_a_look_at_a_run_where_nothing_happened_does_not_touch_the_store(run):
    synchroniser = tracking.Synchroniser(
        run.path, tracking.default_uri(run.path), "pfbench", restore=False
    )
    synchroniser.sync()
    (run.path / "mlflow.db").unlink()
    assert synchroniser.sync().metrics == 0
    assert not (run.path / "mlflow.db").exists()


def test_what_another_mirror_has_brought_over_is_not_brought_twice(run):
    uri = tracking.default_uri(run.path)
    synchroniser = tracking.Synchroniser(run.path, uri, "pfbench", restore=False)
    synchroniser.sync()
    made_trial(run, spec(seed=2), history(3))
    mirrored(run)
    assert synchroniser.sync().metrics == 0


def test_a_failed_trial_has_a_reason_and_no_scores(run):
    _, _, runs = mirrored(run)
    failed = runs["1"]
    assert failed.info.status == "FAILED"
    assert failed.data.tags["pfbench.reason"] == "nan_loss"
    assert not {"Dice", "Time s"} & set(failed.data.metrics)


def test_a_trial_that_failed_and_ran_again_is_the_same_run_and_finished(run):
    _, _, before = mirrored(run)
    run.trial(spec(seed=1).id).forget_failure()
    made_trial(run, spec(seed=1), history(3), DONE)
    _, _, after = mirrored(run)
    assert after["1"].info.run_id == before["1"].info.run_id
    assert after["1"].info.status == "FINISHED"
    assert after["1"].data.tags.get("pfbench.reason", "") == ""


def test_what_an_interrupted_run_left_undone_does_not_run_forever(run):
    rewrite(run.manifest_file, run.run(), status="interrupted")
    _, _, runs = mirrored(run)
    assert (runs["2"].info.status, runs["parent"].info.status) == ("KILLED", "KILLED")
    rewrite(run.manifest_file, run.run(), status="running")
    _, _, runs = mirrored(run)
    assert (runs["2"].info.status, runs["parent"].info.status) == ("RUNNING", "RUNNING")


def test_a_finished_trial_has_its_scores_under_readable_names(run):
    _, _, runs = mirrored(run)
    metrics = runs["0"].data.metrics
    assert metrics["Dice"] == metrics["HD95 mm"] == metrics["Jaccard"] == 0.5
    assert metrics["val/dice"] == pytest.approx(0.3)
    assert metrics["Parameters"] == 29_161_426


def test_what_was_missed_stands_beside_the_mean_of_distances(run):
    trial = run.trial(spec(seed=0).id)
    rewrite(trial.result_file, trial.result(), n_failed=1)
    _, client, runs = mirrored(run)
    assert runs["0"].data.metrics["Missed or false alarm"] == 1
    tags = client.get_experiment_by_name("pfbench").tags
    view = json.loads(json.loads(tags["mlflow.sharedViewState.pfbench-r1"])["state"])
    assert "metrics.`Missed or false alarm`" in view["selectedColumns"]


def test_time_and_memory_follow_when_they_were_measured(run):
    mirrored(run)
    measurement = measured([1.23456789] * 5, inference_peak_mib=345.0)
    measurement.write(run.trial(spec(seed=0).id).measurement_file)
    _, _, runs = mirrored(run)
    metrics = runs["0"].data.metrics
    assert (metrics["Time s"], metrics["Memory MiB"]) == (1.23457, 345.0)


def test_the_model_is_a_parameter_and_a_tag(run):
    _, _, runs = mirrored(run)
    data = runs["0"].data
    assert (data.params["Model"], data.params["Type"]) == ("UNet3D", "patch-based")
    assert data.tags["pfbench.model"] == "unet3d"


def test_where_a_trial_was_trained_is_a_tag(run):
    trial = run.trial(spec(seed=0).id)
    place = trial.result().environment | {"node": "node-2", "device": "NVIDIA H200", "gpu": "3"}
    rewrite(trial.result_file, trial.result(), environment=place)
    _, _, runs = mirrored(run)
    tags = runs["0"].data.tags
    told = [tags[f"pfbench.{name}"] for name in ("node", "device", "gpu")]
    assert told == ["node-2", "NVIDIA H200", "3"]


def test_mlflows_own_pages_begin_with_the_model_and_its_dice(run):
    """Its Compare sorts names, and opens with the first; its box plot cuts a name at a "-"."""
    _, _, runs = mirrored(run)
    data = runs["0"].data
    assert (min(data.params), min(data.metrics)) == ("Model", "Dice")
    assert not any("-" in name for name in [*data.params, *data.metrics])


def test_a_child_lasts_as_long_as_its_trial_did(run):
    _, _, runs = mirrored(run)
    info = runs["0"].info
    assert (info.end_time - info.start_time) / 1000 == pytest.approx(120, abs=0.01)


def test_the_volumes_are_named_by_content_and_not_by_place(run):
    _, _, runs = mirrored(run)
    for each in runs.values():
        [entry] = each.inputs.dataset_inputs
        assert (entry.dataset.name, entry.dataset.digest) == ("phantom wt", "f00d")
        assert json.loads(entry.dataset.profile)["test"] == 1
        assert str(run.path) not in str(entry)


def test_a_finished_run_shows_its_table_report_and_pictures(run):
    (run.path / "table.md").write_text("# Table V\n\n| Model | Dice |\n|---|---|\n")
    for name in ("table.csv", "report.html", "figures/fig1.png"):
        (run.path / name).parent.mkdir(exist_ok=True)
        (run.path / name).write_bytes(b"content")
    rewrite(run.manifest_file, run.run(), status="finished")
    _, client, runs = mirrored(run)
    parent = runs["parent"]
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["mlflow.note.content"].startswith("# Table V")
    paths = {f.path for f in client.list_artifacts(parent.info.run_id)}
    assert paths == {"table.md", "table.csv", "report.html", "figures"}
    [figure] = client.list_artifacts(parent.info.run_id, "figures")
    assert figure.path == "figures/fig1.png"


def test_a_view_is_saved_that_shows_the_rows_of_the_table_best_first(run):
    _, client, _ = mirrored(run)
    experiment = client.get_experiment_by_name("pfbench")
    envelope = json.loads(experiment.tags["mlflow.sharedViewState.pfbench-r1"])
    view = json.loads(envelope["state"])
    assert view["orderByKey"] == "metrics.`Dice`"
    shown = [name.split("`")[1] for name in view["selectedColumns"]]
    assert shown[:6] == ["Model", "Dice", "HD95 mm", "Jaccard", "Time s", "Memory MiB"]
    assert len(client.search_runs([experiment.experiment_id], view["searchFilter"])) == 2


def test_the_view_of_a_study_shows_every_value_searched_and_draws_them_side_by_side(tmp_path):
    _, value = mlflow_views.saved(parent_of(three_points(tmp_path)))
    view = json.loads(json.loads(value)["state"])
    shown = [name.split("`")[1] for name in view["selectedColumns"]]
    assert shown[:4] == ["Model", "Validation Dice", "w_sgl", "w_srt"]
    parallel = [chart for chart in view["compareRunCharts"] if chart["type"] == "PARALLEL"]
    assert [(chart["selectedParams"], chart["selectedMetrics"]) for chart in parallel] == [
        (["w_sgl", "w_srt"], ["Validation Dice"])
    ]


def test_complete_and_stopped_points_have_a_metric_in_common(tmp_path):
    """MLflow's Compare begins with what all its runs have."""
    metrics = {child().name: child().finals for _, child in children_of(three_points(tmp_path))}
    assert metrics == {
        "pfseg 0": {"Validation Dice": 0.5, "Last Dice": 0.5},
        "pfseg 1": {"Last Dice": 0.3},
        "pfseg 2": {},
    }


def test_links_lead_to_the_rows_of_a_table_and_not_to_other_trials(run):
    mirrored(run)
    from harness.tracking.ui import links

    found = links(run.path, tracking.default_uri(run.path), "pfbench", "http://here/")
    assert [link.name for link in found] == ["table", "charts", "filter", "compare"]
    assert found[-1].address.count("%22") == 6  # two runs and the experiment


def test_a_saved_view_fits_into_a_tag(run):
    _, value = mlflow_views.saved(parent_of(run))
    assert len(value) < 5000  # of the shortest limit that a version 3 of MLflow had


def statements(folder):
    """SQL statements of a look at what the store has already."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    asked = []

    def note(connection, cursor, statement, *_):
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        tracking.mirror(folder.path, tracking.default_uri(folder.path), "pfbench")
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return len(asked)


def test_what_the_store_has_is_asked_once_however_many_trials_there_are(tmp_path):
    counts = []
    for size in (3, 12):
        folder = RunFolder(tmp_path / str(size))
        specs = [spec(seed=seed) for seed in range(size)]
        trials = [made_trial(folder, each, history(2), DONE) for each in specs]
        made_run(folder.path, {"table5": [row(trials)]}, status="running")
        empty_store(folder.path / "mlflow.db")
        mirrored(folder)
        counts.append(statements(folder))
    assert counts[0] == counts[1]


def test_a_trial_is_not_slower_for_being_mirrored():
    """Trials know nothing of MLflow: no code that runs in one imports it."""
    code = (
        "import sys\nfrom harness.trials import fork_server, supervise, trial\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] == 'mlflow' or 'mlflow' in m))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=TOP)  # fmt: skip
    assert done.stdout == "[]\n"


def test_a_mirror_that_is_killed_is_told_and_harms_nobody(run):
    mirror = tracking.start(run.path, tracking.default_uri(run.path), "pfbench")
    mirror.process.kill()
    assert mirror.finish(timeout_s=10) == "its process was ended by signal 9"


def test_a_machine_without_room_for_a_mirror_has_a_run_without_one(run, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(run.path / "nowhere"))
    mirror = tracking.start(run.path, tracking.default_uri(run.path), "pfbench")
    assert mirror.finish(timeout_s=10) == "its process could not be started"


def test_a_mirror_follows_until_it_is_told_to_finish(run):
    mirror = tracking.start(run.path, tracking.default_uri(run.path), "pfbench")
    began = time.monotonic()
    while len(content(run.path / "mlflow.db")) < 30 and time.monotonic() - began < 60:
        time.sleep(0.2)
    made_trial(run, spec(seed=2), history(4), DONE)
    assert mirror.finish(timeout_s=60) == ""
    assert mirrored(run)[0].metrics == 0


def test_telemetry_is_off_before_mlflow_is_first_used(tmp_path):
    code = (
        "import os; from harness.tracking import mirror as tracking; os.environ |= tracking.QUIET\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "print(is_telemetry_disabled())"
    )
    clean = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**clean, "PYTHONPATH": str(TOP)},
        cwd=tmp_path,
    )
    assert done.stdout == "True\n"
