"""From a suite and settings to the list of trials: the content of a run before anything runs."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import product
from typing import TYPE_CHECKING

from harness.data.regions import absences
from harness.data.split import Split
from harness.data.volumes import Prepared
from harness.errors import PfbenchError, UsageError
from harness.runs import plugins as registry
from harness.runs.files import JsonObject
from harness.runs.nested import merged
from harness.runs.settings import Settings, changed_protocol
from harness.runs.spec import (
    Data,
    Device,
    OtherSet,
    TrialSpec,
    code_version,
    digest,
    fold_in_words,
)
from harness.runs.suite import ELSEWHERE, MEASURED, Row, untuned_row
from harness.runs.suites import refuse_overruled, suite
from harness.systems.catalogue import options, system
from harness.systems.protocol import Options, Protocol

if TYPE_CHECKING:
    from harness.systems.methods import Method

WHOLE = {"windows_per_volume": 1, "foreground_share": 0.0}


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation, or the single split of a run."""

    number: int
    split: Split
    data: Data
    keys: Mapping[str, str]
    """The entry in the cache of each case."""
    name: str = ""
    """The name of the fold, such as the site that tests; "" where folds have numbers alone."""


@dataclass(frozen=True)
class CrossValidation:
    """The folds of a run, and what all folds of the division have in common."""

    folds: tuple[Fold, ...]
    """The folds of this run: all of the division, or some."""
    count: int
    """The number of folds of the division."""
    cases: str
    """A digest of the splits of all folds of the division."""
    data: Data
    """The volumes, without what differs between folds."""


@dataclass(frozen=True)
class Elsewhere:
    """A data set of another origin on which the trained networks are scored."""

    name: str
    synthetic: bool
    content: str
    """The fingerprint of the files and of how they are read, whatever the fold."""
    volumes: Mapping[str, Mapping[str, str]]
    """Fingerprint -> case -> the entry in the cache: one for all folds, or one for each, where the
    training cases of a fold decide how scans are seen."""
    of_fold: Mapping[int, str]
    """The fingerprint of the volumes that test the networks of a fold, by fold."""
    patients: Mapping[str, str]
    """Case -> patient; empty where every case is a patient of its own."""
    notes: tuple[str, ...] = ()

    @property
    def cases(self) -> tuple[str, ...]:
        return tuple(sorted(next(iter(self.volumes.values()))))

    def set_of(self, fold: int) -> OtherSet:
        """The volumes that test the networks of a fold, as a specification names them."""
        return OtherSet(name=self.name, fingerprint=self.of_fold[fold], synthetic=self.synthetic)


@dataclass(frozen=True)
class PlannedRow:
    """One row of a table with its trials, one for each seed and fold."""

    suite: str
    row: Row
    trials: tuple[TrialSpec, ...]


