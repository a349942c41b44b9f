"""Verdicts that are known by construction, from runs whose scores are."""

import json
from io import StringIO

import pytest
import torch
from helper_made_run import MadeRun, made_study
from rich.console import Console

from harness.data.case import PAPER_GRID
from harness.errors import StateError, UsageError
from harness.results.claims.evidence import MARGINS, Margins
from harness.results.claims.paper_claims import CLAIMS
from harness.results.claims.verdicts import judge, records, show
from harness.runs.nested import merged
from harness.runs.screen import Screen
from harness.runs.suites import SUITES, suite
from harness.systems import catalogue
from harness.systems.cost import parameters

LEAD = "PFSeg is better than ResUNet3D in Dice"
BEST = "PFSeg has the best Dice of all systems"
GROUPS = "Patch-free systems are better than patch-based ones in HD95"
FASTER = "PFSeg is about 4 times as fast as ResUNet3D"
EIGHT = (0.5, 0.6, 0.7, 0.8, 0.5, 0.6, 0.7, 0.8)


class Run(MadeRun):
    """A run of the given suites; every row scores `EIGHT` until told otherwise.

    In three trainings, each measured in one process.
    """

    def __init__(self, path, *suites, seeds=(0, 1, 2), **about):
        super().__init__(path, *suites, seeds=seeds, alike=EIGHT, device="cpu", **about)

    def timed(self, key, *seconds):
        """One process for each training."""
        for seed, each in enumerate(seconds):
            self.cost(key, processes=[[each] * 5], seed=seed)
        return self

    def verdict(self, text):
        return verdict([self], text)


def verdict(runs, text, margins=MARGINS):
    [found] = [v for v in judge([run.folder for run in runs], margins) if v.claim.text == text]
    return found


@pytest.fixture
def table5(tmp_path):
    return Run(tmp_path / "run", "table5")


# ── scores ──────────────────────────────────────────────────────────────────────────────────────


def test_a_gain_in_each_of_eight_cases_is_supported(table5):
    found = table5.shift("pfseg", 0.05).verdict(LEAD)
    assert (found.word, found.why) == ("supported", "")
    assert found.ours == "70.00 vs 65.00 (+5.00 [+5.00, +5.00])"
    assert found.interval.n_patients == 8


def test_a_loss_in_each_case_is_not_supported_and_said_to_be_the_opposite(table5):
    found = table5.shift("pfseg", -0.05).verdict(LEAD)
    assert (found.word, found.why) == ("not supported", "the opposite holds")


def mixed(*gains):
    return [dice + by for dice, by in zip(EIGHT, gains * 4, strict=True)]


def test_gains_and_losses_leave_it_undecided(table5):
    found = table5.score("pfseg", mixed(0.06, -0.05)).verdict(LEAD)
    assert (found.word, found.why) == ("undecided", "may be chance")
    assert found.interval.low < 0 < found.interval.estimate


def test_trainings_that_lie_far_apart_leave_it_undecided(table5):
    """Better in every case by 5 points; but by 1, 5 and 9 in three trainings."""
    for seed, by in enumerate((0.01, 0.05, 0.09)):
        table5.shift("pfseg", by, seed=seed)
    found = table5.verdict(LEAD)
    assert (found.word, found.why) == ("undecided", "may be chance")


def test_one_training_tells_nothing_of_a_method(tmp_path):
    found = Run(tmp_path, "table5", seeds=(0,)).shift("pfseg", 0.05).verdict(LEAD)
    assert found.word == "undecided"
    assert found.why == "one training each: about these networks, not the methods"
    assert found.ours == "70.00 vs 65.00 (+5.00 [+5.00, +5.00])"


def test_three_cases_are_too_few(tmp_path):
    run = Run(tmp_path, "table5")
    for row in suite("table5").rows:
        run.score(row.key, (0.9 if row.key == "pfseg" else 0.1,) * 3)
    found = run.verdict(LEAD)
    assert (found.word, found.why) == ("undecided", "too few patients: 3 of 6")
    assert found.ours == "90.00 vs 10.00 (+80.00)"


