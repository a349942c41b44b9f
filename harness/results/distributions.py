"""Normal, binomial and Student's t distributions, as intervals and tests need them.

scipy has them, too, but its import takes longer than all else that `pfbench compare` does. The
incomplete beta function is Lentz's continued fraction (Press et al., Numerical Recipes, Sec. 6.4);
tests/test_distributions.py holds all of them against scipy.
"""

import math
from functools import lru_cache
from itertools import accumulate
from statistics import NormalDist

NORMAL = NormalDist()
SERIES = 30.0
"""From here on the logarithm of gamma(a + 1/2) / gamma(a) is summed as a series: the difference of
two large logarithms would lose digits."""
NEARLY_NORMAL = 1e6
"""Degrees of freedom beyond which Student's t is the normal distribution and a correction: the
continued fraction would lose digits."""


def normal_cdf(x: float) -> float:
    """The probability of at most `x`, with all of its digits in the lower tail."""
    return math.erfc(-x / math.sqrt(2)) / 2


def normal_quantile(p: float) -> float:
    """The value that is not exceeded with probability `p`, between 0 and 1."""
    return NORMAL.inv_cdf(p)


@lru_cache(maxsize=64)
def fair_coin_cdf(n: int) -> tuple[float, ...]:
    """The probabilities of at most 0, 1, …, n heads in n throws of a fair coin."""
    ways = accumulate(range(n), lambda ways, k: ways * (n - k) // (k + 1), initial=1)
    return tuple(below / 2**n for below in accumulate(ways))


def student_cdf(freedom: float, t: float) -> float:
    """The probability of at most `t`; `freedom` is above 0 and may be infinite."""
    if freedom > NEARLY_NORMAL:
        return normal_cdf(t) - NORMAL.pdf(t) * _above_normal(freedom, t)
    tail = _beta_tail(freedom, t) / 2
    return tail if t < 0 else 1 - tail


@lru_cache(maxsize=4096)
def student_quantile(freedom: float, p: float) -> float:
    """The value that is not exceeded with probability `p`, from 1/2 to below 1.

    Newton's method from the normal quantile, which is too small: above 0 the distribution bends to
    one side, so that no step leads too far.
    """
    t = normal_quantile(p)
    for _ in range(100):
        step = (1 - p - student_cdf(freedom, -t)) / _student_density(freedom, t)
        t -= step
        if abs(step) <= 1e-14 * abs(t):
            break
    return t


def _above_normal(freedom: float, t: float) -> float:
    """Fisher's expansion (Metron 5 (1925) 109): the normal less Student's t, over the density."""
    second = t * (3 * t**6 - 7 * t**4 - 5 * t**2 - 3) / 96
    third = t * (t**10 - 11 * t**8 + 14 * t**6 + 6 * t**4 - 3 * t**2 - 15) / 384
    return t * (t**2 + 1) / 4 / freedom + second / freedom**2 + third / freedom**3


def _student_density(freedom: float, t: float) -> float:
    if freedom > NEARLY_NORMAL:
        return NORMAL.pdf(t)  # for a step of Newton's it is near enough
    scale = math.exp(_log_gamma_ratio(freedom / 2)) / math.sqrt(freedom * math.pi)
    return scale * math.exp(-(freedom + 1) / 2 * math.log1p(t * t / freedom))


def _beta_tail(freedom: float, t: float) -> float:
    """The probability of a value farther from 0 than `t`: I_x(f / 2, 1 / 2), x = f / (f + t²)."""
    a, b, square = freedom / 2, 0.5, t * t / freedom
    if not square:
        return 1.0
    x, rest = 1 / (1 + square), square / (1 + square)
    front = math.exp(
        _log_gamma_ratio(a) - math.lgamma(b) - a * math.log1p(square) + b * math.log(rest)
    )
    if x < (a + 1) / (a + b + 2):
        return front * _continued_fraction(a, b, x) / a
    return 1 - front * _continued_fraction(b, a, rest) / b


def _log_gamma_ratio(a: float) -> float:
    """The logarithm of gamma(a + 1/2) / gamma(a)."""
    if a < SERIES:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    return math.log(a) / 2 - 1 / (8 * a) + 1 / (192 * a**3) - 1 / (640 * a**5)


def _continued_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function, for x < (a + 1) / (a + b + 2)."""
    tiny = 1e-300
    above, below = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)
    value = below
    for m in range(1, 10_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            below = 1 / (1 + numerator * below or tiny)
            above = 1 + numerator / above or tiny
            value *= below * above
        if abs(below * above - 1) < 1e-16:
            break
    return value
