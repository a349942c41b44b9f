"""Reports of runs whose scores are known beforehand: nothing hidden, nothing leaked, no request."""

import json
import re
import shutil
import subprocess
import time
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from itertools import combinations

import pandas as pd
import pytest
from helper_in_process import pfbench
from helper_made_run import DIAGONAL, MadeRun, rewrite
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg

from harness.report import html, of_run, protocol
from harness.report.cost_plots import CostPoint, tradeoff, worth_it
from harness.report.document import Picture, Section
from harness.report.panels import SCREEN
from harness.report.score_plots import strip
from harness.report.write import render
from harness.results.compare import cells, compare, p_value
from harness.results.rows import merged_rows
from harness.results.standings import stand
from harness.results.tables import build, markdown
from harness.runs.measures import DICE, HD95
from harness.runs.run_folder import RunFolder

PAIR = ("resunet3d", "pfseg")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update",
         "--disable-default-apps")  # fmt: skip


class Page(HTMLParser):
    """What a page refers to, and whether each picture has words beside it."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.wordless = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.links += [found[k] for k in ("src", "href", "xlink:href") if found.get(k)]
        self.ids += [found["id"]] if "id" in found else []
        if tag == "img" and not found.get("alt"):
            self.wordless.append(tag)
        if found.get("role") == "img" and not found.get("aria-label"):
            self.wordless.append(tag)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = MadeRun(tmp_path_factory.mktemp("report") / "run", seeds=(0, 1))
    run.change(protocol_hash="0123456789abcdef")
    run.fail("vnet", "cuda_oom", f"<script>alert(1)</script> in {run.path}", seed=1)
    return run.miss("unet3d", "case-0003")


@pytest.fixture(scope="module")
def page(run):
    return render([run.folder])


def scores(run, metric):
    return stand(merged_rows([run.folder]), metric)


def test_tables_stand_in_the_order_of_the_paper(tmp_path):
    """Not in that of run.json, whose keys are sorted."""
    run = MadeRun(tmp_path, rows=["pfseg"])
    [its_rows] = run.manifest.suites.values()
    run.change(suites=dict.fromkeys(("fig1", "table4", "table5"), its_rows))
    assert [row.suite for row in merged_rows([run.folder])] == ["table4", "table5", "fig1"]


# ── failures ────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_trial_is_no_patient_with_a_dice_of_0(run):
    """It is left out and named; the seed that is left has about 70 %."""
    dice = scores(run, DICE)
    assert 65 < dice.intervals["vnet"].estimate < 75
    assert dice.scores["vnet"].n_seeds == 1
    assert "V-Net, seed 1, is left out: it failed (cuda_oom)" in dice.notes


def test_a_row_whose_trials_all_failed_is_left_out_and_no_rival_wins_by_it(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR).fail("pfseg", "cuda_oom")
    found = scores(run, DICE)
    assert list(found.scores) == ["resunet3d"] and found.comparisons == []
    assert found.notes[-1] == "PFSeg is left out: no training of it is left"


def test_a_missed_target_is_in_the_mean(run):
    assert scores(run, HD95).scores["unet3d"].means["case-0003"] > DIAGONAL / 2


def test_a_trial_that_is_not_finished_is_no_failure(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR)
    found = scores(run.unfinish("pfseg"), DICE)
    assert list(found.scores) == ["resunet3d"]
    assert found.notes == ("PFSeg is left out: seed 0 is not finished",)


def test_failures_and_missed_cases_stand_in_the_report_with_their_reason(page):
    assert "failed: cuda_oom" in page
    assert "Missed targets" in page and "case-0003" in page


# ── the page ────────────────────────────────────────────────────────────────────────────────────


def test_the_page_refers_to_nothing_outside_itself(page):
    outside = [x for x in Page(page).links if not x.startswith(("#", "data:"))]
    assert outside == []
    assert "<script" not in page and "@import" not in page


def test_what_a_failure_said_is_text_and_names_no_folder_of_the_machine(page, run):
    assert "&lt;script&gt;alert(1)&lt;/script&gt; in RUN_DIR" in page
    assert str(run.path) not in page


def test_each_picture_has_words_and_each_plot_its_figures(page):
    assert Page(page).wordless == []
    assert page.count('class="panels"><div class="panel"') == page.count("of this plot")


def test_every_name_within_the_page_is_there_once_and_every_reference_leads_to_one(page):
    found = Page(page)
    assert len(found.ids) == len(set(found.ids))
    wanted = {link[1:] for link in found.links if link.startswith("#")}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted <= set(found.ids)


@pytest.mark.parametrize(
    "part",
    ["0123456789abcdef", "the split is seeded", "paper 84.88", "DATA_ROOT", "2.13.0", "AMD EPYC",
     "Significance: HD95 (mm)", "tau ", "PFSeg has the best Dice", "super-resolution (SRT)",
     "GFLOPs of a volume"],
)  # fmt: skip
def test_the_page_holds_what_has_to_be_defended(page, part):
    assert part in page


def test_the_column_of_the_paper_holds_what_the_paper_states(run):
    """The number of epochs is the released code's, and how often they are validated ours."""
    rule, _ = protocol.section([run.folder], []).more
    rows = [[cell.text for cell in row] for row in rule.rows]
    assert ["learning rate", "0.0001", "0.0001", ""] in rows
    assert ["epochs at most", "80", "", "80, in the released code"] in rows
    assert ["epochs between validations", "5", "", "5, by our default"] in rows


