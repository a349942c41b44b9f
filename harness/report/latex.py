"""A report as a complete LaTeX document with booktabs tables."""

from harness.report.document import (
    Block,
    Bullets,
    Cell,
    Command,
    Document,
    Facts,
    Group,
    Section,
    Table,
)

PREAMBLE = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage[margin=2cm]{geometry}
\usepackage{array}
\usepackage{booktabs}
\usepackage{graphicx}
\setlength{\emergencystretch}{3em}
\newcommand{\fit}[1]{\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{#1}}
"""
SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "–": "--",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\to$",
    "†": r"\dag{}",
    "✓": r"$\surd$",
    "·": r"$\cdot$",
    "▲": r"$+$",
    "▼": r"$-$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "…": r"\dots{}",
    "λ": r"$\lambda$",
    "µ": r"$\mu$",
    "μ": r"$\mu$",
    "’": "'",
    "‘": "`",
    "“": "``",
    "”": "''",
}
BREAK = r"\\"
RAGGED = r">{\raggedright\arraybackslash}"
LONG = 28  # letters beyond which a column of words is broken into lines
TEXT_WIDTH = 0.94  # of the page, shared by the columns of a table of words


def render(document: Document) -> str:
    """The tables and their notes as LaTeX; plots and pictures are left to the HTML."""
    parts = [PREAMBLE, r"\begin{document}", rf"\section*{{{escaped(document.title)}}}"]
    parts += [escaped(document.subtitle), ""]
    parts += [rf"\paragraph{{Note.}} {escaped(warning)}" for warning in document.warnings]
    for section in document.sections:
        if not section.blocks or any(map(_drawn, section.blocks)):
            parts += _section(section)
    return "\n".join([*parts, r"\end{document}", ""])


def escaped(text: str) -> str:
    """The text escaped for LaTeX; letters that the standard fonts lack are written by number."""
    return "".join(
        SIGNS.get(letter, letter if _known(letter) else f"U+{ord(letter):04X}") for letter in text
    )


def _known(letter: str) -> bool:
    return letter.isascii() or (letter.isalpha() and letter <= "ÿ" and letter not in "ÐÞðþªº")


def _drawn(block: Block) -> bool:
    return isinstance(block, Facts | Bullets | Table | Group | Command)


def _section(section: Section) -> list[str]:
    parts = ["", rf"\subsection*{{{escaped(section.title)}}}"]
    for paragraph in section.lead:
        parts += [escaped(paragraph), ""]
    for block in filter(_drawn, section.blocks):
        parts += _block(block)
    return parts


def _block(block: Block) -> list[str]:
    if isinstance(block, Facts):
        items = (rf"\item[{escaped(term)}] {escaped(text)}" for term, text in block.items)
        return [r"\begin{description}", *items, r"\end{description}"]
    if isinstance(block, Bullets):
        title = [rf"\paragraph{{{escaped(block.title)}}}"] if block.title else []
        return [*title, *_list(block.items)]
    if isinstance(block, Command):
        return [r"\begin{flushleft}\ttfamily", escaped(block.line), r"\end{flushleft}"]
    if isinstance(block, Group):
        return [line for table in block.tables for line in _table(table)]
    return _table(block) if isinstance(block, Table) else []


def _list(items: tuple[str, ...]) -> list[str]:
    entries = (rf"\item {escaped(item)}" for item in items)
    return [r"\begin{itemize}", *entries, r"\end{itemize}"] if items else []


def _table(table: Table) -> list[str]:
    """The table as LaTeX, not floating, so that it can be cut out and put into another table."""
    headings = " & ".join(rf"\textbf{{{escaped(heading)}}}" for heading in table.headings)
    rows = [" & ".join(map(_cell, row)) + r" \\" for row in table.rows]
    if any(cell.below or cell.paper for row in table.rows for cell in row):
        rows = [line for row in rows for line in (r"\addlinespace", row)]
    body = [
        rf"\begin{{tabular}}{{{_columns(table)}}}",
        r"\toprule",
        headings + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    notes = _list(table.notes)
    return [
        "",
        r"\noindent\begin{minipage}{\textwidth}\centering\small\medskip",
        rf"\textbf{{{escaped(table.caption)}}}\par\medskip",
        r"\fit{%",
        *body,
        r"}\end{minipage}\par\medskip",
        r"{\footnotesize",
        *notes,
        "}",
    ]


def _columns(table: Table) -> str:
    """The column types: left for words, right for figures; long texts are broken into lines."""
    longest = [
        max([len(heading), *(len(row[place].text) for row in table.rows)])
        for place, heading in enumerate(table.headings)
    ]
    if table.texts < len(table.headings) or max(longest) <= LONG:
        return "l" * table.texts + "r" * (len(table.headings) - table.texts)
    shares = [min(max(length, 9), 2 * LONG) for length in longest]
    return "".join(
        rf"{RAGGED}p{{{TEXT_WIDTH * share / sum(shares):.3f}\textwidth}}" for share in shares
    )


def _cell(cell: Cell) -> str:
    text = escaped(cell.text)
    if cell.tone == "best":
        text = rf"\textbf{{{text}}}"
    small = [cell.below, f"paper {cell.paper}" if cell.paper else ""]
    lines = [text, *(rf"{{\scriptsize {escaped(line)}}}" for line in small if line)]
    if len(lines) == 1:
        return text
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{BREAK.join(lines)}\end{{tabular}}"
