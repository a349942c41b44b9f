"""The report of one run, or of several of one protocol, section by section."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from harness import __version__
from harness.data.wording import counted
from harness.report import learning, protocol, standing_blocks
from harness.report.case_pictures import sheets_section
from harness.report.claims_block import claims_section
from harness.report.costs import cost_plots, steps
from harness.report.document import Block, Bullets, Document, Section, Table
from harness.report.failures import failures_section
from harness.report.reproduce import environment_section, reproduce_section
from harness.report.results_table import drop_table, fold_table, result_table
from harness.results import tables
from harness.results.caveats import caveats
from harness.results.compare import Found, family_of
from harness.results.notes import trained_twice
from harness.results.rows import ResultRow, merged_rows, scored_targets
from harness.results.standings import Standing, stand
from harness.runs.measures import SCORES, TIME
from harness.runs.run_folder import RunFolder
from harness.runs.selection import SelectedRun

OVER_TARGETS = (
    "Several targets: {}. The first table has the mean over them in each case, by which systems "
    "are compared; missed and false alarms are summed over them. Below it each target alone."
)
TOGETHER = (
    "Of several targets the mean over them in each case is tested; in the tables by target all "
    "pairs of a metric in all targets are corrected together."
)
QUESTION = (
    "A three-dimensional scan is larger than what a network can take in at once. Patch-based "
    "systems slide a window over it, which costs many passes and hides what lies outside the "
    "window. The patch-free framework of Wang et al. (arXiv:2210.14645) reads the whole volume at "
    "half its resolution together with one sharp patch, and writes the full resolution in a "
    "single pass.",
    "This report asks which system segments better, at what cost in time, memory and arithmetic, "
    "and how firmly the patients say so. Where they are too few to say, it says that.",
)


OF_MASKS = (
    "Masks of the same cases by several tools or people, each held against the same references, on "
    "the voxels of the references. Nothing was trained for this report: it asks which set agrees "
    "better, and how firmly the cases say so.",
)


@dataclass(frozen=True)
class Gathered:
    """The rows and tables that the sections are made from, read once."""

    folders: tuple[RunFolder, ...]
    results: tables.Results
    rows: dict[str, list[ResultRow]]
    """Suite -> the rows of the suite."""

    @classmethod
    def of(cls, folders: Sequence[RunFolder]) -> "Gathered":
        by_suite: dict[str, list[ResultRow]] = {}
        for row in merged_rows(folders):
            by_suite.setdefault(row.suite, []).append(row)
        return cls(tuple(folders), tables.build(*folders), by_suite)

    @cached_property
    def standings(self) -> dict[str, dict[str, Standing]]:
        """The standings: suite -> column of cases.csv -> the standing of the suite's rows."""
        return {
            name: {metric.key: stand(rows, metric) for metric in SCORES}
            for name, rows in self.rows.items()
        }

    @cached_property
    def of_targets(self) -> dict[tuple[str, str], dict[str, Standing]]:
        """The standings of each of several targets: (suite, target) -> as in `standings`."""
        return {
            (name, target): {
                metric.key: stand([row.of_target(target) for row in rows], metric)
                for metric in SCORES
            }
            for name, rows in self.rows.items()
            for target in self.targets
        }

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of several targets that any test case has; () for one."""
        return scored_targets(self.folders)

    def title(self, suite: str) -> str:
        """The title of a suite, as the run recorded it."""
        return next(each.about.title for each in self.results.tables if each.suite == suite)

    @property
    def systems(self) -> list[str]:
        return list(dict.fromkeys(row.system for rows in self.rows.values() for row in rows))


def document(folders: Sequence[RunFolder], *, pictures: bool = True) -> Document:
    """The report of the runs; without `pictures`, no volume is read.

    Raises UsageError for runs of different protocols, StateError for what is no run or cannot be
    read.
    """
    found = Gathered.of(folders)
    run = folders[0].run()
    names = ", ".join(dict.fromkeys(found.title(name).partition(":")[0] for name in found.rows))
    chosen = any(isinstance(folder, SelectedRun) for folder in folders)
    makers: list[Callable[[], Section | None]] = [
        lambda: _answer(found),
        lambda: Section("question", "The question", OF_MASKS if run.given_alone else QUESTION),
        lambda: protocol.section(folders, found.systems),
        lambda: _results(found),
        lambda: _standings(found),
        lambda: _cases(found),
        lambda: _costs(found),
        lambda: _pictures(folders, pictures=pictures),
        # Of chosen rows a claim would be said to lack the others.
        lambda: None if chosen or run.given_alone else claims_section(folders),
        lambda: _learning(found),
        lambda: failures_section(folders, found.rows),
        lambda: environment_section(folders),
        lambda: reproduce_section(folders),
    ]
    sections = tuple(section for make in makers if (section := make()) is not None)
    return Document(
        f"{names} on {run.dataset}",
        f"profile {run.profile} · protocol {run.protocol_hash} · pfbench {__version__}",
        _warnings(folders, found),
        _key_figures(found),
        sections,
    )


def _warnings(folders: Sequence[RunFolder], found: Gathered) -> tuple[str, ...]:
    run = folders[0].run()
    said = [caveat.warning for caveat in caveats(run.synthetic, run.profile)]
    told = [note for note in found.results.notes if note.startswith("incomplete")]
    said += [f"{note[0].upper()}{note[1:]}." for note in (*told, *trained_twice(folders))]
    return tuple(said)


def _key_figures(found: Gathered) -> tuple[tuple[str, str, str], ...]:
    """Key figures of the first table: best scores, fastest system, numbers of cases and seeds."""
    name, standings = next(iter(found.standings.items()))
    titles = {row.key: row.title for row in found.rows[name]}
    figures = []
    for standing in list(standings.values())[:2]:
        ends = {key: each.estimate for key, each in standing.intervals.items()}
        if len(ends) > 1:
            best = (max if standing.higher_is_better else min)(ends, key=lambda key: ends[key])
            each = standing.intervals[best]
            span = "" if each.low is None else f" [{each.low:.2f}, {each.high:.2f}]"
            median = "median " if standing.metric.centre == "median" else ""
            what = f"Best {median}{standing.metric.title}"
            figures.append((what, f"{each.estimate:.2f}", f"{titles[best]}{span}"))
    [shown] = [each for each in found.results.tables if each.suite == name]
    lines = shown.means[shown.means["status"] == "ok"].dropna(subset=[TIME.column])
    if len(lines) > 1 and len(shown.devices(TIME.column)) == 1:
        fastest = min(lines.to_dict("records"), key=lambda line: line[TIME.column])
        figures.append(("Fastest (s)", f"{fastest[TIME.column]:.{TIME.digits}f}", fastest["title"]))
    some = next(iter(standings.values())).scores.values()
    if some:
        cases = len(next(iter(some)).means)
        seeds = sorted({scores.n_seeds for scores in some})
        fewest = f"{seeds[0]} to " if len(seeds) > 1 else ""
        figures.append(("Test cases", str(cases), f"{fewest}{counted(seeds[-1], 'seed')} each"))
    return tuple(figures)


def _answer(found: Gathered) -> Section | None:
    """The answer of each table in a paragraph, as it heads table.md."""
    told = zip(found.results.tables, found.results.answers, strict=True)
    said = [(table.about.title, text) for table, text in told if text]
    several = len(found.results.tables) > 1
    lead = tuple(f"{title.partition(':')[0]}: {text}" if several else text for title, text in said)
    return Section("answer", "The answer", lead) if lead else None


def _results(found: Gathered) -> Section:
    tables: list[Table] = []
    for shown in found.results.tables:
        tables.append(result_table(shown, found.standings[shown.suite]))
        if worse := found.results.drops.get(shown.suite):
            tables.append(drop_table(shown.about.title, worse))
        if crossed := fold_table(shown, found.folders):
            tables.append(crossed)
    tables += [
        result_table(shown, found.of_targets.get((shown.suite, shown.target), {}))
        for shown in found.results.by_target
    ]
    lead = (OVER_TARGETS.format(", ".join(found.targets)),) if found.targets else ()
    return Section("results", "Results", lead, tuple(tables))


def _standings(found: Gathered) -> Section | None:
    blocks: list[Block] = []
    more: list[Table] = []
    for name, standings in found.standings.items():
        several = [s for s in standings.values() if len(s.scores) > 1]
        blocks += standing_blocks.significance(several)
        blocks += standing_blocks.ranks(name, several)
        more += [standing_blocks.pairs(Found(s, tuple(s.comparisons))) for s in several]
        more += [standing_blocks.pairs(each) for each in _by_target(found, name)]
        more += [standing_blocks.spreads(standing) for standing in several]
    if not blocks:
        return None
    every = [standing for each in found.standings.values() for standing in each.values()]
    notes = dict.fromkeys(f"{note}." for standing in every for note in standing.notes)
    lead = (
        "For every two systems, over the patients: of Dice and Jaccard the mean difference with "
        "Student's t, of HD95 the median difference with the sign test, after Holm over all pairs "
        "of a metric. With several trainings, patients and trainings are both taken for a sample. "
        "A missed target counts with the worst score there is.",
        *((TOGETHER,) if found.targets else ()),
        *notes,
    )
    return Section("standing", "Which system is better", lead, tuple(blocks), tuple(more))


def _by_target(found: Gathered, name: str) -> list[Found]:
    """The comparisons of the rows of a suite in each of several targets, by metric."""
    pairs = list(combinations([row.key for row in found.rows[name]], 2))
    made = [family_of(found.rows[name], metric, pairs, found.targets) for metric in SCORES]
    return [each for family in made for each in family if len(each.standing.scores) > 1]


def _cases(found: Gathered) -> Section | None:
    plots = []
    for name, standings in found.standings.items():
        kinds = {row.key: row.kind for row in found.rows[name]}
        there = [standing for standing in standings.values() if standing.scores]
        if there:
            plots.append(standing_blocks.strips(name, found.title(name), there, kinds))
        for target in found.targets:
            own = [s for s in found.of_targets[name, target].values() if s.scores]
            if own:
                title = f"{found.title(name)}, target {target}"
                plots.append(standing_blocks.strips(f"{name}-{target}", title, own, kinds))
    return Section("cases", "Case by case", (), tuple(plots)) if plots else None


def _costs(found: Gathered) -> Section | None:
    blocks: list[Block] = []
    for shown in found.results.tables:
        standings = found.standings[shown.suite]
        if (plot := cost_plots(shown, standings)) is not None:
            blocks += [plot, *steps(shown, standings)]
    if not blocks:
        return None
    lead = (
        "What patch-free segmentation buys: a window has to be moved over the volume and pays for "
        "every step, a patch-free system passes once. Up and to the left is better for Dice, down "
        "and to the left for HD95. The tables say it in both directions, from each system that no "
        "other beats in both to the next: the price of a point of Dice, and how many points one "
        "second, MiB or GFLOP more buys.",
    )
    return Section("costs", "What a score costs", lead, tuple(blocks))


def _pictures(folders: Sequence[RunFolder], *, pictures: bool) -> Section | None:
    """The section on pictures; None for given masks alone, which have no image below them."""
    if folders[0].run().given_alone:
        return None
    return sheets_section(folders) if pictures else _without_pictures()


def _without_pictures() -> Section:
    line = "Not drawn at the end of the run: pfbench report RUN_DIR draws them."
    return Section("pictures", "Pictures", (), (Bullets((line,)),))


def _learning(found: Gathered) -> Section | None:
    trainings = learning.trainings(found.folders)
    if not trainings:
        return None
    return Section("learning", "Learning curves", (), (learning.plot(trainings),))
