"""Find the patient of each case: by a pattern on the ids of cases, or from a table.

    {patient}_frame#       patient001_frame01 and patient001_frame12 are of patient001
    patients.csv           case,patient[,site,fold] with a line for each case

A patient is never in two parts of a split; `Split.patient_of` tells statistics their unit.
"""

import csv
import errno
import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.data.case import valid_case_id
from harness.data.pattern import Pattern
from harness.errors import UsageError

SETTING = "split.group"
NOBODY = "none"  # every case is a patient of its own
FIELDS = ("patient",)
COLUMNS = "case,patient,site,fold"


@dataclass(frozen=True)
class Groups:
    """The patient, the site and the fold of each case, as far as they are known."""

    patients: Mapping[str, str] = field(default_factory=dict)
    """Case -> patient; empty where every case is a patient of its own."""
    sites: Mapping[str, str] = field(default_factory=dict)
    folds: Mapping[str, int] = field(default_factory=dict)
    said: str = ""
    """The rule as text: a pattern, or a file by name and content."""


def groups(rule: str, cases: Sequence[str], of_layout: str = "") -> Groups:
    """Return the groups of `cases` by the `rule` of a person, else by the pattern of their layout.

    Raises UsageError for a rule that does not fit every case.
    """
    if rule == NOBODY:
        return Groups(said=rule)
    if rule.endswith(".csv") or (rule and "{" not in rule):
        return _tabled(Path(rule), cases)
    pattern = Pattern.of(rule or of_layout, SETTING, FIELDS) if rule or of_layout else None
    if pattern is None:
        return Groups()
    patients: dict[str, str] = {}
    for case in cases:
        fields = pattern.match(case)
        if fields is None and rule:
            what = f"'{rule}' does not fit case {case}"
            remedy = "a pattern that fits every case, or a CSV of case,patient"
            raise UsageError(what, where=SETTING, remedy=remedy, code="PFB-C52")
        patients[case] = fields["patient"] if fields else case
    several = len(set(patients.values())) < len(patients)
    return Groups(patients if several or rule else {}, said=rule)


def _tabled(path: Path, cases: Sequence[str]) -> Groups:
    table = read_table(path, SETTING)
    lines = table.lines
    absent = [case for case in cases if case not in lines]
    if absent or "patient" not in table.columns:
        what = f"has no line for case {absent[0]}" if absent else "has no column 'patient'"
        raise wrong(path.name, f"{what}", f"a line for each case: {COLUMNS}", SETTING)
    return Groups(
        {case: lines[case]["patient"] for case in cases},
        {case: lines[case]["site"] for case in cases} if "site" in table.columns else {},
        table.folds(cases) if "fold" in table.columns else {},
        f"{path.name} {digest_of(path)}",
    )


@dataclass(frozen=True)
class CaseTable:
    """A CSV with a line for each case."""

    name: str
    where: str
    columns: tuple[str, ...]
    lines: Mapping[str, Mapping[str, str]]
    """Case -> column -> value."""
    numbers: Mapping[str, int]
    """Case -> its line number in the file."""

    def folds(self, cases: Sequence[str]) -> dict[str, int]:
        """Return case -> fold. Raises UsageError for a fold that is no whole number."""
        found = {}
        for case in cases:
            text = self.lines[case]["fold"]
            if not re.fullmatch(r"[0-9]{1,4}", text):
                place = f"{self.name}:{self.numbers[case]}"
                raise wrong(place, f"fold '{text}' is no number", "0, 1, 2 …", self.where)
            found[case] = int(text)
        return found


def read_table(path: Path, where: str) -> CaseTable:
    """Read the lines of a CSV by case; columns are parted by commas, semicolons or tabs.

    Raises UsageError that names the line at fault.
    """
    try:
        text = content_of(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        remedy = f"a CSV in UTF-8: {COLUMNS}"
        raise wrong(path.name, "cannot be read", remedy, where) from None
    lines_of_text = text.splitlines()
    try:
        rows = [*csv.reader(lines_of_text, delimiter=_delimiter(lines_of_text))]
    except csv.Error as error:
        raise wrong(path.name, f"is no table: {error}", f"a CSV: {COLUMNS}", where) from None
    header = [name.strip().lower() for name in rows[0]] if rows else []
    if "case" not in header or len(set(header)) < len(header):
        raise wrong(f"{path.name}:1", "the header has no column 'case'", COLUMNS, where)
    lines: dict[str, dict[str, str]] = {}
    numbers: dict[str, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        place = f"{path.name}:{number}"
        if len(row) != len(header):
            what = f"{len(row)} values, where the header has {len(header)}"
            raise wrong(place, what, f"a line for each case: {COLUMNS}", where)
        values = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
        case = values["case"]
        if case in lines:
            what = f"case {case} stands in line {numbers[case]}, too"
            raise wrong(place, what, "keep one of them", where)
        for name in {"patient", "site"} & {*header}:
            if not valid_case_id(values[name]):
                remedy = "letters, digits, '.', '_', '-', at most 64; a pseudonym"
                raise wrong(place, f"{name} is empty or no plain name", remedy, where)
        lines[case], numbers[case] = values, number
    return CaseTable(path.name, where, tuple(header), lines, numbers)


def _delimiter(lines: Sequence[str]) -> str:
    """Return the sign that parts columns: spreadsheets of many countries write semicolons."""
    header = lines[0] if lines else ""
    return next((sign for sign in ",;\t" if sign in header), ",")


def wrong(place: str, what: str, remedy: str, where: str) -> UsageError:
    """Return the error for a faulty file that a setting names."""
    return UsageError(f"{place}: {what}", where=where, remedy=remedy, code="PFB-C52")


def content_of(path: Path) -> bytes:
    """Return the content of a file that a setting names.

    Raises OSError, for pipes and devices too, which would be waited for without an end.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "is not a file")
    return path.read_bytes()


def digest_of(path: Path) -> str:
    """Return 16 digits of the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def suspicion(cases: Sequence[str]) -> str:
    """Return a warning where ids look as if several were of one patient; "" otherwise.

    So look ids that share all but their last part, when that what they share has a number:
    patient001_frame01 and patient001_frame12, but not BraTS20_Training_001 and 002.
    """
    alike = defaultdict(list)
    for case in sorted(cases):
        shared = re.sub(r"[_.-][^_.-]+$", "", case)
        if shared != case and re.search(r"[0-9][^_.-]*$", shared):
            alike[shared].append(case)
    several = {shared: ids for shared, ids in alike.items() if len(ids) > 1}
    if len(several) < 2:
        return ""
    shared, (first, second, *_) = next(iter(several.items()))
    sign = first[len(shared)]
    return (
        f"{first} and {second} may be scans of one patient, and then one could train and the other "
        f"test: --set split.group='{{patient}}{sign}*' keeps them together, split.group=none says "
        "that they are not"
    )