def test_the_interval_in_the_table_is_that_of_the_statistics(page, run):
    found = scores(run, DICE).intervals["pfseg"]
    assert f"[{found.low:.2f}, {found.high:.2f}]" in page


def test_the_same_run_gives_the_same_page(page, run):
    assert render([run.folder]) == page


def test_few_cases_are_said_to_be_few_and_nothing_is_nan(tmp_path):
    page = render([MadeRun(tmp_path, rows=PAIR, cases=2).folder])
    assert "n too small: 2 patients" in page
    assert not re.search(r"\bnan\b", page)


def test_one_case_has_neither_a_spread_nor_an_interval(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR, cases=1)
    page = render([run.folder])
    table = page[page.index("<caption>Table V") : page.index("Which system is better</h2>")]
    assert "&plusmn; 0" not in table and "± 0" not in table and "[" not in table
    assert "± 0" not in render([run.folder], "md")


def test_the_marks_of_a_single_case_lie_within_their_axes(tmp_path):
    standing = scores(MadeRun(tmp_path, rows=PAIR, cases=1), DICE)
    [axes] = strip(standing, dict.fromkeys(PAIR, "patch-free")).axes
    low, high = axes.get_xlim()
    values = [float(found.means.iloc[0]) for found in standing.scores.values()]
    assert low < min(values) - 0.02 * (high - low) and max(values) + 0.02 * (high - low) < high


def test_a_run_without_a_finished_trial_has_a_report(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR)
    for row in PAIR:
        run.unfinish(row)
    assert "Incomplete: 0 of 2 trials finished." in render([run.folder])


def test_synthetic_data_are_said_to_be_synthetic_first(tmp_path):
    page = render([MadeRun(tmp_path, rows=PAIR, synthetic=True).folder])
    assert page.index("Synthetic data") < page.index("The question")


def test_systems_that_no_other_beats_in_cost_and_score_are_joined():
    points = [CostPoint(name, "patch-free", cost, score, None, None)
              for name, cost, score in (("a", 1, 50), ("b", 2, 40), ("c", 3, 60))]  # fmt: skip
    assert [p.label for p in worth_it(points, 1)] == ["a", "c"]
    assert [p.label for p in worth_it(points, -1)] == ["a", "b"]


def test_names_of_systems_that_lie_close_cover_neither_each_other_nor_a_mark():
    costs = {"V-Net": (352, 86.2), "UNet3D": (338, 85.1), "ResUNet3D": (341, 90.5),
             "ResUNet3D↑": (342, 84.7), "HDResUNet": (340, 85.4), "SAN": (423, 68.9),
             "CostPoint-Unet": (438, 97.9), "PFSeg": (384, 129.7)}  # fmt: skip
    points = [CostPoint(name, "patch-free", *at, None, None) for name, at in costs.items()]
    with style.context(["default", SCREEN]):
        figure = tradeoff(points, "Memory", HD95)
        draw = FigureCanvasAgg(figure).get_renderer()
        [axes] = figure.axes
        names = {text.get_text(): text.get_window_extent(draw) for text in axes.texts}
        marks = axes.transData.transform(list(costs.values()))
        left = axes.get_window_extent(draw).x0
    assert names.keys() == costs.keys()
    assert not [pair for pair in combinations(names, 2) if names[pair[0]].overlaps(names[pair[1]])]
    assert not [name for name, box in names.items() if any(box.contains(*at) for at in marks)]
    assert all(left <= box.x0 for box in names.values())