def test_equal_scores_are_at_least_as_good_but_add_nothing(tmp_path):
    run = Run(tmp_path, "table1", "table2")
    at_least = run.verdict("Selective cropping is at least as good as central in Dice")
    adds = run.verdict("MSRes in SGM and encoder adds Dice")
    assert (at_least.word, adds.word) == ("supported", "not supported")


@pytest.mark.parametrize(
    "by, margins, word, why",
    [
        (-0.004, MARGINS, "supported", "within the margin of 0.5 percentage points"),
        (-0.006, MARGINS, "not supported", "the opposite holds"),
        (-0.006, Margins(points=1), "supported", "within the margin of 1 percentage points"),
        (-0.004, Margins(points=0), "not supported", "the opposite holds"),
        (0.0, Margins(points=0), "supported", ""),
    ],
)
def test_at_least_as_good_leaves_room_for_a_margin(tmp_path, by, margins, word, why):
    run = Run(tmp_path, "table1").shift("selective", by)
    found = verdict([run], "Selective cropping is at least as good as central in Dice", margins)
    assert (found.word, found.why) == (word, why)


@pytest.mark.parametrize("hd95, word", [(5.9, "supported"), (6.1, "not supported")])
def test_the_margin_of_a_distance_is_a_millimetre(tmp_path, hd95, word):
    run = Run(tmp_path, "table1").score("selective", hd95=[hd95] * 8)
    assert run.verdict("Selective cropping is at least as good as central in HD95").word == word


def test_at_least_as_good_is_undecided_across_the_margin(tmp_path):
    run = Run(tmp_path, "table1").score("selective", mixed(0.03, -0.03))
    found = run.verdict("Selective cropping is at least as good as central in Dice")
    assert (found.word, found.why) == ("undecided", "may be chance")


@pytest.mark.parametrize("hd95, word", [(4.0, "supported"), (6.0, "not supported")])
def test_a_smaller_distance_is_the_better_one(table5, hd95, word):
    found = table5.score("pfseg", hd95=[hd95] * 8).verdict("PFSeg has the best HD95 of all systems")
    assert found.word == word


def test_a_group_is_the_mean_of_its_systems(table5):
    """Patch-free (4 + 4 + 4 + 4 + 9) / 5 = 5, patch-based (5 + 5 + 8) / 3 = 6."""
    for key in ("resunet3d_up", "hdresunet", "san", "pfseg"):
        table5.score(key, hd95=[4.0] * 8)
    table5.score("point_unet", hd95=[9.0] * 8).score("vnet", hd95=[8.0] * 8)
    found = table5.verdict(GROUPS)
    assert found.word == "supported"
    assert found.ours.startswith("median difference -1.00 [-1.00, -1.00]; means 5.00 vs 6.00; ")


def test_what_was_missed_stands_beside_the_means_of_distances(table5):
    """In each of three trainings, by five patient-free systems and by three patch-based ones."""
    table5.score("pfseg", hd95=[4.0] * 7 + [300.0], missed=(7,))
    table5.score("vnet", hd95=[6.0] * 8, missed=(0, 1))
    assert table5.verdict(GROUPS).ours.endswith("missed 3 vs 6, false alarms 0 vs 0")


def test_a_median_against_its_mean_is_undecided(table5):
    """Better by 1 mm in seven cases, and a target missed in the eighth."""
    table5.score("pfseg", hd95=[4.0] * 7 + [300.0], missed=(7,))
    found = table5.verdict("PFSeg has the best HD95 of all systems")
    assert (found.word, found.why) == ("undecided", "mean and median point to opposite sides")


