"""The commands that the documents show, as a person would type them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from typer.core import TyperGroup
from typer.main import get_command

from harness.cli import app

TOP = Path(__file__).parent.parent
PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(pfbench [^`]*)`")
IMAGE = re.compile(r"pfbench(:\w+)?")  # of the container, whose entry point is the command


class Shown(NamedTuple):
    """One command of one page, without the word pfbench itself."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def in_blocks() -> list[Shown]:
    """Every `pfbench …` in a block of shell commands; each once."""
    found = {
        words: page.relative_to(TOP).as_posix()
        for page in reversed(PAGES)
        for block in BLOCK.findall(page.read_text())
        for words in _commands(block)
    }
    return sorted(Shown(page, words) for words, page in found.items())


def in_sentences() -> list[Shown]:
    """Every `pfbench …` in the middle of a sentence: often without its arguments."""
    return sorted(
        {
            Shown(page.relative_to(TOP).as_posix(), tuple(text.split()[1:]))
            for page in PAGES
            for text in INLINE.findall(BLOCK.sub("", page.read_text()))
        }
    )


def _commands(block: str) -> Iterator[tuple[str, ...]]:
    for line in block.replace("\\\n", " ").splitlines():
        for typed in line.split("&&"):
            words = shlex.split(typed, comments=True)
            if words[:2] == ["docker", "run"]:
                words = words[next(i for i, word in enumerate(words) if IMAGE.fullmatch(word)) :]
            if words and (Path(words[0]).name == "pfbench" or IMAGE.fullmatch(words[0])):
                yield tuple(words[1:])


def leaf(words: tuple[str, ...]) -> tuple[Any, list[str]]:
    """The command that `words` begin with, and what is left of them."""
    command, rest = get_command(app), list(words)
    while isinstance(command, TyperGroup) and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"there is no command '{rest[0]}'"
        command = command.commands[rest.pop(0)]
    return command, rest


def options(command: Any) -> set[str]:
    """Every spelling of every option of a command."""
    own = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
    return own | {"--help"}
