"""Shell completion: the names offered after Tab, with explanations, and no heavy import."""

from collections.abc import Iterator, Mapping

import typer

Offers = Iterator[tuple[str, str]]
"""Pairs of a name and the explanation that zsh and fish show beside it."""


def tables(incomplete: str) -> Offers:
    from harness.runs.suites import SUITES

    return _beginning(incomplete, {name: suite.title for name, suite in SUITES.items()})


def suites(incomplete: str) -> Offers:
    """The suites, and the word for all of them."""
    from harness.runs.suites import ALL

    yield from tables(incomplete)
    yield from _beginning(incomplete, {ALL: "every table and figure"})


def rows(context: typer.Context, incomplete: str) -> Offers:
    """Rows of the suite that is already on the line; rows of every suite before a suite is."""
    from harness.runs.suites import SUITES

    chosen = context.params.get("suite")
    named = [SUITES[chosen]] if chosen in SUITES else SUITES.values()
    return _beginning(incomplete, {row.key: row.title for suite in named for row in suite.rows})


def models(incomplete: str) -> Offers:
    """Our models and those of installed packages by name; no code of packages is executed."""
    from harness.runs.plugins import installed
    from harness.systems.catalogue import SYSTEMS

    named = {name: entry.title for name, entry in SYSTEMS.items()}
    return _beginning(incomplete, {**dict.fromkeys(installed(), "installed"), **named})


def datasets(incomplete: str) -> Offers:
    from harness.data.datasets import DATASETS

    return _beginning(incomplete, {name: entry.title for name, entry in DATASETS.items()})


def folders(incomplete: str) -> Offers:
    """The data sets that are read from disk."""
    from harness.data.datasets import DATASETS

    real = {name: entry.title for name, entry in DATASETS.items() if not entry.synthetic}
    return _beginning(incomplete, real)


def targets(context: typer.Context, incomplete: str) -> Offers:
    """The targets of the data set on the line; of every data set before one is."""
    from harness.data.datasets import DATASETS

    chosen = context.params.get("dataset")
    entries = [DATASETS[chosen]] if chosen in DATASETS else DATASETS.values()
    return _beginning(incomplete, {target: "" for entry in entries for target in entry.targets})


def profiles(incomplete: str) -> Offers:
    from harness.runs.settings import PROFILES

    grids = {"quick": "32x64x64, small networks", "paper": "128x192x192, as published"}
    return _beginning(incomplete, {name: grids.get(name, "") for name in PROFILES})


def devices(incomplete: str) -> Offers:
    named = {"auto": "a GPU where there is one", "cpu": "", "cuda": "an NVIDIA GPU"}
    return _beginning(incomplete, named)


def executors(incomplete: str) -> Offers:
    return _beginning(incomplete, {"ray": "trials on a cluster", "inline": "one after another"})


def lists(incomplete: str) -> Offers:
    from harness.commands.listing import LISTS

    return _beginning(incomplete, dict.fromkeys(LISTS, ""))


def studies(incomplete: str) -> Offers:
    named = {
        "loss-weights": "eq. 19",
        "lr": "the learning rate of each --model",
        "space": "--space FILE",
    }
    return _beginning(incomplete, named)


def samplers(incomplete: str) -> Offers:
    return _beginning(incomplete, {"optuna": "TPE", "random": "", "grid": ""})


def schedulers(incomplete: str) -> Offers:
    return _beginning(incomplete, {"asha": "poor points stop early", "none": ""})


def strategies(incomplete: str) -> Offers:
    from harness.runs.paper_suites import STRATEGIES

    return _beginning(incomplete, STRATEGIES)


def scaffolds(incomplete: str) -> Offers:
    from harness.commands.scaffold import FILES

    return _beginning(incomplete, dict.fromkeys(FILES, ""))


def _beginning(incomplete: str, named: Mapping[str, str]) -> Offers:
    return ((name, help_) for name, help_ in named.items() if name.startswith(incomplete))