def test_the_best_has_to_win_against_each_of_the_others(table5):
    assert table5.shift("pfseg", 0.05).verdict(BEST).word == "supported"
    found = table5.shift("san", 0.06).verdict(BEST)
    assert (found.word, found.why) == ("not supported", "the opposite holds")
    assert found.ours.endswith("hardest: SAN")


def test_the_rival_with_the_widest_interval_can_be_the_hardest(table5):
    """V-Net has the lower mean; but in one case it is better than PFSeg."""
    table5.shift("pfseg", 0.05).shift("san", 0.04).score("vnet", [0.0] * 7 + [0.86])
    found = table5.verdict(BEST)
    assert (found.word, found.why) == ("supported", "")
    table5.score("vnet", [*[dice - 0.1 for dice in EIGHT[:6]], 0.99, 0.99])
    found = table5.verdict(BEST)
    assert found.word == "undecided"
    assert found.ours.endswith("hardest: V-Net")


# ── what is not there ───────────────────────────────────────────────────────────────────────────


def test_a_failed_trial_leaves_the_claim_undecided_with_its_reason(table5):
    table5.fail("resunet3d", "cuda_oom", "out of memory")
    found = table5.shift("pfseg", 0.05).verdict(LEAD)
    assert (found.word, found.why) == ("undecided", "ResUNet3D failed: cuda_oom")


def test_an_unfinished_seed_leaves_the_claim_undecided(tmp_path):
    run = Run(tmp_path, "table5", seeds=(0, 1))
    run.unfinish("resunet3d", seed=1)
    assert run.verdict(LEAD).why == "ResUNet3D not finished"


def test_a_row_that_was_left_out_is_named(table5):
    rows = [row for row in table5.manifest.suites["table5"] if row.key != "resunet3d"]
    table5.change(suites={"table5": rows})
    assert table5.verdict(LEAD).why == "ResUNet3D not run"


def test_claims_of_an_absent_suite_are_not_run_but_say_what_the_paper_prints(table5):
    found = table5.verdict("UNet3D: SRT adds Dice")
    assert (found.word, found.why) == ("not run", "pfbench run --suite table4")
    assert found.paper == "81.71 vs 80.58 (+1.13)"


def test_damaged_scores_are_named(table5):
    path = table5.trials["pfseg", 0].cases_file
    path.write_text("case,dice\ncase-0,half\n")
    with pytest.raises(StateError, match=r"cases\.csv: has no readable scores"):
        table5.verdict(LEAD)


def test_every_claim_is_decided_by_a_complete_run(tmp_path):
    verdicts = judge([Run(tmp_path, *SUITES).folder])
    assert {v.word for v in verdicts} == {"supported", "not supported"}
    assert [v.claim for v in verdicts] == list(CLAIMS)


# ── time, memory, parameters ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "seconds, word, why",
    [
        ([4.0] * 3, "supported", ""),
        ([3.0] * 3, "not supported", "less than 3.48×"),
        ([3.4, 3.4, 4.0], "undecided", "may be less than 3.48×"),
    ],
)
def test_about_four_times_is_no_less_than_the_least_of_the_papers_factors(
    table5, seconds, word, why
):
    found = table5.timed("resunet3d", *seconds).verdict(FASTER)
    assert (found.word, found.why) == (word, why)


def test_processes_that_repeat_a_measurement_count_one_by_one(tmp_path):
    run = Run(tmp_path, "table5", seeds=(0,))
    for key, second in (("pfseg", 1.0), ("resunet3d", 4.0)):
        run.cost(key, processes=[[second] * 5] * 3)
    found = run.verdict(FASTER)
    assert (found.word, found.interval.n_patients) == ("supported", 3)


def test_repetitions_in_a_single_process_decide_nothing(tmp_path):
    found = Run(tmp_path, "table5", seeds=(0,)).timed("resunet3d", 9.0).verdict(FASTER)
    assert (found.word, found.why) == ("undecided", "measured in one process only")
    assert found.ours == "9.000 vs 1.000 s (9.00×)"


