"""The table of goals says of each whether it is met, and shows it on a page."""

import pytest

from benchmarks.page import page
from benchmarks.timing import Row, medians_ms, require_equal


@pytest.mark.parametrize(
    "ours, theirs, goal, verdict",
    [(10, 50, 4, "met by 25 %"), (10, 30, 4, "missed by 25 %"), (10, 40, 4, "met by 0 %")],
)
def test_a_goal_is_the_least_ratio(ours, theirs, goal, verdict):
    assert Row("case", "peer", ours, theirs, goal).verdict == verdict


def test_without_a_goal_there_is_no_verdict():
    assert Row("case", "peer", 1, 2).verdict == ""


def test_different_results_are_not_timed():
    with pytest.raises(ValueError, match=r"ours 1.0, theirs 1.2: not the same result"):
        require_equal("HD95", 1.0, 1.2, 0.1)


def test_every_function_is_called_once_a_round_and_once_before():
    calls = {"a": 0, "b": 0}

    def count(name):
        calls[name] += 1

    assert medians_ms({name: lambda name=name: count(name) for name in calls}, 3).keys() == {
        "a",
        "b",
    }
    assert calls == {"a": 4, "b": 4}


def test_the_page_has_a_line_for_each_row_and_says_met_or_missed():
    row = Row("lesion", "monai", 5.0, 10.0, 4)
    shown = {**row._asdict(), "ratio": row.ratio, "verdict": row.verdict}
    text = page([{"device": "cpu-x", "libraries": {"numpy": "2"}, "benchmarks": {"hd95": [shown]}}])
    assert "## cpu-x" in text
    assert "| hd95 | lesion | monai | 5.00 ms | 10.00 ms | 2.00 | 4.00 | missed by 50 % |" in text
