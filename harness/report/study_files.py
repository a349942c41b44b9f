"""The derived files of a study: study.csv, study.md, best.yaml and its plots."""

from harness.report.study_plots import draw
from harness.results.folder import StudyResults
from harness.runs.run_folder import RunFolder


def write(folder: RunFolder) -> None:
    """Every derived file of the study."""
    results = StudyResults(folder)
    results.write_tables()
    if len(results.frame):
        draw(folder, results.frame)