@pytest.mark.parametrize("costs", [(0.616, 0.997), (338, 438), (0.5, 4), (0.02, 2), (1, 5000)])
def test_costs_that_lie_close_or_far_have_at_least_two_labelled_ticks(costs):
    points = [CostPoint(str(cost), "patch-free", cost, 50, None, None) for cost in costs]
    [axes] = tradeoff(points, "Time", DICE).axes
    low, high = axes.get_xlim()
    assert sum(low <= tick <= high for tick in axes.xaxis.get_majorticklocs()) >= 2


@pytest.mark.parametrize("shown", ["table", "report"])
def test_what_fine_tuning_takes_stands_beside_what_inference_takes(tmp_path, shown):
    run = MadeRun(tmp_path, rows=PAIR, cases=10)
    trial = run.trials["pfseg", 0]
    result = trial.result()
    rewrite(trial.result_file, result, transductive=True, adapt_gflops=3511.18,
            seconds={**result.seconds, "adapt": 121.0},
            memory={**result.memory, "adapt_peak_mib": 5123.4})  # fmt: skip
    text = markdown(build(run.folder)) if shown == "table" else render([run.folder], "md")
    takes = "12.1 s, 3,511.2 GFLOPs and a peak of 5,123 MiB for each test case"
    assert f"PFSeg: fine-tuning takes {takes}" in text


@pytest.mark.parametrize("shown", ["table", "report"])
def test_times_whose_repetitions_lie_far_apart_are_named_below_the_table(tmp_path, shown):
    run = MadeRun(tmp_path / "run", rows=PAIR, seeds=(0, 1))
    run.took("pfseg", 0.4, 0.6).took("resunet3d", 1.9, 5.9, seed=1)
    text = markdown(build(run.folder)) if shown == "table" else render([run.folder], "md")
    [note] = [line for line in text.splitlines() if "not steady" in line]
    assert "ResUNet3D (3.1 times)" in note and "PFSeg" not in note


def test_steady_times_need_no_note(run):
    assert "not steady" not in markdown(build(run.folder)) + render([run.folder], "md")


# ── several runs ────────────────────────────────────────────────────────────────────────────────


def test_times_of_two_devices_never_share_a_column(tmp_path):
    first = MadeRun(tmp_path / "a", rows=PAIR, device="EPYC")
    second = MadeRun(tmp_path / "b", rows=PAIR, device="H100")
    text = render([first.folder, second.folder], "md")
    assert "Time (s), device 1 | Time (s), device 2" in text
    assert "device 1: EPYC, 2 threads" in text
    table = pd.read_csv(StringIO(render([first.folder, second.folder], "csv")))
    assert table.loc[table["row"] == "mean", "time_s_p50"].isna().all()


def test_seeds_of_two_runs_are_one_row(tmp_path):
    runs = [MadeRun(tmp_path / str(s), rows=PAIR, seeds=(s,)).folder for s in (0, 1)]
    table = pd.read_csv(StringIO(render(runs, "csv")))
    assert set(table.loc[table["row"] == "mean", "seed"]) == {"0 1"}


def test_a_network_that_two_runs_trained_with_other_scores_is_named(tmp_path):
    """A stranger's copy of a run may tell other scores of the same trial."""
    runs = [MadeRun(tmp_path / name, rows=PAIR, cases=10) for name in "ab"]
    assert "trained twice" not in render([run.folder for run in runs], "md")
    runs[1].score("pfseg", [0.99] * 10)
    [note] = re.findall("PFSeg, seed 0: trained twice.*", render([r.folder for r in runs], "md"))
    assert "% in a and 99.00 % in b; the first counts" in note


def test_runs_of_two_protocols_are_refused(tmp_path):
    runs = [MadeRun(tmp_path / name, rows=PAIR) for name in "ab"]
    runs[1].change(protocol_hash="other", protocol={"epochs": 9})
    done = pfbench("report", runs[0].path, runs[1].path, "--out", tmp_path / "x.html", expect=2)
    assert "PFB-C05" in done.said
    assert not (tmp_path / "x.html").exists()


