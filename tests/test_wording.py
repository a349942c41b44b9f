"""Numbers and lists in sentences."""

import pytest

from harness.data.wording import counted, listed


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0 test cases"), (1, "1 test case"), (2, "2 test cases"), (1024, "1,024 test cases")],
)
def test_a_noun_agrees_with_its_number(number, said):
    assert counted(number, "test case") == said


def test_a_list_that_fits_is_whole():
    assert listed(["a", "b"], 2) == "a, b"


def test_what_does_not_fit_is_counted():
    assert listed(["a", "b", "c", "d"], 2) == "a, b and 2 more"
    assert listed("abc", 2, "; ") == "a; b and 1 more"
