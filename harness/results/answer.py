"""The answer of a table in one paragraph: who is best, by how much, how surely, and at what cost.

It stands before everything else: over table.md, in the report, in MLflow's description and on the
terminal. All of it follows from the files of the run.
"""

from collections.abc import Sequence

from harness.data.wording import counted, listed
from harness.results.intervals import Interval
from harness.results.rankings import Comparison, Verdict, verdict
from harness.results.standings import Standing
from harness.results.table_data import ResultTable
from harness.runs.measures import TIME

NAMED = 4  # systems that a sentence names, of many
SAME_TIME = 1.05  # times as fast, up to which two systems are called equally fast


def answer(shown: ResultTable, standing: Standing, *, synthetic: bool) -> str:
    """The answer of one table by its standing in Dice, in words; "" where no row has a score."""
    order = sorted(standing.scores, key=lambda key: -standing.intervals[key].estimate)
    if not order:
        return ""
    where = "On synthetic data, " if synthetic else ""
    return where + " ".join(
        (
            _first(order, standing),
            *_certainty(order, standing),
            *_cost(order, shown, standing),
        )
    )


def _first(order: Sequence[str], standing: Standing) -> str:
    """The sentence on the best system and its margin."""
    best, *others = order
    found, title = standing.intervals[best], standing.titles[best]
    dice = f"{found.estimate:.1f} %{_span(found)}"
    sample = f"{counted(found.n_patients, 'test patient')}, {_trainings(standing)}"
    if not others:
        return f"{title} has a Dice of {dice}; no other system stands beside it ({sample})."
    second = others[0]
    by = found.estimate - standing.intervals[second].estimate
    margin = f"{by:.1f} points above" if by else "level with"
    return f"{title} has the best Dice, {dice}, {margin} {standing.titles[second]} ({sample})."


def _span(found: Interval) -> str:
    if found.low is None or found.high is None:
        return ""
    return f" (95 % interval {found.low:.1f} to {found.high:.1f})"


def _trainings(standing: Standing) -> str:
    seeds = sorted({scores.n_seeds for scores in standing.scores.values()})
    fewest = f"{seeds[0]} to " if len(seeds) > 1 else ""
    return f"{fewest}{counted(seeds[-1], 'training')} of each system"


def _certainty(order: Sequence[str], standing: Standing) -> list[str]:
    """The sentences on what the tests show of the best system, and what they leave open."""
    best, *others = order
    if not others:
        return []
    words = {key: _against(best, key, standing) for key in others}
    groups = {word: [k for k in others if words[k][0] == word] for word in ("better", "open")}
    if untested := [each for word, each in words.values() if word == "n too small"]:
        return [f"Nothing can be tested ({untested[0].paired.note}): the order may be chance."]
    said = []
    if groups["better"]:
        whom = "every other system" if not groups["open"] else _named(groups["better"], standing)
        said.append(f"The tests show it to be better than {whom}.")
    if undecided := groups["open"]:
        whom = "every other system" if not groups["better"] else _named(undecided, standing)
        said.append(f"Against {whom} it is undecided: the difference may be chance.")
    if any(each.paired.about_networks for _, each in words.values()):
        said.append("This is said of these networks: another training may change the order.")
    return said


def _against(best: str, other: str, standing: Standing) -> tuple[Verdict, Comparison]:
    """The verdict on the best system against another one, with the comparison."""
    for each in standing.comparisons:
        if {each.first, each.second} == {best, other}:
            turned = verdict(
                each, higher_is_better=standing.higher_is_better == (each.first == best)
            )
            return turned, each
    raise ValueError(f"{best} and {other} were not compared")


def _named(keys: Sequence[str], standing: Standing) -> str:
    return listed([standing.titles[key] for key in keys], NAMED)


def _cost(order: Sequence[str], shown: ResultTable, standing: Standing) -> list[str]:
    """The sentence on the time of the best system, beside the fastest that is not shown worse."""
    seconds = _seconds(shown)
    best = order[0]
    if TIME.name not in shown.about.shows or len(seconds) < 2 or best not in seconds:
        return []
    titles, its = standing.titles, seconds[best]
    timed = [key for key in order if key in seconds]
    fastest = min(timed, key=lambda key: seconds[key])
    if seconds[fastest] * SAME_TIME >= its:
        slowest = max(timed, key=lambda key: seconds[key])
        ratio = seconds[slowest] / its
        if ratio <= SAME_TIME:
            return [f"All take about {_s(its)} a volume."]
        slower = f"{titles[slowest]} takes {_times(ratio)} as long"
        return [f"No system is faster: it takes {_s(its)} a volume, and {slower}."]
    as_good = [key for key in timed if key == best or _against(best, key, standing)[0] != "better"]
    cheapest = min(as_good, key=lambda key: seconds[key])
    said = [f"It takes {_s(its)} a volume."]
    if cheapest != best and seconds[cheapest] * SAME_TIME < its:
        said = [
            f"It takes {_s(its)} a volume; of the systems that are not shown to be worse, "
            f"{titles[cheapest]} is the fastest with {_s(seconds[cheapest])}."
        ]
    if fastest != cheapest:
        lost = standing.intervals[best].estimate - standing.intervals[fastest].estimate
        said.append(
            f"The fastest of all, {titles[fastest]}, takes {_s(seconds[fastest])} and has "
            f"{lost:.1f} points less: each point costs {_s((its - seconds[fastest]) / lost)}."
        )
    return said


def _seconds(shown: ResultTable) -> dict[str, float]:
    """Row key -> seconds of inference, where all rows were timed on one device."""
    if len(shown.devices(TIME.column)) != 1:
        return {}
    lines = shown.means[shown.means["status"] == "ok"].dropna(subset=[TIME.column])
    return {str(line["key"]): float(line[TIME.column]) for line in lines.to_dict("records")}


def _s(seconds: float) -> str:
    """Seconds as text with two significant digits: "0.42 s", "31 s"."""
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{float(f'{seconds:.2g}'):g} s"


def _times(ratio: float) -> str:
    return f"{ratio:.0f} times" if ratio >= 10 else f"{ratio:.1f} times"
