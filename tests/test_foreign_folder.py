"""The folder of a run that somebody else sent: its names stay names, and it is used as one folder.

Pickles and modules in it, or in the folder where one stands: test_security.py.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helper_in_process import contents, pfbench
from helper_made_run import MadeRun, made_study
from rich.table import Table

from harness.errors import StateError, StorageError
from harness.results.csv_text import csv_text
from harness.results.markdown import markdown_table
from harness.runs.files import append
from harness.runs.run_folder import RunFolder
from harness.runs.screen import Screen
from harness.runs.study_folder import points, propose

UP = "../../../escaped"
Change = Callable[[dict[str, Any]], Any]
MANY = 20_000  # of what is written a few times; a million would take as long to refuse
READERS = (("report",), ("claims",), ("figures",), ("compare",), ("verify",))


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    path = tmp_path_factory.mktemp("sent") / "a" / "b" / "c" / "run"
    MadeRun(path, rows=("resunet3d", "pfseg"), cases=3)
    return path


def rename(content: dict[str, Any], key: str, name: str) -> None:
    content[name] = content.pop(key)


# What a stranger may write: the file, and the change of its content.
NAMES: list[tuple[str, Change]] = [
    ("run.json", lambda run: rename(run["suites"], "table5", UP)),
    ("run.json", lambda run: run.update(suite_files={UP: {}})),
    ("run.json", lambda run: run["suites"]["table5"][0].update(trials=["../../victim"])),
    ("run.json", lambda run: run["suites"]["table5"][0].update(system=UP)),
    ("run.json", lambda run: run["trials"].append("../../victim")),
    ("run.json", lambda run: run["names"].update({UP: "a trial"})),
    ("run.json", lambda run: run.update(dataset=UP)),
    ("run.json", lambda run: run.update(run_id="' or '1' = '1")),
    ("run.json", lambda run: run.update(plugins=[{"id": f"{UP}-{'0' * 16}", "systems": {},
                                                  "metrics": {}, "datasets": {}}])),
    ("split.json", lambda split: split["test"].append(UP)),
    ("split.json", lambda split: split.update(patients={UP: "p"})),
    ("data.json", lambda data: data["keys"].update({UP: "key"})),
    ("data.json", lambda data: data["keys"].update({"case": UP})),
    ("data.json", lambda data: data.update(cache=UP)),
]  # fmt: skip


@pytest.mark.parametrize("target", ["wt,/../../escaped", "../x,wt", "wt,", "wt,a b"])
def test_the_name_of_a_target_in_a_specification_is_no_path(tmp_path, target):
    trial = MadeRun(tmp_path / "run", cases=4, rows=["unet3d"]).trials["unet3d", 0]
    content = json.loads(trial.spec_file.read_text())
    names = {name: [1] for name in target.split(",")}
    content["data"] |= {"target": target, "targets": names}
    trial.spec_file.write_text(json.dumps(content))
    with pytest.raises(StateError, match="target"):
        trial.spec()


@pytest.mark.parametrize(("name", "change"), NAMES)
def test_a_name_that_leads_elsewhere_is_a_damaged_record(sent, name, change):
    path = sent / name
    whole = path.read_text()
    content = json.loads(whole)
    change(content)
    path.write_text(json.dumps(content))
    folder = RunFolder(sent)
    read = {"run.json": folder.run, "split.json": folder.split, "data.json": folder.volume_keys}
    try:
        with pytest.raises(StateError, match=f"{name}: ") as caught:
            read[name]()
    finally:
        path.write_text(whole)
    assert caught.value.code == "PFB-K08"


# What a stranger may repeat: the file, and how often the command would look at it.
HEAPS: list[tuple[str, Change]] = [
    ("run.json", lambda run: run.update(notes=["a note"] * MANY)),
    ("run.json", lambda run: run.update(names={f"{n:016x}": "x" for n in range(10 * MANY)})),
    ("run.json", lambda run: run["suites"].update(table5=run["suites"]["table5"] * 500)),
    ("run.json", lambda run: run["suites"].update(
        table5=[{**run["suites"]["table5"][0], "key": f"k{n}"} for n in range(MANY)])),
    ("run.json", lambda run: run["suites"]["table5"][0].update(
        trials=run["suites"]["table5"][0]["trials"] * 2)),
    ("run.json", lambda run: run["trials"].append(run["trials"][0])),
    ("run.json", lambda run: run["settings"].update(
        systems={f"s{n}": {"x": 1} for n in range(MANY)})),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change"), HEAPS, ids=range(len(HEAPS)))
def test_what_stands_twice_or_without_number_is_refused_as_it_is_read(sent, name, change):
    path = sent / name
    whole = path.read_text()
    content = json.loads(whole)
    change(content)
    path.write_text(json.dumps(content))
    try:
        with pytest.raises(StateError, match=f"{name}: ") as caught:
            RunFolder(sent).run()
    finally:
        path.write_text(whole)
    assert caught.value.code == "PFB-K08"


@pytest.mark.parametrize(("name", "what"), [
    ("cases.csv", "has two lines of case-0001"),
    ("history.csv", "has two lines of 2.0"),
])  # fmt: skip
def test_a_table_with_a_line_twice_is_damage(tmp_path, name, what):
    run = MadeRun(tmp_path / "run", rows=("resunet3d",), cases=3)
    path = run.trials["resunet3d", 0].path / name
    path.write_text(path.read_text() + path.read_text().splitlines()[2] + "\n")
    assert f"{name}: {what}" in pfbench("report", run.path, expect=5).said


@pytest.mark.parametrize("name", ["cases.csv", "history.csv"])
def test_a_table_of_a_million_lines_is_damage(tmp_path, name):
    run = MadeRun(tmp_path / "run", rows=("resunet3d",), cases=3)
    path = run.trials["resunet3d", 0].path / name
    first, line, *_ = path.read_text().splitlines()
    path.write_text("\n".join([first, *[line] * 1_000_000]))
    started = time.monotonic()
    assert f"{name}: has no readable" in pfbench("report", run.path, expect=5).said
    assert time.monotonic() - started < 30


def test_every_command_refuses_a_suite_whose_name_is_a_path(sent):
    path = sent / "run.json"
    whole, before = path.read_text(), contents(sent.parents[3])
    path.write_text(whole.replace('"table5"', f'"{UP}"'))
    said = [pfbench(*reader, sent, expect=5).said for reader in READERS]
    path.write_text(whole)
    assert [f"suites.{UP}" in each for each in said] == [True] * len(READERS)
    assert contents(sent.parents[3]) == before


@pytest.mark.parametrize(
    "change", [{"study": UP}, {"study": "other"}, {"number": 7}, {"trials": ["../../victim"]}]
)
def test_a_point_of_a_study_lies_where_its_name_and_number_lead(tmp_path, change):
    study = made_study(tmp_path / "study", {"pfseg": {"lr": 1.0}})
    propose(study, "pfseg", 0, "pfseg", {"lr": 1.0}, ["0" * 16])
    path = study.path / "points" / "pfseg" / "0000" / "point.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StateError) as caught:
        points(study)
    assert caught.value.code == "PFB-K08"


@pytest.mark.parametrize("place", ["figures", "trials/0123456789abcdef", "notes/deep/link"])
def test_a_link_out_of_the_folder_is_refused_before_anything_is_read(sent, tmp_path, place):
    (tmp_path / "mine").mkdir()
    link = sent / place
    link.parent.mkdir(exist_ok=True, parents=True)
    link.symlink_to(tmp_path / "mine")
    try:
        said = [pfbench(*reader, sent, expect=5).err for reader in READERS]
    finally:
        link.unlink()
    assert [f"PFB-K12]: {link}: is a link that leads out" in each for each in said] == [True] * 5
    assert [*(tmp_path / "mine").iterdir()] == []


@pytest.mark.parametrize("to", ["/etc/hostname", "/dev/zero", "../nowhere"])
def test_a_record_that_is_a_link_out_of_the_folder_is_refused_unread(sent, to):
    whole = (sent / "run.json").rename(sent.parent / "run.json")
    (sent / "run.json").symlink_to(to)
    try:
        said = [pfbench(*reader, sent, expect=5).err for reader in READERS]
    finally:
        whole.replace(sent / "run.json")
    assert ["PFB-K12]" in each for each in said] == [True] * len(READERS)


@pytest.mark.parametrize(
    "name", ["mlflow.lock", "mlflow.db", "mlartifacts/0/table.csv", "run.log", "driver.lock"]
)
def test_what_has_another_name_elsewhere_is_not_written_through_it(tmp_path, name):
    run = MadeRun(tmp_path / "run", rows=("resunet3d",), cases=3)
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (run.path / name).parent.mkdir(parents=True, exist_ok=True)
    os.link(mine, run.path / name)
    if name == "driver.lock":
        with pytest.raises(StorageError, match="has another name elsewhere"), run.folder.lock():
            pass
    elif name == "run.log":
        with pytest.raises(StorageError, match="has another name elsewhere"):
            append(run.path / name, "a line")
    else:
        said = pfbench("mlflow", "sync", run.path, expect=7).said
        assert "PFB-S02]" in said and f"{name}: has another name elsewhere" in said
    assert mine.read_text() == "mine"


def test_hard_links_are_read(sent, tmp_path):
    pfbench("report", shutil.copytree(sent, tmp_path / "copy", copy_function=os.link))


def test_a_pipe_in_the_folder_is_refused_and_not_waited_for(sent):
    pipe = sent / "trials" / "pipe"
    os.mkfifo(pipe)
    try:
        done = pfbench("report", sent, expect=5)
    finally:
        pipe.unlink()
    assert f"{pipe}: is neither a file nor a folder" in done.err


def test_links_within_the_folder_are_its_own_affair(sent):
    link = sent / "latest"
    link.symlink_to(sent / "trials")
    pfbench("report", sent, "--out", sent / "report.html")
    link.unlink()


def test_a_link_to_the_folder_itself_is_no_matter(sent, tmp_path):
    (tmp_path / "link").symlink_to(sent)
    assert RunFolder(Path(tmp_path / "link")).run().suites.keys() == {"table5"}


TITLE = "<script>x()</script>[a](javascript:b) \x1b]0;title\x07|\u202e"


def test_titles_are_words_in_every_output(tmp_path):
    run = MadeRun(tmp_path / "run", rows=("resunet3d", "pfseg"), cases=3)
    content = json.loads(run.folder.manifest_file.read_text())
    for row, title in zip(content["suites"]["table5"], (TITLE, "=1+1"), strict=True):
        row.update(title=title, cells=[title])
    content["notes"] = [TITLE]
    run.folder.manifest_file.write_text(json.dumps(content))
    shown = [pfbench(*command, run.path).out for command in (["report"], ["compare"], ["claims"])]
    shown += [pfbench("report", run.path, "--format", kind).out for kind in ("md", "csv", "html")]
    shown += [(run.path / name).read_text() for name in ("table.md", "table.csv")]
    for text in shown:
        assert not any(sign in text for sign in ("\x1b", "\x07", "\u202e"))
    markdown = (run.path / "table.md").read_text()
    assert "\\<script>x()\\</script>[a]\\(javascript:b)" in markdown and "\\|" in markdown
    assert "'=1+1" in (run.path / "table.csv").read_text()


@pytest.mark.parametrize(
    "title", ["=1+1", " =1+1", "＝1+1", "\n=1+1", "\t=1+1", "-1+1", "＋1", "\u00a0@SUM(1)", "\tx"]
)
def test_a_cell_that_a_spreadsheet_would_execute_is_text(title):
    [_, line] = csv_text(pd.DataFrame({"title": [title]})).splitlines()
    assert line.startswith("'")


def test_a_line_break_in_a_cell_begins_no_line_of_its_own():
    frame = pd.DataFrame({"title": ["words\r\n=1+1"], "lower": [-1.5]})
    assert csv_text(frame).splitlines()[1] == "words =1+1,-1.5"


def test_brackets_and_colons_in_a_title_are_no_markup_of_the_terminal(capsys):
    title = r"\[/] [bold]a[/bold] [link=https://example.org]b[/link] :warning:"
    table = Table(title=title)
    table.add_column(title)
    table.add_row(title)
    Screen().show(table)
    assert capsys.readouterr().out.count(title) == 3


def test_errors_show_no_control_sequences(tmp_path):
    assert "\\x1b[31m" in str(StateError("is\x1b[31m", where="a\nb"))


@pytest.mark.parametrize(("title", "told"), [
    (r"\<script>", r"\\\<script>"),  # a backslash of its own would undo ours
    (r"a \| b", r"a \\\| b"),
])  # fmt: skip
def test_a_backslash_in_a_title_escapes_nothing_in_markdown(title, told):
    assert told in markdown_table(["System"], [[title]])[-1]


def test_a_pipe_in_place_of_a_record_is_damage_and_nobody_waits_for_it(tmp_path):
    run = MadeRun(tmp_path / "run", rows=("resunet3d",), cases=3)
    run.folder.manifest_file.unlink()
    os.mkfifo(run.folder.manifest_file)
    said = pfbench("report", run.path, expect=5).said
    assert "PFB-K12]" in said and "run.json: is neither a file nor a folder" in said
