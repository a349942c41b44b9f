"""CSV files of a trial: written as pandas writes them, and read back to the last digit."""

import math

import numpy as np
import pandas as pd
import pytest

from harness.runs.csv_file import csv_lines, read_columns

ROWS = [
    {"case": "001", "dice": 0.1 + 0.2, "failed": False, "note": "a, b"},
    {"case": "002", "dice": 1 / 3, "failed": True, "later": 2.5},
]


@pytest.fixture
def columns(tmp_path):
    (tmp_path / "cases.csv").write_bytes(csv_lines(ROWS))
    return read_columns(tmp_path / "cases.csv", words=("case", "failed"))


def test_the_bytes_are_those_of_pandas():
    assert csv_lines(ROWS).decode() == pd.DataFrame(ROWS).to_csv(index=False)


@pytest.mark.parametrize("nothing", [None, math.nan, np.float64("nan")])
def test_what_is_not_there_is_an_empty_cell(nothing):
    assert csv_lines([{"epoch": 1, "val_dice": nothing}]) == b"epoch,val_dice\n1,\n"


def test_numbers_come_back_to_the_last_digit(columns):
    assert columns["dice"].tolist() == [0.1 + 0.2, 1 / 3]


def test_words_stay_as_they_are_written(columns):
    assert columns["case"].tolist() == ["001", "002"]
    assert columns["failed"].tolist() == ["False", "True"]


def test_a_column_with_an_empty_cell_is_text_and_no_number(columns):
    assert columns["later"].tolist() == ["", "2.5"]
    with pytest.raises(ValueError, match="could not convert"):
        columns["later"].astype(float)


@pytest.mark.parametrize("text", ["", "a,b\n1\n", "a,b\n1,2\n1,2,3\n", "a\n1,2\n"])
def test_a_file_that_is_no_table_is_refused(tmp_path, text):
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(ValueError):
        read_columns(tmp_path / "cases.csv", words=())
