"""Claims that one row has better scores than another, and the evidence that supports each of them.

    Better     than one other row, or a group of rows than another
    Best       than each of several others

Both are paired over the patients of the test. A kind says what the paper prints (`paper`) and what
our trials say (`judge`), which raises NoEvidence when a row that it needs has no result.
"""

from dataclasses import dataclass

from harness.results.claims.evidence import NOT_PRINTED, Finding, Rated, TableEvidence, Word
from harness.results.intervals import Interval, Paired, paired_difference
from harness.results.scores import MIN_PATIENTS
from harness.runs.measures import Measure

CHANCE, OPPOSITE, EQUAL = "may be chance", "the opposite holds", "no difference"
ONE_TRAINING = "one training each: about these networks, not the methods"
DISAGREE = "mean and median point to opposite sides"
SEVERITY: tuple[Word, ...] = ("not supported", "undecided", "supported")


@dataclass(frozen=True)
class Better:
    """The rows `first` have better scores than the rows `second`; most claims compare one with one.

    Several rows count as one system whose score in each case is their mean. With `or_equal`, they
    may be worse by less than the margin of the metric (a test of non-inferiority).
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
        first, second = (table.group(keys, self.metric) for keys in (self.first, self.second))
        margin = table.margins.of(self.metric) if self.or_equal else 0.0
        return _compared(first, second, self.metric, margin, or_equal=self.or_equal)


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
        own = table.group((self.key,), self.metric)
        found = {
            key: _compared(own, table.group((key,), self.metric), self.metric)
            for key in self.others
        }

        def ease(key: str) -> tuple[int, float]:
            word, interval = found[key].word, found[key].interval
            return SEVERITY.index(word), _least_gain(interval, self.metric.side)

        hardest = min(found, key=ease)
        finding = found[hardest]
        return finding._replace(ours=f"{finding.ours}, hardest: {table.titles[hardest]}")


def _compared(
    first: Rated, second: Rated, metric: Measure, margin: float = 0.0, *, or_equal: bool = False
) -> Finding:
    """The finding: supported when the interval of first - second is wholly better than -`margin`.

    Not supported when the whole interval lies on the other side; undecided in between.
    """
    paired = paired_difference(first.scores, second.scores, metric.centre)
    difference = paired.difference
    ours = _in_words(first, second, paired, metric)
    if difference.low is None or difference.high is None:
        few = f"too few patients: {difference.n_patients} of {MIN_PATIENTS}"
        return Finding(ours, difference, "undecided", few)
    if paired.about_networks:
        return Finding(ours, difference, "undecided", ONE_TRAINING)
    if paired.contradicts:
        return Finding(ours, difference, "undecided", DISAGREE)
    least, most = sorted((metric.side * difference.low, metric.side * difference.high))
    if least > -margin or (or_equal and least == -margin):
        return Finding(ours, difference, "supported", _within(margin, metric) if least < 0 else "")
    if most < -margin:
        return Finding(ours, difference, "not supported", OPPOSITE)
    if most == 0 and not or_equal:
        return Finding(ours, difference, "not supported", EQUAL)
    return Finding(ours, difference, "undecided", CHANCE)


def _within(margin: float, metric: Measure) -> str:
    return f"within the margin of {margin:g} {metric.difference_unit}"


def _in_words(first: Rated, second: Rated, paired: Paired, metric: Measure) -> str:
    """The figures as text: "70.00 vs 65.00 (+5.00 [+4.10, +5.90])"; for HD95 also the misses."""
    difference = paired.difference
    span = f"{_signed(difference.estimate)}"
    if difference.low is not None and difference.high is not None:
        span += f" [{_signed(difference.low)}, {_signed(difference.high)}]"
    means = f"{first.scores.values.mean():.2f} vs {second.scores.values.mean():.2f}"
    if metric.centre == "mean":
        return f"{means} ({span})"
    return (
        f"median difference {span}; means {means}; missed {first.missed} vs {second.missed}, "
        f"false alarms {first.false_alarms} vs {second.false_alarms}"
    )


def _least_gain(interval: Interval, side: int) -> float:
    """The unfavourable end of the interval; the estimate itself for too few patients."""
    ends = (interval.low, interval.high)
    return min(side * (interval.estimate if end is None else end) for end in ends)


def _printed(keys: tuple[str, ...], table: TableEvidence, metric: Measure) -> float | None:
    """The mean of the figures that the paper prints for `keys`; None unless it prints every one."""
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
