"""A report as Markdown: its tables and their notes, without plots."""

from harness.report.document import Block, Bullets, Cell, Command, Document, Facts, Group, Table
from harness.results.markdown import markdown_table, plain


def render(document: Document) -> str:
    """The report as Markdown; plots and pictures are left to the HTML."""
    parts = [f"# {plain(document.title)}", plain(document.subtitle)]
    parts += [f"> {plain(warning)}" for warning in document.warnings]
    for section in document.sections:
        blocks = [text for block in section.blocks if (text := _block(block))]
        if blocks or not section.blocks:
            parts += [f"## {plain(section.title)}", *map(plain, section.lead), *blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Facts):
        return "\n".join(f"- {plain(term)}: {plain(text)}" for term, text in block.items)
    if isinstance(block, Bullets):
        title = f"### {plain(block.title)}\n\n" if block.title else ""
        return title + "\n".join(f"- {plain(item)}" for item in block.items)
    if isinstance(block, Command):
        return f"    {block.line}"
    if isinstance(block, Group):
        return "\n\n".join(map(_table, block.tables))
    return _table(block) if isinstance(block, Table) else ""


def _table(table: Table) -> str:
    rows = ([_cell(cell) for cell in row] for row in table.rows)
    lines = markdown_table(table.headings, rows, table.texts)
    notes = "\n".join(f"- {plain(note)}" for note in table.notes)
    return f"### {plain(table.caption)}\n\n" + "\n".join(lines) + (f"\n\n{notes}" if notes else "")


def _cell(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.tone == "best" and cell.text else cell.text
    paper = f"(paper {cell.paper})" if cell.paper else ""
    return " ".join(filter(None, (text, cell.below, paper)))
