"""Claims about time, memory and parameters, and the evidence that supports each of them.

    Faster          so many times              over processes
    MemoryAtMost    so many percent more       over seeds
    ShareIs         so many percent of all     counted

A kind says what the paper prints (`paper`) and what our trials say (`judge`), which raises
NoEvidence when a row that it needs has no result.
"""

from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from harness.results.claims.evidence import (
    NOT_PRINTED,
    Finding,
    NoEvidence,
    Repetitions,
    TableEvidence,
    Timings,
    Word,
)
from harness.results.intervals import Interval, ratio_interval


@dataclass(frozen=True)
class Faster:
    """One volume takes row `slow` at least `factor` times as long as row `fast`."""

    fast: str
    slow: str
    factor: float
    unit: ClassVar[str] = "times"

    def paper(self, table: TableEvidence) -> str:
        slow, fast = (table.printed(key, "time_s") for key in (self.slow, self.fast))
        if slow is None or fast is None:
            return NOT_PRINTED
        return f"{slow:.2f} vs {fast:.2f} s ({slow / fast:.2f}×)"

    def judge(self, table: TableEvidence) -> Finding:
        slow, fast = (table.row(key).seconds() for key in (self.slow, self.fast))
        _refuse_other_devices(slow, fast)
        ratio = ratio_interval(slow.processes, fast.processes)
        sides = f"{_median(slow):.3f} vs {_median(fast):.3f} s"
        if ratio.low is None or ratio.high is None:
            ours = f"{sides} ({ratio.estimate:.2f}×)"
            return Finding(ours, ratio, "undecided", "measured in one process only")
        ours = f"{sides} ({ratio.estimate:.2f}× [{ratio.low:.2f}, {ratio.high:.2f}])"
        if ratio.low >= self.factor:
            return Finding(ours, ratio, "supported")
        short = f"less than {self.factor:.2f}×"
        if ratio.high < self.factor:
            return Finding(ours, ratio, "not supported", short)
        return Finding(ours, ratio, "undecided", f"may be {short}")


@dataclass(frozen=True)
class MemoryAtMost:
    """Training row `first` takes at most `percent` more memory than training row `second`.

    The interval has the least and the most that any two seeds differ by.
    """

    first: str
    second: str
    percent: float
    unit: ClassVar[str] = "percent"

    def paper(self, table: TableEvidence) -> str:
        first, second = (table.printed(key, "train_mib") for key in (self.first, self.second))
        if first is None or second is None:
            return NOT_PRINTED
        extra = 100 * (first / second - 1)
        return f"{first:.0f} vs {second:.0f} M ({first - second:+.0f} M, {extra:+.1f} %)"

    def judge(self, table: TableEvidence) -> Finding:
        first, second = (table.row(key).train_peak_mib() for key in (self.first, self.second))
        _refuse_other_devices(first, second)
        extras = [100 * (a - b) / b for a in first.values for b in second.values]
        seeds = min(len(first.values), len(second.values))
        interval = Interval(median(extras), min(extras), max(extras), 0, seeds, "range over seeds")
        a, b = median(first.values), median(second.values)
        ours = f"{a:.0f} vs {b:.0f} MiB ({a - b:+.0f} MiB, {interval.estimate:+.1f} %)"
        if max(extras) <= self.percent:
            return Finding(ours, interval, "supported")
        more = f"more than {self.percent:.0f} %"
        if min(extras) > self.percent:
            return Finding(ours, interval, "not supported", more)
        return Finding(ours, interval, "undecided", f"in some trainings {more}")


@dataclass(frozen=True)
class ShareIs:
    """The guidance module has `percent` of the parameters of the network that runs at inference.

    `part` of `whole` are counted on the full-size network of row `key` of Table IV, for one
    modality; supported when the share rounds to `percent`. Needs no trial. The counts stand here,
    and a test counts again, so that nobody who reads results has to load torch.
    """

    key: str
    percent: int
    part: int
    whole: int
    unit: ClassVar[str] = "percent"

    def paper(self, table: TableEvidence) -> str:
        return f"{self.percent} %"

    def judge(self, table: TableEvidence) -> Finding:
        share = 100 * self.part / self.whole
        ours = f"{self.part:,} of {self.whole:,} ({share:.1f} %)"
        interval = Interval(share, share, share, 0, 0, "exact")
        word: Word = "supported" if round(share) == self.percent else "not supported"
        return Finding(ours, interval, word)


def _median(timings: Timings) -> float:
    """The median over the processes of each process's median seconds."""
    return median(median(seconds) for seconds in timings.processes)


def _refuse_other_devices(first: Repetitions | Timings, second: Repetitions | Timings) -> None:
    devices = sorted(first.devices | second.devices)
    if len(devices) > 1:
        raise NoEvidence(f"measured on different devices: {'; '.join(devices)}")
