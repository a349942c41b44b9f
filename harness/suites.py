"""The tables and figures of the paper as lists of what is to be trained."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import unknown


@dataclass(frozen=True)
class Row:
    """One row of a table: a system, and what is different about it."""

    system: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """One table of the paper."""

    title: str
    rows: tuple[Row, ...]


TABLE5 = ("vnet", "unet3d", "resunet3d", "resunet3d_up", "hdresunet", "san", "point_unet", "pfseg")

SUITES: dict[str, Suite] = {
    "table5": Suite(
        "Table V: all systems under one protocol", tuple(Row(system) for system in TABLE5)
    ),
}


def suite(name: str) -> Suite:
    """The suite called `name`; UsageError with the nearest name when there is none."""
    if name not in SUITES:
        raise unknown("suite", name, SUITES)
    return SUITES[name]


@cache
def paper_table5() -> dict[str, dict[str, Any]]:
    """Table V as printed (arXiv:2210.14645 v1): model -> columns; Dice and Jaccard in percent."""
    return json.loads((Path(__file__).parent / "paper_table5.json").read_text())
