"""The derived files of a study: study.csv, study.md, best.yaml and its plots."""

import yaml

from harness.report.study_plots import draw
from harness.results import study
from harness.runs.files import write_bytes
from harness.runs.run_folder import RunFolder


def write(folder: RunFolder) -> None:
    """Every derived file of the study."""
    table = study.frame(folder)
    write_bytes(folder.path / "study.csv", table.to_csv(index=False).encode())
    write_bytes(folder.path / "study.md", study.markdown(folder).encode())
    found = study.settings(folder)
    if found:
        header = "# What `pfbench tune` found; use it with: pfbench run --tuned best.yaml\n"
        text = header + yaml.safe_dump(found, sort_keys=False)
        write_bytes(folder.path / "best.yaml", text.encode())
    if len(table):
        draw(folder, table)
