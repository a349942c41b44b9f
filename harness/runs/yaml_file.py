"""Read YAML that people write: safe, bounded, and without constructs that hide a setting.

Refused with file and line: tags that make objects, aliases (a page of them unpacks to gigabytes),
a key that stands twice (YAML keeps the last in silence), files of more than 50 kB.
"""

import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from harness.errors import UsageError

MAX_BYTES = 50_000
MAX_DEPTH = 20


def read_config(path: Path) -> dict[str, Any]:
    """Read the mapping in a YAML file.

    Raises UsageError that names file and line for other content.
    """
    text = _text(path)
    with _faults(lambda line: f"{path}:{line}"):
        content = _Loader(text).get_single_data()
    if not isinstance(content, dict):
        what = "does not hold a mapping of settings"
        remedy = "lines such as `protocol: {epochs: 20}`"
        raise UsageError(what, where=str(path), remedy=remedy, code="PFB-C09")
    return content


def parse_value(text: str, where: str) -> Any:
    """The value that `text` stands for, such as 3e-4 or [16, 32, 32].

    Raises UsageError for a text that is refused or is not YAML.
    """
    with _faults(lambda line: where):
        return _Loader(text).get_single_data()


def line_of(path: Path, keys: Sequence[str]) -> str:
    """The place "FILE:LINE" of the innermost of the nested `keys` that the file has.

    Numbers among the keys count the entries of a list from 0.
    """
    node = _Loader(_text(path)).get_single_node()
    line = 1
    for key in keys:
        if isinstance(node, yaml.SequenceNode) and key.isdecimal() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
            continue
        found = [pair for pair in getattr(node, "value", []) if _is_key(pair, key)]
        if not found:
            break
        line = found[0][0].start_mark.line + 1
        node = found[0][1]
    return f"{path}:{line}"


def _is_key(pair: Any, key: str) -> bool:
    return isinstance(pair, tuple) and pair[0].value == key


def _text(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            remedy = "pass a YAML file"
            raise UsageError("is not a file", where=str(path), remedy=remedy, code="PFB-C10")
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            what = f"is larger than {MAX_BYTES // 1000} kB"
            remedy = "keep in it what differs from the profile"
            raise UsageError(what, where=str(path), remedy=remedy, code="PFB-C13")
        return content.decode()
    except OSError as error:
        what = (error.strerror or "cannot be read").lower()
        raise UsageError(what, where=str(path), remedy="check the path", code="PFB-C10") from error
    except UnicodeDecodeError as error:
        remedy = "save it as UTF-8"
        raise UsageError("is no text", where=str(path), remedy=remedy, code="PFB-C10") from error


@contextmanager
def _faults(where: Callable[[int], str]) -> Iterator[None]:
    """Raise every fault in the block as a UsageError; `where` names a line."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        remedy, code = "correct this line", "PFB-C10"
        if isinstance(error, _Refused):
            remedy, code = error.remedy, error.code
        what = error.problem or "is no YAML"
        raise UsageError(what, where=where(line), remedy=remedy, code=code) from error
    except (yaml.YAMLError, ValueError) as error:  # a NUL, or the 13th month of a year
        what = f"is no YAML: {' '.join(str(error).split())}"
        raise UsageError(what, where=where(1), remedy="write plain text", code="PFB-C10") from error


class _Refused(yaml.MarkedYAMLError):
    """The error for valid YAML that pfbench does not accept."""

    def __init__(self, what: str, mark: yaml.Mark, remedy: str, code: str) -> None:
        super().__init__(problem=what, problem_mark=mark)
        self.remedy = remedy
        self.code = code


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader without the constructs that hide or multiply settings."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if self.check_event(yaml.AliasEvent):
            what = f"aliases (*{event.anchor}) are not accepted"
            raise _Refused(what, event.start_mark, "write the value out", "PFB-C13")
        if self.depth == MAX_DEPTH:
            what = f"is nested more than {MAX_DEPTH} deep"
            raise _Refused(what, event.start_mark, "fewer brackets", "PFB-C13")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused("a key that is no word", key.start_mark, "key: value", "PFB-C10")
            if key.value in seen:
                what = f"key '{key.value}' stands twice, lines {seen[key.value]} and {line}"
                raise _Refused(what, key.start_mark, "keep one of them", "PFB-C11")
            seen[key.value] = line
        # A key is its text: YAML reads `no` as a truth value, and an empty one as nothing.
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}

    def refuse_tag(self, node: Any) -> Any:
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        remedy = "write plain values"
        raise _Refused(f"unsafe tag '{tag}'", node.start_mark, remedy, "PFB-C10")

    def number(self, node: Any) -> Any:
        """The number of YAML 1.2; what YAML 1.1 alone reads as one is refused: 010, 1:30, 1_000."""
        if not _NUMBER.fullmatch(node.value):
            what = f"'{node.value}' is read differently by different versions of YAML"
            remedy = "a decimal number without leading zeros, or quotes around a text"
            raise _Refused(what, node.start_mark, remedy, "PFB-C10")
        whole = node.tag.endswith(":int")
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


_NUMBER = re.compile(
    r"[-+]?(0|[1-9]\d*|0x[0-9a-fA-F]+|(\d+\.\d*|\.\d+)([eE][-+]?\d+)?|\d+[eE][-+]?\d+|\.(inf|Inf|INF))"
    r"|\.(nan|NaN|NAN)"
)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.number)
_Loader.add_constructor(None, _Loader.refuse_tag)
# YAML 1.1 takes 1e-3 for text because it has no point; people mean the number.
_EXPONENT = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))
