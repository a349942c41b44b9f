"""Who trains, validates and tests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.split import FOLDS, Split, split
from harness.errors import DataError, UsageError


def ids(count: int) -> list[str]:
    return [f"case_{number:03d}" for number in range(count)]


def sizes(made: Split) -> tuple[int, int, int]:
    return len(made.train), len(made.validation), len(made.test)


@pytest.mark.parametrize("count, expected", [(369, (296, 1, 72)), (347, (278, 1, 68))])
def test_the_official_split_has_the_sizes_of_the_released_code(count, expected):
    assert sizes(split(ids(count), kind="official")) == expected


def test_the_official_split_cuts_the_sorted_list():
    made = split(list(reversed(ids(20))), kind="official")
    assert made.train == tuple(ids(20)[:17])
    assert made.validation == ("case_017",)
    assert made.test == ("case_018", "case_019")


@pytest.mark.parametrize(
    "count, expected", [(369, (265, 30, 74)), (12, (8, 1, 3)), (4, (2, 1, 1)), (3, (1, 1, 1))]
)
def test_a_seeded_split_is_80_to_20_with_a_tenth_of_the_80_for_validation(count, expected):
    assert sizes(split(ids(count))) == expected


@pytest.mark.parametrize(
    "count, expected", [(3, (1, 1, 1)), (4, (2, 1, 1)), (9, (7, 1, 1)), (10, (8, 1, 1))]
)
def test_of_few_patients_the_official_split_leaves_one_to_validate_and_one_to_test(count, expected):
    """int(0.8 n) + 1 to train, the code's own cut, would leave too few of ten or less."""
    made = split(ids(count), kind="official")
    assert sizes(made) == expected
    assert (*made.train, *made.validation, *made.test) == tuple(ids(count))


def test_three_patients_are_enough_and_five_for_another_fold():
    assert sizes(split(ids(3))) == (1, 1, 1)
    assert sizes(split(ids(5), fold=1)) == (3, 1, 1)


@given(st.integers(5, 60), st.integers(0, 2**32 - 1), st.integers(0, FOLDS - 1))
def test_no_patient_is_in_two_parts_and_none_is_lost(count, seed, fold):
    made = split(ids(count), seed=seed, fold=fold)
    assert sorted((*made.train, *made.validation, *made.test)) == ids(count)
    assert min(sizes(made)) >= 1


@given(st.integers(5, 60), st.integers(0, 100))
def test_over_all_folds_every_patient_tests_exactly_once(count, seed):
    tested = [
        case for fold in range(FOLDS) for case in split(ids(count), seed=seed, fold=fold).test
    ]
    assert sorted(tested) == ids(count)


def test_the_order_in_which_patients_are_found_does_not_matter():
    assert split(ids(30)) == split(list(reversed(ids(30))))


def test_a_written_split_has_patients_where_they_are_known_alone():
    parts = ("a",), ("b",), ("c",)
    assert list(Split(*parts).to_json()) == ["train", "validation", "test"]
    assert Split(*parts, {"a": "ann"}).to_json()["patients"] == {"a": "ann"}


def test_the_seed_decides():
    assert split(ids(30), seed=1) == split(ids(30), seed=1)
    assert split(ids(30), seed=1).test != split(ids(30), seed=2).test


def test_a_split_survives_json_with_its_digest():
    made = split(ids(12))
    again = Split.from_json(made.to_json())
    assert again == made
    assert again.digest == made.digest
    assert made.digest != split(ids(12), seed=1).digest


@pytest.mark.parametrize(
    "content",
    [
        {"train": ["a"], "validation": ["b"]},
        {"train": ["a"], "validation": ["b"], "test": ["a"]},
    ],
)
def test_a_written_split_that_leaks_or_lacks_a_part_is_refused(content):
    with pytest.raises(ValueError):
        Split.from_json(content)


@pytest.mark.parametrize("count, fold", [(0, 0), (2, 0), (4, 1)])
def test_too_few_patients_are_refused_with_both_numbers(count, fold):
    with pytest.raises(DataError, match=rf"{count} cases.*at least {5 if fold else 3}") as caught:
        split(ids(count), fold=fold)
    assert caught.value.code == "PFB-D09"


def test_a_patient_listed_twice_is_refused():
    with pytest.raises(DataError, match="case_001"):
        split([*ids(5), "case_001"])


@pytest.mark.parametrize("kind, fold", [("seeded", 5), ("seeded", -1), ("official", 1)])
def test_a_fold_that_does_not_exist_is_refused(kind, fold):
    with pytest.raises(UsageError):
        split(ids(20), kind=kind, fold=fold)