def test_a_ratio_of_times_is_shown_with_its_medians(table5):
    found = table5.timed("resunet3d", 4.0, 4.0, 4.0).verdict(FASTER)
    assert found.ours == "4.000 vs 1.000 s (4.00× [4.00, 4.00])"


def test_times_of_different_devices_are_not_compared(table5):
    found = table5.cost("resunet3d", processes=[[4.0] * 5], device="H100").verdict(FASTER)
    assert found.word == "undecided"
    assert found.why == "measured on different devices: H100, 2 threads; cpu, 2 threads"


def test_a_system_that_was_not_timed_is_named(table5):
    table5.trials["pfseg", 0].measurement_file.unlink()
    assert table5.verdict(FASTER).why == "PFSeg not timed: not measured"


@pytest.mark.parametrize("mib, word", [(6060.0, "supported"), (6061.0, "not supported")])
def test_memory_may_grow_by_the_papers_share_rounded_up(tmp_path, mib, word):
    run = Run(tmp_path, "table2").cost("sgm", mib=mib)
    found = run.verdict("MSRes in the SGM takes at most 1 % more memory to train")
    assert found.word == word
    assert found.ours == f"{mib:.0f} vs 6000 MiB ({mib - 6000:+.0f} MiB, +1.0 %)"


def test_memory_is_judged_by_the_seeds_that_differ_most(tmp_path):
    run = Run(tmp_path, "table2", seeds=(0, 1)).cost("sgm", mib=6100.0, seed=1)
    found = run.verdict("MSRes in the SGM takes at most 1 % more memory to train")
    assert (found.word, found.why) == ("undecided", "in some trainings more than 1 %")
    assert (round(found.interval.low, 3), round(found.interval.high, 3)) == (0, 1.667)
    assert (found.interval.n_patients, found.interval.n_seeds) == (0, 2)


@pytest.mark.parametrize(
    "which, row, word, ours",
    [
        ("Res blocks", "resunet/sgm", "supported", "442,912 of 9,355,249 (4.7 %)"),
        ("final model", "resunet/tpf", "not supported", "2,260,080 of 23,861,633 (9.5 %)"),
    ],
)
def test_the_guidance_modules_share_is_that_of_the_full_network(table5, which, row, word, ours):
    """Parameters of the authors' code; the paper's "5 %" holds without MSRes blocks only."""
    found = table5.verdict(f"The SGM has 5 % of the parameters at inference, {which}")
    assert (found.word, found.ours) == (word, ours)
    [options] = [each.options for each in suite("table4").rows if each.key == row]
    options = catalogue.options("pfseg", "paper") | options
    with torch.device("meta"):
        network = catalogue.build("pfseg", options, 1, PAPER_GRID).for_inference().network
    counted = parameters(network.get_submodule("sgm")), parameters(network)
    assert ours.startswith("{:,} of {:,} ".format(*counted))


# ── several runs ────────────────────────────────────────────────────────────────────────────────


def test_seeds_of_two_runs_count_together(tmp_path):
    first = Run(tmp_path / "a", "table5", seeds=(0,)).shift("pfseg", 0.02)
    second = Run(tmp_path / "b", "table5", seeds=(1,)).shift("pfseg", 0.04)
    found = verdict([first, second], LEAD)
    assert found.interval.estimate == pytest.approx(3)
    assert (found.interval.n_patients, found.interval.n_seeds) == (8, 2)


def test_the_same_seed_in_two_runs_counts_once(tmp_path):
    runs = [Run(tmp_path / name, "table5").shift("pfseg", 0.02) for name in "ab"]
    assert verdict(runs, LEAD).interval.n_seeds == 3


def test_a_trial_that_failed_in_one_run_counts_by_the_other(tmp_path):
    runs = [Run(tmp_path / name, "table5").shift("pfseg", 0.02) for name in "ab"]
    runs[0].fail("pfseg", "cuda_oom", "out of memory")
    assert verdict(runs, LEAD).word == "supported"


