"""Suites that people write: a YAML file with the rows of their own table.

title: Does width help?
shows: [dice, hd95, time]
rows:
  - {key: narrow, title: "UNet3D, {widths}", system: unet3d, options: {widths: [4, 8, 16]}}
  - {key: wide, title: "UNet3D, {widths}", system: unet3d, options: {widths: [8, 16, 32]}}
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from harness.errors import UsageError, together, unknown
from harness.runs.plugin_file import NAME
from harness.runs.records import SuiteColumns
from harness.runs.suite import SHOWABLE, Row, Suite
from harness.runs.suites import ALL, OURS, SUITES
from harness.runs.yaml_file import line_of, read_config
from harness.systems.catalogue import SYSTEMS
from harness.systems.protocol import Frozen, Options

ENDINGS = (".yaml", ".yml")


class RowEntry(Frozen):
    """One row in the form of the YAML file; see harness.runs.suites.Row."""

    key: str = Field(pattern=r"^[\w.+/-]{1,64}$")
    title: str = Field(min_length=1)
    system: str
    options: Options = Field(default_factory=dict)
    quick: Options = Field(default_factory=dict)
    cells: list[str] = Field(default_factory=list)
    protocol: Options = Field(default_factory=dict)

    @property
    def row(self) -> Row:
        return Row(
            self.key,
            self.title,
            self.system,
            self.options,
            self.quick,
            tuple(self.cells),
            self.protocol,
        )


class SuiteFile(Frozen):
    """The whole YAML file of a suite."""

    title: str = Field(min_length=1)
    rows: list[RowEntry] = Field(min_length=1)
    headings: list[str] = Field(default_factory=lambda: ["Model"], min_length=1)
    shows: list[str] = Field(default_factory=lambda: list(Suite("", ()).shows), min_length=1)
    notes: list[str] = Field(default_factory=list)

    @property
    def suite(self) -> Suite:
        rows = tuple(record.row for record in self.rows)
        return Suite(self.title, rows, tuple(self.headings), tuple(self.shows), tuple(self.notes))


def use(name: str) -> str:
    """The name of a suite; a file joins the known suites under its own name without the ending.

    Raises UsageError that names file and line of every fault in the file.
    """
    path = Path(name)
    if path.suffix not in ENDINGS:
        return name
    if not NAME.fullmatch(path.stem) or path.stem in (*OURS, ALL, "tuned"):
        what = f"a suite cannot be called '{path.stem}'"
        if path.stem in OURS:
            what = f"there is a suite called '{path.stem}' already"
        remedy = "rename the file; letters, digits and _"
        raise UsageError(what, where=str(path), remedy=remedy, code="PFB-C45")
    SUITES[path.stem] = _read(path).suite
    return path.stem


def columns(names: Sequence[str]) -> dict[str, SuiteColumns]:
    """The columns of suites that are not built in, for run.json, to make their tables again."""
    return {
        name: SuiteColumns(
            title=SUITES[name].title,
            headings=list(SUITES[name].headings),
            shows=list(SUITES[name].shows),
            notes=list(SUITES[name].notes),
        )
        for name in names
        if name in SUITES and name not in OURS
    }


def _read(path: Path) -> SuiteFile:
    content = read_config(path)
    try:
        made = SuiteFile.model_validate(content)
    except ValidationError as error:
        faults = [_fault(path, each) for each in error.errors()]
        raise together(faults, "the suite") from error
    faults = [*_wrong_rows(path, made), *_wrong_columns(path, made)]
    if faults:
        raise together(faults, "the suite")
    return made


def _fault(path: Path, error: Any) -> UsageError:
    keys = tuple(map(str, error["loc"]))
    name = ".".join(keys)
    if error["type"] == "extra_forbidden":
        kind = RowEntry if keys[0] == "rows" else SuiteFile
        where = line_of(path, keys)
        return unknown("key", keys[-1], kind.model_fields, where=where, code="PFB-C45")
    what = f"{name}: {error['msg'].removeprefix('Value error, ')}"
    return UsageError(what, where=line_of(path, keys), remedy="correct it", code="PFB-C45")


def _wrong_rows(path: Path, made: SuiteFile) -> list[UsageError]:
    """The faults of the rows: unknown names, keys that occur twice, titles that name no option."""
    faults: list[UsageError] = []
    seen: set[str] = set()
    for number, record in enumerate(made.rows):
        place = ("rows", str(number))
        if record.system not in SYSTEMS:
            where = line_of(path, (*place, "system"))
            faults.append(unknown("model", record.system, SYSTEMS, where=where, code="PFB-C45"))
        if record.key in seen:
            where, remedy = line_of(path, (*place, "key")), "another key"
            what = f"key '{record.key}' stands twice"
            faults.append(UsageError(what, where=where, remedy=remedy, code="PFB-C45"))
        seen.add(record.key)
        try:
            for profile in ("quick", "paper"):
                record.row.in_profile(profile)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            where, remedy = line_of(path, (*place, "title")), "names of options of this row only"
            what = f"title or cells have braces that mean nothing: {error}"
            faults.append(UsageError(what, where=where, remedy=remedy, code="PFB-C45"))
    return faults


def _wrong_columns(path: Path, made: SuiteFile) -> list[UsageError]:
    return [
        unknown("column", name, SHOWABLE, where=line_of(path, ("shows", str(n))), code="PFB-C45")
        for n, name in enumerate(made.shows)
        if name not in SHOWABLE
    ]