@dataclass(frozen=True)
class Plan:
    """The rows of a run, in the order of its tables."""

    settings: Settings
    data: Data
    split: Split
    rows: tuple[PlannedRow, ...]
    keys: dict[str, str]
    """The entry in the cache of each case."""
    notes: tuple[str, ...] = ()
    crossed: CrossValidation | None = None
    """The folds of a cross-validation; None for a single split."""
    elsewhere: tuple[Elsewhere, ...] = ()
    """The data sets of other origins, on which the trained networks are scored."""

    @property
    def folds(self) -> tuple[Fold, ...]:
        """The folds of the run: one for a single split."""
        if self.crossed:
            return self.crossed.folds
        return (Fold(self.settings.split.fold, self.split, self.data, self.keys),)

    def cases_of(self, spec: TrialSpec) -> Split:
        """The cases of a trial: those of its fold, with the cases of another origin that test."""
        made = next(fold.split for fold in self.folds if fold.number == spec.fold)
        if spec.test is None:
            return made
        [other] = [other for other in self.elsewhere if other.name == spec.test.name]
        return replace(made, test=other.cases)

    @property
    def suites(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.suite for row in self.rows))

    @cached_property
    def trials(self) -> dict[str, TrialSpec]:
        """The trials by id, each once for all its rows, a base before the trials that use it."""
        specs = (spec for row in self.rows for spec in row.trials)
        return {needed.id: needed for spec in specs for needed in with_needed(spec)}

    @property
    def order(self) -> list[str]:
        """Ids of the trials in the order of their turn, each after the one whose network it takes.

        It goes from the table's end, for whole-volume systems take longest, and what is long should
        not begin last.
        """
        specs = reversed(self.trials.values())
        return list(dict.fromkeys(each.id for spec in specs for each in with_needed(spec)))

    @property
    def to_measure(self) -> list[str]:
        """Ids of the trials to measure: their row is in a table that shows a measured figure.

        In a cross-validation, those of its first fold: all folds have the same network.
        """
        shown = [row for row in self.rows if MEASURED & set(suite(row.suite).shows)]
        first = self.folds[0].number
        measured = {spec.id for row in shown for spec in row.trials if spec.fold == first}
        return [trial for trial in self.trials if trial in measured]

    @cached_property
    def names(self) -> dict[str, str]:
        """The name of each trial for people, by trial id, from the first row that shows it."""
        names: dict[str, str] = {}
        for row in self.rows:
            for spec in row.trials:
                names.setdefault(spec.id, f"{row.row.title} {self._which(spec)}")
        for row in self.rows:
            for spec in row.trials:
                if spec.base:
                    title = f"{row.row.title} as trained"
                    names.setdefault(spec.base.id, f"{title} {self._which(spec.base)}")
                if first := (spec.base or spec).first_stage:
                    title = f"{system(first.system).title} of {row.row.title}"
                    names.setdefault(first.id, f"{title} {self._which(first)}")
        return names

    def _which(self, spec: TrialSpec) -> str:
        """The training in words, with its fold in a cross-validation."""
        if not self.crossed:
            return spec.in_words()
        [fold] = [fold for fold in self.folds if fold.number == spec.fold]
        return spec.in_words(fold_in_words(fold.number, fold.name))

    @property
    def protocol(self) -> JsonObject:
        """The settings that must be equal for two numbers to be comparable."""
        return {
            "profile": self.settings.profile,
            "protocol": self.settings.protocol.model_dump(mode="json"),
            "systems": self.settings.systems,
            "exceptions": self.settings.exceptions,
            "split": self.settings.split.model_dump(mode="json"),
            "data": (self.crossed or self).data.model_dump(mode="json"),
            "cases": self.crossed.cases if self.crossed else self.split.digest,
            "code": code_version(),
            **({"folds": self.crossed.count} if self.crossed else {}),
        }

    @property
    def protocol_hash(self) -> str:
        return digest(self.protocol)


def plan(
    tables: Mapping[str, Sequence[Row]],
    settings: Settings,
    prepared: Prepared,
    split: Split,
    *,
    seeds: int = 1,
    device: Device = "cpu",
    crossed: CrossValidation | None = None,
    elsewhere: Sequence[Elsewhere] = (),
) -> Plan:
    """Plan every row of every suite in `tables`, with a specification for each seed and fold.

    In a cross-validation, `prepared` and `split` are those of its first fold. Each data set in
    `elsewhere` makes a further table of each suite. Raises UsageError for settings that no network
    can be built from.
    """
    data, keys = described(prepared), dict(prepared.keys)
    empty = Plan(settings, data, split, (), keys, prepared.notes, crossed, tuple(elsewhere))
    planned = tuple(
        PlannedRow(name, row, tuple(trials_of(row, settings, empty.folds, seeds, device)))
        for name, table in tables.items()
        for row in table
    )
    lacking = [
        f"fold {fold.number}: {note}" if crossed else note
        for fold in empty.folds
        for note in absences(prepared.absent, fold.split.parts, wholly=crossed is not None)
    ]
    notes = (*prepared.notes, *lacking)
    others = [row for other in elsewhere for row in _tested_on(other, planned)]
    return replace(empty, rows=(*planned, *others), notes=notes)


def with_needed(spec: TrialSpec) -> Iterator[TrialSpec]:
    """The trials that have to be finished before a trial, then the trial."""
    if spec.after:
        yield from with_needed(spec.after)
    yield spec


def _tested_on(other: Elsewhere, planned: Sequence[PlannedRow]) -> Iterator[PlannedRow]:
    """The rows again, tested on another data set, each fine-tuned row after its untuned network."""
    for each in planned:
        table = f"{each.suite}{ELSEWHERE}{other.name}"
        trained = [row.trials for row in planned if row.suite == each.suite]
        bases = tuple(spec.base or spec for spec in each.trials)
        if bases not in trained:
            row = untuned_row(each.row)
            yield PlannedRow(table, row, tuple(_moved(spec, other) for spec in bases))
        yield PlannedRow(table, each.row, tuple(_moved(spec, other) for spec in each.trials))


