"""Tables and plots of how the systems stand to each other, as blocks of a report."""

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd

from harness.report.document import Block, Bullets, Cell, Group, Panel, Plot, Table, Tone, words
from harness.report.panels import LEGEND, panel
from harness.report.score_plots import rank_bars, strip
from harness.results.compare import p_value
from harness.results.rankings import Ranking, significance_map
from harness.results.standings import Standing

SYMBOLS: dict[str, tuple[str, Tone]] = {
    "better": ("▲", "better"),
    "worse": ("▼", "worse"),
    "open": ("·", "open"),
    "n too small": ("n", "open"),
    "": ("", "diagonal"),
}
LEGEND_OF_MAPS = (
    "▲ the row is better than the column at 5 %, ▼ it is worse; · neither is shown, which does not "
    "mean that they are equal.",
)


def significance(standings: Sequence[Standing]) -> list[Block]:
    """A map for each metric, or why no pair could be tested."""
    tested = [s for s in standings if any(c.p_holm is not None for c in s.comparisons)]
    if tested:
        return [Bullets(LEGEND_OF_MAPS), Group(tuple(map(_map, tested)))]
    notes = dict.fromkeys(c.paired.note for s in standings for c in s.comparisons)
    return [Bullets(tuple(f"No pair was tested: {note}." for note in notes))]


def _map(standing: Standing) -> Table:
    verdicts = significance_map(standing.comparisons, higher_is_better=standing.higher_is_better)
    keys = list(verdicts.index)
    rows = []
    for number, key in enumerate(keys, 1):
        found = [SYMBOLS[verdicts.loc[key, other]] for other in keys]
        cells = [Cell(text, tone=tone) for text, tone in found]
        rows.append((Cell(f"{number} {standing.titles[key]}"), *cells))
    headings = ("", *map(str, range(1, len(keys) + 1)))
    return Table(f"Significance: {standing.metric.title}", headings, tuple(rows))


def pairs(standing: Standing) -> Table:
    """Every two systems with difference, interval, effect size and p."""
    rows = []
    for each in standing.comparisons:
        difference = each.paired.difference
        span = ""
        if difference.low is not None and difference.high is not None:
            span = f"[{difference.low:+.2f}, {difference.high:+.2f}]"
        rows.append(
            tuple(
                map(
                    Cell,
                    (
                        standing.titles[each.first],
                        standing.titles[each.second],
                        f"{difference.estimate:+.2f}",
                        span,
                        f"{each.paired.hodges_lehmann:+.2f}",
                        p_value(each.paired.p),
                        p_value(each.p_holm),
                    ),
                )
            )
        )
    headings = ("First", "Second", "First − second", "95 % interval", "Hodges-Lehmann", "p",
                "p, Holm")  # fmt: skip
    return Table(f"Every two systems: {standing.metric.title}", headings, tuple(rows), 2)


def ranks(name: str, standings: Sequence[Standing]) -> list[Block]:
    """Rank plots, or the ranks alone where there are too few cases to resample."""
    found = [(standing, standing.ranking) for standing in standings if standing.ranking]
    firm = [(standing, each) for standing, each in found if each.frequencies is not None]
    if not firm:
        return [_ranks_alone(found)] if found else []
    drawn = [_rank_panel(f"{name}-rank{n}", *each) for n, each in enumerate(firm)]
    lead = (
        "How often each system takes which rank when the test cases are drawn anew (10,000 "
        "bootstrap resamples, Wiesenfarth et al., 2021); dark is a good rank. Kendall's tau "
        "compares the order of a resample with that of all cases: 1 is the same order. "
    )
    lead += " ".join(f"{_tau(*each)}." for each in firm)
    return [Plot("Ranks", lead, tuple(drawn), tuple(_rank_table(*each) for each in firm))]


def _rank_panel(name: str, standing: Standing, found: Ranking) -> Panel:
    first = str(found.ranks.idxmin())
    share = 0.0 if found.frequencies is None else found.frequencies[1].to_dict()[first]
    alt = f"{standing.titles[first]} is first in {share:.0%} of the resamples. "
    return panel(name, partial(rank_bars, standing, found), alt + _tau(standing, found))


def _tau(standing: Standing, found: Ranking) -> str:
    """ "Dice: tau 0.91 [0.79, 1.00]"."""
    tau = found.kendall_tau
    if tau is None:
        return found.note
    note = f" ({tau.note})" if tau.note else ""
    return f"{standing.metric.label}: tau {tau.estimate:.2f} [{tau.low:.2f}, {tau.high:.2f}]{note}"


def _ranks_alone(found: Sequence[tuple[Standing, Ranking]]) -> Table:
    first, ranking = found[0]
    order = ranking.ranks.sort_values(kind="stable").index
    rows = [
        [first.titles[key], *(str(each.ranks.get(key, "")) for _, each in found)] for key in order
    ]
    headings = ("System", *(f"by {standing.metric.label}" for standing, _ in found))
    notes = tuple(dict.fromkeys(each.note for _, each in found if each.note))
    return Table("Ranks", headings, words(rows), 1, notes)


def _rank_table(standing: Standing, found: Ranking) -> Table:
    frequencies = found.frequencies if found.frequencies is not None else pd.DataFrame()
    order = found.ranks.sort_values(kind="stable").index
    rows = [
        [standing.titles[key], str(found.ranks[key]), *map("{:.1%}".format, frequencies.loc[key])]
        for key in order
    ]
    headings = ("System", "Rank", *(f"rank {place}" for place in frequencies.columns))
    return Table(f"Ranks by {standing.metric.title}", headings, words(rows))


def strips(name: str, title: str, standings: list[Standing], kinds: Mapping[str, str]) -> Plot:
    """Each test case of each system."""
    panels = []
    for number, standing in enumerate(standings):
        metric = standing.metric.title
        means = ", ".join(
            f"{standing.titles[key]} {found.estimate:.1f}"
            for key, found in standing.intervals.items()
        )
        alt = f"{metric} of each test case and system; means: {means}."
        panels.append(panel(f"{name}-strip{number}", partial(strip, standing, kinds), alt))
    lead = (
        "A small dot is a test case, the average of its seeds; the box its quartiles and median; "
        "the large mark the mean, with its 95 % interval in black."
    )
    data = tuple(_case_table(standing) for standing in standings)
    return Plot(title, lead, tuple(panels), data, LEGEND)


def _case_table(standing: Standing) -> Table:
    cases = list(next(iter(standing.scores.values())).means.index)
    columns = [scores.means for scores in standing.scores.values()]
    rows = tuple(
        (Cell(str(case)), *(Cell(f"{column[case]:.2f}") for column in columns)) for case in cases
    )
    headings = ("Case", *(standing.titles[key] for key in standing.scores))
    return Table(f"{standing.metric.title} of each case", headings, rows)
