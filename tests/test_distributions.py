"""Student's t, the normal and the coin, against scipy, which pfbench does not load for them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import bdtr, ndtr, ndtri, stdtr, stdtrit

from harness.results.distributions import (
    NEARLY_NORMAL,
    fair_coin_cdf,
    normal_cdf,
    normal_quantile,
    student_cdf,
    student_quantile,
)

FREEDOMS = (1, 1.3, 2, 3.7, 5, 9, 29, 58, 59.9, 60, 61, 100, 999, 1e4, NEARLY_NORMAL,
            1.001 * NEARLY_NORMAL, 1e6, 1e9, 1e13, math.inf)  # fmt: skip


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_students_t_is_scipys_in_the_middle_and_in_the_tails(freedom):
    for t in (-40, -8, -3, -1.8, -1.7, -1, -0.1, 0, 0.5, 2, 10):
        expected = pytest.approx(stdtr(freedom, t), rel=1e-10, abs=1e-280)
        assert student_cdf(freedom, t) == expected, t


@pytest.mark.parametrize("freedom", FREEDOMS)
def test_a_quantile_of_students_t_is_scipys(freedom):
    for p in (0.5, 0.6, 0.8, 0.975, 0.9999):
        assert student_quantile(freedom, p) == pytest.approx(stdtrit(freedom, p), rel=1e-10), p


@given(st.floats(1, 1e7), st.floats(0.5, 0.9999))
def test_a_quantile_is_where_the_distribution_reaches_its_probability(freedom, p):
    assert student_cdf(freedom, student_quantile(freedom, p)) == pytest.approx(p, rel=1e-10)


def test_one_degree_of_freedom_is_cauchys_distribution():
    """Near 0, where scipy rounds to a half."""
    assert student_cdf(1, -1e-9) == pytest.approx(0.5 - 1e-9 / math.pi, rel=1e-14)


@pytest.mark.parametrize("x", (-30, -5, -1, 0, 2))
def test_the_normal_distribution_is_scipys(x):
    assert normal_cdf(x) == pytest.approx(ndtr(x), rel=1e-12)


@pytest.mark.parametrize("p", (0.5, 0.8, 0.975))
def test_a_normal_quantile_is_scipys(p):
    assert normal_quantile(p) == pytest.approx(ndtri(p), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("n", (0, 1, 2, 6, 7, 50, 1001))
def test_throws_of_a_coin_are_scipys_binomial(n):
    expected = bdtr(np.arange(n + 1), n, 0.5)
    assert fair_coin_cdf(n) == pytest.approx(expected, rel=1e-10, abs=1e-290)