def _moved(spec: TrialSpec, other: Elsewhere) -> TrialSpec:
    return spec.model_copy(update={"test": other.set_of(spec.fold)})


def described(prepared: Prepared) -> Data:
    """The prepared volumes as a specification names them."""
    return Data(
        name=prepared.dataset,
        modalities=prepared.modalities,
        target=prepared.target,
        grid=prepared.grid,
        fingerprint=prepared.fingerprint,
        synthetic=prepared.synthetic,
        view=prepared.view,
        targets=dict(prepared.targets),
    )


def trials_of(
    row: Row, settings: Settings, folds: Sequence[Fold], seeds: int, device: Device
) -> Iterator[TrialSpec]:
    """One specification for each seed and fold; the values of the row win over the settings."""
    data = folds[0].data
    refuse_overruled(row, settings.systems.get(row.system, {}))
    settled, protocol = resolved(row, settings, data)
    for seed, fold in product(range(seeds), folds):
        yield TrialSpec(
            system=row.system,
            options=settled,
            protocol=protocol,
            data=fold.data,
            split=fold.split.digest,
            fold=fold.number,
            seed=seed,
            device=device,
            code=code_version(),
            plugins=registry.used_by(row.system, data.name),
        )


def resolved(row: Row, settings: Settings, data: Data) -> tuple[Options, Protocol]:
    """The options, with every default written out, and the protocol of the trials of a row.

    Raises UsageError for settings that no network can be built from.
    """
    changed = settings.systems.get(row.system, {})
    asked = merged(merged(options(row.system, settings.profile, data.name), changed), row.options)
    where = f"row {row.title}"
    protocol = changed_protocol(settings.protocol_of(row.system), row.protocol, where)
    if system(row.system).kind == "patch-free":  # is the same whatever is said of windows
        protocol = protocol.model_copy(update=WHOLE)
    return _settled(row.system, asked, data), protocol


def _settled(name: str, asked: Options, data: Data) -> Options:
    """The options with every default written out, as the system reports them when it is built.

    The system is built without memory, so that a wrong option is refused before anything runs.
    """
    if registry.plugin_of(name):
        return _settled_plugin(name, asked, data)
    try:
        seen = (len(data.modalities), data.grid, len(data.names))
        content = _tried(name, json.dumps(asked), *seen)
    except PfbenchError:
        raise
    except Exception as error:  # torch has many for sizes that cannot be
        where, remedy = f"systems.{name}", "correct it, leave it out, or reduce volumes less"
        raise UsageError(str(error), where=where, remedy=remedy, code="PFB-C14") from error
    return json.loads(content)


@cache
def _tried(name: str, asked: str, modalities: int, grid: tuple[int, int, int], targets: int) -> str:
    """The settled options as JSON, cached: a command plans repeatedly, building takes a second."""
    import torch

    from harness.systems import catalogue as systems

    with torch.device("meta"):
        method = systems.build(name, json.loads(asked), modalities, grid, targets)
        _refuse_vast(method)
        method.look(modalities)
    return json.dumps(method.settled(json.loads(asked)))


MOST_PARAMETERS = 10**10
"""A network beyond takes 160 GB for its weights, their gradients and Adam's moments alone."""


def _refuse_vast(method: "Method") -> None:
    """ValueError for a network that was meant otherwise: a zero too many in one of its widths."""
    count = sum(weights.numel() for weights in method.network.parameters())
    if count > MOST_PARAMETERS:
        raise ValueError(
            f"a network of {count:,} parameters, where at most {MOST_PARAMETERS:,} are trained"
        )


def _settled_plugin(name: str, asked: Options, data: Data) -> Options:
    """The settled options of a plug-in's network, which is also run once from end to end.

    What it cannot do is better known now than after its training.
    """
    import torch

    from harness.systems import catalogue as systems
    from harness.systems.cost import cost

    seen = (len(data.modalities), data.grid, len(data.names))
    try:
        with torch.device("meta"):
            method = systems.build(name, asked, *seen)
            _refuse_vast(method)
        cost(name, asked, *seen)
    except Exception as error:  # whatever it raises
        what = f"cannot be built or applied: {type(error).__name__}: {error}"
        remedy = "pfbench check-plugin FILE, which tells each step"
        raise UsageError(what, where=f"systems.{name}", remedy=remedy, code="PFB-C43") from error
    return method.settled(asked)
