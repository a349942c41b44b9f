"""What a report consists of, whatever the format that it is written in.

    Document ─ Section ─ blocks: Facts, Bullets, Table, Plot, Picture, Command

Texts are plain: a writer escapes them. Only `Panel.svg` is markup, and it is ours.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Tone = Literal["", "best", "better", "worse", "open", "failed", "diagonal"]


@dataclass(frozen=True)
class Cell:
    """One figure of a table: ours, its interval below it, and the paper's value."""

    text: str
    below: str = ""
    paper: str = ""
    tone: Tone = ""


@dataclass(frozen=True)
class Table:
    """`texts` is how many columns at the left hold words; the others are figures."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    texts: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One drawing; `alt` says in words what it shows."""

    svg: str
    alt: str
    wide: bool = False
    """It takes the whole width of the page, where others stand side by side."""


class Key(NamedTuple):
    """An entry of a legend; `dashes` are those of a line, in SVG's words."""

    text: str
    colour: str
    shape: Literal["circle", "square", "line"]
    dashes: str = ""


@dataclass(frozen=True)
class Plot:
    """Drawings that belong together, and the figures that they are drawn from."""

    title: str
    lead: str
    panels: tuple[Panel, ...]
    data: tuple[Table, ...]
    legend: tuple["Key", ...] = ()


@dataclass(frozen=True)
class Picture:
    """A picture of voxels; `data` has the figures that are written in it."""

    png: bytes
    alt: str
    title: str
    data: tuple[Table, ...]


@dataclass(frozen=True)
class Facts:
    """Short answers to short questions."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Bullets:
    """A list of sentences, under a heading of its own if it has one."""

    items: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True)
class Group:
    """Small tables of one kind, side by side where there is room."""

    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Command:
    """What is typed to get this again."""

    line: str


Block = Facts | Bullets | Table | Group | Plot | Picture | Command


@dataclass(frozen=True)
class Section:
    """`more` is for those who ask: folded away on a screen, left out of LaTeX."""

    id: str
    title: str
    lead: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()
    more: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Document:
    """`warnings` stand above everything else."""

    title: str
    subtitle: str
    warnings: tuple[str, ...]
    key_figures: tuple[tuple[str, str, str], ...]
    """What, value, remark."""
    sections: tuple[Section, ...]
    kicker: str = "pfbench report"
    footer: str = (
        "Made by pfbench report from the files of the run, which are the truth. This page holds "
        "all it shows and asks no other machine for anything."
    )


def words(rows: list[list[str]]) -> tuple[tuple[Cell, ...], ...]:
    """Rows of plain texts."""
    return tuple(tuple(Cell(text) for text in row) for row in rows)
