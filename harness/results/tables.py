"""The tables of the paper, from run folders: as CSV, as Markdown and on the terminal."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import pandas as pd
from rich.table import Table as RichTable
from rich.text import Text

from harness.data.wording import counted
from harness.results.answer import answer
from harness.results.caveats import caveats
from harness.results.csv_text import csv_text
from harness.results.departures import of_data, of_scoring, of_systems, of_training
from harness.results.drops import HEADINGS, RULE, Drop, drops
from harness.results.drops import cells as drop_cells
from harness.results.markdown import markdown_table, plain
from harness.results.rows import merged_rows, trainings
from harness.results.standings import stand
from harness.results.table_data import Record, ResultTable, tables
from harness.runs.files import JsonObject, write_bytes
from harness.runs.measures import (
    BY_NAME,
    DICE,
    GFLOPS,
    MEASURES,
    TIME,
    TIME_P90,
    Measure,
    of_plugin,
)
from harness.runs.records import Failed, Measured, Scored
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen
from harness.runs.suite import parted
from harness.systems.case_score import BESIDE

OVER_TARGETS = "mean"
"""In place of a target, for the mean over several."""
STEADY = 1.5  # times the median: what the 90th percentile of a time may be without a word
TRANSDUCTIVE = "† fine-tuned on the test volumes, without their labels: its scores are transductive"
OVER_PATIENTS = "over the patients"
OVER_SEEDS = "over the trainings, whatever the patients"
UNITS = (
    "Dice and Jaccard in percent; HD95 pooled over both directions, in mm; ±: standard deviation "
    "of the sample {over}; missed, false alarms: cases in which one of the two masks is empty, of "
    "all trainings, each at the worst HD95; time: median seconds from array to mask; memory: peak "
    "MiB of inference."
)
BRACKETS = "In brackets: the paper's value (its HD95 is in voxels)."
NOT_BESIDE = "no values of the paper beside these: {}"


class Column(NamedTuple):
    """A column of the printed table; `device` is set where several devices have one column each."""

    measure: Measure
    device: str
    heading: str


@dataclass(frozen=True)
class Results:
    """The tables of a run, and the notes under them."""

    tables: tuple[ResultTable, ...]
    """Of several targets, the tables of the mean over them."""
    answers: tuple[str, ...]
    """The answer of each table in a paragraph; "" for a table without scores."""
    notes: tuple[str, ...]
    by_target: tuple[ResultTable, ...] = ()
    """The tables of each of several targets."""
    drops: Mapping[str, Sequence[Drop]] = field(default_factory=dict)
    """Suite -> how much worse its systems are there than on their own test cases; of tables on data
    of another origin."""

    @property
    def frame(self) -> pd.DataFrame:
        """The lines of all tables; of several targets with a column that tells of which."""
        if not self.by_target:
            return pd.concat([table.frame for table in self.tables], ignore_index=True)
        frames = []
        for table in (*self.tables, *self.by_target):
            frame = table.frame.copy()
            frame.insert(list(frame).index("title"), "target", table.target or OVER_TARGETS)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)


def build(*folders: RunFolder) -> Results:
    """The tables from the present files of the runs, with several runs merged into one.

    Raises UsageError for runs of different protocols, StateError for a folder that is no run.
    """
    found, by_suite = tables(folders), defaultdict(list)
    for row in merged_rows(folders):
        by_suite[row.suite].append(row)
    synthetic = folders[0].run().synthetic
    answers = tuple(
        answer(table, stand(by_suite[table.suite], DICE), synthetic=synthetic) for table in found
    )
    worse = {suite: drops(its) for suite, its in by_suite.items() if parted(suite)[1]}
    each = tuple(table for name in folders[0].run().targets for table in tables(folders, name))
    return Results(found, answers, _notes(folders, found), each, worse)


def _notes(folders: Sequence[RunFolder], shown: Sequence[ResultTable]) -> tuple[str, ...]:
    run = folders[0].run()
    lines = pd.concat([table.frame[table.frame["row"] == "trial"] for table in shown])
    trials = lines.drop_duplicates("trial")
    done = int(trials["status"].isin(["ok", "failed"]).sum())
    notes = []
    if done < len(trials):
        notes.append(f"incomplete: {done} of {len(trials)} trials finished")
    notes += [caveat.note for caveat in caveats(run.synthetic, run.profile)]
    others = [*of_data(run.protocol["data"]), *of_scoring(run.settings["protocol"])]
    if others and not run.synthetic and not run.given_alone:
        notes.append(NOT_BESIDE.format(", ".join(others)))
    if run.profile == "paper":
        notes += of_training(run.settings["protocol"])
    notes += device_notes(shown)
    notes += unsteady_notes(shown)
    notes += over_targets(folders)
    notes += several_scans(folders)
    notes += without_target(folders)
    notes += _scored_on(run.settings["protocol"])
    notes += _idle_validation(folders[0], run.settings["protocol"])
    notes += _windows(run.settings["protocol"], shown)
    notes += _bare_process(folders)
    notes += _memory_unknown(folders, shown)
    if (trials["transductive"] == True).any():  # noqa: E712  the column holds missing values
        notes.append(TRANSDUCTIVE)
    notes += fine_tuning_notes(shown)
    notes += filter(None, dict.fromkeys(row.entry.deviation for row in merged_rows(folders)))
    for table in shown:
        notes += table.about.notes
    notes += of_systems(run.settings)
    notes += untuned(folders)
    notes += by_fold(shown, folders)
    told = [note for folder in folders for note in (*folder.run().notes, *_failures(folder))]
    told += [note for f in folders for other in f.run().tests.values() for note in other.notes]
    return (*notes, *dict.fromkeys(told), *unit_notes(shown))


def untuned(folders: Sequence[RunFolder]) -> list[str]:
    """One note for each system of a plug-in that learns at a rate which was chosen for others."""
    run = folders[0].run()
    rate = run.settings["protocol"]["learning_rate"]
    known = {name for each in folders for plugin in each.run().plugins for name in plugin.systems}
    told = {name for name, own in run.settings["exceptions"].items() if "learning_rate" in own}
    titles = {row.system: row.entry.title for row in merged_rows(folders)}
    return [
        f"{title}: its learning rate, {rate:g}, was chosen for the systems that come with pfbench "
        "and not tuned for it; pfbench run --tune-lr N searches one for every system"
        for name, title in titles.items()
        if name in known - told
    ]


def fine_tuning_notes(shown: Sequence[ResultTable]) -> list[str]:
    """One note for each fine-tuned row: costs of a test case, under tables of inference costs."""
    notes = []
    for table in shown:
        if GFLOPS.name not in table.about.shows or TIME.name not in table.about.shows:
            continue
        for line in table.means.to_dict("records"):
            if line["transductive"] is True and not absent(line["adapt_s"]):
                notes.append(_tuned_in_words(line))
    return notes


def _tuned_in_words(line: Record) -> str:
    """The note: "PFSeg: fine-tuning takes 12.1 s, 3,511.2 GFLOPs and a peak of 5,123 MiB …"."""
    seconds = line["adapt_s"] / line["n_cases"]
    what = f"{line['title']}: fine-tuning takes {seconds:,.1f} s"
    if not absent(line["adapt_gflops"]):
        what += f", {line['adapt_gflops']:,.1f} GFLOPs"
    if not absent(line["adapt_peak_mib"]):
        what += f" and a peak of {line['adapt_peak_mib']:,.0f} MiB"
    what += " for each test case"
    return f"{what}, beside what its inference takes ({line['train_device']})"


def unit_notes(shown: Sequence[ResultTable]) -> list[str]:
    """The notes on the units of the figures, and on the values in brackets if there are any."""
    means = pd.concat([table.means for table in shown])
    several = {bool(t.means[DICE.spread_of_seeds].notna().any()) for t in shown}
    over = OVER_SEEDS if several == {True} else OVER_PATIENTS
    if len(several) > 1:
        over = f"{OVER_PATIENTS}, in tables with several trainings {OVER_SEEDS}"
    printed = [measure.paper_column for measure in MEASURES if measure.paper]
    units = UNITS.format(over=over)
    return [units, BRACKETS] if means[printed].notna().to_numpy().any() else [units]


def device_notes(shown: Sequence[ResultTable]) -> list[str]:
    """The notes naming "device 1", "device 2" and so on, where a column has several devices."""
    apart = {
        f"{column.heading.rpartition(', ')[2]}: {column.device}": None
        for table in shown
        for column in columns(table)
        if column.device
    }
    return list(apart)


def unsteady_notes(shown: Sequence[ResultTable]) -> list[str]:
    """The note naming the rows whose repeated time measurements lie far apart."""
    apart: Record = {}
    for table in shown:
        if TIME.name in table.about.shows:
            lines = table.frame[(table.frame["row"] != "mean") & table.frame[TIME.column].notna()]
            ratios = lines[TIME_P90.column] / lines[TIME.column]
            apart |= ratios.groupby(lines["title"], sort=False).max().to_dict()
    wide = [f"{title} ({ratio:.1f} times)" for title, ratio in apart.items() if ratio > STEADY]
    what = "times not steady, 90th percentile over median of the repetitions"
    return [f"{what}: {', '.join(wide)}; other work on the machine may be in them"] if wide else []


def over_targets(folders: Sequence[RunFolder]) -> list[str]:
    """The note on what the figures of several targets are means of."""
    names = folders[0].run().targets
    if not names:
        return []
    return [
        f"each score is the mean over the targets {', '.join(names)} of a case, missed and false "
        "alarms are summed over them; pfbench report RUN_DIR --by-target shows each"
    ]


def several_scans(folders: Sequence[RunFolder]) -> list[str]:
    """The note on test cases of the same patient, and on which figures count the patient once."""
    splits = [split for folder in folders for split in folder.splits().values()]
    tested = {case: split.patient_of(case) for split in splits for case in split.test}
    cases, patients = len(tested), len({*tested.values()})
    if cases == patients:
        return []
    return [
        f"{counted(cases, 'test case')} of {counted(patients, 'patient')}: means are over the "
        "cases; medians, ±, intervals, tests and ranks over the patients, the cases of each "
        "averaged first"
    ]


def without_target(folders: Sequence[RunFolder]) -> list[str]:
    """The notes on how many test cases have no target, and how such cases are scored.

    One for the run's own test cases, and one for those of each other origin; of several targets
    for each of them.
    """
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for row in merged_rows(folders):
        where = parted(row.suite)[1]
        for target in folders[0].run().targets or ("",):
            trials = trainings(row.of_target(target).trials)[0]
            found = [trial.result() for trial in trials]
            known = [one for one in found if isinstance(one, Scored)]
            of = sum(one.n_cases for one in known)
            some = sum(one.n_without_target for one in known)
            before = counts.get((where, target), (0, 0))
            counts[where, target] = max(before, (of, some))
    return [
        (f"{where}: " if where else "") + _in_words(some, of, target)
        for (where, target), (of, some) in counts.items()
        if some
    ]


def _in_words(some: int, of: int, target: str) -> str:
    if some == of and target:
        return f"none of the {of} test cases has {target}: it has no score and is in no mean"
    if some == of:
        return f"none of the {of} test cases has any target: there is nothing to score"
    return (
        f"{some} of {of} test cases without {target or 'target'}: an empty prediction scores Dice "
        "100 and HD95 0 there, any other Dice 0 and the diagonal of the volume"
    )


def by_fold(shown: Sequence[ResultTable], folders: Sequence[RunFolder]) -> list[str]:
    """One note for each row of a cross-validation: Dice of each fold, and their deviation."""
    notes = []
    for table in shown:
        for title, (of_folds, apart) in dice_by_fold(table, folders).items():
            each = ", ".join(f"{number(value, DICE)} ({fold})" for fold, value in of_folds.items())
            said = "" if absent(apart) else f"; standard deviation {number(apart, DICE)}"
            notes.append(f"{title}, Dice by fold: {each}{said}")
    return notes


def dice_by_fold(
    table: ResultTable, folders: Sequence[RunFolder]
) -> dict[str, tuple[dict[str, float], float | None]]:
    """Dice in each fold, over the seeds, by its name, and its deviation, for each finished row.

    Empty for a single split.
    """
    names = {int(at): one.said(int(at)) for f in folders for at, one in f.run().folds.items()}
    found = {}
    for line in table.means.to_dict("records"):
        if not line.get("fold") or line["status"] != "ok" or absent(line[DICE.column]):
            continue
        its = (table.frame["key"] == line["key"]) & (table.frame["row"] == "trial")
        lines = table.frame[its & table.frame[DICE.column].notna()]
        of_folds = lines[DICE.column].astype(float).groupby(lines["fold"].astype(int)).mean()
        known = {names[int(fold)]: float(value) for fold, value in of_folds.items()}
        found[line["title"]] = known, line.get(DICE.spread_of_folds)
    return found


def _scored_on(protocol: JsonObject) -> list[str]:
    """The note on masks that were scored on the voxels of the scan."""
    if protocol.get("scored_on", "grid") == "grid":
        return []
    beside = f"the scores on the grid stand beside, as {BESIDE}… in cases.csv"
    return [f"scored on the voxels of the scan, in mm, where predict puts the masks; {beside}"]


def _idle_validation(folder: RunFolder, protocol: JsonObject) -> list[str]:
    """The note on validation cases that neither train nor choose anything."""
    cases = len(folder.split().validation)
    if protocol.get("selection", "last") != "last" or not cases:
        return []
    where = " of the first fold" if folder.run().folds else ""
    what = (
        f"{counted(cases, 'validation case')}{where}: not trained on, and nothing is chosen by them"
    )
    return [f"{what}, as weights are those of the last epoch (protocol.selection)"]


def _windows(protocol: JsonObject, shown: Sequence[ResultTable]) -> list[str]:
    """The note on how much of a training volume the patch-based systems see."""
    untold = [table for table in shown if table.suite != "equal_voxels"]
    kinds = {kind for table in untold for kind in table.frame["kind"]}
    if "patch-based" not in kinds:
        return []
    count = protocol.get("windows_per_volume", 1)
    share = protocol.get("foreground_share", 0.0)
    windows = "one window" if count == 1 else f"{count} windows"
    where = f"{share:.0%} of them around the target" if share else "anywhere"
    what = f"patch-based systems learn from {windows} of each volume in an epoch, {where}"
    if count == 1 and not share:
        part = "of half the side, that is 1/8 of the voxels that patch-free ones see"
        return [f"{what}, as in the paper: {part}; suite equal_voxels tells what that does"]
    return [f"{what}, set by the user; the paper's from one, anywhere"]


def _memory_unknown(folders: Sequence[RunFolder], shown: Sequence[ResultTable]) -> list[str]:
    """The notes on why a column of training memory is empty."""
    if not any("train_mib" in table.about.shows for table in shown):
        return []
    results = [trial.result() for folder in folders for trial in folder.trials()]
    why = dict.fromkeys(each.memory_unknown for each in results if isinstance(each, Scored))
    return [f"memory of training is not known: {each}" for each in why if each]


def _bare_process(folders: Sequence[RunFolder]) -> list[str]:
    """The note on the part of inference memory that Python and its libraries alone take."""
    found = [trial.measurement() for folder in folders for trial in folder.trials()]
    bare = [
        one.bare_process_mib
        for one in found
        if isinstance(one, Measured) and one.bare_process_mib and one.inference_reserved_mib is None
    ]
    if not bare:
        return []
    what = "memory on a CPU is that of the process"
    return [f"{what}; Python and its libraries alone are {min(bare):,.0f} MiB of it"]


def _failures(folder: RunFolder) -> list[str]:
    """One sentence for each trial that failed or could not be measured."""
    notes = []
    names = folder.run().names
    for trial in folder.trials():
        name = names[trial.id]
        result, measurement = trial.result(), trial.measurement()
        if isinstance(result, Failed):
            notes.append(f"{name} failed ({result.reason}): {result.detail}")
        elif result:
            notes += [f"{name}: {what}: {why}" for what, why in result.extra_faults.items()]
            notes += [f"{name}: {remark}" for remark in result.remarks]
        if isinstance(measurement, Failed):
            why = f"({measurement.reason}): {measurement.detail}"
            notes.append(f"{name}: time and memory not measured {why}")
    return notes


def write(folder: RunFolder, results: Results) -> None:
    """Write table.csv and table.md into the run folder."""
    write_bytes(folder.path / "table.csv", csv_text(results.frame).encode())
    write_bytes(folder.path / "table.md", markdown(results).encode())


def columns(table: ResultTable) -> list[Column]:
    """The columns of a table; a measure that depends on the device has a column for each device."""
    shown = [*_with_company(table.about.shows), *_of_plugins(table)]
    devices = {each: table.devices(each.column) if each.place else [] for each in shown}
    numbers = {name: f"device {n}" for n, name in enumerate(_each_once(devices.values()), 1)}
    found = []
    for each in shown:
        if len(devices[each]) < 2:
            found.append(Column(each, "", each.heading))
        else:
            found += [Column(each, d, f"{each.heading}, {numbers[d]}") for d in devices[each]]
    return found


def _with_company(names: Sequence[str]) -> Iterator[Measure]:
    """The measures `names`, each followed by the measures that always accompany it."""
    for name in names:
        yield BY_NAME[name]
        yield from (measure for measure in MEASURES if measure.beside == name)


def _of_plugins(table: ResultTable) -> Iterator[Measure]:
    """The measures of the metrics that plug-ins added."""
    for column in table.extra:
        name = column.removesuffix("_mean")
        if name != column:
            known = table.titles[name]
            yield of_plugin(name, known.title, known.better)


def _each_once(groups: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(groups)))


def headings(table: ResultTable) -> list[str]:
    return [*table.about.headings, *(column.heading for column in columns(table))]


def values(table: ResultTable, column: Column) -> list[float | None]:
    """The figure of a column for each row; None where a row has no figure."""
    name = column.measure.column
    found = []
    for line in table.means.to_dict("records"):
        value = line[name]
        if column.device:
            value = table.on_device(line["key"], name, column.device)
        found.append(None if line["status"] != "ok" or absent(value) else value)
    return found


def cells(table: ResultTable) -> list[list[str]]:
    """The cells of the printed table; the best figure of a column is wrapped in ** **."""
    lines = table.means.to_dict("records")
    texts = [_column(lines, column.measure, values(table, column)) for column in columns(table)]
    shown = []
    for number, line in enumerate(lines):
        figures = [column[number] for column in texts]
        if line["status"] != "ok":
            figures[0] = f"{line['status']}: {line['reason']}"
        shown.append([*head(table, line), *figures])
    return shown


def head(table: ResultTable, line: Record) -> list[str]:
    """The words that name a row, under the suite's headings."""
    words = list(table.cells[line["key"]])
    # A model that the suite did not foresee has its title alone.
    words += [""] * (len(table.about.headings) - len(words))
    if line["transductive"] is True:
        words[0] += " †"
    return words