def test_suites_of_two_runs_are_judged_together(tmp_path):
    runs = [Run(tmp_path / name, name) for name in ("table1", "table5")]
    words = {v.claim.suite: v.word for v in judge([run.folder for run in runs])}
    assert [name for name, word in words.items() if word == "not run"] == [
        "table2", "table3", "fig1",
    ]  # fmt: skip


def test_runs_of_different_protocols_are_refused_with_what_differs(tmp_path):
    runs = [Run(tmp_path / name, "table5") for name in "ab"]
    runs[0].change(protocol_hash="p1")
    shorter = merged(runs[1].manifest.protocol, {"protocol": {"epochs": 9}})
    runs[1].change(protocol_hash="p2", protocol=shorter)
    said = r"/b: protocol p2 is not p1, that of .*/a \(protocol.epochs: 80 → 9\)"
    with pytest.raises(UsageError, match=said):
        judge([run.folder for run in runs])


def test_a_study_is_no_run(tmp_path):
    with pytest.raises(StateError, match="is a study"):
        judge([made_study(tmp_path, {"pfseg": {}})])


# ── the paper's figures ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text, paper",
    [
        (LEAD, "84.88 vs 82.18 (+2.70)"),
        (BEST, "84.88 vs 82.45 (+2.43), next: HDResUNet"),
        ("PFSeg has the best HD95 of all systems", "7.51 vs 8.56 (-1.05), next: ResUNet3D↑"),
        (GROUPS, "8.82 vs 13.90 (-5.08)"),
        (FASTER, "4.21 vs 1.15 s (3.66×)"),
        ("MSRes: TPF with TFM only adds Dice", "84.88 vs 84.43 (+0.45)"),
        ("Res: TPF with TFM only adds Dice", "84.63 vs 84.13 (+0.50)"),
        ("MSRes in SGM and encoder adds Dice", "84.43 vs 84.13 (+0.30)"),
        ("MSRes in the SGM takes at most 1 % more memory to train",
         "10025 vs 9999 M (+26 M, +0.3 %)"),
        ("MSRes in SGM and encoder takes at most 7 % more memory to train",
         "10693 vs 9999 M (+694 M, +6.9 %)"),
        ("Selective cropping is at least as good as central in HD95",
         "8.33 vs 7.83 (+0.50), against its own claim"),
        ("ResUNet3D on the whole volume is better than on the smallest patches in Dice",
         "no figures printed"),
    ],
)  # fmt: skip
def test_the_papers_figures_are_those_of_its_tables(table5, text, paper):
    assert table5.verdict(text).paper == paper


def test_a_run_on_livers_is_held_against_the_papers_livers(tmp_path):
    run = Run(tmp_path, "table5", dataset="liver")
    assert run.verdict(LEAD).paper == "94.30 vs 92.36 (+1.94)"
    assert run.verdict("UNet3D: SRT adds Dice").paper == "no figures printed"


# ── what is said ────────────────────────────────────────────────────────────────────────────────


def shown(run):
    screen = Screen()
    screen.console = Console(file=StringIO(), width=250, markup=False)
    show(judge([run.folder]), screen)
    return screen.console.file.getvalue()


def test_on_a_phantom_the_first_line_warns_and_each_verdict_is_marked(tmp_path):
    run = Run(tmp_path, "table5", synthetic=True).shift("pfseg", 0.05)
    first, *rest = shown(run).splitlines()
    assert first == "* synthetic data: these verdicts say nothing about the paper"
    assert any(LEAD in line and "supported*" in line for line in rest)
    trained = [v for v in judge([run.folder]) if v.claim.suite == "table5"]
    assert all(v.marked.endswith("*") for v in trained)


def test_a_small_profile_is_marked_too(tmp_path):
    found = Run(tmp_path, "table5", profile="quick").verdict(LEAD)
    assert found.caveat == "profile quick instead of the paper's networks and volumes"
    assert found.marked == "not supported*"


