"""Writes the report of one or several folders to a file, in the chosen format."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from harness.errors import UsageError, unknown
from harness.report import html, latex, markdown, of_run
from harness.report.document import Document
from harness.results import tables
from harness.results.csv_text import csv_text
from harness.results.folder import RunResults, StudyResults, opened
from harness.runs.files import write_bytes
from harness.runs.run_folder import RunFolder, refuse_among_records

RENDER: dict[str, Callable[[Document], str]] = {
    "html": html.render,
    "md": markdown.render,
    "latex": latex.render,
}
ENDINGS = {"html": "html", "md": "md", "latex": "tex", "csv": "csv"}


def default_place(folders: Sequence[RunFolder], format: str, *, chosen: bool = False) -> Path:
    """The default path of a report: the folder of a single run, else the working directory.

    That of `chosen` rows has a name of its own, and leaves the report of all rows as it is.
    """
    name = f"report{'-rows' * chosen}.{ENDINGS[known(format)]}"
    return folders[0].path / name if len(folders) == 1 else Path(name)


def known(format: str) -> str:
    """The format name itself; UsageError with the nearest known format when it is unknown."""
    if format not in ENDINGS:
        raise unknown("format", format, ENDINGS, where="--format")
    return format


def render(folders: Sequence[RunFolder], format: str = "html", *, pictures: bool = True) -> str:
    """The report as text; without `pictures`, no volume is read.

    Raises UsageError for an unknown format, runs of different protocols or several studies,
    StateError for a folder that is no run or study.
    """
    known(format)
    results = opened(*folders)
    if isinstance(results, StudyResults):
        return _of_study(results, format)
    if format == "csv":
        return csv_text(_with_intervals(folders))
    if format == "html":
        return html.render(of_run.document(folders, pictures=pictures))
    found = of_run.document(folders, pictures=False)
    sections = tuple(section for section in found.sections if section.id != "pictures")
    return RENDER[format](replace(found, sections=sections))


def write(
    folders: Sequence[RunFolder], out: Path, format: str = "html", *, pictures: bool = True
) -> None:
    """Write the report whole or not at all.

    Raises like `render`, UsageError for an `out` that is a folder or a record of a run, and
    StorageError.
    """
    if out.is_dir():
        raise UsageError("is a folder", where=f"--out {out}", remedy=f"--out {out / 'report.html'}")
    refuse_among_records(out, "--out")
    write_bytes(out, render(folders, format, pictures=pictures).encode())


def rebuild(folder: RunFolder) -> RunResults | StudyResults:
    """Write the tables of a run or study anew, and a study's pictures; returns the results."""
    results = opened(folder)
    if isinstance(results, StudyResults):
        from harness.report import study_files

        study_files.write(folder)
    else:
        results.write_tables()
    return results


def _of_study(results: StudyResults, format: str) -> str:
    if format == "csv":
        return csv_text(results.frame)
    from harness.report import of_study  # Optuna and its forests; the report of a run needs neither

    return RENDER[format](of_study.document(results.folder))


def _with_intervals(folders: Sequence[RunFolder]) -> pd.DataFrame:
    """The lines of the tables; lines of means also have the intervals of the scores, as fractions.

    Those of HD95 are of its median.
    """
    found = of_run.Gathered.of(folders)
    frames = []
    for shown in (*found.results.tables, *found.results.by_target):
        frame = shown.frame.copy()
        mean = (frame["row"] == "mean") & (frame["status"] == "ok")
        if found.results.by_target:
            of = shown.target or tables.OVER_TARGETS
            frame.insert(list(frame).index("title"), "target", of)
        standings = found.standings[shown.suite]
        if shown.target:
            standings = found.of_targets.get((shown.suite, shown.target), {})
        for standing in standings.values():
            for end in ("low", "high"):
                ends = {key: getattr(each, end) for key, each in standing.intervals.items()}
                values = frame["key"].map(ends).astype(float) / standing.metric.scale
                name = standing.metric.name + "_median" * (standing.metric.centre == "median")
                frame[f"{name}_{end}95"] = values.where(mean)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
