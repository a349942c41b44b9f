"""Tables and plots of how the systems stand to each other, as blocks of a report."""

from collections.abc import Mapping
from functools import partial

from harness.compare import p_value
from harness.rankings import Ranking, significance_map
from harness.report.document import Block, Cell, Plot, Table, Tone, words
from harness.report.drawings import LEGEND, panel
from harness.report.score_plots import rank_bars, strip
from harness.standings import Standing

SYMBOLS: dict[str, tuple[str, Tone]] = {
    "better": ("▲ better", "better"),
    "worse": ("▼ worse", "worse"),
    "open": ("· open", "open"),
    "n too small": ("n too small", "open"),
    "": ("", "diagonal"),
}


def significance(standing: Standing) -> Table:
    """Is the row better than the column?"""
    verdicts = significance_map(standing.comparisons, higher_is_better=standing.higher_is_better)
    keys = list(verdicts.index)
    rows = []
    for number, key in enumerate(keys, 1):
        found = [Cell(*_symbol(verdicts.loc[key, other])) for other in keys]
        rows.append((Cell(f"{number} {standing.titles[key]}"), *found))
    few = next((c.paired.note for c in standing.comparisons if c.p_holm is None), "")
    notes = (f"{few}: no pair could be tested",) if few else ()
    headings = (f"Row against column, {standing.metric.title}", *map(str, range(1, len(keys) + 1)))
    return Table(f"Significance map: {standing.metric.title}", headings, tuple(rows), 1, notes)


def _symbol(word: str) -> tuple[str, str, str, Tone]:
    text, tone = SYMBOLS[word]
    return text, "", "", tone


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


def ranks(name: str, standings: list[Standing]) -> list[Block]:
    """Rank plots, or the ranks alone where there are too few cases to resample."""
    panels, data = [], []
    lead = ("How often each system takes which rank when the test cases are drawn anew (10,000 "
            "bootstrap resamples, Wiesenfarth et al., 2021). Dark is a good rank. ")  # fmt: skip
    for number, standing in enumerate(standings):
        found = standing.ranking
        if found is None:
            continue
        metric = standing.metric.title.partition(" ")[0]
        data.append(_rank_table(standing, found))
        if found.frequencies is None or found.kendall_tau is None:
            continue
        tau = found.kendall_tau
        said = f"{metric}: Kendall's tau {tau.estimate:.2f} [{tau.low:.2f}, {tau.high:.2f}]"
        lead += f"{said}{f' ({tau.note})' if tau.note else ''}. "
        first = str(found.ranks.idxmin())
        share = found.frequencies.loc[first].tolist()[0]
        alt = (
            f"Rank frequencies by {metric}: {standing.titles[first]} first in {share:.0%}. {said}."
        )
        panels.append(panel(f"{name}-rank{number}", partial(rank_bars, standing, found), alt))
    if not data:
        return []
    if not panels:
        return list(data)
    lead += "Tau compares each resample's order with that of all cases: 1 is the same order."
    return [Plot("Ranks", lead, tuple(panels), tuple(data))]


def _rank_table(standing: Standing, found: Ranking) -> Table:
    order = list(found.ranks.sort_values(kind="stable").index)
    caption = f"Ranks by {standing.metric.title}"
    if found.frequencies is None:
        alone = words([[standing.titles[key], f"{found.ranks[key]}"] for key in order])
        return Table(caption, ("System", "Rank"), alone, 1, (found.note,))
    places = list(found.frequencies.columns)
    rows = tuple(
        (
            Cell(standing.titles[key]),
            Cell(f"{found.ranks[key]}"),
            *(Cell(f"{found.frequencies.loc[key, place]:.1%}") for place in places),
        )
        for key in order
    )
    return Table(caption, ("System", "Rank", *(f"rank {p}" for p in places)), rows)


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
