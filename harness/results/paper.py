"""The figures that the paper prints (arXiv:2210.14645 v1), row by row of our suites."""

import json
from functools import cache
from pathlib import Path


@cache
def printed_figures() -> dict[str, dict[str, dict[str, float]]]:
    """Tables I-V as printed: suite -> row -> figure, by the names of `Measure.paper`.

    Dice and Jaccard in percent, HD95 in voxels, time in s, memory as the paper's "M".
    """
    return json.loads((Path(__file__).parent / "printed_figures.json").read_text(encoding="utf-8"))


def printed(suite: str, key: str, dataset: str) -> dict[str, float]:
    """The paper's figures for a row; {} where the paper has none. Liver stands in Table V only."""
    table = f"{suite}-liver" if dataset == "liver" else suite
    return printed_figures().get(table, {}).get(key, {})