def best_of(measure: Measure, values: Sequence[float | None]) -> float | None:
    """The best value of a column; None where neither high nor low counts as better."""
    there = [value for value in values if value is not None]
    return {"max": max, "min": min}[measure.better](there) if measure.better and there else None


def _column(lines: Sequence[Record], measure: Measure, values: Sequence[float | None]) -> list[str]:
    best = best_of(measure, values)
    return [_cell(line, measure, value, best) for line, value in zip(lines, values, strict=True)]


def _cell(line: Record, measure: Measure, value: Any, best: float | None) -> str:
    """The cell as text, "**83.41 ± 2.10** [84.13]": our figure, its spread, the paper's figure."""
    if value is None:
        return ""
    text = number(value, measure) + spread(line, measure)
    if value == best:
        text = f"**{text}**"
    paper = printed_value(line, measure)
    return f"{text} [{paper}]" if paper else text


def spread(line: Record, measure: Measure) -> str:
    """The spread as text: " ± 2.10", over the trainings if several; "" for a single case."""
    if not measure.spread:
        return ""
    there = [line[measure.spread_of_seeds], line[measure.spread]]
    found = [value for value in there if not absent(value)]
    return f" ± {number(found[0], measure)}" if found else ""


def printed_value(line: Record, measure: Measure) -> str:
    """The paper's figure for the row as text; "" where the paper prints none."""
    value = line[measure.paper_column] if measure.paper else None
    return "" if absent(value) else number(value, measure)


