"""The tables of the paper with our figures, our intervals and the paper's figures."""

from collections.abc import Mapping, Sequence

from harness.report.document import Cell, Table
from harness.results import cells, drops, notes
from harness.results.drops import Drop
from harness.results.standings import Standing
from harness.results.table_data import Record, ResultTable, absent, dice_by_fold
from harness.runs.measures import DICE, HD95, Measure
from harness.runs.run_folder import RunFolder

INTERVALS = (
    "Below a figure: its 95 % interval. Dice, Jaccard: of the mean, at either end the farther of "
    "Student's t and the studentised bootstrap. HD95: of the median; its mean has none, as single "
    "missed targets rule it. Of several trainings: for new patients and new trainings."
)
UNITS = (
    "Dice and Jaccard in percent; HD95 pooled over both directions, in mm; ±: standard deviation "
    "of the sample, over the patients, after the semicolon over the trainings; missed, false "
    "alarms: cases in which one mask of the two is empty, of all trainings, at the worst HD95 each."
)
COSTS = (
    "Time: median seconds from an array in memory to a mask in memory, all processors; memory: "
    "peak MiB of inference; GFLOPs: of one volume."
)
PAPER = "Paper: its printed value; its HD95 is in voxels, its time of its own device."


def result_table(shown: ResultTable, standings: Mapping[str, Standing]) -> Table:
    """One table of results; `standings` is keyed by column of cases.csv."""
    columns = cells.columns(shown)
    lines = shown.means.to_dict("records")
    figures = [
        _column(lines, column.measure, cells.values(shown, column), standings) for column in columns
    ]
    rows = []
    for number, line in enumerate(lines):
        found = [column[number] for column in figures]
        if line["status"] != "ok":
            found[0] = Cell(f"{line['status']}: {line['reason']}", tone="failed")
        rows.append((*map(Cell, cells.head(shown, line)), *found))
    about = shown.about
    headings = tuple(cells.headings(shown))
    below = _notes(shown, standings)
    below += (PAPER,) if any(cell.paper for row in rows for cell in row) else ()
    return Table(shown.title, headings, tuple(rows), len(about.headings), below)


def drop_table(title: str, worse: Sequence[Drop]) -> Table:
    """The table of how much worse systems are on data of another origin."""
    rows = tuple(tuple(map(Cell, drops.cells(drop))) for drop in worse)
    return Table(f"{title}: beside the internal test", drops.HEADINGS, rows, 2, (f"{drops.RULE}.",))


def fold_table(shown: ResultTable, folders: Sequence[RunFolder]) -> Table | None:
    """The table of Dice in each fold of a cross-validation; None for a single split."""
    found = dice_by_fold(shown, folders)
    if not found:
        return None
    folds = list(dict.fromkeys(fold for of_folds, _ in found.values() for fold in of_folds))
    rows = tuple(
        (
            Cell(title),
            *(
                Cell(cells.number(v, DICE) if (v := of_folds.get(f)) is not None else "")
                for f in folds
            ),
            Cell("" if absent(apart) else cells.number(apart, DICE)),
        )
        for title, (of_folds, apart) in found.items()
    )
    headings = ("System", *folds, "Standard deviation")
    return Table(f"{shown.about.title}: Dice (%) by fold", headings, rows, 1)


def _column(
    lines: list[Record],
    measure: Measure,
    values: list[float | None],
    standings: Mapping[str, Standing],
) -> list[Cell]:
    best = cells.best_of(measure, values)
    standing = standings.get(_carried(measure))
    return [
        _cell(line, measure, value, best, standing)
        for line, value in zip(lines, values, strict=True)
    ]


def _cell(
    line: Record,
    measure: Measure,
    value: float | None,
    best: float | None,
    standing: Standing | None,
) -> Cell:
    paper = cells.printed_value(line, measure)
    if value is None:
        return Cell("", paper=paper)
    text = cells.number(value, measure) + _spreads(line, measure)
    below = ""
    found = standing.intervals.get(line["key"]) if standing else None
    if found and found.low is not None and found.high is not None:
        below = f"[{found.low:.{measure.digits}f}, {found.high:.{measure.digits}f}]"
    return Cell(text, below, paper, "best" if value == best else "")


def _carried(measure: Measure) -> str:
    """The column of cases.csv whose interval is shown in the column of `measure`; "" for none."""
    if measure.name == "hd95_median":
        return HD95.key
    return measure.key if measure.spread and measure.centre == "mean" else ""


def _spreads(line: Record, measure: Measure) -> str:
    """The spreads as text, " ± 8.10; ± 0.42": over patients, and over trainings where several."""
    columns = [measure.spread, measure.spread_of_seeds] if measure.spread else []
    there = [line[column] for column in columns if not absent(line[column])]
    return ";".join(f" ± {cells.number(value, measure)}" for value in there)


def _notes(shown: ResultTable, standings: Mapping[str, Standing]) -> tuple[str, ...]:
    below = [*notes.device_notes([shown]), *notes.unsteady_notes([shown])]
    if (shown.means["transductive"] == True).any():  # noqa: E712  the column holds missing values
        below.append(notes.TRANSDUCTIVE)
    below += notes.fine_tuning_notes([shown])
    below += shown.about.notes
    intervals = [i for s in standings.values() for i in s.intervals.values()]
    below += {i.note: None for i in intervals if i.note}
    said = {note: None for standing in standings.values() for note in standing.notes}
    below += [f"{note} (in the intervals, tests and ranks)" for note in said]
    below.append(UNITS)
    if any(i.low is not None for i in intervals):
        below.append(INTERVALS)
    if set(shown.about.shows) & {"time", "memory", "gflops"}:
        below.append(COSTS)
    return tuple(below)
