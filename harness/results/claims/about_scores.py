"""Claims that one row has better scores than another, and what it takes to support them.

    Better     than one other row, or a group of rows than another
    Best       than each of several others

Both are paired over the test cases. A kind says what the paper prints (`paper`) and what our trials
say (`judge`), which raises NoEvidence when a row that it needs has no result.
"""

from dataclasses import dataclass

from harness.results.claims.evidence import NOT_PRINTED, Finding, TableEvidence
from harness.results.statistics import MIN_CASES, Interval, Scores, group_mean, paired_difference
from harness.runs.measures import Measure

CHANCE, OPPOSITE = "may be chance", "the opposite holds"


@dataclass(frozen=True)
class Better:
    """The rows `first` have better scores than the rows `second`; most often that is one and one.

    Several rows count as one system whose score in each case is their mean. With `or_equal`, equal
    scores will do.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    metric: Measure
    or_equal: bool = False

    @property
    def unit(self) -> str:
        return self.metric.difference_unit

    def paper(self, table: TableEvidence) -> str:
        first, second = (_printed(keys, table, self.metric) for keys in (self.first, self.second))
        return _printed_difference(first, second, self.metric)

    def judge(self, table: TableEvidence) -> Finding:
        first, second = (
            group_mean({key: table.row(key).scores(self.metric) for key in keys})
            for keys in (self.first, self.second)
        )
        return _compared(first, second, self.metric, or_equal=self.or_equal)


@dataclass(frozen=True)
class Best:
    """Row `key` has better scores than each of `others`.

    It has to win against every one of them (an intersection-union test): no rival is picked by our
    test data, and no correction for their number is due. Shown is the one that is hardest to beat.
    """

    key: str
    others: tuple[str, ...]
    metric: Measure

    @property
    def unit(self) -> str:
        return self.metric.difference_unit

    def paper(self, table: TableEvidence) -> str:
        figures = {key: _printed((key,), table, self.metric) for key in (self.key, *self.others)}
        there = {key: figure for key, figure in figures.items() if figure is not None}
        if len(there) < len(figures):
            return NOT_PRINTED
        best_other = max(self.others, key=lambda key: self.metric.side * there[key])
        text = _printed_difference(there[self.key], there[best_other], self.metric)
        return f"{text}, next: {table.titles[best_other]}"

    def judge(self, table: TableEvidence) -> Finding:
        own = table.row(self.key).scores(self.metric)
        found = {
            key: _compared(own, table.row(key).scores(self.metric), self.metric)
            for key in self.others
        }
        hardest = min(found, key=lambda key: _least_gain(found[key].interval, self.metric.side))
        finding = found[hardest]
        return finding._replace(ours=f"{finding.ours}, hardest: {table.titles[hardest]}")


def _compared(first: Scores, second: Scores, metric: Measure, *, or_equal: bool = False) -> Finding:
    """Supported when the whole interval of first - second lies on the claimed side of zero."""
    difference = paired_difference(first, second).difference
    means = f"{first.means.mean():.2f} vs {second.means.mean():.2f}"
    low, high = difference.low, difference.high
    if low is None or high is None:
        ours = f"{means} ({_signed(difference.estimate)})"
        few = f"too few cases: {difference.n_cases} of {MIN_CASES}"
        return Finding(ours, difference, "undecided", few)
    ours = f"{means} ({_signed(difference.estimate)} [{_signed(low)}, {_signed(high)}])"
    least, most = sorted((metric.side * low, metric.side * high))
    if least > 0 or (or_equal and least == 0):
        return Finding(ours, difference, "supported")
    return Finding(ours, difference, "not supported", OPPOSITE if most < 0 else CHANCE)


def _least_gain(interval: Interval, side: int) -> float:
    """The unfavourable end of the interval; the gain itself where there are too few cases."""
    ends = (interval.low, interval.high)
    return min(side * (interval.estimate if end is None else end) for end in ends)


def _printed(keys: tuple[str, ...], table: TableEvidence, metric: Measure) -> float | None:
    """The mean of the paper's figures; None where it does not print all of them."""
    figures = [table.printed(key, metric.paper) for key in keys]
    there = [figure for figure in figures if figure is not None]
    return sum(there) / len(there) if len(there) == len(keys) else None


def _printed_difference(first: float | None, second: float | None, metric: Measure) -> str:
    if first is None or second is None:
        return NOT_PRINTED
    text = f"{first:.2f} vs {second:.2f} ({_signed(first - second)})"
    agrees = metric.side * (first - second) > 0
    return text if agrees else f"{text}, against its own claim"


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}"  # + 0.0: no "-0.00"
