"""The answer of a table: one paragraph that says who is best, how surely, and at what cost."""

import pytest
from helper_in_process import pfbench
from helper_made_run import MadeRun

from harness.report.of_run import document
from harness.results.tables import build, markdown
from harness.tracking.desired import parent_of

ALIKE = (0.70, 0.71, 0.80, 0.60, 0.50, 0.65, 0.72, 0.90)
PAIR = ("resunet3d", "pfseg")


def told(run: MadeRun) -> str:
    return build(run.folder).answers[0]


def test_the_best_system_is_named_with_interval_margin_and_sample(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR, seeds=(0, 1), alike=ALIKE).shift("pfseg", 0.05)
    assert told(run).startswith("PFSeg has the best Dice, 74.8 % (95 % interval ")
    assert "5.0 points above ResUNet3D (8 test patients, 2 trainings of each system)." in told(run)


def test_a_difference_that_the_tests_show_is_said_to_be_shown(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR, seeds=(0, 1), alike=ALIKE).shift("pfseg", 0.05)
    assert "The tests show it to be better than every other system." in told(run)


def test_a_difference_that_may_be_chance_is_said_to_be_undecided(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR, seeds=(0, 1), alike=ALIKE)
    run.score("pfseg", [dice + by for dice, by in zip(ALIKE, (0.1, -0.09) * 4, strict=True)])
    assert "Against every other system it is undecided" in told(run)


def test_with_too_few_cases_nothing_is_said_to_be_shown(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR, seeds=(0, 1), alike=ALIKE[:3]).shift("pfseg", 0.05)
    assert "Nothing can be tested (n too small: 3 patients, a test needs 6)" in told(run)
    assert "better than" not in told(run)


def test_one_training_is_said_to_speak_of_these_networks(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR, alike=ALIKE).shift("pfseg", 0.05)
    assert "of these networks: another training may change the order" in told(run)


def test_the_fastest_of_those_not_shown_to_be_worse_is_named(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR, seeds=(0, 1), alike=ALIKE)
    run.score("pfseg", [dice + by for dice, by in zip(ALIKE, (0.1, -0.09) * 4, strict=True)])
    run.cost("pfseg", processes=((4.0,) * 5,)).cost("resunet3d", processes=((0.5,) * 5,))
    wanted = "of the systems that are not shown to be worse, ResUNet3D is the fastest with 0.5 s."
    assert wanted in told(run)


def test_a_faster_and_worse_system_is_priced_by_the_point(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR, seeds=(0, 1), alike=ALIKE).shift("pfseg", 0.05)
    run.cost("pfseg", processes=((4.0,) * 5,)).cost("resunet3d", processes=((0.5,) * 5,))
    assert "ResUNet3D, takes 0.5 s and has 5.0 points less: each point costs 0.7 s." in told(run)


def test_synthetic_data_are_named_in_the_answer_itself(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR, alike=ALIKE, synthetic=True, profile="quick")
    assert told(run).startswith("On synthetic data, ")


def test_a_failed_system_leaves_the_answer_to_the_others(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR, alike=ALIKE).fail("pfseg", "nan")
    assert told(run).startswith("ResUNet3D has a Dice of 69.8 %")


def test_without_a_score_there_is_no_answer(tmp_path):
    run = MadeRun(tmp_path, rows=PAIR, alike=ALIKE).fail("pfseg", "nan").fail("resunet3d", "nan")
    assert told(run) == ""


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    run = MadeRun(tmp_path_factory.mktemp("answer") / "run", rows=PAIR, alike=ALIKE)
    run.shift("pfseg", 0.05)
    run.cost("pfseg", processes=((4.0,) * 5,)).cost("resunet3d", processes=((0.5,) * 5,))
    pfbench("report", run.path, "--no-pictures")
    return run


def test_the_answer_heads_table_md(reported):
    assert markdown(build(reported.folder)).splitlines()[2] == told(reported)


def test_the_answer_is_the_first_section_of_the_report(reported):
    first = document([reported.folder], pictures=False).sections[0]
    assert (first.title, first.lead) == ("The answer", (told(reported),))


def test_the_answer_heads_the_description_in_mlflow(reported):
    assert told(reported) in parent_of(reported.folder).description[:1000]


def test_the_report_prices_a_point_of_dice_in_both_directions(reported):
    sections = {section.id: section for section in document([reported.folder]).sections}
    [seconds, *_] = [b for b in sections["costs"].blocks if "a point of Dice costs" in str(b)]
    [line] = [[cell.text for cell in row] for row in seconds.rows]
    assert line == ["ResUNet3D", "PFSeg", "3.5", "5.00", "0.7", "1.43"]
