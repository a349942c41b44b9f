"""Tables as Markdown: one writer for table.md, study.md, reports and the site."""

from harness.results.markdown import markdown_table


def test_words_lie_to_the_left_and_figures_to_the_right():
    assert markdown_table(["Model", "Dice"], [["UNet3D", "83.41"]], 1) == [
        "| Model | Dice |",
        "| --- | ---: |",
        "| UNet3D | 83.41 |",
    ]


def test_a_cell_keeps_its_bars_and_its_line_breaks_to_itself():
    assert markdown_table(["a|b"], [["c\nd"]]) == [r"| a\|b |", "| --- |", "| c d |"]
