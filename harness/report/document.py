"""The parts of a report, in any output format.

    Document ─ Section ─ blocks: Facts, Bullets, Table, Plot, Picture, Command

Texts are plain: a writer escapes them. Only `Panel.svg` is markup, and it is ours.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Tone = Literal["", "best", "better", "worse", "open", "failed", "diagonal"]


@dataclass(frozen=True)
class Cell:
    """One figure of a table: our value, its interval below it, and the paper's value."""

    text: str
    below: str = ""
    paper: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Table:
    """A table of a report; the first `texts` columns hold words, the others hold figures."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    texts: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One drawing; `alt` describes the drawing in words."""

    svg: str
    alt: str
    wide: bool = False
    """Whether the drawing takes the whole width of the page instead of standing beside others."""


class Key(NamedTuple):
    """An entry of a legend; `dashes` is the dash pattern of a line, as in SVG."""

    text: str
    colour: str
    shape: Literal["circle", "square", "diamond", "line"]
    dashes: str = ""


@dataclass(frozen=True)
class Plot:
    """Drawings that belong together, and the tables of the figures in them."""

    title: str
    lead: str
    panels: tuple[Panel, ...]
    data: tuple[Table, ...]
    legend: tuple["Key", ...] = ()


@dataclass(frozen=True)
class Picture:
    """A picture of voxels; `data` holds the figures that are written in the picture."""

    png: bytes
    alt: str
    title: str
    data: tuple[Table, ...]


@dataclass(frozen=True)
class Facts:
    """A list of facts, each a name and a value."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Bullets:
    """A list of sentences, under a heading if `title` is set."""

    items: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True)
class Group:
    """Small tables of one kind, side by side where there is room."""

    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Command:
    """The command line that repeats the run or study."""

    line: str


Block = Facts | Bullets | Table | Group | Plot | Picture | Command


@dataclass(frozen=True)
class Section:
    """A section of a report; `more` is folded away on a screen and left out of LaTeX."""

    id: str
    title: str
    lead: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()
    more: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Document:
    """The whole report; `warnings` stand above everything else."""

    title: str
    subtitle: str
    warnings: tuple[str, ...]
    key_figures: tuple[tuple[str, str, str], ...]
    """The key figures: name, value, remark."""
    sections: tuple[Section, ...]
    kicker: str = "pfbench report"
    footer: str = (
        "Made by pfbench report from the files of the run, which are the truth. This page holds "
        "all it shows and asks no other machine for anything."
    )


def words(rows: list[list[str]]) -> tuple[tuple[Cell, ...], ...]:
    """The rows of plain texts as rows of cells."""
    return tuple(tuple(Cell(text) for text in row) for row in rows)