# ── formats and the command ─────────────────────────────────────────────────────────────────────


def test_the_csv_has_intervals_as_fractions_beside_the_means(run):
    table = pd.read_csv(StringIO(render([run.folder], "csv")))
    [line] = table[(table["row"] == "mean") & (table["key"] == "pfseg")].to_dict("records")
    assert line["dice_low95"] < line["dice_mean"] < line["dice_high95"] < 1
    assert table.loc[table["status"] == "failed", "dice_low95"].isna().all()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_the_latex_compiles_as_it_stands(run, tmp_path):
    (tmp_path / "report.tex").write_text(render([run.folder], "latex"))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_report_writes_the_page_into_the_run_and_prints_the_table(tmp_path):
    run = MadeRun(tmp_path / "run", rows=PAIR)
    done = pfbench("report", run.path, "--no-pictures")
    assert "Table V" in done.out and f"report      {run.path / 'report.html'}" in done.out
    assert (run.path / "report.html").read_text().startswith("<!doctype html>")


def test_as_json_the_table_is_its_lines_and_notes(run):
    found = json.loads(pfbench("report", run.path, "--json").out)
    assert {line["row"] for line in found["rows"]} == {"trial", "mean"}
    assert any(note.startswith("Dice and Jaccard in percent") for note in found["notes"])


def test_with_out_the_run_is_left_as_it_was(tmp_path):
    run = MadeRun(tmp_path / "run", rows=PAIR)
    before = sorted(run.path.rglob("*"))
    pfbench("report", run.path, "--format", "md", "--out", tmp_path / "x.md")
    assert sorted(run.path.rglob("*")) == before
    assert (
        pfbench("report", run.path, "--format", "md", "--out", "-").out
        == (tmp_path / "x.md").read_text()
    )


def test_an_unknown_format_is_named_with_the_nearest(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR)
    assert "'latex'" in pfbench("report", run.path, "--format", "latx", expect=2).said


# ── compare ─────────────────────────────────────────────────────────────────────────────────────


def test_two_systems_are_compared_by_case(run):
    done = pfbench("compare", run.path, "pfseg", "ResUNet3D", "--json")
    dice, hd95, _ = json.loads(done.out)["pairs"]
    assert (dice["first"], dice["second"], dice["verdict"]) == ("pfseg", "resunet3d", "better")
    assert dice["low"] < dice["difference"] == dice["mean_difference"] < dice["high"]
    assert (dice["centre"], hd95["centre"]) == ("mean", "median")
    assert (dice["about"], dice["n_seeds"]) == ("the methods", 2)
    assert (dice["seeds_for_1_point"], hd95["seeds_for_1_point"]) == (0, None)  # too few patients


def test_two_systems_have_a_ranking_and_one_has_none(run):
    rows = {row.key: row for row in merged_rows([run.folder])}
    assert stand([rows["pfseg"], rows["resunet3d"]], DICE).ranking.ranks.to_dict() == {
        "pfseg": 1, "resunet3d": 2,
    }  # fmt: skip
    assert stand([rows["pfseg"]], DICE).ranking is None


@pytest.mark.parametrize("p, said", [(None, ""), (0.0312, "0.031"), (0.00099, "< 0.001")])
def test_a_p_value_has_three_digits(p, said):
    assert p_value(p) == said


def test_why_no_number_of_seeds_is_told_stands_in_its_place(run, tmp_path):
    once = MadeRun(tmp_path, rows=PAIR)
    for each, said in ((once, "one training: unknown"), (run, "too few patients")):
        assert pfbench("compare", each.path, *PAIR).said.count(said) == 2  # Dice and Jaccard


def test_a_verdict_from_one_training_is_about_these_networks(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR)
    dice, *_ = json.loads(pfbench("compare", run.path, *PAIR, "--json").out)["pairs"]
    assert (dice["verdict"], dice["about"]) == ("worse", "these two networks")
    page = render([run.folder], "md")
    assert "△" in page and "▲ |" not in page


