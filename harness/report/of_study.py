"""The report of a study of `pfbench tune`: the search, the best points, and their comparison."""

import pandas as pd

from harness import __version__
from harness.errors import PfbenchError
from harness.report import learning, protocol, study_plots
from harness.report.document import (
    Block,
    Bullets,
    Cell,
    Document,
    Facts,
    Panel,
    Plot,
    Section,
    Table,
    words,
)
from harness.report.of_run import Gathered
from harness.report.panels import panel
from harness.report.reproduce import environment_section, reproduce_section
from harness.report.results_table import result_table
from harness.results import study as study_report
from harness.results.caveats import caveats
from harness.runs.run_folder import RunFolder

QUESTION = (
    "Would other settings do better than the paper's? Each point of a study is a choice of "
    "settings, trained and scored on validation cases alone; the test cases stay closed until the "
    "default and the best are compared. The settings as they are were the first point.",
)
ALT = {
    "history": "score of every point in the order they were proposed, and the best so far",
    "slices": "score of every point against each parameter",
    "parallel": "a line for each point through its parameters to its score",
    "importance": "share of the variance of the score that each parameter explains",
}
SCHEDULERS = {"asha": "ASHA, which stops poor points early", "none": "none"}


def document(folder: RunFolder) -> Document:
    """The report of a study. Raises StateError for a folder that cannot be read."""
    run = folder.study()
    table = study_report.frame(folder)
    comparison = _comparison(folder)
    warnings = [caveat.warning for caveat in caveats(run.synthetic, run.profile)]
    if run.status != "finished":
        warnings.append(f"The study is {run.status}: some points may be missing.")
    sections = [
        Section("question", "The question", QUESTION),
        _protocol(folder),
        Section("results", "The best points", (), tuple(_best(folder))),
        _pictures(folder, table),
        *comparison,
        *_after_comparison(folder),
        _failures(table),
        reproduce_section([folder]),
    ]
    return Document(
        f"Study of {', '.join(run.suites)} on {run.dataset}",
        f"profile {run.profile} · study {run.protocol_hash} · pfbench {__version__}",
        tuple(warnings),
        key_figures(folder),
        tuple(sections),
    )


def key_figures(folder: RunFolder) -> tuple[tuple[str, str, str], ...]:
    """The best score of each study: name, value, and a remark with the default's score."""
    figures = []
    for name, reference in folder.study().references.items():
        points = study_report.ranked(folder, name)
        values = {point.number: 100 * point.value for point in points if point.value is not None}
        default = [values[p.number] for p in points if p.number in values and p.params == reference]
        if values:
            number, value = next(iter(values.items()))
            known = f"default {default[0]:.2f}, " if default else ""
            found = f"point {number}; {known}{len(values)} of {len(points)} points complete"
            figures.append((f"Best validation Dice (%), {name}", f"{value:.2f}", found))
    return tuple(figures)


def _protocol(folder: RunFolder) -> Section:
    base = protocol.section([folder], [])
    content = folder.study().protocol
    search = content["search"]
    stopping = SCHEDULERS.get(search["pruner"], search["pruner"])
    how = f"{search['sampler']}, seed {content['search_seed']}; stopping: {stopping}"
    lanes = ", ".join(f"{name}: {number}" for name, number in folder.study().lanes.items())
    facts = Facts(
        (
            ("Search", how),
            ("Points at the same time, on paper", lanes or "not recorded"),
            ("Seeds of a point", str(content["seeds"])),
        )
    )
    rows = [
        [
            name,
            parameter,
            f"{span['low']:g}",
            f"{span['high']:g}",
            "yes" if span["log"] else "no",
            f"{folder.study().references[name][parameter]:g}",
        ]
        for name, spans in content["spaces"].items()
        for parameter, span in spans.items()
    ]
    headings = ("Study", "Parameter", "From", "To", "By logarithm", "Default")
    space = Table("What was searched", headings, words(rows), 2)
    return Section(base.id, base.title, base.lead, (*base.blocks, facts, space), base.more)


def _best(folder: RunFolder) -> list[Block]:
    blocks: list[Block] = []
    for name in folder.study().suites:
        headings = tuple(study_report.headings(folder, name))
        rows = words(study_report.lines(folder, name))
        blocks.append(Table(name, headings, rows, 1))
    return [*blocks, Bullets(tuple(study_report.notes(folder)))]


def _pictures(folder: RunFolder, table: pd.DataFrame) -> Section:
    plots = []
    for name, pictures in (study_plots.pictures(folder, table) if len(table) else {}).items():
        panels: list[Panel] = []
        for kind, make in pictures.items():
            panels.append(panel(f"{name}-{kind}", make, f"Study {name}: {ALT[kind]}."))
        points = table[table["study"] == name].dropna(axis=1, how="all")
        data = Table(
            f"Every point of {name}",
            tuple(map(str, points.columns)),
            words([list(map(_text, line)) for line in points.to_numpy().tolist()]),
            1,
        )
        if panels:
            lead = "Vermilion: the default; a star or a thick line: the best."
            plots.append(Plot(name, lead, tuple(panels), (data,)))
    if not plots:
        return Section("plots", "The points", (), (Bullets(("No point has a score yet.",)),))
    return Section("plots", "The points", (), tuple(plots))


def _text(value: object) -> str:
    if value is None or value != value:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _comparison(folder: RunFolder) -> list[Section]:
    """The section on default and tuned settings on the test cases; [] where these were not run."""
    out = RunFolder(folder.path / "comparison")
    if not out.begun:
        return []
    try:
        found = Gathered.of([out])
        tables = [result_table(t, found.standings[t.suite]) for t in found.results.tables]
        said = [line.partition("  ")[2] for line in study_report.differences(out)]
    except PfbenchError as error:
        return [Section("comparison", "On the test cases", (error.what,))]
    lead = ("Both trained anew in full, and scored on cases that no point has seen.",)
    return [Section("comparison", "On the test cases", lead, (*tables, Bullets(tuple(said))))]


def _after_comparison(folder: RunFolder) -> list[Section]:
    """Sections with learning curves and machines of the comparison's networks."""
    out = RunFolder(folder.path / "comparison")
    if not out.begun:
        return []
    found = learning.trainings([out])
    curves = [Section("learning", "Learning curves", (), (learning.plot(found),))] if found else []
    return [*curves, environment_section([out])]


def _failures(table: pd.DataFrame) -> Section:
    failed = table[table["state"] == "failed"] if len(table) else table
    if not len(failed):
        return Section("failures", "Failures", (), (Bullets(("No point failed.",)),))
    rows = tuple(
        (
            Cell(str(line["study"])),
            Cell(str(line["number"])),
            Cell(str(line["reason"]), tone="failed"),
        )
        for line in failed.to_dict("records")
    )
    shown = Table("Points that failed", ("Study", "Point", "Reason"), rows, 3)
    return Section("failures", "Failures", (), (shown,))