def departing(path, data=None, settings=None):
    """A run on other data than the paper's, or with other settings."""
    run = Run(path, "table5")
    about = run.manifest
    protocol = merged(about.protocol, {"data": data or {}})
    return run.change(protocol=protocol, settings=merged(about.settings, settings or {}))


@pytest.mark.parametrize(
    "about, said",
    [
        ({"data": {"name": "folder"}}, "data set folder instead of BraTS"),
        ({"data": {"name": "liver"}}, "liver scans of your own: the paper's are 347 MRI scans"),
        ({"data": {"modalities": ["flair"]}}, "modality flair instead of t2"),
        ({"data": {"target": "tc"}}, "target tc instead of wt"),
        ({"data": {"grid": [64, 96, 96]}}, "volumes of 64×96×96 voxels instead of 128×192×192"),
        ({"settings": {"protocol": {"epochs": 9}}},
         "epochs 9 instead of 80"),
        ({"settings": {"exceptions": {"pfseg": {"learning_rate": 0.01}}}},
         "pfseg trained with its own learning_rate 0.01"),
        ({"settings": {"systems": {"pfseg": {"weights": {"tel": 0.1}}}}},
         "pfseg with weights.tel 0.1, set by the user"),
    ],
)  # fmt: skip
def test_every_departure_from_the_paper_marks_the_verdicts(tmp_path, about, said):
    found = departing(tmp_path, **about).verdict(LEAD)
    assert found.caveat.startswith(said) and found.marked.endswith("*")


def test_four_modalities_are_the_papers_as_t2_alone_is(tmp_path):
    run = departing(tmp_path, data={"modalities": ["flair", "t1", "t1ce", "t2"]})
    assert run.verdict(LEAD).caveat == ""


def test_what_is_counted_needs_no_mark(tmp_path):
    run = Run(tmp_path, "table5", synthetic=True, profile="quick")
    found = run.verdict("The SGM has 5 % of the parameters at inference, Res blocks")
    assert found.marked == "supported"


def test_real_data_in_full_size_have_no_warning_and_no_mark(table5):
    text = shown(table5)
    assert "say nothing" not in text
    assert "supported*" not in text


def test_a_verdict_is_shown_with_its_reason(tmp_path):
    text = shown(Run(tmp_path, "table5", seeds=(0,)))
    assert "undecided: one training" in " ".join(text.split())
    assert "supported: │" not in " ".join(text.split())


def test_suites_that_were_not_run_take_one_line(table5):
    [line] = [line for line in shown(table5).splitlines() if "not run" in line]
    assert line == (
        "not run: table1 (4 claims), table2 (3 claims), table3 (4 claims), table4 (12 claims), "
        "fig1 (2 claims); to test them: pfbench run --suite NAME"
    )


def test_records_are_json_with_the_marked_verdict_and_its_numbers(tmp_path):
    run = Run(tmp_path, "table5", synthetic=True).shift("pfseg", 0.05)
    table = json.loads(json.dumps(records(judge([run.folder]))))
    [found] = [record for record in table if record["claim"] == LEAD]
    assert found | {"estimate": 5, "low": 5, "high": 5} == {
        "claim": LEAD, "source": "Table V", "suite": "table5",
        "paper": "84.88 vs 82.18 (+2.70)", "ours": "70.00 vs 65.00 (+5.00 [+5.00, +5.00])",
        "unit": "percentage points", "estimate": 5, "low": 5, "high": 5, "n_patients": 8,
        "n_seeds": 3, "verdict": "supported*", "why": "", "caveat": "synthetic data",
    }  # fmt: skip


def test_judging_writes_nothing(table5):
    before = {path: path.stat().st_mtime_ns for path in table5.folder.path.rglob("*")}
    judge([table5.folder])
    assert {path: path.stat().st_mtime_ns for path in table5.folder.path.rglob("*")} == before