def rows_of(text):
    """Title -> cells, of the first table of a page in Markdown."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return {line.split(" | ")[0].strip("| "): line for line in lines}


def test_the_best_figure_of_a_column_alone_is_bold(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR, seeds=(0,), cases=10)
    run.score("pfseg", [0.9] * 10, [4.0] * 10).score("resunet3d", [0.8] * 10, [5.0] * 10)
    found = rows_of(markdown(build(run.folder)))
    assert "**90.00" in found["PFSeg"] and "**4.00" in found["PFSeg"]
    assert "80.00" in found["ResUNet3D"] and "**80.00" not in found["ResUNet3D"]


def test_only_a_row_that_saw_test_volumes_has_a_dagger(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR, cases=10)
    trial = run.trials["pfseg", 0]
    rewrite(trial.result_file, trial.result(), transductive=True)
    titles = list(rows_of(markdown(build(run.folder))))
    assert "PFSeg †" in titles and "ResUNet3D" in titles


def test_what_was_missed_stands_beside_the_mean_of_distances_everywhere(run):
    done = pfbench("compare", run.path, "unet3d", "san", "--json")
    [pair] = [each for each in json.loads(done.out)["pairs"] if each["unit"] == "mm"]
    assert (pair["first_missed"], pair["first_false_alarms"], pair["second_missed"]) == (1, 0, 0)
    for text in (markdown(build(run.folder)), render([run.folder], "md")):
        assert "HD95, median (mm) | Missed | False alarms" in text


def test_a_mean_that_points_against_the_median_leaves_the_verdict_open(tmp_path):
    """Nearer by half a millimetre in eleven cases, and a target missed in the twelfth."""
    run = MadeRun(tmp_path, rows=PAIR, seeds=(0, 1))
    for key, hd95 in {"pfseg": [4.5] * 11 + [DIAGONAL], "resunet3d": [5.0] * 12}.items():
        run.score(key, [0.8] * 12, hd95, missed=[11] if key == "pfseg" else [])
    hd95 = json.loads(pfbench("compare", run.path, *PAIR, "--json").out)["pairs"][1]
    assert hd95["difference"] == 0.5 and hd95["mean_difference"] < -20 and hd95["p"] < 0.05
    assert (hd95["verdict"], hd95["note"]) == ("open", "mean and median disagree")


def test_several_trainings_show_their_own_spread(run):
    """In the table that over the trainings; in the report that over the patients beside it."""
    [line] = [each for each in build(run.folder).tables[0].means.to_dict("records")
              if each["key"] == "pfseg"]  # fmt: skip
    both = [100 * line["dice_std"], 100 * line["dice_seed_std"]]
    assert f"± {both[1]:.2f}" in markdown(build(run.folder))
    assert f"± {both[0]:.2f}; ± {both[1]:.2f}" in render([run.folder], "md")


def test_figures_of_the_paper_stand_beside_its_own_data_only(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR, synthetic=True)
    assert "84.88" not in markdown(build(run.folder)).replace("**", "")
    assert "In brackets" not in markdown(build(run.folder))


def test_all_rows_are_compared_and_corrected_together(run):
    pairs = json.loads(pfbench("compare", run.path, "--json").out)["pairs"]
    assert len(pairs) == 3 * 36
    assert all(pair["p_holm"] >= pair["p"] for pair in pairs)


def test_two_runs_are_compared_row_by_row(tmp_path):
    runs = [MadeRun(tmp_path / str(s), rows=PAIR, seeds=(s,)) for s in (0, 1)]
    found = json.loads(pfbench("compare", runs[0].path, runs[1].path, "pfseg", "--json").out)
    assert {pair["first"] for pair in found["pairs"]} == {"run 1/pfseg"}


def test_too_few_patients_to_compare_are_said_in_numbers(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR, cases=3)
    few = "n too small: 3 patients, a test needs 6"
    assert few in render([run.folder], "md")
    found = compare([run.folder], []).found[0]
    assert cells(found, found.comparisons[0])[-1] == few


def test_the_value_of_the_paper_stands_in_brackets(tmp_path):
    found = rows_of(markdown(build(MadeRun(tmp_path, rows=PAIR).folder)))
    assert "[84.88]" in found["PFSeg"] and "[82.18]" in found["ResUNet3D"]


def test_runs_on_other_cases_cannot_be_paired(tmp_path):
    runs = [MadeRun(tmp_path / name, rows=PAIR) for name in "ab"]
    runs[1].change(protocol={**runs[1].manifest.protocol, "cases": "other"})
    assert "nothing can be paired" in pfbench("compare", runs[0].path, runs[1].path, expect=2).said


def other_version(run):
    """What another version of pfbench makes of the same volumes: another fingerprint of them."""
    protocol = run.manifest.protocol
    data = {**protocol["data"], "fingerprint": "0" * 16}
    return run.change(protocol={**protocol, "data": data, "code": "0.2.0+000000000000"})


def test_runs_of_two_versions_are_paired_where_their_targets_have_the_same_sizes(tmp_path):
    runs = [MadeRun(tmp_path / name, rows=PAIR) for name in "ab"]
    other_version(runs[1])
    told = pfbench("compare", runs[0].path, runs[1].path).out
    assert "two versions of pfbench prepared the volumes" in " ".join(told.split())


def test_runs_of_two_versions_with_targets_of_other_sizes_are_not_paired(tmp_path):
    runs = [MadeRun(tmp_path / name, rows=PAIR) for name in "ab"]
    for trial in other_version(runs[1]).trials.values():
        lines = pd.read_csv(trial.cases_file)
        lines.loc[3, "target_ml"] += 1
        lines.to_csv(trial.cases_file, index=False)
        rewrite(trial.result_file, trial.result(), sha256=trial.sums())
    assert "nothing can be paired" in pfbench("compare", runs[0].path, runs[1].path, expect=2).said


def test_a_row_is_not_compared_with_itself_alone_and_unknown_ones_are_named(run):
    assert "needs two rows" in pfbench("compare", run.path, "pfseg", expect=2).said
    assert "Did you mean 'pfseg'?" in pfbench("compare", run.path, "pfsge", "san", expect=2).said


# ── in a browser ────────────────────────────────────────────────────────────────────────────────


def browse(page, folder, *options):
    """The page as Chromium opened it: its requests, what its console said, the DOM at the end."""
    path, log = folder / "page.html", folder / "net.json"
    path.write_text(page)
    command = [CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}",
               "--enable-logging=stderr", *options, "--dump-dom", path.as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    text = log.read_text().rstrip().rstrip(",")
    events = json.loads(text if text.endswith("}") else text + "]}")
    urls = {event["params"]["url"] for event in events["events"]
            if "url" in event.get("params", {})}  # fmt: skip
    requests = [u for u in urls if u.startswith("http") and "google" not in u]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return requests, console, done.stdout


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")


@needs_chromium
def test_the_browser_makes_no_request_and_has_nothing_to_complain_of(page, tmp_path):
    requests, console, _ = browse(page, tmp_path)
    assert (requests, console) == ([], [])


@needs_chromium
def test_a_request_and_an_error_would_be_noticed(tmp_path):
    page = "<img src='http://127.0.0.1:9/x.png'><script>console.error('oh')</script>"
    requests, console, _ = browse(page, tmp_path)
    assert requests == ["http://127.0.0.1:9/x.png"]
    assert console


LOOK = """<script>addEventListener('load', () => { document.title = [
  [...document.images].every(i => i.naturalWidth > 0), document.images.length,
  document.documentElement.scrollWidth <= innerWidth].join(' ') })</script>"""


@needs_chromium
@pytest.mark.parametrize("width", [1400, 500])
def test_every_picture_loads_and_the_page_is_no_wider_than_its_window(run, tmp_path, width):
    pixel = bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63"
        "6000000002000148afa4710000000049454e44ae426082"
    )
    document = of_run.document([run.folder], pictures=False)
    picture = Section("extra", "Extra", (), (Picture(pixel, "a pixel", "A pixel", ()),))
    page = html.render(replace(document, sections=(*document.sections, picture)))
    page = re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", LOOK + "</body>")
    _, _, dom = browse(page, tmp_path, f"--window-size={width},900")
    assert re.search(r"<title>([^<]*)", dom)[1] == "true 1 true"


@pytest.mark.long
def test_a_thousand_cases_of_eight_systems_and_three_seeds_take_seconds(tmp_path):
    run = MadeRun(tmp_path, cases=1000, seeds=(0, 1, 2), epochs=80)
    began = time.process_time()
    assert len(render([RunFolder(run.path)], pictures=False)) < 5e6
    assert time.process_time() - began < 20
