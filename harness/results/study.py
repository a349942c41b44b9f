"""The results of a study: study.csv, study.md and best.yaml, made from its points."""

import pandas as pd
import yaml
from rich.table import Table

from harness.data.wording import counted
from harness.errors import StateError
from harness.results.caveats import SYNTHETIC
from harness.results.csv_text import csv_text
from harness.results.intervals import paired_difference
from harness.results.markdown import markdown_table, plain
from harness.results.rows import rows
from harness.runs import study_folder as study
from harness.runs.files import JsonObject, write_bytes
from harness.runs.nested import merged
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen
from harness.runs.search_space import changes

SHOWN = 10


def frame(folder: RunFolder) -> pd.DataFrame:
    """One line for each point: `value` of a complete point, `last` the last score in any state."""
    return pd.DataFrame([_record(point) for point in study.points(folder)])


def _record(point: study.Point) -> JsonObject:
    seen = point.values()
    return {
        "study": point.study,
        "number": point.number,
        "state": point.state,
        "value": point.value,
        "last": seen[max(seen)] if seen else None,
        "epochs": max(seen, default=0),
        **point.params,
        "reason": point.reason,
    }


def write_tables(folder: RunFolder) -> None:
    """Write study.csv, study.md, and best.yaml once a point is complete."""
    write_bytes(folder.path / "study.csv", csv_text(frame(folder)).encode())
    write_bytes(folder.path / "study.md", markdown(folder).encode())
    found = settings(folder)
    if found:
        header = "# What `pfbench tune` found; use it with: pfbench run --tuned best.yaml\n"
        text = header + yaml.safe_dump(found, sort_keys=False)
        write_bytes(folder.path / "best.yaml", text.encode())


def settings(folder: RunFolder) -> JsonObject:
    """The contents of best.yaml: settings and their origin; {} while no point is complete."""
    run = folder.study()
    chosen: JsonObject = {}
    origin = {}
    for name in run.suites:
        best = study.best(folder, name)
        if best is None:
            continue
        changed = changes(best.params)
        for key, group in (("systems", "options"), ("exceptions", "protocol")):
            if changed[group]:
                chosen = merged(chosen, {key: {best.system: changed[group]}})
        points = study.points(folder, name)
        origin[name] = {
            "system": best.system,
            "point": best.number,
            "values": best.params,
            "validation_dice": best.value,
            "reference": run.references[name],
            "points": len(points),
            "epochs": sum(max(point.values(), default=0) for point in points),
        }
    if not chosen:
        return {}
    return {
        "schema": 1,
        "study": run.protocol_hash,
        "split": run.protocol["cases"],
        "settings": chosen,
        "found": origin,
    }


def ranked(folder: RunFolder, name: str) -> list[study.Point]:
    """The complete points, best first, then all other points, highest last score first."""

    def order(point: study.Point) -> tuple[bool, float, int]:
        seen = point.values()
        last = seen[max(seen)] if seen else -1.0
        return point.value is None, -(point.value or last), point.number

    return sorted(study.points(folder, name), key=order)


def lines(folder: RunFolder, name: str) -> list[list[str]]:
    """The cells of the best points in the printed table, under `headings`."""
    reference = folder.study().references[name]
    shown = []
    for point in ranked(folder, name)[:SHOWN]:
        seen = point.values()
        last = "" if not seen else f"{100 * seen[max(seen)]:.2f}"
        mark = " (default)" if point.params == reference else ""
        values = [f"{value:.4g}" for value in point.params.values()]
        epochs = str(max(seen, default=0))
        state = f"failed: {point.reason}" if point.state == "failed" else point.state
        shown.append([f"{point.number}{mark}", *values, last, epochs, state])
    return shown


def headings(folder: RunFolder, name: str) -> list[str]:
    """The headings of the table of a study."""
    return ["Point", *folder.study().references[name], "Validation Dice (%)", "Epochs", "State"]


def notes(folder: RunFolder) -> list[str]:
    """The notes under the tables."""
    run = folder.study()
    said = ["chosen by validation cases alone; the test cases were not opened"]
    if run.synthetic:
        said.insert(0, SYNTHETIC.note)
    if run.targets:
        said.append(
            f"validation Dice is the mean over the targets {', '.join(run.targets)} of a case"
        )
    for name in run.suites:
        points = study.points(folder, name)
        epochs = sum(max(point.values(), default=0) for point in points)
        said.append(f"{name}: {counted(len(points), 'point')}, {counted(epochs, 'epoch')} in all")
    return [*said, *run.notes]


def markdown(folder: RunFolder) -> str:
    """The text of study.md: the best points of each study, and the notes."""
    text = []
    for name in folder.study().suites:
        table = markdown_table(headings(folder, name), lines(folder, name))
        text += [f"# {name}", "", *table, ""]
    return "\n".join([*text, *(f"- {plain(note)}" for note in notes(folder))]) + "\n"


def show(folder: RunFolder, screen: Screen) -> None:
    """Print the best ten points of each study, and the notes, on the terminal."""
    for name in folder.study().suites:
        table = Table(title=f"{name}: the best points", title_justify="left", header_style="bold")
        for heading in headings(folder, name):
            table.add_column(heading, justify="right" if heading != "State" else "left")
        for line in lines(folder, name):
            table.add_row(*line)
        screen.show(table)
    for note in notes(folder):
        screen.say(f"- {note}")
    screen.say(f"table       {folder.path / 'study.csv'}")
    if (folder.path / "best.yaml").exists():
        screen.say(f"settings    {folder.path / 'best.yaml'}: pfbench run --tuned takes it")
    screen.say(f"pictures    {folder.path / 'figures'}")


def differences(folder: RunFolder) -> list[str]:
    """One sentence for each system: tuned minus default on the test cases, paired by patient."""
    by_key = {row.key: row for row in rows(folder, "tuned")}
    sentences = []
    for name in dict.fromkeys(key.partition("/")[0] for key in by_key):
        default, tuned = by_key[f"{name}/default"], by_key[f"{name}/tuned"]
        try:
            paired = paired_difference(tuned.scores("dice"), default.scores("dice"))
        except (ValueError, StateError) as error:
            sentences.append(f"difference  {name}: {error}")
            continue
        found = paired.difference
        span = (
            "" if found.low is None else f" [{100 * found.low:.2f}, {100 * (found.high or 0):.2f}]"
        )
        note = f" ({found.note})" if found.note else ""
        note += ": about these two networks, not the settings" * paired.about_networks
        gain = f"{100 * found.estimate:+.2f} percentage points of Dice{span}"
        sentences.append(
            f"difference  {name}: tuned − default = {gain}, "
            f"{counted(found.n_patients, 'test patient')}, {counted(found.n_seeds, 'seed')}{note}"
        )
    return sentences
