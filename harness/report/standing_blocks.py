"""Report blocks that compare the systems: tables and plots of differences and ranks."""

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd

from harness.report.document import Block, Bullets, Cell, Group, Panel, Plot, Table, Tone, words
from harness.report.panels import LEGEND, panel
from harness.report.score_plots import rank_bars, strip
from harness.results.compare import HEADINGS, Found, cells
from harness.results.rankings import Ranking, significance_map
from harness.results.standings import Standing

SYMBOLS: dict[str, tuple[str, Tone]] = {
    "better": ("▲", "better"),
    "worse": ("▼", "worse"),
    "open": ("·", "open"),
    "n too small": ("n", "open"),
    "": ("", "diagonal"),
}
OF_NETWORKS = {"▲": "△", "▼": "▽"}
LEGEND_OF_MAPS = (
    "▲ the row is better than the column at 5 %, ▼ it is worse; · neither is shown, which does not "
    "mean that they are equal, or mean and median point to opposite sides.",
    "△ ▽ the same of these two networks: one of the systems was trained once, and another training "
    "may turn it.",
)


def significance(standings: Sequence[Standing]) -> list[Block]:
    """A map of verdicts for each metric, or the reason why no pair could be tested."""
    tested = [s for s in standings if any(c.p_holm is not None for c in s.comparisons)]
    if tested:
        return [Bullets(LEGEND_OF_MAPS), Group(tuple(map(_map, tested)))]
    notes = dict.fromkeys(c.paired.note for s in standings for c in s.comparisons)
    return [Bullets(tuple(f"No pair was tested: {note}." for note in notes))]


def _map(standing: Standing) -> Table:
    verdicts = significance_map(standing.comparisons, higher_is_better=standing.higher_is_better)
    keys = list(verdicts.index)
    about_networks = {
        frozenset(each[:2]) for each in standing.comparisons if each.paired.about_networks
    }
    rows = []
    for number, key in enumerate(keys, 1):
        found = [
            (OF_NETWORKS.get(text, text) if {key, other} in about_networks else text, tone)
            for other in keys
            for text, tone in [SYMBOLS[verdicts.loc[key, other]]]
        ]
        cells = [Cell(text, tone=tone) for text, tone in found]
        rows.append((Cell(f"{number} {standing.titles[key]}"), *cells))
    headings = ("", *map(str, range(1, len(keys) + 1)))
    return Table(f"Significance: {standing.metric.title}", headings, tuple(rows))


def pairs(standing: Standing) -> Table:
    """The table of every two systems with difference, interval, p and verdict."""
    found = Found(standing, tuple(standing.comparisons))
    rows = words([cells(found, each)[1:] for each in found.comparisons])
    title = f"Every two systems: {standing.metric.title}"
    return Table(title, HEADINGS[1:], rows, 2)


def spreads(standing: Standing) -> Table:
    """The table of each system's spread over patients and over trainings."""
    rows = [
        [
            standing.titles[key],
            f"{scores.values.mean():.2f}",
            "" if scores.spread is None else f"{scores.spread:.2f}",
            str(len(scores.values)),
            "" if scores.spread_of_seeds is None else f"{scores.spread_of_seeds:.2f}",
            str(scores.n_seeds),
        ]
        for key, scores in standing.scores.items()
    ]
    headings = ("System", "Mean", "± over patients", "Patients", "± over trainings", "Trainings")
    notes = ("Standard deviations of the sample; over patients of their averages over trainings.",)
    return Table(f"Spread: {standing.metric.title}", headings, words(rows), 1, notes)


def ranks(name: str, standings: Sequence[Standing]) -> list[Block]:
    """Rank plots, or a table of the ranks where there are too few patients to resample."""
    found = [(standing, standing.ranking) for standing in standings if standing.ranking]
    firm = [(standing, each) for standing, each in found if each.frequencies is not None]
    if not firm:
        return [_ranks_alone(found)] if found else []
    drawn = [_rank_panel(f"{name}-rank{n}", *each) for n, each in enumerate(firm)]
    lead = (
        "How often each system takes which rank when the patients are drawn anew (10,000 "
        "bootstrap resamples, Wiesenfarth et al., 2021); dark is a good rank. Kendall's tau "
        "compares the order of a resample with that of all patients: 1 is the same order. Dice and "
        "Jaccard by their mean, HD95 by its median. "
    )
    lead += " ".join(f"{_tau(*each)}." for each in firm)
    return [Plot("Ranks", lead, tuple(drawn), tuple(_rank_table(*each) for each in firm))]


def _rank_panel(name: str, standing: Standing, found: Ranking) -> Panel:
    first = str(found.ranks.idxmin())
    share = 0.0 if found.frequencies is None else found.frequencies[1].to_dict()[first]
    alt = f"{standing.titles[first]} is first in {share:.0%} of the resamples. "
    return panel(name, partial(rank_bars, standing, found), alt + _tau(standing, found))


def _tau(standing: Standing, found: Ranking) -> str:
    """Kendall's tau as text: "Dice: tau 0.91 [0.79, 1.00]"; a note where there is none."""
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
    """The plots of the scores of each test patient of each system."""
    panels = []
    for number, standing in enumerate(standings):
        metric = standing.metric.title
        centres = ", ".join(
            f"{standing.titles[key]} {found.estimate:.1f}"
            for key, found in standing.intervals.items()
        )
        alt = f"{metric} of each test patient and system; {standing.metric.centre}s: {centres}."
        panels.append(panel(f"{name}-strip{number}", partial(strip, standing, kinds), alt))
    lead = (
        "A small dot is a test patient, the average of its seeds; the box its quartiles and "
        "median; the large mark the mean, of HD95 the median, with its 95 % interval in black."
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
