"""Patterns: the names of a data set's files, as text with fields.

    {case}/{case}-t1c.nii.gz         the folder of a case, and a file that begins like it
    volume-{case:#}                  a case that is a number; of any ending that is read
    {case}/segmentations/{target}    a file for each organ

A field stands for one or more characters of one name, the same wherever it stands again.
`{field:GLOB}` says which: # is a row of digits, @ one of letters and digits, ? a single character
and * any, none too; they may stand outside fields as well. Folders are divided by /.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from harness.data.layout import ENDINGS, entries, stem
from harness.errors import DataError, UsageError

WILD = {"*": "[^/]*", "?": "[^/]", "#": "[0-9]+", "@": "[A-Za-z0-9]+"}
_TOKEN = re.compile(r"\{(\w+)(?::([^{}]+))?\}|[*?#@{}]|[^*?#@{}]+")
EXAMPLE = "{case}/{case}_t1.nii.gz"
IMAGE, LABEL = ("case", "modality"), ("case", "target")  # fields that patterns may have


class Match(NamedTuple):
    """A path below the root, and the value of each field of the pattern in it."""

    path: str
    fields: dict[str, str]


class Tree:
    """The names in a folder and below it, each folder listed once and hidden names left out."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: list[DataError] = []
        """The faults of folders that cannot be listed."""
        self._listed: dict[str, dict[str, bool]] = {}

    def names(self, folder: str) -> dict[str, bool]:
        """Return name -> whether it is a folder, in order; `folder` is relative to the root."""
        if folder not in self._listed:
            try:
                found = {path.name: path.is_dir() for path in entries(self.root / folder)}
            except DataError as fault:
                self.faults.append(fault)
                found = {}
            self._listed[folder] = found
        return self._listed[folder]

    def has_volumes(self, folder: str) -> bool:
        """Return whether a volume lies in `folder` itself."""
        return any(stem(Path(name)) for name in self.names(folder))

    def volumes(self, depth: int, below: str = "") -> Iterator[str]:
        """Yield the paths of volumes in order, at most `depth` folders deep."""
        for name, is_folder in self.names(below).items():
            path = f"{below}/{name}" if below else name
            if is_folder and depth:
                yield from self.volumes(depth - 1, path)
            elif not is_folder and stem(Path(name)):
                yield path


