"""Tables as Markdown, for the text files beside the results."""

import re
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
    return f"| {' | '.join(plain(cell).replace('|', BAR) for cell in cells)} |"


BAR = r"\|"
MARKUP = re.compile(r"\\|<(?=[A-Za-z/!?])|(?<=\])[(:]")


def plain(text: str) -> str:
    """The text for Markdown, without tags, links and escapes of its own, on one line."""
    return MARKUP.sub(r"\\\g<0>", " ".join(text.splitlines()))
