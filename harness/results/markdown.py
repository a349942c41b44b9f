"""Tables as Markdown, for the text files beside the results."""

from collections.abc import Iterable, Sequence


def markdown_table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], texts: int | None = None
) -> list[str]:
    """The lines of a table; the columns after the first `texts` hold figures and lie to the right.

    None: all hold words. A "|" in a cell is escaped, a line break becomes a space.
    """
    texts = len(headings) if texts is None else texts
    rule = ["---"] * texts + ["---:"] * (len(headings) - texts)
    return [_line(headings), _line(rule), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    plain = (cell.replace("|", r"\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(plain)} |"