class Pattern:
    """A file-name pattern; create it with `of`, which refuses text that is no pattern."""

    def __init__(self, text: str, where: str, known: tuple[str, ...]) -> None:
        self.text = text
        self.where = where
        self.fields: tuple[str, ...] = ()
        folders = text.split("/")
        if not text or any(name in ("", ".", "..") for name in folders):
            what = f"'{text}' is no path below the data root"
            raise self._wrong(what, f"a pattern such as '{EXAMPLE}'")
        steps = [self._parsed(name, known) for name in folders]
        self.fields = tuple(
            dict.fromkeys(token[0] for step in steps for token in step if isinstance(token, tuple))
        )
        self._greedy, self._lazy = _compiled(steps, lazy=False), _compiled(steps, lazy=True)
        self._file = _joined(steps, lazy=False), _joined(steps, lazy=True)

    @staticmethod
    @cache
    def of(text: str, where: str = "", known: tuple[str, ...] = ("case",)) -> "Pattern":
        """Return the pattern of `text` with fields among `known`, the first of which it must have.

        `where` it was written stands in errors: UsageError for text that is no pattern.
        """
        made = Pattern(text, where, known)
        if known[0] not in made.fields:
            example = EXAMPLE if known[0] == "case" else f"{{{known[0]}}}_*"
            raise made._wrong(f"'{text}' has no {{{known[0]}}}", f"a pattern such as '{example}'")
        return made

    def find(self, tree: Tree) -> Iterator[Match]:
        """Yield every file that fits, in order of path. UsageError where fields are not clear."""
        *_, last = self._greedy
        for folder in self._folders(tree, len(self._greedy) - 1):
            for name in tree.names(folder):
                path = f"{folder}/{name}" if folder else name
                if last.fullmatch(path):
                    yield Match(path, self._clear(path, last, self._lazy[-1]))

    def case_folders(self, tree: Tree) -> Iterator[Match]:
        """Yield the folders with volumes in which, by this pattern, a case has its files."""
        for depth, regex in enumerate(self._greedy[:-1], start=1):
            if "case" in regex.groupindex:
                for folder in self._folders(tree, depth):
                    if tree.has_volumes(folder):
                        yield Match(folder, self._clear(folder, regex, self._lazy[depth - 1]))
                return

    def match(self, text: str) -> dict[str, str] | None:
        """Return the fields in `text`, which is no file; None where the pattern does not fit."""
        greedy, lazy = self._file
        return self._clear(text, greedy, lazy) if greedy.fullmatch(text) else None

    def filled(self, **fields: str) -> str:
        """Return the path with fields filled in, for a message: "a/a_seg.nii.gz"."""
        text = _TOKEN.sub(lambda token: fields.get(token[1] or "", token[0]), self.text)
        return text if any(map(text.endswith, ENDINGS)) else f"{text}{ENDINGS[0]}"

    def _folders(self, tree: Tree, depth: int) -> list[str]:
        """Return the folders that fit the first `depth` names of the pattern."""
        found = [""]
        for regex in self._greedy[:depth]:
            below = (
                f"{folder}/{name}" if folder else name
                for folder in found
                for name, is_folder in tree.names(folder).items()
                if is_folder
            )
            found = [path for path in below if regex.fullmatch(path)]
        return found

    def _clear(self, text: str, greedy: re.Pattern[str], lazy: re.Pattern[str]) -> dict[str, str]:
        """Return the fields; UsageError when `text` can be read in more than one way."""
        one, other = greedy.fullmatch(text), lazy.fullmatch(text)
        assert one and other  # both fit the same texts
        for field, value in one.groupdict().items():
            if other[field] != value:
                what = f"'{self.text}' fits {text} with {field} {other[field]} and {value}"
                remedy = f"say which: {{{field}:#}} is digits, {{{field}:@}} letters and digits"
                raise self._wrong(what, remedy)
        return one.groupdict()

    def _parsed(self, name: str, known: tuple[str, ...]) -> list[str | tuple[str, str]]:
        """Split one name into tokens: text, wildcards, and fields with their allowed characters."""
        tokens: list[str | tuple[str, str]] = []
        for token in _TOKEN.finditer(name):
            field, glob = token[1], token[2]
            if token[0] in "{}" or (field and field not in known):
                fields = ", ".join(f"{{{field}}}" for field in known)
                what = f"'{self.text}' has '{field or token[0]}', which is no field"
                raise self._wrong(what, f"the fields {fields}; * # @ ? fit what changes")
            tokens.append((field, glob or "") if field else token[0])
        return tokens

    def _wrong(self, what: str, remedy: str) -> UsageError:
        return UsageError(what, where=self.where, remedy=remedy, code="PFB-C51")


Steps = list[list[str | tuple[str, str]]]


def _compiled(steps: Steps, *, lazy: bool) -> list[re.Pattern[str]]:
    """Compile one expression for each folder of the path and one for the file.

    The file may have any ending if the pattern has none.

    A field is given once and then referred to.
    """
    *folders, file = [_joined_text(steps[: depth + 1], lazy) for depth in range(len(steps))]
    literal = steps[-1][-1]
    ended = isinstance(literal, str) and literal.endswith(ENDINGS)
    any_ending = "" if ended else f"(?:{'|'.join(map(re.escape, ENDINGS))})"
    return [re.compile(text) for text in (*folders, file + any_ending)]


def _joined(steps: Steps, *, lazy: bool) -> re.Pattern[str]:
    return re.compile(_joined_text(steps, lazy))


def _joined_text(steps: Steps, lazy: bool) -> str:
    known: set[str] = set()
    return "/".join("".join(_expression(token, known, lazy) for token in step) for step in steps)


def _expression(token: str | tuple[str, str], known: set[str], lazy: bool) -> str:
    if isinstance(token, str):
        return _wild(token, lazy) if token in WILD else re.escape(token)
    field, glob = token
    if field in known:
        return f"(?P={field})"
    known.add(field)
    inside = "".join(_wild(sign, lazy) if sign in WILD else re.escape(sign) for sign in glob)
    return f"(?P<{field}>{inside or ('[^/]+?' if lazy else '[^/]+')})"


def _wild(sign: str, lazy: bool) -> str:
    return WILD[sign] + ("?" if lazy and sign != "?" else "")