def number(value: Any, measure: Measure) -> str:
    """The figure as text, in the unit and with the digits of the table."""
    return f"{value * measure.scale:,.{measure.digits}f}"


def absent(value: Any) -> bool:
    """Whether a cell of the frame is empty: None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def markdown(results: Results) -> str:
    """The text of table.md: for each table its answer, then its figures; the notes at the end.

    Of several targets the tables of each follow.
    """
    lines: list[str] = []
    none = [""] * len(results.by_target)
    every = zip((*results.tables, *results.by_target), (*results.answers, *none), strict=True)
    for table, told in every:
        lines += [f"# {plain(table.title)}", "", *([plain(told), ""] if told else [])]
        lines += [*markdown_table(headings(table), cells(table)), ""]
        if (worse := results.drops.get(table.suite)) and not table.target:
            lines += [*markdown_table(HEADINGS, map(drop_cells, worse)), "", f"{RULE}.", ""]
    return "\n".join([*lines, *(f"- {plain(note)}" for note in results.notes)]) + "\n"


def show(results: Results, screen: Screen, *, by_target: bool = False) -> None:
    """Print the tables and their notes on the terminal, with `by_target` those of each target."""
    more = results.by_target if by_target else ()
    none = [""] * len(more)
    for table, told in zip((*results.tables, *more), (*results.answers, *none), strict=True):
        screen.show(_terminal(table))
        if (worse := results.drops.get(table.suite)) and not table.target:
            screen.show(_terminal_drops(worse))
        if told:
            screen.say(told)
    for note in results.notes:
        screen.say(f"- {note}")


def _terminal(table: ResultTable) -> RichTable:
    """The table for a rich console, with the best figures in bold."""
    title = table.title
    shown = RichTable(title=title, title_justify="left", header_style="bold")
    texts = len(table.about.headings)
    for number, heading in enumerate(headings(table)):
        shown.add_column(heading, justify="left" if number < texts else "right")
    for row in cells(table):
        shown.add_row(*(_bold(cell) for cell in row))
    return shown


def _terminal_drops(worse: Sequence[Drop]) -> RichTable:
    """The drops of one table for a rich console."""
    shown = RichTable(header_style="bold", caption=RULE, caption_justify="left")
    for place, heading in enumerate(HEADINGS):
        shown.add_column(heading, justify="left" if place < 2 else "right")
    for drop in worse:
        shown.add_row(*drop_cells(drop))
    return shown


def _bold(cell: str) -> Text:
    """The cell, with what stands between the first two pairs of asterisks in bold."""
    before, _, rest = cell.partition("**")
    best, second, after = rest.partition("**")
    if not second:
        return Text(cell)
    return Text.assemble(before, (best, "bold"), after)
